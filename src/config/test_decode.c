/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked with --wrap for malloc and realloc, to run out of memory at will. Quotes in bodies are
 * written '.
 */
#include "config/decode.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "config/test_decode_fields.h"
#include "json/test_guard.h"

#define X86 SQUIB_ARCH_X86_64
#define ARM SQUIB_ARCH_AARCH64

static int allocations_left = -1;	/* negative: no bound */

static bool allocation_fails(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(p, size);
}

/* A body under test: its bytes end where memory ends. */
struct body {
	struct guarded guarded;
	const char *json;
	size_t len;
	struct arena *arena;
	struct fault fault;
	const void *config;
};

static void body_init(struct body *body, const char *quoted)
{
	char *json = strdup(quoted);

	*body = (struct body){ .len = strlen(quoted), .arena = arena_new() };
	for (char *p = json; *p != '\0'; p++)
		if (*p == '\'')
			*p = '"';
	body->guarded = guarded_new(body->len);
	body->json = guarded_copy(&body->guarded, json, body->len);
	free(json);
}

static void body_done(struct body *body)
{
	fault_done(&body->fault);
	arena_unref(body->arena);
	guarded_done(&body->guarded);
}

static int body_decode(struct body *body, enum squib_action_type type, enum squib_arch arch)
{
	return config_decode(type, arch, body->json, body->len, body->arena, &body->config,
			     &body->fault);
}

static void expect_result(struct body *body, const char *name, const char *quoted, int r,
			  const char *want)
{
	if (r != (want != NULL ? -EINVAL : 0))
		fail_msg("%s: %s: got %d (%s)", name, quoted, r, fault_text(&body->fault));
	if (want != NULL && strcmp(fault_text(&body->fault), want) != 0)
		fail_msg("%s: %s: got \"%s\", want \"%s\"", name, quoted,
			 fault_text(&body->fault), want);
}

static void expect_decode(const char *name, enum squib_action_type type, enum squib_arch arch,
			  const char *quoted, const char *want)
{
	struct body body;

	body_init(&body, quoted);
	expect_result(&body, name, quoted, body_decode(&body, type, arch), want);
	assert_true((want == NULL) == (body.config != NULL));	/* written on success only */
	body_done(&body);
}

/* Decodes a good body into @body, whose config the caller looks at. */
static const void *decode_good(struct body *body, enum squib_action_type type,
			       enum squib_arch arch, const char *quoted)
{
	body_init(body, quoted);
	expect_result(body, "good", quoted, body_decode(body, type, arch), NULL);
	return body->config;
}

static void fields_are_accepted_and_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(field_cases); i++)
		for (const struct field_case *c = field_cases[i].cases; c->name != NULL; c++)
			expect_decode(c->name, field_cases[i].type, field_cases[i].arch, c->json,
				      c->want);
}

static void every_beginning_of_a_body_is_a_fault(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(field_cases); i++) {
		const struct field_case *full = &field_cases[i].cases[0];
		struct body body;
		size_t len;

		assert_null(full->want);
		body_init(&body, full->json);
		len = body.len;
		/* An empty body starts hinting with defaults. */
		body.len = field_cases[i].type == SQUIB_BALLOON_HINTING_START ? 1 : 0;
		for (; body.len < len; body.len++) {
			struct guarded guarded = guarded_new(body.len);
			const char *json = body.json;

			body.json = guarded_copy(&guarded, json, body.len);
			assert_int_equal(body_decode(&body, field_cases[i].type,
						     field_cases[i].arch), -EINVAL);
			assert_non_null(strstr(fault_text(&body.fault), " at line 1 column "));
			body.json = json;
			guarded_done(&guarded);
		}
		body_done(&body);
	}
}

