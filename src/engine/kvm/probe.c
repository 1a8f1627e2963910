/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The self-test runs in a forked child, for three reasons: a guest that never exits is ended by
 * killing the child, with no signal handler and no thread of ours; a KVM that is broken enough to
 * hurt the process that uses it hurts nobody; and whatever was opened and mapped is gone for sure.
 * We have threads, so the child calls nothing but system calls, and reports numbers; the parent
 * makes the text.
 *
 * Speed is the time between two words of the guest with a loop between them, against the same loop
 * in the child.
 */
#include "engine/kvm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "engine/kvm/self_test.h"

#define WATCHDOG_MS	5000	/* busy nested hosts that were themselves emulated took up to 3.4 s */
#define ROUNDS		3
#define SLOWER_MAX	8	/* times; good hosts, nested ones too, are below 2 */

/* What the child reports */
struct report {
	uint32_t outcome;	/* enum self_test_outcome */
	uint32_t step;
	uint32_t detail;
};

/* The guest, in the child */

static struct report report_of(const struct self_test *test, enum self_test_outcome outcome,
			       uint32_t detail)
{
	uint64_t step = test->vcpu_fd >= 0 ? self_test_guest->step(test) : 0;

	return (struct report){ .outcome = outcome, .detail = detail,
				.step = step < self_test_guest->step_count ? (uint32_t)step : 0 };
}

static int make_memory(struct self_test *test)
{
	struct kvm_userspace_memory_region region = { .guest_phys_addr = self_test_guest->address,
						      .memory_size = SELF_TEST_BYTES };
	void *memory = mmap(NULL, SELF_TEST_BYTES, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	test->memory = memory;
	region.userspace_addr = (uintptr_t)memory;
	return ioctl(test->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

static int make_vcpu(struct self_test *test)
{
	int size = ioctl(test->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	int fd = ioctl(test->vm_fd, KVM_CREATE_VCPU, 0);

	if (fd < 0)
		return -errno;
	if (size < (int)sizeof(*test->run))
		return -ENOTSUP;
	test->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (test->run == MAP_FAILED)
		return -errno;
	test->vcpu_fd = fd;
	return 0;
}

static int setup(struct self_test *test)
{
	long type = self_test_guest->vm_type(test->kvm_fd);
	int r;

	if (type < 0)
		return (int)type;
	test->vm_fd = ioctl(test->kvm_fd, KVM_CREATE_VM, type);
	if (test->vm_fd < 0)
		return -errno;
	r = make_memory(test);
	if (r == 0 && self_test_guest->vm_setup != NULL)
		r = self_test_guest->vm_setup(test);
	if (r == 0)
		r = make_vcpu(test);
	return r == 0 ? self_test_guest->vcpu_setup(test) : r;
}

/* Up to the guest's next word */
static struct report run(struct self_test *test)
{
	enum self_test_outcome outcome;
	uint32_t detail = 0;

	while (ioctl(test->vcpu_fd, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return report_of(test, SELF_TEST_RUN, (uint32_t)errno);
	outcome = self_test_guest->exited(test, &detail);
	return report_of(test, outcome, detail);
}

static uint64_t cpu_ns(void)	/* of this thread: other load on the host does not count */
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t native_loop_ns(void)
{
	uint64_t start = cpu_ns();

	self_test_guest->loop();
	return cpu_ns() - start;
}

static bool is_slow(uint64_t guest_ns, uint64_t native_ns)
{
	return native_ns > 0 && guest_ns / native_ns >= SLOWER_MAX;
}

/* The best so far on either side, until that is good enough or there were ROUNDS */
static struct report measure(struct self_test *test)
{
	uint64_t native = UINT64_MAX, guest = UINT64_MAX;

	for (int i = 0; i < ROUNDS && (i == 0 || is_slow(guest, native)); i++) {
		uint64_t start, took = native_loop_ns();
		struct report report;

		native = took < native ? took : native;
		start = cpu_ns();
		report = run(test);
		took = cpu_ns() - start;
		if (report.outcome != SELF_TEST_GOOD)
			return report;
		guest = took < guest ? took : guest;
	}
	if (!is_slow(guest, native))
		return report_of(test, SELF_TEST_GOOD, 0);
	return report_of(test, SELF_TEST_SLOW, (uint32_t)(guest / native));
}

static struct report self_test(struct self_test *test)
{
	struct report report;
	int r;

	test->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (test->kvm_fd < 0)
		return report_of(test, SELF_TEST_OPEN, (uint32_t)errno);
	r = ioctl(test->kvm_fd, KVM_GET_API_VERSION, 0);
	if (r != KVM_API_VERSION)
		return report_of(test, SELF_TEST_VERSION, (uint32_t)r);
	r = setup(test);
	if (r < 0)
		return report_of(test, SELF_TEST_SETUP, (uint32_t)-r);
	report = run(test);
	return report.outcome == SELF_TEST_GOOD ? measure(test) : report;
}

_Noreturn static void run_child(int fd, struct self_test *test, pid_t parent)
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
	const char *step = self_test_guest->steps[report->step];
	char text[OS_ERROR_MAX];
	int error = (int)report->detail;

	switch ((enum self_test_outcome)report->outcome) {
	case SELF_TEST_GOOD:
		return 0;
	case SELF_TEST_OPEN:
		return fault_set(reason, -error, "Error creating KVM object: %s Make sure the user "
				 "launching the firecracker process is configured on the /dev/kvm file's "
				 "ACL.", os_error(error, text));
	case SELF_TEST_VERSION:
		return fault_set(reason, -ENOTSUP, "The host kernel reports an invalid KVM API "
				 "version: %d", error);
	case SELF_TEST_SETUP:
		return fault_set(reason, -ENOTSUP, "KVM cannot make a guest: %s",
				 os_error(error, text));
	case SELF_TEST_RUN:
		return fault_set(reason, -ENOTSUP, "KVM cannot run %s: %s", step,
				 os_error(error, text));
	case SELF_TEST_EXIT:
		return fault_set(reason, -ENOTSUP, "KVM does not run %s (exit reason %u)", step,
				 report->detail);
	case SELF_TEST_EXCEPTION:
		return fault_set(reason, -ENOTSUP, "KVM does not run %s (exception %u)", step,
				 report->detail);
	case SELF_TEST_WRONG:
		return fault_set(reason, -ENOTSUP, "KVM gives a wrong result for %s", step);
	case SELF_TEST_SLOW:
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
			       report->step < self_test_guest->step_count;
	}
}

int kvm_probe(enum squib_arch arch, struct fault *reason)
{
	CLEANUP(fd_close) int report_in = -1;
	CLEANUP(fd_close) int report_out = -1;
	struct self_test test = { .kvm_fd = -1, .vm_fd = -1, .vcpu_fd = -1 };
	struct report report;
	char text[OS_ERROR_MAX];
	pid_t parent = getpid(), pid;
	int p[2], r;

	if (self_test_guest == NULL)
		return fault_set(reason, -ENOTSUP, "KVM has no self-test on this host's architecture");
	if (arch != self_test_guest->arch)
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
