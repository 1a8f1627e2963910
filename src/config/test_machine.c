/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine description: what it refuses, what accepted changes add up to, and how that looks.
 *
 * Configs are written as literals and copied into an arena that the test lets go of at once, so
 * that the sanitizers see whatever the description fails to hold. --wrap makes memory run out.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/machine.h"
#include "config/render.h"

/* Allocations until the next one fails; negative: none does. */
static int allocations_left = -1;

static bool allocation_fails(void)
{
	return allocations_left >= 0 && allocations_left-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
	return allocation_fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return allocation_fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_reallocarray(void *p, size_t count, size_t size)
{
	return allocation_fails() ? NULL : __real_reallocarray(p, count, size);
}

/* Copies into an arena, as a decoder would have made them. */

static const char *dup_string(struct arena *arena, const char *s)
{
	return s != NULL ? arena_strdup(arena, s) : NULL;
}

static const struct squib_token_bucket *dup_bucket(struct arena *arena,
						   const struct squib_token_bucket *bucket)
{
	return bucket != NULL ? (const void *)arena_memdup(arena, bucket, sizeof(*bucket)) : NULL;
}

static const struct squib_rate_limiter *dup_limiter(struct arena *arena,
						    const struct squib_rate_limiter *limiter)
{
	struct squib_rate_limiter *copy;

	if (limiter == NULL)
		return NULL;
	copy = arena_new_object(arena, struct squib_rate_limiter);
	copy->bandwidth = dup_bucket(arena, limiter->bandwidth);
	copy->ops = dup_bucket(arena, limiter->ops);
	return copy;
}

#define DUP(arena, config) ((void *)arena_memdup((arena), (config), sizeof(*(config))))

static const void *dup_drive(struct arena *arena, const struct squib_drive *config)
{
	struct squib_drive *copy = DUP(arena, config);

	copy->drive_id = dup_string(arena, config->drive_id);
	copy->partuuid = dup_string(arena, config->partuuid);
	copy->path_on_host = dup_string(arena, config->path_on_host);
	copy->socket = dup_string(arena, config->socket);
	copy->rate_limiter = dup_limiter(arena, config->rate_limiter);
	return copy;
}

static const void *dup_drive_update(struct arena *arena, const struct squib_drive_update *config)
{
	struct squib_drive_update *copy = DUP(arena, config);

	copy->drive_id = dup_string(arena, config->drive_id);
	copy->path_on_host = dup_string(arena, config->path_on_host);
	copy->rate_limiter = dup_limiter(arena, config->rate_limiter);
	return copy;
}

static const void *dup_interface(struct arena *arena, const struct squib_network_interface *config)
{
	struct squib_network_interface *copy = DUP(arena, config);

	copy->iface_id = dup_string(arena, config->iface_id);
	copy->host_dev_name = dup_string(arena, config->host_dev_name);
	copy->rx_rate_limiter = dup_limiter(arena, config->rx_rate_limiter);
	copy->tx_rate_limiter = dup_limiter(arena, config->tx_rate_limiter);
	return copy;
}

static const void *dup_interface_update(struct arena *arena,
					const struct squib_network_interface_update *config)
{
	struct squib_network_interface_update *copy = DUP(arena, config);

	copy->rx_rate_limiter = dup_limiter(arena, config->rx_rate_limiter);
	copy->tx_rate_limiter = dup_limiter(arena, config->tx_rate_limiter);
	return copy;
}

static const void *dup_pmem(struct arena *arena, const struct squib_pmem *config)
{
	struct squib_pmem *copy = DUP(arena, config);

	copy->id = dup_string(arena, config->id);
	copy->path_on_host = dup_string(arena, config->path_on_host);
	copy->rate_limiter = dup_limiter(arena, config->rate_limiter);
	return copy;
}

static const void *dup_pmem_update(struct arena *arena, const struct squib_pmem_update *config)
{
	struct squib_pmem_update *copy = DUP(arena, config);

	copy->rate_limiter = dup_limiter(arena, config->rate_limiter);
	return copy;
}

static const void *dup_boot_source(struct arena *arena, const struct squib_boot_source *config)
{
	struct squib_boot_source *copy = DUP(arena, config);

	copy->kernel_image_path = dup_string(arena, config->kernel_image_path);
	copy->initrd_path = dup_string(arena, config->initrd_path);
	copy->boot_args = dup_string(arena, config->boot_args);
	return copy;
}

static const void *dup_vsock(struct arena *arena, const struct squib_vsock *config)
{
	struct squib_vsock *copy = DUP(arena, config);

	copy->uds_path = dup_string(arena, config->uds_path);
	return copy;
}

static const void *dup_entropy(struct arena *arena, const struct squib_entropy *config)
{
	struct squib_entropy *copy = DUP(arena, config);

	copy->rate_limiter = dup_limiter(arena, config->rate_limiter);
	return copy;
}

static const void *dup_serial(struct arena *arena, const struct squib_serial *config)
{
	struct squib_serial *copy = DUP(arena, config);

	copy->serial_out_path = dup_string(arena, config->serial_out_path);
	copy->rate_limiter = dup_bucket(arena, config->rate_limiter);
	return copy;
}

static const void *dup_mmds_config(struct arena *arena, const struct squib_mmds_config *config)
{
	struct squib_mmds_config *copy = DUP(arena, config);
	const char **ids = arena_alloc(arena, config->network_interface_count * sizeof(*ids));

	for (size_t i = 0; i < config->network_interface_count; i++)
		ids[i] = dup_string(arena, config->network_interfaces[i]);
	copy->network_interfaces = ids;
	return copy;
}

static const void *dup_machine_update(struct arena *arena,
				      const struct squib_machine_config_update *config)
{
	struct squib_machine_config_update *copy = DUP(arena, config);

#define DUP_FIELD(name)                                                                            \
	if (config->name != NULL)                                                                  \
	copy->name = DUP(arena, config->name)
	DUP_FIELD(vcpu_count);
	DUP_FIELD(mem_size_mib);
	DUP_FIELD(smt);
	DUP_FIELD(cpu_template);
	DUP_FIELD(track_dirty_pages);
	DUP_FIELD(huge_pages);
#undef DUP_FIELD
	return copy;
}

static const void *dup_config(struct arena *arena, enum squib_action_type type, const void *config)
{
	static const size_t plain[SQUIB_ACTION_TYPE_COUNT] = {
		[SQUIB_PUT_MACHINE_CONFIG] = sizeof(struct squib_machine_config),
		[SQUIB_PUT_CPU_CONFIG] = sizeof(struct squib_cpu_config),
		[SQUIB_PUT_BALLOON] = sizeof(struct squib_balloon),
		[SQUIB_PATCH_BALLOON] = sizeof(struct squib_balloon_update),
		[SQUIB_PATCH_BALLOON_STATISTICS] = sizeof(struct squib_balloon_stats_update),
		[SQUIB_PUT_MEMORY_HOTPLUG] = sizeof(struct squib_memory_hotplug),
		[SQUIB_PATCH_MEMORY_HOTPLUG] = sizeof(struct squib_memory_hotplug_update),
	};

	if (plain[type] > 0)
		return arena_memdup(arena, config, plain[type]);
	switch (type) {
	case SQUIB_PATCH_MACHINE_CONFIG:
		return dup_machine_update(arena, config);
	case SQUIB_PUT_BOOT_SOURCE:
		return dup_boot_source(arena, config);
	case SQUIB_PUT_DRIVE:
		return dup_drive(arena, config);
	case SQUIB_PATCH_DRIVE:
		return dup_drive_update(arena, config);
	case SQUIB_PUT_NETWORK_INTERFACE:
		return dup_interface(arena, config);
	case SQUIB_PATCH_NETWORK_INTERFACE:
		return dup_interface_update(arena, config);
	case SQUIB_PUT_PMEM:
		return dup_pmem(arena, config);
	case SQUIB_PATCH_PMEM:
		return dup_pmem_update(arena, config);
	case SQUIB_PUT_VSOCK:
		return dup_vsock(arena, config);
	case SQUIB_PUT_ENTROPY:
		return dup_entropy(arena, config);
	case SQUIB_PUT_SERIAL:
		return dup_serial(arena, config);
	case SQUIB_PUT_MMDS_CONFIG:
		return dup_mmds_config(arena, config);
	default:
		return NULL;
	}
}

/* Short spellings, so that a sequence of requests reads as one. */
#define DRIVE(...)          (&(const struct squib_drive){ __VA_ARGS__ })
#define DRIVE_UPDATE(...)   (&(const struct squib_drive_update){ __VA_ARGS__ })
#define NET(...)            (&(const struct squib_network_interface){ __VA_ARGS__ })
#define NET_UPDATE(...)     (&(const struct squib_network_interface_update){ __VA_ARGS__ })
#define PMEM(...)           (&(const struct squib_pmem){ __VA_ARGS__ })
#define PMEM_UPDATE(...)    (&(const struct squib_pmem_update){ __VA_ARGS__ })
#define MACHINE(...)        (&(const struct squib_machine_config){ __VA_ARGS__ })
#define MACHINE_UPDATE(...) (&(const struct squib_machine_config_update){ __VA_ARGS__ })
#define BALLOON(...)        (&(const struct squib_balloon){ __VA_ARGS__ })
#define HOTPLUG(total, block, slot)                                                                \
	(&(const struct squib_memory_hotplug){ (total), (block), (slot) })
#define LIMITER(...) (&(const struct squib_rate_limiter){ __VA_ARGS__ })
#define BUCKET(size, burst, refill)                                                                \
	(&(const struct squib_token_bucket){ (size), (burst), (refill) })
#define VCPUS(n)       (&(const uint8_t){ (n) })
#define MIB(n)         (&(const uint64_t){ (n) })
#define BOOL(b)        (&(const bool){ (b) })
#define TEMPLATE(name) (&(const enum squib_cpu_template){ SQUIB_CPU_TEMPLATE_##name })
#define PAGES(name)    (&(const enum squib_huge_pages){ SQUIB_HUGE_PAGES_##name })
#define IDS(...)                                                                                   \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define MMDS_CONFIG(...)                                                                           \
	(&(const struct squib_mmds_config){ .ipv4_address = { 169, 254, 169, 254 }, __VA_ARGS__ })

static struct machine *machine_with(struct machine_rules rules)
{
	struct machine *machine = NULL;

	if (rules.limits.mmds_bytes == 0)
		rules.limits.mmds_bytes = 51200;
	assert_int_equal(machine_new(&rules, &machine), 0);
	return machine;
}

static struct machine *machine_plain(void)
{
	return machine_with((struct machine_rules){ .smt = SQUIB_SMT_ALLOWED });
}

/* The id a request has in its path. */
static const char *path_id(enum squib_action_type type, const void *config)
{
	switch (type) {
	case SQUIB_PUT_DRIVE:
		return ((const struct squib_drive *)config)->drive_id;
	case SQUIB_PATCH_DRIVE:
		return ((const struct squib_drive_update *)config)->drive_id;
	case SQUIB_PUT_NETWORK_INTERFACE:
		return ((const struct squib_network_interface *)config)->iface_id;
	case SQUIB_PATCH_NETWORK_INTERFACE:
		return ((const struct squib_network_interface_update *)config)->iface_id;
	case SQUIB_PUT_PMEM:
		return ((const struct squib_pmem *)config)->id;
	case SQUIB_PATCH_PMEM:
		return ((const struct squib_pmem_update *)config)->id;
	default:
		return NULL;
	}
}

static void apply(struct machine *machine, enum squib_action_type type, const void *config)
{
	struct arena *arena = arena_new();
	const void *copy = dup_config(arena, type, config);

	assert_int_equal(machine_apply(machine, type, path_id(type, config), copy, arena), 0);
	arena_unref(arena);
}

static void expect(struct machine *machine, enum squib_action_type type, bool post_boot,
		   const void *config, const char *want)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	int r = machine_check(machine, type, post_boot, path_id(type, config), config, &fault);

	assert_string_equal(fault_text(&fault), want != NULL ? want : "");
	/* a bad MTU takes the interface before along (contract 3.1) */
	if (want != NULL && !post_boot && strstr(want, "MTU") != NULL)
		assert_int_equal(r, -ESTALE);
	else
		assert_int_equal(r, want != NULL ? -EINVAL : 0);
}

