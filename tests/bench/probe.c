/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a virtual machine monitor until its guest says MARKER, and prints what that took as a line
 * of JSON:
 *
 *	probe MARKER RAM_MIB IDLE_MS PROGRAM ARGUMENT...
 *
 * The monitor's console is a terminal, for some would not start without. KVM counts exits per
 * machine in debugfs, and its files go with the machine, so they are read while it runs. With the
 * clock of a machine that counts instructions, ns are instructions.
 *
 * "memory" is the monitor's beside the guest's: mappings of no file that are an eighth of
 * RAM_MIB or more are taken for the guest's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KVM_COUNTERS	"/sys/kernel/debug/kvm"
#define PATIENCE_NS	INT64_C(300000000000)
#define SETTLE_NS	INT64_C(8000000000)

struct memory {
	long resident_kib;
	long anonymous_kib;
	long guest_kib;
};

static const char *const counters[] = {
	"exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits", "irq_injections", "pf_taken",
};

static int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now) < 0)
		return 0;
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* CPU time of all the threads, also inside the guest */
static int64_t cpu_ns(pid_t pid)
{
	clockid_t clock;

	return clock_getcpuclockid(pid, &clock) == 0 ? now_ns(clock) : 0;
}

/* A counter of the machine that @pid runs; -1 when there is none. */
static long counter(pid_t pid, const char *name)
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
static struct memory memory_of(pid_t pid, long ram_mib)
{
	struct memory memory = { 0 };
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

/*
 * Reads the console until @marker comes, if one is given, or @until_ns is reached. Return: whether
 * the marker came; without one, whether the monitor still runs.
 */
static bool listen_to(int console, const char *marker, int64_t until_ns)
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
			fprintf(stderr, "probe: the monitor has ended; it said: %s\n", said);
			return false;
		}
		len += (size_t)n;
		said[len] = '\0';
		if (marker != NULL && strstr(said, marker) != NULL)
			return true;
	}
}

/* A guest that has just booted is not idle yet: it has timers of its boot, and works off what that left. */
static void report_idle(pid_t pid, int console, long idle_ms)
{
	int64_t start_ns = now_ns(CLOCK_MONOTONIC);
	double seconds;
	long exits;

	if (idle_ms == 0 || !listen_to(console, NULL, start_ns + SETTLE_NS))
		return;
	start_ns = now_ns(CLOCK_MONOTONIC);
	exits = counter(pid, "exits");
	if (!listen_to(console, NULL, start_ns + idle_ms * 1000000))
		return;
	seconds = (double)(now_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
	printf(",\"idle_exits_per_s\":%.1f", (double)(counter(pid, "exits") - exits) / seconds);
}

static void report(pid_t pid, int console, int64_t start_ns, long ram_mib, long idle_ms)
{
	int64_t wall_ns = now_ns(CLOCK_MONOTONIC) - start_ns;
	int64_t used_ns = cpu_ns(pid);
	struct memory memory;

	printf("{\"wall_ns\":%lld,\"cpu_ns\":%lld", (long long)wall_ns, (long long)used_ns);
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		printf(",\"%s\":%ld", counters[i], counter(pid, counters[i]));
	memory = memory_of(pid, ram_mib);
	printf(",\"memory_kib\":%ld,\"anonymous_kib\":%ld,\"guest_kib\":%ld", memory.resident_kib,
	       memory.anonymous_kib, memory.guest_kib);
	report_idle(pid, console, idle_ms);
	printf("}\n");
}

int main(int argc, char **argv)
{
	int64_t start_ns = now_ns(CLOCK_MONOTONIC);
	int console;
	bool came;
	pid_t pid;

	if (argc < 5) {
		fprintf(stderr, "usage: %s MARKER RAM_MIB IDLE_MS PROGRAM ARGUMENT...\n", argv[0]);
		return 2;
	}
	pid = forkpty(&console, NULL, NULL, NULL);
	if (pid < 0) {
		perror("forkpty");
		return 1;
	}
	if (pid == 0) {
		execvp(argv[4], argv + 4);
		perror(argv[4]);
		_exit(127);
	}
	came = listen_to(console, argv[1], start_ns + PATIENCE_NS);
	if (came)
		report(pid, console, start_ns, atol(argv[2]), atol(argv[3]));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return !came;
}
