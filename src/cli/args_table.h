/* SPDX-License-Identifier: Apache-2.0 */
/* Every flag, once; args.c and its test read it. */
#ifndef SQUIB_CLI_ARGS_TABLE_H
#define SQUIB_CLI_ARGS_TABLE_H

#include <stdbool.h>

enum flag {		/* in the order of their names */
	FLAG_API_SOCK,
	FLAG_ARCH,
	FLAG_BOOT_TIMER,
	FLAG_BRIDGED_IFACE,
	FLAG_CONFIG_FILE,
	FLAG_DESCRIBE_SNAPSHOT,
	FLAG_ENABLE_PCI,
	FLAG_ENGINE,
	FLAG_FORCE_API_SOCK,
	FLAG_GVPROXY_PATH,
	FLAG_HELP,
	FLAG_HTTP_API_MAX_PAYLOAD_SIZE,
	FLAG_ID,
	FLAG_LEVEL,
	FLAG_LOG_PATH,
	FLAG_MACOS_SANDBOX_PROFILE,
	FLAG_METADATA,
	FLAG_METRICS_PATH,
	FLAG_MMDS_SIZE_LIMIT,
	FLAG_MODULE,
	FLAG_NETWORK,
	FLAG_NO_API,
	FLAG_NO_SECCOMP,
	FLAG_OPENAPI,
	FLAG_PARENT_CPU_TIME_US,
	FLAG_SECCOMP_FILTER,
	FLAG_SHOW_LEVEL,
	FLAG_SHOW_LOG_ORIGIN,
	FLAG_SNAPSHOT_VERSION,
	FLAG_START_TIME_CPU_US,
	FLAG_START_TIME_US,
	FLAG_VERSION,
	FLAG_COUNT,
};

#define FLAG_NONE FLAG_COUNT

struct flag_info {
	const char *name;
	const char *help;
	const char *default_value;	/* NULL: none */
	bool takes_value;
	bool bound;			/* to the flag below, */
	bool excludes;			/* which must be absent; else present */
	enum flag other;
};

extern const struct flag_info flag_table[FLAG_COUNT];

#endif
