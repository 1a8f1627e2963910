/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A helper process that cannot outlive us and gets nothing it was not given.
 */
#ifndef SQUIB_BASE_PROCESS_H
#define SQUIB_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/fault.h"

/**
 * process_find() - the program's path
 * @name: looked up in PATH; with a slash in it, taken as it is
 *
 * Return: a string to be freed, or NULL when no such file can be executed.
 */
char *process_find(const char *name);

struct process {
	pid_t pid;	/* 0: none */
	int pidfd;	/* polls readable when it has ended; -1: none */
};

#define PROCESS_INIT { .pidfd = -1 }

/**
 * process_spawn() - start a program
 * @fds: descriptors it inherits under the same numbers, all above 2; -1 is skipped. No others
 * @error_fd: becomes its standard output and standard error; standard input is /dev/null
 *
 * The process is killed when the calling thread ends, also when that is killed; has a process group
 * of its own, so that a terminal's signals do not reach it; and starts with default signal handling.
 *
 * Return: 0, or -errno of whatever failed, exec included; then no process is left.
 */
int process_spawn(char *const argv[], const int *fds, size_t fd_count, int error_fd,
		  struct process *ret_process);

/**
 * process_kill() - SIGKILL and reap; nothing is left when it returns. Nothing if there is none
 *
 * Here and in process_reap(), processes it started and left in its group are killed too: the
 * program may be a script around the one that is meant.
 */
void process_kill(struct process *process);

/**
 * process_reap() - after pidfd polled readable
 * @ret_status: its exit code, or minus the number of the signal it died of
 */
void process_reap(struct process *process, int *ret_status);

#endif
