/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest, in EL1, with the MMU on after its first steps: without it all memory is a device's, for
 * which there are no exclusive accesses.
 *
 *	0x40000000	what it says, as 32-bit writes to where nothing is; device memory
 *	0x80000000	page table: the first 3 GiB, mapped to themselves in blocks of 1 GiB
 *	0x80002000	exception vectors, code
 *	0x80008000	data the instructions work on
 *
 * x20 is the step it takes; brk is counted in x21, and its handler goes on behind it. Any other
 * exception is told with its class (ESR_EL1.EC), or, where it is no synchronous one, its vector.
 */
#include "engine/kvm/self_test.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "engine/kvm/aarch64/registers.h"
#include "engine/kvm/arch.h"

#define MMIO		0x40000000u
#define MEMORY		0x80000000u
#define CODE		0x2000u		/* from MEMORY on */
#define ENTRY		(CODE + 0x800)	/* behind the vectors */

#define SAYS_OK		(MMIO + 0x0)
#define SAYS_EXCEPTION	(MMIO + 0x4)
#define SAYS_WRONG	(MMIO + 0x8)

enum step {			/* as in x20 */
	STEP_NONE,
	STEP_ID,
	STEP_MMU,
	STEP_CACHE,
	STEP_EXCLUSIVE,
	STEP_ATOMIC,
	STEP_SIMD,
	STEP_COUNTER,
	STEP_BRK,
	STEP_PSCI,
	STEP_LOOP,
	STEP_COUNT,
};

static const char *const step_names[] = {
	[STEP_NONE] = "its first instruction", [STEP_ID] = "mrs of an ID register",
	[STEP_MMU] = "what turns the MMU on",  [STEP_CACHE] = "dc civac and ic ivau",
	[STEP_EXCLUSIVE] = "ldxr and stxr",    [STEP_ATOMIC] = "ldadd",
	[STEP_SIMD] = "a SIMD instruction",    [STEP_COUNTER] = "mrs of the virtual counter",
	[STEP_BRK] = "brk",		       [STEP_PSCI] = "hvc, for PSCI",
	[STEP_LOOP] = "a loop",
};
_Static_assert(ARRAY_SIZE(step_names) == STEP_COUNT, "a name for each step");

#define STRING_(x) #x
#define STRING(x) STRING_(x)

