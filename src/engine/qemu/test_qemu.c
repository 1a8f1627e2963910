/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against a QEMU that this program plays itself: SQUIB_QEMU names our own executable and
 * FAKE_QEMU what is wrong with it. So everything a QEMU may do, also what no real one does, happens
 * on demand and without a guest.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/metrics.h"
#include "engine/engine.h"
#include "engine/kvm/self_test.h"
#include "engine/qemu/args.h"
#include "engine/qemu/check.h"
#include "engine/qemu/qemu_internal.h"

#define OUTPUT_BYTES (1 << 20)

/* The fake */

static int fake_fd(char **argv, const char *prefix)
{
	for (; *argv != NULL; argv++)
		if (strncmp(*argv, prefix, strlen(prefix)) == 0)
			return atoi(*argv + strlen(prefix));
	return -1;
}

static void fake_write(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n <= 0)
			_exit(9);
		data += n;
		len -= (size_t)n;
	}
}

static void fake_say(int fd, const char *text)
{
	fake_write(fd, text, strlen(text));
}

/* Wait for a command and answer it, or refuse it */
static void fake_reply(int fd, const char *want, bool refuse)
{
	char line[1024] = "", answer[96];
	unsigned long long id;
	size_t len = 0;

	while (strchr(line, '\n') == NULL) {
		ssize_t n = read(fd, line + len, sizeof(line) - 1 - len);

		if (n <= 0)
			_exit(0);
		len += (size_t)n;
		line[len] = '\0';
	}
	if (strstr(line, want) == NULL || sscanf(strstr(line, "\"id\":"), "\"id\":%llu", &id) != 1)
		_exit(8);
	snprintf(answer, sizeof(answer), refuse ? "{\"error\": {\"desc\": \"no\"}, \"id\": %llu}\r\n" :
					 "{\"return\": {}, \"id\": %llu}\r\n", id);
	fake_say(fd, answer);
}

static void fake_answer(int fd, const char *want)
{
	fake_reply(fd, want, false);
}

static void fake_output(int fd)
{
	char block[1024];

	memset(block, 'o', sizeof(block));
	for (int i = 0; i < OUTPUT_BYTES / 1024; i++)
		fake_write(fd, block, sizeof(block));
}

static void fake_up(int qmp, int serial, const char *mode)
{
	static const char ended[] = "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, "
				    "\"reason\": \"guest-reset\"}}\r\n";
	char block[1000];
	ssize_t len;

	fake_say(qmp, "{\"QMP\": {}}\r\n");
	fake_answer(qmp, "qmp_capabilities");
	if (strcmp(mode, "crash-early") == 0)
		raise(SIGKILL);
	fake_answer(qmp, "cont");
	if (strcmp(mode, "crash") == 0) {
		fake_say(serial, "the guest's last words");
		fake_say(2, "qemu-system-x86_64: out of luck\n");
		raise(SIGKILL);
	}
	if (strcmp(mode, "garbage-late") == 0) {
		fake_say(qmp, "{\"event\": }\r\n");
		pause();
	}
	if (strcmp(mode, "deaf") == 0)
		for (;;)
			pause();
	if (strcmp(mode, "ends") == 0 || strcmp(mode, "lingers") == 0) {
		fake_output(serial);
		fake_say(qmp, ended);
		if (strcmp(mode, "lingers") == 0)
			pause();
		_exit(0);
	}
	if (strcmp(mode, "host-quit") == 0) {
		fake_say(qmp, "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": false, "
			 "\"reason\": \"host-signal\"}}\n");
		_exit(0);
	}
	if (strncmp(mode, "forks", 5) == 0) {
		pid_t child = fork();

		while (child == 0) {
			if (strcmp(mode, "forks-noisy") == 0)
				fake_say(qmp, "{\"event\": \"NOISE\"}\r\n");
			else
				pause();
		}
		fake_write(serial, (const char *)&child, sizeof(child));
		if (strcmp(mode, "forks") != 0) {
			fake_say(qmp, ended);
			_exit(0);
		}
	}
	if (strcmp(mode, "echo") == 0)
		while ((len = read(serial, block, sizeof(block))) > 0)
			fake_write(serial, block, (size_t)len);
	if (strncmp(mode, "refuses-", 8) == 0) {	/* only the command of that number */
		for (int n = 1;; n++)
			fake_reply(qmp, "execute", n == atoi(mode + 8));
	}
	for (;;) {	/* "good": any commands */
		fake_answer(qmp, "execute");
	}
}

