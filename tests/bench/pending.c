/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Are reads answered while a change is under way? A monitor on libsquib that takes one second over
 * a change, and two clients: one waits for its PUT, the other sends GET / without pause.
 *
 *	pending SOCKET
 *
 * Prints one line of JSON: the latency of the reads that were sent while the change was pending,
 * and whether the last of them was answered before the change was.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <squib/controller.h>
#include <squib/server.h>

#include "client.h"

#define ACTION_MS 1000
#define READ_MS 900	/* well inside the action's time */

struct scene {
	const char *path;
	struct squib_controller *controller;
	sem_t taken;			/* the monitor has begun with the action */
	uint64_t put_answered_ns;
	int put_status;
};

static void *monitor(void *arg)
{
	struct scene *scene = arg;
	struct squib_action *action;

	while (squib_controller_next(scene->controller, -1, &action) == 1) {
		sem_post(&scene->taken);
		usleep(ACTION_MS * 1000);
		squib_action_succeed(action);
	}
	return NULL;
}

static void *put(void *arg)
{
	struct scene *scene = arg;
	int fd = client_connect(scene->path);

	if (fd < 0)
		die(scene->path, fd);
	scene->put_status = client_call(fd, CLIENT_PUT_MACHINE_CONFIG);
	scene->put_answered_ns = client_now_ns();
	close(fd);
	return NULL;
}

/* Return: when the last read was answered. */
static uint64_t read_while_pending(const struct scene *scene, struct samples *samples)
{
	uint64_t begin_ns = client_now_ns(), end_ns = begin_ns + READ_MS * 1000000ull;
	int fd = client_connect(scene->path);

	if (fd < 0)
		die(scene->path, fd);
	while (begin_ns < end_ns) {
		int status = client_call(fd, CLIENT_GET("/"));
		uint64_t now_ns = client_now_ns();

		if (status != 200)
			die("GET /", status < 0 ? status : -EPROTO);
		samples_add(samples, now_ns - begin_ns);
		begin_ns = now_ns;
	}
	close(fd);
	return begin_ns;
}

static void report(const struct scene *scene, struct samples *samples, uint64_t last_ns)
{
	printf("{\"requests\":%zu,\"put_status\":%d,\"reads_first\":%s,", samples->count,
	       scene->put_status, last_ns < scene->put_answered_ns ? "true" : "false");
	samples_print(samples);
	printf("}\n");
}

int main(int argc, char **argv)
{
	struct squib_controller_options options = SQUIB_CONTROLLER_OPTIONS_INIT;
	struct squib_server_options server_options = SQUIB_SERVER_OPTIONS_INIT;
	struct scene scene = { .path = argc > 1 ? argv[1] : "/tmp/pending.sock" };
	struct samples samples = { 0 };
	struct squib_server *server;
	pthread_t monitor_thread, put_thread;
	uint64_t last_ns;
	int r;

	options.instance_id = "pending";
	options.firecracker_version = options.vmm_version = "1.16.0";
	server_options.socket_path = scene.path;
	sem_init(&scene.taken, 0, 0);
	r = squib_controller_new(&options, &scene.controller);
	if (r == 0)
		r = squib_server_new(scene.controller, &server_options, &server);
	if (r == 0)
		r = squib_server_start(server);
	if (r < 0)
		die(scene.path, r);
	pthread_create(&monitor_thread, NULL, monitor, &scene);
	pthread_create(&put_thread, NULL, put, &scene);
	sem_wait(&scene.taken);
	last_ns = read_while_pending(&scene, &samples);
	pthread_join(put_thread, NULL);
	report(&scene, &samples, last_ns);
	squib_controller_close(scene.controller);
	pthread_join(monitor_thread, NULL);
	squib_server_free(server);
	squib_controller_free(scene.controller);
	unlink(scene.path);
	return 0;
}
