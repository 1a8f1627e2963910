/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets are watched only for what can be dealt with at once, since the loop is level-triggered: a
 * stream whose socket is known to be readable is in the ready list instead until the guest has
 * taken the data, a socket that hung up is not watched any more, and none is while the device is
 * paused or the guest has no driver. So nothing spins, however slow either side is.
 *
 * A driver resets the device in a thread of its own, which cannot use the loop. What is dropped
 * waits for the loop therefore, and the timer wakes it; within the loop too, so that a stream that
 * is being dealt with does not go away on the way.
 */
#include "virtio/vsock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "virtio/vsock_unix.h"

#define FIRST_PORT    (UINT32_C(1) << 30)	/* contract, section 10 */
#define ACCEPTS_MAX   16u			/* in a round */
#define DIALS_MAX     64u			/* the same */
#define DIAL_NS	      UINT64_C(10000000)	/* between two tries; nobody tells when there is room */
#define LISTEN_NS     UINT64_C(100000000)	/* a look for descriptors, the same */

static bool is_running(const struct vsock *vsock)
{
	return vsock->device.active && !vsock->paused && !virtio_device_is_broken(&vsock->device);
}

/* --- the timer */

static void set_timer(struct vsock *vsock, uint64_t when_ns)
{
	if (when_ns == 0 || (vsock->timer_ns != 0 && vsock->timer_ns <= when_ns))
		return;
	vsock->timer_ns = when_ns;
	loop_timer_set(&vsock->timer, when_ns);
}

void vsock_host_wake(struct vsock *vsock)
{
	set_timer(vsock, 1);
}

static struct vsock_stream *of_deadline(struct list *node)
{
	return container_of(node, struct vsock_stream, in_deadlines);
}

static void set_timer_as_needed(struct vsock *vsock)
{
	if (!is_running(vsock))
		return;		/* what starts it again wakes us */
	if (!list_is_empty(&vsock->deadlines))
		set_timer(vsock, of_deadline(list_first(&vsock->deadlines))->listed_deadline_ns);
	if (!list_is_empty(&vsock->dialing))
		set_timer(vsock, vsock->dial_ns);
	if (!vsock->listening)
		set_timer(vsock, vsock->listen_ns);
}

/* --- what is watched */

static void unwatch(struct vsock_stream *stream)
{
	if (!stream->watched)
		return;
	loop_remove(stream->vsock->loop, &stream->source);
	stream->watched = false;
}

static int watch(struct vsock_stream *stream, uint32_t events)
{
	int r;

	if (stream->watched)
		return loop_modify(stream->vsock->loop, &stream->source, events);
	stream->source.events = events;
	r = loop_add(stream->vsock->loop, &stream->source);
	stream->watched = r == 0;
	return r;
}

static void watch_as_wanted(struct vsock_stream *stream)
{
	uint32_t events;

	if (!is_running(stream->vsock) || !vsock_connection_wants(&stream->connection, &events))
		unwatch(stream);
	else if (watch(stream, events) < 0) {
		metrics_inc(&stream->vsock->counters->muxer_event_fails);
		unwatch(stream);
		vsock_connection_kill(&stream->connection);
	}
}

static void unlisten(struct vsock *vsock)
{
	loop_remove(vsock->loop, &vsock->listener);
	vsock->listening = false;
}

static void listen_if_possible(struct vsock *vsock)
{
	if (!is_running(vsock)) {
		unlisten(vsock);
	} else if (!vsock->listening && clock_ns() >= vsock->listen_ns) {
		vsock->listening = loop_add(vsock->loop, &vsock->listener) == 0;
		vsock->listen_ns = vsock->listening ? 0 : clock_ns() + LISTEN_NS;
	}
}

/* --- streams */

static void free_stream(struct vsock_stream *stream)
{
	unwatch(stream);
	vsock_connection_done(&stream->connection);
	list_remove(&stream->in_all);
	free(stream);
}

static void free_dropped(struct vsock *vsock)
{
	struct list *node;

	while ((node = list_first(&vsock->dropped)) != NULL)
		free_stream(container_of(node, struct vsock_stream, in_all));
}

static bool is_in_table(const struct vsock_stream *stream)
{
	return vsock_table_find(&stream->vsock->table, stream->entry.ports) == &stream->entry;
}