/* Checked and then done: what the controller makes of a request the monitor acknowledges. */
static void accept_request(struct machine *machine, enum squib_action_type type, const void *config)
{
	expect(machine, type, false, config, NULL);
	apply(machine, type, config);
}

static char *vm_config(const struct machine *machine)
{
	struct buf out = BUF_INIT;

	machine_render_vm_config(machine, &out);
	return buf_take(&out);
}

static void expect_body(struct buf *out, const char *want)
{
	assert_string_equal(buf_str(out), want);
	buf_done(out);
}

static void expect_vm_config(const struct machine *machine, const char *want)
{
	char *got = vm_config(machine);

	assert_string_equal(got, want);
	free(got);
}

static void expect_machine_config(const struct machine *machine, const char *want)
{
	struct buf out = BUF_INIT;

	machine_render_machine_config(machine, &out);
	expect_body(&out, want);
}

static void expect_within_vm_config(const struct machine *machine, const char *want)
{
	char *got = vm_config(machine);

	if (strstr(got, want) == NULL)
		fail_msg("%s\nis not in\n%s", want, got);
	free(got);
}

static const struct squib_machine *view(const struct machine *machine, struct arena *arena)
{
	const struct squib_machine *v = NULL;

	assert_int_equal(machine_view(machine, arena, &v), 0);
	return v;
}

/* Ids in attach order, as "a b c". */
static void expect_drives(const struct machine *machine, const char *want)
{
	struct arena *arena = arena_new();
	const struct squib_machine *v = view(machine, arena);
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < v->drive_count; i++)
		buf_addf(&out, "%s%s", i > 0 ? " " : "", v->drives[i]->drive_id);
	expect_body(&out, want);
	arena_unref(arena);
}

static void expect_interfaces(const struct machine *machine, const char *want)
{
	struct arena *arena = arena_new();
	const struct squib_machine *v = view(machine, arena);
	struct buf out = BUF_INIT;

	for (size_t i = 0; i < v->network_interface_count; i++)
		buf_addf(&out, "%s%s", i > 0 ? " " : "", v->network_interfaces[i]->iface_id);
	expect_body(&out, want);
	arena_unref(arena);
}

#define VCPU_FAULT                                                                                 \
	"Machine config error: The number of vCPUs must be greater than 0, less than "             \
	"32 and must be 1 or an even number if SMT is enabled."
#define MEMORY_FAULT                                                                               \
	"Machine config error: The memory size (MiB) is either 0, or not a multiple "              \
	"of the configured page size."
#define BALLOON_SIZE_FAULT                                                                         \
	"Machine config error: The memory size (MiB) is smaller than the "                         \
	"previously set balloon device target size."
#define APPLE_SMT_FAULT "Invalid arch field for SMT: SMT not supported on Apple Silicon"

static void machine_config_is_checked_in_order(void **state)
{
	static const struct {
		const char *name;
		struct squib_machine_config config;
		const char *want;
	} cases[] = {
		{ "smallest", { .vcpu_count = 1, .mem_size_mib = 1 }, NULL },
		{ "no vCPU", { .vcpu_count = 0, .mem_size_mib = 128 }, VCPU_FAULT },
		{ "32 vCPUs", { .vcpu_count = 32, .mem_size_mib = 128 }, NULL },
		{ "33 vCPUs", { .vcpu_count = 33, .mem_size_mib = 128 }, VCPU_FAULT },
		{ "odd without smt", { .vcpu_count = 3, .mem_size_mib = 128 }, NULL },
		{ "odd with smt",
		  { .vcpu_count = 3, .mem_size_mib = 128, .smt = true },
		  VCPU_FAULT },
		{ "one with smt", { .vcpu_count = 1, .mem_size_mib = 128, .smt = true }, NULL },
		{ "even with smt", { .vcpu_count = 4, .mem_size_mib = 128, .smt = true }, NULL },
		{ "no memory", { .vcpu_count = 1, .mem_size_mib = 0 }, MEMORY_FAULT },
		{ "vCPUs before memory", { .vcpu_count = 0, .mem_size_mib = 0 }, VCPU_FAULT },
		{ "odd memory", { .vcpu_count = 1, .mem_size_mib = 129 }, NULL },
		{ "odd memory, 2M",
		  { .vcpu_count = 1, .mem_size_mib = 129, .huge_pages = SQUIB_HUGE_PAGES_2M },
		  MEMORY_FAULT },
		{ "odd memory, transparent",
		  { .vcpu_count = 1,
		    .mem_size_mib = 129,
		    .huge_pages = SQUIB_HUGE_PAGES_TRANSPARENT },
		  MEMORY_FAULT },
		{ "even memory, 2M",
		  { .vcpu_count = 1, .mem_size_mib = 128, .huge_pages = SQUIB_HUGE_PAGES_2M },
		  NULL },
		{ "largest", { .vcpu_count = 1, .mem_size_mib = UINT64_MAX }, NULL },
	};
	struct machine *machine = machine_plain();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("  %s\n", cases[i].name);
		expect(machine, SQUIB_PUT_MACHINE_CONFIG, false, &cases[i].config, cases[i].want);
	}
	machine_free(machine);
}

static void smt_depends_on_the_machine_behind(void **state)
{
	static const struct {
		enum squib_smt smt;
		const char *want;
	} cases[] = {
		{ SQUIB_SMT_ALLOWED, NULL },
		{ SQUIB_SMT_APPLE_SILICON, APPLE_SMT_FAULT },
		{ SQUIB_SMT_AARCH64,
		  "Machine config error: Enabling simultaneous multithreading is not "
		  "supported on aarch64. " APPLE_SMT_FAULT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine =
			machine_with((struct machine_rules){ .smt = cases[i].smt });

		expect(machine, SQUIB_PUT_MACHINE_CONFIG, false,
		       MACHINE(.vcpu_count = 2, .mem_size_mib = 128, .smt = true), cases[i].want);
		expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false,
		       MACHINE_UPDATE(.smt = BOOL(true)), cases[i].want);
		expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false,
		       MACHINE_UPDATE(.smt = BOOL(false)), NULL);
		if (cases[i].want != NULL) /* it comes before every other check */
			expect(machine, SQUIB_PUT_MACHINE_CONFIG, false, MACHINE(.smt = true),
			       cases[i].want);
		machine_free(machine);
	}
}

static void patch_is_checked_as_merged(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false, MACHINE_UPDATE(),
	       "Empty PATCH request.");
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 2, .mem_size_mib = 257, .smt = true));
	expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false, MACHINE_UPDATE(.vcpu_count = VCPUS(3)),
	       VCPU_FAULT);
	expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false,
	       MACHINE_UPDATE(.vcpu_count = VCPUS(3), .smt = BOOL(false)), NULL);
	expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false, MACHINE_UPDATE(.huge_pages = PAGES(2M)),
	       MEMORY_FAULT);
	expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false, MACHINE_UPDATE(.mem_size_mib = MIB(0)),
	       MEMORY_FAULT);
	accept_request(machine, SQUIB_PATCH_MACHINE_CONFIG,
		       MACHINE_UPDATE(.mem_size_mib = MIB(256), .huge_pages = PAGES(2M)));
	expect_machine_config(machine, "{\"vcpu_count\":2,\"mem_size_mib\":256,\"smt\":true,"
				       "\"track_dirty_pages\":false,\"huge_pages\":\"2M\"}");
	accept_request(machine, SQUIB_PATCH_MACHINE_CONFIG,
		       MACHINE_UPDATE(.vcpu_count = VCPUS(4), .smt = BOOL(false),
				      .track_dirty_pages = BOOL(true),
				      .huge_pages = PAGES(TRANSPARENT)));
	expect_machine_config(machine,
			      "{\"vcpu_count\":4,\"mem_size_mib\":256,\"smt\":false,"
			      "\"track_dirty_pages\":true,\"huge_pages\":\"Transparent\"}");
	machine_free(machine);
}

static void put_sets_every_field_but_the_template(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	expect_machine_config(machine, "{\"vcpu_count\":1,\"mem_size_mib\":128,\"smt\":false,"
				       "\"track_dirty_pages\":false,\"huge_pages\":\"None\"}");
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 2, .mem_size_mib = 512, .smt = true,
			       .has_cpu_template = true, .cpu_template = SQUIB_CPU_TEMPLATE_T2,
			       .track_dirty_pages = true, .huge_pages = SQUIB_HUGE_PAGES_2M));
	expect_machine_config(machine, "{\"vcpu_count\":2,\"mem_size_mib\":512,\"smt\":true,"
				       "\"cpu_template\":\"T2\",\"track_dirty_pages\":true,"
				       "\"huge_pages\":\"2M\"}");
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 3, .mem_size_mib = 64));
	expect_machine_config(machine, "{\"vcpu_count\":3,\"mem_size_mib\":64,\"smt\":false,"
				       "\"cpu_template\":\"T2\",\"track_dirty_pages\":false,"
				       "\"huge_pages\":\"None\"}");
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 3, .mem_size_mib = 64, .has_cpu_template = true,
			       .cpu_template = SQUIB_CPU_TEMPLATE_NONE));
	expect_machine_config(machine, "{\"vcpu_count\":3,\"mem_size_mib\":64,\"smt\":false,"
				       "\"track_dirty_pages\":false,\"huge_pages\":\"None\"}");
	machine_free(machine);
}