_Noreturn static void fake(char **argv, const char *mode)
{
	int qmp = fake_fd(argv, "socket,id=qmp,fd=");
	int serial = fake_fd(argv, "socket,id=serial,fd=");

	if (strcmp(mode, "words") == 0)
		fake_say(2, "qemu: warning: unrelated\nqemu-system-x86_64: -device x: no such thing\n");
	else if (strcmp(mode, "no-memory") == 0)
		fake_say(2, "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate "
			 "memory\n");
	else if (strcmp(mode, "initrd") == 0)
		fake_say(2, "qemu: initrd is too large, cannot support this.\n");
	else if (strcmp(mode, "mute") == 0)
		for (;;)
			pause();
	else if (strcmp(mode, "garbage") == 0)
		for (;;)
			fake_say(qmp, "\xff[[[[{{{{");
	else if (strcmp(mode, "noisy") == 0) {
		for (int i = 0; i < 100000; i++)
			fake_say(2, "a line of many, which nobody needs, but the pipe must not fill up\n");
		fake_up(qmp, serial, "good");
	} else if (strcmp(mode, "closer") == 0) {
		close(qmp);
		for (;;)
			pause();
	} else
		fake_up(qmp, serial, mode);
	_exit(1);
}

/* The fixture */

struct fixture {
	struct engine_listener listener;
	struct loop *loop;
	struct metrics *metrics;
	struct engine *engine;
	struct fault fault;
	struct squib_boot_source boot_source;
	struct squib_machine machine;
	struct engine_machine start;
	int ended;
	enum engine_end end;
	int asked_ending;	/* how often it is to be told "no" still; -1: always */
	size_t room;		/* how much console output is still taken */
	size_t got_len;
	char got[2 * OUTPUT_BYTES];
};

static void on_ended(struct engine_listener *listener, enum engine_end end)
{
	struct fixture *f = container_of(listener, struct fixture, listener);

	f->ended++;
	f->end = end;
}

static size_t on_output(struct engine_listener *listener, const void *data, size_t len)
{
	struct fixture *f = container_of(listener, struct fixture, listener);

	if (len > f->room)
		len = f->room;
	assert_true(f->got_len + len <= sizeof(f->got));
	memcpy(f->got + f->got_len, data, len);
	f->got_len += len;
	f->room -= len;
	return len;
}

static bool is_ending(struct engine_listener *listener)
{
	struct fixture *f = container_of(listener, struct fixture, listener);

	if (f->asked_ending > 0)
		f->asked_ending--;
	return f->asked_ending == 0;
}

static void on_input_ready(struct engine_listener *listener) { (void)listener; }

