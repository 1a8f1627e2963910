/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/args.h"
#include "cli/describe.h"
#include "cli/program.h"

static int print_snapshot_version(const char *path)
{
	CLEANUP(buf_done) struct buf output = BUF_INIT;
	CLEANUP(buf_done) struct buf debug = BUF_INIT;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (describe_snapshot(path, &output, &fault, &debug) < 0) {
		fprintf(stderr, "Error: %s\n", buf_str(&debug));
		return EXIT_CODE_ERROR;
	}
	printf("%s", buf_str(&output));
	return EXIT_CODE_OK;
}

int main(int argc, char *argv[])
{
	static const struct args_program program = {
		.firecracker_version = SQUIB_FIRECRACKER_VERSION,
		.squib_version = SQUIB_VERSION,
		.engines = "qemu, mock",
		.host_arch = PROGRAM_HOST_ARCH,
	};
	CLEANUP(args_result_done) struct args_result result;

	args_parse(argc, argv, &program, &result);
	switch (result.outcome) {
	case ARGS_PRINT:
		printf("%s", result.output);
		return EXIT_CODE_OK;
	case ARGS_DESCRIBE_SNAPSHOT:
		return print_snapshot_version(result.args.describe_snapshot);
	case ARGS_FAIL:
		return program_fail(&result);
	case ARGS_RUN:
		break;
	}
	return program_run(&result.args);
}
