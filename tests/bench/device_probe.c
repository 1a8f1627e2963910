/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boots the guest of device_guest.c in a monitor and has it do one job after the other:
 *
 *	device_probe RAM_MIB JOB... -- PROGRAM ARGUMENT...
 *
 * Each job is done twice, and what the second time took is printed as a line of JSON; the first brings
 * caches and windows to where they stay. "ns" is until the guest has said that it is done, "monitor_ns"
 * CPU time of the monitor's threads but for those of vCPUs. A line with the monitor's memory comes
 * before the first job and after the last.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor.h"

static const char *const counters[] = {
	"exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits", "irq_injections",
};
#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

struct sample {
	int64_t ns;
	int64_t monitor_ns;
	long counters[COUNTERS];
};

/* How squib, Firecracker, and QEMU with debug-threads=on name them. */
static bool is_vcpu(const char *name)
{
	return strstr(name, "vcpu") != NULL || strncmp(name, "CPU ", 4) == 0;
}

static bool read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "r");
	bool good = file != NULL && fgets(line, size, file) != NULL;

	if (file != NULL)
		fclose(file);
	return good;
}

static int64_t vcpus_ns(pid_t pid)
{
	char path[300], line[128];
	struct dirent *entry;
	int64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		snprintf(path, sizeof(path), "/proc/%d/task/%.64s/comm", (int)pid, entry->d_name);
		if (!read_line(path, line, sizeof(line)) || !is_vcpu(line))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.64s/schedstat", (int)pid, entry->d_name);
		if (read_line(path, line, sizeof(line)))
			sum += atoll(line);
	}
	if (dir != NULL)
		closedir(dir);
	return sum;
}

static struct sample sample(pid_t pid)
{
	struct sample sample = { .monitor_ns = monitor_cpu_ns(pid) - vcpus_ns(pid) };

	for (size_t i = 0; i < COUNTERS; i++)
		sample.counters[i] = monitor_counter(pid, counters[i]);
	sample.ns = now_ns(CLOCK_MONOTONIC);
	return sample;
}

static bool do_job(int console, const char *job)
{
	char line[128];
	int len = snprintf(line, sizeof(line), "%s\n", job);

	return write(console, line, (size_t)len) == len &&
	       monitor_listen(console, "@done", now_ns(CLOCK_MONOTONIC) + MONITOR_PATIENCE_NS);
}

static bool measure(pid_t pid, int console, const char *job)
{
	struct sample before, after;
	int64_t end_ns;

	if (!do_job(console, job))
		return false;
	before = sample(pid);
	if (!do_job(console, job))
		return false;
	end_ns = now_ns(CLOCK_MONOTONIC);
	after = sample(pid);
	printf("{\"job\":\"%s\",\"ns\":%lld,\"monitor_ns\":%lld", job, (long long)(end_ns - before.ns),
	       (long long)(after.monitor_ns - before.monitor_ns));
	for (size_t i = 0; i < COUNTERS; i++)
		printf(",\"%s\":%ld", counters[i], after.counters[i] - before.counters[i]);
	printf("}\n");
	fflush(stdout);
	return true;
}

static void report_memory(pid_t pid, long ram_mib)
{
	struct monitor_memory memory = monitor_memory(pid, ram_mib);

	printf("{\"memory_kib\":%ld,\"anonymous_kib\":%ld}\n", memory.resident_kib, memory.anonymous_kib);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	long ram_mib = argc > 1 ? atol(argv[1]) : 0;
	int end = 2, console;
	bool good;
	pid_t pid;

	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	if (end >= argc - 1) {
		fprintf(stderr, "usage: %s RAM_MIB JOB... -- PROGRAM ARGUMENT...\n", argv[0]);
		return 2;
	}
	pid = monitor_start(argv + end + 1, &console);
	if (pid < 0)
		return 1;
	good = monitor_listen(console, "@ready", now_ns(CLOCK_MONOTONIC) + MONITOR_PATIENCE_NS);
	if (good)
		report_memory(pid, ram_mib);
	for (int i = 2; good && i < end; i++)
		good = measure(pid, console, argv[i]);
	if (good)
		report_memory(pid, ram_mib);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return !good;
}
