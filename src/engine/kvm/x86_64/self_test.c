/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest, in 64-bit mode with SSE and XSAVE on:
 *
 *	0x1000	page tables: the first 2 MiB, mapped to themselves
 *	0x4000	GDT
 *	0x5000	IDT: vector 3 counts and returns, all others tell their number and halt
 *	0x8000	code
 *	0x9000	a 16-byte stub for each vector
 *	0xa000	data the instructions work on
 *	0xc000	struct mailbox: the guest says here what it tries next
 *	0xf000	stack, growing down
 *
 * It ends each part with a write to a port.
 */
#include "engine/kvm/self_test.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "engine/kvm/arch.h"

#define PML4		0x1000
#define PDPT		0x2000
#define PAGE_DIR	0x3000
#define GDT		0x4000
#define IDT		0x5000
#define CODE		0x8000
#define STUBS		0x9000
#define MAILBOX		0xc000
#define STACK		0xf000
#define VECTORS		32
#define CPUID_ENTRIES	128

#define PORT_OK		0xf1
#define PORT_EXCEPTION	0xf2
#define PORT_WRONG	0xf3	/* an instruction gave a wrong result */

enum step {			/* as written by the guest */
	STEP_NONE,
	STEP_CMPXCHG16B,
	STEP_SSE,
	STEP_XSETBV,
	STEP_XSAVE,
	STEP_XRSTOR,
	STEP_CPUID,
	STEP_INT3,
	STEP_LOOP,
	STEP_COUNT,
};

static const char *const step_names[] = {
	[STEP_NONE] = "its first instruction", [STEP_CMPXCHG16B] = "cmpxchg16b",
	[STEP_SSE] = "an SSE instruction",     [STEP_XSETBV] = "xsetbv",
	[STEP_XSAVE] = "xsave64",	       [STEP_XRSTOR] = "xrstor64",
	[STEP_CPUID] = "cpuid",		       [STEP_INT3] = "int3",
	[STEP_LOOP] = "a loop",
};
_Static_assert(ARRAY_SIZE(step_names) == STEP_COUNT, "a name for each step");

struct mailbox {
	uint64_t step;
	uint64_t has_cmpxchg16b;
	uint64_t has_xsave;
	uint64_t breakpoints;
	uint64_t loops;
};

/* The offsets of struct mailbox are those used below. */
__asm__(
	".pushsection .rodata\n"
	".balign 16\n"
	".globl squib_kvm_probe_code\n"
	".hidden squib_kvm_probe_code\n"
	"squib_kvm_probe_code:\n"
	"	incq 0xc018\n"			/* the handler of int3 */
	"	iretq\n"
	"	.balign 32\n"			/* CODE_ENTRY */
	"	cmpq $0, 0xc008\n"
	"	je 1f\n"
	"	movq $1, 0xc000\n"		/* STEP_CMPXCHG16B */
	"	xorl %eax, %eax\n"
	"	xorl %edx, %edx\n"
	"	movl $0x1234, %ebx\n"
	"	movl $0x5678, %ecx\n"
	"	lock cmpxchg16b 0xa000\n"
	"	jne 9f\n"
	"	cmpq %rbx, 0xa000\n"
	"	jne 9f\n"
	"	cmpq %rcx, 0xa008\n"
	"	jne 9f\n"
	"1:	movq $2, 0xc000\n"		/* STEP_SSE */
	"	movdqa 0xa000, %xmm0\n"
	"	movdqa %xmm0, %xmm1\n"
	"	paddq %xmm0, %xmm1\n"
	"	movdqa %xmm1, 0xa010\n"
	"	movq 0xa000, %rax\n"
	"	addq %rax, %rax\n"
	"	cmpq %rax, 0xa010\n"
	"	jne 9f\n"
	"	cmpq $0, 0xc010\n"
	"	je 2f\n"
	"	movq $3, 0xc000\n"		/* STEP_XSETBV: x87 and SSE */
	"	xorl %ecx, %ecx\n"
	"	xorl %edx, %edx\n"
	"	movl $3, %eax\n"
	"	xsetbv\n"
	"	movq $4, 0xc000\n"		/* STEP_XSAVE */
	"	xsave64 0xa400\n"
	"	movq $5, 0xc000\n"		/* STEP_XRSTOR: xmm1 comes back */
	"	pxor %xmm1, %xmm1\n"
	"	xorl %edx, %edx\n"
	"	movl $3, %eax\n"
	"	xrstor64 0xa400\n"
	"	movq %xmm1, %rax\n"
	"	cmpq %rax, 0xa010\n"
	"	jne 9f\n"
	"2:	movq $6, 0xc000\n"		/* STEP_CPUID */
	"	xorl %eax, %eax\n"
	"	xorl %ecx, %ecx\n"
	"	cpuid\n"
	"	testl %eax, %eax\n"
	"	je 9f\n"
	"	movq $7, 0xc000\n"		/* STEP_INT3 */
	"	int3\n"
	"	cmpq $1, 0xc018\n"
	"	jne 9f\n"
	"	movq $8, 0xc000\n"		/* STEP_LOOP */
	"3:	outb %al, $0xf1\n"
	"	movq 0xc020, %rcx\n"
	"4:	decq %rcx\n"
	"	jnz 4b\n"
	"	jmp 3b\n"
	"9:	outb %al, $0xf3\n"
	"	hlt\n"
	".globl squib_kvm_probe_code_end\n"
	".hidden squib_kvm_probe_code_end\n"
	"squib_kvm_probe_code_end:\n"
	".popsection\n");

