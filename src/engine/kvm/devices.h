/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio devices of a machine, each in a page of registers of its own, with its doorbells and its
 * line connected to KVM.
 */
#ifndef SQUIB_ENGINE_KVM_DEVICES_H
#define SQUIB_ENGINE_KVM_DEVICES_H

#include "engine/engine.h"
#include "engine/kvm/arch.h"

struct device_set;
struct devices;

/**
 * devices_new() - make the devices of @machine, in attach order (contract 4.4)
 *
 * The monitor's thread, as all but devices_access(). Return: 0, or -errno with @fault, a whole text
 * behind "Start microvm error: ".
 */
int devices_new(const struct engine_params *params, const struct vm *vm, struct guest_mem *mem,
		const struct engine_machine *machine, struct devices **ret_devices,
		struct fault *fault);
void devices_free(struct devices *devices);	/* accepts NULL; no vCPU runs any more */

/** devices_list() - where they are, and what; the drives are of the description given at the start */
const struct cmdline_device *devices_list(const struct devices *devices, size_t *ret_count);

/** devices_access() - memory-mapped I/O; nothing happens where no device is. vCPU threads */
void devices_access(struct devices *devices, uint64_t address, uint8_t *data, uint32_t len,
		    bool is_write);

/** devices_pause() / devices_resume() - stop serving queues, and go on; idempotent */
void devices_pause(struct devices *devices);
void devices_resume(struct devices *devices);

/** devices_set() - to find them by their ids */
struct device_set *devices_set(struct devices *devices);

#endif
