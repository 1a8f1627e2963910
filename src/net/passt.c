/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passt inherits one end of a socket pair; so there is no path that others could connect to or that
 * could be left behind. It quits when the other end is closed, which happens however we end: that
 * counts, since it changes its credentials and thereby escapes PR_SET_PDEATHSIG.
 *
 * Its end has to be a blocking one, as it waits there for the rest of a frame. Ours is of its own; each
 * call says for itself that it does not wait.
 *
 * The owner watches backend.fd for what to receive. A descriptor can be in a loop only once, so
 * that there is room to send is watched for on a duplicate.
 */
#include "net/passt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/lines.h"
#include "base/process.h"
#include "net/frame_stream.h"
#include "net/passt_args.h"

#define ENDED "has ended"
#define SOCKET_BYTES (4 << 20)	/* to ask for; the host has a limit (net.core.wmem_max) */

struct passt {
	struct net_backend backend;
	struct passt_params params;
	char *program, *name;
	struct frame_stream stream;
	struct loop_source room;	/* for what is left of a frame */
	struct process process;
	struct loop_source exit;	/* the process's */
	struct lines words;		/* its standard output and error */
	char last_words[LINE_MAX_BYTES];
};

static struct passt *as_passt(struct net_backend *backend)
{
	return container_of(backend, struct passt, backend);
}

int passt_find(char **ret_program, struct fault *fault)
{
	char *program = process_find("passt");

	if (program == NULL)
		program = process_find("/usr/bin/passt");
	if (program == NULL)
		return fault_set(fault, -ENOENT, "passt, which --network userspace needs, is not "
				 "installed (Debian package: passt)");
	*ret_program = program;
	return 0;
}

/* ---- ports ---- */

