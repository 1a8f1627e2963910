/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test runs in a forked child, for three reasons: a guest that never exits is ended by
 * killing the child, with no signal handler and no thread of ours; a KVM that is broken enough to
 * hurt the process that uses it hurts nobody; and whatever was opened and mapped is gone for sure.
 * We have threads, so the child calls nothing but system calls, and reports numbers; the parent
 * makes the text.
 *
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
 * It ends each part with a write to a port. Speed is the time between two such writes with a loop
 * between them, against the same loop in the child.
 */
#include "engine/kvm/probe.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"

#define WATCHDOG_MS	2000	/* a nested host that was itself emulated took 0.4 s */

#define GUEST_BYTES	0x10000
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

#define LOOPS		100000
#define ROUNDS		3
#define SLOWER_MAX	8	/* times; good hosts, nested ones too, are below 2 */

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
_Static_assert(sizeof(step_names) / sizeof(step_names[0]) == STEP_COUNT, "a name for each step");

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

/* What the child reports */
enum outcome {
	OUTCOME_GOOD,
	OUTCOME_OPEN,		/* detail: errno of opening /dev/kvm */
	OUTCOME_VERSION,	/* detail: the API version */
	OUTCOME_SETUP,		/* detail: errno */
	OUTCOME_RUN,		/* detail: errno of KVM_RUN */
	OUTCOME_EXIT,		/* detail: an exit reason the guest does not cause */
	OUTCOME_EXCEPTION,	/* detail: the vector */
	OUTCOME_WRONG,
	OUTCOME_SLOW,		/* detail: times slower than native */
};

struct report {
	uint32_t outcome;
	uint32_t step;
	uint32_t detail;
};

/* The guest, in the child */

struct test {
	int kvm_fd, vm_fd, vcpu_fd;
	uint8_t *memory;
	struct kvm_run *run;
	/* a struct kvm_cpuid2 with its entries behind it */
	_Alignas(struct kvm_cpuid2) uint8_t
		cpuid[sizeof(struct kvm_cpuid2) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
};

static volatile struct mailbox *mailbox_of(struct test *test)
{
	return (volatile struct mailbox *)(test->memory + MAILBOX);
}

static struct report report_of(struct test *test, enum outcome outcome, uint32_t detail)
{
	uint64_t step = test->memory != NULL ? mailbox_of(test)->step : STEP_NONE;

	return (struct report){ .outcome = outcome, .detail = detail,
				.step = step < STEP_COUNT ? (uint32_t)step : STEP_NONE };
}

static void put64(struct test *test, size_t at, uint64_t value)
{
	memcpy(test->memory + at, &value, sizeof(value));
}

static void fill_idt(struct test *test)
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

static void fill_memory(struct test *test)
{
	put64(test, PML4, PDPT | 3);
	put64(test, PDPT, PAGE_DIR | 3);
	put64(test, PAGE_DIR, 0x83);				/* 2 MiB at 0 */
	put64(test, GDT + 8, UINT64_C(0x00af9b000000ffff));	/* 64-bit code */
	put64(test, GDT + 16, UINT64_C(0x00cf93000000ffff));	/* data */
	memcpy(test->memory + CODE, squib_kvm_probe_code,
	       (size_t)(squib_kvm_probe_code_end - squib_kvm_probe_code));
	fill_idt(test);
	mailbox_of(test)->loops = LOOPS;
}

static int setup_cpuid(struct test *test, bool *ret_xsave)
{
	struct kvm_cpuid2 *cpuid = (struct kvm_cpuid2 *)test->cpuid;
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

static int setup_registers(struct test *test, bool xsave)
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

static int setup(struct test *test)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_BYTES };
	bool xsave = false;
	int size, r;

