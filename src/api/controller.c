/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller: see controller_internal.h for the stages of an action. One mutex guards
 * everything but the mirror's reading side; it is held for computation only, never for waiting.
 */
#include <squib/controller.h>

#include "api/controller_internal.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "api/action_table.h"
#include "api/answers.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "config/machine.h"

#define FAULT_POST_BOOT "The requested operation is not supported after starting the microVM."
#define FAULT_STARTING "The requested operation cannot be served during boot orchestration"
#define FAULT_GONE "VMM event loop is gone"
#define FAULT_SHUTDOWN "VMM is shut down"

#define QUEUE_CAPACITY_DEFAULT 1024
#define MMDS_BYTES_DEFAULT 51200

struct action_list {
	struct squib_action *first;
	struct squib_action **end;	/* where the next one's pointer goes */
};

struct squib_controller {
	atomic_uint refs;
	struct squib_controller_options options;	/* strings are ours */
	struct metrics *own_metrics, *metrics;

	pthread_mutex_t lock;
	enum squib_phase phase;
	bool closed;				/* no monitor any more */
	unsigned int holds;			/* not 0: only a replay's actions get their turn */
	uint64_t changes;			/* of the description so far */
	bool boot_path;				/* something was configured that forbids a snapshot load */
	struct machine *machine;
	struct action_list submitted;
	struct squib_action *current;
	struct action_list queue;		/* not yet taken by the monitor */
	uint32_t queue_len;
	int queue_fd;				/* eventfd: non-zero while the queue is not empty */
	bool queue_wake;			/* it is to be written when the lock is released */
	struct deadline_waker *waker;
	struct mirror_box mirror;
	unsigned int unpublished;		/* what memory ran out for: due with the next change */
};

/* Whoever is woken would at once wait for the lock: so first release it, then wake. */
static void unlock(struct squib_controller *c)
{
	bool wake = c->queue_wake;

	c->queue_wake = false;
	pthread_mutex_unlock(&c->lock);
	if (wake)
		eventfd_write(c->queue_fd, 1);
}