static int make_kernel(void)
{
	uint8_t bytes[5 * 512 + 4096] = { [0x1f1] = 4, [0x1f5] = 1, [0x1fe] = 0x55, [0x1ff] = 0xaa,
					  [0x202] = 'H', 'd', 'r', 'S', 0x0f, 2, [0x211] = 1,
					  [0x236] = 1, [0x263] = 1 };
	int fd = memfd_create("kernel", MFD_CLOEXEC);

	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	return fd;
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void make_engine(struct fixture *f)
{
	struct engine_params params = { .arch = SQUIB_ARCH_X86_64, .instance_id = "test-vm",
					.loop = f->loop, .metrics = f->metrics,
					.listener = &f->listener };

	assert_int_equal(engine_qemu.create(&params, &f->engine, &f->fault), 0);
	*qemu_timeouts(f->engine) = (struct qemu_timeouts){ 2000, 200, 300, 300 };
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->listener = (struct engine_listener){ .ended = on_ended, .serial_output = on_output,
						.serial_input_ready = on_input_ready,
						.is_ending = is_ending };
	f->asked_ending = -1;
	f->room = SIZE_MAX;
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(metrics_new(&f->metrics), 0);
	make_engine(f);
	f->boot_source.boot_args = "console=ttyS0";
	f->machine = (struct squib_machine){ .config = { .vcpu_count = 1, .mem_size_mib = 128 },
					     .boot_source = &f->boot_source };
	f->start = (struct engine_machine){ .description = &f->machine, .initrd = { .fd = -1 },
					    .kernel = { .fd = make_kernel(), .path = "kernel" } };
	setenv("SQUIB_QEMU", "/proc/self/exe", 1);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	engine_qemu.destroy(f->engine);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);	/* no process is left */
	loop_free(f->loop);
	metrics_free(f->metrics);
	fault_done(&f->fault);
	close(f->start.kernel.fd);
	free(f);
	return 0;
}

static int start(struct fixture *f, const char *mode)
{
	setenv("FAKE_QEMU", mode, 1);
	return engine_qemu.start(f->engine, &f->start, &f->fault);
}

static void run_until_ended(struct fixture *f)
{
	uint64_t hung_ns = clock_ns() + 60 * UINT64_C(1000000000);

	while (f->ended == 0 && clock_ns() < hung_ns)
		loop_run_once(f->loop, 10);
	assert_int_equal(f->ended, 1);
	for (int i = 0; i < 5; i++)
		loop_run_once(f->loop, 1);
	assert_int_equal(f->ended, 1);
}

/* Starting */

static void a_start_that_fails_tells_why_and_leaves_nothing(void **state)
{
	static const struct { const char *mode, *want; } cases[] = {
		{ "words", "Internal error while starting microVM: QEMU gave up: "
			   "-device x: no such thing" },
		{ "no-memory", "Invalid Memory Configuration: Cannot create mmap region: "
			       "Out of memory (os error 12)" },
		{ "initrd", "Error with initrd initialization: initrd is too large, cannot support "
			    "this.." },
		{ "mute", "Internal error while starting microVM: QEMU does not answer; its last "
			  "words: nothing" },
		{ "garbage", "Internal error while starting microVM: QEMU was killed by signal 9 "
			     "(Killed)" },
		{ "crash-early", "Internal error while starting microVM: QEMU was killed by signal 9 "
				 "(Killed)" },
		{ "closer", "Internal error while starting microVM: QEMU does not answer; its last "
			    "words: nothing" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool waits = strstr(cases[i].want, "does not answer") != NULL;
		int before = open_fds();

		/* the others are told of as soon as they are seen */
		qemu_timeouts(f->engine)->start_ms = waits ? 300 : 20000;

		assert_true(start(f, cases[i].mode) < 0);
		assert_string_equal(fault_text(&f->fault), cases[i].want);
		assert_int_equal(open_fds(), before);
		assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
		loop_run_once(f->loop, 0);
		assert_int_equal(f->ended, 0);
	}
	qemu_timeouts(f->engine)->start_ms = 2000;
	assert_int_equal(start(f, "good"), 0);	/* and may be tried again */
	assert_int_equal(engine_qemu.pause(f->engine, &f->fault), 0);
	assert_int_equal(engine_qemu.pause(f->engine, &f->fault), 0);
	assert_int_equal(engine_qemu.resume(f->engine, &f->fault), 0);
	assert_int_equal(engine_qemu.send_ctrl_alt_del(f->engine, &f->fault), 0);
}

static void what_it_started_ends_with_it(void **state)
{
	static const char *const modes[] = { "forks", "forks-ends", "forks-noisy" };
	struct fixture *f = *state;
	struct engine_params params = { .arch = SQUIB_ARCH_X86_64, .instance_id = "test-vm",
					.loop = f->loop, .metrics = f->metrics,
					.listener = &f->listener };

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		pid_t child;
		int status;

		f->got_len = 0;
		f->ended = 0;
		assert_int_equal(start(f, modes[i]), 0);
		while (f->got_len < sizeof(child))
			loop_run_once(f->loop, 10);
		memcpy(&child, f->got, sizeof(child));
		if (strcmp(modes[i], "forks") != 0)
			run_until_ended(f);
		engine_qemu.destroy(f->engine);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_int_equal(engine_qemu.create(&params, &f->engine, &f->fault), 0);
	}
	prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void a_program_that_ends_waits_for_nothing(void **state)
{
	static const char *const modes[] = { "mute", "closer" };
	struct fixture *f = *state;
	uint64_t start_ns = clock_ns();

	*qemu_timeouts(f->engine) = (struct qemu_timeouts){ 60000, 60000, 60000, 60000 };
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		f->asked_ending = 3;
		assert_true(start(f, modes[i]) < 0);
		assert_string_not_equal(fault_text(&f->fault), "");
	}
	f->asked_ending = -1;
	assert_int_equal(start(f, "deaf"), 0);
	f->asked_ending = 3;
	assert_true(engine_qemu.pause(f->engine, &f->fault) < 0);
	assert_in_range(clock_ns() - start_ns, 0, 30000000000);
}

