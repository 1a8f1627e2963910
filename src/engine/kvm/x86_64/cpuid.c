/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E. Firecracker says what it
 * does in docs/cpu_templates/cpuid-normalization.md; guests see the same here.
 *
 * A package is as large as the largest machine, 32 threads: the APIC ids of a machine of any size
 * then have the same parts, 5 bits for the place in the package, and with two threads per core the
 * lowest of them for the thread.
 */
#include "engine/kvm/x86_64/cpuid.h"

#include <assert.h>
#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define PACKAGE_BITS	5	/* of an APIC id: 32 vCPUs */
#define CACHES_MAX	16	/* subleaves of a cache leaf that are looked at */

#define LEAF_FEATURES		0x1
#define LEAF_CACHES		0x4
#define LEAF_POWER		0x6
#define LEAF_FEATURES_2		0x7
#define LEAF_PERFMON		0xa
#define LEAF_TOPOLOGY		0xb
#define LEAF_TOPOLOGY_V2	0x1f
#define LEAF_EXT_MAX		0x80000000
#define LEAF_EXT_FEATURES	0x80000001
#define LEAF_BRAND		0x80000002	/* and the two behind it */
#define LEAF_L1			0x80000005
#define LEAF_L2_L3		0x80000006
#define LEAF_EXT_SIZES		0x80000008
#define LEAF_EXT_CACHES		0x8000001d
#define LEAF_EXT_TOPOLOGY	0x8000001e

static void set_field(uint32_t *reg, unsigned int high, unsigned int low, uint32_t value)
{
	uint32_t mask = UINT32_MAX >> (31 - high + low) << low;

	*reg = (*reg & ~mask) | (value << low & mask);
}

static uint32_t get_field(uint32_t reg, unsigned int high, unsigned int low)
{
	return reg >> low & UINT32_MAX >> (31 - high + low);
}

static void set_bit(uint32_t *reg, unsigned int bit, bool on)
{
	set_field(reg, bit, bit, on);
}

void cpuid_read_host(struct kvm_cpuid_entry2 *entry)
{
	__cpuid_count(entry->function, entry->index, entry->eax, entry->ebx, entry->ecx,
		      entry->edx);
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == subleaf)
			return &cpuid->entries[i];
	return NULL;
}

/* The entry, added when it is missing; NULL when there is no room */
static struct kvm_cpuid_entry2 *find_or_add(struct kvm_cpuid2 *cpuid, uint32_t leaf,
					    uint32_t subleaf, uint32_t flags)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, leaf, subleaf);

	if (entry == NULL && cpuid->nent < CPUID_ENTRIES_MAX) {
		entry = &cpuid->entries[cpuid->nent++];
		*entry = (struct kvm_cpuid_entry2){ .function = leaf, .index = subleaf };
	}
	if (entry != NULL)
		entry->flags = flags;
	return entry;
}

enum cpuid_vendor cpuid_vendor(const struct kvm_cpuid_entry2 *leaf_0)
{
	uint32_t name[] = { leaf_0->ebx, leaf_0->edx, leaf_0->ecx };

	if (memcmp(name, "GenuineIntel", sizeof(name)) == 0)
		return CPUID_VENDOR_INTEL;
	if (memcmp(name, "AuthenticAMD", sizeof(name)) == 0)
		return CPUID_VENDOR_AMD;
	return CPUID_VENDOR_OTHER;
}

uint32_t cpuid_signature(uint32_t eax)
{
	return eax & 0x0fff0fff;
}

static uint32_t *register_of(struct kvm_cpuid_entry2 *entry, enum squib_cpuid_register reg)
{
	switch (reg) {
	case SQUIB_CPUID_EAX:
		return &entry->eax;
	case SQUIB_CPUID_EBX:
		return &entry->ebx;
	case SQUIB_CPUID_ECX:
		return &entry->ecx;
	case SQUIB_CPUID_EDX:
		break;
	}
	return &entry->edx;
}

int cpuid_change(struct kvm_cpuid2 *cpuid, const struct cpuid_change *change, struct fault *fault)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, change->leaf, change->subleaf);
	uint32_t *reg;

	if (entry == NULL)
		return fault_set(fault, -ENOENT, "System configuration error: Failed to create guest "
				 "config: Template changes a CPUID entry not supported by KVM: "
				 "Leaf: %x, Subleaf: %x", change->leaf, change->subleaf);
	entry->flags = change->flags;
	reg = register_of(entry, change->reg);
	*reg = (*reg & ~change->filter) | change->value;
	return 0;
}