static void list_init(struct action_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_append(struct action_list *list, struct squib_action *action)
{
	action->next = NULL;
	*list->end = action;
	list->end = &action->next;
}

/* Take out what *@at points to. */
static struct squib_action *list_remove(struct action_list *list, struct squib_action **at)
{
	struct squib_action *action = *at;

	*at = action->next;
	if (list->end == &action->next)
		list->end = at;
	action->next = NULL;
	return action;
}

bool controller_logs(const struct squib_controller *c, enum squib_log_level level)
{
	return c->options.log != NULL &&
	       (c->options.log_enabled == NULL ||
		c->options.log_enabled(c->options.log_data, level));
}

void controller_log(struct squib_controller *c, enum squib_log_level level, const char *file,
		    int line, const char *fmt, ...)
{
	char small[512];
	CLEANUP(buf_done) struct buf large = BUF_INIT;
	const char *message = small;
	va_list ap;
	int len;

	if (!controller_logs(c, level))
		return;
	va_start(ap, fmt);
	len = vsnprintf(small, sizeof(small), fmt, ap);
	va_end(ap);
	if (len >= (int)sizeof(small)) {
		va_start(ap, fmt);
		buf_vaddf(&large, fmt, ap);
		va_end(ap);
		if (buf_str(&large) != NULL)
			message = large.data;
	}
	c->options.log(c->options.log_data, level, file, line, message);
}

/* ---- the life of an action ---- */

static void outcome_set(struct squib_action *action, int status, const char *body)
{
	size_t len = body != NULL ? strlen(body) : 0;

	free(action->outcome.body);
	action->outcome = (struct outcome){ .status = status };
	if (body == NULL)
		return;
	action->outcome.body = strdup(body);	/* NULL, out of memory: sent as an empty text */
	if (action->outcome.body != NULL)
		action->outcome.body_len = len;
}

/* The waiter hears of it and gets a reference of its own. */
static void action_end(struct squib_action *action)
{
	struct waiter *waiter = action->waiter;

	action->stage = ACTION_ENDED;
	action->waiter = NULL;
	if (waiter != NULL)
		waiter->done(waiter, squib_action_ref(action));
}

/* ---- the mirror ---- */

static int publish(struct squib_controller *c, unsigned int changes)
{
	const struct answer_state state = { &c->options, c->phase, c->machine };
	struct mirror_answer *changed[RESOURCE_MIRROR_COUNT] = { 0 };
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	int r = 0;

	changes |= c->unpublished;
	if (changes == 0)
		return 0;
	c->unpublished = changes;
	buf_reserve(&body, 1024);	/* most are smaller; a failure shows below */
	for (unsigned int i = 0; i < RESOURCE_MIRROR_COUNT && r == 0; i++) {
		int status;

		if (!(changes & 1u << i))
			continue;
		buf_reset(&body);
		status = answer_render(&state, (enum resource)i, &body);
		r = buf_error(&body);
		if (r == 0)
			changed[i] = mirror_answer_new(status, body.data, body.len);
		if (changed[i] == NULL)
			r = -ENOMEM;
	}
	if (r == 0) {
		r = mirror_publish(&c->mirror, changed);
		if (r == 0)
			c->unpublished = 0;
		return r;
	}
	for (unsigned int i = 0; i < RESOURCE_MIRROR_COUNT; i++)
		mirror_answer_unref(changed[i]);
	return r;
}

/* ---- turns ---- */

/* Phase rules of contract 2.0 and 4.1; the status of a refusal with its text in @fault, or 0. */
static int check_phase(struct squib_controller *c, const struct squib_action *action,
		       struct fault *fault)
{
	bool post_boot = phase_is_post_boot(c->phase);

	if (c->phase == SQUIB_PHASE_SHUTDOWN) {
		fault_set(fault, -ESHUTDOWN, FAULT_SHUTDOWN);
		return 500;
	}
	if (c->phase == SQUIB_PHASE_STARTING) {
		fault_set(fault, -EBUSY, FAULT_STARTING);
		return 400;
	}
	if (action->type == SQUIB_SEND_CTRL_ALT_DEL && (!post_boot || !c->options.ctrl_alt_del)) {
		fault_set(fault, -EINVAL, "Invalid action: SendCtrlAltDel is x86-only and not "
			  "supported on aarch64");
		return 400;
	}
	if (post_boot && action_phases[action->type] == ACTION_PRE_BOOT) {
		fault_set(fault, -EINVAL, FAULT_POST_BOOT);
		return 400;
	}
	if (!post_boot && action_phases[action->type] == ACTION_POST_BOOT) {
		fault_set(fault, -EINVAL, ANSWER_PRE_BOOT);
		return 400;
	}
	return 0;
}

/* Rules about the machine as a whole. */
static int check_machine(struct squib_controller *c, struct squib_action *action,
			 struct fault *fault)
{
	bool post_boot = phase_is_post_boot(c->phase);
	int r = 0;

	switch (action->type) {
	case SQUIB_PUT_MMDS:
	case SQUIB_PATCH_MMDS:
		r = machine_check_mmds(c->machine, action->type, post_boot, action->arena,
				       (struct squib_mmds_data *)action->config, fault);
		break;
	case SQUIB_INSTANCE_START:
		if (!machine_has_boot_source(c->machine))
			r = fault_set(fault, -EINVAL, "Start microvm error: Cannot start microvm "
				      "without kernel configuration.");
		break;
	case SQUIB_SNAPSHOT_LOAD:
		if (c->boot_path)
			r = fault_set(fault, -EINVAL, "Load snapshot error: Loading a microVM "
				      "snapshot not allowed after configuring boot-specific "
				      "resources.");
		break;
	case SQUIB_SNAPSHOT_CREATE:
		if (c->phase != SQUIB_PHASE_PAUSED)
			r = fault_set(fault, -EINVAL, "Create snapshot error: Cannot save the "
				      "microVM state: Operation not allowed: save/restore "
				      "unavailable while running");
		break;
	default:
		r = machine_check(c->machine, action->type, post_boot, action->id, action->config,
				  fault);
		if (r == -ESTALE) {
			machine_lose(c->machine, action->type, action->id);
			publish(c, answers_changed_by(action->type));
		}
	}
	if (r == -ENOMEM)
		fault_set(fault, r, "Out of memory");
	return r == 0 ? 0 : r == -ENOMEM ? 500 : r == -EFBIG ? 413 : 400;
}

static uint64_t budget_ns(const struct squib_controller *c, enum squib_action_type type)
{
	const struct squib_timeouts *t = &c->options.timeouts;
	const uint32_t ms[] = {
		[ACTION_CLASS_CONFIG] = t->config_ms,
		[ACTION_CLASS_INSTANCE_START] = t->instance_start_ms,
		[ACTION_CLASS_SNAPSHOT_CREATE] = t->snapshot_create_ms,
		[ACTION_CLASS_SNAPSHOT_LOAD] = t->snapshot_load_ms,
		[ACTION_CLASS_STATE_CHANGE] = t->state_change_ms,
		[ACTION_CLASS_BALLOON_RESIZE] = t->balloon_resize_ms,
		[ACTION_CLASS_OTHER] = t->other_ms,
	};

	return (uint64_t)ms[action_classes[type]] * 1000000;
}

/* Put the current action into the queue if there is room; its deadline begins. */
static void enqueue_current(struct squib_controller *c)
{
	struct squib_action *action = c->current;

	if (action == NULL || action->deadline_ns != 0 || c->queue_len >= c->options.queue_capacity)
		return;
	list_append(&c->queue, squib_action_ref(action));
	if (c->queue_len++ == 0)
		c->queue_wake = true;
	action->deadline_ns = clock_ns() + budget_ns(c, action->type);
	if (c->waker != NULL)
		c->waker->wake(c->waker, action->deadline_ns);
}

/* The next action whose turn it may be, or NULL. */
static struct squib_action *take_submitted(struct squib_controller *c)
{
	struct squib_action **at = &c->submitted.first;

	while (*at != NULL && c->holds > 0 && !(*at)->replay && !c->closed)
		at = &(*at)->next;
	return *at == NULL ? NULL : list_remove(&c->submitted, at);
}

static int admit(struct squib_controller *c, struct squib_action *action, struct fault *fault)
{
	int status;

	if (c->closed) {
		fault_set(fault, -ESHUTDOWN, FAULT_GONE);
		return 500;
	}
	status = check_phase(c, action, fault);
	if (status != 0)
		return status;
	status = check_machine(c, action, fault);
	if (!phase_is_post_boot(c->phase) && machine_action_blocks_load(action->type))
		c->boot_path = true;	/* also when it is refused, as upstream */
	return status;
}

/* Give the turn to whoever is next, until one is under way. */
static void pump(struct squib_controller *c)
{
	struct squib_action *action;

	while (c->current == NULL && (action = take_submitted(c)) != NULL) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		int status = admit(c, action, &fault);

		if (status != 0) {
			outcome_set(action, status, fault_text(&fault));
			action_end(action);
			squib_action_unref(action);
			continue;
		}
		action->stage = ACTION_CURRENT;
		action->phase_before = c->phase;
		action->seen_changes = c->changes;
		if (action->type == SQUIB_INSTANCE_START || action->type == SQUIB_SNAPSHOT_LOAD)
			c->phase = SQUIB_PHASE_STARTING;
		c->current = action;
		enqueue_current(c);
	}
}