static void what_cannot_be_run_is_said(void **state)
{
	struct fixture *f = *state;

	setenv("SQUIB_QEMU", "/nonexistent/qemu", 1);
	assert_int_equal(engine_qemu.probe(SQUIB_ARCH_X86_64, &f->fault), -ENOENT);
	assert_int_equal(start(f, "good"), -ENOENT);
	assert_string_equal(fault_text(&f->fault), "Internal error while starting microVM: the qemu "
			    "engine cannot find qemu-system-x86_64");
	setenv("SQUIB_QEMU", "/etc/passwd", 1);		/* not executable */
	assert_int_equal(engine_qemu.probe(SQUIB_ARCH_X86_64, &f->fault), -ENOENT);
}

static void a_noisy_start_does_not_hang(void **state)
{
	struct fixture *f = *state;

	qemu_timeouts(f->engine)->start_ms = 10000;
	assert_int_equal(start(f, "noisy"), 0);
}

static void bad_memory_and_kernels_are_refused_before_anything_starts(void **state)
{
	struct fixture *f = *state;
	int kernel = f->start.kernel.fd;
	bool x86_64 = self_test_guest != NULL && self_test_guest->arch == SQUIB_ARCH_X86_64;

	f->machine.config.mem_size_mib = UINT64_MAX;
	assert_int_equal(start(f, "good"), -ENOMEM);
	assert_string_equal(fault_text(&f->fault), "Invalid Memory Configuration: Cannot create mmap "
			    "region: Out of memory (os error 12)");
	f->machine.config.mem_size_mib = 16;
	assert_int_equal(start(f, "good"), -ENOMEM);
	assert_string_equal(fault_text(&f->fault), "System configuration error: Cannot load kernel "
			    "due to invalid memory configuration or invalid kernel image: "
			    "The kernel needs more than 16 MiB of memory");
	f->machine.config.mem_size_mib = 128;
	f->start.kernel.fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	assert_int_equal(start(f, "good"), -ENOEXEC);
	assert_non_null(strstr(fault_text(&f->fault), x86_64 ? "PVH" : "another architecture"));
	close(f->start.kernel.fd);
	f->start.kernel.fd = kernel;
}

/* Running */

static void the_last_output_arrives_before_the_end(void **state)
{
	struct fixture *f = *state;

	f->room = 1000;		/* a console that is slow, but not stuck */
	assert_int_equal(start(f, "ends"), 0);
	for (int i = 0; i < 100000 && f->ended == 0; i++) {
		loop_run_once(f->loop, 10);
		if (f->room == 0) {
			f->room = 40000;
			engine_qemu.serial_output_ready(f->engine);
			assert_int_equal(f->got_len > OUTPUT_BYTES && f->ended, 0);
		}
	}
	assert_int_equal(f->ended, 1);
	assert_int_equal(f->end, ENGINE_END_GUEST);
	assert_int_equal(f->got_len, OUTPUT_BYTES);
}

