/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of the KVM engine and its monitor, for tests: it runs a guest of test_guest.h, and notes
 * what the engine tells. What the engine calls of the host can be made to fail, by --wrap of
 * meson.build. Functions fail the test.
 */
#ifndef SQUIB_ENGINE_KVM_TEST_RIG_H
#define SQUIB_ENGINE_KVM_TEST_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "arch_constants.h"
#include "base/fault.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "engine/kvm/test_guest.h"
#include "mmds/mmds.h"

#define HANG_MS		60000	/* ends what hangs; a busy host with sanitizers is slow */
#define SETTLED_MS	200	/* nothing came for so long: nothing will */
#define MEM_MIB		16

enum wrapped { WRAP_NONE, WRAP_IOCTL, WRAP_EVENTFD, WRAP_EPOLL_CTL, WRAP_TIMERFD, WRAP_CALLOC,
	       WRAP_MALLOC, WRAP_STRDUP, WRAP_THREAD, WRAP_COUNT };

/* Of the thread that starts engines: what vCPUs do is not counted. */
struct rig_failing {
	enum wrapped what;
	unsigned int countdown;		/* the call that brings it to 0 fails */
};
extern _Thread_local struct rig_failing failing;

/* What KVM_RUN does in all vCPUs of the process. */
struct rig_fake {
	_Atomic int error;		/* it fails with it */
	_Atomic uint32_t exit_reason;	/* or it says this; 0: as usual */
	_Atomic uint32_t detail;	/* the first word of what belongs to that reason */
	_Atomic bool stuck;		/* vCPU 0 is somewhere in the host, and no signal helps */
};
extern struct rig_fake kvm_run_fake;

/* What another ioctl() answers, as long as request is set, where its argument is this. */
struct rig_fake_ioctl {
	unsigned long request;
	unsigned long arg;
	bool any_arg;
	int result;		/* of -1, errno is error */
	int error;
};
extern struct rig_fake_ioctl ioctl_fake;

struct rig {
	struct engine_listener listener;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct engine *engine;
	struct engine_params params;

	struct squib_machine description;
	struct squib_boot_source boot_source;
	const struct squib_drive *drive_list[ARCH_DEVICES_MAX + 1];
	struct squib_drive drives[ARCH_DEVICES_MAX + 1];
	char drive_ids[ARCH_DEVICES_MAX + 1][8];
	struct engine_file drive_files[ARCH_DEVICES_MAX + 1];
	int vsock_fd;			/* listening; -1: none */
	struct mmds *mmds;
	unsigned int backends;		/* of network interfaces, that there are */
	int kernel_fd;

	uint8_t *output;
	size_t output_len;
	size_t total;		/* bytes of output so far; no test sets it back */
	size_t allowed;		/* bytes of output that may be taken from now on */
	bool refused;		/* some were not */
	bool slow;		/* takes none before the guest has sent more */
	unsigned int input_ready, boot_timer, ended;
	enum engine_end end;
	size_t len_at_end;
	bool destroys;		/* the engine, when it tells its end */
};

/** rig_sent() - how many exits have had to do with output so far */
static inline uint64_t rig_sent(const struct rig *rig)
{
	return GUEST_EXITS_SENDING(&rig->metrics->vcpu)->value;
}

/** rig_new() - a machine that is not started yet. Takes @kernel_fd */
struct rig *rig_new(int kernel_fd);
void rig_free(struct rig *rig);

/** rig_engine() - another engine, where the last was destroyed */
void rig_engine(struct rig *rig);

/** disk() - a disk of eight sectors, each filled with its own letter; the caller's */
int disk(char first_letter);
struct squib_drive *add_drive(struct rig *rig, char first_letter);

/** rig_try_start() - as the monitor does it; what start() returns */
int rig_try_start(struct rig *rig, struct fault *fault);
void rig_start(struct rig *rig);
struct rig *rig_run(const struct guest_step *steps, size_t count);

#define RUN(steps) rig_run((steps), ARRAY_SIZE(steps))

/* Run the loop until @condition, of @rig, holds. */
#define UNTIL(rig, condition) \
	do { \
		uint64_t end_ns = clock_ns() + HANG_MS * UINT64_C(1000000); \
		while (!(condition)) { \
			if (clock_ns() > end_ns) \
				fail_msg("not in time: " #condition); \
			loop_run_once((rig)->loop, 100); \
		} \
	} while (0)

/** run_ms() - run the loop for so long */
void run_ms(struct rig *rig, unsigned int ms);

void expect_end(struct rig *rig, enum engine_end end);
void expect_output(const struct rig *rig, const char *text);
/** expect_pattern() - what GUEST_PATTERN prints */
void expect_pattern(const struct rig *rig, size_t len);

void pause_engine(struct rig *rig);
void resume_engine(struct rig *rig);
/** expect_still() - no more output comes */
void expect_still(struct rig *rig);
/** expect_running() - output comes; what there was is dropped */
void expect_running(struct rig *rig);

/* What the process has, to see that nothing is left behind */
struct left {
	int fds, threads;
};

struct left look(void);
void expect_nothing_left(const struct left *before, const char *what);

/** vcpu_threads() - a bit for each number of a vCPU that has a thread */
unsigned int vcpu_threads(void);

/** rig_main() - run tests, where there is KVM; KVM_TEST in the environment names a part of them */
#define rig_main(tests) (rig_can_run() ? cmocka_run_group_tests((tests), NULL, NULL) : 77)
bool rig_can_run(void);

#endif