static void end_current(struct squib_controller *c)
{
	struct squib_action *action = c->current;

	c->current = NULL;
	action_end(action);
	squib_action_unref(action);
	pump(c);
}

void controller_submit(struct squib_controller *c, struct squib_action *action,
		       struct waiter *waiter)
{
	pthread_mutex_lock(&c->lock);
	action->waiter = waiter;
	action->stage = ACTION_SUBMITTED;
	list_append(&c->submitted, action);
	pump(c);
	unlock(c);
}

void controller_abandon(struct squib_controller *c, struct squib_action *action,
			const struct waiter *waiter)
{
	pthread_mutex_lock(&c->lock);
	if (action->waiter == waiter)
		action->waiter = NULL;
	if (action->stage == ACTION_SUBMITTED) {
		struct squib_action **at = &c->submitted.first;

		while (*at != action)
			at = &(*at)->next;
		list_remove(&c->submitted, at);
		action_end(action);
		squib_action_unref(action);
	}
	unlock(c);
}

uint64_t controller_expire(struct squib_controller *c, uint64_t now_ns)
{
	uint64_t next;

	pthread_mutex_lock(&c->lock);
	if (c->current != NULL && c->current->deadline_ns != 0 && now_ns >= c->current->deadline_ns) {
		char text[64];

		snprintf(text, sizeof(text), "VMM action timed out: %s",
			 action_class_labels[action_classes[c->current->type]]);
		outcome_set(c->current, 504, text);
		end_current(c);
	}
	next = c->current != NULL ? c->current->deadline_ns : 0;
	unlock(c);
	return next;
}

int controller_set_deadline_waker(struct squib_controller *c, struct deadline_waker *waker)
{
	int r = 0;

	pthread_mutex_lock(&c->lock);
	if (waker != NULL && c->waker != NULL)
		r = -EBUSY;
	else
		c->waker = waker;
	unlock(c);
	return r;
}

