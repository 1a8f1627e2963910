/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration file (contract 6.3): the bodies of many requests in one object, plus keys of
 * squib's own. Open at the top, and fields are in upstream's order, which decides what is missed
 * first.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "config/bodies.h"
#include "config/decode.h"
#include "config/decode_internal.h"

static int decode_template(struct decoder *decoder, size_t start, struct config_file *file)
{
	const struct type *type = cpu_config_type.by_arch[decoder->arch];
	struct decoder again = { .arena = decoder->arena, .arch = decoder->arch };
	struct squib_cpu_config *config = arena_new_object(decoder->arena, struct squib_cpu_config);
	int r = -ENOMEM;

	json_reader_init(&again.reader, decoder->reader.data, decoder->reader.pos, NULL);
	again.reader.pos = start;
	if (config != NULL)
		r = decode_value(&again, type, config);
	json_reader_done(&again.reader);
	if (r == 0) {
		r = cpu_config_check(config, decoder->reader.fault);
		file->cpu_config = config;
	} else if (r == -EINVAL) {
		r = json_fail(&decoder->reader,
			      "data did not match any variant of untagged enum CustomCpuTemplateOrPath");
	}
	return r;
}

static int decode_template_path(struct decoder *decoder, size_t start, struct config_file *file)
{
	struct json_text path;
	int r;

	decoder->reader.pos = start;
	r = json_read_string(&decoder->reader, "path string", &path);
	return r < 0 ? r : decode_string_copy(decoder, &path, &file->cpu_config_path);
}

/*
 * A CPU template or the path of one. Upstream reads any value first and then tries the two on it,
 * so that faults of the template are not told, those of the syntax are.
 */
static int decode_template_or_path(struct decoder *decoder, void *value)
{
	int c = json_peek_value(&decoder->reader);
	size_t start;
	int r;

	if (c < 0)
		return c;
	start = decoder->reader.pos;
	r = json_check(&decoder->reader);
	if (r < 0)
		return r;
	if (c == '"')
		return decode_template_path(decoder, start, value);
	return decode_template(decoder, start, value);
}

static int decode_port_number(struct decoder *decoder, void *value)
{
	uint64_t number;
	int r = json_read_uint(&decoder->reader, UINT16_MAX, "a nonzero u16", &number);

	if (r < 0)
		return r;
	if (number == 0) {
		json_fail(&decoder->reader, "invalid value: integer `0`, expected a nonzero u16");
		return json_place_fault(&decoder->reader, -EINVAL);
	}
	*(uint16_t *)value = (uint16_t)number;
	return 0;
}

static const struct type port_number_type = {
	.kind = TYPE_CUSTOM, .size = sizeof(uint16_t), .decode = decode_port_number,
};

static int parse_ip(struct decoder *decoder, const struct json_text *text, void *value)
{
	char string[INET6_ADDRSTRLEN];
	uint8_t address[16];

	if (text->len < sizeof(string)) {
		memcpy(string, text->data, text->len);
		string[text->len] = '\0';
		if (strlen(string) == text->len && (inet_pton(AF_INET, string, address) == 1 ||
						    inet_pton(AF_INET6, string, address) == 1))
			return decode_string_copy(decoder, text, value);
	}
	return json_fail(&decoder->reader, "invalid IP address syntax");
}

static const struct type ip_type = {
	.kind = TYPE_TEXT, .size = sizeof(const char *), .want = "IP address",
	.parse = parse_ip, .fails_in_place = true,
};

/* Ports of the host that lead to the guest; only programs of the host, unless it says otherwise. */
static const struct enum_name port_protocols[] = {
	{ "tcp", CONFIG_PORT_TCP }, { "udp", CONFIG_PORT_UDP },
};
static const struct type port_protocol_type = ENUM_TYPE(port_protocols);
static const struct field config_port_fields[] = {
	FIELD(config_port, protocol, &port_protocol_type, FIELD_REQUIRED),
	FIELD(config_port, host_address, &ip_type, FIELD_NULL),
	FIELD(config_port, host_port, &port_number_type, FIELD_REQUIRED),
	FIELD(config_port, guest_port, &port_number_type, FIELD_REQUIRED),
};
static const struct config_port config_port_defaults = { .host_address = "127.0.0.1" };
static const struct type config_port_type = STRUCT_TYPE(
	config_port, "PortConfig", FIELDS(config_port_fields), .defaults = &config_port_defaults);

