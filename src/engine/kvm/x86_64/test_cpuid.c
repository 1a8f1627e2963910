/* SPDX-License-Identifier: Apache-2.0 */
/* On CPUs that are made up here; topology is read back as Linux reads it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/kvm/x86_64/cpuid.h"
#include "engine/kvm/x86_64/msr.h"
#include "engine/kvm/x86_64/templates.h"

#define SUBLEAF KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* Hosts. Features are all ones where a test wants to see what is cleared. */

static const struct kvm_cpuid_entry2 intel_leaves[] = {
	{ 0x0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69 },
	{ 0x1, 0, 0, 0x000606a6, 0xaa20ff07, UINT32_MAX & ~(1u << 24 | 1u << 31), UINT32_MAX },
	{ 0x4, 0, SUBLEAF, 0x7c07c121, 0x02c0003f, 0x3f, 0 },	/* L1 data, 8 cores share it */
	{ 0x4, 1, SUBLEAF, 0x7c07c122, 0x01c0003f, 0x3f, 0 },
	{ 0x4, 2, SUBLEAF, 0x7c07c143, 0x04c0003f, 0x3ff, 0 },	/* L2 */
	{ 0x4, 3, SUBLEAF, 0x7c0fc163, 0x02c0003f, 0xffff, 4 },	/* L3 */
	{ 0x4, 4, SUBLEAF, 0, 0, 0, 0 },
	{ 0x6, 0, 0, UINT32_MAX, 0, UINT32_MAX, 0 },
	{ 0x7, 0, SUBLEAF, 2, UINT32_MAX & ~(1u << 6 | 1u << 13), UINT32_MAX, UINT32_MAX },
	{ 0xa, 0, 0, 0x07300805, 1, 2, 0x8603 },
	{ 0xb, 0, SUBLEAF, 1, 2, 0x100, 9 },
	{ 0xd, 0, SUBLEAF, UINT32_MAX, 0, 0, 0 },
	{ 0xd, 1, SUBLEAF, UINT32_MAX, 0, 0, 0 },
	{ 0x1f, 0, SUBLEAF, 1, 2, 0x100, 9 },
	{ 0x1f, 1, SUBLEAF, 5, 0x20, 0x201, 9 },
	{ 0x1f, 2, SUBLEAF, 7, 0x40, 0x502, 9 },		/* dies */
	{ 0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d },
	{ 0x40000001, 0, 0, 0x01007efb, 0, 0, 0 },
	{ 0x80000000, 0, 0, 0x80000008, 0, 0, 0 },
	{ 0x80000001, 0, 0, 0, 0, UINT32_MAX, UINT32_MAX },
	{ 0x80000002, 0, 0, 0x65746e49, 0x2952286c, 0x6f655820, 0x2952286e },	/* Intel(R) Xeon(R) */
	{ 0x80000003, 0, 0, 0x616c5020, 0x756e6974, 0x3338206d, 0x43203537 },	/*  Platinum 8375 C */
	{ 0x80000004, 0, 0, 0x40205550, 0x392e3220, 0x7a484730, 0x00000000 },	/* PU @ 2.90GHz */
	{ 0x80000005, 0, 0, 0, 0, 0, 0 },
	{ 0x80000006, 0, 0, 0, 0, 0x01006040, 0x00030000 },
	{ 0x80000008, 0, 0, 0x3030, UINT32_MAX, 0, 0 },
};

static const struct kvm_cpuid_entry2 amd_leaves[] = {
	{ 0x0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65 },
	{ 0x1, 0, 0, 0x00a00f11, 0xaa40ff07, UINT32_MAX & ~(1u << 24 | 1u << 31), UINT32_MAX },
	{ 0x7, 0, SUBLEAF, 2, UINT32_MAX, UINT32_MAX, UINT32_MAX },
	{ 0xb, 0, SUBLEAF, 1, 2, 0x100, 9 },
	{ 0xd, 0, SUBLEAF, UINT32_MAX, 0, 0, 0 },
	{ 0xd, 1, SUBLEAF, UINT32_MAX, 0, 0, 0 },
	{ 0x80000000, 0, 0, 0x80000020, 0, 0, 0 },
	{ 0x80000001, 0, 0, 0x00a00f11, 0, UINT32_MAX & ~(1u << 22), UINT32_MAX },
	{ 0x80000002, 0, 0, 0x20444d41, 0x43595045, 0x31303720, 0x00000033 },
	{ 0x80000003, 0, 0, 0, 0, 0, 0 },
	{ 0x80000004, 0, 0, 0, 0, 0, 0 },
	{ 0x80000005, 0, 0, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140 },
	{ 0x80000006, 0, 0, 0x48002200, 0x68004200, 0x02006140, 0x01009140 },
	{ 0x80000008, 0, 0, 0x3030, UINT32_MAX, 0x703f, 0 },
	{ 0x8000001d, 0, SUBLEAF, 0x00004121, 0x01c0003f, 0x3f, 0 },
	{ 0x8000001d, 1, SUBLEAF, 0x00004122, 0x01c0003f, 0x3f, 0 },
	{ 0x8000001d, 2, SUBLEAF, 0x00004143, 0x01c0003f, 0x3ff, 2 },
	{ 0x8000001d, 3, SUBLEAF, 0x0003c163, 0x03c0003f, 0x7fff, 1 },
	{ 0x8000001e, 0, 0, 9, 0x0104, 0x0300, 0 },
};

