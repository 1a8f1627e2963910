/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server and the replay see of the controller.
 *
 * A change passes four stages. submitted: decoded, in the controller's list, nothing checked
 * against the machine yet. current: its turn has come, phase and machine checks passed, it is in
 * the queue or with the monitor; there is one current action at most, as upstream handles requests
 * one by one. answered, by the monitor, or expired, by its deadline; an expired action stays in
 * the queue or with the monitor and the next one becomes current. Its waiter hears of the end once.
 */
#ifndef SQUIB_API_CONTROLLER_INTERNAL_H
#define SQUIB_API_CONTROLLER_INTERNAL_H

#include <stdatomic.h>
#include <squib/controller.h>

#include "api/mirror.h"
#include "api/route.h"
#include "base/arena.h"
#include "base/fault.h"

/* Who waits for the end of an action. */
struct waiter {
	/*
	 * The action ended; its outcome is in the action and stays as it is. Called with the
	 * controller locked, from any thread: hand over and wake up, no more. The waiter then owns a
	 * reference to @action.
	 */
	void (*done)(struct waiter *waiter, struct squib_action *action);
};

/* How an action ended. */
struct outcome {
	int status;		/* 200, 204, 400, 413, 500, 504 */
	char *body;		/* JSON with 200, else the fault message; NULL with 204; malloc'ed */
	size_t body_len;
};

struct squib_action {
	atomic_uint refs;
	struct squib_controller *controller;	/* a reference */
	struct arena *arena;			/* owns config, id, name and machine view */
	enum squib_action_type type;
	const char *id;
	const char *name;
	const void *config;
	const struct squib_machine *machine;
	bool deprecated;
	bool answered;				/* by the monitor; below: controller's lock */
	bool replay;
	enum action_stage { ACTION_SUBMITTED, ACTION_CURRENT, ACTION_ENDED } stage;
	uint64_t deadline_ns;			/* while current and queued; 0: not in the queue yet */
	enum squib_phase phase_before;		/* to go back to when it fails */
	uint64_t seen_changes;			/* of the description, when it was admitted */
	struct waiter *waiter;			/* NULL: nobody waits (any more) */
	struct outcome outcome;
	struct squib_action *next;		/* in the submitted list, then in the queue */
	struct squib_action *ended_next;	/* the waiter's, from done() on: an expired action is
						 * still in the queue then */
};

/**
 * action_new() - an action from a decoded config
 * @arena: a reference is taken
 * @id: or NULL; copied
 */
int action_new(struct squib_controller *controller, enum squib_action_type type,
	       struct arena *arena, const char *id, size_t id_len, const void *config,
	       struct squib_action **ret_action);

/* A controller lives as long as its owner or an action holds on to it. */
struct squib_controller *controller_ref(struct squib_controller *controller);
void controller_unref(struct squib_controller *controller);

/**
 * controller_submit() - get in line
 *
 * Takes over the caller's reference. @waiter hears exactly once, possibly before this returns,
 * unless controller_abandon() comes first.
 */
void controller_submit(struct squib_controller *controller, struct squib_action *action,
		       struct waiter *waiter);

/**
 * controller_abandon() - the waiter of @action is gone
 *
 * An action whose turn has not come is dropped; one that is under way goes on, unheard. Nothing
 * happens when it has ended.
 */
void controller_abandon(struct squib_controller *controller, struct squib_action *action,
			const struct waiter *waiter);

/** controller_expire() - end the current action if its deadline is over; next deadline or 0 */
uint64_t controller_expire(struct squib_controller *controller, uint64_t now_ns);

/**
 * controller_set_deadline_waker() - who watches the deadlines
 *
 * A controller has one watcher at most, and so one server: -EBUSY when there is another.
 *
 * wake() is called, locked, from any thread, when an action got a deadline. NULL: nobody watches.
 */
struct deadline_waker {
	void (*wake)(struct deadline_waker *waker, uint64_t deadline_ns);
};
int controller_set_deadline_waker(struct squib_controller *controller,
				  struct deadline_waker *waker);

/**
 * controller_hold() - while held (by one or more), only actions of a replay get their turn
 *
 * Requests of clients that arrive before a configuration file is through wait (contract 6.3).
 */
void controller_hold(struct squib_controller *controller, bool hold);

/**
 * controller_has_network_interface() - is one of that id configured?
 *
 * For the monitor: a PUT that is refused before it gets there may have taken the one before with it.
 */
bool controller_has_network_interface(struct squib_controller *controller, const char *id);

/** controller_mirror() - where GET requests are answered from */
struct mirror_box *controller_mirror(struct squib_controller *controller);

struct metrics *controller_metrics(struct squib_controller *controller);

/**
 * controller_use_metrics() - count into @metrics instead of the controller's own; before any server
 * is made
 */
void controller_use_metrics(struct squib_controller *controller, struct metrics *metrics);

const struct squib_controller_options *controller_options(const struct squib_controller *controller);

/** controller_logs() - would a line of that level be written? */
bool controller_logs(const struct squib_controller *controller, enum squib_log_level level);

void controller_log(struct squib_controller *controller, enum squib_log_level level,
		    const char *file, int line, const char *fmt, ...) PRINTF_LIKE(5, 6);
#define api_log(controller, level, ...) \
	controller_log((controller), SQUIB_LOG_##level, __FILE__, __LINE__, __VA_ARGS__)

#endif