static void a_stuck_console_does_not_hold_the_end(void **state)
{
	struct fixture *f = *state;

	/* QEMU cannot even finish writing; it is the guest's end all the same once it is killed */
	f->room = 0;
	assert_int_equal(start(f, "crash"), 0);
	run_until_ended(f);
	assert_int_equal(f->end, ENGINE_END_FAILED);
}

static void a_qemu_that_lingers_is_killed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(start(f, "lingers"), 0);
	run_until_ended(f);
	assert_int_equal(f->end, ENGINE_END_GUEST);
	assert_int_equal(f->got_len, OUTPUT_BYTES);
}

static void ends_that_the_guest_did_not_want_are_failures(void **state)
{
	static const char *const modes[] = { "crash", "garbage-late", "host-quit" };
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		f->ended = 0;
		assert_int_equal(start(f, modes[i]), 0);
		run_until_ended(f);
		assert_int_equal(f->end, ENGINE_END_FAILED);
		assert_true(engine_qemu.pause(f->engine, &f->fault) < 0);
		assert_string_equal(fault_text(&f->fault), "the guest of the qemu engine has ended");
		assert_int_equal(engine_qemu.serial_input(f->engine, "x", 1), 1);
	}
	assert_memory_equal(f->got, "the guest's last words", 22);
}

static void a_deaf_qemu_is_a_fault_not_a_hang(void **state)
{
	struct fixture *f = *state;
	uint64_t start_ns = clock_ns();

	assert_int_equal(start(f, "deaf"), 0);
	assert_int_equal(engine_qemu.pause(f->engine, &f->fault), -ETIMEDOUT);
	assert_string_equal(fault_text(&f->fault), "QEMU does not answer (stop)");
	assert_true(clock_ns() - start_ns < UINT64_C(1500000000));
}

static void a_megabyte_goes_in_and_out_without_loss(void **state)
{
	struct fixture *f = *state;
	static char input[OUTPUT_BYTES];
	size_t sent = 0;

	for (size_t i = 0; i < sizeof(input); i++)
		input[i] = (char)(i % 253);
	assert_int_equal(start(f, "echo"), 0);
	while (f->got_len < sizeof(input)) {
		if (sent < sizeof(input))
			sent += engine_qemu.serial_input(f->engine, input + sent,
							 sizeof(input) - sent);
		loop_run_once(f->loop, 100);
	}
	assert_memory_equal(f->got, input, sizeof(input));
}