struct host {
	enum cpuid_vendor vendor;
	const struct kvm_cpuid_entry2 *leaves;
	size_t count;
	cpuid_host *read;
};

static void read_from(const struct kvm_cpuid_entry2 *leaves, size_t count,
		      struct kvm_cpuid_entry2 *entry)
{
	entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
	for (size_t i = 0; i < count; i++)
		if (leaves[i].function == entry->function && leaves[i].index == entry->index) {
			entry->eax = leaves[i].eax;
			entry->ebx = leaves[i].ebx;
			entry->ecx = leaves[i].ecx;
			entry->edx = leaves[i].edx;
		}
}

static void read_intel(struct kvm_cpuid_entry2 *entry)
{
	read_from(intel_leaves, ARRAY_SIZE(intel_leaves), entry);
}

static void read_amd(struct kvm_cpuid_entry2 *entry)
{
	read_from(amd_leaves, ARRAY_SIZE(amd_leaves), entry);
}

static const struct host intel = { CPUID_VENDOR_INTEL, intel_leaves, ARRAY_SIZE(intel_leaves),
				   read_intel };
static const struct host amd = { CPUID_VENDOR_AMD, amd_leaves, ARRAY_SIZE(amd_leaves), read_amd };
static const struct host *const hosts[] = { &intel, &amd };

/* What KVM gives: the host's leaves but some. To be freed. */
static struct kvm_cpuid2 *supported(const struct host *host)
{
	struct kvm_cpuid2 *cpuid = calloc(1, CPUID_SIZE_BYTES(CPUID_ENTRIES_MAX));

	assert_non_null(cpuid);
	for (size_t i = 0; i < host->count; i++)
		if (host->leaves[i].function < 0x8000001d)	/* on AMD, by a pass through */
			cpuid->entries[cpuid->nent++] = host->leaves[i];
	return cpuid;
}

static struct kvm_cpuid2 *normalised(const struct host *host, uint32_t cpus, uint32_t threads,
				     uint32_t index)
{
	struct kvm_cpuid2 *cpuid = supported(host);
	struct cpuid_topology topology = { .cpus = cpus, .threads_per_core = threads };

	assert_int_equal(cpuid_normalise(cpuid, host->vendor, &topology, host->read, NULL), 0);
	cpuid_place(cpuid, &topology, index);
	return cpuid;
}

static struct kvm_cpuid_entry2 leaf(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, function, index);

	if (entry == NULL)
		fail_msg("no leaf %x.%x", function, index);
	return *entry;
}

/* As Linux does */

static unsigned int count_order(uint32_t count)	/* get_count_order() */
{
	unsigned int order = 0;

	while ((1u << order) < count)
		order++;
	return order;
}

struct place {
	uint32_t apic_id, thread, core, package;
	uint32_t cache_id[4];		/* by level: equal for those that share it */
	uint32_t logical, cores_max;	/* 0: not told */
};

/* arch/x86/kernel/cpu/topology_ext.c */
static void read_topology(struct kvm_cpuid2 *cpuid, uint32_t function, struct place *place)
{
	struct kvm_cpuid_entry2 smt = leaf(cpuid, function, 0), core = leaf(cpuid, function, 1);

	assert_int_equal(smt.ecx, 0x100);
	assert_int_equal(core.ecx, 0x201);
	assert_int_equal(smt.edx, core.edx);
	assert_true(smt.ebx > 0 && core.ebx >= smt.ebx);
	assert_true(smt.flags == SUBLEAF && core.flags == SUBLEAF);
	assert_int_equal(1u << smt.eax, smt.ebx);
	assert_true(1u << core.eax >= core.ebx);
	place->apic_id = smt.edx;
	place->thread = smt.edx & ((1u << smt.eax) - 1);
	place->core = smt.edx >> smt.eax;
	place->package = smt.edx >> core.eax;
	place->logical = core.ebx;
	if (cpuid_find(cpuid, function, 2) != NULL)
		assert_int_equal(leaf(cpuid, function, 2).ecx, 2);	/* level type 0: the end */
}