static void every_template_has_its_name(void **state)
{
	static const struct {
		enum squib_cpu_template cpu_template;
		const char *want;
	} cases[] = {
		{ SQUIB_CPU_TEMPLATE_C3, "\"smt\":false,\"cpu_template\":\"C3\",\"track" },
		{ SQUIB_CPU_TEMPLATE_T2, "\"smt\":false,\"cpu_template\":\"T2\",\"track" },
		{ SQUIB_CPU_TEMPLATE_T2S, "\"smt\":false,\"cpu_template\":\"T2S\",\"track" },
		{ SQUIB_CPU_TEMPLATE_NONE, "\"smt\":false,\"track" },
		{ SQUIB_CPU_TEMPLATE_T2CL, "\"smt\":false,\"cpu_template\":\"T2CL\",\"track" },
		{ SQUIB_CPU_TEMPLATE_T2A, "\"smt\":false,\"cpu_template\":\"T2A\",\"track" },
		{ SQUIB_CPU_TEMPLATE_V1N1, "\"smt\":false,\"cpu_template\":\"V1N1\",\"track" },
	};
	struct machine *machine = machine_plain();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		accept_request(machine, SQUIB_PATCH_MACHINE_CONFIG,
			       MACHINE_UPDATE(.cpu_template = &cases[i].cpu_template));
		expect_within_vm_config(machine, cases[i].want);
	}
	machine_free(machine);
}

static void expect_template(const struct machine *machine, bool is_static, bool custom)
{
	struct arena *arena = arena_new();
	const struct squib_machine *v = view(machine, arena);

	assert_int_equal(v->config.has_cpu_template, is_static);
	assert_int_equal(v->cpu_config != NULL, custom);
	arena_unref(arena);
}

static void of_cpu_config_and_template_the_last_wins(void **state)
{
	static const struct squib_cpu_config custom = { 0 };
	struct machine *machine = machine_plain();

	(void)state;
	expect_template(machine, false, false);
	accept_request(machine, SQUIB_PATCH_MACHINE_CONFIG,
		       MACHINE_UPDATE(.cpu_template = TEMPLATE(T2)));
	expect_template(machine, true, false);
	accept_request(machine, SQUIB_PUT_CPU_CONFIG, &custom);
	expect_template(machine, false, true);
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 1, .mem_size_mib = 128));
	expect_template(machine, false, true); /* an absent template keeps a custom one too */
	accept_request(machine, SQUIB_PATCH_MACHINE_CONFIG, MACHINE_UPDATE(.vcpu_count = VCPUS(2)));
	expect_template(machine, false, true);
	expect_within_vm_config(machine, "\"cpu-config\":null,");
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 1, .mem_size_mib = 128, .has_cpu_template = true,
			       .cpu_template = SQUIB_CPU_TEMPLATE_C3));
	expect_template(machine, true, false);
	accept_request(machine, SQUIB_PUT_CPU_CONFIG, &custom);
	accept_request(machine, SQUIB_PUT_CPU_CONFIG, &custom);
	accept_request(machine, SQUIB_PATCH_MACHINE_CONFIG,
		       MACHINE_UPDATE(.cpu_template = TEMPLATE(NONE)));
	expect_template(machine, false, false);
	machine_free(machine);
}

static void balloon_and_memory_bound_each_other(void **state)
{
	struct machine *machine = machine_plain();
	struct squib_balloon_update update = { .amount_mib = 65 };

	(void)state;
	expect(machine, SQUIB_PUT_BALLOON, false, BALLOON(.amount_mib = 129),
	       "Balloon config error: Amount of pages requested is too large.");
	accept_request(machine, SQUIB_PUT_BALLOON, BALLOON(.amount_mib = 128));
	expect(machine, SQUIB_PUT_MACHINE_CONFIG, false,
	       MACHINE(.vcpu_count = 1, .mem_size_mib = 127), BALLOON_SIZE_FAULT);
	expect(machine, SQUIB_PATCH_MACHINE_CONFIG, false, MACHINE_UPDATE(.mem_size_mib = MIB(127)),
	       BALLOON_SIZE_FAULT);
	expect(machine, SQUIB_PUT_MACHINE_CONFIG, false,
	       MACHINE(.vcpu_count = 1, .mem_size_mib = 128), NULL);
	accept_request(machine, SQUIB_PUT_BALLOON, BALLOON(.amount_mib = 0));
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 1, .mem_size_mib = 64));
	expect(machine, SQUIB_PATCH_BALLOON, true, &update,
	       "Balloon update error: Balloon: Requested memory should be less than 65MiB");
	update.amount_mib = 64;
	expect(machine, SQUIB_PATCH_BALLOON, true, &update, NULL);
	machine_free(machine);
}

static void balloon_pages_fit_32_bits(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 1, .mem_size_mib = UINT32_MAX));
	expect(machine, SQUIB_PUT_BALLOON, false, BALLOON(.amount_mib = 16777216),
	       "Balloon config error: Error creating the balloon device: Requested memory should "
	       "be less "
	       "than 16777215MiB");
	expect(machine, SQUIB_PUT_BALLOON, false, BALLOON(.amount_mib = 16777215), NULL);
	machine_free(machine);
}

static void balloon_does_only_what_it_was_configured_for(void **state)
{
	static const char hinting[] =
		"Balloon update error: Balloon: Attempting to use hinting when not enabled";
	static const char change[] = "Balloon update error: Balloon: Statistics cannot be "
				     "enabled/disabled after activation.";
	static const char off[] =
		"Internal VMM error: Balloon: Received stats query when stats are disabled.";
	static const struct squib_balloon_hinting_start start = { .acknowledge_on_stop = true };
	static const struct squib_balloon_stats_update zero = { 0 }, one = { 1 }, two = { 2 };
	struct machine *machine = machine_plain();

	(void)state;
	/* No balloon is known: the monitor says so. */
	expect(machine, SQUIB_PATCH_BALLOON, true, &(struct squib_balloon_update){ 9999 }, NULL);
	expect(machine, SQUIB_PATCH_BALLOON_STATISTICS, true, &one, NULL);
	expect(machine, SQUIB_GET_BALLOON_STATISTICS, true, NULL, NULL);
	expect(machine, SQUIB_BALLOON_HINTING_START, true, &start, NULL);

	accept_request(machine, SQUIB_PUT_BALLOON, BALLOON(.amount_mib = 1));
	expect(machine, SQUIB_BALLOON_HINTING_START, true, &start, hinting);
	expect(machine, SQUIB_BALLOON_HINTING_STOP, true, NULL, hinting);
	expect(machine, SQUIB_GET_BALLOON_HINTING_STATUS, true, NULL, hinting);
	expect(machine, SQUIB_BALLOON_HINTING_STATUS_PATCH, true, NULL, NULL);
	expect(machine, SQUIB_PATCH_BALLOON_STATISTICS, true, &zero, NULL);
	expect(machine, SQUIB_PATCH_BALLOON_STATISTICS, true, &one, change);
	expect(machine, SQUIB_GET_BALLOON_STATISTICS, true, NULL, off);

	accept_request(
		machine, SQUIB_PUT_BALLOON,
		BALLOON(.amount_mib = 1, .stats_polling_interval_s = 1, .free_page_hinting = true));
	expect(machine, SQUIB_BALLOON_HINTING_START, true, &start, NULL);
	expect(machine, SQUIB_BALLOON_HINTING_STOP, true, NULL, NULL);
	expect(machine, SQUIB_GET_BALLOON_HINTING_STATUS, true, NULL, NULL);
	expect(machine, SQUIB_PATCH_BALLOON_STATISTICS, true, &zero, change);
	expect(machine, SQUIB_PATCH_BALLOON_STATISTICS, true, &one, NULL);
	expect(machine, SQUIB_PATCH_BALLOON_STATISTICS, true, &two, NULL);
	expect(machine, SQUIB_GET_BALLOON_STATISTICS, true, NULL, NULL);
	machine_free(machine);
}

static void balloon_is_replaced_and_patched(void **state)
{
	struct machine *machine = machine_plain();
	struct buf out = BUF_INIT;

	(void)state;
	assert_false(machine_render_balloon(machine, &out));
	assert_int_equal(out.len, 0);
	accept_request(machine, SQUIB_PUT_BALLOON,
		       BALLOON(.amount_mib = 8, .deflate_on_oom = true,
			       .stats_polling_interval_s = 5, .free_page_hinting = true,
			       .free_page_reporting = true));
	assert_true(machine_render_balloon(machine, &out));
	expect_body(&out,
		    "{\"amount_mib\":8,\"deflate_on_oom\":true,\"stats_polling_interval_s\":5,"
		    "\"free_page_hinting\":true,\"free_page_reporting\":true}");
	apply(machine, SQUIB_PATCH_BALLOON, &(struct squib_balloon_update){ 16 });
	apply(machine, SQUIB_PATCH_BALLOON_STATISTICS,
	      &(struct squib_balloon_stats_update){ 65535 });
	assert_true(machine_render_balloon(machine, &out));
	expect_body(&out,
		    "{\"amount_mib\":16,\"deflate_on_oom\":true,\"stats_polling_interval_s\":65535,"
		    "\"free_page_hinting\":true,\"free_page_reporting\":true}");
	accept_request(machine, SQUIB_PUT_BALLOON, BALLOON(.amount_mib = 0));
	assert_true(machine_render_balloon(machine, &out));
	expect_body(&out,
		    "{\"amount_mib\":0,\"deflate_on_oom\":false,\"stats_polling_interval_s\":0,"
		    "\"free_page_hinting\":false,\"free_page_reporting\":false}");
	machine_free(machine);
}

#define INVALID_DRIVE                                                                              \
	"Drive config error: Unable to create the virtio block device: Invalid block config."

static void a_drive_is_of_one_kind(void **state)
{
	static const struct squib_rate_limiter limiter = { 0 };
	static const struct {
		const char *name;
		struct squib_drive drive;
		const char *want;
	} cases[] = {
		{ "virtio", { .path_on_host = "/d" }, NULL },
		{ "virtio with all its fields",
		  { .path_on_host = "/d",
		    .has_is_read_only = true,
		    .has_io_engine = true,
		    .rate_limiter = &limiter },
		  NULL },
		{ "vhost-user", { .socket = "/s" }, NULL },
		{ "neither", { 0 }, INVALID_DRIVE },
		{ "both", { .path_on_host = "/d", .socket = "/s" }, INVALID_DRIVE },
		{ "vhost-user, read only",
		  { .socket = "/s", .has_is_read_only = true },
		  INVALID_DRIVE },
		{ "vhost-user, engine", { .socket = "/s", .has_io_engine = true }, INVALID_DRIVE },
		{ "vhost-user, limiter",
		  { .socket = "/s", .rate_limiter = &limiter },
		  INVALID_DRIVE },
	};
	struct machine *machine = machine_plain();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct squib_drive drive = cases[i].drive;

		print_message("  %s\n", cases[i].name);
		drive.drive_id = "d";
		expect(machine, SQUIB_PUT_DRIVE, false, &drive, cases[i].want);
	}
	machine_free(machine);
}