__asm__(
	".pushsection .rodata\n"
	".balign 16\n"
	".globl squib_kvm_probe_code\n"
	".hidden squib_kvm_probe_code\n"
	"squib_kvm_probe_code:\n"
	".set vector, 0\n"
	".rept 16\n"				/* 0x80 bytes each */
	"	mov x22, #vector + 64\n"
	"	b 7f\n"
	"	.org squib_kvm_probe_code + (vector + 1) * 0x80\n"
	"	.set vector, vector + 1\n"
	".endr\n"
	"	mov x20, #1\n"			/* STEP_ID, at ENTRY */
	"	mov x19, #0x40000000\n"		/* MMIO */
	"	adr x0, squib_kvm_probe_code\n"
	"	msr vbar_el1, x0\n"
	"	isb\n"
	"	mrs x0, CurrentEL\n"
	"	cmp x0, #4\n"			/* EL1 */
	"	b.ne 9f\n"
	"	mrs x0, midr_el1\n"
	"	cbz x0, 9f\n"
	"	mrs x0, mpidr_el1\n"
	"	tbz x0, #31, 9f\n"		/* RES1 */
	"	mrs x0, id_aa64pfr0_el1\n"
	"	tst x0, #0xf0\n"		/* EL1: AArch64 */
	"	b.eq 9f\n"
	"	mrs x23, id_aa64isar0_el1\n"
	"	mov x20, #2\n"			/* STEP_MMU */
	"	ic iallu\n"
	"	tlbi vmalle1\n"
	"	dsb nsh\n"
	"	isb\n"
	"	mov x0, #0x04ff\n"		/* 0: write-back, 1: Device-nGnRE */
	"	msr mair_el1, x0\n"
	/* TTBR1 off; 39 bits in pages of 4 KiB, walked with caches; addresses of 32 bits */
	"	ldr x0, =0x803519\n"
	"	msr tcr_el1, x0\n"
	"	mov x1, #0x80000000\n"
	"	msr ttbr0_el1, x1\n"
	"	isb\n"
	"	mrs x0, sctlr_el1\n"
	"	mov x2, #0x1005\n"		/* I, C, M */
	"	orr x0, x0, x2\n"
	"	msr sctlr_el1, x0\n"
	"	isb\n"
	"	mov x20, #3\n"			/* STEP_CACHE */
	"	mov w3, #0x8000\n"
	"	add x1, x1, x3\n"		/* data */
	"	mov x2, #0x1234\n"
	"	str x2, [x1]\n"
	"	dc civac, x1\n"
	"	dsb sy\n"
	"	ic ivau, x1\n"
	"	dsb ish\n"
	"	isb\n"
	"	ldr x3, [x1]\n"
	"	cmp x2, x3\n"
	"	b.ne 9f\n"
	"	mov x20, #4\n"			/* STEP_EXCLUSIVE */
	"	mov w4, #1000\n"		/* it may fail, but not each time */
	"1:	subs w4, w4, #1\n"
	"	b.eq 9f\n"
	"	ldaxr x2, [x1]\n"
	"	add x2, x2, #1\n"
	"	stlxr w3, x2, [x1]\n"
	"	cbnz w3, 1b\n"
	"	ldr x2, [x1]\n"
	"	mov x3, #0x1235\n"
	"	cmp x2, x3\n"
	"	b.ne 9f\n"
	"	ubfx x0, x23, #20, #4\n"	/* Atomic */
	"	cbz x0, 2f\n"
	"	mov x20, #5\n"			/* STEP_ATOMIC */
	"	mov x2, #1\n"
	"	.inst 0xf8e20023\n"		/* ldaddal x2, x3, [x1] */
	"	mov x2, #0x1235\n"
	"	cmp x2, x3\n"
	"	b.ne 9f\n"
	"	ldr x2, [x1]\n"
	"	mov x3, #0x1236\n"
	"	cmp x2, x3\n"
	"	b.ne 9f\n"
	"2:	mov x20, #6\n"			/* STEP_SIMD */
	"	mov x0, #3 << 20\n"		/* FPEN */
	"	msr cpacr_el1, x0\n"
	"	isb\n"
	"	mov x2, #0x1236\n"
	"	mov x3, #0x4321\n"
	"	stp x2, x3, [x1]\n"
	"	ldr q0, [x1]\n"
	"	add v1.2d, v0.2d, v0.2d\n"
	"	str q1, [x1, #16]\n"
	"	ldp x4, x5, [x1, #16]\n"
	"	cmp x4, x2, lsl #1\n"
	"	b.ne 9f\n"
	"	cmp x5, x3, lsl #1\n"
	"	b.ne 9f\n"
	"	mov x20, #7\n"			/* STEP_COUNTER */
	"	mrs x2, cntvct_el0\n"
	"	isb\n"
	"	mrs x3, cntvct_el0\n"
	"	cmp x3, x2\n"
	"	b.lo 9f\n"
	"	mov x20, #8\n"			/* STEP_BRK */
	"	mov x21, #0\n"
	"	brk #0\n"
	"	cmp x21, #1\n"
	"	b.ne 9f\n"
	"	mov x20, #9\n"			/* STEP_PSCI: its version, 0.2 at least */
	"	mov w0, #0x84000000\n"
	"	hvc #0\n"
	"	cmp w0, #2\n"
	"	b.lt 9f\n"
	"	mov x20, #10\n"			/* STEP_LOOP */
	"3:	str wzr, [x19]\n"		/* SAYS_OK */
	"	ldr w0, =" STRING(SELF_TEST_LOOPS) "\n"
	"4:	subs w0, w0, #1\n"
	"	b.ne 4b\n"
	"	b 3b\n"
	"7:	mov x19, #0x40000000\n"		/* an exception, with x22 its vector */
	"	cmp x22, #64 + 4\n"		/* synchronous, from EL1 */
	"	b.ne 8f\n"
	"	mrs x0, esr_el1\n"
	"	lsr x22, x0, #26\n"
	"	and x22, x22, #0x3f\n"
	"	cmp x22, #0x3c\n"		/* brk */
	"	b.ne 8f\n"
	"	cmp x20, #8\n"			/* STEP_BRK */
	"	b.ne 8f\n"
	"	add x21, x21, #1\n"
	"	mrs x0, elr_el1\n"
	"	add x0, x0, #4\n"
	"	msr elr_el1, x0\n"
	"	eret\n"
	"8:	str w22, [x19, #4]\n"		/* SAYS_EXCEPTION */
	"	b .\n"
	"9:	str wzr, [x19, #8]\n"		/* SAYS_WRONG */
	"	b .\n"
	"	.ltorg\n"
	".globl squib_kvm_probe_code_end\n"
	".hidden squib_kvm_probe_code_end\n"
	"squib_kvm_probe_code_end:\n"
	".popsection\n");