/* arch/x86/kernel/cpu/cacheinfo.c */
static void read_caches(struct kvm_cpuid2 *cpuid, uint32_t function, struct place *place)
{
	struct kvm_cpuid_entry2 *cache;

	for (uint32_t i = 0; (cache = cpuid_find(cpuid, function, i)) != NULL; i++) {
		uint32_t sharing = (cache->eax >> 14 & 0xfff) + 1;

		if ((cache->eax & 0x1f) == 0)
			return;
		place->cache_id[cache->eax >> 5 & 3] = place->apic_id >> count_order(sharing);
		if (function == 4)
			place->cores_max = (cache->eax >> 26) + 1;
	}
}

static struct place read_place(const struct host *host, uint32_t cpus, uint32_t threads,
			       uint32_t index)
{
	struct kvm_cpuid2 *cpuid = normalised(host, cpus, threads, index);
	struct kvm_cpuid_entry2 features = leaf(cpuid, 1, 0);
	struct place place = { 0 }, v2 = { 0 };

	read_topology(cpuid, 0xb, &place);
	if (host == &intel) {
		read_topology(cpuid, 0x1f, &v2);
		assert_memory_equal(&place, &v2, sizeof(v2));
	}
	read_caches(cpuid, host == &intel ? 4 : 0x8000001d, &place);
	assert_int_equal(features.ebx >> 24, place.apic_id);
	assert_int_equal(features.ebx >> 16 & 0xff, 1u << count_order(cpus));
	assert_int_equal(features.edx >> 28 & 1, cpus > 1);
	if (host == &amd) {	/* arch/x86/kernel/cpu/topology_amd.c */
		struct kvm_cpuid_entry2 node = leaf(cpuid, 0x8000001e, 0);

		assert_int_equal(node.eax, place.apic_id);
		assert_int_equal(node.ebx & 0xff, place.core);
		assert_int_equal((node.ebx >> 8 & 0xff) + 1, threads);
		assert_int_equal(node.ecx & 0x7ff, 0);
		assert_int_equal((leaf(cpuid, 0x80000008, 0).ecx & 0xff) + 1, cpus);
		assert_int_equal(leaf(cpuid, 0x80000008, 0).ecx >> 12 & 0xf, 7);
	}
	free(cpuid);
	return place;
}

static void check_places(const struct host *host, uint32_t cpus, uint32_t threads)
{
	for (uint32_t i = 0; i < cpus; i++) {
		struct place place = read_place(host, cpus, threads, i);

		assert_int_equal(place.apic_id, i);
		assert_int_equal(place.thread, i % threads);
		assert_int_equal(place.core, i / threads);
		assert_int_equal(place.package, 0);
		assert_int_equal(place.logical, cpus);
		assert_int_equal(place.cache_id[1], place.core);
		assert_int_equal(place.cache_id[2], place.core);
		assert_int_equal(place.cache_id[3], 0);
		if (host == &intel)
			assert_int_equal(place.cores_max, cpus / threads);
	}
}

static void each_vcpu_finds_its_place(void **state)
{
	static const uint32_t counts[] = { 1, 2, 3, 4, 6, 31, 32 };

	(void)state;
	for (size_t h = 0; h < ARRAY_SIZE(hosts); h++)
		for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
			check_places(hosts[h], counts[i], 1);
			if (counts[i] % 2 == 0)
				check_places(hosts[h], counts[i], 2);
		}
}

