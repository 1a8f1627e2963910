/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: connections on a Unix socket, answered by one thread that never blocks.
 *
 * A connection is in one of these states:
 *
 *   SERVING   reads, feeds the parser, answers. While an answer is not written whole, nothing
 *             further is read, so that a client that does not read costs a bounded amount of memory.
 *   PARKED    its request waits for the monitor; nothing is read. The action's end, or its
 *             deadline, brings it back to SERVING.
 *   DRAINING  the last answer is out and our side is shut down; what the peer still sends is
 *             read and dropped for a short time, so that it can read the answer in peace.
 *
 * Requests of one connection are answered in order, one at a time; a connection that has more
 * pipelined requests than fit in a round gives way to the others.
 */
#include <squib/server.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api/controller_internal.h"
#include "api/request.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "http/request.h"
#include "http/response.h"

#define CONNECTIONS_MAX 10		/* served at once (contract 1.1) */
#define DRAINING_MAX 6			/* beyond those; more are closed at once */
#define SLOTS (CONNECTIONS_MAX + DRAINING_MAX)
#define INPUT_BYTES 16384
#define REQUESTS_PER_ROUND 32
#define DRAIN_NS 1000000000ull
#define ACCEPT_RETRY_NS 100000000ull	/* when the process is out of descriptors */
#define MAX_BODY_DEFAULT 51200

enum connection_state { CONNECTION_FREE, CONNECTION_SERVING, CONNECTION_PARKED, CONNECTION_DRAINING };

struct connection {
	struct squib_server *server;
	struct loop_source source;
	enum connection_state state;
	bool again;			/* has work left from this round */
	bool peer_done;			/* the peer sends no more */
	bool drained;			/* the last read took all there was: wait before the next */
	bool close_after;		/* close when the answer is out */
	bool answering_close;		/* the request being answered asked for it */
	uint64_t drain_until_ns;
	uint64_t request_ns;		/* when the parked request came */
	struct squib_action *action;	/* PARKED: a reference */
	struct http_parser parser;
	size_t input_at, input_len;	/* not yet parsed: input[input_at..input_len) */
	/* The answer being written: either shared bytes of the mirror or our own. */
	struct mirror_answer *shared;
	struct buf own;
	size_t written;
	char input[INPUT_BYTES];
};

struct squib_server {
	struct squib_controller *controller;
	struct waiter waiter;		/* of all parked connections: the ended list */
	struct deadline_waker deadline_waker;
	struct loop *loop;
	struct loop_source listener;
	struct loop_source wake;	/* eventfd: ended is not empty, a deadline changed, or stop */
	struct loop_timer timer;
	_Atomic uint64_t armed_ns;	/* when the timer runs out; 0: it does not */
	_Atomic bool deadline_changed;	/* the timer may have to run out earlier */
	uint64_t accept_again_ns;	/* not 0: the listener is not watched until then */
	bool accept_failed;		/* told already */
	bool any_again;
	bool stop;			/* under lock */
	bool threaded;
	bool watches_deadlines;
	pthread_t thread;
	pthread_mutex_t lock;
	struct squib_action *ended;	/* under lock; newest first */
	const char *openapi;
	uint64_t max_body_bytes;
	bool oversized_body_is_413;
	struct connection connections[SLOTS];
};

/* ---- from other threads ---- */

static void wake(struct squib_server *server)
{
	eventfd_write(server->wake.fd, 1);
}

static void action_done(struct waiter *waiter, struct squib_action *action)
{
	struct squib_server *server = container_of(waiter, struct squib_server, waiter);

	pthread_mutex_lock(&server->lock);
	action->ended_next = server->ended;
	server->ended = action;
	pthread_mutex_unlock(&server->lock);
	wake(server);
}

/*
 * A deadline later than the timer needs no wake-up: when the timer runs out it is set anew, by
 * asking the controller, whose lock the caller holds now.
 */
static void deadline_changed(struct deadline_waker *waker, uint64_t deadline_ns)
{
	struct squib_server *server = container_of(waker, struct squib_server, deadline_waker);
	uint64_t armed_ns = atomic_load(&server->armed_ns);

	if (armed_ns == 0 || armed_ns > deadline_ns) {
		atomic_store(&server->deadline_changed, true);
		wake(server);
	}
}

/* ---- answers ---- */