void controller_hold(struct squib_controller *c, bool hold)
{
	pthread_mutex_lock(&c->lock);
	if (hold)
		c->holds++;
	else
		c->holds--;
	pump(c);
	unlock(c);
}

/* ---- the monitor's side ---- */

/* Also when the queue was empty before: its last wake-up may come behind its last action. */
static void queue_emptied(struct squib_controller *c)
{
	eventfd_t count;

	if (!c->closed)
		eventfd_read(c->queue_fd, &count);
}

static struct squib_action *queue_take(struct squib_controller *c)
{
	struct squib_action *action;

	if (c->queue.first == NULL) {
		queue_emptied(c);
		return NULL;
	}
	action = list_remove(&c->queue, &c->queue.first);
	if (--c->queue_len == 0)
		queue_emptied(c);
	enqueue_current(c);	/* it may have waited for room */
	return action;
}

/*
 * The machine that a start is about to make is looked at now, not when the start was admitted:
 * changes before it in the queue may have expired for their clients and be made all the same.
 */
static int add_machine(struct squib_controller *c, struct squib_action *action)
{
	if (action->type != SQUIB_INSTANCE_START)
		return 0;
	return machine_view(c->machine, action->arena, &action->machine);
}

int squib_controller_next(struct squib_controller *c, int timeout_ms,
			  struct squib_action **ret_action)
{
	struct pollfd wait = { .fd = c->queue_fd, .events = POLLIN };
	uint64_t end_ns = timeout_ms > 0 ? clock_ns() + (uint64_t)timeout_ms * 1000000 : 0;

	for (;;) {
		struct squib_action *action;
		uint64_t now_ns;
		bool closed;
		int r = 0;

		pthread_mutex_lock(&c->lock);
		action = queue_take(c);
		if (action != NULL)
			r = add_machine(c, action);
		closed = c->closed;
		unlock(c);
		if (r < 0) {
			squib_action_fail(action, "Out of memory");
			continue;
		}
		if (action != NULL) {
			*ret_action = action;
			return 1;
		}
		if (closed)
			return -ESHUTDOWN;
		if (timeout_ms >= 0) {
			now_ns = clock_ns();
			if (now_ns >= end_ns)
				return 0;
			timeout_ms = (int)((end_ns - now_ns + 999999) / 1000000);
		}
		if (poll(&wait, 1, timeout_ms) < 0 && errno != EINTR)
			return -errno;
	}
}

int squib_controller_fd(struct squib_controller *c)
{
	return c->queue_fd;
}

/* Is it a part of the machine that the action changes? */
static bool is_about_machine(enum squib_action_type type)
{
	switch (type) {
	case SQUIB_INSTANCE_START:
	case SQUIB_SNAPSHOT_CREATE:
	case SQUIB_SNAPSHOT_LOAD:
	case SQUIB_PATCH_VM:
	case SQUIB_FLUSH_METRICS:
	case SQUIB_SEND_CTRL_ALT_DEL:
		return false;
	default:
		return true;
	}
}

/*
 * The monitor did it: description, phase. When another change was made since this one was
 * admitted, a late one, the checks are made again: two that exclude each other may have passed.
 *
 * Return: 0, or the status of a refusal with its text in @fault.
 */
static int take_effect(struct squib_controller *c, struct squib_action *action,
		       struct fault *fault)
{
	int status = 0;

	if (is_about_machine(action->type) && action->seen_changes != c->changes)
		status = check_machine(c, action, fault);
	if (status != 0)
		return status;
	if (machine_apply(c->machine, action->type, action->id, action->config,
			  action->arena) < 0) {
		fault_set(fault, -ENOMEM, "Out of memory");
		return 500;
	}
	c->changes++;
	if (c->phase == SQUIB_PHASE_UNINITIALIZED)
		c->phase = SQUIB_PHASE_NOT_STARTED;
	if (action->type == SQUIB_PATCH_VM && phase_is_post_boot(c->phase)) {
		const struct squib_vm *vm = action->config;

		c->phase = vm->state == SQUIB_VM_PAUSED ? SQUIB_PHASE_PAUSED : SQUIB_PHASE_RUNNING;
	}
	if (c->phase != SQUIB_PHASE_STARTING)
		return 0;
	if (action->type == SQUIB_INSTANCE_START)
		c->phase = SQUIB_PHASE_RUNNING;
	if (action->type == SQUIB_SNAPSHOT_LOAD) {
		const struct squib_snapshot_load *load = action->config;

		c->phase = load->resume_vm ? SQUIB_PHASE_RUNNING : SQUIB_PHASE_PAUSED;
	}
	return 0;
}

