/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device tree (Devicetree Specification 0.4; the bindings are those of Linux,
 * Documentation/devicetree/bindings). Nodes and properties have the names and the order that
 * Firecracker gives them, but for what dtc would warn of: the interrupt controller has the address of
 * its registers in its name. A unified cache of the first level is said to be so.
 */
#include <errno.h>
#include <endian.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "boot/aarch64_internal.h"

#define FDT_BYTES_FIRST		8192	/* room for the tree of a small machine */
#define SEED_BYTES		64
#define NAME_MAX_BYTES		40

enum {
	PHANDLE_GIC = 1,
	PHANDLE_CLOCK = 2,
	PHANDLE_ITS = 3,
	PHANDLE_CACHE = 4000,		/* of the first; counts down */
};

/* Documentation/devicetree/bindings/interrupt-controller/arm,gic.yaml */
#define INTERRUPT_SPI		0
#define INTERRUPT_PPI		1
#define INTERRUPT_EDGE_RISING	1
#define INTERRUPT_LEVEL_HIGH	4

/* PPIs of the generic timer, from 0: secure, non-secure, virtual, hypervisor */
#define TIMER_INTERRUPTS	{ 13, 14, 11, 10 }

/* The affinity fields of MPIDR_EL1, which is what Linux compares a CPU's reg with */
#define MPIDR_AFFINITY		UINT64_C(0xff00ffffff)

/* Writing: the first error stays, and nothing is written after it, so that it is asked for once. */

struct tree {
	void *data;
	int error;		/* of libfdt; 0: none */
};

