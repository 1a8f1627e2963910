/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/program.h"

/*
 * Who starts us may have closed standard input, output or error. Their numbers would go to the next
 * files we open, and the log, or the guest's console, into a guest's disk.
 */
static bool hold_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
			return false;
	return true;
}

int main(int argc, char *argv[])
{
	static const struct args_program program = {
		.firecracker_version = SQUIB_FIRECRACKER_VERSION,
		.squib_version = SQUIB_VERSION,
		.engines = "kvm, qemu, mock",
		.host_arch = PROGRAM_HOST_ARCH,
	};

	if (!hold_standard_streams())
		return EXIT_CODE_UNEXPECTED;
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
