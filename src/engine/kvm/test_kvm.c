/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as the monitor sees it, with guests of a few instructions (test_guest.h), which also run
 * where KVM is emulated and boots no Linux.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "engine/kvm/test_guest.h"
#include "mmds/mmds.h"
#include "net/backend.h"

#define HANG_MS		60000	/* ends what hangs; a busy host with sanitizers is slow */
#define SETTLED_MS	200	/* nothing came for so long: nothing will */
#define MEM_MIB		16
#define OUTPUT_MAX	(1u << 20)
#define SLOW_MAX	(1u << 19)	/* bytes: where a slow listener stops being slow */

#define SERIAL		0x3f8u
#define SERIAL_LSR	0x3fdu
#define I8042_COMMAND	0x64u
#define SLEEP_CONTROL	0x600u
#define BOOT_TIMER	0xc0000000u
#define DEVICE		0xc0001000u
#define IO_APIC		0xfec00000u
#define LOCAL_APIC	0xfee00000u

#define POWER_OFF	{ GUEST_OUT8, SLEEP_CONTROL, 5 << 2 | 0x20 }
#define RESET		{ GUEST_OUT8, I8042_COMMAND, 0xfe }

/* ---- what fails on purpose: see meson.build's --wrap ---- */

enum wrapped { WRAP_NONE, WRAP_IOCTL, WRAP_EVENTFD, WRAP_EPOLL_CTL, WRAP_TIMERFD, WRAP_CALLOC,
	       WRAP_MALLOC, WRAP_STRDUP, WRAP_THREAD, WRAP_COUNT };

/* Of the thread that starts engines: what vCPUs do is not counted. */
static _Thread_local struct {
	enum wrapped what;
	unsigned int countdown;		/* the call that brings it to 0 fails */
} failing;

static bool fails(enum wrapped what)
{
	return failing.what == what && failing.countdown > 0 && --failing.countdown == 0;
}

/* What KVM_RUN does in all vCPUs of the process. */
static struct {
	_Atomic int error;		/* it fails with it */
	_Atomic uint32_t exit_reason;	/* or it says this; 0: as usual */
	_Atomic uint32_t detail;	/* the first word of what belongs to that reason */
	_Atomic bool stuck;		/* vCPU 0 is somewhere in the host, and no signal helps */
} kvm_run_fake;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);

/* A kick is heard as by the real one. */
static int fake_exit(int fd, int error, uint32_t exit_reason)
{
	struct kvm_run *run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	bool kicked;

	if (run == MAP_FAILED)
		abort();
	kicked = __atomic_load_n(&run->immediate_exit, __ATOMIC_SEQ_CST) != 0;
	run->exit_reason = exit_reason;
	run->system_event.type = kvm_run_fake.detail;
	munmap(run, sizeof(*run));
	errno = kicked ? EINTR : error;
	return errno != 0 ? -1 : 0;
}

static bool is_stuck(void)
{
	char name[16] = "";

	return kvm_run_fake.stuck && pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strcmp(name, "fc_vcpu 0") == 0;
}

static int fake_run(int fd)
{
	uint32_t exit_reason;
	int error;

	while (is_stuck())
		usleep(1000);
	error = kvm_run_fake.error;
	exit_reason = kvm_run_fake.exit_reason;
	if (error != 0 || exit_reason != 0)
		return fake_exit(fd, error, exit_reason);
	return __real_ioctl(fd, KVM_RUN, NULL);
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (fails(WRAP_IOCTL)) {
		errno = EIO;
		return -1;
	}
	return request == KVM_RUN ? fake_run(fd) : __real_ioctl(fd, request, arg);
}

int __real_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_eventfd(unsigned int count, int flags)
{
	if (fails(WRAP_EVENTFD)) {
		errno = EMFILE;
		return -1;
	}
	return __real_eventfd(count, flags);
}

int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
	if (fails(WRAP_EPOLL_CTL)) {
		errno = ENOSPC;
		return -1;
	}
	return __real_epoll_ctl(epoll_fd, op, fd, event);
}

int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags)
{
	if (fails(WRAP_TIMERFD)) {
		errno = EMFILE;
		return -1;
	}
	return __real_timerfd_create(clock, flags);
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size)
{
	return fails(WRAP_CALLOC) ? NULL : __real_calloc(count, size);
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	return fails(WRAP_MALLOC) ? NULL : __real_malloc(size);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	return fails(WRAP_STRDUP) ? NULL : __real_strdup(text);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
			  void *arg)
{
	return fails(WRAP_THREAD) ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

/* ---- a machine and its monitor ---- */

struct rig {
	struct engine_listener listener;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct engine *engine;
	struct engine_params params;

	struct squib_machine description;
	struct squib_boot_source boot_source;
	const struct squib_drive *drive_list[32];
	struct squib_drive drives[32];
	struct engine_file drive_files[32];
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

/* Two exits with output: one of them began after this. */
static void wait_for_more(const struct rig *rig)
{
	uint64_t before = rig->metrics->vcpu.exit_io_out.value;

	while (rig->metrics->vcpu.exit_io_out.value < before + 2 && rig->total < SLOW_MAX)
		usleep(10);
}

static size_t take_output(struct engine_listener *listener, const void *data, size_t len)
{
	struct rig *rig = container_of(listener, struct rig, listener);
	size_t taken = len < rig->allowed ? len : rig->allowed;

	if (rig->slow)
		wait_for_more(rig);
	if (taken < len)
		rig->refused = true;
	if (taken > OUTPUT_MAX - rig->output_len)	/* no test wants to see more */
		rig->output_len = 0;
	memcpy(rig->output + rig->output_len, data, taken);
	rig->output_len += taken;
	rig->total += taken;
	if (rig->allowed != SIZE_MAX)
		rig->allowed -= taken;
	return taken;
}

static void note_input_ready(struct engine_listener *listener)
{
	container_of(listener, struct rig, listener)->input_ready++;
}

static void note_boot_timer(struct engine_listener *listener)
{
	container_of(listener, struct rig, listener)->boot_timer++;
}

static void note_ended(struct engine_listener *listener, enum engine_end end)
{
	struct rig *rig = container_of(listener, struct rig, listener);

	rig->ended++;
	rig->end = end;
	rig->len_at_end = rig->output_len;
	if (rig->destroys) {
		engine_kvm.destroy(rig->engine);
		rig->engine = NULL;
	}
}

static void rig_engine(struct rig *rig)
{
	assert_int_equal(engine_kvm.create(&rig->params, &rig->engine, NULL), 0);
}

/* Takes @kernel_fd. */
static struct rig *rig_new(int kernel_fd)
{
	static const struct squib_logger quiet = { .log_path = "/dev/null",
						   .level = SQUIB_LOG_TRACE };
	struct rig *rig = calloc(1, sizeof(*rig));

	assert_non_null(rig);
	kvm_run_fake.error = 0;		/* what a test that failed has left */
	kvm_run_fake.exit_reason = 0;
	kvm_run_fake.stuck = false;
	rig->output = malloc(OUTPUT_MAX);
	assert_non_null(rig->output);
	assert_int_equal(loop_new(&rig->loop), 0);
	assert_int_equal(log_new("test", &rig->log), 0);
	assert_int_equal(log_configure(rig->log, &quiet, NULL), 0);
	assert_int_equal(metrics_new(&rig->metrics), 0);
	rig->listener = (struct engine_listener){ .ended = note_ended,
						  .serial_output = take_output,
						  .serial_input_ready = note_input_ready,
						  .boot_timer = note_boot_timer };
	rig->params = (struct engine_params){ .arch = SQUIB_ARCH_X86_64, .instance_id = "test",
					      .boot_timer = true, .log = rig->log,
					      .metrics = rig->metrics, .loop = rig->loop,
					      .listener = &rig->listener };
	for (size_t i = 0; i < ARRAY_SIZE(rig->drives); i++)
		rig->drive_list[i] = &rig->drives[i];
	rig->boot_source.kernel_image_path = "kernel";
	rig->description = (struct squib_machine){
		.config = { .vcpu_count = 1, .mem_size_mib = MEM_MIB },
		.boot_source = &rig->boot_source,
		.drives = rig->drive_list,
	};
	rig->kernel_fd = kernel_fd;
	rig->vsock_fd = -1;
	rig->allowed = SIZE_MAX;
	rig_engine(rig);
	return rig;
}

static void rig_free(struct rig *rig)
{
	engine_kvm.destroy(rig->engine);
	for (size_t i = 0; i < rig->description.drive_count; i++)
		fd_close(rig->drive_files[i].fd);
	fd_close(rig->vsock_fd);
	mmds_free(rig->mmds);
	assert_int_equal(rig->backends, 0);
	metrics_free(rig->metrics);
	log_free(rig->log);
	loop_free(rig->loop);
	fd_close(rig->kernel_fd);
	free(rig->output);
	free(rig);
}

static const char *const drive_ids[] = {
	"d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13", "d14",
	"d15", "d16", "d17", "d18", "d19",
};

/* A disk of a few sectors, each filled with its own letter */
static int disk(char first_letter)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);
	char sector[512];

	assert_true(fd >= 0);
	for (int i = 0; i < 8; i++) {
		memset(sector, first_letter + i, sizeof(sector));
		assert_int_equal(write(fd, sector, sizeof(sector)), sizeof(sector));
	}
	return fd;
}