extern const uint8_t squib_kvm_probe_code[], squib_kvm_probe_code_end[];

#define CODE_ENTRY (CODE + 32)

static volatile struct mailbox *mailbox_of(const struct self_test *test)
{
	return (volatile struct mailbox *)(test->memory + MAILBOX);
}

static void put64(struct self_test *test, size_t at, uint64_t value)
{
	memcpy(test->memory + at, &value, sizeof(value));
}

static void fill_idt(struct self_test *test)
{
	for (size_t vector = 0; vector < VECTORS; vector++) {
		uint8_t stub[] = { 0xb0, (uint8_t)vector,	/* mov $vector, %al */
				   0xe6, PORT_EXCEPTION,	/* out %al, $port */
				   0xf4 };			/* hlt */
		uint64_t handler = vector == 3 ? CODE : STUBS + vector * 16;

		memcpy(test->memory + STUBS + vector * 16, stub, sizeof(stub));
		/* selector 8, present, interrupt gate; the handlers are below 64 KiB */
		put64(test, IDT + vector * 16, handler | 8 << 16 | UINT64_C(0x8e00) << 32);
	}
}

static void fill_memory(struct self_test *test)
{
	put64(test, PML4, PDPT | 3);
	put64(test, PDPT, PAGE_DIR | 3);
	put64(test, PAGE_DIR, 0x83);				/* 2 MiB at 0 */
	put64(test, GDT + 8, UINT64_C(0x00af9b000000ffff));	/* 64-bit code */
	put64(test, GDT + 16, UINT64_C(0x00cf93000000ffff));	/* data */
	memcpy(test->memory + CODE, squib_kvm_probe_code,
	       (size_t)(squib_kvm_probe_code_end - squib_kvm_probe_code));
	fill_idt(test);
	mailbox_of(test)->loops = SELF_TEST_LOOPS;
}

static int setup_cpuid(struct self_test *test, bool *ret_xsave)
{
	_Alignas(struct kvm_cpuid2) uint8_t buffer[sizeof(struct kvm_cpuid2) + CPUID_ENTRIES *
						   sizeof(struct kvm_cpuid_entry2)] = { 0 };
	struct kvm_cpuid2 *cpuid = (struct kvm_cpuid2 *)buffer;
	volatile struct mailbox *mailbox = mailbox_of(test);
	uint32_t features = 0;

	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(test->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(test->vcpu_fd, KVM_SET_CPUID2, cpuid) < 0)
		return -errno;
	for (uint32_t i = 0; i < cpuid->nent && i < CPUID_ENTRIES; i++)
		if (cpuid->entries[i].function == 1)
			features = cpuid->entries[i].ecx;
	/* Linux needs cmpxchg16b on every 64-bit host made since 2006: try it, announced or not. */
	mailbox->has_cmpxchg16b = 1;
	mailbox->has_xsave = (features & bit_XSAVE) != 0;
	*ret_xsave = mailbox->has_xsave;
	return 0;
}

static int setup_registers(struct self_test *test, bool xsave)
{
	struct kvm_segment code = { .selector = 8, .limit = UINT32_MAX, .type = 11, .present = 1,
				    .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .selector = 16, .limit = UINT32_MAX, .type = 3, .present = 1,
				    .s = 1, .db = 1, .g = 1 };
	struct kvm_regs regs = { .rip = CODE_ENTRY, .rsp = STACK, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(test->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.gdt = (struct kvm_dtable){ .base = GDT, .limit = 23 };
	sregs.idt = (struct kvm_dtable){ .base = IDT, .limit = VECTORS * 16 - 1 };
	sregs.cr3 = PML4;
	/* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
	sregs.cr4 = 1u << 5 | 1u << 9 | 1u << 10 | (xsave ? 1u << 18 : 0);
	sregs.cr0 = 0x80050033;		/* PG AM WP NE ET MP PE */
	sregs.efer = 0x500;		/* LMA LME */
	if (ioctl(test->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    ioctl(test->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int vm_setup(struct self_test *test)
{
	return ioctl(test->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ? -errno : 0;	/* Intel wants one */
}

static int vcpu_setup(struct self_test *test)
{
	bool xsave = false;
	int r;

	fill_memory(test);
	r = setup_cpuid(test, &xsave);
	return r < 0 ? r : setup_registers(test, xsave);
}

static uint64_t step(const struct self_test *test)
{
	return mailbox_of(test)->step;
}

static enum self_test_outcome exited(const struct self_test *test, uint32_t *ret_detail)
{
	const struct kvm_run *run = test->run;

	*ret_detail = run->exit_reason;
	if (run->exit_reason != KVM_EXIT_IO)
		return SELF_TEST_EXIT;
	*ret_detail = ((const uint8_t *)run)[run->io.data_offset];
	switch (run->io.port) {
	case PORT_OK:
		return SELF_TEST_GOOD;
	case PORT_EXCEPTION:
		return SELF_TEST_EXCEPTION;
	default:
		return SELF_TEST_WRONG;
	}
}

static void loop(void)
{
	uint64_t count = SELF_TEST_LOOPS;

	__asm__ volatile("1: decq %0; jnz 1b" : "+r"(count) : : "cc");
}

static const struct self_test_guest guest = {
	.arch = SQUIB_ARCH_X86_64,
	.steps = step_names,
	.step_count = STEP_COUNT,
	.vm_type = arch_vm_type,
	.vm_setup = vm_setup,
	.vcpu_setup = vcpu_setup,
	.step = step,
	.exited = exited,
	.loop = loop,
};

const struct self_test_guest *const self_test_guest = &guest;
