/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of the tests of vsock. A program without libraries, for any guest:
 *
 *	gcc -O2 -static -o vsock_peer tests/guest/vsock_peer.c
 *	musl-gcc -O2 -static -idirafter build/musl-include -o vsock_peer tests/guest/vsock_peer.c
 *
 *	vsock_peer echo PORT			send back what comes, to up to 1100 at once; when one shuts
 *						down its sending, what is left is sent, and then so do we
 *	vsock_peer connect CID PORT COUNT [BYTES]
 *						open COUNT connections at once, send BYTES (default 10000) of
 *						the pattern on each, half-close, expect all of it back and
 *						an end; "ok COUNT"
 *	vsock_peer sink PORT			take what comes, until its end, one connection after the other
 *	vsock_peer source PORT BYTES		send BYTES of the pattern to each that connects
 *	vsock_peer receive CID PORT		connect, and as sink, once
 *	vsock_peer send CID PORT BYTES		connect, and as source, once
 *	vsock_peer idle CID PORT COUNT		open COUNT connections and hold them; ends when one is closed
 *	vsock_peer cid				whose guest is this? "ok CID"
 *
 * sink, source, receive and send print a line for each connection:
 *
 *	MODE bytes=N adler32=XXXXXXXX ms=N mib_s=N
 *
 * Servers print "ready" first. The pattern is 65536 bytes again and again, of which byte i is
 * (i * 167 + (i >> 8) * 13) & 0xff; connection number n of "connect" begins with byte
 * (n * 7919) & 0xffff. The checksum is zlib's. What goes wrong is told on standard error, exit 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define PATTERN_BYTES	65536u
#define CONNECTIONS_MAX 1100u
#define BUFFER_BYTES	16384u

static uint8_t pattern[2 * PATTERN_BYTES];	/* twice, so that any PATTERN_BYTES are in one piece */

static void die(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	fprintf(stderr, "vsock_peer: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(args);
	exit(1);
}

static uint32_t number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (*text == '\0' || *end != '\0' || value > UINT32_MAX) {
		fprintf(stderr, "vsock_peer: %s is no number\n", text);
		exit(1);
	}
	return (uint32_t)value;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- sockets */

static int new_socket(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static int listen_at(uint32_t port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
				       .svm_port = port };
	int fd = new_socket();

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("bind to port %u", port);
	if (listen(fd, 1024) < 0)
		die("listen");
	puts("ready");
	fflush(stdout);
	return fd;
}

static int accept_from(int listen_fd)
{
	int fd = accept(listen_fd, NULL, NULL);

	if (fd < 0)
		die("accept");
	return fd;
}

static int connect_to(uint32_t cid, uint32_t port)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	int fd = new_socket();

	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect to port %u of %u", port, cid);
	return fd;
}

static void make_nonblocking(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		die("fcntl");
}

static void raise_fd_limit(void)
{
	struct rlimit limit = { .rlim_cur = 4096, .rlim_max = 4096 };

	setrlimit(RLIMIT_NOFILE, &limit);	/* not root: then as many as there may be */
}

/* --- one connection, as fast as it goes */

struct transfer {
	uint64_t bytes;
	uint32_t a, b;		/* Adler-32 */
	uint64_t begin_ms;
};

static struct transfer begin(void)
{
	return (struct transfer){ .a = 1, .begin_ms = now_ms() };
}

/* Sums of 5552 bytes fit into 32 bits. */
static void count(struct transfer *transfer, const uint8_t *data, size_t len)
{
	transfer->bytes += len;
	while (len > 0) {
		size_t part = len < 5552 ? len : 5552;

		len -= part;
		while (part-- > 0) {
			transfer->a += *data++;
			transfer->b += transfer->a;
		}
		transfer->a %= 65521;
		transfer->b %= 65521;
	}
}

static void report(const struct transfer *transfer, const char *mode)
{
	uint64_t ms = now_ms() - transfer->begin_ms;

	printf("%s bytes=%llu adler32=%08x ms=%llu mib_s=%llu\n", mode,
	       (unsigned long long)transfer->bytes, transfer->b << 16 | transfer->a,
	       (unsigned long long)ms,
	       (unsigned long long)(transfer->bytes * 1000 / 1048576 / (ms > 0 ? ms : 1)));
	fflush(stdout);
}