static struct squib_drive *add_drive(struct rig *rig, char first_letter)
{
	size_t i = rig->description.drive_count++;

	rig->drives[i] = (struct squib_drive){ .drive_id = drive_ids[i], .path_on_host = "disk",
					       .io_engine = SQUIB_IO_ENGINE_SYNC };
	rig->drive_files[i] = (struct engine_file){ .fd = disk(first_letter), .path = "disk" };
	return &rig->drives[i];
}

/* A network that is gone. */
struct backend {
	struct net_backend backend;
	struct rig *rig;
};

static void free_backend(struct net_backend *backend)
{
	struct backend *gone = container_of(backend, struct backend, backend);

	gone->rig->backends--;
	free(gone);
}

/* Not one of the allocations that fail. */
static struct net_backend *make_backend(struct rig *rig)
{
	static const struct net_backend_ops ops = { .free = free_backend };
	struct backend *gone = __real_calloc(1, sizeof(*gone));

	assert_non_null(gone);
	*gone = (struct backend){ .backend = { .ops = &ops, .fd = -1 }, .rig = rig };
	rig->backends++;
	return &gone->backend;
}

/* As the monitor does it. */
static int rig_try_start(struct rig *rig, struct fault *fault)
{
	struct net_backend *interface = NULL;
	struct engine_machine machine = {
		.description = &rig->description,
		.kernel = { .fd = rig->kernel_fd, .path = "kernel" },
		.initrd = { .fd = -1 },
		.drives = rig->drive_files,
		.interfaces = &interface,
		.vsock = { .fd = rig->vsock_fd, .path = "vsock" },
		.mmds = rig->mmds,
	};
	int r;

	if (rig->description.network_interface_count > 0)
		interface = make_backend(rig);
	r = engine_kvm.start(rig->engine, &machine, fault);
	assert_true(r < 0 || interface == NULL);
	net_backend_free(interface);
	return r;
}

static void rig_start(struct rig *rig)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (rig_try_start(rig, &fault) < 0)
		fail_msg("start: %s", fault_text(&fault));
}

static struct rig *rig_run(const struct guest_step *steps, size_t count)
{
	struct rig *rig = rig_new(guest_kernel(steps, count, NULL, 0));

	rig_start(rig);
	return rig;
}

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

static void run_ms(struct rig *rig, unsigned int ms)
{
	uint64_t end_ns = clock_ns() + ms * UINT64_C(1000000);

	do {
		loop_run_once(rig->loop, 10);
	} while (clock_ns() < end_ns);
}

static void expect_end(struct rig *rig, enum engine_end end)
{
	UNTIL(rig, rig->ended > 0);
	run_ms(rig, 50);
	assert_int_equal(rig->ended, 1);
	assert_int_equal(rig->end, end);
	assert_int_equal(rig->len_at_end, rig->output_len);
}

static void expect_output(const struct rig *rig, const char *text)
{
	if (rig->output_len != strlen(text) || memcmp(rig->output, text, strlen(text)) != 0)
		fail_msg("output is \"%.*s\" (%zu bytes)", (int)rig->output_len,
			 (const char *)rig->output, rig->output_len);
}

static void expect_pattern(const struct rig *rig, size_t len)
{
	assert_int_equal(rig->output_len, len);
	for (size_t i = 0; i < len; i++)
		if (rig->output[i] != (uint8_t)i)
			fail_msg("byte %zu is %u", i, rig->output[i]);
	assert_int_equal(rig->metrics->uart.missed_write_count.value, 0);
}

static void pause_engine(struct rig *rig)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (engine_kvm.pause(rig->engine, &fault) < 0)
		fail_msg("pause: %s", fault_text(&fault));
}

static void resume_engine(struct rig *rig)
{
	assert_int_equal(engine_kvm.resume(rig->engine, NULL), 0);
}

/* ---- what is left behind ---- */

struct left {
	int fds, threads;
};

static int entries(const char *path)
{
	DIR *dir = opendir(path);
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static struct left look(void)
{
	return (struct left){ entries("/proc/self/fd"), entries("/proc/self/task") };
}

/* A thread that was joined may be listed for a moment. */
static void expect_nothing_left(const struct left *before, const char *what)
{
	struct left now = look();

	for (int i = 0; i < 1000 && now.threads != before->threads; i++) {
		usleep(1000);
		now = look();
	}
	if (now.fds != before->fds || now.threads != before->threads)
		fail_msg("%s: %d descriptors and %d threads more than before", what,
			 now.fds - before->fds, now.threads - before->threads);
}

static unsigned int vcpu_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	unsigned int found = 0;	/* a bit for each number */
	struct dirent *entry;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		char path[300], name[32] = "";
		unsigned int index;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		if (fgets(name, sizeof(name), file) != NULL &&
		    sscanf(name, "fc_vcpu %u", &index) == 1)
			found |= 1u << index;
		fclose(file);
	}
	closedir(dir);
	return found;
}

/* ---- the serial port ---- */

static const char hello[] = "hello, world\n";