static void drives_keep_their_slots(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	expect_drives(machine, "");
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("a", .path_on_host = "/a"));
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("b", .path_on_host = "/b"));
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("c", .path_on_host = "/c"));
	expect_drives(machine, "a b c");
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("b", .path_on_host = "/b2"));
	expect_drives(machine, "a b c");
	expect_within_vm_config(machine, "\"path_on_host\":\"/b2\"");
	/* A new root goes to the front, and everything else moves back. */
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("r", .path_on_host = "/r", .is_root_device = true));
	expect_drives(machine, "r a b c");
	/* Another one is refused, also under an id that is known. */
	expect(machine, SQUIB_PUT_DRIVE, false,
	       DRIVE("c", .path_on_host = "/c", .is_root_device = true),
	       "Drive config error: A root block device already exists!");
	expect(machine, SQUIB_PUT_DRIVE, false,
	       DRIVE("n", .path_on_host = "/n", .is_root_device = true),
	       "Drive config error: A root block device already exists!");
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("r", .path_on_host = "/r2", .is_root_device = true));
	expect_drives(machine, "r a b c");
	/* The root may stop being one; then a known drive that becomes root swaps with the first.
	 */
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("r", .path_on_host = "/r"));
	expect_drives(machine, "r a b c");
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("b", .path_on_host = "/b", .is_root_device = true));
	expect_drives(machine, "b a r c");
	machine_free(machine);
}

static void the_first_drive_may_become_root_in_place(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("a", .path_on_host = "/a"));
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("b", .path_on_host = "/b"));
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("a", .path_on_host = "/a", .is_root_device = true));
	expect_drives(machine, "a b");
	machine_free(machine);
}

static void there_is_one_root(void **state)
{
	static const char drive_fault[] =
		"Drive config error: Attempt to add block as a root device "
		"while the root device defined as a pmem device";
	static const char pmem_fault[] =
		"Pmem config error: Attempt to add pmem as a root device while "
		"the root device defined as a block device";
	static const char second_pmem[] = "Pmem config error: A root pmem device already exist";
	struct machine *machine = machine_plain();

	(void)state;
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("d", .path_on_host = "/d", .is_root_device = true));
	expect(machine, SQUIB_PUT_PMEM, false, PMEM("p", "/p", .root_device = true), pmem_fault);
	accept_request(machine, SQUIB_PUT_PMEM, PMEM("p", "/p"));
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("d", .path_on_host = "/d"));
	accept_request(machine, SQUIB_PUT_PMEM, PMEM("q", "/q", .root_device = true));
	expect(machine, SQUIB_PUT_PMEM, false, PMEM("p", "/p", .root_device = true), second_pmem);
	expect(machine, SQUIB_PUT_PMEM, false, PMEM("n", "/n", .root_device = true), second_pmem);
	expect(machine, SQUIB_PUT_PMEM, false, PMEM("q", "/q2", .root_device = true), NULL);
	expect(machine, SQUIB_PUT_DRIVE, false,
	       DRIVE("d", .path_on_host = "/d", .is_root_device = true), drive_fault);
	/* The root is looked at before the kind of the drive. */
	expect(machine, SQUIB_PUT_DRIVE, false, DRIVE("d", .is_root_device = true), drive_fault);
	/* Replaced in place: a pmem root may stand behind others. */
	accept_request(machine, SQUIB_PUT_PMEM,
		       PMEM("q", "/q2", .root_device = true, .read_only = true));
	expect_within_vm_config(machine, "\"pmem\":[{\"id\":\"p\",\"path_on_host\":\"/"
					 "p\",\"root_device\":false,\"read_only\":false,"
					 "\"rate_limiter\":null},{\"id\":\"q\",\"path_on_host\":\"/"
					 "q2\",\"root_device\":true,"
					 "\"read_only\":true,\"rate_limiter\":null}]");
	machine_free(machine);
}

static void hotplug_leaves_the_monitor_its_refusals(void **state)
{
	struct machine *off = machine_with((struct machine_rules){ .pci = false });
	struct machine *on = machine_with((struct machine_rules){ .pci = true });
	const struct squib_drive *bad = DRIVE("n");
	const struct squib_drive *root = DRIVE("n", .path_on_host = "/n", .is_root_device = true);
	const struct squib_network_interface *mtu = NET("n", "tap1", .has_mtu = true, .mtu = 67);

	(void)state;
	expect(off, SQUIB_PUT_DRIVE, true, bad, NULL); /* PCI is not enabled */
	expect(off, SQUIB_PUT_DRIVE, true, root, NULL);
	expect(off, SQUIB_PUT_NETWORK_INTERFACE, true, mtu, NULL);
	expect(off, SQUIB_PUT_PMEM, true, PMEM("n", "/n", .root_device = true), NULL);

	expect(on, SQUIB_PUT_DRIVE, true, bad, INVALID_DRIVE);
	expect(on, SQUIB_PUT_DRIVE, true, root,
	       "Drive config error: A root block device already exists!");
	expect(on, SQUIB_PUT_NETWORK_INTERFACE, true, mtu,
	       "Network config error: Could not create the network device: MTU 67 is out of range "
	       "[68, 65535]");
	expect(on, SQUIB_PUT_PMEM, true, PMEM("n", "/n", .root_device = true),
	       "Pmem config error: Attempt to add pmem as a root device while the root device "
	       "defined as a "
	       "block device");
	apply(on, SQUIB_PUT_DRIVE, DRIVE("n", .path_on_host = "/n"));
	expect(on, SQUIB_PUT_DRIVE, true, bad, NULL); /* Device ID in use */
	machine_free(off);
	machine_free(on);
}

static void drive_patch_must_fit_the_kind(void **state)
{
	static const char fault[] = "Drive config error: Unable to patch the block device: Block: "
				    "Running method expected "
				    "different backend. Please verify the request arguments.";
	struct machine *machine = machine_plain();

	(void)state;
	apply(machine, SQUIB_PUT_DRIVE, DRIVE("virtio", .path_on_host = "/d"));
	apply(machine, SQUIB_PUT_DRIVE, DRIVE("vhost", .socket = "/s"));
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("unknown"), NULL);
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("virtio"), fault);
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("virtio", .path_on_host = "/n"),
	       NULL);
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("virtio", .rate_limiter = LIMITER()),
	       NULL);
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("vhost"), NULL);
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("vhost", .path_on_host = "/n"),
	       fault);
	expect(machine, SQUIB_PATCH_DRIVE, true, DRIVE_UPDATE("vhost", .rate_limiter = LIMITER()),
	       fault);
	apply(machine, SQUIB_PATCH_DRIVE, DRIVE_UPDATE("vhost"));
	apply(machine, SQUIB_PATCH_DRIVE, DRIVE_UPDATE("unknown", .path_on_host = "/n"));
	expect_drives(machine, "virtio vhost");
	machine_free(machine);
}

static void drives_look_like_this(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	apply(machine, SQUIB_PUT_DRIVE,
	      DRIVE("vhost", .partuuid = "0eaa-01", .socket = "/s \"x\"",
		    .cache_type = SQUIB_CACHE_WRITEBACK));
	apply(machine, SQUIB_PUT_DRIVE,
	      DRIVE("virtio", .path_on_host = "/d", .is_read_only = true,
		    .io_engine = SQUIB_IO_ENGINE_ASYNC,
		    .rate_limiter = LIMITER(.bandwidth = BUCKET(1, 2, 3))));
	expect_within_vm_config(
		machine,
		"\"drives\":["
		"{\"drive_id\":\"vhost\",\"partuuid\":\"0eaa-01\",\"is_root_device\":false,"
		"\"cache_type\":\"Writeback\",\"is_read_only\":null,\"path_on_host\":null,"
		"\"rate_limiter\":null,\"io_engine\":null,\"socket\":\"/s \\\"x\\\"\"},"
		"{\"drive_id\":\"virtio\",\"partuuid\":null,\"is_root_device\":false,"
		"\"cache_type\":\"Unsafe\",\"is_read_only\":true,\"path_on_host\":\"/d\","
		"\"rate_limiter\":{\"bandwidth\":{\"size\":1,\"one_time_burst\":2,\"refill_time\":"
		"3},"
		"\"ops\":null},\"io_engine\":\"Async\",\"socket\":null}],");
	machine_free(machine);
}

