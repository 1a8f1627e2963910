/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual machine monitor that is measured: its console is a terminal of ours, for some would not
 * start without. With the clock of a machine that counts instructions, ns are instructions.
 */
#ifndef SQUIB_BENCH_MONITOR_H
#define SQUIB_BENCH_MONITOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define MONITOR_PATIENCE_NS INT64_C(300000000000)

struct monitor_memory {
	long resident_kib;	/* the monitor's beside the guest's */
	long anonymous_kib;	/* of that, not of a file */
	long guest_kib;
};

int64_t now_ns(clockid_t clock);

/** monitor_start() - run @argv; its end is the caller's matter. Return: its pid; -1, and told why */
pid_t monitor_start(char **argv, int *ret_console);

/**
 * monitor_listen() - read the console until @marker comes, if one is given, or @until_ns is reached
 *
 * Return: whether the marker came; without one, whether the monitor still runs. When it does not,
 * what it said goes to standard error.
 */
bool monitor_listen(int console, const char *marker, int64_t until_ns);

/** monitor_cpu_ns() - CPU time of all its threads, ended ones too, also inside the guest */
int64_t monitor_cpu_ns(pid_t pid);

/**
 * monitor_counter() - one of the counters that KVM has in debugfs for the machine that @pid runs; they
 * go with the machine. -1: there is none
 */
long monitor_counter(pid_t pid, const char *name);

/**
 * monitor_memory() - mappings of no file that are an eighth of @ram_mib or more are taken for the
 * guest's
 */
struct monitor_memory monitor_memory(pid_t pid, long ram_mib);

#endif