static void what_the_guest_prints_arrives_and_power_off_ends_it(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PRINT, GUEST_DATA, sizeof(hello) - 1 },
		POWER_OFF,
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), hello, sizeof(hello)));

	(void)state;
	rig_start(rig);
	expect_end(rig, ENGINE_END_GUEST);
	expect_output(rig, hello);
	rig_free(rig);
}

static void a_listener_that_takes_nothing_holds_the_guest_back(void **state)
{
	static const struct guest_step steps[] = { { GUEST_PATTERN, 6000 }, POWER_OFF };
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	rig->allowed = 0;
	rig_start(rig);
	UNTIL(rig, rig->refused);
	run_ms(rig, 2 * SETTLED_MS);
	assert_int_equal(rig->output_len, 0);
	assert_int_equal(rig->ended, 0);
	while (rig->ended == 0) {	/* little by little */
		if (rig->refused) {
			rig->refused = false;
			rig->allowed = 97;
			engine_kvm.serial_output_ready(rig->engine);
		}
		loop_run_once(rig->loop, 10);
	}
	expect_end(rig, ENGINE_END_GUEST);
	expect_pattern(rig, 6000);
	rig_free(rig);
}

static void the_last_bytes_arrive_before_the_end(void **state)
{
	static const struct guest_step steps[] = { { GUEST_PATTERN, 3000 }, POWER_OFF };
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	rig->allowed = 0;
	rig_start(rig);
	/* the guest has ended, and all of it is still in the port */
	UNTIL(rig, rig->refused && rig->metrics->vcpu.exit_io_out.value > 3000);
	run_ms(rig, 50);
	assert_int_equal(rig->ended, 0);
	rig->allowed = SIZE_MAX;
	engine_kvm.serial_output_ready(rig->engine);
	assert_int_equal(rig->ended, 0);	/* never from within an engine function */
	expect_end(rig, ENGINE_END_GUEST);
	expect_pattern(rig, 3000);
	rig_free(rig);
}

static void a_listener_that_never_takes_the_last_bytes_does_not_keep_the_machine(void **state)
{
	static const struct guest_step steps[] = { { GUEST_PATTERN, 10 }, POWER_OFF };
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	rig->allowed = 0;
	rig_start(rig);
	expect_end(rig, ENGINE_END_GUEST);
	rig_free(rig);
}

static void input_beyond_the_fifo_reaches_the_guest(void **state)
{
	static const struct guest_step steps[] = { { GUEST_ECHO }, POWER_OFF };
	struct rig *rig = RUN(steps);
	uint8_t input[1000];
	size_t sent = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (uint8_t)('A' + i % 26);
	input[sizeof(input) - 1] = 'q';
	while (sent < sizeof(input)) {
		unsigned int before = rig->input_ready;
		size_t n = engine_kvm.serial_input(rig->engine, input + sent, sizeof(input) - sent);

		sent += n;
		if (sent < sizeof(input))
			UNTIL(rig, rig->input_ready > before);
	}
	assert_true(rig->input_ready > 5);
	expect_end(rig, ENGINE_END_GUEST);
	assert_int_equal(rig->output_len, sizeof(input));
	assert_memory_equal(rig->output, input, sizeof(input));
	rig_free(rig);
}

static void input_interrupts_the_guest(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PUT32, LOCAL_APIC + 0xf0, 0x1ff },		/* on */
		{ GUEST_PUT32, IO_APIC, 0x10 + 2 * 4 },			/* GSI 4: vector 0x24 */
		{ GUEST_PUT32, IO_APIC + 0x10, 0x24 },
		{ GUEST_OUT8, SERIAL + 1, 1 },				/* of received data */
		{ GUEST_OUT8, SERIAL, '!' },
		{ GUEST_WAIT32, LOCAL_APIC + 0x210, 1 << 4, 1 << 4 },	/* requested */
		{ GUEST_ECHO },
		POWER_OFF,
	};
	struct rig *rig = RUN(steps);

	(void)state;
	UNTIL(rig, rig->output_len > 0);
	run_ms(rig, 20);
	expect_output(rig, "!");
	assert_int_equal(engine_kvm.serial_input(rig->engine, "q", 1), 1);
	expect_end(rig, ENGINE_END_GUEST);
	expect_output(rig, "!q");
	rig_free(rig);
}

/*
 * The guest fills the port while the listener takes what is in there; if a round ended only when the
 * port is empty, none would.
 */
static void a_guest_that_never_stops_printing_does_not_hold_the_loop(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_OUTS, SERIAL, GUEST_DATA, 500 },
		{ GUEST_JUMP, GUEST_SCRIPT },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	rig->slow = true;
	rig_start(rig);
	for (int i = 0; i < 3; i++) {
		size_t before = rig->total;

		UNTIL(rig, rig->total > before);	/* one round that has output */
		assert_in_range(rig->total - before, 1, 128 * 1024);
	}
	rig_free(rig);
}

/* ---- the end ---- */

static void reset_by_the_keyboard_controller_ends_it_once(void **state)
{
	static const struct guest_step steps[] = { RESET, RESET, POWER_OFF };
	struct rig *rig = RUN(steps);

	(void)state;
	expect_end(rig, ENGINE_END_GUEST);
	assert_int_equal(rig->metrics->i8042.reset_count.value, 1);
	resume_engine(rig);		/* what has ended stays so */
	run_ms(rig, 50);
	assert_int_equal(rig->metrics->i8042.reset_count.value, 1);
	assert_int_equal(rig->ended, 1);
	pause_engine(rig);
	rig_free(rig);
}

static void a_listener_may_destroy_it_when_it_hears_of_the_end(void **state)
{
	static const struct guest_step steps[] = { { GUEST_PATTERN, 100 }, POWER_OFF };
	struct left before = look();
	struct rig *rig = RUN(steps);

	(void)state;
	rig->destroys = true;
	expect_end(rig, ENGINE_END_GUEST);
	expect_pattern(rig, 100);
	rig_free(rig);
	expect_nothing_left(&before, "destroyed at the end");
}

static void a_triple_fault_is_a_failure(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PRINT, GUEST_DATA, 3 },
		{ GUEST_TRIPLE_FAULT },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), "bye", 3));

	(void)state;
	rig_start(rig);
	expect_end(rig, ENGINE_END_FAILED);
	expect_output(rig, "bye");
	assert_int_equal(rig->metrics->vcpu.failures.value, 1);
	rig_free(rig);
}

