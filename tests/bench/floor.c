/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that a server in a process of its own can cost: a thread for each connection, which
 * reads something and writes the same answer, and parses nothing. What is above this is ours; what
 * is in it belongs to the kernel, its scheduler and the client.
 *
 *	floor --api-sock PATH
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"

static const char answer[] =
	"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
	"Content-Type: application/json\r\nContent-Length: 97\r\n\r\n"
	"{\"id\":\"anonymous-instance\",\"state\":\"Not started\",\"vmm_version\":\"1.16.0\","
	"\"app_name\":\"Firecracker\"}";

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char request[4096];

	while (recv(fd, request, sizeof(request), 0) > 0)
		if (send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0)
			break;
	close(fd);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (argc != 3 || strcmp(argv[1], "--api-sock") != 0 ||
	    strlen(argv[2]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[2]);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 128) < 0)
		die(argv[2], -errno);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd >= 0 && pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0)
			pthread_detach(thread);
	}
}