/* We are killed, in the middle of it; our QEMU goes with us and comes to our parent to be buried. */
static void qemu_does_not_outlive_us(void **state)
{
	struct fixture *f = *state;
	int status, p[2];
	pid_t us, orphan;
	char byte;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	us = fork();
	if (us == 0) {
		byte = start(f, "deaf") == 0 ? 'y' : 'n';
		if (write(p[1], &byte, 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	assert_int_equal(read(p[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	kill(us, SIGKILL);
	assert_int_equal(waitpid(us, &status, 0), us);
	orphan = waitpid(-1, &status, 0);
	assert_true(orphan > 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 0);
	close(p[0]);
	close(p[1]);
}

/* Descriptions */

static void what_cannot_be_given_is_refused_by_name(void **state)
{
	static const struct squib_token_bucket ops = { 1000, 0, 1000 };
	static const struct squib_rate_limiter ops_limiter = { .ops = &ops };
	static const struct squib_drive plain_drive = { .drive_id = "d", .path_on_host = "/d",
							.io_engine = SQUIB_IO_ENGINE_SYNC };
	static const struct squib_pmem pmem = { .id = "pmem0" };
	static const struct squib_balloon balloon = { .amount_mib = 1 };
	static const struct squib_memory_hotplug hotplug = { .total_size_mib = 128 };
	static const struct squib_cpu_config cpu_config = { .kvm_capability_count = 1 };
	static const struct squib_entropy entropy = { .rate_limiter = &ops_limiter };
	static const struct squib_entropy plain_entropy = { 0 };
	const struct squib_drive *drives[40];
	const struct squib_pmem *const pmems[] = { &pmem };
	const struct { struct squib_machine machine; const char *want; } cases[] = {
		{ { .pmems = pmems, .pmem_count = 1 }, "pmem devices yet (pmem pmem0)" },
		{ { .balloon = &balloon }, "balloon devices yet" },
		{ { .memory_hotplug = &hotplug }, "memory hotplug yet" },
		{ { .cpu_config = &cpu_config }, "custom CPU configurations yet" },
		{ { .config = { .has_cpu_template = true, .cpu_template = SQUIB_CPU_TEMPLATE_T2 } },
		  "CPU templates yet (template T2)" },
		{ { .entropy = &entropy }, "a rate limiter with ops yet (entropy device)" },
	};
	struct fixture *f = *state;
	struct squib_machine many = { .drives = drives, .drive_count = 23,
				      .config = { .has_cpu_template = true,
						  .cpu_template = SQUIB_CPU_TEMPLATE_NONE } };
	char want[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(want, sizeof(want), "Internal error while starting microVM: the qemu "
			 "engine does not support %s", cases[i].want);
		assert_int_equal(engine_qemu.check(f->engine, &cases[i].machine, &f->fault),
				 -ENOTSUP);
		assert_string_equal(fault_text(&f->fault), want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(drives); i++)
		drives[i] = &plain_drive;
	assert_int_equal(qemu_check(SQUIB_ARCH_X86_64, true, &many, &f->fault), 0);
	many.entropy = &plain_entropy;
	assert_true(qemu_check(SQUIB_ARCH_X86_64, true, &many, &f->fault) < 0);
	assert_non_null(strstr(fault_text(&f->fault),
			       "Could not allocate GSI: The requested resource is not available."));
	assert_int_equal(qemu_check(SQUIB_ARCH_AARCH64, false, &many, &f->fault), 0);
	assert_int_equal(qemu_check(SQUIB_ARCH_AARCH64, true, &many, &f->fault), -ENOTSUP);
}

static bool has(const struct args *args, const char *want)
{
	for (size_t i = 0; i < args->count; i++)
		if (strcmp(args->argv[i], want) == 0)
			return true;
	return false;
}

static void arguments_of_a_machine(void **state)
{
	static const struct squib_token_bucket bytes = { 2000000, 0, 1000 };
	static const struct squib_rate_limiter bytes_only = { .bandwidth = &bytes };
	static const struct squib_drive root = { .drive_id = "evil,readonly=off",
						 .is_root_device = true, .path_on_host = "/evil,b" };
	static const struct squib_network_interface eth0 = {
		.iface_id = "evil0", .host_dev_name = "evil,x", .has_guest_mac = true,
		.guest_mac = { 6, 0, 0xac, 0x10, 0, 2 }, .has_mtu = true, .mtu = 9000,
	};
	static const struct squib_network_interface eth1 = { .iface_id = "evil1" };
	static const struct squib_vsock vsock = { .guest_cid = 3, .uds_path = "/evil" };
	static const struct squib_entropy entropy = { .rate_limiter = &bytes_only };
	static const struct qemu_peer peers[] = { { 60, "" }, { -1, "00001" }, { -1, "00002" },
						  { -1, "00003" } };
	const struct squib_drive *const drives[] = { &root };
	const struct squib_network_interface *const interfaces[] = { &eth0, &eth1 };
	struct squib_machine machine = { .config = { .vcpu_count = 4, .smt = true,
						     .mem_size_mib = 128 },
					 .drives = drives, .drive_count = 1,
					 .network_interfaces = interfaces,
					 .network_interface_count = 2, .vsock = &vsock,
					 .entropy = &entropy };
	struct qemu_args params = { .program = "/q", .instance_id = "vm-1", .machine = &machine,
				    .peers = peers, .cmdline = "a=b,c -- d",
				    .kernel_fd = 50, .initrd_fd = -1, .qmp_fd = 51, .serial_fd = 52,
				    .guest_log_fd = 53, .arch = SQUIB_ARCH_X86_64 };
	CLEANUP(args_done) struct args x86 = { 0 };
	CLEANUP(args_done) struct args arm = { 0 };

	(void)state;
	assert_int_equal(qemu_args_build(&params, &x86), 0);
	assert_null(x86.argv[x86.count]);
	assert_true(has(&x86, "vm-1") && has(&x86, "a=b,c -- d") && has(&x86, "/proc/self/fd/50"));
	assert_true(has(&x86, "4,sockets=1,cores=2,threads=2"));
	assert_true(has(&x86, "tcg") && has(&x86, "i8042") && has(&x86, "guest_errors"));
	assert_false(has(&x86, "-initrd"));
	assert_true(has(&x86, "memory-backend-memfd,id=ram,size=128M,share=on"));
	assert_true(has(&x86, "socket,id=device0,fd=60") &&
		    has(&x86, "socket,id=device3,path=00003,abstract=on"));
	assert_true(has(&x86, "vhost-user-blk,chardev=device0,bus=virtio-mmio-bus.23,"
			"num-queues=1,queue-size=256,config-wce=off"));
	assert_true(has(&x86, "vhost-user,id=net1,chardev=device1"));
	assert_true(has(&x86, "virtio-net-device,netdev=net1,bus=virtio-mmio-bus.22,"
			"mac=06:00:ac:10:00:02,rx_queue_size=256,tx_queue_size=256,ctrl_vq=off,"
			"ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,ctrl_mac_addr=off,"
			"ctrl_guest_offloads=off,guest_announce=off,host_mtu=9000"));
	assert_true(has(&x86, "vhost-user,id=net2,chardev=device2"));
	assert_true(has(&x86, "vhost-user-vsock-device,chardev=device3,bus=virtio-mmio-bus.20"));
	assert_true(has(&x86, "virtio-rng-device,rng=entropy,bus=virtio-mmio-bus.19,"
			"max-bytes=2000000,period=1000"));
	for (size_t i = 0; i < x86.count; i++)
		assert_null(strstr(x86.argv[i], "evil"));

	params.arch = SQUIB_ARCH_AARCH64;
	params.initrd_fd = 54;
	params.guest_log_fd = -1;
	machine.config.huge_pages = SQUIB_HUGE_PAGES_2M;
	assert_int_equal(qemu_args_build(&params, &arm), 0);
	assert_true(has(&arm, "virt,gic-version=3,memory-backend=ram") && has(&arm, "cortex-a72"));
	assert_true(has(&arm, "memory-backend-memfd,id=ram,size=128M,share=on,hugetlb=on,"
			"hugetlbsize=2M"));
	assert_true(has(&arm, "/proc/self/fd/54"));
	assert_false(has(&arm, "-d") || has(&arm, "i8042"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		CASE(a_start_that_fails_tells_why_and_leaves_nothing),
		CASE(what_it_started_ends_with_it),
		CASE(a_program_that_ends_waits_for_nothing),
		CASE(what_cannot_be_run_is_said),
		CASE(a_noisy_start_does_not_hang),
		CASE(bad_memory_and_kernels_are_refused_before_anything_starts),
		CASE(the_last_output_arrives_before_the_end),
		CASE(a_stuck_console_does_not_hold_the_end),
		CASE(a_qemu_that_lingers_is_killed),
		CASE(ends_that_the_guest_did_not_want_are_failures),
		CASE(a_deaf_qemu_is_a_fault_not_a_hang),
		CASE(a_megabyte_goes_in_and_out_without_loss),
		CASE(qemu_does_not_outlive_us),
		CASE(what_cannot_be_given_is_refused_by_name),
		cmocka_unit_test(arguments_of_a_machine),
	};

	if (argc > 1 && getenv("FAKE_QEMU") != NULL)
		fake(argv, getenv("FAKE_QEMU"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