void vsock_host_remove(struct vsock_stream *stream)
{
	struct vsock *vsock = stream->vsock;

	if (stream->dropped)
		return;
	stream->dropped = true;
	if (is_in_table(stream)) {
		vsock_table_remove(&vsock->table, &stream->entry);
		metrics_inc(&vsock->counters->conns_removed);
	}
	list_remove(&stream->in_ready);
	list_remove(&stream->in_deadlines);
	list_remove(&stream->in_dialing);
	list_remove(&stream->in_all);
	list_append(&vsock->dropped, &stream->in_all);
	vsock->stream_count--;
}

void vsock_host_drop_all(struct vsock *vsock)
{
	struct list *node;

	while ((node = list_first(&vsock->streams)) != NULL)
		vsock_host_remove(container_of(node, struct vsock_stream, in_all));
	vsock_host_wake(vsock);
}

static void list_deadline(struct vsock_stream *stream)
{
	if (stream->listed_deadline_ns == stream->connection.deadline_ns)
		return;
	stream->listed_deadline_ns = stream->connection.deadline_ns;
	list_remove(&stream->in_deadlines);
	if (stream->listed_deadline_ns != 0)
		list_append(&stream->vsock->deadlines, &stream->in_deadlines);
}

/* One that is in the list keeps its turn. */
static void list_if_ready(struct vsock_stream *stream)
{
	if (!vsock_connection_has_packet(&stream->connection))
		list_remove(&stream->in_ready);
	else if (list_is_empty(&stream->in_ready))
		list_append(&stream->vsock->ready, &stream->in_ready);
}

void vsock_host_settle(struct vsock_stream *stream)
{
	if (stream->dropped)
		return;
	watch_as_wanted(stream);
	if (stream->connection.state == VSOCK_GONE) {
		vsock_host_remove(stream);
		return;
	}
	if (stream->connection.state == VSOCK_DEAD)
		vsock_connection_close_socket(&stream->connection);
	if (stream->connection.state != VSOCK_DIALING)
		list_remove(&stream->in_dialing);
	list_deadline(stream);
	list_if_ready(stream);
}

void vsock_host_leave(struct vsock *vsock)
{
	free_dropped(vsock);
	set_timer_as_needed(vsock);
}

static void stream_ready(struct loop_source *source, uint32_t events);

/* Takes @fd on success. NULL: there are too many, or no memory. */
static struct vsock_stream *new_stream(struct vsock *vsock, int fd)
{
	struct vsock_stream *stream;

	if (vsock->stream_count >= VSOCK_STREAMS_MAX)
		return NULL;
	stream = calloc(1, sizeof(*stream));
	if (stream == NULL)
		return NULL;
	vsock_connection_init(&stream->connection, fd, vsock->counters, vsock->log);
	stream->vsock = vsock;
	stream->source = (struct loop_source){ .fd = fd, .ready = stream_ready };
	list_init(&stream->in_ready);
	list_init(&stream->in_deadlines);
	list_init(&stream->in_dialing);
	list_append(&vsock->streams, &stream->in_all);
	vsock->stream_count++;
	return stream;
}

static void put_into_table(struct vsock_stream *stream)
{
	stream->entry.ports = stream->connection.ports;
	vsock_table_add(&stream->vsock->table, &stream->entry);
	metrics_inc(&stream->vsock->counters->conns_added);
}

struct vsock_stream *vsock_host_find(const struct vsock *vsock, struct vsock_ports ports)
{
	struct vsock_entry *entry = vsock_table_find(&vsock->table, ports);

	return entry != NULL ? container_of(entry, struct vsock_stream, entry) : NULL;
}

/* --- from the host to the guest */

static bool port_is_used(const struct vsock *vsock, uint32_t port)
{
	const struct list *node;

	for (node = vsock->streams.next; node != &vsock->streams; node = node->next)
		if (container_of(node, struct vsock_stream, in_all)->connection.ports.local == port)
			return true;
	return false;
}

/* There are more ports than streams. */
static uint32_t choose_port(struct vsock *vsock)
{
	do
		vsock->last_port = FIRST_PORT | (vsock->last_port + 1) % FIRST_PORT;
	while (port_is_used(vsock, vsock->last_port));
	return vsock->last_port;
}

