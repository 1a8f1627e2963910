/* SPDX-License-Identifier: Apache-2.0 */
/* A KVM virtual machine: its memory slots, interrupt lines and doorbells. The monitor's thread only. */
#ifndef SQUIB_ENGINE_KVM_VM_H
#define SQUIB_ENGINE_KVM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fault.h"
#include "mem/guest_mem.h"

struct vm {
	int fd;			/* -1: none */
	int kvm_fd;
	size_t run_bytes;	/* of the struct kvm_run that a vCPU shares with us */
};

#define VM_NONE ((struct vm){ .fd = -1, .kvm_fd = -1 })

/**
 * vm_open() - open KVM and make a machine, with nothing in it
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: " (contract 4.3).
 */
int vm_open(struct vm *ret_vm, struct fault *fault);

/** vm_close() - the kernel's part of the machine goes with its last descriptor, so vCPUs' first */
void vm_close(struct vm *vm);

/** vm_add_memory() - show @mem to the guest; it must outlive the machine. Faults as vm_open() */
int vm_add_memory(const struct vm *vm, const struct guest_mem *mem, bool track_dirty,
		  struct fault *fault);

/** vm_add_irq() - a signal on the eventfd @fd is an edge on line @gsi; 0 or -errno */
int vm_add_irq(const struct vm *vm, int fd, uint32_t gsi);

/** vm_add_doorbell() - a 4-byte write of @value at @address signals the eventfd @fd; 0 or -errno */
int vm_add_doorbell(const struct vm *vm, int fd, uint64_t address, uint32_t value);

/** vm_fault() - "Error with the KvmVm object: ‹what›: ‹io›"; returns @error */
int vm_fault(struct fault *fault, int error, const char *what);

#endif
