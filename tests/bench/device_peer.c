/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's end of the guest's connections, for all monitors the same: TCP, a Unix socket as
 * Firecracker's vsock has it, and, where the kernel has it, vsock.
 *
 *	device_peer UNIX_SOCKET
 *
 * It says "ready" and serves one connection after the other until it is killed.
 */
#include "device_peer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define LISTENERS 3
#define BACKLOG	  128

static char chunk[PEER_CHUNK_BYTES];

static void take(int fd, uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n <= 0)
			return;
		bytes -= (uint64_t)n;
	}
	send(fd, "", 1, MSG_NOSIGNAL);
}

static void give(int fd, uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t n = send(fd, chunk, bytes < sizeof(chunk) ? bytes : sizeof(chunk), MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes -= (uint64_t)n;
	}
}

static void echo(int fd)
{
	char byte;

	while (read(fd, &byte, 1) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) == 1)
		;
}

static void serve(int fd)
{
	struct peer_request request;
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));	/* of no matter to the others */
	if (recv(fd, &request, sizeof(request), MSG_WAITALL) != sizeof(request))
		return;
	if (request.what == PEER_TAKE)
		take(fd, request.bytes);
	else if (request.what == PEER_GIVE)
		give(fd, request.bytes);
	else
		echo(fd);
}

static int listener(const void *address, socklen_t len)
{
	const struct sockaddr *general = address;
	int fd = socket(general->sa_family, SOCK_STREAM, 0);

	if (fd >= 0 && (bind(fd, general, len) < 0 || listen(fd, BACKLOG) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

int main(int argc, char **argv)
{
	struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_port = htons(PEER_PORT) };
	struct sockaddr_vm vsock = { .svm_family = AF_VSOCK, .svm_port = PEER_PORT,
				     .svm_cid = VMADDR_CID_ANY };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct pollfd fds[LISTENERS];

	if (argc != 2) {
		fprintf(stderr, "usage: %s UNIX_SOCKET\n", argv[0]);
		return 2;
	}
	strncpy(un.sun_path, argv[1], sizeof(un.sun_path) - 1);
	fds[0].fd = listener(&tcp, sizeof(tcp));
	fds[1].fd = listener(&un, sizeof(un));
	fds[2].fd = listener(&vsock, sizeof(vsock));
	if (fds[0].fd < 0 || fds[1].fd < 0) {
		perror(argv[0]);
		return 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		for (size_t i = 0; i < LISTENERS; i++)
			fds[i].events = POLLIN;
		if (poll(fds, LISTENERS, -1) < 0)
			return 1;
		for (size_t i = 0; i < LISTENERS; i++) {
			int fd = (fds[i].revents & POLLIN) != 0 ? accept(fds[i].fd, NULL, NULL) : -1;

			if (fd < 0)
				continue;
			serve(fd);
			close(fd);
		}
	}
}
