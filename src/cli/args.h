/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line, as contract 6.1 and 6.2: a function of argv that prints nothing, opens nothing
 * and keeps its result in one plain struct.
 */
#ifndef SQUIB_CLI_ARGS_H
#define SQUIB_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <squib/config.h>
#include <squib/controller.h>

#include "base/buf.h"
#include "base/util.h"

/* Exit codes that clients know; those of signals are in signals.h. */
enum {
	EXIT_CODE_OK = 0,
	EXIT_CODE_ERROR = 1,
	EXIT_CODE_UNEXPECTED = 2,
	EXIT_CODE_BAD_CONFIGURATION = 152,
	EXIT_CODE_ARG_PARSING = 153,
};

#define ARGS_SNAPSHOT_VERSION "10.0.0"

enum args_engine {
	ARGS_ENGINE_AUTO,
	ARGS_ENGINE_KVM,
	ARGS_ENGINE_QEMU,
	ARGS_ENGINE_MOCK,
};

enum args_network {
	ARGS_NETWORK_TAP,
	ARGS_NETWORK_USERSPACE,
};

struct args_number {
	bool given;
	uint64_t value;
};

/* A command line without errors. Strings are argv's or constants; NULL: not given. */
struct squib_args {
	const char *api_sock;		/* default /run/firecracker.socket */
	bool force_api_sock;
	bool no_api;			/* then config_file is there */
	const char *id;			/* default anonymous-instance; valid */
	const char *config_file;
	const char *metadata;
	uint64_t http_api_max_payload_size;
	uint64_t mmds_size_limit;	/* default: as the line above */
	bool openapi;

	struct squib_logger logger;	/* to be applied before anything else is logged */
	const char *metrics_path;

	struct args_number start_time_us;	/* these three are read only with the API */
	struct args_number start_time_cpu_us;
	struct args_number parent_cpu_time_us;

	bool no_seccomp;
	const char *seccomp_filter;
	bool boot_timer;
	bool enable_pci;

	enum args_engine engine;
	bool arch_given;		/* else arch is the host's */
	enum squib_arch arch;
	enum args_network network;
	bool network_given;		/* else the configuration file may choose */
	const char *describe_snapshot;

	char *const *extra;		/* what followed "--"; ignored */
	size_t extra_count;

	const char *warnings[4];	/* to be logged once the logger is configured */
	size_t warning_count;
};

enum args_outcome {
	ARGS_RUN,		/* go on with args */
	ARGS_PRINT,		/* print output, exit with 0 */
	ARGS_DESCRIBE_SNAPSHOT,	/* describe_snapshot(args.describe_snapshot) and exit */
	ARGS_FAIL,		/* log error, print debug, exit with exit_code */
};

struct args_result {
	enum args_outcome outcome;
	struct squib_args args;
	char *output;		/* whole lines */
	char *error;		/* the text to log at level error */
	char *debug;		/* the same as upstream shows it on standard error, after "Error: " */
	int exit_code;
	/*
	 * Of a failure: id and logger flags were good, and the error is one that upstream finds only
	 * after it has configured its logger. args.id and args.logger may be used to report it.
	 */
	bool logger_first;
};

/* What the texts of --version and --help name. */
struct args_program {
	const char *firecracker_version;	/* "1.16.0" */
	const char *squib_version;
	const char *engines;			/* those built in: "kvm, qemu, mock" */
	enum squib_arch host_arch;
};

/** args_parse() - @result is always filled, and to be emptied by args_result_done() */
void args_parse(int argc, char *const argv[], const struct args_program *program,
		struct args_result *result);
void args_result_done(struct args_result *result);
static inline void args_result_done_p(struct args_result *result) { args_result_done(result); }

/**
 * args_check_id() - is @id an instance id?
 * @reason: may be NULL; on failure the Debug form of the reason is appended: "InvalidChar('@', 3)"
 */
bool args_check_id(const char *id, struct buf *reason);

#endif
