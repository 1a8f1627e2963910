/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest reads by the cpuid instruction, as a list for KVM_SET_CPUID2, and what of it a
 * monitor has to decide: identity, topology, and what a guest must not have. No system calls: the
 * host's own cpuid instruction is passed in.
 */
#ifndef SQUIB_ENGINE_KVM_X86_64_CPUID_H
#define SQUIB_ENGINE_KVM_X86_64_CPUID_H

#include <squib/config.h>

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"

#define CPUID_ENTRIES_MAX 256	/* KVM_MAX_CPUID_ENTRIES */
#define CPUID_SIZE_BYTES(count) \
	(sizeof(struct kvm_cpuid2) + (count) * sizeof(struct kvm_cpuid_entry2))

enum cpuid_vendor {
	CPUID_VENDOR_OTHER,
	CPUID_VENDOR_INTEL,
	CPUID_VENDOR_AMD,
};

/* One package, and cores of equally many threads; APIC ids count threads from 0. */
struct cpuid_topology {
	uint32_t cpus;			/* threads in all: 1 to 128 */
	uint32_t threads_per_core;	/* 1 or 2 */
};

/* Fills the registers of @entry for its function and index, as the host's instruction does. */
typedef void cpuid_host(struct kvm_cpuid_entry2 *entry);

void cpuid_read_host(struct kvm_cpuid_entry2 *entry);	/* the real one */

/** cpuid_find() - the entry of a leaf and its subleaf (0 where there are none), or NULL */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf);

/** cpuid_vendor() - by the registers of leaf 0 */
enum cpuid_vendor cpuid_vendor(const struct kvm_cpuid_entry2 *leaf_0);

/** cpuid_signature() - family, model and stepping, from EAX of leaf 1; reserved bits are 0 */
uint32_t cpuid_signature(uint32_t eax);

/* One register of one leaf: new = (old & ~filter) | value */
struct cpuid_change {
	uint32_t leaf;
	uint32_t subleaf;
	uint32_t flags;			/* KVM_CPUID_FLAG_, which the entry gets */
	enum squib_cpuid_register reg;
	uint32_t filter;
	uint32_t value;
};

/**
 * cpuid_change() - as a template says
 *
 * Return: 0; or -ENOENT with @fault, a whole text behind "Start microvm error: ", when there is no
 * such leaf, as KVM does not support it.
 */
int cpuid_change(struct kvm_cpuid2 *cpuid, const struct cpuid_change *change, struct fault *fault);

/**
 * cpuid_normalise() - make what KVM supports, and a template changed, right for a machine
 * @cpuid: has room for CPUID_ENTRIES_MAX entries; some may be added
 * @vendor: of the host
 *
 * All that the vCPUs of a machine have in common; cpuid_place() does the rest. Leaves that are
 * missing because the host is too old for them stay so; leaf 1 is needed.
 *
 * Return: 0, or -errno with @fault.
 */
int cpuid_normalise(struct kvm_cpuid2 *cpuid, enum cpuid_vendor vendor,
		    const struct cpuid_topology *topology, cpuid_host *host, struct fault *fault);

/** cpuid_place() - make a normalised list that of vCPU @index, whose APIC id is the same */
void cpuid_place(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology, uint32_t index);

#define CPUID_BRAND_BYTES 48

/**
 * cpuid_brand_intel() - the name of an Intel CPU: a general one, with the host's frequency
 * @host: the host's, CPUID_BRAND_BYTES, maybe without NUL
 */
void cpuid_brand_intel(const char *host, char ret_brand[CPUID_BRAND_BYTES]);

#endif
