/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/qemu/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "vhost_user/device.h"

/* A device, before and after QEMU has connected to it. */
struct place {
	struct qemu_devices *devices;
	size_t index;			/* in the set */
	struct loop_source listener;
	struct vhost_user_device *transport;	/* NULL before */
};

struct qemu_devices {
	const struct engine_params *params;
	pid_t pid;			/* QEMU's; 0 before it runs */
	bool paused;
	struct loop *loop;		/* of the devices */
	struct loop_source source;	/* that loop in the monitor's */
	struct device_set *set;
	size_t place_count;
	struct place *places;
	size_t peer_count;
	struct qemu_peer peers[];	/* device_set_bound() */
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

static void stop_listening(struct place *place)
{
	loop_remove(place->devices->loop, &place->listener);
	fd_close(fd_take(&place->listener.fd));
}

static bool is_qemu(const struct qemu_devices *devices, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       devices->pid != 0 && peer.pid == devices->pid;
}

static int serve(struct place *place, int fd)
{
	struct qemu_devices *devices = place->devices;
	struct vhost_user_params params = {
		.device = device_set_device(devices->set, place->index),
		.fd = fd,
		.loop = devices->loop,
		.log = devices->params->log,
		.metrics = devices->params->metrics,
	};
	int r = vhost_user_device_new(&params, &place->transport);

	if (r < 0)
		return r;
	device_set_take(devices->set, place->index);
	if (devices->paused)
		vhost_user_device_pause(place->transport);
	return 0;
}

/* QEMU, which waits for the device, finds nobody there, and gives up. */
static void give_up(struct place *place, int error)
{
	char text[OS_ERROR_MAX];

	log_error(place->devices->params->log, "QEMU engine: a device cannot be served: %s",
		  os_error(error, text));
	stop_listening(place);
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
	struct place *place = container_of(source, struct place, listener);
	CLEANUP(fd_close) int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
	int r;

	(void)events;
	if (fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			give_up(place, -errno);	/* it would be ready again and again */
		return;
	}
	if (!is_qemu(place->devices, fd))
		return;
	r = serve(place, fd);
	if (r < 0) {
		give_up(place, r);
		return;
	}
	fd_take(&fd);
	stop_listening(place);
}

static int listen_anywhere(char address[static QEMU_ADDRESS_MAX])
{
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);

	/* Without a name it is given one, which begins with a zero byte and does not end with one. */
	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof(addr.sun_family)) < 0 ||
	    listen(fd, 1) < 0 || getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	len -= offsetof(struct sockaddr_un, sun_path) + 1;
	if (len >= QEMU_ADDRESS_MAX)
		return -ENAMETOOLONG;
	memcpy(address, addr.sun_path + 1, len);
	address[len] = '\0';
	return fd_take(&fd);
}

static int add_place(struct qemu_devices *devices, struct fault *fault)
{
	struct qemu_peer *peer = &devices->peers[devices->peer_count];
	struct place *place = &devices->places[devices->place_count];
	int fd = listen_anywhere(peer->address), r;

	if (fd < 0)
		return failed(fault, fd);
	peer->fd = -1;
	*place = (struct place){ .devices = devices, .index = devices->place_count,
				 .listener = { .fd = fd, .events = EPOLLIN,
					       .ready = listener_ready } };
	devices->peer_count++;
	devices->place_count++;
	r = loop_add(devices->loop, &place->listener);
	return r < 0 ? failed(fault, r) : 0;
}

/* One by "socket": QEMU talks to the other process itself. */
static int add_connected(struct qemu_devices *devices, const struct engine_file *file,
			 struct fault *fault)
{
	int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return failed(fault, -errno);
	devices->peers[devices->peer_count++].fd = fd;
	return 0;
}

static int add_all(struct qemu_devices *devices, const struct engine_machine *machine,
		   struct fault *fault)
{
	const struct squib_machine *description = machine->description;
	size_t device_count = device_set_count(devices->set);
	int r = 0;

	devices->places = calloc(device_count + 1, sizeof(devices->places[0]));
	if (devices->places == NULL)
		return failed(fault, -ENOMEM);
	for (size_t i = 0; r == 0 && i < description->drive_count; i++)
		r = description->drives[i]->socket != NULL ?
			    add_connected(devices, &machine->drives[i], fault) :
			    add_place(devices, fault);
	while (r == 0 && devices->place_count < device_count)
		r = add_place(devices, fault);
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
	struct qemu_devices *devices = calloc(1, sizeof(*devices) +
					      bound * sizeof(devices->peers[0]));
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
		r = add_all(devices, machine, fault);
	if (r < 0) {
		qemu_devices_free(devices);
		return r;
	}
	*ret_devices = devices;
	return 0;
}

static void close_inherited(struct qemu_devices *devices)
{
	for (size_t i = 0; i < devices->peer_count; i++)
		fd_close(fd_take(&devices->peers[i].fd));
}

void qemu_devices_free(struct qemu_devices *devices)
{
	if (devices == NULL)
		return;
	close_inherited(devices);
	for (size_t i = 0; i < devices->place_count; i++) {
		stop_listening(&devices->places[i]);
		vhost_user_device_free(devices->places[i].transport);
	}
	device_set_free(devices->set);
	loop_remove(devices->params->loop, &devices->source);
	loop_free(devices->loop);
	free(devices->places);
	free(devices);
}

const struct qemu_peer *qemu_devices_peers(const struct qemu_devices *devices, size_t *ret_count)
{
	*ret_count = devices->peer_count;
	return devices->peers;
}

void qemu_devices_expect(struct qemu_devices *devices, pid_t pid)
{
	devices->pid = pid;
	close_inherited(devices);
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
	devices->paused = true;
	for (size_t i = 0; i < devices->place_count; i++)
		if (devices->places[i].transport != NULL)
			vhost_user_device_pause(devices->places[i].transport);
}

void qemu_devices_resume(struct qemu_devices *devices)
{
	devices->paused = false;
	for (size_t i = 0; i < devices->place_count; i++)
		if (devices->places[i].transport != NULL)
			vhost_user_device_resume(devices->places[i].transport);
}

struct device_set *qemu_devices_set(struct qemu_devices *devices)
{
	return devices->set;
}