static void begin(struct tree *tree, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void begin(struct tree *tree, const char *format, ...)
{
	char name[NAME_MAX_BYTES];
	va_list ap;

	va_start(ap, format);
	vsnprintf(name, sizeof(name), format, ap);
	va_end(ap);
	if (tree->error == 0)
		tree->error = fdt_begin_node(tree->data, name);
}

static void end(struct tree *tree)
{
	if (tree->error == 0)
		tree->error = fdt_end_node(tree->data);
}

static void add(struct tree *tree, const char *name, const void *data, size_t len)
{
	if (tree->error == 0)
		tree->error = fdt_property(tree->data, name, data, (int)len);
}

static void add_flag(struct tree *tree, const char *name)
{
	add(tree, name, NULL, 0);
}

static void add_string(struct tree *tree, const char *name, const char *value)
{
	add(tree, name, value, strlen(value) + 1);
}

static void add_u32(struct tree *tree, const char *name, uint32_t value)
{
	uint32_t cell = htobe32(value);

	add(tree, name, &cell, sizeof(cell));
}

static void add_u64(struct tree *tree, const char *name, uint64_t value)
{
	uint64_t cells = htobe64(value);

	add(tree, name, &cells, sizeof(cells));
}

/* Pairs of an address and a size, two cells each */
static void add_ranges(struct tree *tree, const char *name, const uint64_t *values, size_t pairs)
{
	uint64_t cells[2 * GUEST_REGIONS_MAX];

	for (size_t i = 0; i < 2 * pairs; i++)
		cells[i] = htobe64(values[i]);
	add(tree, name, cells, 2 * pairs * sizeof(cells[0]));
}

static void add_registers(struct tree *tree, uint64_t address)
{
	add_ranges(tree, "reg", (const uint64_t[]){ address, AARCH64_REGISTER_BYTES }, 1);
}

static void add_interrupt(struct tree *tree, uint32_t type, uint32_t number, uint32_t flags)
{
	uint32_t cells[] = { htobe32(type), htobe32(number), htobe32(flags) };

	add(tree, "interrupts", cells, sizeof(cells));
}

/* CPUs and their caches */

static void add_cache(struct tree *tree, const struct aarch64_cache *cache)
{
	static const struct { const char *size, *line, *sets; } names[] = {
		[AARCH64_CACHE_DATA] = { "d-cache-size", "d-cache-line-size", "d-cache-sets" },
		[AARCH64_CACHE_INSTRUCTION] = { "i-cache-size", "i-cache-line-size",
						"i-cache-sets" },
		[AARCH64_CACHE_UNIFIED] = { "cache-size", "cache-line-size", "cache-sets" },
	};

	if (cache->size_bytes != 0)
		add_u32(tree, names[cache->type].size, cache->size_bytes);
	if (cache->line_bytes != 0)
		add_u32(tree, names[cache->type].line, cache->line_bytes);
	if (cache->sets != 0)
		add_u32(tree, names[cache->type].sets, cache->sets);
	if (cache->type == AARCH64_CACHE_UNIFIED)
		add_flag(tree, "cache-unified");
}

/* All caches of one level, those for data and for instructions together. Returns the next's index. */
static size_t add_level(struct tree *tree, const struct aarch64_boot_params *params, size_t index)
{
	unsigned int level = params->caches[index].level;

	while (index < params->cache_count && params->caches[index].level == level)
		add_cache(tree, &params->caches[index++]);
	return index;
}

/*
 * How many CPUs share a cache: as many as on the host, but units must not begin in the midst of the
 * smaller ones that they serve, as they would with a host's that does not follow its own numbers.
 */
static unsigned int unit_cpus(const struct aarch64_boot_params *params, unsigned int cpus,
			      unsigned int smaller)
{
	if (cpus > params->vcpu_count)
		cpus = params->vcpu_count;
	return (cpus + smaller - 1) / smaller * smaller;
}

/*
 * The caches behind the CPU's own. One that CPUs share is told of in the first of them, with all that
 * is behind it; the others only refer to it.
 */
static void add_outer_caches(struct tree *tree, const struct aarch64_boot_params *params,
			     unsigned int cpu, size_t index)
{
	unsigned int cpus = 1;
	bool open = false;

	while (index < params->cache_count) {
		const struct aarch64_cache *cache = &params->caches[index];
		uint32_t phandle;

		cpus = unit_cpus(params, cache->cpus_per_unit, cpus);
		phandle = PHANDLE_CACHE - (params->vcpu_count * (cache->level - 2) + cpu / cpus);
		add_u32(tree, "next-level-cache", phandle);
		if (open)
			end(tree);
		open = cpu % cpus == 0;
		if (!open)
			return;
		begin(tree, "l%u-%u-cache", cache->level, cpu / cpus);
		add_u32(tree, "phandle", phandle);
		add_string(tree, "compatible", "cache");
		add_u32(tree, "cache-level", cache->level);
		index = add_level(tree, params, index);
	}
	if (open)
		end(tree);
}

static void add_cpu(struct tree *tree, const struct aarch64_boot_params *params, unsigned int cpu)
{
	size_t outer = 0;

	begin(tree, "cpu@%x", cpu);
	add_string(tree, "device_type", "cpu");
	add_string(tree, "compatible", "arm,arm-v8");
	add_string(tree, "enable-method", "psci");
	add_u64(tree, "reg", params->mpidrs[cpu] & MPIDR_AFFINITY);
	if (params->cache_count > 0 && params->caches[0].level == 1)
		outer = add_level(tree, params, 0);
	add_outer_caches(tree, params, cpu, outer);
	end(tree);
}

static void add_cpus(struct tree *tree, const struct aarch64_boot_params *params)
{
	begin(tree, "cpus");
	add_u32(tree, "#address-cells", 2);
	add_u32(tree, "#size-cells", 0);
	for (unsigned int i = 0; i < params->vcpu_count; i++)
		add_cpu(tree, params, i);
	end(tree);
}

/* The rest, in the order that it has in the tree */

static void add_memory(struct tree *tree, const struct guest_mem *mem)
{
	uint64_t values[2 * GUEST_REGIONS_MAX];
	size_t count = guest_mem_region_count(mem);

	for (size_t i = 0; i < count; i++) {
		values[2 * i] = guest_mem_region(mem, i)->start;
		values[2 * i + 1] = guest_mem_region(mem, i)->size_bytes;
	}
	values[0] += AARCH64_RESERVED_BYTES;
	values[1] -= AARCH64_RESERVED_BYTES;
	begin(tree, "memory@ram");
	add_string(tree, "device_type", "memory");
	add_ranges(tree, "reg", values, count);
	end(tree);
}

static void add_chosen(struct tree *tree, const char *cmdline, const struct load_initrd *initrd,
		       const uint8_t *seed)
{
	begin(tree, "chosen");
	add_string(tree, "bootargs", cmdline);
	if (initrd->size_bytes > 0) {
		add_u64(tree, "linux,initrd-start", initrd->start);
		add_u64(tree, "linux,initrd-end", initrd->start + initrd->size_bytes);
	}
	add_u32(tree, "linux,pci-probe-only", 1);
	add(tree, "rng-seed", seed, SEED_BYTES);
	end(tree);
}

static void add_gic(struct tree *tree, const struct aarch64_gic *gic)
{
	begin(tree, "intc@%llx", (unsigned long long)gic->registers[0]);
	add_string(tree, "compatible", gic->compatible);
	add_flag(tree, "interrupt-controller");
	add_u32(tree, "#interrupt-cells", 3);
	add_ranges(tree, "reg", gic->registers, 2);
	add_u32(tree, "phandle", PHANDLE_GIC);
	add_u32(tree, "#address-cells", 2);
	add_u32(tree, "#size-cells", 2);
	add_flag(tree, "ranges");
	add_interrupt(tree, INTERRUPT_PPI, gic->maintenance_irq, INTERRUPT_LEVEL_HIGH);
	if (gic->its[0] != 0) {
		begin(tree, "msic@%llx", (unsigned long long)gic->its[0]);
		add_string(tree, "compatible", "arm,gic-v3-its");
		add_flag(tree, "msi-controller");
		add_u32(tree, "phandle", PHANDLE_ITS);
		add_ranges(tree, "reg", gic->its, 1);
		end(tree);
	}
	end(tree);
}

static void add_timer(struct tree *tree)
{
	static const uint32_t numbers[] = TIMER_INTERRUPTS;
	uint32_t cells[3 * ARRAY_SIZE(numbers)];

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		cells[3 * i] = htobe32(INTERRUPT_PPI);
		cells[3 * i + 1] = htobe32(numbers[i]);
		cells[3 * i + 2] = htobe32(INTERRUPT_LEVEL_HIGH);
	}
	begin(tree, "timer");
	add_string(tree, "compatible", "arm,armv8-timer");
	add_flag(tree, "always-on");
	add(tree, "interrupts", cells, sizeof(cells));
	end(tree);
}

