/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Firecracker's machine. The monitor hands over a device tree; the firmware (PSCI) is KVM's, which
 * starts and stops CPUs. What only machines like this have is all KVM's, too: its interrupt
 * controller, the calls of its firmware, and system registers that it keeps the guest from. None of
 * them may stop the CPU, or the machine.
 */
#include "machine.h"
#include "pokes.h"

/* Device tree (devicetree.org's specification, 5) */
#define TREE_MAGIC	0xd00dfeedu
#define TREE_STRUCTURE	8		/* where in the header it says at which offset it is */
#define TREE_STRINGS	12
#define TREE_BEGIN_NODE	1
#define TREE_END_NODE	2
#define TREE_PROPERTY	3
#define TREE_END	9

/* PSCI (Arm DEN 0022); what is not named here does not end anything */
#define PSCI_CPU_SUSPEND	0x01
#define PSCI_CPU_OFF		0x02
#define PSCI_CPU_ON		0x03
#define PSCI_SYSTEM_OFF		0x08
#define PSCI_SYSTEM_RESET	0x09
#define PSCI_CPU_FREEZE		0x0b
#define PSCI_CPU_DEFAULT_SUSPEND 0x0c
#define PSCI_SYSTEM_SUSPEND	0x0e
#define PSCI_SYSTEM_RESET2	0x12
#define PSCI_SYSTEM_OFF2	0x15
#define PSCI32(function)	(0x84000000u | (function))
#define PSCI64(function)	(0xc4000000u | (function))

#define SECOND_CPU		1	/* its MPIDR, in KVM */
#define CONTROLLER_BYTES	0x80000u	/* distributor and, below it, the rest: more than there is */

/* MSR and MRS of a register, or SYS and SYSL, with x0 (Arm DDI 0487, C5) */
#define REGISTER(op0, op1, n, m, op2) \
	((op0) << 19 | (op1) << 16 | (n) << 12 | (m) << 8 | (op2) << 5)
#define WRITE_REGISTER	0xd5000000u
#define READ_REGISTER	0xd5200000u
#define RETURN		0xd65f03c0u

extern const uint8_t second_start[], arch_park[];	/* start.S */

_Noreturn void unexpected_exception(uint64_t syndrome, uint64_t instruction, uint64_t address);

/* The device tree */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const uint8_t *p)
{
	return (uint64_t)be32(p) << 32 | be32(p + 4);
}

static bool begins_with(const char *text, const char *with)
{
	while (*with != '\0')
		if (*text++ != *with++)
			return false;
	return true;
}

static size_t length(const char *text)
{
	size_t len = 0;

	while (text[len] != '\0')
		len++;
	return len;
}

static const uint8_t *word_behind(const uint8_t *p, size_t len)
{
	return p + (len + 3) / 4 * 4;
}

/* The property @name of the node under the root whose name begins with @node; NULL: there is none */
static const uint8_t *find_property(const uint8_t *tree, const char *node, const char *name)
{
	const uint8_t *p = tree + be32(tree + TREE_STRUCTURE);
	const char *strings = (const char *)tree + be32(tree + TREE_STRINGS);
	unsigned int depth = 0;
	bool here = false;

	for (;;) {
		uint32_t token = be32(p);

		p += 4;
		if (token == TREE_BEGIN_NODE) {
			const char *this = (const char *)p;

			here = ++depth == 2 && begins_with(this, node);
			p = word_behind(p, length(this) + 1);
		} else if (token == TREE_END_NODE) {
			depth--;
			here = false;	/* properties come before nodes */
		} else if (token == TREE_PROPERTY) {
			const char *this = strings + be32(p + 4);

			if (here && begins_with(this, name) && begins_with(name, this))
				return p + 8;
			p = word_behind(p + 8, be32(p));
		} else if (token == TREE_END) {
			return NULL;
		}
	}
}

bool arch_read(uint64_t start_info, const char **ret_cmdline, uint64_t *ret_memory_end)
{
	const uint8_t *tree = (const uint8_t *)start_info;
	const uint8_t *reg;

	if (tree == NULL || be32(tree) != TREE_MAGIC)
		return false;
	reg = find_property(tree, "memory@", "reg");
	if (reg == NULL)
		return false;
	*ret_memory_end = be64(reg) + be64(reg + 8);
	*ret_cmdline = (const char *)find_property(tree, "chosen", "bootargs");
	return true;
}

/* Exceptions */

static void expect_exceptions(bool expected)
{
	__asm__ volatile("msr tpidr_el1, %0; isb" : : "r"((uint64_t)expected) : "memory");
}

void unexpected_exception(uint64_t syndrome, uint64_t instruction, uint64_t address)
{
	expect_exceptions(true);
	serial_reset();
	serial_print("\r\nhostile: exception ");
	serial_print_number(syndrome);
	serial_print(" at ");
	serial_print_number(instruction);
	serial_print(" address ");
	serial_print_number(address);
	serial_print("\r\n");
	arch_reset();
}

