/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine gives a machine CPU, memory, interrupts, boot and power events. The monitor (src/vmm)
 * drives it; clients never see it except by its capabilities and the faults it gives.
 *
 * Threads: all functions and all events are on the monitor's thread, the one that runs the loop.
 *
 * Order: probe (any time), create, then start once; pause, resume and the others only after a
 * successful start; destroy at any time, also after a failed start.
 */
#ifndef SQUIB_ENGINE_H
#define SQUIB_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <squib/config.h>
#include <squib/controller.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"

struct engine;
struct engine_ops;
struct metrics;
struct mmds;
struct net_backend;

enum engine_end {
	ENGINE_END_GUEST,	/* the guest powered off or rebooted: the program ends with 0 */
	ENGINE_END_FAILED,	/* the engine broke down; ends with 1 */
};

/* What the engine tells the monitor. Embedded in the monitor's own struct. */
struct engine_listener {
	/* The guest ended or the engine died; called once, from the loop, never from within an engine function. */
	void (*ended)(struct engine_listener *listener, enum engine_end end);
	/*
	 * The guest wrote to its serial console. Returns how many bytes were taken; after fewer than
	 * @len the engine keeps the rest, holds the guest's port back, and offers it again when
	 * serial_output_ready() is called.
	 */
	size_t (*serial_output)(struct engine_listener *listener, const void *data, size_t len);
	/* The guest can take serial input again after serial_input() took less than offered. */
	void (*serial_input_ready)(struct engine_listener *listener);
	/* The guest hit the boot timer (only with engine_params.boot_timer). */
	void (*boot_timer)(struct engine_listener *listener);
	/*
	 * Is the program about to end? Asked within engine functions that wait, several times a
	 * second: they fail then, with any fault. May be NULL.
	 */
	bool (*is_ending)(struct engine_listener *listener);
};

struct engine_params {
	enum squib_arch arch;
	const char *instance_id;	/* for process and thread names */
	bool boot_timer;
	struct log *log;
	struct metrics *metrics;
	struct loop *loop;
	struct engine_listener *listener;
	/* All must outlive the engine. */
};

/* A file that was opened and checked when its resource was configured. */
struct engine_file {
	int fd;			/* the engine duplicates what it keeps */
	const char *path;	/* for messages */
};

/* Valid during start() only, but for what is said to outlive the engine. */
struct engine_machine {
	const struct squib_machine *description;
	struct engine_file kernel;
	struct engine_file initrd;			/* fd -1: none */
	const struct engine_file *drives;		/* as description->drives; or connected sockets */
	/*
	 * As description->network_interfaces; the engine takes them over and leaves NULL. NULL from
	 * the start where the monitor makes none.
	 */
	struct net_backend **interfaces;
	struct engine_file vsock;			/* listening; fd -1: none */
	struct mmds *mmds;				/* configured; outlives the engine */
};

struct engine_ops {
	const char *name;		/* "kvm", "qemu", "mock" */
	bool pci;			/* devices may come and go while the guest runs */

	/*
	 * Can this engine run guests of @arch on this host, for real? 0, or -errno with the
	 * reason in @reason. Fast (below 20 ms) and without side effects.
	 */
	int (*probe)(enum squib_arch arch, struct fault *reason);

	/* Make an engine. Cheap: starts no process, takes no guest memory. */
	int (*create)(const struct engine_params *params, struct engine **ret_engine,
		      struct fault *fault);
	void (*destroy)(struct engine *engine);	/* accepts NULL; nothing is left running */

	/*
	 * Is everything in the description something this engine can give? Faults are whole texts behind
	 * "Start microvm error: ". Also called by start.
	 */
	int (*check)(struct engine *engine, const struct squib_machine *description,
		     struct fault *fault);
	/* Build and run the machine. On failure nothing is left and start may be tried again. Faults as in contract 4.3, behind "Start microvm error: ". */
	int (*start)(struct engine *engine, const struct engine_machine *machine, struct fault *fault);
	/* Idempotent. Faults behind "Internal VMM error: ". */
	int (*pause)(struct engine *engine, struct fault *fault);
	int (*resume)(struct engine *engine, struct fault *fault);
	/* NULL when the engine has no such thing. */
	int (*send_ctrl_alt_del)(struct engine *engine, struct fault *fault);
	/*
	 * Change a virtio drive while the guest runs: another file, opened by the caller as the
	 * drive needs it (@file_fd, not taken over; -1: the file stays), or other limits. NULL when
	 * the engine cannot. Faults behind "Drive config error: Unable to patch the block device: ".
	 */
	int (*update_drive)(struct engine *engine, const struct squib_drive_update *update,
			    int file_fd, struct fault *fault);
	/*
	 * Other limits for a network interface, which is there. NULL when the engine has none. Faults
	 * behind "Network config error: Unable to update the net device: ".
	 */
	int (*update_network_interface)(struct engine *engine,
					const struct squib_network_interface_update *update,
					struct fault *fault);
	/* Offer bytes to the guest's serial console; how many were taken, 0 when it is full. */
	size_t (*serial_input)(struct engine *engine, const void *data, size_t len);
	/* Console output can be taken again; may call the listener's serial_output() from within. */
	void (*serial_output_ready)(struct engine *engine);
};

/* What all engines begin with. */
struct engine {
	const struct engine_ops *ops;
};

extern const struct engine_ops engine_kvm;
extern const struct engine_ops engine_qemu;
extern const struct engine_ops engine_mock;

#endif