static void answer_shared(struct connection *conn, struct mirror_answer *answer)
{
	struct http_response response;

	if (!conn->answering_close) {
		conn->shared = mirror_answer_ref(answer);
		return;
	}
	response = (struct http_response){ .status = answer->status, .close = true,
					   .body = answer->bytes + answer->body_offset,
					   .body_len = answer->len - answer->body_offset };
	http_response_write(&conn->own, &response);
}

static void answer_fault(struct connection *conn, int status, bool deprecated, const char *fault,
			 size_t len)
{
	http_response_fault(&conn->own, status, conn->answering_close, deprecated, fault, len);
	request_log_outcome(conn->server->controller, status, fault, len);
}

static void answer_read(struct connection *conn, enum resource resource)
{
	struct squib_server *server = conn->server;
	struct mirror_answer *answer;

	if (resource == RESOURCE_OPENAPI) {
		struct http_response response = { .status = 200, .close = conn->answering_close,
						  .body = server->openapi,
						  .body_len = strlen(server->openapi) };

		http_response_write(&conn->own, &response);
		request_log_outcome(server->controller, 200, NULL, 0);
		return;
	}
	answer = mirror_read(controller_mirror(server->controller), resource);
	answer_shared(conn, answer);
	if (answer->status == 200) {
		request_log_outcome(server->controller, 200, NULL, 0);
	} else {
		static const char prefix[] = "{\"fault_message\":\"";
		const char *body = answer->bytes + answer->body_offset;

		request_log_outcome(server->controller, answer->status,
				    body + sizeof(prefix) - 1,
				    answer->len - answer->body_offset - sizeof(prefix) - 1);
	}
}

/* What a state change is called in the log and its latency in the metrics (contract 1.8). */
static struct metric_value *latency_of(struct squib_server *server,
				       const struct squib_action *action, const char **ret_name)
{
	struct metrics *metrics = controller_metrics(server->controller);

	if (action->type == SQUIB_SNAPSHOT_LOAD) {
		*ret_name = "load snapshot";
		return &metrics->latencies_us.load_snapshot;
	}
	if (action->type == SQUIB_SNAPSHOT_CREATE) {
		const struct squib_snapshot_create *create = action->config;
		bool full = create->snapshot_type == SQUIB_SNAPSHOT_FULL;

		*ret_name = full ? "create full snapshot" : "create diff snapshot";
		return full ? &metrics->latencies_us.full_create_snapshot
			    : &metrics->latencies_us.diff_create_snapshot;
	}
	if (action->type == SQUIB_PATCH_VM) {
		const struct squib_vm *vm = action->config;
		bool pause = vm->state == SQUIB_VM_PAUSED;

		*ret_name = pause ? "pause vm" : "resume vm";
		return pause ? &metrics->latencies_us.pause_vm : &metrics->latencies_us.resume_vm;
	}
	return NULL;
}

static void answer_outcome(struct connection *conn, const struct squib_action *action)
{
	struct squib_server *server = conn->server;
	const struct outcome *outcome = &action->outcome;
	const char *body = outcome->body != NULL ? outcome->body : "";
	struct http_response response = { .status = outcome->status, .close = conn->answering_close,
					  .deprecated = action->deprecated, .body = body,
					  .body_len = outcome->body_len };
	uint64_t took_us = (clock_ns() - conn->request_ns) / 1000;
	struct metric_value *latency;
	const char *name;

	if (outcome->status > 204) {
		answer_fault(conn, outcome->status, action->deprecated, body, outcome->body_len);
	} else {
		http_response_write(&conn->own, &response);
		request_log_outcome(server->controller, outcome->status, NULL, 0);
		latency = latency_of(server, action, &name);
		if (latency != NULL) {
			metrics_store(latency, took_us);
			api_log(server->controller, INFO, "'%s' API request took %ju us.", name,
				(uintmax_t)took_us);
		}
	}
	api_log(server->controller, DEBUG, "Total previous API call duration: %ju us.",
		(uintmax_t)took_us);
}

static void answer_parse_error(struct connection *conn)
{
	struct squib_server *server = conn->server;
	enum http_error_kind kind;
	size_t len;
	const char *text = http_parser_error(&conn->parser, &len, &kind);

	conn->close_after = true;
	if (kind == HTTP_ERROR_TOO_LARGE && server->oversized_body_is_413)
		answer_fault(conn, 413, false, text, len);
	else
		http_response_parse_error(&conn->own, text, len);
}