/* The firmware */

static uint64_t call_firmware(uint64_t function, uint64_t a, uint64_t b, uint64_t c, bool secure)
{
	register uint64_t x0 __asm__("x0") = function;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

#define CLOBBERED "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", \
	"x16", "x17", "memory"
	if (secure)
		__asm__ volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : CLOBBERED);
	else
		__asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : CLOBBERED);
	return x0;
}

bool arch_start_second_cpu(void)
{
	return call_firmware(PSCI64(PSCI_CPU_ON), SECOND_CPU, (uint64_t)second_start, 0, false) == 0;
}

static uint32_t some_function(struct rng *rng)
{
	/* owners: architecture, system on chip, standard, standard hypervisor, hypervisor; any */
	static const uint32_t owners[] = {
		0x80000000, 0x82000000, 0x84000000, 0x84000000, 0x84000000, 0x85000000, 0x86000000,
	};
	uint32_t owner = owners[rng_below(rng, sizeof(owners) / sizeof(owners[0]))];

	switch (rng_below(rng, 8)) {
	case 0:
		return (uint32_t)rng_next(rng);
	case 1:
		return owner | (uint32_t)(rng_next(rng) & 0x7000ffff);
	default:
		return owner | (rng_one_in(rng, 2) ? 0x40000000 : 0) | rng_below(rng, 0x60);
	}
}

/* Would it end the machine or stop this CPU? */
static bool stops(uint32_t function)
{
	if ((function & ~0x40000000u) >> 5 != PSCI32(0) >> 5)
		return false;
	switch (function & 0x1f) {
	case PSCI_CPU_SUSPEND:
	case PSCI_CPU_OFF:
	case PSCI_SYSTEM_OFF:
	case PSCI_SYSTEM_RESET:
	case PSCI_CPU_FREEZE:
	case PSCI_CPU_DEFAULT_SUSPEND:
	case PSCI_SYSTEM_SUSPEND:
	case PSCI_SYSTEM_RESET2:
	case PSCI_SYSTEM_OFF2:
		return true;
	default:
		return false;
	}
}

static uint64_t some_argument(const struct machine *machine, struct rng *rng)
{
	const uint64_t arguments[] = {
		0, 1, 2, 15, 16, 31, 0x100, 0x80000000, UINT64_MAX, ARENA, ARENA + 1, MEMORY_START,
		machine->memory_end, PSCI32(PSCI_SYSTEM_OFF), PSCI64(PSCI_CPU_ON),
	};

	if (rng_one_in(rng, 4))
		return rng_next(rng);
	return arguments[rng_below(rng, sizeof(arguments) / sizeof(arguments[0]))];
}

static void poke_firmware(const struct machine *machine, struct rng *rng)
{
	uint32_t function = some_function(rng);
	uint64_t a = some_argument(machine, rng), b = some_argument(machine, rng);

	if (stops(function))
		return;
	if ((function & ~0x40000000u) == PSCI32(PSCI_CPU_ON))
		b = (uint64_t)arch_park;	/* should there be one, it does not run wild */
	call_firmware(function, a, b, some_argument(machine, rng), rng_one_in(rng, 4));
}

/* System registers */

static void run(uint32_t instruction, uint64_t value)
{
	static uint32_t code[2];
	register uint64_t x0 __asm__("x0") = value;

	code[0] = instruction;
	code[1] = RETURN;
	__asm__ volatile("dc cvau, %1; dsb ish; ic ivau, %1; dsb ish; isb; blr %1" :
			 "+r"(x0) : "r"(code) : "x30", "cc", "memory");
}

/*
 * Written without harm to ourselves. Breakpoints, which nothing enables; performance counters; the
 * CPU's part of the interrupt controller; the physical timer; cache maintenance; what hardly exists.
 * Not the virtual timer, which KVM leaves to us: QEMU 7.2's, in the lab, may never come to an end of
 * one that is set far ahead, and stands still.
 */