static void greet(struct vsock_stream *stream)
{
	struct vsock *vsock = stream->vsock;
	struct vsock_ports ports;
	int r = vsock_unix_read_greeting(stream->connection.fd, &ports.peer);

	if (r == -EAGAIN)
		return;
	if (r < 0) {
		log_debug(vsock->log, "vsock: a host connection without a good CONNECT line");
		vsock_connection_kill(&stream->connection);
		return;
	}
	ports.local = choose_port(vsock);
	vsock_connection_request(&stream->connection, ports, clock_ns());
	put_into_table(stream);
}

/* First the stream is listed, so that it is served; then it is seen what is left to wait for. */
static void serve_stream(struct vsock_stream *stream, uint32_t events)
{
	if (stream->connection.state == VSOCK_GREETING)
		greet(stream);
	else
		vsock_connection_ready(&stream->connection, events, clock_ns());
	list_if_ready(stream);
	vsock_serve_rx(stream->vsock);
	vsock_host_settle(stream);
}

static void stream_ready(struct loop_source *source, uint32_t events)
{
	struct vsock_stream *stream = container_of(source, struct vsock_stream, source);
	struct vsock *vsock = stream->vsock;

	pthread_mutex_lock(&vsock->device.lock);
	if (!is_running(vsock))
		unwatch(stream);
	else if (!stream->dropped)
		serve_stream(stream, events);
	vsock_host_leave(vsock);
	pthread_mutex_unlock(&vsock->device.lock);
}

/* One, if there is one: 0, or -errno. */
static int accept_one(struct vsock *vsock)
{
	CLEANUP(fd_close) int fd = vsock_unix_accept(vsock->listener.fd);
	struct vsock_stream *stream;

	if (fd < 0)
		return fd;
	stream = new_stream(vsock, fd);
	if (stream == NULL) {
		log_limited_warn(vsock->log, "vsock: no room for a new host connection");
		return 0;
	}
	fd_take(&fd);
	vsock_host_settle(stream);
	return 0;
}

/* An error, of a host that has no descriptors left for one, leaves the listener readable. */
static void accept_some(struct vsock *vsock)
{
	char text[OS_ERROR_MAX];
	int r = 0;

	for (unsigned int i = 0; i < ACCEPTS_MAX && r == 0; i++)
		r = accept_one(vsock);
	if (r == 0 || r == -EAGAIN)
		return;
	log_limited_warn(vsock->log, "vsock: unable to accept a host connection: %s",
			 os_error(r, text));
	unlisten(vsock);
	vsock->listen_ns = clock_ns() + LISTEN_NS;
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
	struct vsock *vsock = container_of(source, struct vsock, listener);

	(void)events;
	pthread_mutex_lock(&vsock->device.lock);
	if (is_running(vsock))
		accept_some(vsock);
	else
		unlisten(vsock);
	vsock_host_leave(vsock);
	pthread_mutex_unlock(&vsock->device.lock);
}

/* --- from the guest to the host */

static void dial(struct vsock_stream *stream)
{
	struct vsock_connection *connection = &stream->connection;
	int r = vsock_unix_connect(connection->fd, stream->vsock->uds_path, connection->ports.local);

	if (r == 0)
		vsock_connection_dialed(connection);
	else if (r != -EAGAIN)
		vsock_connection_kill(connection);
}

bool vsock_host_dial(struct vsock *vsock, const struct vsock_header *request)
{
	CLEANUP(fd_close) int fd = vsock_unix_socket();
	struct vsock_ports ports = { .local = request->dst_port, .peer = request->src_port };
	struct vsock_stream *stream = fd >= 0 ? new_stream(vsock, fd) : NULL;

	if (stream == NULL)
		return false;
	fd_take(&fd);
	vsock_connection_dial(&stream->connection, ports, request, clock_ns());
	dial(stream);
	if (stream->connection.state == VSOCK_DEAD) {
		vsock_host_remove(stream);
		return false;
	}
	put_into_table(stream);
	if (stream->connection.state == VSOCK_DIALING) {
		if (list_is_empty(&vsock->dialing))
			vsock->dial_ns = clock_ns() + DIAL_NS;
		list_append(&vsock->dialing, &stream->in_dialing);
	}
	vsock_host_settle(stream);
	return true;
}

