/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the measuring programs share: a small HTTP client on a Unix socket, a clock, and samples.
 *
 * The client costs as little as it can, for on a small machine it takes its time from the server
 * it measures. It allocates nothing, so that allocations.c can count in its own process.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
#define CLIENT_MACHINE_CONFIG "{\"vcpu_count\": 1, \"mem_size_mib\": 128}"
#define CLIENT_PUT_MACHINE_CONFIG \
	"PUT /machine-config HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n" \
	"Content-Type: application/json\r\nContent-Length: 38\r\n\r\n" CLIENT_MACHINE_CONFIG

/* The answer being read on one connection. */
struct client_answer {
	size_t len;
	char bytes[16384];
};

uint64_t client_now_ns(void);

/* Return: a connected descriptor, or -errno. */
int client_connect(const char *path);

/* Return: 0 or -errno. */
int client_send(int fd, const char *request);

/*
 * client_receive() - read what is there, waiting for something
 *
 * Return: the status of the answer once it is whole (and *answer is ready for the next one), 0
 * when more is to come, or -errno; -EPIPE when the server closed.
 */
int client_receive(int fd, struct client_answer *answer);

/* client_call() - send @request and wait for its answer. Return: its status, or -errno. */
int client_call(int fd, const char *request);

struct samples {
	uint64_t *ns;
	size_t count, room;
};

void samples_add(struct samples *samples, uint64_t ns);

/* Print "p50_ns":N,"p99_ns":N,"p999_ns":N,"max_ns":N; sorts. At least one sample is needed. */
void samples_print(struct samples *samples);

/* Say what failed, with -@r as the errno, and exit with 1. */
void die(const char *what, int r) __attribute__((noreturn));

#endif
