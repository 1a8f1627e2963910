/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long from the start of a program to its first answer?
 *
 *	start RUNS SOCKET PROGRAM [ARGUMENT...]
 *
 * For each run: fork and exec, connect as soon as the socket lets us, GET /, then SIGTERM. Prints a
 * line of JSON with the wall time until the answer was read and the CPU time of the whole life of
 * the program, its end included.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define RETRY_NS 10000			/* between two tries to connect */
#define PATIENCE_NS 5000000000ull

static pid_t spawn(char **command)
{
	pid_t pid = vfork();

	if (pid == 0) {
		int null_fd = open("/dev/null", O_RDWR);

		dup2(null_fd, STDIN_FILENO);
		dup2(null_fd, STDOUT_FILENO);
		dup2(null_fd, STDERR_FILENO);
		execv(command[0], command);
		_exit(127);
	}
	return pid;
}

static int connect_when_there(const char *path, uint64_t begin_ns)
{
	const struct timespec pause = { .tv_nsec = RETRY_NS };
	int fd;

	while ((fd = client_connect(path)) < 0) {
		if (client_now_ns() - begin_ns > PATIENCE_NS)
			return fd;
		nanosleep(&pause, NULL);
	}
	return fd;
}

static long long microseconds(struct timeval t)
{
	return t.tv_sec * 1000000ll + t.tv_usec;
}

static void run(const char *path, char **command)
{
	uint64_t begin_ns = client_now_ns(), end_ns;
	pid_t pid = spawn(command);
	int fd = connect_when_there(path, begin_ns);
	int status = fd < 0 ? fd : client_call(fd, CLIENT_GET("/"));
	struct rusage usage;

	end_ns = client_now_ns();
	kill(pid, SIGTERM);
	wait4(pid, NULL, 0, &usage);
	unlink(path);
	if (status != 200)
		die(command[0], status < 0 ? status : -EPROTO);
	close(fd);
	printf("{\"wall_us\":%llu,\"cpu_us\":%lld}\n", (unsigned long long)(end_ns - begin_ns) / 1000,
	       microseconds(usage.ru_utime) + microseconds(usage.ru_stime));
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	/* the usual slack of 50 us would be a good part of what is measured */
	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < atoi(argv[1]); i++)
		run(argv[2], argv + 3);
	return 0;
}