static void take_back(struct squib_controller *c, const struct squib_action *action)
{
	if (c->phase == SQUIB_PHASE_STARTING &&
	    (action->type == SQUIB_INSTANCE_START || action->type == SQUIB_SNAPSHOT_LOAD))
		c->phase = action->phase_before;
}

/* What the monitor says of an action; body is a fault or, with 200, JSON. */
static void answer(struct squib_action *action, int status, const char *body, bool lost)
{
	struct squib_controller *c = action->controller;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	bool success = status < 300;
	unsigned int changes;
	int refusal;

	pthread_mutex_lock(&c->lock);
	if (action->answered) {
		unlock(c);
		assert(!"an action was answered twice");
		return;
	}
	action->answered = true;
	changes = success || lost ? answers_changed_by(action->type) : 0;
	refusal = success ? take_effect(c, action, &fault) : 0;
	if (refusal != 0) {
		status = refusal;
		body = fault_text(&fault);
		success = false;
	}
	if (!success)
		take_back(c, action);
	if (lost)
		machine_lose(c->machine, action->type, action->id);
	if (publish(c, changes) < 0 && success) {
		status = 500;
		body = "Out of memory";
	}
	if (c->current == action) {
		outcome_set(action, status, body);
		end_current(c);
	}
	unlock(c);
	squib_action_unref(action);
}

void squib_action_succeed(struct squib_action *action)
{
	answer(action, 204, NULL, false);
}

void squib_action_fail(struct squib_action *action, const char *fault)
{
	answer(action, 400, fault, false);
}

void squib_action_fail_lost(struct squib_action *action, const char *fault)
{
	answer(action, 400, fault, true);
}

static void answer_body(struct squib_action *action, struct buf *body)
{
	const char *text = buf_str(body);

	if (text != NULL)
		answer(action, 200, text, false);
	else
		answer(action, 500, "Out of memory", false);
}

void squib_action_succeed_balloon_stats(struct squib_action *action,
					const struct squib_balloon_stats *stats)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;

	buf_addf(&body, "{\"target_pages\":%ju,\"actual_pages\":%ju,\"target_mib\":%ju,"
		 "\"actual_mib\":%ju", (uintmax_t)stats->target_pages,
		 (uintmax_t)stats->actual_pages, (uintmax_t)stats->target_mib,
		 (uintmax_t)stats->actual_mib);
#define ADD_STAT(name) \
	if (stats->has_##name) \
		buf_addf(&body, ",\"" #name "\":%ju", (uintmax_t)stats->name);
	SQUIB_BALLOON_STATS(ADD_STAT)
#undef ADD_STAT
	buf_addc(&body, '}');
	answer_body(action, &body);
}

void squib_action_succeed_hinting_status(struct squib_action *action,
					 const struct squib_balloon_hinting_status *status)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;

	buf_addf(&body, "{\"host_cmd\":%u,\"guest_cmd\":", status->host_cmd);
	if (status->has_guest_cmd)
		buf_addf(&body, "%u}", status->guest_cmd);
	else
		buf_adds(&body, "null}");
	answer_body(action, &body);
}

void squib_controller_close(struct squib_controller *c)
{
	pthread_mutex_lock(&c->lock);
	if (!c->closed) {
		c->closed = true;
		c->queue_wake = true;	/* for good: whoever waits for actions must see it */
		if (c->current != NULL) {
			outcome_set(c->current, 500, FAULT_GONE);
			end_current(c);
		}
		pump(c);
	}
	unlock(c);
}

void squib_controller_set_phase(struct squib_controller *c, enum squib_phase phase)
{
	pthread_mutex_lock(&c->lock);
	c->phase = phase;
	publish(c, ANSWERS_OF_PHASE);
	unlock(c);
}

bool controller_has_network_interface(struct squib_controller *c, const char *id)
{
	bool has;

	pthread_mutex_lock(&c->lock);
	has = machine_has_network_interface(c->machine, id);
	unlock(c);
	return has;
}

enum squib_phase squib_controller_phase(struct squib_controller *c)
{
	enum squib_phase phase;

	pthread_mutex_lock(&c->lock);
	phase = c->phase;
	unlock(c);
	return phase;
}

