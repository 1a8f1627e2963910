/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The load generator: one thread that keeps a request under way on each of its connections.
 *
 *	load SOCKET get|put CONNECTIONS MILLISECONDS
 *
 * CONNECTIONS 0: a fresh connection for each request, one after the other; its latency then counts
 * from before connect(). Prints one line of JSON; a status other than 2xx ends it with 1.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client.h"

#define CONNECTIONS_MAX 64
#define WARM_UP 200	/* requests before the clock runs */

struct connection {
	int fd;
	uint64_t sent_ns;
	struct client_answer answer;
};

struct load {
	const char *path, *request;
	uint64_t end_ns;
	struct samples samples;
};

static void expect_success(int status)
{
	if (status < 0)
		die("load", status);
	if (status < 200 || status > 299) {
		fprintf(stderr, "status %d\n", status);
		exit(1);
	}
}

static int open_connection(const struct load *load)
{
	int fd = client_connect(load->path);

	if (fd < 0)
		die(load->path, fd);
	return fd;
}

static void load_fresh(struct load *load)
{
	uint64_t begin_ns = client_now_ns();

	while (begin_ns < load->end_ns) {
		int fd = open_connection(load);
		uint64_t now_ns;

		expect_success(client_call(fd, load->request));
		close(fd);
		now_ns = client_now_ns();
		samples_add(&load->samples, now_ns - begin_ns);
		begin_ns = now_ns;
	}
}

static void load_one(struct load *load)
{
	int fd = open_connection(load);
	uint64_t begin_ns = client_now_ns();

	while (begin_ns < load->end_ns) {
		uint64_t now_ns;

		expect_success(client_call(fd, load->request));
		now_ns = client_now_ns();
		samples_add(&load->samples, now_ns - begin_ns);
		begin_ns = now_ns;
	}
	close(fd);
}

static void begin(const struct load *load, struct connection *conn)
{
	int r;

	conn->sent_ns = client_now_ns();
	r = client_send(conn->fd, load->request);
	if (r < 0)
		die("send", r);
}

/* Return: whether another request was sent. */
static bool go_on(struct load *load, struct connection *conn)
{
	int status = client_receive(conn->fd, &conn->answer);
	uint64_t now_ns;

	if (status == 0)
		return true;
	expect_success(status);
	now_ns = client_now_ns();
	samples_add(&load->samples, now_ns - conn->sent_ns);
	if (now_ns >= load->end_ns)
		return false;
	begin(load, conn);
	return true;
}

static void load_several(struct load *load, int count)
{
	static struct connection connections[CONNECTIONS_MAX];
	struct epoll_event events[CONNECTIONS_MAX];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), busy = count;

	for (int i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &connections[i] };

		connections[i].fd = open_connection(load);
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event);
		begin(load, &connections[i]);
	}
	while (busy > 0) {
		int n = epoll_wait(epoll_fd, events, count, -1);

		for (int i = 0; i < n; i++)
			busy -= !go_on(load, events[i].data.ptr);
	}
	for (int i = 0; i < count; i++)
		close(connections[i].fd);
	close(epoll_fd);
}

static void warm_up(const struct load *load)
{
	int fd = open_connection(load);

	for (int i = 0; i < WARM_UP; i++)
		expect_success(client_call(fd, load->request));
	close(fd);
}

int main(int argc, char **argv)
{
	struct load load = { 0 };
	uint64_t begin_ns, took_ns;
	int count;

	if (argc != 5 || (count = atoi(argv[3])) > CONNECTIONS_MAX) {
		fprintf(stderr, "usage: load SOCKET get|put CONNECTIONS MILLISECONDS\n");
		return 2;
	}
	load.path = argv[1];
	load.request = strcmp(argv[2], "put") == 0 ? CLIENT_PUT_MACHINE_CONFIG : CLIENT_GET("/");
	warm_up(&load);
	begin_ns = client_now_ns();
	load.end_ns = begin_ns + strtoull(argv[4], NULL, 10) * 1000000;
	if (count == 0)
		load_fresh(&load);
	else if (count == 1)
		load_one(&load);
	else
		load_several(&load, count);
	took_ns = client_now_ns() - begin_ns;
	printf("{\"requests\":%zu,\"ns\":%llu,", load.samples.count, (unsigned long long)took_ns);
	samples_print(&load.samples);
	printf("}\n");
	return 0;
}
