/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a JSON body to a typed config (squib/config.h). Decoding is validation of everything that
 * can be seen in the body alone: syntax, types, ranges, unknown and missing fields, id syntax in
 * the path against the body is the router's.
 *
 * Fault texts are the decoder's ‹text› of contract 1.7 without prefix and final dot, for instance
 * "missing field `vcpu_count` at line 1 column 21"; config_fault_to_api() adds those.
 */
#ifndef SQUIB_CONFIG_DECODE_H
#define SQUIB_CONFIG_DECODE_H

#include <stddef.h>
#include <squib/action.h>
#include <squib/controller.h>

#include "base/arena.h"
#include "base/fault.h"

/**
 * config_decode() - decode the body of a request
 * @type: which request; SQUIB_INSTANCE_START, FLUSH_METRICS and SEND_CTRL_ALT_DEL stand for
 *	PUT /actions, whose config is struct squib_action_info
 * @arch: decides the CPU templates and the fields of /cpu-config
 * @arena: owns the result and all it points to
 * @ret_config: struct squib_‹x› of the type, as squib/action.h lists; written on success only
 *
 * PATCH /balloon/hinting/start may be decoded with @len 0. Types without a body (DELETE, GET, stop)
 * must not be decoded.
 *
 * Return: 0; -EINVAL with the text in @fault; -ENOMEM.
 */
int config_decode(enum squib_action_type type, enum squib_arch arch, const char *json, size_t len,
		  struct arena *arena, const void **ret_config, struct fault *fault);

/** config_fault_to_api() - make a decode fault into what API clients get (contract 1.7) */
int config_fault_to_api(struct fault *fault);

/**
 * config_deprecation() - the deprecation text for using this body, or NULL
 *
 * Contract 2.4, 2.10, 2.12, 2.13: cpu_template, vsock_id, MMDS V1, mem_file_path and
 * enable_diff_snapshots.
 */
const char *config_deprecation(enum squib_action_type type, const void *config);

enum config_port_protocol { CONFIG_PORT_TCP, CONFIG_PORT_UDP };

/* A port of the host that leads to one of the guest. */
struct config_port {
	unsigned int protocol;			/* enum config_port_protocol */
	const char *host_address;		/* IPv4 or IPv6 */
	uint16_t host_port;
	uint16_t guest_port;
};

/* A configuration file (contract 6.3), decoded whole; positions in faults are the file's. */
struct config_file {
	const struct squib_logger *logger;
	const struct squib_metrics *metrics;
	const struct squib_machine_config *machine_config;
	const struct squib_cpu_config *cpu_config;
	const char *cpu_config_path;		/* "cpu-config" was a string: a file to read */
	const struct squib_boot_source *boot_source;
	const struct squib_drive *const *drives;
	size_t drive_count;
	const struct squib_network_interface *const *network_interfaces;
	size_t network_interface_count;
	const struct squib_vsock *vsock;
	const struct squib_balloon *balloon;
	const struct squib_mmds_config *mmds_config;
	const char *mmds;			/* JSON text of key "mmds"; squib's own key */
	size_t mmds_len;
	const struct squib_entropy *entropy;
	const struct squib_pmem *const *pmems;
	size_t pmem_count;
	const struct squib_serial *serial;	/* squib's own key */
	const struct squib_memory_hotplug *memory_hotplug;
	const char *network;			/* "squib"."network"; NULL: absent */
	const struct config_port *ports;	/* "squib"."ports" */
	size_t port_count;
};

int config_file_decode(const char *json, size_t len, enum squib_arch arch, struct arena *arena,
		       struct config_file *ret_file, struct fault *fault);

/** config_id_is_valid() - [A-Za-z0-9_]{1,64} */
bool config_id_is_valid(const char *id, size_t len);

#endif
