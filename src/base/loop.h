/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop over epoll: descriptors, and timers by timerfd. One thread's; nothing here locks.
 */
#ifndef SQUIB_BASE_LOOP_H
#define SQUIB_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/util.h"

struct loop;

/*
 * A watched descriptor. Embedded in what it belongs to, which handlers find by container_of. Must
 * stay where it is from loop_add() to loop_remove().
 */
struct loop_source {
	int fd;			/* not closed by the loop */
	uint32_t events;	/* EPOLLIN... */
	void (*ready)(struct loop_source *source, uint32_t events);
};

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);
DEFINE_CLEANUP(struct loop *, loop_free)

/** loop_fd() - polls readable while something is ready; for nesting in another loop */
int loop_fd(const struct loop *loop);

int loop_add(struct loop *loop, struct loop_source *source);
/** loop_modify() - watch for @events from now on (0: only errors and hang-ups) */
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);
/**
 * loop_remove() - watch no more; no handler of @source runs after this, even when its event was
 * already fetched. Safe from any handler, its own too, and for a source that was never added.
 */
void loop_remove(struct loop *loop, struct loop_source *source);

/** loop_run_once() - wait up to @timeout_ms (-1: no bound) and run the handlers. 0 or -errno */
int loop_run_once(struct loop *loop, int timeout_ms);

/* A one-shot timer; rearm it in its handler for a period. */
struct loop_timer {
	struct loop_source source;
	void (*expired)(struct loop_timer *timer);
};

int loop_timer_init(struct loop *loop, struct loop_timer *timer,
		    void (*expired)(struct loop_timer *timer));
void loop_timer_done(struct loop *loop, struct loop_timer *timer);
/** loop_timer_set() - run out at @when_ns on CLOCK_MONOTONIC; 0 disarms */
int loop_timer_set(struct loop_timer *timer, uint64_t when_ns);

/** clock_ns() - CLOCK_MONOTONIC in nanoseconds */
uint64_t clock_ns(void);

#endif
