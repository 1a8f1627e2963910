/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest of kvm_probe(): what of it belongs to the architecture. Each has its own self_test.c,
 * chosen by the build.
 *
 * The guest says which step it takes next, tries an instruction or two, and at the end says that all
 * was well, once for each time it has gone round a loop. It says everything with accesses that make
 * it exit.
 *
 * Threads: all functions run in a forked child of a process with threads, so they may call nothing
 * but system calls, and allocate nothing.
 */
#ifndef SQUIB_ENGINE_KVM_SELF_TEST_H
#define SQUIB_ENGINE_KVM_SELF_TEST_H

#include <stddef.h>
#include <stdint.h>

#include <squib/controller.h>

struct kvm_run;

#define SELF_TEST_BYTES	0x10000		/* of guest memory */
#define SELF_TEST_LOOPS	100000	/* between two words of a guest that is well */

enum self_test_outcome {
	SELF_TEST_GOOD,
	SELF_TEST_OPEN,		/* detail: errno of opening /dev/kvm */
	SELF_TEST_VERSION,	/* detail: the API version */
	SELF_TEST_SETUP,	/* detail: errno */
	SELF_TEST_RUN,		/* detail: errno of KVM_RUN */
	SELF_TEST_EXIT,		/* detail: an exit reason the guest does not cause */
	SELF_TEST_EXCEPTION,	/* detail: its number, as the architecture counts them */
	SELF_TEST_WRONG,	/* an instruction gave a wrong result */
	SELF_TEST_SLOW,		/* detail: times slower than native */
};

struct self_test {
	int kvm_fd, vm_fd, vcpu_fd;	/* -1: not there yet */
	uint8_t *memory;		/* SELF_TEST_BYTES, zero at first; NULL: not there yet */
	struct kvm_run *run;
};

struct self_test_guest {
	enum squib_arch arch;
	const char *const *steps;	/* their names: "its first instruction", "xsave64" */
	uint32_t step_count;
	uint64_t address;		/* where the guest sees the memory */

	/** vm_type() - what KVM_CREATE_VM is asked for; -errno */
	long (*vm_type)(int kvm_fd);

	/** vm_setup() - what comes before the vCPU; 0 or -errno. NULL: nothing does */
	int (*vm_setup)(struct self_test *test);

	/** vcpu_setup() - fill the memory and the registers; 0 or -errno */
	int (*vcpu_setup)(struct self_test *test);

	/** step() - which one the guest is at; any number. There is a vCPU */
	uint64_t (*step)(const struct self_test *test);

	/** exited() - what it means that KVM_RUN has returned 0 */
	enum self_test_outcome (*exited)(const struct self_test *test, uint32_t *ret_detail);

	/** loop() - what the guest does between two words */
	void (*loop)(void);
};

/* NULL: KVM is not for this architecture, or we have no guest for it */
extern const struct self_test_guest *const self_test_guest;

#endif