static void limiters_are_echoed_as_they_limit(void **state)
{
	static const struct squib_token_bucket plain = { 1, 0, 3 }, burst = { UINT64_MAX, 7, 1 };
	static const struct squib_token_bucket empty = { 0, 7, 3 }, instant = { 1, 7, 0 };
	static const struct squib_token_bucket longest = { 1, 0, UINT64_MAX / 1000000 };
	static const struct squib_token_bucket too_long = { 1, 0, UINT64_MAX / 1000000 + 1 };
	static const struct {
		const char *name;
		struct squib_rate_limiter limiter;
		const char *want;
	} cases[] = {
		{ "no bucket", { NULL, NULL }, "null" },
		{ "no tokens", { &empty, NULL }, "null" },
		{ "no refill time", { NULL, &instant }, "null" },
		{ "neither limits", { &instant, &empty }, "null" },
		{ "bandwidth",
		  { &plain, NULL },
		  "{\"bandwidth\":{\"size\":1,\"one_time_burst\":null,\"refill_time\":3},\"ops\":"
		  "null}" },
		{ "ops",
		  { &empty, &burst },
		  "{\"bandwidth\":null,\"ops\":{\"size\":18446744073709551615,\"one_time_burst\":7,"
		  "\"refill_time\":1}}" },
		{ "longest refill time",
		  { &longest, NULL },
		  "{\"bandwidth\":{\"size\":1,\"one_time_burst\":null,\"refill_time\":"
		  "18446744073709},"
		  "\"ops\":null}" },
		{ "refill time over 64 bits of nanoseconds", { &too_long, NULL }, "null" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = BUF_INIT;

		print_message("  %s\n", cases[i].name);
		render_rate_limiter(&out, &cases[i].limiter);
		expect_body(&out, cases[i].want);
	}
}

#define BUCKET_JSON(size) "{\"size\":" size ",\"one_time_burst\":null,\"refill_time\":1}"

static void a_limiter_patch_merges_bucket_by_bucket(void **state)
{
	static const struct squib_token_bucket old = { 1, 0, 1 }, new = { 2, 0, 1 },
					       none = { 0, 0, 0 };
	static const struct squib_rate_limiter both = { &old, &old };
	static const struct {
		const char *name;
		const struct squib_rate_limiter *before;
		struct squib_rate_limiter patch;
		const char *want;
	} cases[] = {
		{ "nothing, with none before", NULL, { NULL, NULL }, "null" },
		{ "nothing",
		  &both,
		  { NULL, NULL },
		  "{\"bandwidth\":" BUCKET_JSON("1") ",\"ops\":" BUCKET_JSON("1") "}" },
		{ "one replaced",
		  &both,
		  { &new, NULL },
		  "{\"bandwidth\":" BUCKET_JSON("2") ",\"ops\":" BUCKET_JSON("1") "}" },
		{ "one removed",
		  &both,
		  { NULL, &none },
		  "{\"bandwidth\":" BUCKET_JSON("1") ",\"ops\":null}" },
		{ "one replaced, one removed",
		  &both,
		  { &none, &new },
		  "{\"bandwidth\":null,\"ops\":" BUCKET_JSON("2") "}" },
		{ "both removed", &both, { &none, &none }, "null" },
		{ "one added",
		  NULL,
		  { NULL, &new },
		  "{\"bandwidth\":null,\"ops\":" BUCKET_JSON("2") "}" },
		{ "none removed", NULL, { &none, NULL }, "null" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct machine *machine = machine_plain();
		struct buf want = BUF_INIT;

		print_message("  %s\n", cases[i].name);
		apply(machine, SQUIB_PUT_DRIVE,
		      DRIVE("d", .path_on_host = "/d", .rate_limiter = cases[i].before));
		apply(machine, SQUIB_PATCH_DRIVE,
		      DRIVE_UPDATE("d", .rate_limiter = &cases[i].patch));
		buf_addf(&want, "\"path_on_host\":\"/d\",\"rate_limiter\":%s,\"io_engine\"",
			 cases[i].want);
		expect_within_vm_config(machine, buf_str(&want));
		buf_reset(&want);
		apply(machine, SQUIB_PUT_NETWORK_INTERFACE,
		      NET("n", "tap", .rx_rate_limiter = cases[i].before));
		apply(machine, SQUIB_PATCH_NETWORK_INTERFACE,
		      NET_UPDATE("n", .rx_rate_limiter = &cases[i].patch));
		buf_addf(&want, "\"rx_rate_limiter\":%s,\"tx_rate_limiter\":null", cases[i].want);
		expect_within_vm_config(machine, buf_str(&want));
		buf_reset(&want);
		apply(machine, SQUIB_PUT_PMEM, PMEM("p", "/p", .rate_limiter = cases[i].before));
		apply(machine, SQUIB_PATCH_PMEM, PMEM_UPDATE("p", .rate_limiter = &cases[i].patch));
		buf_addf(&want, "\"read_only\":false,\"rate_limiter\":%s}]", cases[i].want);
		expect_within_vm_config(machine, buf_str(&want));
		buf_done(&want);
		machine_free(machine);
	}
}

static void patches_leave_the_rest_alone(void **state)
{
	struct machine *machine = machine_plain();
	char *before, *after;

	(void)state;
	apply(machine, SQUIB_PUT_DRIVE,
	      DRIVE("d", .path_on_host = "/d", .partuuid = "u", .is_root_device = true,
		    .rate_limiter = LIMITER(.ops = BUCKET(1, 0, 1))));
	apply(machine, SQUIB_PUT_NETWORK_INTERFACE,
	      NET("n", "tap", .has_guest_mac = true, .guest_mac = { 2 }, .has_mtu = true,
		  .mtu = 1500, .tx_rate_limiter = LIMITER(.ops = BUCKET(1, 0, 1))));
	apply(machine, SQUIB_PUT_PMEM, PMEM("p", "/p", .read_only = true));
	before = vm_config(machine);
	apply(machine, SQUIB_PATCH_NETWORK_INTERFACE, NET_UPDATE("n"));
	apply(machine, SQUIB_PATCH_NETWORK_INTERFACE,
	      NET_UPDATE("unknown", .rx_rate_limiter = LIMITER()));
	apply(machine, SQUIB_PATCH_PMEM, PMEM_UPDATE("p"));
	apply(machine, SQUIB_PATCH_PMEM, PMEM_UPDATE("unknown", .rate_limiter = LIMITER()));
	apply(machine, SQUIB_PATCH_DRIVE, DRIVE_UPDATE("d", .path_on_host = "/d"));
	after = vm_config(machine);
	assert_string_equal(before, after);
	free(before);
	free(after);
	/* Again and again: each copy stands on its own. */
	for (int i = 0; i < 3; i++)
		apply(machine, SQUIB_PATCH_DRIVE, DRIVE_UPDATE("d", .path_on_host = "/new"));
	expect_within_vm_config(machine,
				"{\"drive_id\":\"d\",\"partuuid\":\"u\",\"is_root_device\":true,"
				"\"cache_type\":\"Unsafe\",\"is_read_only\":false,"
				"\"path_on_host\":\"/new\",\"rate_limiter\":{\"bandwidth\":null,"
				"\"ops\":" BUCKET_JSON("1") "},");
	machine_free(machine);
}

static void interfaces_are_checked(void **state)
{
	static const struct {
		const char *name;
		struct squib_network_interface iface;
		const char *want;
	} cases[] = {
		{ "no address", { "n", "t" }, NULL },
		{ "address in use",
		  { "n", "t", .has_guest_mac = true, .guest_mac = { 0xaa, 0xbb, 0xcc, 0, 1, 2 } },
		  "Network config error: The MAC address is already in use: aa:bb:cc:00:01:02" },
		{ "own address",
		  { "a", "t", .has_guest_mac = true, .guest_mac = { 0xaa, 0xbb, 0xcc, 0, 1, 2 } },
		  NULL },
		{ "another address",
		  { "n", "t", .has_guest_mac = true, .guest_mac = { 0xaa } },
		  NULL },
		{ "zero address is no absent one", { "n", "t", .has_guest_mac = true }, NULL },
		{ "least MTU", { "n", "t", .has_mtu = true, .mtu = 68 }, NULL },
		{ "MTU too low",
		  { "n", "t", .has_mtu = true, .mtu = 67 },
		  "Network config error: Could not create the network device: MTU 67 is out of "
		  "range "
		  "[68, 65535]" },
		{ "MTU 0",
		  { "n", "t", .has_mtu = true },
		  "Network config error: Could not create the network device: MTU 0 is out of "
		  "range "
		  "[68, 65535]" },
		{ "largest MTU", { "n", "t", .has_mtu = true, .mtu = 65535 }, NULL },
		{ "address before MTU",
		  { "n", "t", .has_guest_mac = true, .guest_mac = { 0xaa, 0xbb, 0xcc, 0, 1, 2 },
		    .has_mtu = true },
		  "Network config error: The MAC address is already in use: aa:bb:cc:00:01:02" },
	};
	struct machine *machine = machine_plain();

	(void)state;
	apply(machine, SQUIB_PUT_NETWORK_INTERFACE,
	      NET("a", "t", .has_guest_mac = true, .guest_mac = { 0xaa, 0xbb, 0xcc, 0, 1, 2 }));
	apply(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("b", "t"));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		print_message("  %s\n", cases[i].name);
		expect(machine, SQUIB_PUT_NETWORK_INTERFACE, false, &cases[i].iface, cases[i].want);
	}
	expect_within_vm_config(
		machine,
		"\"network-interfaces\":[{\"iface_id\":\"a\",\"host_dev_name\":\"t\","
		"\"guest_mac\":\"aa:bb:cc:00:01:02\",\"mtu\":null,\"rx_rate_limiter\":null,"
		"\"tx_rate_limiter\":null},{\"iface_id\":\"b\",\"host_dev_name\":\"t\",\"guest_"
		"mac\":null,"
		"\"mtu\":null,\"rx_rate_limiter\":null,\"tx_rate_limiter\":null}],");
	machine_free(machine);
}

static void a_replaced_interface_comes_last(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	for (const char *const *id = IDS("a", "b", "c", "d", NULL); *id != NULL; id++)
		accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET(*id, "tap"));
	expect_interfaces(machine, "a b c d");
	accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("a", "tap"));
	expect_interfaces(machine, "d b c a"); /* the last took its slot */
	accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("a", "tap"));
	expect_interfaces(machine, "d b c a");
	accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("b", "tap"));
	expect_interfaces(machine, "d a c b");
	/* Creation failed after the checks: the old one is gone all the same. */
	machine_lose(machine, SQUIB_PUT_NETWORK_INTERFACE, "d");
	expect_interfaces(machine, "b a c");
	machine_lose(machine, SQUIB_PUT_NETWORK_INTERFACE, "unknown");
	expect_interfaces(machine, "b a c");
	machine_free(machine);
}

static void delete_keeps_the_order(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	for (const char *const *id = IDS("a", "b", "c", NULL); *id != NULL; id++) {
		apply(machine, SQUIB_PUT_NETWORK_INTERFACE, NET(*id, "tap"));
		apply(machine, SQUIB_PUT_DRIVE, DRIVE(*id, .path_on_host = "/d"));
		apply(machine, SQUIB_PUT_PMEM, PMEM(*id, "/p"));
	}
	assert_int_equal(machine_check(machine, SQUIB_DELETE_DRIVE, true, "x", NULL, NULL), 0);
	assert_int_equal(machine_apply(machine, SQUIB_DELETE_DRIVE, "a", NULL, NULL), 0);
	assert_int_equal(machine_apply(machine, SQUIB_DELETE_NETWORK_INTERFACE, "b", NULL, NULL),
			 0);
	assert_int_equal(machine_apply(machine, SQUIB_DELETE_PMEM, "c", NULL, NULL), 0);
	assert_int_equal(machine_apply(machine, SQUIB_DELETE_PMEM, "unknown", NULL, NULL), 0);
	expect_drives(machine, "b c");
	expect_interfaces(machine, "a c");
	expect_within_vm_config(machine, "\"pmem\":[{\"id\":\"a\",\"path_on_host\":\"/"
					 "p\",\"root_device\":false,\"read_only\":false,"
					 "\"rate_limiter\":null},{\"id\":\"b\",\"path_on_host\":\"/"
					 "p\",\"root_device\":false,"
					 "\"read_only\":false,\"rate_limiter\":null}],");
	machine_free(machine);
}

static void single_objects_are_replaced_whole(void **state)
{
	struct machine *machine = machine_plain();
	struct arena *arena = arena_new();

	(void)state;
	assert_false(machine_has_boot_source(machine));
	apply(machine, SQUIB_PUT_BOOT_SOURCE,
	      &(struct squib_boot_source){ "/vmlinux", "/initrd", "a=\"b c\"" });
	assert_true(machine_has_boot_source(machine));
	expect_within_vm_config(machine,
				"\"boot-source\":{\"kernel_image_path\":\"/vmlinux\","
				"\"initrd_path\":\"/initrd\",\"boot_args\":\"a=\\\"b c\\\"\"},");
	apply(machine, SQUIB_PUT_BOOT_SOURCE,
	      &(struct squib_boot_source){ .kernel_image_path = "/k" });
	expect_within_vm_config(machine, "\"boot-source\":{\"kernel_image_path\":\"/k\","
					 "\"initrd_path\":null,\"boot_args\":null},");
	apply(machine, SQUIB_PUT_VSOCK, &(struct squib_vsock){ "old", 3, "/v" });
	apply(machine, SQUIB_PUT_VSOCK, &(struct squib_vsock){ NULL, UINT32_MAX, "/w" });
	expect_within_vm_config(machine,
				"\"vsock\":{\"guest_cid\":4294967295,\"uds_path\":\"/w\"},");
	machine_lose(machine, SQUIB_PUT_VSOCK, NULL);
	expect_within_vm_config(machine, "\"vsock\":null,");
	apply(machine, SQUIB_PUT_ENTROPY,
	      &(struct squib_entropy){ LIMITER(.bandwidth = BUCKET(1, 0, 1)) });
	expect_within_vm_config(machine,
				"\"entropy\":{\"rate_limiter\":{\"bandwidth\":" BUCKET_JSON(
					"1") ",\"ops\":null}},");
	apply(machine, SQUIB_PUT_ENTROPY, &(struct squib_entropy){ NULL });
	expect_within_vm_config(machine, "\"entropy\":{\"rate_limiter\":null},");
	apply(machine, SQUIB_PUT_SERIAL, &(struct squib_serial){ "/tty", BUCKET(1, 0, 1) });
	apply(machine, SQUIB_PUT_SERIAL, &(struct squib_serial){ "/tty2", NULL });
	assert_string_equal(view(machine, arena)->serial->serial_out_path, "/tty2");
	assert_null(view(machine, arena)->serial->rate_limiter);
	arena_unref(arena);
	machine_free(machine);
}