static void whatever_kvm_says_the_guest_goes_on_or_ends(void **state)
{
	static const struct {
		const char *name;
		int error;
		uint32_t exit_reason, detail;
		bool goes_on;
		enum engine_end end;
	} cases[] = {
		{ "EFAULT", EFAULT, 0, 0, false, ENGINE_END_FAILED },
		{ "ENOSYS", ENOSYS, 0, 0, false, ENGINE_END_FAILED },
		{ "EAGAIN", EAGAIN, 0, 0, true, 0 },
		{ "EINTR", EINTR, 0, 0, true, 0 },
		{ "interrupted", 0, KVM_EXIT_INTR, 0, true, 0 },
		{ "internal error", 0, KVM_EXIT_INTERNAL_ERROR, 1, false, ENGINE_END_FAILED },
		{ "entry failed", 0, KVM_EXIT_FAIL_ENTRY, 0, false, ENGINE_END_FAILED },
		{ "halted", 0, KVM_EXIT_HLT, 0, false, ENGINE_END_FAILED },
		{ "unheard of", 0, 12345, 0, false, ENGINE_END_FAILED },
		{ "shut down", 0, KVM_EXIT_SYSTEM_EVENT, KVM_SYSTEM_EVENT_SHUTDOWN, false,
		  ENGINE_END_GUEST },
		{ "reset", 0, KVM_EXIT_SYSTEM_EVENT, KVM_SYSTEM_EVENT_RESET, false,
		  ENGINE_END_GUEST },
		{ "crashed", 0, KVM_EXIT_SYSTEM_EVENT, KVM_SYSTEM_EVENT_CRASH, false,
		  ENGINE_END_FAILED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		static const struct guest_step steps[] = { { GUEST_OUT8, SERIAL, '.' },
							   { GUEST_JUMP, GUEST_SCRIPT } };
		struct rig *rig = RUN(steps);

		UNTIL(rig, rig->output_len > 0);
		kvm_run_fake.error = cases[i].error;
		kvm_run_fake.detail = cases[i].detail;
		kvm_run_fake.exit_reason = cases[i].exit_reason;
		if (cases[i].goes_on) {
			run_ms(rig, 10);
			pause_engine(rig);
			resume_engine(rig);
		} else {
			UNTIL(rig, rig->ended > 0);
		}
		kvm_run_fake.exit_reason = 0;
		kvm_run_fake.error = 0;
		if (cases[i].goes_on) {
			rig->output_len = 0;
			UNTIL(rig, rig->output_len > 0);
		} else if (rig->end != cases[i].end) {
			fail_msg("%s: ended by %d", cases[i].name, rig->end);
		}
		rig_free(rig);
	}
}

/* ---- pause and resume ---- */

#define COUNT_STEPS \
	{ GUEST_OUT8, SERIAL, '.' }, { GUEST_SPIN, 100 }, { GUEST_JUMP, GUEST_SCRIPT }

static void expect_still(struct rig *rig)
{
	size_t before;

	run_ms(rig, 50);	/* what was in the port */
	before = rig->output_len;
	run_ms(rig, SETTLED_MS);
	assert_int_equal(rig->output_len, before);
}

static void expect_running(struct rig *rig)
{
	rig->output_len = 0;
	UNTIL(rig, rig->output_len > 100);
}

static void a_pause_stops_the_guest_and_resume_goes_on(void **state)
{
	static const struct guest_step steps[] = { COUNT_STEPS };
	struct rig *rig = RUN(steps);

	(void)state;
	expect_running(rig);
	for (int i = 0; i < 3; i++) {
		pause_engine(rig);
		expect_still(rig);
		pause_engine(rig);	/* twice is once */
		expect_still(rig);
		resume_engine(rig);
		expect_running(rig);
		resume_engine(rig);
		expect_running(rig);
	}
	pause_engine(rig);
	rig_free(rig);			/* destroyed while paused */
}

static void pauses_in_quick_succession_are_all_heard(void **state)
{
	static const struct guest_step steps[] = { { GUEST_SPIN, 50 },
						   { GUEST_OUT8, 0x80, 0 },
						   { GUEST_JUMP, GUEST_SCRIPT } };
	struct rig *rig = RUN(steps);

	(void)state;
	for (int i = 0; i < 500; i++) {
		uint64_t exits;

		pause_engine(rig);
		exits = rig->metrics->vcpu.exit_io_out.value;
		if (i % 50 == 0)
			usleep(2000);
		assert_int_equal(rig->metrics->vcpu.exit_io_out.value, exits);
		resume_engine(rig);
		if (i % 7 == 0)
			usleep(100);
	}
	rig_free(rig);
}

static void a_guest_that_never_exits_is_paused(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_OUT8, SERIAL, 'x' },
		{ GUEST_WAIT32, GUEST_DATA, 1, 1 },	/* for ever */
	};
	struct rig *rig = RUN(steps);

	(void)state;
	UNTIL(rig, rig->output_len == 1);
	pause_engine(rig);
	resume_engine(rig);
	pause_engine(rig);
	resume_engine(rig);
	rig_free(rig);
}

static void a_halted_guest_is_paused(void **state)
{
	static const struct guest_step steps[] = { { GUEST_OUT8, SERIAL, 'x' } };
	struct rig *rig = RUN(steps);

	(void)state;
	UNTIL(rig, rig->output_len == 1);
	run_ms(rig, 20);
	pause_engine(rig);
	resume_engine(rig);
	rig_free(rig);
}

static void a_pause_before_the_end_is_told_does_not_hide_it(void **state)
{
	static const struct guest_step steps[] = { POWER_OFF };
	struct rig *rig = RUN(steps);

	(void)state;
	usleep(50000);			/* the loop does not run yet */
	pause_engine(rig);
	expect_end(rig, ENGINE_END_GUEST);
	resume_engine(rig);
	rig_free(rig);
}

static void a_vcpu_that_does_not_stop_is_told_and_all_go_on(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	static const struct guest_step steps[] = { COUNT_STEPS };
	struct rig *rig = RUN(steps);

	(void)state;
	expect_running(rig);
	kvm_run_fake.stuck = true;
	run_ms(rig, 20);
	assert_true(engine_kvm.pause(rig->engine, &fault) < 0);
	assert_string_equal(fault_text(&fault),
			    "Failed to pause the vCPUs: they did not answer in time");
	kvm_run_fake.stuck = false;
	expect_running(rig);
	pause_engine(rig);
	expect_still(rig);
	rig_free(rig);
}

static void ignore(int number)
{
	(void)number;
}

/* Every system call may be interrupted, and none may take that for a failure. */
static void signals_at_any_moment_do_no_harm(void **state)
{
	static const struct guest_step steps[] = { COUNT_STEPS };
	struct itimerval often = { { 0, 300 }, { 0, 300 } }, never = { 0 };
	struct sigaction action = { .sa_handler = ignore }, before;

	(void)state;
	sigaction(SIGALRM, &action, &before);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 10; i++) {
		struct rig *rig = RUN(steps);

		expect_running(rig);
		pause_engine(rig);
		resume_engine(rig);
		expect_running(rig);
		rig_free(rig);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
}

/* ---- the keyboard ---- */

static void ctrl_alt_del_reaches_the_guest(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PUT32, LOCAL_APIC + 0xf0, 0x1ff },		/* on */
		{ GUEST_PUT32, IO_APIC, 0x10 + 2 * 1 },			/* GSI 1: vector 0x21 */
		{ GUEST_PUT32, IO_APIC + 0x10, 0x21 },
		{ GUEST_OUT8, SERIAL, '!' },
		{ GUEST_WAIT32, LOCAL_APIC + 0x210, 1 << 1, 1 << 1 },	/* requested */
		{ GUEST_INS, 0x60, GUEST_DATA, 11 },
		{ GUEST_PRINT, GUEST_DATA, 11 },
		POWER_OFF,
	};
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct rig *rig = RUN(steps);

	(void)state;
	UNTIL(rig, rig->output_len > 0);
	assert_int_equal(engine_kvm.send_ctrl_alt_del(rig->engine, &fault), 0);
	expect_end(rig, ENGINE_END_GUEST);
	expect_output(rig, "!\x14\x11\xe0\x71\xe0\xf0\x71\xf0\x11\xf0\x14");
	rig_free(rig);
}

