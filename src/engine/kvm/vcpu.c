/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread is in one of three places: in the guest (KVM_RUN), with an exit (the listener), or parked
 * on a condition. The monitor says what it wants of all of them in `wanted`; a thread looks there
 * when it is parked, and when KVM_RUN was interrupted, never between an exit and the KVM_RUN that
 * completes it. So a parked vCPU owes the guest nothing.
 *
 * To get a thread out of the guest takes two things. kvm_run.immediate_exit makes the next KVM_RUN
 * return at once, for a thread that is about to enter; the signal brings one back that is in there.
 * The signal's handler does nothing, and needs no state.
 *
 *	monitor				vCPU thread
 *	wanted = PAUSE			KVM_RUN returns EINTR
 *	immediate_exit = 1		immediate_exit = 0
 *	signal				look at wanted
 *
 * If the thread does not see the new `wanted`, then immediate_exit is set after it was cleared, and
 * the next KVM_RUN returns: both sides write first and look then, in one total order.
 */
#include "engine/kvm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "base/fd.h"
#include "engine/kvm/arch.h"

#define PAUSE_PATIENCE_S 4	/* below the deadline of PATCH /vm */
#define KICK_SIGNAL	 SIGRTMIN

enum wanted { WANT_PAUSE, WANT_RUN, WANT_QUIT };

struct vcpu {
	struct vcpus *vcpus;
	size_t index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool has_thread;
	bool ended;		/* the thread's */
};

struct vcpus {
	struct log *log;
	struct metrics *metrics;
	struct vcpus_listener *listener;
	size_t run_bytes;

	pthread_mutex_t lock;
	pthread_cond_t wanted_changed;
	pthread_cond_t parked_changed;
	_Atomic int wanted;	/* enum wanted; written with the lock held */
	size_t parked;		/* threads on wanted_changed */

	size_t count;
	struct vcpu list[];
};

/* ---- the thread ---- */

/* true: run; false: quit */
static bool park(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;
	int wanted;

	pthread_mutex_lock(&vcpus->lock);
	vcpus->parked++;
	pthread_cond_signal(&vcpus->parked_changed);
	while ((wanted = vcpus->wanted) == WANT_PAUSE || (wanted == WANT_RUN && vcpu->ended))
		pthread_cond_wait(&vcpus->wanted_changed, &vcpus->lock);
	vcpus->parked--;
	pthread_mutex_unlock(&vcpus->lock);
	return wanted == WANT_RUN;
}

static enum vcpu_verdict fail(struct vcpu *vcpu, const char *reason)
{
	struct log *log = vcpu->vcpus->log;

	metrics_inc(&vcpu->vcpus->metrics->vcpu.failures);
	log_error(log, "%s", reason);
	return VCPU_FAILED;
}

/* What a person can do about it; the line before says what upstream says. */
static void suggest_qemu(struct vcpu *vcpu)
{
	log_error(vcpu->vcpus->log, "KVM could not go on with this guest. Where KVM itself is emulated, "
		  "as in some virtual machines, guests run with --engine qemu.");
}

static enum vcpu_verdict fail_run(struct vcpu *vcpu, int error)
{
	char text[OS_ERROR_MAX], reason[OS_ERROR_MAX + 32];

	if (error == ENOSYS)
		return fail(vcpu, "Received ENOSYS error because KVM failed to emulate an "
			    "instruction.");
	snprintf(reason, sizeof(reason), "Failure during vcpu run: %s", os_error(error, text));
	fail(vcpu, reason);
	if (error == EFAULT)
		log_error(vcpu->vcpus->log, "The host could not give memory to the guest.");
	return VCPU_FAILED;
}

static enum vcpu_verdict fail_internal(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	fail(vcpu, "Received KVM_EXIT_INTERNAL_ERROR signal");
	log_error(vcpu->vcpus->log, "vCPU %zu: KVM internal error %u: %s", vcpu->index,
		  run->internal.suberror, run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ?
		  "an instruction could not be emulated" : "see linux/kvm.h");
	suggest_qemu(vcpu);
	return VCPU_FAILED;
}