static void features_are_those_of_a_microvm(void **state)
{
	struct kvm_cpuid2 *cpuid = normalised(&intel, 2, 1, 0);

	(void)state;
	assert_int_equal(leaf(cpuid, 1, 0).ebx >> 8 & 0xff, 8);
	assert_int_equal(leaf(cpuid, 1, 0).ebx & 0xff, 7);
	assert_int_equal(leaf(cpuid, 1, 0).ecx, UINT32_MAX & ~(1u << 15));
	assert_int_equal(leaf(cpuid, 1, 0).eax, 0x000606a6);
	assert_int_equal(leaf(cpuid, 6, 0).eax, UINT32_MAX & ~(1u << 1));
	assert_int_equal(leaf(cpuid, 6, 0).ecx, UINT32_MAX & ~(1u << 3));
	assert_int_equal(leaf(cpuid, 7, 0).ebx, UINT32_MAX);
	assert_int_equal(leaf(cpuid, 7, 0).ecx, UINT32_MAX & ~(1u << 5));
	assert_int_equal(leaf(cpuid, 7, 0).edx, UINT32_MAX);
	assert_int_equal(leaf(cpuid, 0xa, 0).eax | leaf(cpuid, 0xa, 0).ebx |
			 leaf(cpuid, 0xa, 0).ecx | leaf(cpuid, 0xa, 0).edx, 0);
	assert_int_equal(leaf(cpuid, 0x80000006, 0).edx, 0);	/* reserved bits */
	assert_int_equal(leaf(cpuid, 0x40000000, 0).ebx, 0x4b4d564b);
	assert_int_equal(leaf(cpuid, 0x40000001, 0).eax, 0x01007efb);
	free(cpuid);

	cpuid = normalised(&amd, 2, 1, 0);
	assert_int_equal(leaf(cpuid, 1, 0).ecx, UINT32_MAX & ~(1u << 15));
	assert_int_equal(leaf(cpuid, 7, 0).edx, UINT32_MAX & ~(1u << 29));
	assert_int_equal(leaf(cpuid, 7, 0).ecx, UINT32_MAX);
	assert_int_equal(leaf(cpuid, 0x80000001, 0).ecx, UINT32_MAX);
	assert_int_equal(leaf(cpuid, 0x80000005, 0).eax, 0xff40ff40);
	assert_int_equal(leaf(cpuid, 0x80000006, 0).edx, 0x01009140);
	free(cpuid);
}

/* A template may say what it wants of the vendor and of the leaves that are passed through. */
static void the_host_is_not_hidden(void **state)
{
	static const uint32_t passed[] = { 0x0, 0x80000005, 0x80000006 };
	struct cpuid_topology topology = { .cpus = 1, .threads_per_core = 1 };

	(void)state;
	for (size_t h = 0; h < ARRAY_SIZE(hosts); h++) {
		struct kvm_cpuid2 *cpuid = supported(hosts[h]);
		struct kvm_cpuid2 *untouched = normalised(hosts[h], 1, 1, 0);

		for (size_t i = 0; i < ARRAY_SIZE(passed); i++) {
			struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, passed[i], 0);

			entry->ebx = entry->ecx = entry->edx = 0x5a5a5a5a;
		}
		assert_int_equal(cpuid_normalise(cpuid, hosts[h]->vendor, &topology,
						 hosts[h]->read, NULL), 0);
		cpuid_place(cpuid, &topology, 0);
		assert_int_equal(cpuid->nent, untouched->nent);
		assert_memory_equal(cpuid, untouched, CPUID_SIZE_BYTES(cpuid->nent));
		free(cpuid);
		free(untouched);
	}
}

/* No leaf but 0 and 1: an old CPU, or a poor emulation of one */
static void what_a_cpu_has_not_is_not_missed(void **state)
{
	static const struct host poor_intel = { CPUID_VENDOR_INTEL, intel_leaves, 2, read_intel };
	struct cpuid_topology topology = { .cpus = 2, .threads_per_core = 1 };
	struct kvm_cpuid2 *cpuid = supported(&poor_intel);

	(void)state;
	cpuid->entries[0].eax = 1;
	assert_int_equal(cpuid_normalise(cpuid, poor_intel.vendor, &topology, read_intel, NULL), 0);
	assert_int_equal(cpuid->nent, 2);
	free(cpuid);
}

static void what_cannot_be_is_refused(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct cpuid_topology topology = { .cpus = 2, .threads_per_core = 1 };
	struct kvm_cpuid2 *cpuid = supported(&amd);

	(void)state;
	while (cpuid->nent < CPUID_ENTRIES_MAX)		/* full: no room for 0x8000001e */
		cpuid->entries[cpuid->nent++].function = 0x50000000;
	assert_int_equal(cpuid_normalise(cpuid, amd.vendor, &topology, amd.read, &fault), -E2BIG);
	cpuid->nent = 1;
	assert_int_equal(cpuid_normalise(cpuid, amd.vendor, &topology, amd.read, &fault), -ENOENT);
	assert_string_equal(fault_text(&fault), "Failed to set feature information leaf: "
			    "Leaf 0x1 is missing from CPUID.");
	free(cpuid);
}

