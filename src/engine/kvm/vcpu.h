/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vCPUs of a machine, each with a thread of its own that only runs the guest and hands over its
 * exits.
 *
 * Threads: the functions are the monitor's; the listener is called by the vCPUs' threads.
 */
#ifndef SQUIB_ENGINE_KVM_VCPU_H
#define SQUIB_ENGINE_KVM_VCPU_H

#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "engine/kvm/vm.h"

struct kvm_run;
struct vcpus;

enum vcpu_verdict {
	VCPU_GO_ON,
	VCPU_GUEST_ENDED,	/* it asked for power-off or reset */
	VCPU_FAILED,		/* it cannot go on; why is in the log */
};

struct vcpus_listener {
	/* The guest left to us, for port or memory-mapped I/O. */
	enum vcpu_verdict (*exited)(struct vcpus_listener *listener, struct kvm_run *run);
	/* A vCPU will not run again, by anything but VCPU_GO_ON. */
	void (*ended)(struct vcpus_listener *listener, enum vcpu_verdict verdict);
};

/**
 * vcpus_new() - make @count vCPUs; none has a thread yet
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: ".
 */
int vcpus_new(const struct vm *vm, size_t count, struct log *log, struct metrics *metrics,
	      struct vcpus_listener *listener, struct vcpus **ret_vcpus, struct fault *fault);

/** vcpus_free() - stop them and their threads for good; accepts NULL */
void vcpus_free(struct vcpus *vcpus);

/** vcpus_fd() - of vCPU @index, to set it up with */
int vcpus_fd(const struct vcpus *vcpus, size_t index);

/**
 * vcpus_start() - give each its thread, paused; faults as vcpus_new(). Once
 *
 * When it returns, the threads have their names, by which scripts find and pin them.
 */
int vcpus_start(struct vcpus *vcpus, struct fault *fault);

/**
 * vcpus_pause() - stop them all; when it returns, none is in the guest or in the listener
 *
 * What a vCPU was doing for the guest is complete: its state could be saved. Idempotent.
 *
 * Return: 0, or -ETIMEDOUT when one did not stop in time. It will as soon as it can, unless
 * vcpus_resume() comes first.
 */
int vcpus_pause(struct vcpus *vcpus);

/** vcpus_resume() - let them run; idempotent. Those that have ended stay so */
void vcpus_resume(struct vcpus *vcpus);

#endif