extern const uint8_t squib_kvm_probe_code[], squib_kvm_probe_code_end[];

/* Arm ARM, D8.3: a block of a level 1 table of 4 KiB pages */
#define BLOCK		0x1u
#define BLOCK_DEVICE	(1u << 2)	/* attribute 1 of MAIR_EL1 */
#define BLOCK_SHARED	(3u << 8)	/* inner shareable */
#define BLOCK_ACCESSED	(1u << 10)
#define BLOCK_NO_EXEC	(UINT64_C(3) << 53)

static void fill_memory(const struct self_test *test)
{
	const uint64_t table[] = {
		0,
		MMIO | BLOCK | BLOCK_DEVICE | BLOCK_ACCESSED | BLOCK_NO_EXEC,
		MEMORY | BLOCK | BLOCK_SHARED | BLOCK_ACCESSED,
	};

	memcpy(test->memory, table, sizeof(table));
	memcpy(test->memory + CODE, squib_kvm_probe_code,
	       (size_t)(squib_kvm_probe_code_end - squib_kvm_probe_code));
}

/* KVM gives a new vCPU the state of a reset: EL1, interrupts masked, MMU off, registers 0 */
static int vcpu_setup(struct self_test *test)
{
	struct kvm_vcpu_init init;

	fill_memory(test);
	if (ioctl(test->vm_fd, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		return -errno;
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	if (ioctl(test->vcpu_fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return -errno;
	return register_set(test->vcpu_fd, REGISTER_PC, MEMORY + ENTRY);
}

static uint64_t step(const struct self_test *test)
{
	uint64_t step;

	return register_get(test->vcpu_fd, REGISTER_X(20), &step) == 0 ? step : STEP_NONE;
}

static enum self_test_outcome exited(const struct self_test *test, uint32_t *ret_detail)
{
	const struct kvm_run *run = test->run;

	*ret_detail = run->exit_reason;
	if (run->exit_reason != KVM_EXIT_MMIO || !run->mmio.is_write ||
	    run->mmio.len != sizeof(*ret_detail))
		return SELF_TEST_EXIT;
	memcpy(ret_detail, run->mmio.data, sizeof(*ret_detail));
	switch (run->mmio.phys_addr) {
	case SAYS_OK:
		return SELF_TEST_GOOD;
	case SAYS_EXCEPTION:
		return SELF_TEST_EXCEPTION;
	default:
		return SELF_TEST_WRONG;
	}
}

static void loop(void)
{
	uint32_t count = SELF_TEST_LOOPS;

	__asm__ volatile("1: subs %w0, %w0, #1; b.ne 1b" : "+r"(count) : : "cc");
}

/* The machine needs an interrupt controller, of either version. It is asked for, not made. */
static int vm_setup(struct self_test *test)
{
	static const uint32_t types[] = { KVM_DEV_TYPE_ARM_VGIC_V3, KVM_DEV_TYPE_ARM_VGIC_V2 };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		struct kvm_create_device device = { .type = types[i],
						    .flags = KVM_CREATE_DEVICE_TEST };

		if (ioctl(test->vm_fd, KVM_CREATE_DEVICE, &device) == 0)
			return 0;
	}
	return -ENODEV;
}

static const struct self_test_guest guest = {
	.arch = SQUIB_ARCH_AARCH64,
	.steps = step_names,
	.step_count = STEP_COUNT,
	.address = MEMORY,
	.vm_type = arch_vm_type,
	.vm_setup = vm_setup,
	.vcpu_setup = vcpu_setup,
	.step = step,
	.exited = exited,
	.loop = loop,
};

const struct self_test_guest *const self_test_guest = &guest;
