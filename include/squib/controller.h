/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller: phase, configuration and action queue of one machine, and the mirror that GET
 * requests are answered from. One machine, one controller; several may live in one process.
 *
 * Threads: the server (server.h) is one thread's; every function here may be called from any
 * thread unless its comment says otherwise.
 */
#ifndef SQUIB_CONTROLLER_H
#define SQUIB_CONTROLLER_H

#include <squib/action.h>
#include <squib/config.h>
#include <squib/export.h>

#ifdef __cplusplus
extern "C" {
#endif

enum squib_phase {
	SQUIB_PHASE_UNINITIALIZED,	/* nothing configured; "Not started" */
	SQUIB_PHASE_NOT_STARTED,	/* something configured; "Not started" */
	SQUIB_PHASE_STARTING,		/* InstanceStart or snapshot load under way; "Not started" */
	SQUIB_PHASE_RUNNING,		/* "Running" */
	SQUIB_PHASE_PAUSED,		/* "Paused" */
	SQUIB_PHASE_SHUTDOWN,		/* the guest ended; "Not started", every change is refused */
};

enum squib_arch {
	SQUIB_ARCH_X86_64,
	SQUIB_ARCH_AARCH64,
};

/* What SMT and SendCtrlAltDel do depends on the machine behind the API. */
enum squib_smt {
	SQUIB_SMT_APPLE_SILICON,	/* refused, with that text (the default) */
	SQUIB_SMT_ALLOWED,
	SQUIB_SMT_AARCH64,		/* refused, with upstream's text for aarch64 */
};

/* Budgets in milliseconds from queueing to answer; 0 takes the default in brackets. */
struct squib_timeouts {
	uint32_t config_ms;		/* [5,000] PUT, PATCH, DELETE of resources */
	uint32_t instance_start_ms;	/* [30,000] */
	uint32_t snapshot_create_ms;	/* [300,000] */
	uint32_t snapshot_load_ms;	/* [300,000] */
	uint32_t state_change_ms;	/* [5,000] PATCH /vm */
	uint32_t balloon_resize_ms;	/* [30,000] PATCH /balloon */
	uint32_t other_ms;		/* [5,000] FlushMetrics, SendCtrlAltDel */
};

/* Where 0 stands for a default: a limit of nothing at all. */
#define SQUIB_NO_BYTES UINT64_MAX

/* Bounds beyond upstream's; 0: none. Distinct ids are counted. */
struct squib_limits {
	uint32_t drives;
	uint32_t network_interfaces;
	uint32_t pmems;
	uint64_t mmds_bytes;		/* data store as compact JSON; 0: 51,200; SQUIB_NO_BYTES: 0 */
};

struct squib_controller_options {
	size_t size;			/* sizeof(struct squib_controller_options) */
	const char *instance_id;	/* required */
	const char *firecracker_version; /* required; GET /version */
	const char *vmm_version;	/* required; GET / */
	enum squib_phase initial_phase;
	enum squib_arch arch;
	enum squib_smt smt;
	bool ctrl_alt_del;		/* SendCtrlAltDel works once running */
	bool pci;			/* drives, interfaces and pmem may come and go while running */
	struct squib_timeouts timeouts;
	struct squib_limits limits;
	uint32_t queue_capacity;	/* actions not yet taken; 0: 1,024 */
	/*
	 * Receives log lines (contract 1.8); may be NULL. Called from the server's thread and from
	 * threads that answer actions; @message is valid during the call. Must not call back.
	 */
	void (*log)(void *log_data, enum squib_log_level level, const char *file, int line,
		    const char *message);
	/* Whether lines of a level are wanted at all, so that none is made in vain; NULL: yes. */
	bool (*log_enabled)(void *log_data, enum squib_log_level level);
	void *log_data;
};

#define SQUIB_CONTROLLER_OPTIONS_INIT { .size = sizeof(struct squib_controller_options) }

struct squib_controller;

/**
 * squib_controller_new() - make a controller
 * @options: read during the call only; strings are copied
 *
 * Return: 0 and *@ret_controller; -EINVAL for missing strings or an unknown size, -ENOMEM, or what
 * eventfd() failed with. Freed with squib_controller_free().
 */
SQUIB_EXPORT int squib_controller_new(const struct squib_controller_options *options,
				      struct squib_controller **ret_controller);

/**
 * squib_controller_free() - free a controller; accepts NULL
 *
 * Servers of it must be freed before. Actions still held by the monitor stay valid: answering
 * them later is safe and has no effect.
 */
SQUIB_EXPORT void squib_controller_free(struct squib_controller *controller);

/**
 * squib_controller_next() - take the next action
 * @timeout_ms: 0 does not wait, -1 waits without bound
 *
 * The caller owns the returned reference until it answers.
 *
 * Return: 1 with *@ret_action; 0 when there was none in time; -ESHUTDOWN after
 * squib_controller_close().
 */
SQUIB_EXPORT int squib_controller_next(struct squib_controller *controller, int timeout_ms,
				       struct squib_action **ret_action);

/**
 * squib_controller_fd() - a descriptor that polls readable while actions wait
 *
 * For an event loop; belongs to the controller, never read from it.
 */
SQUIB_EXPORT int squib_controller_fd(struct squib_controller *controller);

/**
 * squib_controller_close() - the monitor is gone: no more actions will be taken
 *
 * Queued and unanswered requests, and all later changes, get 500 "VMM event loop is gone". Reads
 * are still answered.
 */
SQUIB_EXPORT void squib_controller_close(struct squib_controller *controller);

/** squib_controller_set_phase() - publish a phase change the monitor made itself (guest ended) */
SQUIB_EXPORT void squib_controller_set_phase(struct squib_controller *controller, enum squib_phase phase);

/** squib_controller_phase() - the phase now */
SQUIB_EXPORT enum squib_phase squib_controller_phase(struct squib_controller *controller);

/**
 * squib_controller_publish_memory_hotplug() - publish what the guest has plugged
 *
 * Shown by GET /hotplug/memory from then on.
 */
SQUIB_EXPORT void squib_controller_publish_memory_hotplug(struct squib_controller *controller,
							  uint64_t plugged_size_mib,
							  uint64_t requested_size_mib);

#ifdef __cplusplus
}
#endif

#endif