static void memory_hotplug_is_checked_in_order(void **state)
{
#define PREFIX "Memory hotplug config error: "
	static const struct {
		uint64_t total, block, slot;
		const char *want;
	} cases[] = {
		{ 128, 2, 128, NULL },
		{ 1024, 128, 256, NULL },
		{ 0, 0, 0, PREFIX "Block size must not be lower than 2 MiB" },
		{ 0, 1, 0, PREFIX "Block size must not be lower than 2 MiB" },
		{ 0, 3, 0, PREFIX "Block size must be a power of 2" },
		{ 0, 4, 127, PREFIX "Slot size must not be lower than 128 MiB" },
		{ 0, 4, 130, PREFIX "Slot size must be a multiple of block size (4 MiB)" },
		{ 0, 256, 128, PREFIX "Slot size must be a multiple of block size (256 MiB)" },
		{ 127, 2, 128, PREFIX "Total size must not be lower than slot size (128 MiB)" },
		{ 0, 2, 128, PREFIX "Total size must not be lower than slot size (128 MiB)" },
		{ 200, 2, 128, PREFIX "Total size must be a multiple of slot size (128 MiB)" },
	};
#undef PREFIX
	struct machine *machine = machine_plain();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect(machine, SQUIB_PUT_MEMORY_HOTPLUG, false,
		       HOTPLUG(cases[i].total, cases[i].block, cases[i].slot), cases[i].want);
	/* Unknown to the description, or of a bad size: the monitor's. */
	expect(machine, SQUIB_PATCH_MEMORY_HOTPLUG, true,
	       &(struct squib_memory_hotplug_update){ 3 }, NULL);
	machine_free(machine);
}

static void memory_hotplug_shows_live_values(void **state)
{
	struct machine *machine = machine_plain();
	struct buf out = BUF_INIT;

	(void)state;
	assert_false(machine_render_memory_hotplug(machine, &out));
	assert_int_equal(out.len, 0);
	accept_request(machine, SQUIB_PUT_MEMORY_HOTPLUG, HOTPLUG(1024, 2, 128));
	expect_within_vm_config(machine,
				",\"memory-hotplug\":{\"total_size_mib\":1024,\"block_size_mib\":2,"
				"\"slot_size_mib\":128}}");
	assert_true(machine_render_memory_hotplug(machine, &out));
	expect_body(&out, "{\"block_size_mib\":2,\"total_size_mib\":1024,\"slot_size_mib\":128,"
			  "\"plugged_size_mib\":0,\"requested_size_mib\":0}");
	apply(machine, SQUIB_PATCH_MEMORY_HOTPLUG, &(struct squib_memory_hotplug_update){ 512 });
	machine_render_memory_hotplug(machine, &out);
	expect_body(&out, "{\"block_size_mib\":2,\"total_size_mib\":1024,\"slot_size_mib\":128,"
			  "\"plugged_size_mib\":0,\"requested_size_mib\":512}");
	machine_set_plugged(machine, 256, 512);
	machine_render_memory_hotplug(machine, &out);
	expect_body(&out, "{\"block_size_mib\":2,\"total_size_mib\":1024,\"slot_size_mib\":128,"
			  "\"plugged_size_mib\":256,\"requested_size_mib\":512}");
	machine_free(machine);
}

#define UNKNOWN_IDS                                                                                \
	"MMMDS config error: The list of network interface IDs provided contains at "              \
	"least one ID that does not correspond to any existing network interface."
#define NO_IDS                                                                                     \
	"MMMDS config error: The list of network interface IDs that allow forwarding MMDS "        \
	"requests is empty."
#define NOT_LOCAL "MMMDS config error: The MMDS IPv4 address is not link local."

static void mmds_config_is_checked_in_order(void **state)
{
	static const char *const both[] = { "b", "a" }, *const unknown[] = { "a", "x" };
	static const struct {
		const char *name;
		uint8_t address[4];
		const char *const *ids;
		size_t count;
		const char *want;
	} cases[] = {
		{ "all well", { 169, 254, 169, 254 }, both, 2, NULL },
		{ "lowest address", { 169, 254, 1, 0 }, both, 2, NULL },
		{ "highest address", { 169, 254, 254, 255 }, both, 2, NULL },
		{ "below", { 169, 254, 0, 255 }, both, 2, NOT_LOCAL },
		{ "above", { 169, 254, 255, 0 }, both, 2, NOT_LOCAL },
		{ "elsewhere", { 169, 253, 1, 1 }, both, 2, NOT_LOCAL },
		{ "elsewhere altogether", { 10, 254, 1, 1 }, both, 2, NOT_LOCAL },
		{ "address before list", { 1, 1, 1, 1 }, NULL, 0, NOT_LOCAL },
		{ "no interface", { 169, 254, 169, 254 }, NULL, 0, NO_IDS },
		{ "unknown interface", { 169, 254, 169, 254 }, unknown, 2, UNKNOWN_IDS },
	};
	struct machine *machine = machine_plain();

	(void)state;
	apply(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("a", "tap"));
	apply(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("b", "tap"));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct squib_mmds_config config = {
			.network_interfaces = cases[i].ids,
			.network_interface_count = cases[i].count,
		};

		print_message("  %s\n", cases[i].name);
		memcpy(config.ipv4_address, cases[i].address, 4);
		expect(machine, SQUIB_PUT_MMDS_CONFIG, false, &config, cases[i].want);
	}
	machine_free(machine);
}

static void mmds_is_served_by_interfaces(void **state)
{
	struct machine *machine = machine_plain();
	struct arena *arena = arena_new();
	const struct squib_mmds_config *seen;

	(void)state;
	for (const char *const *id = IDS("a", "b", "c", NULL); *id != NULL; id++)
		accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET(*id, "tap"));
	assert_false(machine_has_mmds_interface(machine));
	expect_within_vm_config(machine, "\"mmds-config\":null,");
	assert_null(view(machine, arena)->mmds_config);
	/* Shown in the order of the interfaces, not of the list. */
	accept_request(machine, SQUIB_PUT_MMDS_CONFIG,
		       MMDS_CONFIG(.network_interfaces = IDS("c", "a", "c"),
				   .network_interface_count = 3));
	assert_true(machine_has_mmds_interface(machine));
	expect_within_vm_config(
		machine, "\"mmds-config\":{\"version\":\"V1\",\"network_interfaces\":[\"a\",\"c\"],"
			 "\"ipv4_address\":\"169.254.169.254\",\"imds_compat\":false},");
	/* Interfaces not listed lose it. */
	accept_request(machine, SQUIB_PUT_MMDS_CONFIG,
		       &(struct squib_mmds_config){
			       SQUIB_MMDS_V2, IDS("b", "c"), 2, { 169, 254, 1, 0 }, true });
	expect_within_vm_config(
		machine, "\"mmds-config\":{\"version\":\"V2\",\"network_interfaces\":[\"b\",\"c\"],"
			 "\"ipv4_address\":\"169.254.1.0\",\"imds_compat\":true},");
	/* A PATCH leaves it, a replaced or removed interface has lost it. */
	apply(machine, SQUIB_PATCH_NETWORK_INTERFACE,
	      NET_UPDATE("b", .rx_rate_limiter = LIMITER(.ops = BUCKET(1, 0, 1))));
	accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("c", "tap2"));
	seen = view(machine, arena)->mmds_config;
	assert_int_equal(seen->version, SQUIB_MMDS_V2);
	assert_int_equal(seen->network_interface_count, 1);
	assert_string_equal(seen->network_interfaces[0], "b");
	assert_int_equal(seen->ipv4_address[2], 1);
	assert_true(seen->imds_compat);
	assert_int_equal(machine_apply(machine, SQUIB_DELETE_NETWORK_INTERFACE, "b", NULL, NULL),
			 0);
	assert_false(machine_has_mmds_interface(machine));
	expect_within_vm_config(machine, "\"mmds-config\":null,");
	assert_string_equal(seen->network_interfaces[0], "b"); /* a view does not change */
	arena_unref(arena);
	machine_free(machine);
}

/* PUT or PATCH /mmds, applied when it is accepted. */
static void store(struct machine *machine, enum squib_action_type type, bool post_boot,
		  const char *body, int want, const char *want_text)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct arena *arena = arena_new();
	struct squib_mmds_data *data = arena_new_object(arena, struct squib_mmds_data);

	data->body = arena_strdup(arena, body);
	data->body_len = strlen(body);
	assert_int_equal(machine_check_mmds(machine, type, post_boot, arena, data, &fault), want);
	assert_string_equal(fault_text(&fault), want_text);
	if (want == 0)
		assert_int_equal(machine_apply(machine, type, NULL, data, arena), 0);
	else
		assert_null(data->document);
	arena_unref(arena);
}

static void expect_mmds(const struct machine *machine, const char *want)
{
	struct buf out = BUF_INIT;

	machine_render_mmds(machine, &out);
	expect_body(&out, want);
}

#define NOT_INITIALIZED "MMDS error: The MMDS data store is not initialized."
#define TOO_LARGE       "MMDS limit exceeded error: The MMDS patch request doesn't fit."

static void mmds_data_is_put_and_patched(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	expect_mmds(machine, "{}");
	store(machine, SQUIB_PATCH_MMDS, false, "{}", -EINVAL, NOT_INITIALIZED);
	store(machine, SQUIB_PUT_MMDS, false,
	      " { \"b\" : [ 1, null ], \"a\" : { \"x\" : \"y\" } } ", 0, "");
	expect_mmds(machine, "{\"a\":{\"x\":\"y\"},\"b\":[1,null]}");
	store(machine, SQUIB_PATCH_MMDS, false, "{\"a\":{\"z\":2},\"b\":null,\"c\":true}", 0, "");
	expect_mmds(machine, "{\"a\":{\"x\":\"y\",\"z\":2},\"c\":true}");
	store(machine, SQUIB_PATCH_MMDS, false, "\"text\"", 0, "");
	expect_mmds(machine, "\"text\"");
	store(machine, SQUIB_PATCH_MMDS, false, "{\"a\":1}", 0, "");
	expect_mmds(machine, "{\"a\":1}");
	store(machine, SQUIB_PUT_MMDS, false, "null", 0, "");
	expect_mmds(machine, "{}");
	store(machine, SQUIB_PATCH_MMDS, false, "{\"a\":1}", 0, ""); /* null is a value, too */
	expect_mmds(machine, "{\"a\":1}");
	machine_free(machine);
}