	test->vm_fd = ioctl(test->kvm_fd, KVM_CREATE_VM, 0);
	if (test->vm_fd < 0)
		return -errno;
	test->memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (test->memory == MAP_FAILED) {
		test->memory = NULL;
		return -errno;
	}
	fill_memory(test);
	region.userspace_addr = (uintptr_t)test->memory;
	if (ioctl(test->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||	/* Intel wants one */
	    ioctl(test->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return -errno;
	test->vcpu_fd = ioctl(test->vm_fd, KVM_CREATE_VCPU, 0);
	size = ioctl(test->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (test->vcpu_fd < 0 || size < (int)sizeof(*test->run))
		return -errno;
	test->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, test->vcpu_fd, 0);
	if (test->run == MAP_FAILED)
		return -errno;
	r = setup_cpuid(test, &xsave);
	return r < 0 ? r : setup_registers(test, xsave);
}

/* Up to the guest's next word */
static struct report run(struct test *test)
{
	struct kvm_run *run = test->run;

	while (ioctl(test->vcpu_fd, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return report_of(test, OUTCOME_RUN, (uint32_t)errno);
	if (run->exit_reason != KVM_EXIT_IO)
		return report_of(test, OUTCOME_EXIT, run->exit_reason);
	switch (run->io.port) {
	case PORT_OK:
		return report_of(test, OUTCOME_GOOD, 0);
	case PORT_EXCEPTION:
		return report_of(test, OUTCOME_EXCEPTION, ((uint8_t *)run)[run->io.data_offset]);
	default:
		return report_of(test, OUTCOME_WRONG, 0);
	}
}

static uint64_t cpu_ns(void)	/* of this thread: other load on the host does not count */
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t native_loop_ns(void)
{
	uint64_t start = cpu_ns(), count = LOOPS;

	__asm__ volatile("1: decq %0; jnz 1b" : "+r"(count) : : "cc");
	return cpu_ns() - start;
}

/* The best of a few rounds on either side */
static struct report measure(struct test *test)
{
	uint64_t native = UINT64_MAX, guest = UINT64_MAX;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t start, took = native_loop_ns();
		struct report report;

		native = took < native ? took : native;
		start = cpu_ns();
		report = run(test);
		took = cpu_ns() - start;
		if (report.outcome != OUTCOME_GOOD)
			return report;
		guest = took < guest ? took : guest;
	}
	if (native == 0 || guest / native < SLOWER_MAX)
		return report_of(test, OUTCOME_GOOD, 0);
	return report_of(test, OUTCOME_SLOW, (uint32_t)(guest / native));
}

static struct report self_test(struct test *test)
{
	struct report report;
	int r;

	test->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (test->kvm_fd < 0)
		return report_of(test, OUTCOME_OPEN, (uint32_t)errno);
	r = ioctl(test->kvm_fd, KVM_GET_API_VERSION, 0);
	if (r != KVM_API_VERSION)
		return report_of(test, OUTCOME_VERSION, (uint32_t)r);
	r = setup(test);
	if (r < 0)
		return report_of(test, OUTCOME_SETUP, (uint32_t)-r);
	report = run(test);
	return report.outcome == OUTCOME_GOOD ? measure(test) : report;
}

_Noreturn static void run_child(int fd, struct test *test, pid_t parent)
{
	struct report report;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
		report = self_test(test);
		while (write(fd, &report, sizeof(report)) < 0 && errno == EINTR)
			;
	}
	_exit(0);
}

/* The parent */

static int explain(const struct report *report, struct fault *reason)
{
	const char *step = step_names[report->step];
	char text[OS_ERROR_MAX];
	int error = (int)report->detail;

	switch ((enum outcome)report->outcome) {
	case OUTCOME_GOOD:
		return 0;
	case OUTCOME_OPEN:
		return fault_set(reason, -error, "Error creating KVM object: %s Make sure the user "
				 "launching the firecracker process is configured on the /dev/kvm file's "
				 "ACL.", os_error(error, text));
	case OUTCOME_VERSION:
		return fault_set(reason, -ENOTSUP, "The host kernel reports an invalid KVM API "
				 "version: %d", error);
	case OUTCOME_SETUP:
		return fault_set(reason, -ENOTSUP, "KVM cannot make a guest: %s",
				 os_error(error, text));
	case OUTCOME_RUN:
		return fault_set(reason, -ENOTSUP, "KVM cannot run %s: %s", step,
				 os_error(error, text));
	case OUTCOME_EXIT:
		return fault_set(reason, -ENOTSUP, "KVM does not run %s (exit reason %u)", step,
				 report->detail);
	case OUTCOME_EXCEPTION:
		return fault_set(reason, -ENOTSUP, "KVM does not run %s (exception %u)", step,
				 report->detail);
	case OUTCOME_WRONG:
		return fault_set(reason, -ENOTSUP, "KVM gives a wrong result for %s", step);
	case OUTCOME_SLOW:
		return fault_set(reason, -ENOTSUP, "KVM is emulated: a guest runs %u times slower "
				 "than the processor", report->detail);
	}
	return fault_set(reason, -ENOTSUP, "KVM's self-test failed");
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* 1 with a report; 0: the child died; -ETIMEDOUT */
static int read_report(int fd, struct report *report)
{
	uint64_t end_ns = clock_ns() + WATCHDOG_MS * UINT64_C(1000000);

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now_ns = clock_ns();

		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((end_ns - now_ns) / 1000000) + 1) == 1)
			return read(fd, report, sizeof(*report)) == sizeof(*report) &&
			       report->step < STEP_COUNT;
	}
}

int kvm_probe(enum squib_arch arch, struct fault *reason)
{
	CLEANUP(fd_close) int report_in = -1;
	CLEANUP(fd_close) int report_out = -1;
	struct test test = { .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1 };
	struct report report;
	char text[OS_ERROR_MAX];
	pid_t parent = getpid(), pid;
	int p[2], r;

	if (arch != SQUIB_ARCH_X86_64)
		return fault_set(reason, -ENOTSUP, "KVM runs guests of the host's architecture only");
	if (pipe2(p, O_CLOEXEC) < 0) {
		r = -errno;
		return fault_set(reason, r, "KVM's self-test cannot run: %s", os_error(r, text));
	}
	report_in = p[0];
	report_out = p[1];
	pid = fork();
	if (pid == 0)
		run_child(report_out, &test, parent);
	if (pid < 0) {
		r = -errno;
		return fault_set(reason, r, "KVM's self-test cannot run: %s", os_error(r, text));
	}
	fd_close(fd_take(&report_out));
	r = read_report(report_in, &report);
	end_child(pid);
	if (r == -ETIMEDOUT)
		return fault_set(reason, -ENOTSUP, "KVM's self-test did not end");
	if (r == 0)
		return fault_set(reason, -ENOTSUP, "KVM's self-test was killed");
	return explain(&report, reason);
}

#else

int kvm_probe(enum squib_arch arch, struct fault *reason)
{
	(void)arch;
	return fault_set(reason, -ENOTSUP, "KVM has no self-test on this host's architecture yet");
}

#endif