/* Bus clock of the serial port and of the clock that follow */
static void add_clock(struct tree *tree)
{
	begin(tree, "apb-pclk");
	add_string(tree, "compatible", "fixed-clock");
	add_u32(tree, "#clock-cells", 0);
	add_u32(tree, "clock-frequency", 24000000);
	add_string(tree, "clock-output-names", "clk24mhz");
	add_u32(tree, "phandle", PHANDLE_CLOCK);
	end(tree);
}

static void add_psci(struct tree *tree)
{
	begin(tree, "psci");
	add_string(tree, "compatible", "arm,psci-0.2");
	add_string(tree, "method", "hvc");
	end(tree);
}

static void add_clocked(struct tree *tree)
{
	add_u32(tree, "clocks", PHANDLE_CLOCK);
	add_string(tree, "clock-names", "apb_pclk");
}

static void add_rtc(struct tree *tree)
{
	static const char compatible[] = "arm,pl031\0arm,primecell";

	begin(tree, "rtc@%x", AARCH64_RTC_ADDRESS);
	add(tree, "compatible", compatible, sizeof(compatible));
	add_registers(tree, AARCH64_RTC_ADDRESS);
	add_clocked(tree);
	end(tree);
}

static void add_serial(struct tree *tree, uint32_t gsi)
{
	begin(tree, "uart@%x", AARCH64_SERIAL_ADDRESS);
	add_string(tree, "compatible", "ns16550a");
	add_registers(tree, AARCH64_SERIAL_ADDRESS);
	add_clocked(tree);
	add_interrupt(tree, INTERRUPT_SPI, gsi, INTERRUPT_EDGE_RISING);
	end(tree);
}