static enum vcpu_verdict fail_entry(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char reason[96];

	snprintf(reason, sizeof(reason), "Received KVM_EXIT_FAIL_ENTRY signal: %llu on cpu %u",
		 (unsigned long long)run->fail_entry.hardware_entry_failure_reason,
		 run->fail_entry.cpu);
	fail(vcpu, reason);
	suggest_qemu(vcpu);
	return VCPU_FAILED;
}

static enum vcpu_verdict system_event(struct vcpu *vcpu)
{
	uint32_t type = vcpu->run->system_event.type;
	char reason[64];

	if (type == KVM_SYSTEM_EVENT_SHUTDOWN || type == KVM_SYSTEM_EVENT_RESET) {
		log_info(vcpu->vcpus->log, "Received KVM_SYSTEM_EVENT: type: %u", type);
		return VCPU_GUEST_ENDED;
	}
	snprintf(reason, sizeof(reason), "Received KVM_SYSTEM_EVENT signal type: %u", type);
	return fail(vcpu, reason);
}

static enum vcpu_verdict unexpected(struct vcpu *vcpu)
{
	char reason[64];

	if (vcpu->run->exit_reason == KVM_EXIT_SHUTDOWN) {
		fail(vcpu, "Unexpected exit reason on vcpu run: Shutdown");
		log_error(vcpu->vcpus->log, "vCPU %zu: triple fault. The kernel may not be made for "
			  "this machine; reboot=k makes it reboot without one.", vcpu->index);
		return VCPU_FAILED;
	}
	snprintf(reason, sizeof(reason), "Unexpected exit reason on vcpu run: %u",
		 vcpu->run->exit_reason);
	return fail(vcpu, reason);
}

static enum vcpu_verdict handle_exit(struct vcpu *vcpu)
{
	struct vcpus_listener *listener = vcpu->vcpus->listener;

	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
	case KVM_EXIT_MMIO:
		return listener->exited(listener, vcpu->run);
	case KVM_EXIT_INTR:
		return VCPU_GO_ON;
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(vcpu);
	case KVM_EXIT_INTERNAL_ERROR:
		return fail_internal(vcpu);
	case KVM_EXIT_FAIL_ENTRY:
		return fail_entry(vcpu);
	default:
		return unexpected(vcpu);
	}
}

/* Until the monitor wants something else or it cannot go on */
static enum vcpu_verdict run_guest(struct vcpu *vcpu)
{
	struct vcpus *vcpus = vcpu->vcpus;
	enum vcpu_verdict verdict = VCPU_GO_ON;

	while (verdict == VCPU_GO_ON) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
			verdict = handle_exit(vcpu);
		} else if (errno == EINTR) {
			__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
			if (atomic_load(&vcpus->wanted) != WANT_RUN)
				return VCPU_GO_ON;
		} else if (errno != EAGAIN) {	/* EAGAIN: a vCPU that waits to be started */
			verdict = fail_run(vcpu, errno);
		}
	}
	return verdict;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vcpus *vcpus = vcpu->vcpus;
	char name[16];
	sigset_t kick;

	snprintf(name, sizeof(name), "fc_vcpu %zu", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	sigemptyset(&kick);
	sigaddset(&kick, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	while (park(vcpu)) {
		enum vcpu_verdict verdict = run_guest(vcpu);

		if (verdict != VCPU_GO_ON) {
			vcpu->ended = true;
			vcpus->listener->ended(vcpus->listener, verdict);
		} else if (atomic_load(&vcpus->wanted) == WANT_PAUSE) {
			arch_vcpu_paused(vcpu->fd, vcpus->log, vcpus->metrics);
		}
	}
	return NULL;
}

/* ---- the monitor ---- */

static void kicked(int signal)
{
	(void)signal;	/* that KVM_RUN was interrupted is all that is wanted */
}

static int install_kick(void)
{
	struct sigaction action = { .sa_handler = kicked };	/* no SA_RESTART */

	return sigaction(KICK_SIGNAL, &action, NULL) < 0 ? -errno : 0;
}

static void want(struct vcpus *vcpus, enum wanted wanted)
{
	pthread_mutex_lock(&vcpus->lock);
	atomic_store(&vcpus->wanted, wanted);
	pthread_cond_broadcast(&vcpus->wanted_changed);
	pthread_mutex_unlock(&vcpus->lock);
}

static void kick(struct vcpus *vcpus)
{
	for (size_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		if (!vcpu->has_thread)
			continue;
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(vcpu->thread, KICK_SIGNAL);
	}
}

/* Hosts with an old interrupt controller (GICv2) have room for eight. */
static int create_failed(const struct vm *vm, size_t count, int error, struct fault *fault)
{
	int max = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	char text[OS_ERROR_MAX];

	if (max <= 0 || count <= (size_t)max)
		return vm_fault(fault, error, "Failed to create vcpu");
	return fault_set(fault, error, "Error with the KvmVm object: Failed to create vcpu: %s: this "
			 "host's KVM gives a machine %d at most", os_error(error, text), max);
}

static int create(const struct vm *vm, struct vcpu *vcpu)
{
	void *run;

	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, vcpu->index);
	if (vcpu->fd < 0)
		return -errno;
	run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	return 0;
}