static uint32_t next_power_of_two(uint32_t n)
{
	uint32_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

/* Any vendor */

static void keep_vendor(struct kvm_cpuid2 *cpuid, cpuid_host *host)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0, 0);
	struct kvm_cpuid_entry2 own = { .function = 0 };

	if (entry == NULL)
		return;
	host(&own);
	entry->ebx = own.ebx;
	entry->ecx = own.ecx;
	entry->edx = own.edx;
}

static int set_features(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology,
			struct fault *fault)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, LEAF_FEATURES, 0);

	if (entry == NULL)
		return fault_set(fault, -ENOENT, "Failed to set feature information leaf: "
				 "Leaf 0x1 is missing from CPUID.");
	set_field(&entry->ebx, 15, 8, 8);	/* a line that CLFLUSH flushes has 64 bytes */
	set_field(&entry->ebx, 23, 16, next_power_of_two(topology->cpus));
	set_bit(&entry->ecx, 15, false);	/* PDCM: IA32_PERF_CAPABILITIES */
	set_bit(&entry->ecx, 24, true);		/* TSC deadline: KVM's local APIC has it */
	set_bit(&entry->ecx, 31, true);		/* there is a hypervisor */
	set_bit(&entry->edx, 28, topology->cpus > 1);	/* HTT: EBX[23:16] counts */
	return 0;
}

