/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a virtual machine monitor until its guest says MARKER, and prints what that took as a line
 * of JSON:
 *
 *	probe MARKER RAM_MIB IDLE_MS PROGRAM ARGUMENT...
 *
 * With the clock of a machine that counts instructions, ns are instructions.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "monitor.h"

#define SETTLE_NS INT64_C(8000000000)

static const char *const counters[] = {
	"exits", "io_exits", "mmio_exits", "halt_exits", "irq_exits", "irq_injections", "pf_taken",
	"mmio_exit_user", "mmio_exit_kernel", "hvc_exit_stat", "wfi_exit_stat", /* aarch64 */
};

/* A guest that has just booted is not idle yet: it has timers of its boot, and works off what that left. */
static void report_idle(pid_t pid, int console, long idle_ms)
{
	int64_t start_ns = now_ns(CLOCK_MONOTONIC);
	double seconds;
	long exits;

	if (idle_ms == 0 || !monitor_listen(console, NULL, start_ns + SETTLE_NS))
		return;
	start_ns = now_ns(CLOCK_MONOTONIC);
	exits = monitor_counter(pid, "exits");
	if (!monitor_listen(console, NULL, start_ns + idle_ms * 1000000))
		return;
	seconds = (double)(now_ns(CLOCK_MONOTONIC) - start_ns) / 1e9;
	printf(",\"idle_exits_per_s\":%.1f", (double)(monitor_counter(pid, "exits") - exits) / seconds);
}

static void report(pid_t pid, int console, int64_t start_ns, long ram_mib, long idle_ms)
{
	int64_t wall_ns = now_ns(CLOCK_MONOTONIC) - start_ns;
	int64_t used_ns = monitor_cpu_ns(pid);
	struct monitor_memory memory;

	printf("{\"wall_ns\":%lld,\"cpu_ns\":%lld", (long long)wall_ns, (long long)used_ns);
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		printf(",\"%s\":%ld", counters[i], monitor_counter(pid, counters[i]));
	memory = monitor_memory(pid, ram_mib);
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
	pid = monitor_start(argv + 4, &console);
	if (pid < 0)
		return 1;
	came = monitor_listen(console, argv[1], start_ns + MONITOR_PATIENCE_NS);
	if (came)
		report(pid, console, start_ns, atol(argv[2]), atol(argv[3]));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return !came;
}
