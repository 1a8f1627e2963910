/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_CLI_PROGRAM_H
#define SQUIB_CLI_PROGRAM_H

#include "cli/args.h"

#define SQUIB_FIRECRACKER_VERSION "1.16.0"	/* whose API this is; GET /version, --version */

/** program_run() - the program behind a good command line; the exit code */
int program_run(const struct squib_args *args);

/** program_print() - the answer to --version and its like; the exit code */
int program_print(const char *output);

/** program_describe_snapshot() - the answer to --describe-snapshot; the exit code */
int program_describe_snapshot(const char *path);

/** program_fail() - report a bad command line; the exit code */
int program_fail(const struct args_result *result);

#endif