/* ---- hostile guests ---- */

static void accesses_to_everything_harm_nothing(void **state)
{
	static const struct guest_step steps[] = {
		/* 0: ports */
		{ GUEST_OUTS, 0x80, GUEST_DATA, 0x10000 },
		{ GUEST_OUTS, I8042_COMMAND - 4, GUEST_DATA, 5000 },
		{ GUEST_INS, SERIAL + 5, GUEST_DATA + 0x8000, 0x4000 },
		{ GUEST_INS, 0x60, GUEST_DATA + 0x8000, 0x4000 },
		{ GUEST_OUT16, SERIAL, 0x4142 },
		{ GUEST_OUT32, SERIAL - 1, 0x41424344 },
		{ GUEST_OUT32, SLEEP_CONTROL, 0x34 },
		{ GUEST_OUT16, I8042_COMMAND, 0xfe },
		{ GUEST_OUT8, SLEEP_CONTROL, 0x20 },
		{ GUEST_IN32, SERIAL + 7, GUEST_DATA },
		{ GUEST_OUT8, 0xffff, 1 },
		{ GUEST_IN8, 0xffff, GUEST_DATA },
		/* 12: the device's page, its ends, and where there is none */
		{ GUEST_PUT8, DEVICE + 0x70, 0xff },
		{ GUEST_PUT16, DEVICE + 0x71, 0xffff },
		{ GUEST_PUT32, DEVICE + 0x72, 0xffffffff },
		{ GUEST_PUT32, DEVICE + 0xffe, 0xffffffff },
		{ GUEST_PUT32, DEVICE - 2, 0xffffffff },
		{ GUEST_GET32, DEVICE + 0xffd, GUEST_DATA },
		{ GUEST_GET32, DEVICE + 0x10b, GUEST_DATA },
		{ GUEST_GET32, BOOT_TIMER + 0xffd, GUEST_DATA },
		{ GUEST_PUT32, DEVICE + 0x50, 0 },
		{ GUEST_PUT32, DEVICE + 0x50, 0xffff },
		{ GUEST_PUT32, DEVICE + 0x1000, 1 },
		{ GUEST_GET32, 0xe0000000, GUEST_DATA },
		{ GUEST_PUT32, 0xfffffffc, 1 },
		{ GUEST_COPY, DEVICE, GUEST_DATA, 0x1000 },
		{ GUEST_COPY, GUEST_DATA + 0x8000, DEVICE - 0x10, 0x1020 },
		/* interrupts nobody waits for */
		{ GUEST_PUT32, LOCAL_APIC + 0xb0, 0 },
		{ GUEST_PUT32, IO_APIC + 0x40, 5 },
		{ GUEST_LOOP, GUEST_DATA + 0xfffc, GUEST_STEP(12) },
		{ GUEST_OUT8, SERIAL, '!' },
		{ GUEST_JUMP, GUEST_STEP(0) },
	};
	uint8_t *data = calloc(1, GUEST_END - GUEST_DATA);
	struct rig *rig;

	(void)state;
	assert_non_null(data);
	data[0xfffc] = 4;
	memset(data, 0x5a, 0x8000);
	rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), data, GUEST_END - GUEST_DATA));
	free(data);
	add_drive(rig, 'a');
	rig_start(rig);
	for (int i = 0; i < 20; i++) {
		run_ms(rig, 10);
		pause_engine(rig);
		resume_engine(rig);
	}
	UNTIL(rig, rig->output_len > 0);
	assert_int_equal(rig->ended, 0);
	assert_int_equal(rig->output[0], '!');
	rig_free(rig);
}

/* From memory, over its end, to where there is nothing */
static void a_string_instruction_without_end_is_paused(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_OUTS, 0x80, (MEM_MIB << 20) - 0x10000, UINT32_MAX },
	};
	struct rig *rig = RUN(steps);

	(void)state;
	for (int i = 0; i < 20; i++) {
		const struct metrics_vcpu *vcpu = &rig->metrics->vcpu;
		uint64_t exits = vcpu->exit_io_out.value;

		UNTIL(rig, vcpu->exit_io_out.value > exits || rig->ended > 0);
		assert_int_equal(rig->ended, 0);
		pause_engine(rig);
		exits = vcpu->exit_io_out.value;
		usleep(2000);
		assert_int_equal(vcpu->exit_io_out.value, exits);
		resume_engine(rig);
	}
	rig_free(rig);
}

static void accesses_of_eight_bytes_are_none(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PUT64, DEVICE + 0x6f, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, DEVICE + 0xff9, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, DEVICE + 0x100, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, BOOT_TIMER, 123, 0 },
		{ GUEST_OUT8, SERIAL, '!' },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	add_drive(rig, 'a');
	rig_start(rig);
	UNTIL(rig, rig->output_len > 0 || rig->ended > 0);
	expect_output(rig, "!");
	rig_free(rig);
}

/* ---- the boot timer ---- */

static void the_boot_timer_is_told(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PUT8, BOOT_TIMER, 122 },
		{ GUEST_PUT8, BOOT_TIMER + 1, 123 },
		{ GUEST_GET32, BOOT_TIMER, GUEST_DATA },
		{ GUEST_OUT8, SERIAL, 'a' },
		{ GUEST_PUT8, BOOT_TIMER, 123 },
		{ GUEST_OUT8, SERIAL, 'b' },
	};
	struct rig *rig = RUN(steps);

	(void)state;
	UNTIL(rig, rig->output_len == 2 && rig->boot_timer > 0);
	assert_int_equal(rig->boot_timer, 1);
	rig_free(rig);
	rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));
	engine_kvm.destroy(rig->engine);
	rig->params.boot_timer = false;
	rig_engine(rig);
	rig_start(rig);
	UNTIL(rig, rig->output_len == 2);
	run_ms(rig, 20);
	assert_int_equal(rig->boot_timer, 0);
	rig_free(rig);
}

/* ---- starting ---- */

static const struct guest_step count_steps[] = { COUNT_STEPS };

static struct rig *counting_rig(void)
{
	return rig_new(guest_kernel(count_steps, ARRAY_SIZE(count_steps), NULL, 0));
}

static void refused(struct rig *rig, const char *text)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct left before = look();

	if (rig_try_start(rig, &fault) == 0)
		fail_msg("was not refused: %s", text);
	if (strstr(fault_text(&fault), text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, fault_text(&fault));
	expect_nothing_left(&before, text);
}