/* Brand strings */

static void an_intel_brand_keeps_the_frequency(void **state)
{
	static const struct { const char *host, *want; } cases[] = {
		{ "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz",
		  "Intel(R) Xeon(R) Processor @ 2.90GHz" },
		{ "Intel(R) Xeon(R) Gold CPU, any @ 900MHz (sample)",
		  "Intel(R) Xeon(R) Processor @ 900MHz (sample)" },	/* what follows stays */
		{ "Intel(R) Xeon(R) Processor in Vats @ 12.345THz",
		  "Intel(R) Xeon(R) Processor @ 12.345THz" },
		{ "Intel(R) Xeon(R) CPU of some length       3.3GHz",
		  "Intel(R) Xeon(R) Processor @ 3.3GHz" },	/* no NUL behind it */
		{ "Intel(R) Xeon(R) CPU of some length       @2.9GH",
		  "Intel(R) Xeon(R) Processor" },	/* cut off, no space */
		{ "Intel(R) Xeon(R) CPU of some length     @2.9GHz",
		  "Intel(R) Xeon(R) Processor" },	/* no space before it */
		{ "Intel(R) Xeon(R) CPU of some length       3.300G",
		  "Intel(R) Xeon(R) Processor" },	/* the unit is cut off */
		{ "3.00GHz",
		  "Intel(R) Xeon(R) Processor" },	/* nothing before it */
		{ "Intel(R) Xeon(R) Platinum 8488C",
		  "Intel(R) Xeon(R) Processor" },	/* none */
		{ "Intel(R) Xeon(R) CPU @ 2.20GHz",
		  "Intel(R) Xeon(R) Processor" },	/* no room for the NULs behind it */
		{ "",
		  "Intel(R) Xeon(R) Processor" },	/* none */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char host[CPUID_BRAND_BYTES] = { 0 }, want[CPUID_BRAND_BYTES] = { 0 };
		char brand[CPUID_BRAND_BYTES + 1] = { 0 };

		memcpy(host, cases[i].host, strlen(cases[i].host));
		memcpy(want, cases[i].want, strlen(cases[i].want));
		cpuid_brand_intel(host, brand);
		assert_string_equal(brand, cases[i].want);
		assert_memory_equal(brand, want, sizeof(want));		/* NULs behind it */
	}
}

static void assert_brand(const struct host *host, const char *want)
{
	struct kvm_cpuid2 *cpuid = normalised(host, 1, 1, 0);
	char brand[CPUID_BRAND_BYTES + 1] = { 0 };

	for (uint32_t i = 0; i < 3; i++)
		memcpy(brand + i * 16, &cpuid_find(cpuid, 0x80000002 + i, 0)->eax, 16);
	assert_string_equal(brand, want);
	free(cpuid);
}

static void a_guest_reads_the_brand(void **state)
{
	(void)state;
	assert_brand(&intel, "Intel(R) Xeon(R) Processor @ 2.90GHz");
	assert_brand(&amd, "AMD EPYC");
}

/* Changes */

static void a_change_filters_and_then_sets(void **state)
{
	static const struct { uint32_t old, filter, value, want; } cases[] = {
		{ 0xffffffff, 0x00000000, 0x00000000, 0xffffffff },
		{ 0xffffffff, 0xffffffff, 0x00000000, 0x00000000 },
		{ 0x00000000, 0xffffffff, 0xffffffff, 0xffffffff },
		{ 0x12345678, 0x0000ffff, 0x0000abcd, 0x1234abcd },
		{ 0x12345678, 0x00000000, 0x80000001, 0x92345679 },	/* set without filter */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int reg = SQUIB_CPUID_EAX; reg <= SQUIB_CPUID_EDX; reg++) {
			struct kvm_cpuid2 *cpuid = supported(&intel);
			struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0x4, 1);
			uint32_t *regs = &entry->eax;
			struct cpuid_change change = { .leaf = 4, .subleaf = 1, .flags = 5, .reg = reg,
						       .filter = cases[i].filter,
						       .value = cases[i].value };

			regs[reg] = cases[i].old;
			assert_int_equal(cpuid_change(cpuid, &change, NULL), 0);
			assert_int_equal(regs[reg], cases[i].want);
			assert_int_equal(entry->flags, 5);
			assert_int_equal(cpuid_find(cpuid, 4, 0)->eax, 0x7c07c121);
			free(cpuid);
		}
}

