/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll reports a hang-up whether asked or not. While output is held back there is nothing we could
 * do about one, so the source is then taken out of the loop, not merely watched for nothing.
 */
#include "engine/qemu/port.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/fd.h"

static void ready(struct loop_source *source, uint32_t events);

int port_open(struct port *port, struct loop *loop, struct engine_listener *listener,
	      void (*drained)(struct port *port), int *ret_peer_fd)
{
	int s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return -errno;
	port->loop = loop;
	port->listener = listener;
	port->drained = drained;
	port->source = (struct loop_source){ .fd = s[0], .events = EPOLLIN, .ready = ready };
	port->watched = port->ended = port->input_full = false;
	port->start = port->len = 0;
	*ret_peer_fd = s[1];
	return 0;
}

void port_close(struct port *port)
{
	if (port->watched)
		loop_remove(port->loop, &port->source);
	port->watched = false;
	port->ended = true;
	fd_close(fd_take(&port->source.fd));
}

static void end(struct port *port)
{
	port_close(port);
	if (port->len == 0)
		port->drained(port);
}

/* What to wait for follows from what is owed and held. */
int port_watch(struct port *port)
{
	uint32_t events = (port->len == 0 ? EPOLLIN : 0) | (port->input_full ? EPOLLOUT : 0);
	int r = 0;

	if (port->ended)
		return 0;
	if (events == 0) {
		if (port->watched)
			loop_remove(port->loop, &port->source);
		port->watched = false;
	} else if (port->watched) {
		r = loop_modify(port->loop, &port->source, events);
	} else {
		port->source.events = events;
		r = loop_add(port->loop, &port->source);
		port->watched = r == 0;
	}
	return r;
}

static void rewatch(struct port *port)
{
	if (port_watch(port) < 0)
		end(port);	/* out of kernel memory: a port without a console */
}

static void offer(struct port *port)
{
	size_t taken;

	if (port->len == 0)
		return;
	taken = port->listener->serial_output(port->listener, port->data + port->start, port->len);
	port->start += taken;
	port->len -= taken;
}

static void receive(struct port *port)
{
	ssize_t n = recv(port->source.fd, port->data, sizeof(port->data), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end(port);
		return;
	}
	port->start = 0;
	port->len = (size_t)n;
	offer(port);
}

static void ready(struct loop_source *source, uint32_t events)
{
	struct port *port = container_of(source, struct port, source);

	if (port->input_full && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) {
		port->input_full = false;
		port->listener->serial_input_ready(port->listener);
	}
	if (port->len == 0 && !port->ended)
		receive(port);
	rewatch(port);
}

size_t port_input(struct port *port, const void *data, size_t len)
{
	ssize_t n;

	if (port->ended)
		return len;	/* nobody will ever read it */
	n = send(port->source.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return len;
	if (n < 0)
		n = 0;
	if ((size_t)n < len) {
		port->input_full = true;
		rewatch(port);
	}
	return (size_t)n;
}

void port_output_ready(struct port *port)
{
	offer(port);
	if (port->len > 0)
		return;
	if (port->ended)
		port->drained(port);
	else
		rewatch(port);
}