/* Leaves 0xb and 0x1f have one format */
static int set_topology(struct kvm_cpuid2 *cpuid, uint32_t leaf,
			const struct cpuid_topology *topology)
{
	struct kvm_cpuid_entry2 *threads, *cores, *more;

	/* KVM gives no subleaf 1 since Linux 6.2 (45e966fcca03); the pointers stay valid. */
	threads = find_or_add(cpuid, leaf, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	cores = find_or_add(cpuid, leaf, 1, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	if (threads == NULL || cores == NULL)
		return -E2BIG;
	threads->eax = topology->threads_per_core - 1;	/* bits: 0 for 1, 1 for 2 */
	threads->ebx = topology->threads_per_core;
	threads->ecx = 1 << 8;				/* level type: SMT */
	cores->eax = PACKAGE_BITS;
	cores->ebx = topology->cpus;
	cores->ecx = 2 << 8 | 1;			/* level type: core; the subleaf */
	for (uint32_t i = 2; (more = cpuid_find(cpuid, leaf, i)) != NULL; i++) {
		more->eax = more->ebx = 0;
		more->ecx = i;
	}
	return 0;
}

static int set_topologies(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology)
{
	struct kvm_cpuid_entry2 *max = cpuid_find(cpuid, 0, 0);
	int r = 0;

	if (cpuid_find(cpuid, LEAF_TOPOLOGY, 0) != NULL || (max != NULL && max->eax >= LEAF_TOPOLOGY))
		r = set_topology(cpuid, LEAF_TOPOLOGY, topology);
	if (r == 0 && cpuid_find(cpuid, LEAF_TOPOLOGY_V2, 0) != NULL)
		r = set_topology(cpuid, LEAF_TOPOLOGY_V2, topology);
	return r;
}

/* What the host says of its caches and TLBs (AMD; Intel has L2 only) */
static void pass_caches(struct kvm_cpuid2 *cpuid, cpuid_host *host)
{
	struct kvm_cpuid_entry2 *l1 = cpuid_find(cpuid, LEAF_L1, 0);
	struct kvm_cpuid_entry2 *l2_l3 = cpuid_find(cpuid, LEAF_L2_L3, 0);

	if (l1 != NULL)
		host(l1);
	if (l2_l3 != NULL) {
		host(l2_l3);
		set_field(&l2_l3->edx, 17, 16, 0);	/* reserved */
	}
}

/*
 * Leaf 4 and leaf 0x8000001d: EAX[4:0] is the kind of a cache, 0 behind the last, [7:5] its level,
 * [25:14] how many threads share it, less one. L1 and L2 belong to a core, L3 to the package.
 */
static void share_caches(struct kvm_cpuid2 *cpuid, uint32_t leaf,
			 const struct cpuid_topology *topology)
{
	struct kvm_cpuid_entry2 *cache;

	for (uint32_t i = 0; i < CACHES_MAX; i++) {
		cache = cpuid_find(cpuid, leaf, i);
		if (cache == NULL || get_field(cache->eax, 4, 0) == 0)
			return;
		switch (get_field(cache->eax, 7, 5)) {
		case 1:
		case 2:
			set_field(&cache->eax, 25, 14, topology->threads_per_core - 1);
			break;
		case 3:
			set_field(&cache->eax, 25, 14, topology->cpus - 1);
			break;
		}
		if (leaf == LEAF_CACHES)	/* cores in the package, less one */
			set_field(&cache->eax, 31, 26,
				  topology->cpus / topology->threads_per_core - 1);
	}
}

static void set_brand(struct kvm_cpuid2 *cpuid, const char brand[CPUID_BRAND_BYTES])
{
	for (uint32_t i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, LEAF_BRAND + i, 0);
		uint32_t part[4];

		if (entry == NULL)
			continue;
		memcpy(part, brand + i * sizeof(part), sizeof(part));
		entry->eax = part[0];
		entry->ebx = part[1];
		entry->ecx = part[2];
		entry->edx = part[3];
	}
}

/* Intel */

/* Where " 3.00GHz" begins, space and all; 0 when there is no frequency */
static size_t find_frequency(const char *brand, size_t *ret_unit)
{
	size_t unit = 0, at;

	while (unit + 3 <= CPUID_BRAND_BYTES &&
	       !((brand[unit] == 'T' || brand[unit] == 'G' || brand[unit] == 'M') &&
		 brand[unit + 1] == 'H' && brand[unit + 2] == 'z'))
		unit++;
	if (unit + 3 > CPUID_BRAND_BYTES)
		return 0;
	for (at = unit; at > 0; at--) {
		char c = brand[at - 1];

		if (c == ' ') {
			*ret_unit = unit;
			return at - 1;
		}
		if (c != '.' && (c < '0' || c > '9'))
			return 0;
	}
	return 0;
}

/*
 * As Firecracker does, NULs at the end of the host's name count as a part of it: where they and a
 * short name leave no room, the guest gets no frequency.
 */
void cpuid_brand_intel(const char *host, char ret_brand[CPUID_BRAND_BYTES])
{
	static const char base[] = "Intel(R) Xeon(R) Processor @";
	size_t base_len = sizeof(base) - 1;
	size_t unit = 0;
	size_t at = find_frequency(host, &unit);

	memset(ret_brand, 0, CPUID_BRAND_BYTES);
	if (at == 0 || base_len + (CPUID_BRAND_BYTES - at) > CPUID_BRAND_BYTES) {
		memcpy(ret_brand, base, base_len - strlen(" @"));
		return;
	}
	memcpy(ret_brand, base, base_len);
	memcpy(ret_brand + base_len, host + at, CPUID_BRAND_BYTES - at);
}

static void set_intel_brand(struct kvm_cpuid2 *cpuid, cpuid_host *host)
{
	char own[CPUID_BRAND_BYTES], brand[CPUID_BRAND_BYTES];

	for (uint32_t i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 entry = { .function = LEAF_BRAND + i };

		host(&entry);
		memcpy(own + i * 16, &entry.eax, 4);
		memcpy(own + i * 16 + 4, &entry.ebx, 4);
		memcpy(own + i * 16 + 8, &entry.ecx, 4);
		memcpy(own + i * 16 + 12, &entry.edx, 4);
	}
	cpuid_brand_intel(own, brand);
	set_brand(cpuid, brand);
}

static void set_intel_features(struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *power = cpuid_find(cpuid, LEAF_POWER, 0);
	struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, LEAF_FEATURES_2, 0);
	struct kvm_cpuid_entry2 *perfmon = cpuid_find(cpuid, LEAF_PERFMON, 0);

	if (power != NULL) {
		set_bit(&power->eax, 1, false);		/* Turbo Boost */
		set_bit(&power->ecx, 3, false);		/* IA32_ENERGY_PERF_BIAS */
	}
	if (features != NULL) {
		/* What the hardware is, and KVM asks for: Linux 45016721de3c */
		set_bit(&features->ebx, 6, true);	/* FDP_EXCPTN_ONLY */
		set_bit(&features->ebx, 13, true);	/* FPU CS and DS are gone */
		/* WAITPKG: a guest must not put a core to sleep that is not its own */
		set_bit(&features->ecx, 5, false);
	}
	if (perfmon != NULL)
		perfmon->eax = perfmon->ebx = perfmon->ecx = perfmon->edx = 0;
}

static int normalise_intel(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology,
			   cpuid_host *host)
{
	share_caches(cpuid, LEAF_CACHES, topology);
	set_intel_features(cpuid);
	set_intel_brand(cpuid, host);
	return 0;
}

/* AMD */