static void a_leaf_that_kvm_has_not_cannot_be_changed(void **state)
{
	static const struct { uint32_t leaf, subleaf; const char *want; } cases[] = {
		{ 0x10, 0, "Leaf: 10, Subleaf: 0" },
		{ 0x4, 0x1f, "Leaf: 4, Subleaf: 1f" },
		{ 0x8000ffff, 0, "Leaf: 8000ffff, Subleaf: 0" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct kvm_cpuid2 *cpuid = supported(&intel);
		struct cpuid_change change = { .leaf = cases[i].leaf, .subleaf = cases[i].subleaf };

		assert_int_equal(cpuid_change(cpuid, &change, &fault), -ENOENT);
		assert_non_null(strstr(fault_text(&fault), "System configuration error: Failed to create "
				       "guest config: Template changes a CPUID entry not supported by "
				       "KVM: Leaf: "));
		assert_non_null(strstr(fault_text(&fault), cases[i].want));
		free(cpuid);
	}
}

static void changes_of_one_msr_add_up(void **state)
{
	struct msr_change changes[4];
	size_t count = 0;

	(void)state;
	msr_change_add(changes, &count, (struct msr_change){ 0x200, 0xff, 0x11 });
	msr_change_add(changes, &count, (struct msr_change){ 0x100, 0, 1 });
	msr_change_add(changes, &count, (struct msr_change){ 0x300, 0, 3 });
	msr_change_add(changes, &count, (struct msr_change){ 0x200, 0xf00f, 0x2000 });
	assert_int_equal(count, 3);
	assert_int_equal(changes[0].index, 0x100);
	assert_int_equal(changes[1].index, 0x200);
	assert_int_equal(changes[2].index, 0x300);
	assert_int_equal(changes[1].filter, 0xf0ff);
	assert_int_equal(changes[1].value, 0x2010);
}

/* Templates, by what they make of registers that are all ones, and all zeros */

static const struct {
	enum squib_cpu_template template;
	uint32_t leaf, subleaf;
	enum squib_cpuid_register reg;
	uint32_t ones, zeros;
} template_rows[] = {
	{ SQUIB_CPU_TEMPLATE_C3, 0x1, 0, SQUIB_CPUID_EAX, 0xf003c6e4, 0x000306e4 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x1, 0, SQUIB_CPUID_ECX, 0xffbf22c3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x1, 0, SQUIB_CPUID_EDX, 0x579bffff, 0x00001080 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x7, 0, SQUIB_CPUID_EBX, 0x005022c3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x7, 0, SQUIB_CPUID_ECX, 0xbfbeb7e1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x7, 0, SQUIB_CPUID_EDX, 0xfffffff3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0xd, 0, SQUIB_CPUID_EAX, 0xfffffd07, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0xd, 1, SQUIB_CPUID_EAX, 0xfffffff1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x80000001, 0, SQUIB_CPUID_ECX, 0xfffffedf, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_C3, 0x80000001, 0, SQUIB_CPUID_EDX, 0xfbffffff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x1, 0, SQUIB_CPUID_EAX, 0xf003c6f2, 0x000306f2 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x1, 0, SQUIB_CPUID_ECX, 0xfffb3203, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x1, 0, SQUIB_CPUID_EDX, 0x179bffff, 0x00001080 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x7, 0, SQUIB_CPUID_EBX, 0x001027eb, 0x00000200 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x7, 0, SQUIB_CPUID_ECX, 0xbfbea0a1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x7, 0, SQUIB_CPUID_EDX, 0xfffffee3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0xd, 0, SQUIB_CPUID_EAX, 0xfffffd07, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0xd, 1, SQUIB_CPUID_EAX, 0xfffffff1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x80000001, 0, SQUIB_CPUID_ECX, 0xdffffeff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x80000001, 0, SQUIB_CPUID_EDX, 0xfbffffff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2, 0x80000008, 0, SQUIB_CPUID_EBX, 0xfffffdff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x1, 0, SQUIB_CPUID_EAX, 0xf003c6f2, 0x000306f2 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x1, 0, SQUIB_CPUID_ECX, 0xfffb3203, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x1, 0, SQUIB_CPUID_EDX, 0x179bffff, 0x00001080 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x7, 0, SQUIB_CPUID_EBX, 0x001027eb, 0x00000200 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x7, 0, SQUIB_CPUID_ECX, 0xbfbea0a1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x7, 0, SQUIB_CPUID_EDX, 0xfffffee3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0xd, 0, SQUIB_CPUID_EAX, 0xfffffd07, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0xd, 1, SQUIB_CPUID_EAX, 0xfffffff1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x80000001, 0, SQUIB_CPUID_ECX, 0xdffffeff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x80000001, 0, SQUIB_CPUID_EDX, 0xfbffffff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2S, 0x80000008, 0, SQUIB_CPUID_EBX, 0xfffffdff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x1, 0, SQUIB_CPUID_EAX, 0xf003c6f2, 0x000306f2 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x1, 0, SQUIB_CPUID_ECX, 0xfffb3203, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x1, 0, SQUIB_CPUID_EDX, 0x179bffff, 0x00001080 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x7, 0, SQUIB_CPUID_EBX, 0x001027eb, 0x00000200 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x7, 0, SQUIB_CPUID_ECX, 0xbfbea0a1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x7, 0, SQUIB_CPUID_EDX, 0xfffffee3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0xd, 0, SQUIB_CPUID_EAX, 0xfffffd07, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0xd, 1, SQUIB_CPUID_EAX, 0xfffffff1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x80000001, 0, SQUIB_CPUID_ECX, 0xdffffe3f, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x80000001, 0, SQUIB_CPUID_EDX, 0xf83fffff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2CL, 0x80000008, 0, SQUIB_CPUID_EBX, 0xfffffdff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x1, 0, SQUIB_CPUID_EAX, 0xf003c6f2, 0x000306f2 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x1, 0, SQUIB_CPUID_ECX, 0xfffb3203, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x1, 0, SQUIB_CPUID_EDX, 0x179bffff, 0x00001080 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x7, 0, SQUIB_CPUID_EBX, 0x001027eb, 0x00000200 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x7, 0, SQUIB_CPUID_ECX, 0xbfbea0a1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x7, 0, SQUIB_CPUID_EDX, 0xfffffee3, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0xd, 0, SQUIB_CPUID_EAX, 0xfffffd07, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0xd, 1, SQUIB_CPUID_EAX, 0xfffffff1, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x80000001, 0, SQUIB_CPUID_ECX, 0xdffffe3b, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x80000001, 0, SQUIB_CPUID_EDX, 0xf9bfffff, 0x00000000 },
	{ SQUIB_CPU_TEMPLATE_T2A, 0x80000008, 0, SQUIB_CPUID_EBX, 0xfffffdfe, 0x001c0004 },
};

static void change_all(struct kvm_cpuid2 *cpuid, const struct cpu_template *template)
{
	for (size_t part = 0; part < TEMPLATE_PARTS; part++)
		for (size_t i = 0; i < template->cpuid[part].count; i++)
			assert_int_equal(cpuid_change(cpuid, &template->cpuid[part].changes[i], NULL), 0);
}

static const struct cpu_template *get(enum squib_cpu_template name)
{
	static const struct { enum cpuid_vendor vendor; uint32_t signature; } models[] = {
		{ CPUID_VENDOR_INTEL, 0x50657 }, { CPUID_VENDOR_AMD, 0xa00f11 },
	};
	const struct cpu_template *template = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(models); i++)
		if (cpu_template_get(name, models[i].vendor, models[i].signature, &template, NULL) == 0)
			return template;
	fail_msg("no template %d", name);
	return NULL;
}

