/* SPDX-License-Identifier: Apache-2.0 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

uint64_t client_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int client_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int client_send(int fd, const char *request)
{
	size_t len = strlen(request);
	ssize_t n = send(fd, request, len, MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	/* far smaller than a socket's buffer, and one at a time is under way: it fits whole */
	return (size_t)n == len ? 0 : -EIO;
}

/* The length of the head with its empty line; 0: it is not whole. Ends what was read with NUL. */
static size_t head_length(struct client_answer *answer)
{
	char *end;

	answer->bytes[answer->len] = '\0';
	end = strstr(answer->bytes, "\r\n\r\n");
	return end == NULL ? 0 : (size_t)(end + 4 - answer->bytes);
}

static size_t body_length(const char *head)
{
	static const char name[] = "\r\nContent-Length:";
	const char *line = head;

	while ((line = strstr(line, "\r\n")) != NULL && strncmp(line, "\r\n\r\n", 4) != 0) {
		if (strncasecmp(line, name, sizeof(name) - 1) == 0)
			return strtoul(line + sizeof(name) - 1, NULL, 10);
		line += 2;
	}
	return 0;
}

int client_receive(int fd, struct client_answer *answer)
{
	ssize_t n = recv(fd, answer->bytes + answer->len, sizeof(answer->bytes) - 1 - answer->len, 0);
	size_t head;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	answer->len += (size_t)n;
	head = head_length(answer);
	if (head == 0 || answer->len < head + body_length(answer->bytes))
		return answer->len == sizeof(answer->bytes) - 1 ? -EMSGSIZE : 0;
	answer->len = 0;
	return atoi(answer->bytes + strlen("HTTP/1.1 "));
}

int client_call(int fd, const char *request)
{
	struct client_answer answer;
	int r = client_send(fd, request);

	answer.len = 0;
	while (r == 0)
		r = client_receive(fd, &answer);
	return r;
}

void samples_add(struct samples *samples, uint64_t ns)
{
	if (samples->count == samples->room) {
		samples->room = samples->room == 0 ? 65536 : samples->room * 2;
		samples->ns = realloc(samples->ns, samples->room * sizeof(*samples->ns));
		if (samples->ns == NULL)
			die("samples", -ENOMEM);
	}
	samples->ns[samples->count++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static unsigned long long percentile(const struct samples *samples, unsigned int per_mille)
{
	return samples->ns[(samples->count - 1) * per_mille / 1000];
}

void samples_print(struct samples *samples)
{
	qsort(samples->ns, samples->count, sizeof(*samples->ns), compare);
	printf("\"p50_ns\":%llu,\"p99_ns\":%llu,\"p999_ns\":%llu,\"max_ns\":%llu",
	       percentile(samples, 500), percentile(samples, 990), percentile(samples, 999),
	       percentile(samples, 1000));
}

void die(const char *what, int r)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-r));
	exit(1);
}