static void mmds_data_has_a_limit(void **state)
{
	struct machine *machine = machine_with((struct machine_rules){ .limits.mmds_bytes = 9 });

	(void)state;
	store(machine, SQUIB_PUT_MMDS, false, "{ \"a\" : 123 }", 0,
	      ""); /* compact, it fits exactly */
	store(machine, SQUIB_PUT_MMDS, false, "{\"a\":1234}", -EFBIG, TOO_LARGE);
	store(machine, SQUIB_PATCH_MMDS, false, "{\"b\":1}", -EFBIG, TOO_LARGE);
	expect_mmds(machine, "{\"a\":123}");
	store(machine, SQUIB_PATCH_MMDS, false, "{\"a\":null,\"b\":1}", 0, "");
	expect_mmds(machine, "{\"b\":1}");
	machine_free(machine);
}

static void running_without_interface_there_is_no_mmds(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	store(machine, SQUIB_PUT_MMDS, false, "{\"a\":1}", 0, "");
	apply(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("n", "tap"));
	store(machine, SQUIB_PUT_MMDS, true, "{\"a\":2}", -EINVAL, NOT_INITIALIZED);
	store(machine, SQUIB_PATCH_MMDS, true, "{\"a\":2}", -EINVAL, NOT_INITIALIZED);
	apply(machine, SQUIB_PUT_MMDS_CONFIG,
	      MMDS_CONFIG(.network_interfaces = IDS("n"), .network_interface_count = 1));
	store(machine, SQUIB_PATCH_MMDS, true, "{\"b\":2}", 0, "");
	expect_mmds(machine, "{\"a\":1,\"b\":2}");
	machine_free(machine);
}

static void caps_count_distinct_ids(void **state)
{
	struct machine *machine = machine_with((struct machine_rules){
		.limits = { .drives = 2, .network_interfaces = 1, .pmems = 1 },
	});

	(void)state;
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("a", .path_on_host = "/a"));
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("b", .path_on_host = "/b"));
	expect(machine, SQUIB_PUT_DRIVE, false, DRIVE("b", .path_on_host = "/b"), NULL);
	expect(machine, SQUIB_PUT_DRIVE, false, DRIVE("c", .path_on_host = "/c"),
	       "drives: per-class cap 2 exceeded");
	expect(machine, SQUIB_PUT_DRIVE, false, DRIVE("c"), INVALID_DRIVE);
	accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("a", "tap"));
	expect(machine, SQUIB_PUT_NETWORK_INTERFACE, false, NET("b", "tap"),
	       "network_interfaces: per-class cap 1 exceeded");
	accept_request(machine, SQUIB_PUT_PMEM, PMEM("a", "/a"));
	expect(machine, SQUIB_PUT_PMEM, false, PMEM("b", "/b"), "pmem: per-class cap 1 exceeded");
	machine_free(machine);
}

static void boot_args_must_be_a_command_line(void **state)
{
#define PREFIX "Boot source error: The kernel command line is invalid: "
	static const char too_long[] = PREFIX "Invalid cmdline capacity provided.";
	static const char unprintable[] = PREFIX "String contains a non-printable ASCII character.";
#undef PREFIX
	static const struct {
		const char *name, *before;
		size_t fill;
		const char *after, *want;
	} cases[] = {
		{ "empty", "", 0, "", NULL },
		{ "largest", "", 2047, "", NULL },
		{ "one more", "", 2048, "", too_long },
		{ "blanks around do not count", " \t\n", 2047, " \r\n", NULL },
		{ "largest with arguments of init", "", 2042, " -- i", NULL },
		{ "one more with arguments of init", "", 2043, " -- i", too_long },
		{ "blanks around both parts do not count", "  ", 2042, "   --   i  ", NULL },
		{ "arguments of init that are blank do not count", "", 2047, " --  ", NULL },
		{ "a quoted separator is none", "\"", 2038, " --     i\"", too_long },
		{ "a separator after a quoted one", "\"a -- b\"", 2034, "  --  i", NULL },
		{ "lowest printable", " ! ", 1, "", NULL },
		{ "highest printable", "~", 1, "", NULL },
		{ "delete", "\x7f", 1, "", unprintable },
		{ "tab inside", "a\tb", 1, "", unprintable },
		{ "not ASCII", "\xc3\xa9", 1, "", unprintable },
		{ "not ASCII for init", "a -- \xc3\xa9", 1, "", unprintable },
		{ "length before characters", "\x7f", 2047, "", too_long },
	};

	(void)state;
	assert_int_equal(boot_args_check(NULL, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct buf args = BUF_INIT;
		int r;

		print_message("  %s\n", cases[i].name);
		buf_adds(&args, cases[i].before);
		for (size_t n = 0; n < cases[i].fill; n++)
			buf_addc(&args, 'x');
		buf_adds(&args, cases[i].after);
		r = boot_args_check(buf_str(&args), &fault);
		assert_string_equal(fault_text(&fault), cases[i].want != NULL ? cases[i].want : "");
		assert_int_equal(r, cases[i].want != NULL ? -EINVAL : 0);
		buf_done(&args);
	}
}

static void only_boot_resources_block_a_load(void **state)
{
	static const enum squib_action_type blocking[] = {
		SQUIB_PUT_BOOT_SOURCE, SQUIB_PUT_MACHINE_CONFIG, SQUIB_PATCH_MACHINE_CONFIG,
		SQUIB_PUT_BALLOON,     SQUIB_PUT_DRIVE,          SQUIB_PUT_NETWORK_INTERFACE,
		SQUIB_PUT_PMEM,        SQUIB_PUT_VSOCK,          SQUIB_PUT_ENTROPY,
		SQUIB_PUT_MMDS_CONFIG, SQUIB_PUT_MEMORY_HOTPLUG,
	};
	bool want[SQUIB_ACTION_TYPE_COUNT] = { false };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(blocking); i++)
		want[blocking[i]] = true;
	for (enum squib_action_type type = 0; type < SQUIB_ACTION_TYPE_COUNT; type++)
		assert_int_equal(machine_action_blocks_load(type), want[type]);
}

static void a_new_machine_looks_like_this(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	expect_vm_config(
		machine,
		"{\"balloon\":null,\"drives\":[],"
		"\"boot-source\":{\"kernel_image_path\":\"\",\"initrd_path\":null,\"boot_args\":"
		"null},"
		"\"cpu-config\":null,\"logger\":null,"
		"\"machine-config\":{\"vcpu_count\":1,\"mem_size_mib\":128,\"smt\":false,"
		"\"track_dirty_pages\":false,\"huge_pages\":\"None\"},"
		"\"metrics\":null,\"mmds-config\":null,\"network-interfaces\":[],\"vsock\":null,"
		"\"entropy\":null,\"pmem\":[],\"memory-hotplug\":null}");
	machine_free(machine);
	machine_free(NULL);
}

/* One of everything. */
static void configure_all(struct machine *machine)
{
	accept_request(machine, SQUIB_PUT_MACHINE_CONFIG,
		       MACHINE(.vcpu_count = 2, .mem_size_mib = 256, .track_dirty_pages = true));
	accept_request(machine, SQUIB_PUT_CPU_CONFIG, &(struct squib_cpu_config){ 0 });
	accept_request(machine, SQUIB_PUT_BOOT_SOURCE,
		       &(struct squib_boot_source){ "/k", NULL, "panic=1" });
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("rootfs", .path_on_host = "/r", .is_root_device = true,
			     .io_engine = SQUIB_IO_ENGINE_SYNC));
	accept_request(machine, SQUIB_PUT_NETWORK_INTERFACE,
		       NET("eth0", "tap0", .has_mtu = true, .mtu = 1500));
	accept_request(machine, SQUIB_PUT_PMEM, PMEM("pmem0", "/p"));
	accept_request(machine, SQUIB_PUT_VSOCK, &(struct squib_vsock){ NULL, 3, "/v.sock" });
	accept_request(machine, SQUIB_PUT_BALLOON,
		       BALLOON(.amount_mib = 0, .stats_polling_interval_s = 1));
	accept_request(machine, SQUIB_PUT_ENTROPY, &(struct squib_entropy){ NULL });
	accept_request(machine, SQUIB_PUT_SERIAL, &(struct squib_serial){ "/tty", NULL });
	accept_request(machine, SQUIB_PUT_MEMORY_HOTPLUG, HOTPLUG(128, 2, 128));
	accept_request(
		machine, SQUIB_PUT_MMDS_CONFIG,
		MMDS_CONFIG(.network_interfaces = IDS("eth0"), .network_interface_count = 1));
	store(machine, SQUIB_PUT_MMDS, false, "{}", 0, "");
}

static const char all_configured[] =
	"{\"balloon\":{\"amount_mib\":0,\"deflate_on_oom\":false,\"stats_polling_interval_s\":1,"
	"\"free_page_hinting\":false,\"free_page_reporting\":false},"
	"\"drives\":[{\"drive_id\":\"rootfs\",\"partuuid\":null,\"is_root_device\":true,"
	"\"cache_type\":\"Unsafe\",\"is_read_only\":false,\"path_on_host\":\"/"
	"r\",\"rate_limiter\":null,"
	"\"io_engine\":\"Sync\",\"socket\":null}],"
	"\"boot-source\":{\"kernel_image_path\":\"/"
	"k\",\"initrd_path\":null,\"boot_args\":\"panic=1\"},"
	"\"cpu-config\":null,\"logger\":null,"
	"\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":256,\"smt\":false,"
	"\"track_dirty_pages\":true,\"huge_pages\":\"None\"},"
	"\"metrics\":null,"
	"\"mmds-config\":{\"version\":\"V1\",\"network_interfaces\":[\"eth0\"],"
	"\"ipv4_address\":\"169.254.169.254\",\"imds_compat\":false},"
	"\"network-interfaces\":[{\"iface_id\":\"eth0\",\"host_dev_name\":\"tap0\",\"guest_mac\":"
	"null,"
	"\"mtu\":1500,\"rx_rate_limiter\":null,\"tx_rate_limiter\":null}],"
	"\"vsock\":{\"guest_cid\":3,\"uds_path\":\"/v.sock\"},"
	"\"entropy\":{\"rate_limiter\":null},"
	"\"pmem\":[{\"id\":\"pmem0\",\"path_on_host\":\"/"
	"p\",\"root_device\":false,\"read_only\":false,"
	"\"rate_limiter\":null}],"
	"\"memory-hotplug\":{\"total_size_mib\":128,\"block_size_mib\":2,\"slot_size_mib\":128}}";

/* Logger, metrics and state are the monitor's; nothing of them is shown. */
static void other_requests_change_nothing(void **state)
{
	static const enum squib_action_type types[] = {
		SQUIB_PUT_LOGGER,     SQUIB_PUT_METRICS,
		SQUIB_INSTANCE_START, SQUIB_FLUSH_METRICS,
		SQUIB_PATCH_VM,       SQUIB_SNAPSHOT_CREATE,
		SQUIB_SNAPSHOT_LOAD,  SQUIB_BALLOON_HINTING_STOP,
	};
	struct machine *machine = machine_plain();

	(void)state;
	configure_all(machine);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		assert_int_equal(machine_apply(machine, types[i], NULL, NULL, NULL), 0);
		machine_lose(machine, types[i], NULL);
	}
	expect_vm_config(machine, all_configured);
	machine_free(machine);
}

