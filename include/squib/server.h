/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serves a controller over HTTP on a Unix domain socket, as Firecracker does.
 *
 * A server belongs to one thread: either its own (squib_server_start()) or the caller's, which
 * polls squib_server_fd() and calls squib_server_dispatch(). It never blocks: changes are queued
 * and their connections parked; reads are answered at once.
 */
#ifndef SQUIB_SERVER_H
#define SQUIB_SERVER_H

#include <squib/controller.h>
#include <squib/export.h>

#ifdef __cplusplus
extern "C" {
#endif

enum squib_existing_socket {
	SQUIB_SOCKET_REPLACE,		/* remove what is there, then bind (the default) */
	SQUIB_SOCKET_FAIL,		/* -EADDRINUSE */
	SQUIB_SOCKET_REPLACE_STALE,	/* replace a socket nobody answers on, else -EADDRINUSE */
};

struct squib_server_options {
	size_t size;			/* sizeof(struct squib_server_options) */
	const char *socket_path;	/* required, at most 107 bytes */
	enum squib_existing_socket existing_socket;
	uint32_t socket_mode;		/* 0: 0600 */
	uint64_t max_body_bytes;	/* 0: 51,200; SQUIB_NO_BYTES: no body at all */
	bool clamp_max_body;		/* clamp max_body_bytes to 1,024..1,048,576 */
	bool oversized_body_is_413;	/* 413 with a fault_message instead of upstream's 400 */
	const char *openapi;		/* body of GET /openapi.json; NULL: no such route. Not copied */
};

#define SQUIB_SERVER_OPTIONS_INIT { .size = sizeof(struct squib_server_options) }

struct squib_server;

/**
 * squib_server_new() - bind, listen, and be ready to serve
 * @controller: not taken over; must outlive the server
 *
 * Clients can connect when this returns 0; they are answered once the server is dispatched or
 * started.
 *
 * A controller has one server at a time: -EBUSY for a second.
 *
 * Return: 0 and *@ret_server, or a negative errno of what failed.
 */
SQUIB_EXPORT int squib_server_new(struct squib_controller *controller,
				  const struct squib_server_options *options,
				  struct squib_server **ret_server);

/** squib_server_fd() - poll this for reading; belongs to the server */
SQUIB_EXPORT int squib_server_fd(struct squib_server *server);

/**
 * squib_server_dispatch() - serve what is ready, wait for nothing
 *
 * Return: 0 or a negative errno when the server can't go on.
 */
SQUIB_EXPORT int squib_server_dispatch(struct squib_server *server);

/**
 * squib_server_start() - serve in a thread of the server's own, named "fc_api"
 *
 * Signals are blocked in it, but for those that a thread causes itself. From then on fd and dispatch must not be used.
 */
SQUIB_EXPORT int squib_server_start(struct squib_server *server);

/**
 * squib_server_free() - end the thread if there is one, close all connections; accepts NULL
 *
 * The socket file stays, as Firecracker's does; the caller may remove it.
 */
SQUIB_EXPORT void squib_server_free(struct squib_server *server);

#ifdef __cplusplus
}
#endif

#endif