/* Leaves 0x8000001d and 0x8000001e, which KVM may not give; old hosts have none. */
static int pass_ext_topology(struct kvm_cpuid2 *cpuid, cpuid_host *host)
{
	struct kvm_cpuid_entry2 *entry, cache, max = { .function = LEAF_EXT_MAX };

	host(&max);
	if (max.eax < LEAF_EXT_TOPOLOGY)
		return 0;
	entry = find_or_add(cpuid, LEAF_EXT_TOPOLOGY, 0, 0);
	if (entry == NULL)
		return -E2BIG;
	host(entry);
	for (uint32_t i = 0; i < CACHES_MAX; i++) {
		cache = (struct kvm_cpuid_entry2){ .function = LEAF_EXT_CACHES, .index = i };
		host(&cache);
		if (get_field(cache.eax, 4, 0) == 0)
			return 0;
		entry = find_or_add(cpuid, LEAF_EXT_CACHES, i, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
		if (entry == NULL)
			return -E2BIG;
		host(entry);
	}
	return 0;
}

static void set_ext_topology(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology)
{
	struct kvm_cpuid_entry2 *sizes = cpuid_find(cpuid, LEAF_EXT_SIZES, 0);
	struct kvm_cpuid_entry2 *place = cpuid_find(cpuid, LEAF_EXT_TOPOLOGY, 0);
	struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, LEAF_EXT_FEATURES, 0);
	struct kvm_cpuid_entry2 *max = cpuid_find(cpuid, LEAF_EXT_MAX, 0);

	if (sizes != NULL) {
		set_field(&sizes->ecx, 15, 12, 7);	/* bits of an APIC id in a package */
		set_field(&sizes->ecx, 7, 0, topology->cpus - 1);
	}
	if (place == NULL)
		return;
	set_field(&place->ebx, 15, 8, topology->threads_per_core - 1);
	set_field(&place->ecx, 10, 8, 0);		/* one node, and its number is 0 */
	set_field(&place->ecx, 7, 0, 0);
	if (features != NULL)
		set_bit(&features->ecx, 22, true);	/* TopologyExtensions: these leaves */
	if (max != NULL && max->eax < LEAF_EXT_TOPOLOGY)
		max->eax = LEAF_EXT_TOPOLOGY;
}

static int normalise_amd(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology,
			 cpuid_host *host)
{
	static const char brand[CPUID_BRAND_BYTES] = "AMD EPYC";
	struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, LEAF_FEATURES_2, 0);
	int r = pass_ext_topology(cpuid, host);

	if (r < 0)
		return r;
	/* KVM says that there is IA32_ARCH_CAPABILITIES; there is none in the hardware. */
	if (features != NULL)
		set_bit(&features->edx, 29, false);
	set_ext_topology(cpuid, topology);
	share_caches(cpuid, LEAF_EXT_CACHES, topology);
	set_brand(cpuid, brand);
	return 0;
}

int cpuid_normalise(struct kvm_cpuid2 *cpuid, enum cpuid_vendor vendor,
		    const struct cpuid_topology *topology, cpuid_host *host, struct fault *fault)
{
	int r;

	assert(topology->cpus >= 1 && topology->cpus <= 128);
	assert(topology->threads_per_core == 1 || topology->threads_per_core == 2);
	keep_vendor(cpuid, host);
	r = set_features(cpuid, topology, fault);
	if (r < 0)
		return r;
	pass_caches(cpuid, host);
	r = set_topologies(cpuid, topology);
	if (r == 0 && vendor == CPUID_VENDOR_INTEL)
		r = normalise_intel(cpuid, topology, host);
	if (r == 0 && vendor == CPUID_VENDOR_AMD)
		r = normalise_amd(cpuid, topology, host);
	return r < 0 ? fault_set(fault, r, "More than %d leaves.", CPUID_ENTRIES_MAX) : 0;
}

/* Of one vCPU */

void cpuid_place(struct kvm_cpuid2 *cpuid, const struct cpuid_topology *topology, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		switch (entry->function) {
		case LEAF_FEATURES:
			set_field(&entry->ebx, 31, 24, index);		/* initial APIC id */
			break;
		case LEAF_TOPOLOGY:
		case LEAF_TOPOLOGY_V2:
			entry->edx = index;				/* x2APIC id */
			break;
		case LEAF_EXT_TOPOLOGY:
			entry->eax = index;				/* extended APIC id */
			set_field(&entry->ebx, 7, 0, index / topology->threads_per_core);
			break;
		}
	}
}
