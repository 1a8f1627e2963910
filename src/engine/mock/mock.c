/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine without a guest, for tests of everything in front of an engine and for trying clients.
 * What a machine is made of has been checked before it gets here; this engine gives the answers a
 * real one gives where all is well. It takes every device, and any kernel file that can be read:
 * what is in the file is the business of engines that run it.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"

struct mock_engine {
	struct engine engine;
	struct log *log;
};

static struct mock_engine *mock_of(struct engine *engine)
{
	return container_of(engine, struct mock_engine, engine);
}

static int mock_probe(enum squib_arch arch, struct fault *reason)
{
	(void)arch;
	(void)reason;
	return 0;
}

static int mock_create(const struct engine_params *params, struct engine **ret_engine,
		       struct fault *fault)
{
	struct mock_engine *mock = calloc(1, sizeof(*mock));

	if (mock == NULL)
		return fault_set(fault, -ENOMEM, "Out of memory (os error 12)");
	mock->engine.ops = &engine_mock;
	mock->log = params->log;
	*ret_engine = &mock->engine;
	return 0;
}

static void mock_destroy(struct engine *engine)
{
	if (engine != NULL)
		free(mock_of(engine));
}

static int mock_check(struct engine *engine, const struct squib_machine *description,
		      struct fault *fault)
{
	(void)engine;
	(void)description;
	(void)fault;
	return 0;
}

static int mock_start(struct engine *engine, const struct engine_machine *machine,
		      struct fault *fault)
{
	char text[OS_ERROR_MAX];
	char byte;
	int r = mock_check(engine, machine->description, fault);

	if (r < 0)
		return r;
	if (pread(machine->kernel.fd, &byte, 1, 0) < 0) {
		r = -errno;
		return fault_set(fault, r,
				 "System configuration error: Cannot load kernel due to invalid memory "
				 "configuration or invalid kernel image: Cannot read the image: %s",
				 os_error(r, text));
	}
	log_info(mock_of(engine)->log, "Mock engine: no guest is running");
	return 0;
}

static int mock_nothing(struct engine *engine, struct fault *fault)
{
	(void)engine;
	(void)fault;
	return 0;
}

static int mock_update_drive(struct engine *engine, const struct squib_drive_update *update,
			     int file_fd, struct fault *fault)
{
	(void)engine;
	(void)update;
	(void)file_fd;
	(void)fault;
	return 0;
}

static size_t mock_serial_input(struct engine *engine, const void *data, size_t len)
{
	(void)engine;
	(void)data;
	return len;
}

static void mock_serial_output_ready(struct engine *engine)
{
	(void)engine;
}

const struct engine_ops engine_mock = {
	.name = "mock",
	.pci = true,
	.probe = mock_probe,
	.create = mock_create,
	.destroy = mock_destroy,
	.check = mock_check,
	.start = mock_start,
	.pause = mock_nothing,
	.resume = mock_nothing,
	.send_ctrl_alt_del = mock_nothing,
	.update_drive = mock_update_drive,
	.serial_input = mock_serial_input,
	.serial_output_ready = mock_serial_output_ready,
};