static void starts_that_are_refused_leave_nothing(void **state)
{
	struct squib_entropy entropy = { 0 };
	struct left before = look();
	struct rig *rig = counting_rig();
	int kernel = rig->kernel_fd;

	(void)state;
	for (int i = 0; i < 20; i++)
		add_drive(rig, 'a');
	refused(rig, "Could not allocate GSI");
	rig->description.drive_count = 19;
	rig->description.entropy = &entropy;
	refused(rig, "Could not allocate GSI");
	rig->description.entropy = NULL;

	rig->kernel_fd = memfd_create("no kernel", MFD_CLOEXEC);
	refused(rig, "Cannot load kernel due to invalid memory configuration");
	assert_int_equal(write(rig->kernel_fd, "garbage", 7), 7);
	refused(rig, "Not a kernel image");
	fd_close(rig->kernel_fd);
	rig->kernel_fd = kernel;

	rig->description.config.mem_size_mib = UINT64_MAX;
	refused(rig, "Invalid Memory Configuration");
	rig->description.config.mem_size_mib = UINT64_MAX >> 20;
	refused(rig, "Invalid Memory Configuration");
	rig->description.config.mem_size_mib = UINT64_C(1) << 43;
	refused(rig, "Invalid Memory Configuration");
	rig->description.config.mem_size_mib = (UINT64_C(1) << 27) - 1;	/* all there is, but for us */
	refused(rig, "Invalid Memory Configuration");
	rig->description.config.mem_size_mib = 1;
	refused(rig, "Cannot load kernel due to invalid memory configuration");
	rig->description.config.mem_size_mib = MEM_MIB;

	rig->boot_source.boot_args = "console=ttyS0";
	fd_close(rig->drive_files[18].fd);
	rig->drive_files[18].fd = -1;
	refused(rig, "Unable to attach block device to Vmm");
	rig->drive_files[18].fd = disk('a');

	rig_start(rig);
	expect_running(rig);
	rig->description.drive_count = 20;
	rig_free(rig);
	expect_nothing_left(&before, "all of it");
}

static void memory_of_any_size_is_given(void **state)
{
	static const uint64_t sizes_mib[] = { 2, 3, 127, 3071, 3072, 3073, 5000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes_mib); i++) {
		struct rig *rig = counting_rig();

		rig->description.config.mem_size_mib = sizes_mib[i];
		rig->description.config.track_dirty_pages = i % 2 == 0;
		rig_start(rig);
		expect_running(rig);
		rig_free(rig);
	}
}

static void an_engine_that_was_never_started_leaves_nothing(void **state)
{
	struct left before = look();

	(void)state;
	rig_free(counting_rig());
	engine_kvm.destroy(NULL);
	expect_nothing_left(&before, "create and destroy");
}

static int listen_anywhere(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address.sun_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* A machine with one of each */
static struct rig *full_rig(void)
{
	static const struct squib_entropy entropy = { 0 };
	static const struct squib_vsock vsock = { .guest_cid = 3, .uds_path = "vsock" };
	static const struct squib_network_interface interface = { .iface_id = "eth0" };
	static const struct squib_network_interface *const interfaces[] = { &interface };
	static const char *const mmds_interfaces[] = { "eth0" };
	static const struct squib_mmds_config mmds = { .network_interfaces = mmds_interfaces,
						       .network_interface_count = 1 };
	struct rig *rig = counting_rig();
	struct mmds_params mmds_params = { .instance_id = "test", .log = rig->log,
					   .metrics = rig->metrics };

	rig->description.config.vcpu_count = 2;
	rig->description.config.track_dirty_pages = true;
	rig->description.entropy = &entropy;
	rig->description.vsock = &vsock;
	rig->description.network_interfaces = interfaces;
	rig->description.network_interface_count = 1;
	rig->description.mmds_config = &mmds;
	rig->vsock_fd = listen_anywhere();
	assert_int_equal(mmds_new(&mmds_params, &rig->mmds), 0);
	add_drive(rig, 'a');
	return rig;
}

/* Let the n-th call fail, for every n there is. */
static unsigned int fail_each(struct rig *rig, enum wrapped what, const char *name)
{
	struct left before = look();

	for (unsigned int n = 1;; n++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		bool failed;
		int r;

		failing.what = what;
		failing.countdown = n;
		r = rig_try_start(rig, &fault);
		failed = failing.countdown == 0;
		failing.what = WRAP_NONE;
		if (!failed) {
			assert_int_equal(r, 0);
			engine_kvm.destroy(rig->engine);
			rig_engine(rig);
			expect_nothing_left(&before, name);
			return n - 1;
		}
		if (r >= 0 || fault_text(&fault)[0] == '\0')
			fail_msg("%s: failure %u was not told", name, n);
		expect_nothing_left(&before, fault_text(&fault));
	}
}

static void whatever_fails_is_told_and_leaves_nothing(void **state)
{
	static const struct { enum wrapped what; const char *name; unsigned int least; } cases[] = {
		{ WRAP_IOCTL, "ioctl", 30 },
		{ WRAP_EVENTFD, "eventfd", 14 },
		{ WRAP_EPOLL_CTL, "epoll_ctl", 14 },
		{ WRAP_TIMERFD, "timerfd_create", 7 },
		{ WRAP_CALLOC, "calloc", 17 },
		{ WRAP_MALLOC, "malloc", 3 },
		{ WRAP_STRDUP, "strdup", 6 },
		{ WRAP_THREAD, "pthread_create", 2 },
	};
	struct rig *rig = full_rig();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int count = fail_each(rig, cases[i].what, cases[i].name);

		print_message("%s: %u\n", cases[i].name, count);
		assert_true(count >= cases[i].least);
	}
	rig_start(rig);		/* after all that */
	expect_running(rig);
	rig_free(rig);
}

static void a_process_out_of_descriptors_is_told_and_leaves_nothing(void **state)
{
	struct rig *rig = full_rig();
	struct rlimit limit, small;
	struct left before = look();
	int first = dup(0);
	unsigned int n;
	int r = -1;

	(void)state;
	fd_close(first);
	getrlimit(RLIMIT_NOFILE, &limit);
	for (n = 0; r < 0; n++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;

		small = (struct rlimit){ .rlim_cur = (rlim_t)first + n, .rlim_max = limit.rlim_max };
		setrlimit(RLIMIT_NOFILE, &small);
		r = rig_try_start(rig, &fault);
		setrlimit(RLIMIT_NOFILE, &limit);
		if (r == 0)
			break;
		assert_true(fault_text(&fault)[0] != '\0');
		expect_nothing_left(&before, fault_text(&fault));
	}
	assert_true(n > 10);
	expect_running(rig);
	rig_free(rig);
}

/* ---- more than one ---- */

static void machines_of_some_vcpus_pause_and_quit(void **state)
{
	static const uint8_t counts[] = { 1, 2, 8, 32 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct left before = look();
		struct rig *rig = counting_rig();

		rig->description.config.vcpu_count = counts[i];
		rig_start(rig);
		/* by now, not a while later: scripts look for them */
		assert_int_equal(vcpu_threads(), (uint32_t)((UINT64_C(1) << counts[i]) - 1));
		expect_running(rig);
		pause_engine(rig);
		expect_still(rig);
		resume_engine(rig);
		expect_running(rig);
		rig_free(rig);
		expect_nothing_left(&before, "vCPUs");
	}
}

/* What a processor does that gets a start-up interrupt: 16-bit code, copied to 0x8000 */
static const uint8_t second_prints[] = {
	0xba, 0xf8, 0x03,	/* mov $0x3f8, %dx */
	0xb0, '2',		/* mov $'2', %al */
	0xee,			/* out %al, %dx */
	0xeb, 0xfd,		/* jmp, back to the out */
};
static const uint8_t second_resets[] = {
	0xb0, 0xfe,		/* mov $0xfe, %al */
	0xe6, 0x64,		/* out %al, $0x64 */
	0xf4,			/* hlt */
};