/* The expected registers, and no other changed */
static void check_template(enum squib_cpu_template name, uint32_t fill)
{
	struct kvm_cpuid2 *cpuid = supported(&intel), *want;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		memset(&cpuid->entries[i].eax, (int)fill, 16);
	want = calloc(1, CPUID_SIZE_BYTES(CPUID_ENTRIES_MAX));
	assert_non_null(want);
	memcpy(want, cpuid, CPUID_SIZE_BYTES(cpuid->nent));
	for (size_t i = 0; i < ARRAY_SIZE(template_rows); i++)
		if (template_rows[i].template == name)
			(&cpuid_find(want, template_rows[i].leaf, template_rows[i].subleaf)->eax)
				[template_rows[i].reg] =
				fill == 0 ? template_rows[i].zeros : template_rows[i].ones;
	change_all(cpuid, get(name));
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (memcmp(&cpuid->entries[i], &want->entries[i], sizeof(*cpuid->entries)) != 0)
			fail_msg("template %d, leaf %x.%x", name, cpuid->entries[i].function,
				 cpuid->entries[i].index);
	free(want);
	free(cpuid);
}

static const enum squib_cpu_template static_templates[] = {
	SQUIB_CPU_TEMPLATE_C3, SQUIB_CPU_TEMPLATE_T2, SQUIB_CPU_TEMPLATE_T2S,
	SQUIB_CPU_TEMPLATE_T2CL, SQUIB_CPU_TEMPLATE_T2A,
};

