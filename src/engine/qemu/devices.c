/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "vhost_user/block.h"
#include "vhost_user/device.h"

struct qemu_devices {
	const struct engine_params *params;
	struct loop *loop;		/* of the devices */
	struct loop_source source;	/* that loop in the monitor's */
	struct device_set *set;
	size_t count;			/* of transports */
	struct vhost_user_device **transports;
	size_t peer_count;
	int peers[];			/* device_set_bound() */
};

static int failed(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Internal error while starting microVM: the qemu engine "
			 "cannot serve its devices: %s", os_error(error, text));
}

static void loop_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	qemu_devices_serve(container_of(source, struct qemu_devices, source));
}

static int serve_next(struct qemu_devices *devices, struct fault *fault)
{
	struct vhost_user_params params = {
		.device = device_set_device(devices->set, devices->count),
		.loop = devices->loop,
		.log = devices->params->log,
		.metrics = devices->params->metrics,
	};
	int s[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return failed(fault, -errno);
	params.fd = s[0];
	r = vhost_user_device_new(&params, &devices->transports[devices->count]);
	if (r < 0) {
		fd_close(s[0]);
		fd_close(s[1]);
		return failed(fault, r);
	}
	device_set_take(devices->set, devices->count);
	devices->count++;
	devices->peers[devices->peer_count++] = s[1];
	return 0;
}

static int connect_drive(struct qemu_devices *devices, const struct squib_drive *drive,
			 struct fault *fault)
{
	int fd = vhost_user_block_connect(drive->socket, fault);

	if (fd < 0) {
		fault_prefix(fault, "Unable to attach block device to Vmm: ");
		return fd;
	}
	devices->peers[devices->peer_count++] = fd;
	return 0;
}

static int add_all(struct qemu_devices *devices, const struct squib_machine *machine,
		   struct fault *fault)
{
	size_t device_count = device_set_count(devices->set);
	int r = 0;

	devices->transports = calloc(device_count + 1, sizeof(devices->transports[0]));
	if (devices->transports == NULL)
		return failed(fault, -ENOMEM);
	for (size_t i = 0; r == 0 && i < machine->drive_count; i++)
		r = machine->drives[i]->socket != NULL ?
			    connect_drive(devices, machine->drives[i], fault) :
			    serve_next(devices, fault);
	while (r == 0 && devices->count < device_count)
		r = serve_next(devices, fault);
	return r;
}

static int open_loop(struct qemu_devices *devices)
{
	int r = loop_new(&devices->loop);

	if (r < 0)
		return r;
	devices->source = (struct loop_source){ .fd = loop_fd(devices->loop), .events = EPOLLIN,
						.ready = loop_ready };
	return loop_add(devices->params->loop, &devices->source);
}

int qemu_devices_new(const struct engine_params *params, const struct engine_machine *machine,
		     struct qemu_devices **ret_devices, struct fault *fault)
{
	size_t bound = device_set_bound(machine->description);
	struct qemu_devices *devices = calloc(1, sizeof(*devices) + bound * sizeof(int));
	struct device_set_params set_params = { .engine = params, .machine = machine,
						.for_qemu = true };
	int r;

	if (devices == NULL)
		return failed(fault, -ENOMEM);
	devices->params = params;
	devices->source.fd = -1;
	r = open_loop(devices);
	if (r < 0) {
		qemu_devices_free(devices);
		return failed(fault, r);
	}
	set_params.loop = devices->loop;
	r = device_set_new(&set_params, &devices->set, fault);
	if (r == 0)
		r = add_all(devices, machine->description, fault);
	if (r < 0) {
		qemu_devices_free(devices);
		return r;
	}
	*ret_devices = devices;
	return 0;
}

void qemu_devices_free(struct qemu_devices *devices)
{
	if (devices == NULL)
		return;
	qemu_devices_close_peers(devices);
	for (size_t i = 0; i < devices->count; i++)
		vhost_user_device_free(devices->transports[i]);
	device_set_free(devices->set);
	loop_remove(devices->params->loop, &devices->source);
	loop_free(devices->loop);
	free(devices->transports);
	free(devices);
}

const int *qemu_devices_peers(const struct qemu_devices *devices, size_t *ret_count)
{
	*ret_count = devices->peer_count;
	return devices->peers;
}

void qemu_devices_close_peers(struct qemu_devices *devices)
{
	while (devices->peer_count > 0)
		fd_close(devices->peers[--devices->peer_count]);
}

int qemu_devices_fd(const struct qemu_devices *devices)
{
	return devices->source.fd;
}

void qemu_devices_serve(struct qemu_devices *devices)
{
	loop_run_once(devices->loop, 0);
}

void qemu_devices_pause(struct qemu_devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		vhost_user_device_pause(devices->transports[i]);
}

void qemu_devices_resume(struct qemu_devices *devices)
{
	for (size_t i = 0; i < devices->count; i++)
		vhost_user_device_resume(devices->transports[i]);
}

struct device_set *qemu_devices_set(struct qemu_devices *devices)
{
	return devices->set;
}