static void add_virtio(struct tree *tree, const struct aarch64_virtio *device)
{
	begin(tree, "virtio_mmio@%llx", (unsigned long long)device->address);
	add_flag(tree, "dma-coherent");
	add_string(tree, "compatible", "virtio,mmio");
	add_registers(tree, device->address);
	add_interrupt(tree, INTERRUPT_SPI, device->gsi, INTERRUPT_EDGE_RISING);
	add_u32(tree, "interrupt-parent", PHANDLE_GIC);
	end(tree);
}

static void add_devices(struct tree *tree, const struct aarch64_boot_params *params)
{
	add_rtc(tree);
	if (params->serial)
		add_serial(tree, params->serial_gsi);
	for (size_t i = 0; i < params->device_count; i++)
		add_virtio(tree, &params->devices[i]);
}

static void add_root(struct tree *tree, const struct aarch64_boot_params *params,
		     const struct load_initrd *initrd, const uint8_t *seed)
{
	begin(tree, "%s", "");
	add_string(tree, "compatible", "linux,dummy-virt");
	add_u32(tree, "#address-cells", 2);
	add_u32(tree, "#size-cells", 2);
	add_u32(tree, "interrupt-parent", PHANDLE_GIC);
	add_cpus(tree, params);
	add_memory(tree, params->mem);
	add_chosen(tree, params->cmdline, initrd, seed);
	add_gic(tree, params->gic);
	add_timer(tree);
	add_clock(tree);
	add_psci(tree);
	add_devices(tree, params);
	end(tree);
}

/* Into @size bytes at @data, which are all written to. Returns an error of libfdt. */
static int write_tree(void *data, size_t size, const struct aarch64_boot_params *params,
		      const struct load_initrd *initrd, const uint8_t *seed)
{
	struct tree tree = { .data = data };

	tree.error = fdt_create(data, (int)size);
	if (tree.error == 0)
		tree.error = fdt_finish_reservemap(data);
	add_root(&tree, params, initrd, seed);
	if (tree.error == 0)
		tree.error = fdt_finish(data);
	if (tree.error == 0)	/* what its making left behind it */
		memset((char *)data + fdt_totalsize(data), 0, size - fdt_totalsize(data));
	return tree.error;
}

static int make_seed(uint8_t *seed)
{
	ssize_t n;

	do {
		n = getrandom(seed, SEED_BYTES, 0);	/* all, or nothing */
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static int refuse(struct fault *fault, int r, const char *reason)
{
	return fault_set(fault, r, "System configuration error: Failed to create a Flattened Device "
			 "Tree for this aarch64 microVM: Create FDT error: %s", reason);
}

/* In place, in as few pages as it needs: libfdt zeroes all the room that it is given. */
int aarch64_write_fdt(const struct aarch64_boot_params *params, const struct load_initrd *initrd,
		      gpa_t address, struct fault *fault)
{
	uint8_t made[SEED_BYTES];
	const uint8_t *seed = params->rng_seed;
	char text[OS_ERROR_MAX];
	size_t size = FDT_BYTES_FIRST;
	void *data;
	int r = 0;

	if (seed == NULL) {
		r = make_seed(made);
		seed = made;
	}
	if (r < 0)
		return refuse(fault, r, os_error(r, text));
	if (guest_mem_slice(params->mem, address, AARCH64_FDT_BYTES_MAX, &data) < 0)
		return refuse(fault, -EFAULT, "There is no memory for it");
	do {
		r = write_tree(data, size, params, initrd, seed);
		size *= 2;
	} while (r == -FDT_ERR_NOSPACE && size <= AARCH64_FDT_BYTES_MAX);
	if (r < 0)
		return refuse(fault, -ENOSPC, fdt_strerror(r));
	guest_mem_mark_dirty(params->mem, data, fdt_totalsize(data));
	return 0;
}