/* ---- connections ---- */

static void connection_free(struct connection *conn)
{
	struct squib_server *server = conn->server;

	if (conn->action != NULL) {
		controller_abandon(server->controller, conn->action, &server->waiter);
		squib_action_unref(conn->action);
		conn->action = NULL;
	}
	loop_remove(server->loop, &conn->source);
	fd_close(fd_take(&conn->source.fd));
	http_parser_done(&conn->parser);
	mirror_answer_unref(conn->shared);
	conn->shared = NULL;
	buf_done(&conn->own);
	conn->state = CONNECTION_FREE;
	conn->again = false;
	if (server->accept_again_ns != 0) {	/* a descriptor is free again */
		server->accept_again_ns = 0;
		loop_modify(server->loop, &server->listener, EPOLLIN);
	}
}

static unsigned int count_state(const struct squib_server *server, bool draining)
{
	unsigned int count = 0;

	for (size_t i = 0; i < SLOTS; i++) {
		enum connection_state state = server->connections[i].state;

		if (state != CONNECTION_FREE && (state == CONNECTION_DRAINING) == draining)
			count++;
	}
	return count;
}

static void arm(struct squib_server *server, uint64_t when_ns);

static void connection_drain(struct connection *conn)
{
	struct squib_server *server = conn->server;

	shutdown(conn->source.fd, SHUT_WR);
	if (conn->peer_done || count_state(server, true) >= DRAINING_MAX) {
		connection_free(conn);
		return;
	}
	conn->state = CONNECTION_DRAINING;
	conn->drain_until_ns = clock_ns() + DRAIN_NS;
	loop_modify(server->loop, &conn->source, EPOLLIN);
	arm(server, conn->drain_until_ns);
}