#define START_SECOND(code) \
	{ GUEST_COPY, 0x8000, GUEST_DATA, sizeof(code) }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x310, 1 << 24 }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x300, 0x4500 },		/* INIT */ \
	{ GUEST_SPIN, 1000 }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x310, 1 << 24 }, \
	{ GUEST_PUT32, LOCAL_APIC + 0x300, 0x4608 },		/* start-up at 0x8000 */ \
	{ GUEST_SPIN, 1000 }

static void a_second_processor_runs_and_is_paused_too(void **state)
{
	static const struct guest_step steps[] = { START_SECOND(second_prints) };
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), second_prints,
					       sizeof(second_prints)));

	(void)state;
	rig->description.config.vcpu_count = 2;
	rig_start(rig);
	for (int i = 0; i < 5; i++) {
		expect_running(rig);
		assert_int_equal(rig->output[0], '2');
		pause_engine(rig);
		expect_still(rig);
		resume_engine(rig);
	}
	rig_free(rig);
}

static void two_processors_that_end_it_at_once_end_it_once(void **state)
{
	static const struct guest_step steps[] = { START_SECOND(second_resets), RESET };

	(void)state;
	for (int i = 0; i < 10; i++) {
		struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), second_resets,
						       sizeof(second_resets)));

		rig->description.config.vcpu_count = 2;
		rig_start(rig);
		expect_end(rig, ENGINE_END_GUEST);
		rig_free(rig);
	}
}

/* It resets the machine a while after 0x9000 is written to. */
static const uint8_t second_resets_late[] = {
	0x31, 0xc0,			/* xor %ax, %ax */
	0x8e, 0xd8,			/* mov %ax, %ds */
	0x80, 0x3e, 0x00, 0x90, 0x00,	/* cmpb $0, 0x9000 */
	0x74, 0xf9,			/* je, back to the cmpb */
	0xb9, 0x00, 0x40,		/* mov $0x4000, %cx */
	0xe2, 0xfe,			/* loop, here */
	0xb0, 0xfe,			/* mov $0xfe, %al */
	0xe6, 0x64,			/* out %al, $0x64 */
	0xf4,				/* hlt */
};

static void a_vcpu_that_does_not_stop_at_the_end_stops_when_it_can(void **state)
{
	static const struct guest_step steps[] = {
		START_SECOND(second_resets_late),
		{ GUEST_OUT8, SERIAL, '!' },
		{ GUEST_WAIT32, 0x9000, 0, 0 },
		{ GUEST_PUT8, 0x9000, 1 },
		{ GUEST_OUT8, SERIAL, '.' },
		{ GUEST_JUMP, GUEST_STEP(10) },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), second_resets_late,
					       sizeof(second_resets_late)));

	(void)state;
	rig->description.config.vcpu_count = 2;
	rig_start(rig);
	/* stuck at an exit, with the other on its way to the end */
	UNTIL(rig, rig->output_len > 1);
	kvm_run_fake.stuck = true;
	UNTIL(rig, rig->ended > 0);
	kvm_run_fake.stuck = false;
	expect_still(rig);
	assert_int_equal(rig->len_at_end, rig->output_len);
	rig_free(rig);
}

static void two_machines_do_not_touch_each_other(void **state)
{
	struct rig *one = counting_rig(), *other = counting_rig();
	struct squib_drive *drive = add_drive(one, 'a');

	(void)state;
	drive->is_root_device = true;
	add_drive(other, 'A');
	rig_start(one);
	rig_start(other);
	expect_running(one);
	expect_running(other);
	pause_engine(one);
	expect_running(other);
	expect_still(one);
	resume_engine(one);
	pause_engine(other);
	expect_running(one);
	expect_still(other);
	rig_free(other);
	expect_running(one);
	rig_free(one);
}

static void machines_are_destroyed_at_any_moment(void **state)
{
	struct left before = look();

	(void)state;
	for (unsigned int i = 0; i < 30; i++) {
		struct rig *rig = counting_rig();

		rig->description.config.vcpu_count = 1 + i % 3;
		rig_start(rig);
		usleep(i * 100);
		if (i % 4 == 1)
			pause_engine(rig);
		if (i % 4 == 2)
			loop_run_once(rig->loop, 1);
		rig_free(rig);
	}
	expect_nothing_left(&before, "start and destroy");
}

/* ---- a virtio drive ---- */

#define QUEUE_SIZE	8
#define USED_IDX	(GUEST_DATA + offsetof(struct driver, used.flags))
#define SECTOR		(GUEST_DATA + offsetof(struct driver, sector))
#define STATUS_WORD	(GUEST_DATA + offsetof(struct driver, status))

/* The driver's memory, at GUEST_DATA */
struct driver {
	struct {
		uint64_t address;
		uint32_t len;
		uint16_t flags, next;
	} desc[QUEUE_SIZE];
	struct {
		uint16_t flags, idx, ring[QUEUE_SIZE], event;
	} avail;
	_Alignas(4) struct {
		uint16_t flags, idx;
		struct {
			uint32_t id, len;
		} ring[QUEUE_SIZE];
		uint16_t event;
	} used;
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} request;
	uint8_t status;
	uint8_t sector[512];
};

static struct driver driver_reading(uint64_t sector)
{
	return (struct driver){
		.desc = {
			{ GUEST_DATA + offsetof(struct driver, request), 16, 1, 1 },
			{ SECTOR, 512, 1 | 2, 2 },
			{ STATUS_WORD, 1, 2, 0 },
		},
		.avail = { .idx = 1 },
		.request = { .sector = sector },
		.status = 0xff,
	};
}

/* The steps of virtio 1.2, 3.1.1; 18 accesses */
#define SET_UP_DEVICE \
	{ GUEST_PUT32, DEVICE + 0x70, 0 }, { GUEST_PUT32, DEVICE + 0x70, 1 }, \
	{ GUEST_PUT32, DEVICE + 0x70, 3 }, \
	{ GUEST_PUT32, DEVICE + 0x24, 1 }, { GUEST_PUT32, DEVICE + 0x20, 1 }, \
	{ GUEST_PUT32, DEVICE + 0x24, 0 }, { GUEST_PUT32, DEVICE + 0x20, 0 }, \
	{ GUEST_PUT32, DEVICE + 0x70, 0xb }, \
	{ GUEST_PUT32, DEVICE + 0x30, 0 }, { GUEST_PUT32, DEVICE + 0x38, QUEUE_SIZE }, \
	{ GUEST_PUT32, DEVICE + 0x80, GUEST_DATA }, { GUEST_PUT32, DEVICE + 0x84, 0 }, \
	{ GUEST_PUT32, DEVICE + 0x90, GUEST_DATA + offsetof(struct driver, avail) }, \
	{ GUEST_PUT32, DEVICE + 0x94, 0 }, { GUEST_PUT32, DEVICE + 0xa0, USED_IDX }, \
	{ GUEST_PUT32, DEVICE + 0xa4, 0 }, { GUEST_PUT32, DEVICE + 0x44, 1 }, \
	{ GUEST_PUT32, DEVICE + 0x70, 0xf }

#define KICK		{ GUEST_PUT32, DEVICE + 0x50, 0 }
#define USED(count)	{ GUEST_WAIT32, USED_IDX, (uint32_t)(count) << 16, 0xffff0000 }

