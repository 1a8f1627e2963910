/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/test_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "net/backend.h"

#define OUTPUT_MAX	(1u << 20)
#define SLOW_MAX	(1u << 19)	/* bytes: where a slow listener stops being slow */

/* ---- what fails on purpose ---- */

_Thread_local struct rig_failing failing;
struct rig_fake kvm_run_fake;
struct rig_fake_ioctl ioctl_fake;

static bool fails(enum wrapped what)
{
	return failing.what == what && failing.countdown > 0 && --failing.countdown == 0;
}

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
	if (request == KVM_RUN)
		return fake_run(fd);
	if (request == ioctl_fake.request &&
	    (ioctl_fake.any_arg || (unsigned long)arg == ioctl_fake.arg)) {
		errno = ioctl_fake.error;
		return ioctl_fake.result;
	}
	return __real_ioctl(fd, request, arg);
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

/* Two exits with output: one of them began after this. */
static void wait_for_more(const struct rig *rig)
{
	uint64_t before = rig_sent(rig);

	while (rig_sent(rig) < before + 2 && rig->total < SLOW_MAX)
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

void rig_engine(struct rig *rig)
{
	assert_int_equal(engine_kvm.create(&rig->params, &rig->engine, NULL), 0);
}

/* Takes @kernel_fd. */
struct rig *rig_new(int kernel_fd)
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
	rig->params = (struct engine_params){ .arch = GUEST_ARCH, .instance_id = "test",
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

void rig_free(struct rig *rig)
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

/* A disk of a few sectors, each filled with its own letter */
int disk(char first_letter)
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

struct squib_drive *add_drive(struct rig *rig, char first_letter)
{
	size_t i = rig->description.drive_count++;

	snprintf(rig->drive_ids[i], sizeof(rig->drive_ids[i]), "d%zu", i);
	rig->drives[i] = (struct squib_drive){ .drive_id = rig->drive_ids[i], .path_on_host = "disk",
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
int rig_try_start(struct rig *rig, struct fault *fault)
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

void rig_start(struct rig *rig)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (rig_try_start(rig, &fault) < 0)
		fail_msg("start: %s", fault_text(&fault));
}

struct rig *rig_run(const struct guest_step *steps, size_t count)
{
	struct rig *rig = rig_new(guest_kernel(steps, count, NULL, 0));

	rig_start(rig);
	return rig;
}

void run_ms(struct rig *rig, unsigned int ms)
{
	uint64_t end_ns = clock_ns() + ms * UINT64_C(1000000);

	do {
		loop_run_once(rig->loop, 10);
	} while (clock_ns() < end_ns);
}

void expect_end(struct rig *rig, enum engine_end end)
{
	UNTIL(rig, rig->ended > 0);
	run_ms(rig, 50);
	assert_int_equal(rig->ended, 1);
	assert_int_equal(rig->end, end);
	assert_int_equal(rig->len_at_end, rig->output_len);
}

void expect_output(const struct rig *rig, const char *text)
{
	if (rig->output_len != strlen(text) || memcmp(rig->output, text, strlen(text)) != 0)
		fail_msg("output is \"%.*s\" (%zu bytes)", (int)rig->output_len,
			 (const char *)rig->output, rig->output_len);
}

void expect_pattern(const struct rig *rig, size_t len)
{
	assert_int_equal(rig->output_len, len);
	for (size_t i = 0; i < len; i++)
		if (rig->output[i] != (uint8_t)i)
			fail_msg("byte %zu is %u", i, rig->output[i]);
	assert_int_equal(rig->metrics->uart.missed_write_count.value, 0);
}

void pause_engine(struct rig *rig)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (engine_kvm.pause(rig->engine, &fault) < 0)
		fail_msg("pause: %s", fault_text(&fault));
}

void resume_engine(struct rig *rig)
{
	assert_int_equal(engine_kvm.resume(rig->engine, NULL), 0);
}

void expect_still(struct rig *rig)
{
	size_t before;

	run_ms(rig, 50);	/* what was in the port */
	before = rig->output_len;
	run_ms(rig, SETTLED_MS);
	assert_int_equal(rig->output_len, before);
}

void expect_running(struct rig *rig)
{
	rig->output_len = 0;
	UNTIL(rig, rig->output_len > 100);
}

/* ---- what is left behind ---- */

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

struct left look(void)
{
	return (struct left){ entries("/proc/self/fd"), entries("/proc/self/task") };
}

/* A thread that was joined may be listed for a moment. */
void expect_nothing_left(const struct left *before, const char *what)
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

unsigned int vcpu_threads(void)
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

bool rig_can_run(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (getenv("KVM_TEST") != NULL)
		cmocka_set_test_filter(getenv("KVM_TEST"));
	if (fd < 0)
		print_message("SKIPPED: /dev/kvm cannot be opened: %s\n", strerror(errno));
	fd_close(fd);
	return fd >= 0;
}