static void one_of_everything_looks_like_this(void **state)
{
	struct machine *machine = machine_plain();

	(void)state;
	configure_all(machine);
	expect_vm_config(machine, all_configured);
	machine_free(machine);
}

static void a_view_outlives_the_description(void **state)
{
	struct machine *machine = machine_plain();
	struct arena *arena = arena_new();
	const struct squib_machine *v;

	(void)state;
	configure_all(machine);
	v = view(machine, arena);
	accept_request(machine, SQUIB_PUT_DRIVE,
		       DRIVE("rootfs", .path_on_host = "/new", .is_root_device = true));
	accept_request(machine, SQUIB_PUT_BALLOON, BALLOON(.amount_mib = 5));
	machine_free(machine);
	assert_int_equal(v->config.vcpu_count, 2);
	assert_string_equal(v->boot_source->boot_args, "panic=1");
	assert_non_null(v->cpu_config);
	assert_int_equal(v->drive_count, 1);
	assert_string_equal(v->drives[0]->path_on_host, "/r");
	assert_int_equal(v->network_interface_count, 1);
	assert_string_equal(v->network_interfaces[0]->host_dev_name, "tap0");
	assert_int_equal(v->pmem_count, 1);
	assert_string_equal(v->pmems[0]->id, "pmem0");
	assert_string_equal(v->vsock->uds_path, "/v.sock");
	assert_int_equal(v->balloon->stats_polling_interval_s, 1);
	assert_null(v->entropy->rate_limiter);
	assert_string_equal(v->serial->serial_out_path, "/tty");
	assert_int_equal(v->memory_hotplug->total_size_mib, 128);
	assert_string_equal(v->mmds_config->network_interfaces[0], "eth0");
	arena_unref(arena);
}

static void a_view_of_nothing_is_empty(void **state)
{
	struct machine *machine = machine_plain();
	struct arena *arena = arena_new();
	const struct squib_machine *v = view(machine, arena);

	(void)state;
	assert_int_equal(v->config.mem_size_mib, 128);
	assert_int_equal(v->drive_count + v->network_interface_count + v->pmem_count, 0);
	assert_null(v->boot_source);
	assert_null(v->cpu_config);
	assert_null(v->vsock);
	assert_null(v->balloon);
	assert_null(v->entropy);
	assert_null(v->serial);
	assert_null(v->memory_hotplug);
	assert_null(v->mmds_config);
	arena_unref(arena);
	machine_free(machine);
}

/* Let the first, the second, ... allocation of a change fail until it gets through. */
static void expect_all_or_nothing(struct machine *machine, enum squib_action_type type,
				  const void *config)
{
	struct arena *arena = arena_new();
	const void *copy = dup_config(arena, type, config);
	char *before = vm_config(machine);
	int r = -ENOMEM;

	for (int n = 0; r == -ENOMEM; n++) {
		allocations_left = n;
		r = machine_apply(machine, type, path_id(type, config), copy, arena);
		allocations_left = -1;
		if (r == -ENOMEM)
			expect_vm_config(machine, before);
	}
	assert_int_equal(r, 0);
	free(before);
	arena_unref(arena);
}

static void without_memory_nothing_changes(void **state)
{
	static const char *const ids[] = { "v", "w", "x", "y", "z" }; /* the lists must grow */
	static const char long_path[5000] = { [0 ... 4998] = 'p' };   /* so must the arena */
	struct machine *machine = machine_plain();

	(void)state;
	configure_all(machine);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		expect_all_or_nothing(machine, SQUIB_PUT_DRIVE,
				      DRIVE(ids[i], .path_on_host = "/d"));
		expect_all_or_nothing(machine, SQUIB_PUT_NETWORK_INTERFACE, NET(ids[i], "tap"));
		expect_all_or_nothing(machine, SQUIB_PUT_PMEM, PMEM(ids[i], "/p"));
	}
	expect_all_or_nothing(
		machine, SQUIB_PATCH_DRIVE,
		DRIVE_UPDATE("v", .path_on_host = long_path,
			     .rate_limiter = LIMITER(BUCKET(1, 1, 1), BUCKET(1, 1, 1))));
	expect_all_or_nothing(machine, SQUIB_PATCH_NETWORK_INTERFACE,
			      NET_UPDATE("v", .rx_rate_limiter = LIMITER(.ops = BUCKET(1, 1, 1))));
	expect_all_or_nothing(machine, SQUIB_PATCH_PMEM,
			      PMEM_UPDATE("v", .rate_limiter = LIMITER(.ops = BUCKET(1, 1, 1))));
	expect_all_or_nothing(machine, SQUIB_PUT_VSOCK, &(struct squib_vsock){ NULL, 4, "/w" });
	machine_free(machine);
}

/* Longer and longer strings put the end of the copy's first block behind every one of its parts. */
static void without_memory_no_part_of_a_patch_is_done(void **state)
{
	const struct squib_rate_limiter *limiter = LIMITER(BUCKET(1, 1, 1), BUCKET(1, 1, 1));

	(void)state;
	for (size_t len = 1; len < 1100; len += 16) {
		struct machine *machine = machine_plain();
		char name[1100] = { 0 };

		memset(name, 'n', len);
		apply(machine, SQUIB_PUT_DRIVE, DRIVE("d", .path_on_host = name, .partuuid = "u"));
		apply(machine, SQUIB_PUT_NETWORK_INTERFACE, NET("n", name));
		apply(machine, SQUIB_PUT_PMEM, PMEM("p", name));
		expect_all_or_nothing(machine, SQUIB_PATCH_DRIVE,
				      DRIVE_UPDATE("d", .rate_limiter = limiter));
		expect_all_or_nothing(machine, SQUIB_PATCH_NETWORK_INTERFACE,
				      NET_UPDATE("n", limiter, limiter));
		expect_all_or_nothing(machine, SQUIB_PATCH_PMEM,
				      PMEM_UPDATE("p", .rate_limiter = limiter));
		machine_free(machine);
	}
}

/* As above: an arena that is filled beforehand ends at every part of the view. */
static void without_memory_there_is_no_view(void **state)
{
	struct machine *machine = machine_plain();
	int failures = 0;

	(void)state;
	configure_all(machine);
	accept_request(machine, SQUIB_PUT_DRIVE, DRIVE("data", .path_on_host = "/d"));
	for (size_t filled = 16; filled <= 1024; filled += 16) {
		const struct squib_machine *v = NULL;
		struct arena *arena = arena_new();
		int r;

		arena_alloc(arena, filled);
		allocations_left = 0;
		r = machine_view(machine, arena, &v);
		allocations_left = -1;
		assert_true(r == 0 || r == -ENOMEM);
		assert_int_equal(v != NULL, r == 0);
		arena_unref(arena);
		failures += r < 0;
	}
	assert_true(failures > 10 && failures < 64);
	machine_free(machine);
}

static void without_memory_there_is_no_machine(void **state)
{
	struct machine_rules rules = { 0 };
	struct machine *machine = NULL;

	(void)state;
	allocations_left = 0;
	assert_int_equal(machine_new(&rules, &machine), -ENOMEM);
	allocations_left = -1;
	assert_null(machine);
}

static void without_memory_mmds_stays(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct machine *machine = machine_plain();
	struct arena *arena = arena_new();
	struct squib_mmds_data data = { .body = "{\"b\":{\"c\":[1,\"x\"]}}", .body_len = 19 };
	int failures = 0, r;

	(void)state;
	arena_alloc(arena, 1024); /* its first block is full */
	store(machine, SQUIB_PUT_MMDS, false, "{\"a\":1}", 0, "");
	do {
		allocations_left = failures;
		r = machine_check_mmds(machine, SQUIB_PATCH_MMDS, false, arena, &data, &fault);
		allocations_left = -1;
		assert_true(r == -ENOMEM || r == 0);
		assert_int_equal(data.document != NULL, r == 0);
		expect_mmds(machine, "{\"a\":1}");
		failures += r < 0;
	} while (r < 0);
	assert_true(failures > 0);
	assert_string_equal(data.document, "{\"a\":1,\"b\":{\"c\":[1,\"x\"]}}");
	arena_unref(arena);
	machine_free(machine);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machine_config_is_checked_in_order),
		cmocka_unit_test(smt_depends_on_the_machine_behind),
		cmocka_unit_test(patch_is_checked_as_merged),
		cmocka_unit_test(put_sets_every_field_but_the_template),
		cmocka_unit_test(every_template_has_its_name),
		cmocka_unit_test(of_cpu_config_and_template_the_last_wins),
		cmocka_unit_test(balloon_and_memory_bound_each_other),
		cmocka_unit_test(balloon_pages_fit_32_bits),
		cmocka_unit_test(balloon_does_only_what_it_was_configured_for),
		cmocka_unit_test(balloon_is_replaced_and_patched),
		cmocka_unit_test(a_drive_is_of_one_kind),
		cmocka_unit_test(drives_keep_their_slots),
		cmocka_unit_test(the_first_drive_may_become_root_in_place),
		cmocka_unit_test(there_is_one_root),
		cmocka_unit_test(hotplug_leaves_the_monitor_its_refusals),
		cmocka_unit_test(drive_patch_must_fit_the_kind),
		cmocka_unit_test(drives_look_like_this),
		cmocka_unit_test(limiters_are_echoed_as_they_limit),
		cmocka_unit_test(a_limiter_patch_merges_bucket_by_bucket),
		cmocka_unit_test(patches_leave_the_rest_alone),
		cmocka_unit_test(interfaces_are_checked),
		cmocka_unit_test(a_replaced_interface_comes_last),
		cmocka_unit_test(delete_keeps_the_order),
		cmocka_unit_test(single_objects_are_replaced_whole),
		cmocka_unit_test(memory_hotplug_is_checked_in_order),
		cmocka_unit_test(memory_hotplug_shows_live_values),
		cmocka_unit_test(mmds_config_is_checked_in_order),
		cmocka_unit_test(mmds_is_served_by_interfaces),
		cmocka_unit_test(mmds_data_is_put_and_patched),
		cmocka_unit_test(mmds_data_has_a_limit),
		cmocka_unit_test(running_without_interface_there_is_no_mmds),
		cmocka_unit_test(caps_count_distinct_ids),
		cmocka_unit_test(boot_args_must_be_a_command_line),
		cmocka_unit_test(only_boot_resources_block_a_load),
		cmocka_unit_test(a_new_machine_looks_like_this),
		cmocka_unit_test(one_of_everything_looks_like_this),
		cmocka_unit_test(other_requests_change_nothing),
		cmocka_unit_test(a_view_outlives_the_description),
		cmocka_unit_test(a_view_of_nothing_is_empty),
		cmocka_unit_test(without_memory_nothing_changes),
		cmocka_unit_test(without_memory_no_part_of_a_patch_is_done),
		cmocka_unit_test(without_memory_there_is_no_view),
		cmocka_unit_test(without_memory_there_is_no_machine),
		cmocka_unit_test(without_memory_mmds_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