static void a_template_changes_its_bits_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(static_templates); i++) {
		check_template(static_templates[i], 0);
		check_template(static_templates[i], 0xff);
	}
}

static void a_template_changes_its_msrs(void **state)
{
	static const struct { enum squib_cpu_template template; uint64_t filter, value; } cases[] = {
		{ SQUIB_CPU_TEMPLATE_T2S, 0xffffffffffffffff, 0x0c080c4c },
		{ SQUIB_CPU_TEMPLATE_T2CL, 0xffffffffe2f51e00, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct cpu_template *template = get(cases[i].template);

		assert_int_equal(template->msr_count, 1);
		assert_int_equal(template->msrs[0].index, 0x10a);
		assert_true(template->msrs[0].filter == cases[i].filter);
		assert_true(template->msrs[0].value == cases[i].value);
	}
	assert_int_equal(get(SQUIB_CPU_TEMPLATE_C3)->msr_count, 0);
	assert_int_equal(get(SQUIB_CPU_TEMPLATE_T2)->msr_count, 0);
	assert_int_equal(get(SQUIB_CPU_TEMPLATE_T2A)->msr_count, 0);
}

static void a_template_is_for_some_hosts(void **state)
{
	static const struct { enum cpuid_vendor vendor; uint32_t eax; } models[] = {
		{ CPUID_VENDOR_INTEL, 0x50654 },	/* Skylake */
		{ CPUID_VENDOR_INTEL, 0x50657 },	/* Cascade Lake */
		{ CPUID_VENDOR_INTEL, 0x606a6 },	/* Ice Lake */
		{ CPUID_VENDOR_INTEL, 0x806f8 },	/* Sapphire Rapids */
		{ CPUID_VENDOR_AMD, 0xa00f11 },	/* Milan */
		{ CPUID_VENDOR_AMD, 0xa10f11 },	/* Genoa */
	};
	static const struct { enum squib_cpu_template template; const char *hosts; } cases[] = {
		{ SQUIB_CPU_TEMPLATE_C3,   "yyynvv" }, { SQUIB_CPU_TEMPLATE_T2,   "yyynvv" },
		{ SQUIB_CPU_TEMPLATE_T2S,  "yynnvv" }, { SQUIB_CPU_TEMPLATE_T2CL, "nyynvv" },
		{ SQUIB_CPU_TEMPLATE_T2A,  "vvvvyn" },
		{ SQUIB_CPU_TEMPLATE_V1N1, "iiiiii" }, { SQUIB_CPU_TEMPLATE_NONE, "iiiiii" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t k = 0; k < ARRAY_SIZE(models); k++) {
			CLEANUP(fault_done) struct fault fault = FAULT_INIT;
			const struct cpu_template *template = NULL;
			int r = cpu_template_get(cases[i].template, models[k].vendor,
						 cpuid_signature(models[k].eax | 0xf000f000),
						 &template, &fault);
			const char *text = fault_text(&fault);

			assert_true((r == 0) == (template != NULL));
			switch (cases[i].hosts[k]) {
			case 'y':
				assert_int_equal(r, 0);
				break;
			case 'n':
				assert_string_equal(text, "Failed to get CPU template: The current CPU "
						    "model is not permitted to apply the CPU template.");
				break;
			case 'v':
				assert_string_equal(text, "Failed to get CPU template: CPU vendor "
						    "mismatched between actual CPU and CPU template.");
				break;
			case 'i':
				assert_non_null(strstr(text, "Failed to get CPU template: "
						       "Invalid static CPU template: "));
				break;
			}
		}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_vcpu_finds_its_place),
		cmocka_unit_test(features_are_those_of_a_microvm),
		cmocka_unit_test(the_host_is_not_hidden),
		cmocka_unit_test(what_a_cpu_has_not_is_not_missed),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(an_intel_brand_keeps_the_frequency),
		cmocka_unit_test(a_guest_reads_the_brand),
		cmocka_unit_test(a_change_filters_and_then_sets),
		cmocka_unit_test(a_leaf_that_kvm_has_not_cannot_be_changed),
		cmocka_unit_test(changes_of_one_msr_add_up),
		cmocka_unit_test(a_template_changes_its_bits_only),
		cmocka_unit_test(a_template_changes_its_msrs),
		cmocka_unit_test(a_template_is_for_some_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