/* Write what is pending. 1: all out; 0: the peer does not take more now; -errno: it is gone. */
static int connection_flush(struct connection *conn)
{
	for (;;) {
		const char *bytes = conn->shared ? conn->shared->bytes : conn->own.data;
		size_t len = conn->shared ? conn->shared->len : conn->own.len;
		ssize_t n;

		if (conn->own.broken)
			return -ENOMEM;
		if (conn->written == len) {
			mirror_answer_unref(conn->shared);
			conn->shared = NULL;
			buf_reset(&conn->own);
			conn->written = 0;
			return 1;
		}
		n = send(conn->source.fd, bytes + conn->written, len - conn->written,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			conn->written += (size_t)n;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			return -errno;
	}
}

/* A request is whole: answer it, or park the connection. */
static void connection_request(struct connection *conn)
{
	struct squib_server *server = conn->server;
	const struct http_request *request = http_parser_request(&conn->parser);
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct squib_action *action = NULL;
	struct route route;
	int r;

	conn->answering_close = request->close;
	conn->close_after = request->close;
	r = request_decode(server->controller, request, server->openapi != NULL, &route, &action,
			   &fault);
	if (r < 0) {
		const char *text = r == -ENOMEM ? "Out of memory" : fault_text(&fault);

		answer_fault(conn, r == -ENOMEM ? 500 : 400, false, text, strlen(text));
		return;
	}
	if (route.kind == ROUTE_READ) {
		answer_read(conn, route.resource);
		return;
	}
	conn->request_ns = clock_ns();
	conn->action = squib_action_ref(action);
	conn->state = CONNECTION_PARKED;
	controller_submit(server->controller, action, &server->waiter);
}

/* Parse what was read. False: more input is needed. */
static bool connection_parse(struct connection *conn)
{
	size_t consumed;
	enum http_event event = http_parser_feed(&conn->parser, conn->input + conn->input_at,
						 conn->input_len - conn->input_at, &consumed);

	conn->input_at += consumed;
	switch (event) {
	case HTTP_NEED_MORE:
		return false;
	case HTTP_CONTINUE:
		http_response_continue(&conn->own, http_parser_request(&conn->parser)->minor);
		break;
	case HTTP_REQUEST:
		connection_request(conn);
		http_parser_release(&conn->parser);	/* it may wait long for the next one */
		break;
	case HTTP_ERROR:
		answer_parse_error(conn);
		break;
	}
	return true;
}

/* 1: something was read; 0: nothing there now, or the peer is done; -errno: it is gone. */
static int connection_read(struct connection *conn)
{
	ssize_t n;

	do
		n = recv(conn->source.fd, conn->input, sizeof(conn->input), MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
	conn->input_at = 0;
	conn->input_len = (size_t)n;
	conn->drained = (size_t)n < sizeof(conn->input);
	if (n == 0)
		conn->peer_done = true;
	return n > 0;
}

/* Go on as far as this connection can, for a bounded number of steps. -errno: close it. */
static int connection_serve(struct connection *conn)
{
	struct squib_server *server = conn->server;
	int r;

	for (int steps = 0; conn->state == CONNECTION_SERVING; steps++) {
		if (steps == REQUESTS_PER_ROUND * 2) {
			conn->again = server->any_again = true;
			return 0;
		}
		r = connection_flush(conn);
		if (r < 0)
			return r;
		if (r == 0)
			return loop_modify(server->loop, &conn->source, EPOLLOUT);
		if (conn->close_after) {
			connection_drain(conn);
			return 0;
		}
		if (conn->input_at < conn->input_len && connection_parse(conn))
			continue;
		if (conn->peer_done)
			return -EPIPE;
		r = conn->drained ? 0 : connection_read(conn);
		if (r < 0)
			return r;
		if (r == 0 && !conn->peer_done) {
			conn->drained = false;
			return loop_modify(server->loop, &conn->source, EPOLLIN);
		}
	}
	return 0;
}

static void connection_go(struct connection *conn)
{
	if (conn->state == CONNECTION_SERVING && connection_serve(conn) < 0)
		connection_free(conn);
}

static void connection_discard(struct connection *conn)
{
	ssize_t n = recv(conn->source.fd, conn->input, sizeof(conn->input), MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		connection_free(conn);
}

static void connection_ready(struct loop_source *source, uint32_t events)
{
	struct connection *conn = container_of(source, struct connection, source);

	if (conn->state == CONNECTION_DRAINING)
		connection_discard(conn);
	else if (conn->state == CONNECTION_SERVING)
		connection_go(conn);
	else if (events & (EPOLLHUP | EPOLLERR))	/* gone while its request waits */
		connection_free(conn);
	else	/* PARKED: more input, for later. Most clients send none, and this call is saved */
		loop_modify(conn->server->loop, source, 0);
}

/* ---- accepting ---- */

/*
 * Clients that hung up may not have been noticed yet when the next one comes; they must not count.
 */
static void sweep_hung_up(struct squib_server *server)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct connection *conn = &server->connections[i];
		char byte;

		if (conn->state == CONNECTION_SERVING && conn->input_at == conn->input_len &&
		    recv(conn->source.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
			connection_go(conn);
		else if (conn->state == CONNECTION_DRAINING)
			connection_discard(conn);
	}
}

static struct connection *free_slot(struct squib_server *server)
{
	for (size_t i = 0; i < SLOTS; i++)
		if (server->connections[i].state == CONNECTION_FREE)
			return &server->connections[i];
	return NULL;
}

static void refuse(int fd)
{
	/* into an empty socket buffer: it fits whole */
	(void)!send(fd, http_response_full, http_response_full_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	fd_close(fd);
}

static void connection_open(struct squib_server *server, int fd)
{
	struct connection *conn;

	if (count_state(server, false) >= CONNECTIONS_MAX)
		sweep_hung_up(server);
	conn = count_state(server, false) < CONNECTIONS_MAX ? free_slot(server) : NULL;
	if (conn == NULL) {
		refuse(fd);
		return;
	}
	conn->source = (struct loop_source){ .fd = fd, .events = EPOLLIN,
					     .ready = connection_ready };
	conn->state = CONNECTION_SERVING;
	conn->peer_done = conn->close_after = conn->answering_close = conn->drained = false;
	conn->input_at = conn->input_len = conn->written = 0;
	http_parser_init(&conn->parser, server->max_body_bytes);
	if (loop_add(server->loop, &conn->source) < 0) {
		connection_free(conn);
		return;
	}
	connection_go(conn);	/* most clients have sent their request by now */
}

static void listener_ready(struct loop_source *source, uint32_t events)
{
	struct squib_server *server = container_of(source, struct squib_server, listener);

	(void)events;
	/* bounded: others are served between two batches of newcomers */
	for (int i = 0; i < SLOTS; i++) {
		int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			server->accept_failed = false;
			connection_open(server, fd);
			continue;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (!server->accept_failed)
			api_log(server->controller, ERROR, "API Server error on retrieving incoming "
				"request: %s", os_error_words(errno));
		server->accept_failed = true;
		/* out of descriptors or memory: the listener would be ready for ever */
		server->accept_again_ns = clock_ns() + ACCEPT_RETRY_NS;
		loop_modify(server->loop, source, 0);
		arm(server, server->accept_again_ns);
		return;
	}
}

/* ---- time and wake-ups ---- */

/* Make sure the timer runs out at @when_ns or before. */
static void arm(struct squib_server *server, uint64_t when_ns)
{
	uint64_t armed_ns = atomic_load(&server->armed_ns);

	if (when_ns == 0 || (armed_ns != 0 && armed_ns <= when_ns))
		return;
	atomic_store(&server->armed_ns, when_ns);
	loop_timer_set(&server->timer, when_ns);
}

static void timer_expired(struct loop_timer *timer)
{
	struct squib_server *server = container_of(timer, struct squib_server, timer);
	uint64_t now_ns = clock_ns();

	atomic_store(&server->armed_ns, 0);	/* before deadlines are asked for, see deadline_changed() */
	for (size_t i = 0; i < SLOTS; i++) {
		struct connection *conn = &server->connections[i];

		if (conn->state == CONNECTION_DRAINING && now_ns >= conn->drain_until_ns)
			connection_free(conn);
		else if (conn->state == CONNECTION_DRAINING)
			arm(server, conn->drain_until_ns);
	}
	if (server->accept_again_ns != 0 && now_ns >= server->accept_again_ns) {
		server->accept_again_ns = 0;
		loop_modify(server->loop, &server->listener, EPOLLIN);
	}
	arm(server, server->accept_again_ns);
	arm(server, controller_expire(server->controller, now_ns));
}

static void action_ended(struct squib_server *server, struct squib_action *action)
{
	for (size_t i = 0; i < SLOTS; i++) {
		struct connection *conn = &server->connections[i];

		if (conn->action != action)
			continue;
		conn->action = NULL;
		conn->state = CONNECTION_SERVING;
		answer_outcome(conn, action);
		squib_action_unref(action);		/* the connection's */
		connection_go(conn);
		break;
	}
	squib_action_unref(action);			/* the list's */
}

static void take_ended(struct squib_server *server)
{
	struct squib_action *action;

	pthread_mutex_lock(&server->lock);
	action = server->ended;
	server->ended = NULL;
	pthread_mutex_unlock(&server->lock);
	while (action != NULL) {
		struct squib_action *next = action->ended_next;

		action_ended(server, action);
		action = next;
	}
}

static void wake_ready(struct loop_source *source, uint32_t events)
{
	struct squib_server *server = container_of(source, struct squib_server, wake);

	(void)events;
	take_ended(server);
	if (atomic_exchange(&server->deadline_changed, false))
		arm(server, controller_expire(server->controller, clock_ns()));
}

static void go_again(struct squib_server *server)
{
	server->any_again = false;
	for (size_t i = 0; i < SLOTS; i++) {
		struct connection *conn = &server->connections[i];

		if (!conn->again)
			continue;
		conn->again = false;
		connection_go(conn);
	}
	if (server->any_again)
		wake(server);	/* makes squib_server_fd() readable */
}

static int server_run_once(struct squib_server *server, int timeout_ms)
{
	int r = loop_run_once(server->loop, timeout_ms);

	if (r == 0 && server->any_again)
		go_again(server);
	return r;
}

int squib_server_fd(struct squib_server *server)
{
	return loop_fd(server->loop);
}

int squib_server_dispatch(struct squib_server *server)
{
	return server_run_once(server, 0);
}

/* ---- life ---- */

/* A file that is no socket refuses connections, too; it is not ours to remove. */
static bool nobody_answers(const struct sockaddr_un *address)
{
	CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	return fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
	       errno == ECONNREFUSED;
}

static int bind_socket(int fd, const struct squib_server_options *options)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mode = options->socket_mode != 0 ? options->socket_mode : 0600;
	size_t len = strlen(options->socket_path);

	if (len == 0)
		return -EINVAL;
	if (len >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, options->socket_path, len);
	if (options->existing_socket == SQUIB_SOCKET_REPLACE ||
	    (options->existing_socket == SQUIB_SOCKET_REPLACE_STALE && nobody_answers(&address)))
		if (unlink(options->socket_path) < 0 && errno != ENOENT)
			return -errno;
	/* the file gets the unbound socket's mode: no moment at which others may connect */
	if (fchmod(fd, mode) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return listen(fd, SOMAXCONN) < 0 ? -errno : 0;
}

static int listen_on(struct squib_server *server, const struct squib_server_options *options)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	server->listener = (struct loop_source){ .fd = fd, .events = EPOLLIN,
						 .ready = listener_ready };
	r = bind_socket(fd, options);
	return r < 0 ? r : loop_add(server->loop, &server->listener);
}

static int watch_wake(struct squib_server *server)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	/* edge-triggered: each write is an event of its own, and nobody needs to read */
	server->wake = (struct loop_source){ .fd = fd, .events = EPOLLIN | EPOLLET,
					     .ready = wake_ready };
	return loop_add(server->loop, &server->wake);
}

static uint64_t body_limit(const struct squib_server_options *options)
{
	uint64_t limit = options->max_body_bytes != 0 ? options->max_body_bytes : MAX_BODY_DEFAULT;

	if (limit == SQUIB_NO_BYTES)
		limit = 0;
	if (!options->clamp_max_body)
		return limit;
	return limit < 1024 ? 1024 : limit > 1048576 ? 1048576 : limit;
}

int squib_server_new(struct squib_controller *controller,
		     const struct squib_server_options *options, struct squib_server **ret_server)
{
	struct squib_server *server;
	int r;

	if (options->size != sizeof(*options) || options->socket_path == NULL)
		return -EINVAL;
	server = calloc(1, sizeof(*server));
	if (server == NULL)
		return -ENOMEM;
	server->controller = controller;
	server->waiter.done = action_done;
	server->deadline_waker.wake = deadline_changed;
	server->openapi = options->openapi;
	server->max_body_bytes = body_limit(options);
	server->oversized_body_is_413 = options->oversized_body_is_413;
	server->listener.fd = server->wake.fd = server->timer.source.fd = -1;
	pthread_mutex_init(&server->lock, NULL);
	for (size_t i = 0; i < SLOTS; i++) {
		server->connections[i].server = server;
		server->connections[i].source.fd = -1;
	}
	r = loop_new(&server->loop);
	if (r == 0)
		r = loop_timer_init(server->loop, &server->timer, timer_expired);
	if (r == 0)
		r = watch_wake(server);
	if (r == 0)
		r = controller_set_deadline_waker(controller, &server->deadline_waker);
	if (r == 0) {
		server->watches_deadlines = true;
		r = listen_on(server, options);
	}
	if (r < 0) {
		squib_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

static bool is_stopped(struct squib_server *server)
{
	bool stop;

	pthread_mutex_lock(&server->lock);
	stop = server->stop;
	pthread_mutex_unlock(&server->lock);
	return stop;
}

static void *serve(void *arg)
{
	struct squib_server *server = arg;

	prctl(PR_SET_NAME, "fc_api");
	api_log(server->controller, INFO, "API server started.");
	while (!is_stopped(server)) {
		int r = server_run_once(server, -1);

		if (r < 0) {
			api_log(server->controller, ERROR, "API Server error on retrieving "
				"incoming request: %s", os_error_words(-r));
			break;
		}
	}
	return NULL;
}

int squib_server_start(struct squib_server *server)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGTRAP, SIGXFSZ,
				      SIGPIPE };
	sigset_t all, before;
	int r;

	assert(!server->threaded);
	/* those that tell of a fault of the thread itself stay with it */
	sigfillset(&all);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&all, faults[i]);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&server->thread, NULL, serve, server);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	server->threaded = r == 0;
	return -r;
}

void squib_server_free(struct squib_server *server)
{
	if (server == NULL)
		return;
	if (server->threaded) {
		pthread_mutex_lock(&server->lock);
		server->stop = true;
		pthread_mutex_unlock(&server->lock);
		wake(server);
		pthread_join(server->thread, NULL);
	}
	if (server->watches_deadlines)
		controller_set_deadline_waker(server->controller, NULL);
	take_ended(server);	/* answers that are there still go out */
	for (size_t i = 0; i < SLOTS; i++)
		if (server->connections[i].state != CONNECTION_FREE)
			connection_free(&server->connections[i]);
	take_ended(server);
	fd_close(server->listener.fd);
	fd_close(server->wake.fd);
	if (server->timer.source.fd >= 0)
		loop_timer_done(server->loop, &server->timer);
	loop_free(server->loop);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