static void sink(int fd, const char *mode)
{
	struct transfer transfer = begin();
	static uint8_t data[262144];
	ssize_t n;

	while ((n = read(fd, data, sizeof(data))) > 0)
		count(&transfer, data, (size_t)n);
	if (n < 0)
		die("read after %llu bytes", (unsigned long long)transfer.bytes);
	report(&transfer, mode);
	close(fd);
}

static void source(int fd, const char *mode, uint32_t bytes)
{
	struct transfer transfer = begin();
	uint8_t byte;

	while (transfer.bytes < bytes) {
		uint64_t rest = bytes - transfer.bytes;
		const uint8_t *data = pattern + transfer.bytes % PATTERN_BYTES;
		ssize_t n = write(fd, data, rest < PATTERN_BYTES ? rest : PATTERN_BYTES);

		if (n < 0)
			die("write after %llu bytes", (unsigned long long)transfer.bytes);
		count(&transfer, data, (size_t)n);
	}
	if (shutdown(fd, SHUT_WR) < 0)
		die("shutdown");
	if (read(fd, &byte, 1) != 0)	/* the other side has it all, and closes */
		die("read");
	report(&transfer, mode);
	close(fd);
}

/* --- echo */

struct echo {
	bool ended;		/* nothing more comes */
	uint32_t first, len;
	uint8_t data[BUFFER_BYTES];
};

struct server {
	unsigned int count;
	struct pollfd polls[CONNECTIONS_MAX + 1];	/* the first one is the listener */
	struct echo *echoes[CONNECTIONS_MAX + 1];
};

static void server_accept(struct server *server)
{
	int fd = accept(server->polls[0].fd, NULL, NULL);
	struct echo *echo;

	if (fd < 0)
		return;		/* it is gone already */
	echo = calloc(1, sizeof(*echo));
	if (echo == NULL || server->count > CONNECTIONS_MAX) {
		fprintf(stderr, "vsock_peer: no room for another connection\n");
		free(echo);
		close(fd);
		return;
	}
	make_nonblocking(fd);
	server->polls[server->count] = (struct pollfd){ .fd = fd, .events = POLLIN };
	server->echoes[server->count++] = echo;
}

static void server_close(struct server *server, unsigned int i)
{
	close(server->polls[i].fd);
	free(server->echoes[i]);
	server->count--;
	server->polls[i] = server->polls[server->count];
	server->echoes[i] = server->echoes[server->count];
}

/* False: it is over. */
static bool echo_move(struct echo *echo, int fd)
{
	ssize_t n;

	if (echo->len == 0 && !echo->ended) {
		n = read(fd, echo->data, sizeof(echo->data));
		if (n < 0)
			return errno == EAGAIN;
		echo->ended = n == 0;
		echo->first = 0;
		echo->len = (uint32_t)n;
	}
	if (echo->len > 0) {
		n = send(fd, echo->data + echo->first, echo->len, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN;
		echo->first += (uint32_t)n;
		echo->len -= (uint32_t)n;
	}
	return !echo->ended;	/* an end is seen when all is sent */
}

static void serve_echo(uint32_t port)
{
	static struct server server = { .count = 1 };

	server.polls[0] = (struct pollfd){ .fd = listen_at(port), .events = POLLIN };
	make_nonblocking(server.polls[0].fd);
	for (;;) {
		if (poll(server.polls, server.count, -1) < 0)
			die("poll");
		for (unsigned int i = server.count - 1; i > 0; i--) {
			struct pollfd *polled = &server.polls[i];

			if (polled->revents == 0)
				continue;
			if (!echo_move(server.echoes[i], polled->fd))
				server_close(&server, i);
			else
				polled->events = server.echoes[i]->len > 0 ? POLLOUT : POLLIN;
		}
		if (server.polls[0].revents != 0)
			server_accept(&server);
	}
}

/* --- many connections of ours */

struct client {
	uint32_t sent, received;
	bool shut;
};

static void client_send(struct client *client, int fd, unsigned int index, uint32_t bytes)
{
	uint32_t begin = (index * 7919u + client->sent) % PATTERN_BYTES, rest = bytes - client->sent;
	ssize_t n;

	if (rest == 0)
		return;
	n = send(fd, pattern + begin, rest < PATTERN_BYTES ? rest : PATTERN_BYTES, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN)
		die("connection %u: send after %u bytes", index, client->sent);
	client->sent += n > 0 ? (uint32_t)n : 0;
}

/* True: the end has come. */
static bool client_receive(struct client *client, int fd, unsigned int index, uint32_t bytes)
{
	uint32_t begin = (index * 7919u + client->received) % PATTERN_BYTES;
	static uint8_t data[PATTERN_BYTES];
	ssize_t n = read(fd, data, sizeof(data));

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0)
		die("connection %u: read after %u bytes", index, client->received);
	if (memcmp(data, pattern + begin, (size_t)n) != 0 ||
	    (uint32_t)n > bytes - client->received || (n == 0 && client->received < bytes)) {
		fprintf(stderr, "vsock_peer: connection %u: other data, or an end, after %u bytes\n",
			index, client->received);
		exit(1);
	}
	client->received += (uint32_t)n;
	return n == 0;
}