static struct rig *drive_rig(const struct guest_step *steps, size_t count)
{
	struct driver driver = driver_reading(3);
	struct rig *rig = rig_new(guest_kernel(steps, count, &driver, sizeof(driver)));

	add_drive(rig, 'a');
	return rig;
}

static void expect_sector(struct rig *rig, char letter)
{
	assert_int_equal(rig->output_len, 512);
	for (size_t i = 0; i < 512; i++)
		assert_int_equal(rig->output[i], letter);
}

/* The kick is KVM's to handle, and the interrupt: all that exits are the registers. */
static void a_driver_reads_a_sector_and_is_interrupted(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PUT32, LOCAL_APIC + 0xf0, 0x1ff },		/* on */
		{ GUEST_PUT32, IO_APIC, 0x10 + 2 * 5 },			/* GSI 5: vector 0x25 */
		{ GUEST_PUT32, IO_APIC + 0x10, 0x25 },
		SET_UP_DEVICE,
		KICK,
		USED(1),
		{ GUEST_WAIT32, LOCAL_APIC + 0x210, 1 << 5, 1 << 5 },	/* requested */
		{ GUEST_PRINT, SECTOR, 512 },
		POWER_OFF,
	};
	struct rig *rig = drive_rig(steps, ARRAY_SIZE(steps));

	(void)state;
	rig_start(rig);
	expect_end(rig, ENGINE_END_GUEST);
	expect_sector(rig, 'd');
	assert_int_equal(rig->metrics->vcpu.exit_mmio_write.value, 18);
	rig_free(rig);
}

static void a_pause_stops_drives_and_resume_serves_what_came(void **state)
{
	static const struct guest_step steps[] = {
		SET_UP_DEVICE,
		{ GUEST_OUT8, SERIAL, '1' },
		{ GUEST_SPIN, 20 },
		KICK,
		USED(1),
		{ GUEST_PRINT, SECTOR, 512 },
	};

	(void)state;
	for (int i = 0; i < 20; i++) {	/* the pause comes before the kick, or after it */
		struct rig *rig = drive_rig(steps, ARRAY_SIZE(steps));

		rig_start(rig);
		while (rig->metrics->uart.missed_write_count.value == 0 &&
		       rig->metrics->vcpu.exit_mmio_write.value < 18)
			usleep(50);
		usleep((useconds_t)i * 20);
		pause_engine(rig);
		run_ms(rig, 20);
		assert_true(rig->output_len <= 1);
		resume_engine(rig);
		UNTIL(rig, rig->output_len == 513);
		assert_int_equal(rig->output[512], 'd');
		rig_free(rig);
	}
}

static void a_drive_is_changed_while_the_guest_runs(void **state)
{
	static const struct guest_step steps[] = {
		SET_UP_DEVICE,
		KICK,
		USED(1),
		{ GUEST_PRINT, SECTOR, 512 },
		{ GUEST_WAIT32, DEVICE + 0x60, 2, 2 },			/* configuration changed */
		{ GUEST_PUT16, GUEST_DATA + offsetof(struct driver, avail.idx), 2 },
		KICK,
		USED(2),
		{ GUEST_PRINT, SECTOR, 512 },
		POWER_OFF,
	};
	struct squib_drive_update update = { .drive_id = "d0", .path_on_host = "other" };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct rig *rig = drive_rig(steps, ARRAY_SIZE(steps));
	int other = disk('A');

	(void)state;
	rig_start(rig);
	UNTIL(rig, rig->output_len == 512);
	expect_sector(rig, 'd');
	assert_int_equal(engine_kvm.update_drive(rig->engine, &update, other, &fault), 0);
	fd_close(other);
	rig->output_len = 0;
	UNTIL(rig, rig->output_len == 512);
	expect_sector(rig, 'D');
	update.drive_id = "nobody";
	assert_true(engine_kvm.update_drive(rig->engine, &update, -1, &fault) < 0);
	rig_free(rig);
}

/* ---- */

static int kvm_opens(void **state)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	(void)state;
	if (fd < 0) {
		print_message("SKIPPED: /dev/kvm cannot be opened: %s\n", strerror(errno));
		return -1;
	}
	fd_close(fd);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_guest_prints_arrives_and_power_off_ends_it),
		cmocka_unit_test(a_listener_that_takes_nothing_holds_the_guest_back),
		cmocka_unit_test(the_last_bytes_arrive_before_the_end),
		cmocka_unit_test(
			a_listener_that_never_takes_the_last_bytes_does_not_keep_the_machine),
		cmocka_unit_test(input_beyond_the_fifo_reaches_the_guest),
		cmocka_unit_test(input_interrupts_the_guest),
		cmocka_unit_test(a_guest_that_never_stops_printing_does_not_hold_the_loop),
		cmocka_unit_test(reset_by_the_keyboard_controller_ends_it_once),
		cmocka_unit_test(a_listener_may_destroy_it_when_it_hears_of_the_end),
		cmocka_unit_test(a_triple_fault_is_a_failure),
		cmocka_unit_test(whatever_kvm_says_the_guest_goes_on_or_ends),
		cmocka_unit_test(a_pause_stops_the_guest_and_resume_goes_on),
		cmocka_unit_test(pauses_in_quick_succession_are_all_heard),
		cmocka_unit_test(a_guest_that_never_exits_is_paused),
		cmocka_unit_test(a_halted_guest_is_paused),
		cmocka_unit_test(a_pause_before_the_end_is_told_does_not_hide_it),
		cmocka_unit_test(a_vcpu_that_does_not_stop_is_told_and_all_go_on),
		cmocka_unit_test(signals_at_any_moment_do_no_harm),
		cmocka_unit_test(ctrl_alt_del_reaches_the_guest),
		cmocka_unit_test(accesses_to_everything_harm_nothing),
		cmocka_unit_test(a_string_instruction_without_end_is_paused),
		cmocka_unit_test(accesses_of_eight_bytes_are_none),
		cmocka_unit_test(the_boot_timer_is_told),
		cmocka_unit_test(starts_that_are_refused_leave_nothing),
		cmocka_unit_test(memory_of_any_size_is_given),
		cmocka_unit_test(an_engine_that_was_never_started_leaves_nothing),
		cmocka_unit_test(whatever_fails_is_told_and_leaves_nothing),
		cmocka_unit_test(a_process_out_of_descriptors_is_told_and_leaves_nothing),
		cmocka_unit_test(machines_of_some_vcpus_pause_and_quit),
		cmocka_unit_test(a_second_processor_runs_and_is_paused_too),
		cmocka_unit_test(two_processors_that_end_it_at_once_end_it_once),
		cmocka_unit_test(a_vcpu_that_does_not_stop_at_the_end_stops_when_it_can),
		cmocka_unit_test(two_machines_do_not_touch_each_other),
		cmocka_unit_test(machines_are_destroyed_at_any_moment),
		cmocka_unit_test(a_driver_reads_a_sector_and_is_interrupted),
		cmocka_unit_test(a_pause_stops_drives_and_resume_serves_what_came),
		cmocka_unit_test(a_drive_is_changed_while_the_guest_runs),
	};

	if (getenv("KVM_TEST") != NULL)		/* a part of them, by name */
		cmocka_set_test_filter(getenv("KVM_TEST"));
	if (kvm_opens(NULL) < 0)
		return 77;	/* skipped, for meson */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