void squib_controller_publish_memory_hotplug(struct squib_controller *c, uint64_t plugged_size_mib,
					     uint64_t requested_size_mib)
{
	pthread_mutex_lock(&c->lock);
	machine_set_plugged(c->machine, plugged_size_mib, requested_size_mib);
	publish(c, 1u << RESOURCE_MEMORY_HOTPLUG);
	unlock(c);
}

/* ---- the controller itself ---- */

static void default_u32(uint32_t *value, uint32_t fallback)
{
	if (*value == 0)
		*value = fallback;
}

static int copy_options(struct squib_controller *c, const struct squib_controller_options *options)
{
	struct squib_timeouts *t = &c->options.timeouts;

	c->options = *options;
	c->options.instance_id = strdup(options->instance_id);
	c->options.firecracker_version = strdup(options->firecracker_version);
	c->options.vmm_version = strdup(options->vmm_version);
	default_u32(&t->config_ms, 5000);
	default_u32(&t->instance_start_ms, 30000);
	default_u32(&t->snapshot_create_ms, 300000);
	default_u32(&t->snapshot_load_ms, 300000);
	default_u32(&t->state_change_ms, 5000);
	default_u32(&t->balloon_resize_ms, 30000);
	default_u32(&t->other_ms, 5000);
	default_u32(&c->options.queue_capacity, QUEUE_CAPACITY_DEFAULT);
	if (c->options.limits.mmds_bytes == 0)
		c->options.limits.mmds_bytes = MMDS_BYTES_DEFAULT;
	else if (c->options.limits.mmds_bytes == SQUIB_NO_BYTES)
		c->options.limits.mmds_bytes = 0;
	return c->options.instance_id == NULL || c->options.firecracker_version == NULL ||
	       c->options.vmm_version == NULL ? -ENOMEM : 0;
}

static void list_drop(struct action_list *list)
{
	while (list->first != NULL)
		squib_action_unref(list_remove(list, &list->first));
}

struct squib_controller *controller_ref(struct squib_controller *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void controller_unref(struct squib_controller *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	mirror_box_done(&c->mirror);
	machine_free(c->machine);
	metrics_free(c->own_metrics);
	fd_close(c->queue_fd);
	pthread_mutex_destroy(&c->lock);
	free((char *)c->options.instance_id);
	free((char *)c->options.firecracker_version);
	free((char *)c->options.vmm_version);
	free(c);
}

int squib_controller_new(const struct squib_controller_options *options,
			 struct squib_controller **ret_controller)
{
	struct squib_controller *c;
	struct machine_rules rules;
	int r;

	if (options->size != sizeof(*options) || options->instance_id == NULL ||
	    options->firecracker_version == NULL || options->vmm_version == NULL)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	atomic_init(&c->refs, 1);
	pthread_mutex_init(&c->lock, NULL);
	list_init(&c->submitted);
	list_init(&c->queue);
	c->phase = options->initial_phase;
	c->queue_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = c->queue_fd < 0 ? -errno : copy_options(c, options);
	if (r == 0) {
		rules = (struct machine_rules){ .arch = options->arch, .smt = options->smt,
						.pci = options->pci,
						.limits = c->options.limits };
		r = machine_new(&rules, &c->machine);
	}
	if (r == 0)
		r = metrics_new(&c->own_metrics);
	if (r == 0)
		r = mirror_box_init(&c->mirror);
	if (r == 0) {
		c->metrics = c->own_metrics;
		r = publish(c, ANSWERS_ALL);
	}
	if (r < 0) {
		controller_unref(c);
		return r;
	}
	*ret_controller = c;
	return 0;
}

void squib_controller_free(struct squib_controller *c)
{
	struct action_list queue;

	if (c == NULL)
		return;
	squib_controller_close(c);
	/* references drop outside the lock: the last one may be the controller's own */
	pthread_mutex_lock(&c->lock);
	queue = c->queue;
	if (queue.first == NULL)
		queue.end = &queue.first;
	list_init(&c->queue);
	c->queue_len = 0;
	c->waker = NULL;
	unlock(c);
	list_drop(&queue);
	controller_unref(c);
}

struct mirror_box *controller_mirror(struct squib_controller *c)
{
	return &c->mirror;
}

struct metrics *controller_metrics(struct squib_controller *c)
{
	return c->metrics;
}

void controller_use_metrics(struct squib_controller *c, struct metrics *metrics)
{
	c->metrics = metrics;
}

const struct squib_controller_options *controller_options(const struct squib_controller *c)
{
	return &c->options;
}