int vcpus_new(const struct vm *vm, size_t count, struct log *log, struct metrics *metrics,
	      struct vcpus_listener *listener, struct vcpus **ret_vcpus, struct fault *fault)
{
	struct vcpus *vcpus = calloc(1, sizeof(*vcpus) + count * sizeof(vcpus->list[0]));
	pthread_condattr_t monotonic;
	int r = install_kick();

	if (vcpus == NULL)
		return vm_fault(fault, -ENOMEM, "Failed to create vcpu");
	vcpus->log = log;
	vcpus->metrics = metrics;
	vcpus->listener = listener;
	vcpus->run_bytes = vm->run_bytes;
	vcpus->wanted = WANT_PAUSE;
	vcpus->count = count;
	pthread_mutex_init(&vcpus->lock, NULL);
	pthread_cond_init(&vcpus->wanted_changed, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&vcpus->parked_changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	for (size_t i = 0; i < count; i++)
		vcpus->list[i] = (struct vcpu){ .vcpus = vcpus, .index = i, .fd = -1 };
	for (size_t i = 0; r == 0 && i < count; i++)
		r = create(vm, &vcpus->list[i]);
	if (r < 0) {
		vcpus_free(vcpus);
		return create_failed(vm, count, r, fault);
	}
	*ret_vcpus = vcpus;
	return 0;
}

void vcpus_free(struct vcpus *vcpus)
{
	if (vcpus == NULL)
		return;
	want(vcpus, WANT_QUIT);
	kick(vcpus);
	for (size_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		if (vcpu->has_thread)
			pthread_join(vcpu->thread, NULL);
		if (vcpu->run != NULL)
			munmap(vcpu->run, vcpus->run_bytes);
		fd_close(vcpu->fd);
	}
	pthread_mutex_destroy(&vcpus->lock);
	pthread_cond_destroy(&vcpus->wanted_changed);
	pthread_cond_destroy(&vcpus->parked_changed);
	free(vcpus);
}

int vcpus_fd(const struct vcpus *vcpus, size_t index)
{
	return vcpus->list[index].fd;
}

int vcpus_start(struct vcpus *vcpus, struct fault *fault)
{
	for (size_t i = 0; i < vcpus->count; i++) {
		struct vcpu *vcpu = &vcpus->list[i];
		int r = -pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);

		if (r < 0)
			return vm_fault(fault, r, "Failed to start a vcpu thread");
		vcpu->has_thread = true;
	}
	pthread_mutex_lock(&vcpus->lock);
	while (vcpus->parked < vcpus->count)
		pthread_cond_wait(&vcpus->parked_changed, &vcpus->lock);
	pthread_mutex_unlock(&vcpus->lock);
	return 0;
}

int vcpus_pause(struct vcpus *vcpus)
{
	struct timespec deadline;
	int r = 0;

	want(vcpus, WANT_PAUSE);
	kick(vcpus);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += PAUSE_PATIENCE_S;
	pthread_mutex_lock(&vcpus->lock);
	while (vcpus->parked < vcpus->count && r == 0)
		r = -pthread_cond_timedwait(&vcpus->parked_changed, &vcpus->lock, &deadline);
	r = vcpus->parked < vcpus->count ? -ETIMEDOUT : 0;
	pthread_mutex_unlock(&vcpus->lock);
	return r;
}

void vcpus_resume(struct vcpus *vcpus)
{
	want(vcpus, WANT_RUN);
}
