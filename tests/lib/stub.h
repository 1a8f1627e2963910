/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server on a socket of its own with a monitor that is only a thread: what tests of libsquib
 * have in common. Uses the public interface alone.
 */
#ifndef SQUIB_TESTS_STUB_H
#define SQUIB_TESTS_STUB_H

#include <pthread.h>
#include <squib/controller.h>
#include <squib/server.h>

struct stub {
	struct squib_controller *controller;
	struct squib_server *server;
	char directory[64];
	char socket_path[96];
	pthread_t monitor;
	bool has_monitor;
	/* What the monitor does with each action; the default answers with success. */
	void (*handle)(struct stub *stub, struct squib_action *action);
};

/** stub_options() - defaults for tests: anonymous, 1.16.0 */
struct squib_controller_options stub_options(void);

/** stub_start() - controller, server in its own thread, and a monitor if @handle is not NULL */
void stub_start(struct stub *stub, const struct squib_controller_options *options,
		void (*handle)(struct stub *stub, struct squib_action *action));
void stub_stop(struct stub *stub);

/** stub_acknowledge() - a handler that answers everything with success */
void stub_acknowledge(struct stub *stub, struct squib_action *action);

struct answer {
	int status;
	char *bytes;		/* the whole answer, NUL-terminated */
	size_t len;
	const char *body;	/* within bytes */
};

/** stub_connect() - a connected socket; fails the test if there is none */
int stub_connect(const struct stub *stub);
/** stub_send() - write all of @bytes */
void stub_send(int fd, const char *bytes);
/** stub_read_answer() - read one answer by its Content-Length */
struct answer stub_read_answer(int fd);
/** stub_request() - one request on a connection of its own, read to the end of file */
struct answer stub_request(const struct stub *stub, const char *bytes);
/** stub_json() - "METHOD path" with a body and Connection: close, else as stub_request() */
struct answer stub_json(const struct stub *stub, const char *method, const char *path,
			const char *body);
/** answer_header() - value of a header or NULL; valid until the next call */
const char *answer_header(const struct answer *answer, const char *name);
void answer_done(struct answer *answer);

#endif
