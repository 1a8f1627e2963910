/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine description: all accepted configs and what they add up to. The controller owns one,
 * checks each change against it before the change is queued, applies the change when the monitor
 * has acknowledged it, and renders GET bodies from it. Not thread-safe.
 *
 * Checks here are those that need no host (contract 2 and 3.1): bounds, root devices, MAC
 * addresses, ids that mmds/config names, memory against balloon... Faults carry the full text that
 * clients get, with the class prefix.
 */
#ifndef SQUIB_CONFIG_MACHINE_H
#define SQUIB_CONFIG_MACHINE_H

#include <squib/action.h>
#include <squib/controller.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/fault.h"

struct machine;

struct machine_rules {
	enum squib_arch arch;
	enum squib_smt smt;
	bool pci;
	struct squib_limits limits;	/* mmds_bytes already defaulted */
};

/** machine_new() - one vCPU, 128 MiB, nothing else; @rules are copied. 0 or -ENOMEM */
int machine_new(const struct machine_rules *rules, struct machine **ret_machine);
void machine_free(struct machine *machine);		/* accepts NULL */

/**
 * machine_check() - may this change be made?
 * @post_boot: the machine is running or paused (phase itself was checked by the caller)
 * @id: path id for drives, interfaces and pmem; the only input of DELETE
 * @config: as decoded; NULL for DELETE
 *
 * For PUT and PATCH /mmds use machine_check_mmds(). Types that change no config pass, but for
 * those that ask a balloon for what it was not configured for (statistics, hinting).
 *
 * Not checked here, for the monitor to do: everything about a device this description does not
 * know (PATCH and DELETE), all of DELETE, PCI and used ids of post-boot PUT, the size of PATCH
 * /hotplug/memory (upstream looks at the driver first), boot_args (files come first).
 *
 * Return: 0, or with the client's text in @fault -EINVAL, or -ESTALE: refused too, and the one
 * before has to go by machine_lose() (contract 3.1, network interface).
 */
int machine_check(const struct machine *machine, enum squib_action_type type, bool post_boot,
		  const char *id, const void *config, struct fault *fault);

/**
 * boot_args_check() - are these boot arguments a kernel command line? (contract 2.3)
 * @args: NULL passes: the default
 *
 * For the monitor, once it has opened the kernel and the initrd.
 *
 * Return: 0, or -EINVAL with the client's text in @fault.
 */
int boot_args_check(const char *args, struct fault *fault);

/**
 * machine_check_mmds() - compute the data store a PUT or PATCH /mmds leads to
 * @data: body is set; document is filled in, in @arena
 *
 * Return: 0; -EINVAL with @fault (400); -EFBIG with @fault (413, contract 2.12); -ENOMEM.
 */
int machine_check_mmds(const struct machine *machine, enum squib_action_type type, bool post_boot,
		       struct arena *arena, struct squib_mmds_data *data, struct fault *fault);

/**
 * machine_apply() - the change was made: take it over (contract 3.1)
 * @arena: owns @config; a reference is taken for as long as it is part of the description. May be
 *	NULL with PATCH (but for /mmds) and DELETE, which keep nothing of @config
 *
 * @config was accepted by machine_check(). A device that the description does not know is left
 * alone by PATCH and DELETE.
 *
 * Return: 0 or -ENOMEM, and then nothing changed.
 */
int machine_apply(struct machine *machine, enum squib_action_type type, const char *id,
		  const void *config, struct arena *arena);

/** machine_lose() - the change failed and took the old resource with it (squib_action_fail_lost()) */
void machine_lose(struct machine *machine, enum squib_action_type type, const char *id);

/** machine_action_blocks_load() - does this type set the boot-path flag (contract 2.0)? */
bool machine_action_blocks_load(enum squib_action_type type);

/* The guest's live values of memory hotplug, for GET. */
void machine_set_plugged(struct machine *machine, uint64_t plugged_mib, uint64_t requested_mib);

/**
 * machine_view() - the whole machine in one struct, for InstanceStart
 * @arena: owns the arrays; everything they point to is kept alive by references @arena holds, see
 *	arena_keep()
 *
 * The view is of this moment; later changes do not reach it. Its mmds_config is NULL unless an
 * interface serves MMDS, and lists those that do.
 *
 * Return: 0, or -ENOMEM and *@ret_view is not written.
 */
int machine_view(const struct machine *machine, struct arena *arena,
		 const struct squib_machine **ret_view);

/*
 * GET bodies (contract 2.4, 2.6, 2.12, 3.2, 3.3). Each appends compact JSON to @out and returns true,
 * or returns false when there is nothing to show (no balloon, no memory hotplug).
 */
void machine_render_vm_config(const struct machine *machine, struct buf *out);
void machine_render_machine_config(const struct machine *machine, struct buf *out);
bool machine_render_balloon(const struct machine *machine, struct buf *out);
void machine_render_mmds(const struct machine *machine, struct buf *out);
bool machine_render_memory_hotplug(const struct machine *machine, struct buf *out);

bool machine_has_network_interface(const struct machine *machine, const char *id);

/** machine_has_boot_source() / machine_has_mmds_interface() - for InstanceStart and MMDS rules */
bool machine_has_boot_source(const struct machine *machine);
bool machine_has_mmds_interface(const struct machine *machine);

#endif
