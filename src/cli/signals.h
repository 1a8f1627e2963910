/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals, as contract 6.2. One object a process, since signals are.
 *
 *	SIGTERM, SIGINT		end by that very signal, or with 128 + n as process 1. Left alone
 *				when the parent had them ignored
 *	SIGHUP, SIGXCPU		end with 156, 154
 *	SIGXFSZ, SIGSYS		end with 151, 148
 *	SIGSEGV, SIGBUS, SIGILL	end with 150, 149, 157; left to the sanitizers in a build with them
 *	SIGABRT, SIGFPE, SIGTRAP  end by that very signal; SIGFPE left to the sanitizers as well
 *	SIGPIPE			is counted and logged; the write fails with EPIPE
 *
 * The first two rows are blocked and come through the loop; the others interrupt the thread that
 * caused them.
 */
#ifndef SQUIB_CLI_SIGNALS_H
#define SQUIB_CLI_SIGNALS_H

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/util.h"

enum {
	EXIT_CODE_SIGSYS = 148,
	EXIT_CODE_SIGBUS = 149,
	EXIT_CODE_SIGSEGV = 150,
	EXIT_CODE_SIGXFSZ = 151,
	EXIT_CODE_SIGXCPU = 154,
	EXIT_CODE_SIGHUP = 156,
	EXIT_CODE_SIGILL = 157,
};

/* What must happen before the process ends. Both may be NULL. */
struct signals_listener {
	/* From the loop, for rows one and two: stop helpers, restore the terminal. Returns soon. */
	void (*ending)(struct signals_listener *listener, int signal);
	/*
	 * For rows three to five, in a handler, on any thread and in the middle of anything: only
	 * what is async-signal-safe, as killing a helper by its id.
	 */
	void (*crashing)(struct signals_listener *listener);
};

struct signals;

/**
 * signals_new() - take over the signals
 *
 * To be called before the process has other threads: they inherit the mask. So do children,
 * through exec() too: whoever starts one gives it an empty mask. The parameters must outlive the
 * object; metrics may be NULL, and so may log.
 *
 * Return: 0, or a negative errno and nothing has changed.
 */
int signals_new(struct loop *loop, struct log *log, struct metrics *metrics,
		struct signals_listener *listener, struct signals **ret_signals);

/** signals_fd() - polls readable when one of the first two rows came and the loop is yet to see it */
int signals_fd(const struct signals *signals);

/** signals_free() - default actions and the mask of before; accepts NULL */
void signals_free(struct signals *signals);
DEFINE_CLEANUP(struct signals *, signals_free)

#endif
