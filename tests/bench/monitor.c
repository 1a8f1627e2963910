/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KVM_COUNTERS "/sys/kernel/debug/kvm"

int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now) < 0)
		return 0;
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

pid_t monitor_start(char **argv, int *ret_console)
{
	pid_t pid = forkpty(ret_console, NULL, NULL, NULL);

	if (pid < 0)
		perror("forkpty");
	if (pid == 0) {
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	return pid;
}

int64_t monitor_cpu_ns(pid_t pid)
{
	clockid_t clock;

	return clock_getcpuclockid(pid, &clock) == 0 ? now_ns(clock) : 0;
}

long monitor_counter(pid_t pid, const char *name)
{
	char prefix[32], path[300];
	struct dirent *entry;
	long value = -1;
	DIR *dir = opendir(KVM_COUNTERS);

	if (dir == NULL)
		return -1;
	snprintf(prefix, sizeof(prefix), "%d-", (int)pid);
	while (value < 0 && (entry = readdir(dir)) != NULL) {
		FILE *file;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof(path), KVM_COUNTERS "/%.100s/%s", entry->d_name, name);
		file = fopen(path, "r");
		if (file != NULL) {
			if (fscanf(file, "%ld", &value) != 1)
				value = -1;
			fclose(file);
		}
	}
	closedir(dir);
	return value;
}

/* Walks the mappings in /proc/PID/smaps: a line with addresses and a name, then lines "Key: N kB". */
struct monitor_memory monitor_memory(pid_t pid, long ram_mib)
{
	struct monitor_memory memory = { 0 };
	char path[64], line[512];
	bool guest = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "r");
	if (file == NULL)
		return memory;
	while (fgets(line, sizeof(line), file) != NULL) {
		unsigned long start, end;
		char key[64], name[256] = "";
		long kib;

		if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255[^\n]", &start, &end, name) >= 2) {
			bool of_file = name[0] == '/' && strncmp(name, "/memfd:", 7) != 0;

			guest = !of_file && (end - start) >> 20 >= (unsigned long)ram_mib / 8;
		} else if (sscanf(line, "%63[^:]: %ld kB", key, &kib) == 2) {
			if (strcmp(key, "Rss") == 0)
				*(guest ? &memory.guest_kib : &memory.resident_kib) += kib;
			else if (strcmp(key, "Anonymous") == 0 && !guest)
				memory.anonymous_kib += kib;
		}
	}
	fclose(file);
	return memory;
}

bool monitor_listen(int console, const char *marker, int64_t until_ns)
{
	static char said[1 << 16];
	size_t len = 0;

	for (;;) {
		struct pollfd poll_fd = { .fd = console, .events = POLLIN };
		int64_t left_ns = until_ns - now_ns(CLOCK_MONOTONIC);
		ssize_t n;

		if (left_ns <= 0)
			return marker == NULL;
		if (poll(&poll_fd, 1, (int)(left_ns / 1000000) + 1) <= 0)
			continue;
		if (len == sizeof(said) - 1)
			len = 0;
		n = read(console, said + len, sizeof(said) - 1 - len);
		if (n <= 0) {
			said[len] = '\0';
			fprintf(stderr, "the monitor has ended; it said: %s\n", said);
			return false;
		}
		len += (size_t)n;
		said[len] = '\0';
		if (marker != NULL && strstr(said, marker) != NULL)
			return true;
	}
}