static void dial_again(struct vsock *vsock)
{
	if (list_is_empty(&vsock->dialing) || clock_ns() < vsock->dial_ns)
		return;
	vsock->dial_ns = clock_ns() + DIAL_NS;
	for (unsigned int i = 0; i < DIALS_MAX && !list_is_empty(&vsock->dialing); i++) {
		struct vsock_stream *stream = container_of(list_first(&vsock->dialing),
							   struct vsock_stream, in_dialing);

		dial(stream);
		list_remove(&stream->in_dialing);
		if (stream->connection.state == VSOCK_DIALING)
			list_append(&vsock->dialing, &stream->in_dialing);
		vsock_host_settle(stream);
	}
}

/* --- time */

static void kill_expired(struct vsock *vsock)
{
	uint64_t now_ns = clock_ns();
	struct list *node;

	while ((node = list_first(&vsock->deadlines)) != NULL &&
	       of_deadline(node)->listed_deadline_ns <= now_ns) {
		struct vsock_stream *stream = of_deadline(node);

		metrics_inc(&vsock->counters->conns_killed);
		vsock_connection_kill(&stream->connection);
		vsock_host_settle(stream);
	}
}

static void timer_expired(struct loop_timer *timer)
{
	struct vsock *vsock = container_of(timer, struct vsock, timer);

	pthread_mutex_lock(&vsock->device.lock);
	vsock->timer_ns = 0;
	listen_if_possible(vsock);
	if (is_running(vsock)) {
		kill_expired(vsock);
		dial_again(vsock);
		vsock_serve_rx(vsock);
	}
	vsock_host_leave(vsock);
	pthread_mutex_unlock(&vsock->device.lock);
}

static void watch_all_as_wanted(struct vsock *vsock)
{
	struct list *node, *next;

	listen_if_possible(vsock);
	for (node = vsock->streams.next; node != &vsock->streams; node = next) {
		next = node->next;
		vsock_host_settle(container_of(node, struct vsock_stream, in_all));
	}
}

void vsock_host_pause(struct vsock *vsock)
{
	vsock->paused = true;
	vsock->paused_ns = clock_ns();
	watch_all_as_wanted(vsock);
}

/* The guest had no time to answer meanwhile. */
static void move_deadlines(struct vsock *vsock, uint64_t by_ns)
{
	struct list *node;

	for (node = vsock->deadlines.next; node != &vsock->deadlines; node = node->next) {
		struct vsock_stream *stream = of_deadline(node);

		stream->connection.deadline_ns += by_ns;
		stream->listed_deadline_ns = stream->connection.deadline_ns;
	}
}

void vsock_host_resume(struct vsock *vsock)
{
	vsock->paused = false;
	move_deadlines(vsock, clock_ns() - vsock->paused_ns);
	watch_all_as_wanted(vsock);
	vsock_host_wake(vsock);
}

/* --- life */

/* The flag is the socket's, not the descriptor's, but nobody else accepts from it. */
static int duplicate_listener(int listen_fd, int *ret_fd)
{
	int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0), flags;

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int vsock_host_init(struct vsock *vsock, const struct vsock_params *params)
{
	int r;

	vsock->timer.source.fd = -1;
	vsock->listener = (struct loop_source){ .fd = -1, .events = EPOLLIN,
						.ready = listener_ready };
	vsock->last_port = FIRST_PORT - 1;
	vsock_table_init(&vsock->table);
	list_init(&vsock->streams);
	list_init(&vsock->ready);
	list_init(&vsock->deadlines);
	list_init(&vsock->dialing);
	list_init(&vsock->dropped);
	vsock->uds_path = strdup(params->config->uds_path);
	if (vsock->uds_path == NULL)
		return -ENOMEM;
	r = duplicate_listener(params->listen_fd, &vsock->listener.fd);
	return r == 0 ? loop_timer_init(vsock->loop, &vsock->timer, timer_expired) : r;
}

void vsock_host_done(struct vsock *vsock)
{
	while (!list_is_empty(&vsock->streams))
		vsock_host_remove(container_of(list_first(&vsock->streams), struct vsock_stream,
					       in_all));
	free_dropped(vsock);
	if (vsock->timer.source.fd >= 0)
		loop_timer_done(vsock->loop, &vsock->timer);
	unlisten(vsock);
	fd_close(fd_take(&vsock->listener.fd));
	free(vsock->uds_path);
}