static void texts_of_the_contract(void **state)
{
	static const struct {
		const char *name;
		enum squib_action_type type;
		enum squib_arch arch;
		const char *json;
		const char *want;
	} cases[] = {
		{ "blanks only", SQUIB_PUT_MACHINE_CONFIG, X86, "  ",
		  "EOF while parsing a value at line 1 column 2" },
		{ "byte order mark", SQUIB_PUT_VSOCK, X86, "\xef\xbb\xbf{}",
		  "expected value at line 1 column 1" },
		{ "missing field, column of the brace", SQUIB_PUT_MACHINE_CONFIG, X86,
		  "{'mem_size_mib': 128}", "missing field `vcpu_count` at line 1 column 21" },
		{ "missing field, brace on a line of its own", SQUIB_PUT_MACHINE_CONFIG, X86,
		  "{\n  'vcpu_count': 1\n}\n", "missing field `mem_size_mib` at line 3 column 1" },
		{ "unknown field, blanks before the colon", SQUIB_INSTANCE_START, X86,
		  "{'payload'  :'x'}",
		  "unknown field `payload`, expected `action_type` at line 1 column 12" },
		{ "unknown field comes before missing ones", SQUIB_PUT_VSOCK, X86, "{'tsi':1}",
		  "unknown field `tsi`, expected one of `vsock_id`, `guest_cid`, `uds_path` at line 1 column 6" },
		{ "two known fields", SQUIB_PATCH_PMEM, X86, "{'rate':{}}",
		  "unknown field `rate`, expected `id` or `rate_limiter` at line 1 column 7" },
		{ "two known variants", SQUIB_SNAPSHOT_LOAD, X86,
		  "{'mem_backend':{'backend_type':'X'}}",
		  "unknown variant `X`, expected `File` or `Uffd` at line 1 column 34" },
		{ "templates of the other architecture", SQUIB_PUT_MACHINE_CONFIG, X86,
		  "{'cpu_template':'V1N1'}",
		  "unknown variant `V1N1`, expected one of `C3`, `T2`, `T2S`, `None`, `T2CL`, `T2A` at line 1 column 22" },
		{ "templates of this architecture", SQUIB_PATCH_MACHINE_CONFIG, ARM,
		  "{'cpu_template':'T2'}",
		  "unknown variant `T2`, expected `V1N1` or `None` at line 1 column 20" },
		{ "variant as an object", SQUIB_PATCH_VM, X86, "{'state':{'Paused':null}}", NULL },
		{ "variant as an object with a value", SQUIB_PATCH_VM, X86, "{'state':{'Paused':1}}",
		  "invalid type: integer `1`, expected unit at line 1 column 20" },
		{ "variant as an object of two", SQUIB_PATCH_VM, X86,
		  "{'state':{'Paused':null,'Resumed':null}}",
		  "expected value at line 1 column 23" },
		{ "empty object for a variant", SQUIB_PATCH_VM, X86, "{'state':{}}",
		  "expected value at line 1 column 11" },
		{ "escapes in a key", SQUIB_PATCH_VM, X86, "{'st\\u0061te':'Paused'}", NULL },
		{ "float over 64 bits", SQUIB_PUT_MACHINE_CONFIG, X86,
		  "{'mem_size_mib':18446744073709551616}",
		  "invalid type: floating point `1.8446744073709552e+19`, expected usize at line 1 column 36" },
		{ "MAC fault: the last field takes the brace", SQUIB_PUT_NETWORK_INTERFACE, X86,
		  "{'guest_mac':'00:00' }",
		  "The provided MAC address is invalid. at line 1 column 22" },
		{ "MAC fault: a field after it does not move it", SQUIB_PUT_NETWORK_INTERFACE, X86,
		  "{'guest_mac':'00:00' ,'iface_id':'x'}",
		  "The provided MAC address is invalid. at line 1 column 21" },
		{ "IPv4 fault stands behind the string", SQUIB_PUT_MMDS_CONFIG, X86,
		  "{'ipv4_address':'1.2.3.4.5' }",
		  "invalid IPv4 address syntax at line 1 column 27" },
		{ "IPv4 octet with a leading zero", SQUIB_PUT_MMDS_CONFIG, X86,
		  "{'ipv4_address':'169.254.01.1'}",
		  "invalid IPv4 address syntax at line 1 column 30" },
		{ "capability fault passes the comma behind it", SQUIB_PUT_CPU_CONFIG, X86,
		  "{'kvm_capabilities':['x',  '1']}",
		  "Failed to parse string [x] as a kvm capability - can not convert to numeric: invalid digit found in string at line 1 column 27" },
		{ "unknown keys of open structs are skipped unseen", SQUIB_PUT_METRICS, X86,
		  "{'metrics_path':'m','x':{'a':[1e999,'\\ud800']},'x':0}", NULL },
		{ "but must be JSON", SQUIB_PUT_METRICS, X86, "{'x':{'a':[01]}}",
		  "invalid number at line 1 column 13" },
		{ "bytes behind the body", SQUIB_PATCH_BALLOON, X86, "{'amount_mib':1}}",
		  "trailing characters at line 1 column 17" },
		{ "pmem by its other name", SQUIB_PATCH_PMEM, X86, "{'pmem_id':'p'}", NULL },
		{ "pmem by both names", SQUIB_PUT_PMEM, X86, "{'id':'p','pmem_id':'p'}",
		  "duplicate field `id` at line 1 column 19" },
		{ "pmem by neither", SQUIB_PUT_PMEM, X86, "{}", "missing field `id` at line 1 column 2" },
		{ "NUL in a string", SQUIB_PUT_BOOT_SOURCE, X86, "{'kernel_image_path':'a\\u0000b' }",
		  "invalid value: string \"a\\0b\", expected a string without NUL bytes at line 1 column 31" },
		{ "NUL in a name is where its fault is cut", SQUIB_PATCH_VM, X86, "{'a\\u0000b':1}",
		  "unknown field `a`, expected `state` at line 1 column 11" },
		{ "hinting without a body", SQUIB_BALLOON_HINTING_START, X86, "", NULL },
		{ "hinting with blanks for a body", SQUIB_BALLOON_HINTING_START, X86, " ",
		  "EOF while parsing a value at line 1 column 1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect_decode(cases[i].name, cases[i].type, cases[i].arch, cases[i].json,
			      cases[i].want);
}

static void simple_bodies_become_structs(void **state)
{
	struct body body;
	const struct squib_boot_source *boot;
	const struct squib_balloon *balloon;
	const struct squib_vsock *vsock;
	const struct squib_memory_hotplug *memory;

	(void)state;
	boot = decode_good(&body, SQUIB_PUT_BOOT_SOURCE, X86,
			   "{'kernel_image_path':'/v\\u00e9','boot_args':'quiet'}");
	assert_string_equal(boot->kernel_image_path, "/v\xc3\xa9");
	assert_null(boot->initrd_path);
	assert_string_equal(boot->boot_args, "quiet");
	body_done(&body);

	balloon = decode_good(&body, SQUIB_PUT_BALLOON, X86,
			      "{'amount_mib':4294967295,'deflate_on_oom':true,'stats_polling_interval_s':65535}");
	assert_int_equal(balloon->amount_mib, UINT32_MAX);
	assert_true(balloon->deflate_on_oom);
	assert_int_equal(balloon->stats_polling_interval_s, 65535);
	assert_false(balloon->free_page_hinting || balloon->free_page_reporting);
	body_done(&body);

	vsock = decode_good(&body, SQUIB_PUT_VSOCK, X86, "{'uds_path':'./v','guest_cid':0}");
	assert_null(vsock->vsock_id);
	assert_int_equal(vsock->guest_cid, 0);
	assert_string_equal(vsock->uds_path, "./v");
	body_done(&body);

	memory = decode_good(&body, SQUIB_PUT_MEMORY_HOTPLUG, X86, "{'total_size_mib':4294967295}");
	assert_int_equal(memory->total_size_mib, UINT32_MAX);
	assert_int_equal(memory->block_size_mib, 2);
	assert_int_equal(memory->slot_size_mib, 128);
	body_done(&body);
}

static void machine_config_becomes_a_struct(void **state)
{
	struct body body;
	const struct squib_machine_config *config;
	const struct squib_machine_config_update *update;

	(void)state;
	config = decode_good(&body, SQUIB_PUT_MACHINE_CONFIG, X86,
			     "{'vcpu_count':32,'mem_size_mib':18446744073709551615}");
	assert_int_equal(config->vcpu_count, 32);
	assert_true(config->mem_size_mib == UINT64_MAX);
	assert_false(config->smt || config->has_cpu_template || config->track_dirty_pages);
	assert_int_equal(config->cpu_template, SQUIB_CPU_TEMPLATE_NONE);
	assert_int_equal(config->huge_pages, SQUIB_HUGE_PAGES_NONE);
	body_done(&body);

	config = decode_good(&body, SQUIB_PUT_MACHINE_CONFIG, ARM,
			     "{'vcpu_count':1,'mem_size_mib':1,'cpu_template':'V1N1','huge_pages':'2M','smt':true}");
	assert_true(config->has_cpu_template && config->smt);
	assert_int_equal(config->cpu_template, SQUIB_CPU_TEMPLATE_V1N1);
	assert_int_equal(config->huge_pages, SQUIB_HUGE_PAGES_2M);
	body_done(&body);

	update = decode_good(&body, SQUIB_PATCH_MACHINE_CONFIG, X86,
			     "{'vcpu_count':2,'cpu_template':'T2S','smt':null,'huge_pages':'Transparent'}");
	assert_int_equal(*update->vcpu_count, 2);
	assert_int_equal(*update->cpu_template, SQUIB_CPU_TEMPLATE_T2S);
	assert_int_equal(*update->huge_pages, SQUIB_HUGE_PAGES_TRANSPARENT);
	assert_true(update->mem_size_mib == NULL && update->smt == NULL &&
		    update->track_dirty_pages == NULL);
	body_done(&body);
}

static void devices_become_structs(void **state)
{
	static const uint8_t mac[6] = { 0x06, 0x00, 0xac, 0x10, 0x00, 0xff };
	struct body body;
	const struct squib_drive *drive;
	const struct squib_network_interface *net;
	const struct squib_serial *serial;

	(void)state;
	drive = decode_good(&body, SQUIB_PUT_DRIVE, X86,
			    "{'drive_id':'d','is_root_device':true,'cache_type':'Writeback','is_read_only':true,"
			    "'path_on_host':'/d','rate_limiter':{'bandwidth':{'size':1,'one_time_burst':2,"
			    "'refill_time':3,'more':0},'ops':null},'io_engine':'Async'}");
	assert_string_equal(drive->drive_id, "d");
	assert_true(drive->is_root_device && drive->is_read_only && drive->has_is_read_only);
	assert_int_equal(drive->cache_type, SQUIB_CACHE_WRITEBACK);
	assert_int_equal(drive->io_engine, SQUIB_IO_ENGINE_ASYNC);
	assert_true(drive->has_io_engine && drive->socket == NULL && drive->partuuid == NULL);
	assert_int_equal(drive->rate_limiter->bandwidth->size, 1);
	assert_int_equal(drive->rate_limiter->bandwidth->one_time_burst, 2);
	assert_int_equal(drive->rate_limiter->bandwidth->refill_time_ms, 3);
	assert_null(drive->rate_limiter->ops);
	body_done(&body);

	drive = decode_good(&body, SQUIB_PUT_DRIVE, X86,
			    "{'drive_id':'d','is_root_device':false,'socket':'/s','is_read_only':null,'io_engine':null}");
	assert_false(drive->has_is_read_only || drive->has_io_engine || drive->is_read_only);
	assert_int_equal(drive->io_engine, SQUIB_IO_ENGINE_SYNC);
	assert_int_equal(drive->cache_type, SQUIB_CACHE_UNSAFE);
	assert_string_equal(drive->socket, "/s");
	assert_null(drive->path_on_host);
	body_done(&body);

	net = decode_good(&body, SQUIB_PUT_NETWORK_INTERFACE, X86,
			  "{'iface_id':'e','host_dev_name':'t','guest_mac':'06:00:aC:10:+0:Ff','mtu':65535}");
	assert_true(net->has_guest_mac && net->has_mtu);
	assert_memory_equal(net->guest_mac, mac, 6);	/* "+0" is a number to upstream */
	assert_int_equal(net->mtu, 65535);
	assert_true(net->rx_rate_limiter == NULL && net->tx_rate_limiter == NULL);
	body_done(&body);

	serial = decode_good(&body, SQUIB_PUT_SERIAL, X86,
			     "{'rate_limiter':{'size':1,'refill_time':0,'one_time_burst':null}}");
	assert_null(serial->serial_out_path);
	assert_int_equal(serial->rate_limiter->size, 1);
	body_done(&body);
}

static void observability_becomes_structs(void **state)
{
	struct body body;
	const struct squib_logger *logger;
	const struct squib_metrics *metrics;
	const struct squib_mmds_config *mmds;
	const struct squib_mmds_data *data;
	const uint8_t other[4] = { 169, 254, 1, 255 }, usual[4] = { 169, 254, 169, 254 };

	(void)state;
	logger = decode_good(&body, SQUIB_PUT_LOGGER, X86,
			     "{'level':'wARNing','show_level':false,'log_path':'/l'}");
	assert_int_equal(logger->level, SQUIB_LOG_WARN);
	assert_false(*logger->show_level);
	assert_true(logger->show_log_origin == NULL && logger->module == NULL);
	body_done(&body);
	logger = decode_good(&body, SQUIB_PUT_LOGGER, X86, "{'level':null}");
	assert_int_equal(logger->level, SQUIB_LOG_INFO);
	body_done(&body);

	metrics = decode_good(&body, SQUIB_PUT_METRICS, X86,
			      "{'metrics_path':'m','properties':{'b':'1','a':'2','b':'3','c':'','a':'4'}}");
	assert_int_equal(metrics->property_count, 3);
	assert_string_equal(metrics->properties[0].name, "a");
	assert_string_equal(metrics->properties[0].value, "4");
	assert_string_equal(metrics->properties[1].value, "3");
	assert_string_equal(metrics->properties[2].name, "c");
	body_done(&body);
	metrics = decode_good(&body, SQUIB_PUT_METRICS, X86, "{'metrics_path':'m','properties':null}");
	assert_null(metrics->properties);
	body_done(&body);

	mmds = decode_good(&body, SQUIB_PUT_MMDS_CONFIG, X86,
			   "{'version':'V2','network_interfaces':['a','b','c','d','e'],'ipv4_address':'169.254.1.255'}");
	assert_int_equal(mmds->version, SQUIB_MMDS_V2);
	assert_int_equal(mmds->network_interface_count, 5);
	assert_string_equal(mmds->network_interfaces[4], "e");
	assert_memory_equal(mmds->ipv4_address, other, 4);
	body_done(&body);
	mmds = decode_good(&body, SQUIB_PUT_MMDS_CONFIG, X86, "{'network_interfaces':[]}");
	assert_int_equal(mmds->version, SQUIB_MMDS_V1);
	assert_int_equal(mmds->network_interface_count, 0);
	assert_memory_equal(mmds->ipv4_address, usual, 4);
	body_done(&body);

	data = decode_good(&body, SQUIB_PATCH_MMDS, X86, " {'a' : [1]}\n");
	assert_int_equal(data->body_len, 13);
	assert_memory_equal(data->body, " {\"a\" : [1]}\n", 14);
	assert_null(data->document);
	body_done(&body);
	expect_decode("metadata of any kind", SQUIB_PUT_MMDS, X86, "null", NULL);
	expect_decode("metadata that breaks off", SQUIB_PUT_MMDS, X86, "[1,{'a':]",
		      "expected value at line 1 column 9");
}

static void cpu_templates_become_structs(void **state)
{
	struct body body;
	const struct squib_cpu_config *cpu;

	(void)state;
	cpu = decode_good(&body, SQUIB_PUT_CPU_CONFIG, X86,
			  "{'kvm_capabilities':['171','!+172'],'cpuid_modifiers':[{'leaf':'0x80000001',"
			  "'subleaf':'0b11','flags':4294967295,'x':[],'modifiers':[{'register':'edx',"
			  "'bitmap':'0b1_0x'}]}],'msr_modifiers':[{'addr':'0xfF','bitmap':'1" X33 "0'}]}");
	assert_int_equal(cpu->kvm_capability_count, 2);
	assert_true(cpu->kvm_capabilities[0].number == 171 && !cpu->kvm_capabilities[0].remove);
	assert_true(cpu->kvm_capabilities[1].number == 172 && cpu->kvm_capabilities[1].remove);
	assert_int_equal(cpu->cpuid_modifier_count, 1);
	assert_int_equal(cpu->cpuid_modifiers[0].leaf, 0x80000001);
	assert_int_equal(cpu->cpuid_modifiers[0].subleaf, 3);
	assert_int_equal(cpu->cpuid_modifiers[0].flags, UINT32_MAX);
	assert_int_equal(cpu->cpuid_modifiers[0].modifier_count, 1);
	assert_int_equal(cpu->cpuid_modifiers[0].modifiers[0].reg, SQUIB_CPUID_EDX);
	assert_int_equal(cpu->cpuid_modifiers[0].modifiers[0].bitmap.filter[0], 6);
	assert_int_equal(cpu->cpuid_modifiers[0].modifiers[0].bitmap.value[0], 4);
	assert_int_equal(cpu->msr_modifier_count, 1);
	assert_int_equal(cpu->msr_modifiers[0].addr, 0xff);
	assert_true(cpu->msr_modifiers[0].bitmap.filter[0] == (1ull << 34 | 1));
	assert_true(cpu->msr_modifiers[0].bitmap.value[0] == 1ull << 34);
	assert_true(cpu->vcpu_feature_count == 0 && cpu->reg_modifier_count == 0);
	body_done(&body);

	cpu = decode_good(&body, SQUIB_PUT_CPU_CONFIG, ARM,
			  "{'vcpu_features':[{'index':1,'bitmap':'0'}],'reg_modifiers':["
			  "{'addr':'0x6040000000000000','bitmap':'10" X64 "'},"
			  "{'addr':'0x6030000000000000','bitmap':'1" X63 "'}]}");
	assert_int_equal(cpu->vcpu_features[0].bitmap.filter[0], 1);
	assert_int_equal(cpu->reg_modifier_count, 2);
	assert_true(cpu->reg_modifiers[0].addr == 0x6040000000000000);
	assert_true(cpu->reg_modifiers[0].bitmap.filter[1] == 3);
	assert_true(cpu->reg_modifiers[0].bitmap.value[1] == 2);
	assert_true(cpu->reg_modifiers[1].bitmap.value[0] == 1ull << 63);
	body_done(&body);
}

static void snapshot_loads_are_folded(void **state)
{
	struct body body;
	const struct squib_snapshot_load *load;

	(void)state;
	load = decode_good(&body, SQUIB_SNAPSHOT_LOAD, X86,
			   "{'snapshot_path':'s','mem_backend':{'backend_type':'Uffd','backend_path':'b'},"
			   "'resume_vm':true,'clock_realtime':true,'huge_pages':'2M','network_overrides':"
			   "[{'host_dev_name':'h','iface_id':'i','x':1}],'vsock_override':{'x':1,'uds_path':'u'}}");
	assert_int_equal(load->backend_type, SQUIB_MEM_BACKEND_UFFD);
	assert_string_equal(load->backend_path, "b");
	assert_true(load->resume_vm && load->clock_realtime && !load->track_dirty_pages);
	assert_int_equal(load->huge_pages, SQUIB_SNAPSHOT_HUGE_PAGES_2M);
	assert_int_equal(load->network_override_count, 1);
	assert_string_equal(load->network_overrides[0].host_dev_name, "h");
	assert_string_equal(load->vsock_override_uds_path, "u");
	assert_false(load->deprecated_fields);
	body_done(&body);

	load = decode_good(&body, SQUIB_SNAPSHOT_LOAD, X86,
			   "{'snapshot_path':'s','mem_file_path':'m','mem_backend':null}");
	assert_int_equal(load->backend_type, SQUIB_MEM_BACKEND_FILE);
	assert_string_equal(load->backend_path, "m");
	assert_true(load->deprecated_fields && !load->track_dirty_pages);
	body_done(&body);

	load = decode_good(&body, SQUIB_SNAPSHOT_LOAD, X86,
			   "{'snapshot_path':'s','mem_backend':{'backend_type':'File','backend_path':'b'},"
			   "'enable_diff_snapshots':true}");
	assert_true(load->deprecated_fields && load->track_dirty_pages);
	body_done(&body);

	expect_decode("neither", SQUIB_SNAPSHOT_LOAD, X86, "{'snapshot_path':'s','mem_file_path':null}",
		      "missing field: either `mem_backend` or `mem_file_path` is required");
	expect_decode("both", SQUIB_SNAPSHOT_LOAD, X86,
		      "{'snapshot_path':'s','mem_file_path':'m','mem_backend':"
		      "{'backend_type':'File','backend_path':'b'}}",
		      "too many fields: either `mem_backend` or `mem_file_path` exclusively is required");
}

static void deprecated_uses_are_told(void **state)
{
	static const struct {
		enum squib_action_type type;
		const char *json;
		const char *want;
	} cases[] = {
		{ SQUIB_PUT_MACHINE_CONFIG, "{'vcpu_count':1,'mem_size_mib':1}", NULL },
		{ SQUIB_PUT_MACHINE_CONFIG, "{'vcpu_count':1,'mem_size_mib':1,'cpu_template':null}", NULL },
		{ SQUIB_PUT_MACHINE_CONFIG, "{'vcpu_count':1,'mem_size_mib':1,'cpu_template':'None'}",
		  "PUT /machine-config: cpu_template field is deprecated." },
		{ SQUIB_PATCH_MACHINE_CONFIG, "{'vcpu_count':1}", NULL },
		{ SQUIB_PATCH_MACHINE_CONFIG, "{'cpu_template':'T2'}",
		  "PATCH /machine-config: cpu_template field is deprecated." },
		{ SQUIB_PUT_VSOCK, "{'guest_cid':3,'uds_path':'v'}", NULL },
		{ SQUIB_PUT_VSOCK, "{'guest_cid':3,'uds_path':'v','vsock_id':''}",
		  "PUT /vsock: vsock_id field is deprecated." },
		{ SQUIB_PUT_MMDS_CONFIG, "{'network_interfaces':[],'version':'V2'}", NULL },
		{ SQUIB_PUT_MMDS_CONFIG, "{'network_interfaces':[]}",
		  "PUT /mmds/config: V1 is deprecated. Use V2 instead." },
		{ SQUIB_SNAPSHOT_LOAD, "{'snapshot_path':'s','mem_file_path':'m'}",
		  "PUT /snapshot/load: mem_file_path and enable_diff_snapshots fields are deprecated." },
		{ SQUIB_PATCH_VM, "{'state':'Paused'}", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct body body;
		const void *config = decode_good(&body, cases[i].type, X86, cases[i].json);
		const char *text = config_deprecation(cases[i].type, config);

		if (cases[i].want == NULL)
			assert_null(text);
		else
			assert_string_equal(text, cases[i].want);
		body_done(&body);
	}
}

static void faults_become_what_clients_get(void **state)
{
	struct body body;

	(void)state;
	body_init(&body, "{'mem_size_mib': 128}");
	assert_int_equal(body_decode(&body, SQUIB_PUT_MACHINE_CONFIG, X86), -EINVAL);
	assert_int_equal(config_fault_to_api(&body.fault), -EINVAL);
	assert_string_equal(fault_text(&body.fault),
			    "An error occurred when deserializing the json body of a request: "
			    "missing field `vcpu_count` at line 1 column 21.");
	body_done(&body);
}

static void ids_are_short_and_plain(void **state)
{
	static const char id65[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

	(void)state;
	assert_true(config_id_is_valid("rootfs_1", 8));
	assert_true(config_id_is_valid("AZaz09_", 7));
	assert_true(config_id_is_valid(id65, 64));
	assert_false(config_id_is_valid(id65, 65));
	assert_false(config_id_is_valid("", 0));
	assert_false(config_id_is_valid("a-b", 3));
	assert_false(config_id_is_valid("a\0b", 3));
	assert_false(config_id_is_valid("\xc3\xa9", 2));
}

/* Files */

static int decode_file(struct body *body, enum squib_arch arch, struct config_file *file)
{
	return config_file_decode(body->json, body->len, arch, body->arena, file, &body->fault);
}

static const char full_file[] =
	"{'squib':{'network':'bridged','vsock_tsi':true,'gvproxy_path':'g','macos_sandbox_profile':null,"
	"'ports':[{'protocol':'tcp','host_port':8080,'guest_port':80},"
	"{'protocol':'udp','host_port':65535,'guest_port':1,'host_address':'::'}]},"
	"'balloon':{'amount_mib':1,'deflate_on_oom':false},'other':[{}],"
	"'drives':[{'drive_id':'a','is_root_device':true},{'drive_id':'b-','is_root_device':false}],"
	"'boot-source':{'kernel_image_path':'k'},"
	"'cpu-config':{'kvm_capabilities':['1']},'logger':{'level':'Error'},"
	"'machine-config':{'vcpu_count':2,'mem_size_mib':256},'metrics':{'metrics_path':'m'},"
	"'mmds-config':{'network_interfaces':['e']},'network-interfaces':[{'iface_id':'e',"
	"'host_dev_name':'t'}],'vsock':{'guest_cid':3,'uds_path':'v'},'entropy':{},"
	"'pmem':[{'pmem_id':'p','path_on_host':'/p'}],'hotplug-memory':{'total_size_mib':1024},"
	"'serial':{'serial_out_path':'o'},'mmds': {'a': 1} }";

static void files_become_structs(void **state)
{
	struct config_file file = { 0 };
	struct body body;

	(void)state;
	body_init(&body, full_file);
	expect_result(&body, "file", full_file, decode_file(&body, X86, &file), NULL);
	assert_int_equal(file.balloon->amount_mib, 1);
	assert_int_equal(file.drive_count, 2);
	assert_string_equal(file.drives[1]->drive_id, "b-");	/* ids are not checked in files */
	assert_string_equal(file.boot_source->kernel_image_path, "k");
	assert_int_equal(file.cpu_config->kvm_capability_count, 1);
	assert_null(file.cpu_config_path);
	assert_int_equal(file.logger->level, SQUIB_LOG_ERROR);
	assert_int_equal(file.machine_config->vcpu_count, 2);
	assert_string_equal(file.metrics->metrics_path, "m");
	assert_int_equal(file.mmds_config->network_interface_count, 1);
	assert_string_equal(file.network_interfaces[0]->host_dev_name, "t");
	assert_int_equal(file.vsock->guest_cid, 3);
	assert_null(file.entropy->rate_limiter);
	assert_string_equal(file.pmems[0]->id, "p");
	assert_int_equal(file.memory_hotplug->total_size_mib, 1024);
	assert_string_equal(file.serial->serial_out_path, "o");
	assert_int_equal(file.mmds_len, 8);
	assert_string_equal(file.mmds, "{\"a\": 1}");
	assert_string_equal(file.network, "bridged");
	assert_int_equal(file.port_count, 2);
	assert_int_equal(file.ports[0].protocol, CONFIG_PORT_TCP);
	assert_string_equal(file.ports[0].host_address, "127.0.0.1");
	assert_int_equal(file.ports[0].host_port, 8080);
	assert_int_equal(file.ports[0].guest_port, 80);
	assert_int_equal(file.ports[1].protocol, CONFIG_PORT_UDP);
	assert_string_equal(file.ports[1].host_address, "::");
	assert_int_equal(file.ports[1].host_port, 65535);
	assert_int_equal(file.ports[1].guest_port, 1);
	body_done(&body);
}

#define NEEDED "'drives':[],'boot-source':{'kernel_image_path':'k'}"

static void files_are_accepted_and_refused(void **state)
{
	static const struct {
		const char *name;
		enum squib_arch arch;
		const char *json;
		const char *want;
	} cases[] = {
		{ "only what is required", X86, "{" NEEDED "}", NULL },
		{ "null for every single device", X86,
		  "{" NEEDED ",'balloon':null,'cpu-config':null,'logger':null,'machine-config':null,"
		  "'metrics':null,'mmds-config':null,'vsock':null,'entropy':null,'memory-hotplug':null,"
		  "'serial':null,'squib':null}", NULL },
		{ "nothing: drives are missed first", X86, "{}",
		  "missing field `drives` at line 1 column 2" },
		{ "no boot source", X86, "{'drives':[]}",
		  "missing field `boot-source` at line 1 column 13" },
		{ "no object", X86, "[]",
		  "invalid type: sequence, expected struct VmmConfig at line 1 column 0" },
		{ "null for a list", X86, "{'pmem':null}",
		  "invalid type: null, expected a sequence at line 1 column 12" },
		{ "fault inside, position of the file", X86,
		  "{\n 'machine-config': {\n  'vcpu_count': 'two'\n }}",
		  "invalid type: string \"two\", expected u8 at line 3 column 21" },
		{ "unknown key inside", X86, "{'vsock':{'cid':3}}",
		  "unknown field `cid`, expected one of `vsock_id`, `guest_cid`, `uds_path` at line 1 column 15" },
		{ "key twice", X86, "{'vsock':null,'vsock':null}",
		  "duplicate field `vsock` at line 1 column 21" },
		{ "key by both names", X86, "{'memory-hotplug':null,'hotplug-memory':null}",
		  "duplicate field `memory-hotplug` at line 1 column 39" },
		{ "path of a template", ARM, "{'cpu-config':'/t'," NEEDED "}", NULL },
		{ "neither path nor template", X86, "{'cpu-config':7 ," NEEDED "}",
		  "data did not match any variant of untagged enum CustomCpuTemplateOrPath at line 1 column 16" },
		{ "array for a template", X86, "{'cpu-config':[]}",
		  "data did not match any variant of untagged enum CustomCpuTemplateOrPath at line 1 column 17" },
		{ "template of the other architecture", X86, "{'cpu-config':{'reg_modifiers':[]}}",
		  "data did not match any variant of untagged enum CustomCpuTemplateOrPath at line 1 column 35" },
		{ "broken template", X86, "{'cpu-config':{'x':01}}", "invalid number at line 1 column 21" },
		{ "template with a register of 8 bits", ARM,
		  "{'cpu-config':{'reg_modifiers':[{'addr':'0x6000000000000000','bitmap':'1'}]}}",
		  "Invalid aarch64 register address: 0x6000000000000000 - Only 32, 64 and 128 bit wide registers are supported" },
		{ "unknown key in squib's section", X86, "{'squib':{'net':'host'}}",
		  "unknown field `net`, expected one of `network`, `vsock_tsi`, `gvproxy_path`, `macos_sandbox_profile`, `ports` at line 1 column 15" },
		{ "unknown network", X86, "{'squib':{'network':'nat'}}",
		  "unknown variant `nat`, expected one of `shared`, `bridged`, `host`, `userspace` at line 1 column 25" },
		{ "no ports", X86, "{'squib':{'ports':[]}," NEEDED "}", NULL },
		{ "null for ports and for an address", X86,
		  "{'squib':{'ports':[{'protocol':'tcp','host_port':1,'guest_port':1,"
		  "'host_address':null}]}," NEEDED "}", NULL },
		{ "ports as a number", X86, "{'squib':{'ports':80}}",
		  "invalid type: integer `80`, expected a sequence at line 1 column 20" },
		{ "a port as text", X86, "{'squib':{'ports':['tcp:1:1']}}",
		  "invalid type: string \"tcp:1:1\", expected struct PortConfig at line 1 column 28" },
		{ "a port without a protocol", X86, "{'squib':{'ports':[{'host_port':1,'guest_port':1}]}}",
		  "missing field `protocol` at line 1 column 49" },
		{ "a port without the host's", X86, "{'squib':{'ports':[{'protocol':'tcp','guest_port':1}]}}",
		  "missing field `host_port` at line 1 column 52" },
		{ "a port without the guest's", X86, "{'squib':{'ports':[{'protocol':'tcp','host_port':1}]}}",
		  "missing field `guest_port` at line 1 column 51" },
		{ "another protocol", X86, "{'squib':{'ports':[{'protocol':'sctp'}]}}",
		  "unknown variant `sctp`, expected `tcp` or `udp` at line 1 column 37" },
		{ "port zero", X86, "{'squib':{'ports':[{'host_port':0 }]}}",
		  "invalid value: integer `0`, expected a nonzero u16 at line 1 column 33" },
		{ "a port that is too large", X86, "{'squib':{'ports':[{'guest_port':65536}]}}",
		  "invalid value: integer `65536`, expected a nonzero u16 at line 1 column 38" },
		{ "a port as a string", X86, "{'squib':{'ports':[{'guest_port':'80'}]}}",
		  "invalid type: string \"80\", expected a nonzero u16 at line 1 column 37" },
		{ "a name for an address", X86, "{'squib':{'ports':[{'host_address':'localhost'}]}}",
		  "invalid IP address syntax at line 1 column 46" },
		{ "an address with more behind it", X86, "{'squib':{'ports':[{'host_address':'127.0.0.1/8'}]}}",
		  "invalid IP address syntax at line 1 column 48" },
		{ "an address that is too long", X86,
		  "{'squib':{'ports':[{'host_address':'1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc'}]}}",
		  "invalid IP address syntax at line 1 column 96" },
		{ "an address as a number", X86, "{'squib':{'ports':[{'host_address':1}]}}",
		  "invalid type: integer `1`, expected IP address at line 1 column 36" },
		{ "an unknown key of a port", X86, "{'squib':{'ports':[{'host':1}]}}",
		  "unknown field `host`, expected one of `protocol`, `host_address`, `host_port`, `guest_port` at line 1 column 26" },
		{ "broken metadata", X86, "{'mmds':[1,]}", "trailing comma at line 1 column 12" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config_file file = { 0 };
		struct body body;

		body_init(&body, cases[i].json);
		expect_result(&body, cases[i].name, cases[i].json,
			      decode_file(&body, cases[i].arch, &file), cases[i].want);
		assert_true((cases[i].want == NULL) == (file.boot_source != NULL));
		body_done(&body);
	}
}

static void memory_may_run_out_anywhere(void **state)
{
	int r = -ENOMEM;
	int allowed = 0;

	(void)state;
	for (; r == -ENOMEM; allowed++) {
		struct config_file file = { 0 };
		struct body body;

		body_init(&body, full_file);
		allocations_left = allowed;
		r = decode_file(&body, X86, &file);
		allocations_left = -1;
		assert_true((r == 0) == (file.boot_source != NULL));
		body_done(&body);
	}
	assert_int_equal(r, 0);
}

/* What fits the first block of the arena takes no memory beyond it. */
static void a_usual_body_is_decoded_in_the_arena(void **state)
{
	static const char json[] = "{'vcpu_count':2,'mem_size_mib':1024,'smt':false,'huge_pages':'2M'}";
	struct body body;
	int r;

	(void)state;
	body_init(&body, json);
	allocations_left = 0;
	r = body_decode(&body, SQUIB_PUT_MACHINE_CONFIG, X86);
	assert_int_equal(allocations_left, 0);
	allocations_left = -1;
	expect_result(&body, "usual", json, r, NULL);
	body_done(&body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_accepted_and_refused),
		cmocka_unit_test(every_beginning_of_a_body_is_a_fault),
		cmocka_unit_test(texts_of_the_contract),
		cmocka_unit_test(simple_bodies_become_structs),
		cmocka_unit_test(machine_config_becomes_a_struct),
		cmocka_unit_test(devices_become_structs),
		cmocka_unit_test(observability_becomes_structs),
		cmocka_unit_test(cpu_templates_become_structs),
		cmocka_unit_test(snapshot_loads_are_folded),
		cmocka_unit_test(deprecated_uses_are_told),
		cmocka_unit_test(faults_become_what_clients_get),
		cmocka_unit_test(ids_are_short_and_plain),
		cmocka_unit_test(files_become_structs),
		cmocka_unit_test(files_are_accepted_and_refused),
		cmocka_unit_test(memory_may_run_out_anywhere),
		cmocka_unit_test(a_usual_body_is_decoded_in_the_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