static unsigned int checked_count(const char *text)
{
	uint32_t count = number(text);

	if (count > CONNECTIONS_MAX) {
		fprintf(stderr, "vsock_peer: at most %u connections\n", CONNECTIONS_MAX);
		exit(1);
	}
	return count;
}

static void open_connections(struct pollfd *polls, uint32_t cid, uint32_t port, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		polls[i] = (struct pollfd){ .fd = connect_to(cid, port), .events = POLLIN };
		make_nonblocking(polls[i].fd);
	}
}

static void connect_many(uint32_t cid, uint32_t port, unsigned int count, uint32_t bytes)
{
	static struct pollfd polls[CONNECTIONS_MAX];
	static struct client clients[CONNECTIONS_MAX];
	unsigned int open = count;

	open_connections(polls, cid, port, count);
	while (open > 0) {
		for (unsigned int i = 0; i < count; i++)
			polls[i].events = clients[i].sent < bytes ? POLLIN | POLLOUT : POLLIN;
		if (poll(polls, count, -1) < 0)
			die("poll");
		for (unsigned int i = 0; i < count; i++) {
			if (polls[i].fd < 0 || polls[i].revents == 0)
				continue;
			client_send(&clients[i], polls[i].fd, i, bytes);
			if (clients[i].sent == bytes && !clients[i].shut)
				clients[i].shut = shutdown(polls[i].fd, SHUT_WR) == 0;
			if (!client_receive(&clients[i], polls[i].fd, i, bytes))
				continue;
			close(polls[i].fd);
			polls[i].fd = -1;
			open--;
		}
	}
	printf("ok %u\n", count);
}

static void idle(uint32_t cid, uint32_t port, unsigned int count)
{
	static struct pollfd polls[CONNECTIONS_MAX];

	open_connections(polls, cid, port, count);
	puts("ready");
	fflush(stdout);
	if (poll(polls, count, -1) < 0)
		die("poll");
}

static void print_cid(void)
{
	int fd = open("/dev/vsock", O_RDONLY);
	uint32_t cid;

	if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		die("/dev/vsock");
	printf("ok %u\n", cid);
}

static bool run_server(const char *mode, char **args, int count)
{
	if (strcmp(mode, "echo") == 0 && count == 1)
		serve_echo(number(args[0]));
	if (strcmp(mode, "sink") == 0 && count == 1)
		for (int fd = listen_at(number(args[0]));;)
			sink(accept_from(fd), mode);
	if (strcmp(mode, "source") == 0 && count == 2)
		for (int fd = listen_at(number(args[0]));;)
			source(accept_from(fd), mode, number(args[1]));
	return false;
}

static bool run_client(const char *mode, char **args, int count)
{
	if (strcmp(mode, "connect") == 0 && (count == 3 || count == 4))
		connect_many(number(args[0]), number(args[1]), checked_count(args[2]),
			     count == 4 ? number(args[3]) : 10000);
	else if (strcmp(mode, "receive") == 0 && count == 2)
		sink(connect_to(number(args[0]), number(args[1])), mode);
	else if (strcmp(mode, "send") == 0 && count == 3)
		source(connect_to(number(args[0]), number(args[1])), mode, number(args[2]));
	else if (strcmp(mode, "idle") == 0 && count == 3)
		idle(number(args[0]), number(args[1]), checked_count(args[2]));
	else if (strcmp(mode, "cid") == 0 && count == 0)
		print_cid();
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	for (unsigned int i = 0; i < sizeof(pattern); i++) {
		unsigned int at = i % PATTERN_BYTES;

		pattern[i] = (uint8_t)(at * 167 + (at >> 8) * 13);
	}
	raise_fd_limit();
	if (argc >= 2 && (run_server(argv[1], argv + 2, argc - 2) ||
			  run_client(argv[1], argv + 2, argc - 2)))
		return 0;
	fprintf(stderr, "usage: see the top of vsock_peer.c\n");
	return 2;
}
