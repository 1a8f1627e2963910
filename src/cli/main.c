/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"
#include "cli/program.h"

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
		return program_print(result.output);
	case ARGS_DESCRIBE_SNAPSHOT:
		return program_describe_snapshot(result.args.describe_snapshot);
	case ARGS_FAIL:
		return program_fail(&result);
	case ARGS_RUN:
		break;
	}
	return program_run(&result.args);
}