/* squib's own section: what has no place in Firecracker's configuration. */
struct squib_section {
	unsigned int network;
	bool has_network;
	const struct config_port *ports;
	size_t port_count;
	bool vsock_tsi;
	const char *gvproxy_path;
	const char *macos_sandbox_profile;
};

static const struct enum_name networks[] = {
	{ "shared", 0 }, { "bridged", 1 }, { "host", 2 }, { "userspace", 3 },
};
static const struct type network_type = ENUM_TYPE(networks);
static const struct field squib_section_fields[] = {
	FIELD_WITH_HAS(squib_section, network, &network_type, FIELD_NULL),
	FIELD(squib_section, vsock_tsi, &bool_type, FIELD_NULL),
	FIELD(squib_section, gvproxy_path, &path_type, FIELD_NULL),
	FIELD(squib_section, macos_sandbox_profile, &string_type, FIELD_NULL),
	LIST(squib_section, ports, port_count, &config_port_type, FIELD_NULL),
};
static const struct type squib_section_type = STRUCT_TYPE(
	squib_section, "SquibConfig", FIELDS(squib_section_fields));

static int decode_squib_section(struct decoder *decoder, void *value)
{
	struct config_file *file = value;
	struct squib_section section = { 0 };
	int r = decode_value(decoder, &squib_section_type, &section);

	if (r < 0)
		return r;
	if (section.has_network)
		file->network = networks[section.network].name;
	file->ports = section.ports;
	file->port_count = section.port_count;
	return 0;
}

#define BODY_POINTER(name) \
	static const struct type name##_pointer = POINTER_TYPE(&name##_type)
BODY_POINTER(balloon);
BODY_POINTER(drive);
BODY_POINTER(boot_source);
BODY_POINTER(logger);
BODY_POINTER(machine_config);
BODY_POINTER(metrics);
BODY_POINTER(mmds_config);
BODY_POINTER(network_interface);
BODY_POINTER(vsock);
BODY_POINTER(entropy);
BODY_POINTER(pmem);
BODY_POINTER(serial);
BODY_POINTER(memory_hotplug);

static const struct type template_or_path_type = {
	.kind = TYPE_CUSTOM, .decode = decode_template_or_path,
};
static const struct type squib_key_type = { .kind = TYPE_CUSTOM, .decode = decode_squib_section };

#define FILE_FIELD(key, member, flags) \
	FIELD_AS(key, config_file, member, &member##_pointer, flags)

static const struct field config_file_fields[] = {
	FILE_FIELD("balloon", balloon, FIELD_NULL),
	LIST(config_file, drives, drive_count, &drive_pointer, FIELD_REQUIRED),
	FILE_FIELD("boot-source", boot_source, FIELD_REQUIRED),
	{ .name = "cpu-config", .type = &template_or_path_type, .flags = FIELD_NULL },
	FILE_FIELD("logger", logger, FIELD_NULL),
	FILE_FIELD("machine-config", machine_config, FIELD_NULL),
	FILE_FIELD("metrics", metrics, FIELD_NULL),
	FILE_FIELD("mmds-config", mmds_config, FIELD_NULL),
	LIST_AS("network-interfaces", config_file, network_interfaces, network_interface_count,
		&network_interface_pointer, 0),
	FILE_FIELD("vsock", vsock, FIELD_NULL),
	FILE_FIELD("entropy", entropy, FIELD_NULL),
	LIST_AS("pmem", config_file, pmems, pmem_count, &pmem_pointer, 0),
	{ .name = "memory-hotplug", .alias = "hotplug-memory", .type = &memory_hotplug_pointer,
	  .flags = FIELD_NULL, .offset = offsetof(struct config_file, memory_hotplug) },
	/* squib's own */
	{ .name = "mmds", .flags = FIELD_JSON, .offset = offsetof(struct config_file, mmds),
	  .count_offset = offsetof(struct config_file, mmds_len) },
	FILE_FIELD("serial", serial, FIELD_NULL),
	{ .name = "squib", .type = &squib_key_type, .flags = FIELD_NULL },
};
static const struct type config_file_type = STRUCT_TYPE(
	config_file, "VmmConfig", FIELDS(config_file_fields), .open = true);

int config_file_decode(const char *json, size_t len, enum squib_arch arch, struct arena *arena,
		       struct config_file *ret_file, struct fault *fault)
{
	void *file;
	int r = decode_document(&config_file_type, arch, json, len, arena, &file, fault);

	if (r == 0)
		*ret_file = *(struct config_file *)file;
	return r;
}