static uint32_t writable_register(struct rng *rng)
{
	static const uint32_t registers[] = {
		REGISTER(2, 0, 1, 0, 4),	/* OSLAR_EL1 */
		REGISTER(2, 0, 1, 3, 4),	/* OSDLR_EL1 */
		REGISTER(3, 0, 1, 0, 1),	/* ACTLR_EL1 */
		REGISTER(3, 0, 4, 6, 0),	/* ICC_PMR_EL1 */
		REGISTER(3, 0, 5, 1, 0),	/* AFSR0_EL1 */
		REGISTER(3, 0, 9, 14, 1),	/* PMINTENSET_EL1 */
		REGISTER(3, 3, 9, 12, 0),	/* PMCR_EL0 */
		REGISTER(3, 3, 9, 12, 1),	/* PMCNTENSET_EL0 */
		REGISTER(3, 3, 9, 12, 5),	/* PMSELR_EL0 */
		REGISTER(3, 3, 9, 13, 1),	/* PMXEVTYPER_EL0 */
		REGISTER(3, 0, 12, 8, 1),	/* ICC_EOIR0_EL1 */
		REGISTER(3, 0, 12, 11, 1),	/* ICC_DIR_EL1 */
		REGISTER(3, 0, 12, 11, 5),	/* ICC_SGI1R_EL1 */
		REGISTER(3, 0, 12, 11, 6),	/* ICC_ASGI1R_EL1 */
		REGISTER(3, 0, 12, 11, 7),	/* ICC_SGI0R_EL1 */
		REGISTER(3, 0, 12, 12, 1),	/* ICC_EOIR1_EL1 */
		REGISTER(3, 0, 12, 12, 4),	/* ICC_CTLR_EL1 */
		REGISTER(3, 0, 12, 12, 5),	/* ICC_SRE_EL1 */
		REGISTER(3, 0, 12, 12, 7),	/* ICC_IGRPEN1_EL1 */
		REGISTER(3, 0, 13, 0, 1),	/* CONTEXTIDR_EL1 */
		REGISTER(3, 2, 0, 0, 0),	/* CSSELR_EL1 */
		REGISTER(3, 0, 14, 1, 0),	/* CNTKCTL_EL1 */
		REGISTER(3, 3, 14, 2, 0),	/* CNTP_TVAL_EL0 */
		REGISTER(3, 3, 14, 2, 1),	/* CNTP_CTL_EL0 */
		REGISTER(3, 3, 14, 2, 2),	/* CNTP_CVAL_EL0 */
		REGISTER(1, 0, 7, 14, 2),	/* dc cisw */
		REGISTER(3, 0, 0, 0, 0),	/* MIDR_EL1, which cannot be written */
	};

	if (rng_one_in(rng, 4))			/* DBGBVR, DBGBCR, DBGWVR, DBGWCR */
		return REGISTER(2, 0, 0, rng_below(rng, 16), 4 + rng_below(rng, 4));
	return registers[rng_below(rng, sizeof(registers) / sizeof(registers[0]))];
}

static uint32_t some_register(struct rng *rng)
{
	return REGISTER(2 + rng_below(rng, 2), rng_below(rng, 8), rng_below(rng, 16),
			rng_below(rng, 16), rng_below(rng, 8));
}

static void poke_register(struct rng *rng)
{
	uint64_t value = rng_one_in(rng, 2) ? rng_next(rng) : rng_below(rng, 16);

	if (rng_one_in(rng, 2))
		run(WRITE_REGISTER | writable_register(rng), value);
	else
		run(READ_REGISTER | some_register(rng), value);
}

/* The interrupt controller */

static void poke_controller(struct rng *rng)
{
	uint64_t address = MMIO_START - CONTROLLER_BYTES + rng_below(rng, CONTROLLER_BYTES);
	uint64_t value = rng_next(rng);

	if (!rng_one_in(rng, 8))
		address &= ~UINT64_C(7);
	if (rng_one_in(rng, 2))		/* where most registers are */
		address &= ~UINT64_C(0xf000);
	poke_access(rng, address, value);
}

void arch_poke(const struct machine *machine, struct rng *rng)
{
	expect_exceptions(true);
	switch (rng_below(rng, 3)) {
	case 0: poke_firmware(machine, rng); break;
	case 1: poke_register(rng); break;
	case 2: poke_controller(rng); break;
	}
	expect_exceptions(false);
}

/* The end */

void arch_delay(unsigned int exits)
{
	while (exits-- > 0)
		mmio_read32(CLOCK);
}

void arch_call(uint64_t address)
{
	expect_exceptions(true);
	((void (*)(void))address)();
	expect_exceptions(false);
}

void arch_bad_access(uint64_t address)
{
	uint64_t a, b;

	__asm__ volatile("ldp %0, %1, [%2]" : "=&r"(a), "=&r"(b) : "r"(address) : "memory");
}

void arch_crash(void)
{
	expect_exceptions(true);
	__asm__ volatile("udf #0");
	expect_exceptions(false);
}

void arch_reset(void)
{
	call_firmware(PSCI32(PSCI_SYSTEM_RESET), 0, 0, 0, false);
	serial_print("hostile: no reset\r\n");
	arch_halt();
}

void arch_power_off(void)
{
	call_firmware(PSCI32(PSCI_SYSTEM_OFF), 0, 0, 0, false);
	serial_print("hostile: no power-off\r\n");
	arch_reset();
}

void arch_halt(void)
{
	for (;;)
		__asm__ volatile("wfi");
}