/* The host's port, to be closed; or -errno */
static int bind_port(const struct passt_port *port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port->host_port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port->host_port) };
	bool is_v4 = inet_pton(AF_INET, port->host_address, &v4.sin_addr) == 1;
	bool is_tcp = port->protocol == PASST_TCP;
	CLEANUP(fd_close) int fd = -1;
	int one = 1;

	if (!is_v4 && inet_pton(AF_INET6, port->host_address, &v6.sin6_addr) != 1)
		return -EINVAL;
	fd = socket(is_v4 ? AF_INET : AF_INET6, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* As passt has them: what is left of a listener that is gone is no reason to refuse. */
	if (is_tcp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (!is_v4 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		return -errno;
	if (bind(fd, is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6,
		 is_v4 ? sizeof(v4) : sizeof(v6)) < 0 ||
	    (is_tcp && listen(fd, 1) < 0))
		return -errno;
	return fd_take(&fd);
}

static int port_fault(struct fault *fault, int error, const struct passt_port *port, const char *why)
{
	return fault_set(fault, error, "Cannot forward %s port %u of %s: %s",
			 port->protocol == PASST_TCP ? "TCP" : "UDP", port->host_port,
			 port->host_address, why);
}

static bool is_among(const struct passt_port *port, const struct passt_port *ports, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (ports[i].protocol == port->protocol && ports[i].host_port == port->host_port)
			return true;
	return false;
}

/* All at once, as one may be in the way of another. @fds: room for as many */
static int bind_ports(const struct passt_port *ports, size_t count, int *fds, struct fault *fault)
{
	for (size_t i = 0; i < count; i++) {
		char error[OS_ERROR_MAX];

		if (is_among(&ports[i], ports, i))
			return port_fault(fault, -EINVAL, &ports[i],
					  "passt can listen on a port at one address only");
		fds[i] = bind_port(&ports[i]);
		if (fds[i] < 0)
			return port_fault(fault, fds[i], &ports[i], os_error(fds[i], error));
	}
	return 0;
}

int passt_check_ports(const struct passt_port *ports, size_t count, struct fault *fault)
{
	int *fds = malloc((count + 1) * sizeof(*fds));
	int r;

	if (fds == NULL)
		return fault_set(fault, -ENOMEM, "Out of memory");
	for (size_t i = 0; i < count; i++)
		fds[i] = -1;
	r = bind_ports(ports, count, fds, fault);
	for (size_t i = 0; i < count; i++)
		fd_close(fds[i]);
	free(fds);
	return r;
}

/* ---- the process ---- */

static void words_line(struct lines *lines, const char *text)
{
	struct passt *passt = container_of(lines, struct passt, words);

	/* It complains about each of its lines where there is no system logger. */
	if (strncmp(text, "Failed to send ", strlen("Failed to send ")) == 0)
		return;
	snprintf(passt->last_words, sizeof(passt->last_words), "%s", text);
	log_limited_at(passt->params.log, SQUIB_LOG_DEBUG, "passt of %s: %s", passt->name, text);
}

static void words_ready(struct loop_source *source, uint32_t events)
{
	struct passt *passt = container_of(source, struct passt, words.source);

	(void)events;
	if (!lines_read(&passt->words))
		lines_close(&passt->words, passt->params.loop);
}

/* No process, no descriptor is left; @fd is the wire's. */
static void stop(struct passt *passt, int fd, int *ret_status)
{
	loop_remove(passt->params.loop, &passt->room);
	fd_close(fd_take(&passt->room.fd));
	fd_close(fd);
	frame_stream_use(&passt->stream, -1);
	loop_remove(passt->params.loop, &passt->exit);
	passt->exit.fd = -1;
	if (passt->process.pid != 0) {
		kill(passt->process.pid, SIGKILL);	/* one that has ended keeps its exit code */
		process_reap(&passt->process, ret_status);
	}
	lines_finish(&passt->words);
	lines_close(&passt->words, passt->params.loop);
}

/* The wire is cut. Always -EIO. */
static int cut(struct passt *passt, const char *why)
{
	char status_text[32];
	int fd = fd_take(&passt->backend.fd), status = 0;

	if (passt->backend.changed != NULL)
		passt->backend.changed(&passt->backend);	/* while fd is still open */
	stop(passt, fd, &status);
	snprintf(status_text, sizeof(status_text), status < 0 ? "signal %d" : "exit code %d",
		 abs(status));
	log_error(passt->params.log, "passt %s (%s): network interface %s is down until it is updated. "
		  "Its last words: %s", why, status_text, passt->name,
		  passt->last_words[0] != '\0' ? passt->last_words : "none");
	return -EIO;
}

static void process_ended(struct loop_source *source, uint32_t events)
{
	(void)events;
	cut(container_of(source, struct passt, exit), ENDED);
}

/* A socket pair: ours, and its */
static int open_wire(int *ret_ours, int *ret_its)
{
	int bytes = SOCKET_BYTES, s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)	/* the more, the fewer frames are lost; never needed */
		setsockopt(s[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	*ret_ours = s[0];
	*ret_its = s[1];
	return 0;
}

static int spawn(struct passt *passt, int wire_fd)
{
	CLEANUP(passt_args_free) char **args = passt_args_new(&passt->params, wire_fd);
	CLEANUP(fd_close) int words_fd = -1;
	int r;

	if (args == NULL)
		return -ENOMEM;
	passt->last_words[0] = '\0';
	r = lines_open(&passt->words, words_line, &words_fd);
	if (r < 0)
		return r;
	return process_spawn(args, &wire_fd, 1, words_fd, &passt->process);
}

static int watch(struct passt *passt)
{
	struct loop *loop = passt->params.loop;
	int r;

	passt->room.fd = fcntl(passt->backend.fd, F_DUPFD_CLOEXEC, 3);
	if (passt->room.fd < 0)
		return -errno;
	passt->room.events = 0;
	passt->exit.fd = passt->process.pidfd;
	r = loop_add(loop, &passt->exit);
	if (r == 0)
		r = loop_add(loop, &passt->words.source);
	if (r == 0)
		r = loop_add(loop, &passt->room);
	return r;
}

static int start(struct passt *passt)
{
	CLEANUP(fd_close) int its = -1;
	int r = open_wire(&passt->backend.fd, &its);

	if (r == 0)
		r = spawn(passt, its);
	if (r == 0)
		r = watch(passt);
	if (r < 0) {
		int status;

		stop(passt, fd_take(&passt->backend.fd), &status);
		return r;
	}
	frame_stream_use(&passt->stream, passt->backend.fd);
	return 0;
}

/* ---- frames ---- */

static ssize_t passt_receive(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct passt *passt = as_passt(backend);
	ssize_t r;

	if (backend->fd < 0)
		return -EIO;
	r = frame_stream_receive(&passt->stream, segments, count);
	if (r >= 0 || r == -EAGAIN || r == -ENOBUFS)
		return r;
	return cut(passt, r == -EPROTO ? "has sent what is no frame" : ENDED);
}

/* There is room nearly always: it is asked for only while something waits for it. */
static int watch_room(struct passt *passt)
{
	return loop_modify(passt->params.loop, &passt->room,
			   frame_stream_is_sending(&passt->stream) ? EPOLLOUT : 0);
}

static void room_ready(struct loop_source *source, uint32_t events)
{
	struct passt *passt = container_of(source, struct passt, room);
	int r = frame_stream_flush(&passt->stream);

	if (r == 0 || r == -EAGAIN)
		r = watch_room(passt);
	if (r < 0 || (events & (EPOLLHUP | EPOLLERR)) != 0)
		cut(passt, ENDED);
}

static ssize_t passt_send(struct net_backend *backend, const struct iovec *segments, int count)
{
	struct passt *passt = as_passt(backend);
	ssize_t sent;

	if (backend->fd < 0)
		return -EIO;
	sent = frame_stream_send(&passt->stream, segments, count);
	if (sent < 0 && sent != -EAGAIN && sent != -EMSGSIZE)
		return cut(passt, ENDED);
	return watch_room(passt) < 0 ? cut(passt, ENDED) : sent;
}

static int passt_set_features(struct net_backend *backend, uint64_t features)
{
	(void)features;	/* the protocol has no place for any offload */
	(void)backend;
	return 0;
}

static int passt_revive(struct net_backend *backend)
{
	int r;

	if (backend->fd >= 0)
		return 0;
	r = start(as_passt(backend));
	if (r == 0 && backend->changed != NULL)
		backend->changed(backend);
	return r;
}

static void passt_free(struct net_backend *backend)
{
	struct passt *passt = as_passt(backend);
	int status;

	stop(passt, fd_take(&passt->backend.fd), &status);
	frame_stream_done(&passt->stream);
	free(passt->program);
	free(passt->name);
	free(passt);
}

static const struct net_backend_ops passt_ops = {
	.receive = passt_receive,
	.send = passt_send,
	.set_features = passt_set_features,
	.revive = passt_revive,
	.free = passt_free,
};

int passt_backend_new(const struct passt_params *params, struct net_backend **ret_backend,
		      struct fault *fault)
{
	struct passt *passt = malloc(sizeof(*passt));
	char error[OS_ERROR_MAX];
	int r;

	if (passt == NULL)
		return fault_set(fault, -ENOMEM, "Cannot run passt: Out of memory");
	*passt = (struct passt){
		.backend = { .ops = &passt_ops, .fd = -1 },
		.params = *params,
		.program = strdup(params->program),
		.name = strdup(params->name),
		.room = { .fd = -1, .ready = room_ready },
		.process = PROCESS_INIT,
		.exit = { .fd = -1, .events = EPOLLIN, .ready = process_ended },
		.words = { .source = { .fd = -1, .ready = words_ready } },
	};
	passt->params.program = passt->program;
	r = frame_stream_init(&passt->stream);
	if (passt->program == NULL || passt->name == NULL)
		r = -ENOMEM;
	if (r == 0)
		r = start(passt);
	if (r < 0) {
		passt_free(&passt->backend);
		return fault_set(fault, r, "Cannot run passt: %s", os_error(r, error));
	}
	*ret_backend = &passt->backend;
	return 0;
}
