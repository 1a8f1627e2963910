/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often does a request allocate? A monitor on libsquib, its client, and an allocator that
 * counts, in one process; the client allocates nothing itself (client.h).
 *
 *	allocations SOCKET
 *
 * Prints a line of JSON for each kind of request: its name, and the calls of malloc, calloc and
 * realloc for REQUESTS of them on one kept connection.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <squib/controller.h>
#include <squib/server.h>

#include "client.h"

#define REQUESTS 10000
#define WARM_UP 100	/* buffers grow to their size once */

/* glibc's own names of its allocator; what the program defines is used by the C library too. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static atomic_ulong calls;

void *malloc(size_t size)
{
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	return __libc_realloc(old, size);
}

static void *monitor(void *arg)
{
	struct squib_action *action;

	while (squib_controller_next(arg, -1, &action) == 1)
		squib_action_succeed(action);
	return NULL;
}

/* Logging is part of a request's way; a caller that takes the lines makes the library build them. */
static void take_line(void *data, enum squib_log_level level, const char *file, int line,
		      const char *message)
{
	(void)data, (void)level, (void)file, (void)line, (void)message;
}

static void call(int fd, const char *request)
{
	int status = client_call(fd, request);

	if (status != 200 && status != 204)
		die(request, status < 0 ? status : -EPROTO);
}

static void count(int fd, const char *name, const char *request)
{
	unsigned long before;

	for (int i = 0; i < WARM_UP; i++)
		call(fd, request);
	before = atomic_load(&calls);
	for (int i = 0; i < REQUESTS; i++)
		call(fd, request);
	printf("{\"name\":\"%s\",\"requests\":%d,\"calls\":%lu}\n", name, REQUESTS,
	       atomic_load(&calls) - before);
}

int main(int argc, char **argv)
{
	struct squib_controller_options options = SQUIB_CONTROLLER_OPTIONS_INIT;
	struct squib_server_options server_options = SQUIB_SERVER_OPTIONS_INIT;
	struct squib_controller *controller;
	struct squib_server *server;
	pthread_t thread;
	int fd, r;

	options.instance_id = "allocations";
	options.firecracker_version = options.vmm_version = "1.16.0";
	options.log = take_line;
	server_options.socket_path = argc > 1 ? argv[1] : "/tmp/allocations.sock";
	r = squib_controller_new(&options, &controller);
	if (r == 0)
		r = squib_server_new(controller, &server_options, &server);
	if (r == 0)
		r = squib_server_start(server);
	if (r < 0)
		die(server_options.socket_path, r);
	pthread_create(&thread, NULL, monitor, controller);
	fd = client_connect(server_options.socket_path);
	if (fd < 0)
		die("connect", fd);
	count(fd, "GET /", CLIENT_GET("/"));
	count(fd, "GET /machine-config", CLIENT_GET("/machine-config"));
	count(fd, "GET /vm/config", CLIENT_GET("/vm/config"));
	count(fd, "PUT /machine-config", CLIENT_PUT_MACHINE_CONFIG);
	close(fd);
	squib_controller_close(controller);
	pthread_join(thread, NULL);
	squib_server_free(server);
	squib_controller_free(controller);
	unlink(server_options.socket_path);
	return 0;
}
