/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine as the monitor sees it, with guests of a few instructions (test_guest.h), which also run
 * where KVM is emulated and boots no Linux. What only one architecture has is in its test_machine.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/kvm/test_rig.h"

#define DEVICE ARCH_DEVICES_ADDRESS	/* the first */

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
	/* all of it is still in the port, and the guest ends */
	UNTIL(rig, rig->refused && rig_sent(rig) >= 3000);
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
		IRQ_ON(ARCH_SERIAL_GSI),
		SERIAL_PUT(1, 1),	/* of received data */
		SERIAL_PUT(0, '!'),
		IRQ_WAIT(ARCH_SERIAL_GSI),
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

/* ---- the end ---- */

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
		static const struct guest_step steps[] = { SERIAL_PUT(0, '.'),
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
	SERIAL_PUT(0, '.'), { GUEST_SPIN, 100 }, { GUEST_JUMP, GUEST_SCRIPT }

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
						   { GUEST_PUT8, ARCH_BOOT_TIMER_ADDRESS, 0 },
						   { GUEST_JUMP, GUEST_SCRIPT } };
	struct rig *rig = RUN(steps);

	(void)state;
	for (int i = 0; i < 500; i++) {
		uint64_t exits;

		pause_engine(rig);
		exits = rig->metrics->vcpu.exit_mmio_write.value;
		if (i % 50 == 0)
			usleep(2000);
		assert_int_equal(rig->metrics->vcpu.exit_mmio_write.value, exits);
		resume_engine(rig);
		if (i % 7 == 0)
			usleep(100);
	}
	rig_free(rig);
}

static void a_guest_that_never_exits_is_paused(void **state)
{
	static const struct guest_step steps[] = {
		SERIAL_PUT(0, 'x'),
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
	static const struct guest_step steps[] = { SERIAL_PUT(0, 'x') };
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

static void accesses_of_eight_bytes_are_none(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PUT64, DEVICE + 0x6f, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, DEVICE + 0xff9, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, DEVICE + 0x100, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, ARCH_BOOT_TIMER_ADDRESS, 123, 0 },
		SERIAL_PUT(0, '!'),
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
		{ GUEST_PUT8, ARCH_BOOT_TIMER_ADDRESS, 122 },
		{ GUEST_PUT8, ARCH_BOOT_TIMER_ADDRESS + 1, 123 },
		{ GUEST_GET32, ARCH_BOOT_TIMER_ADDRESS, GUEST_DATA },
		SERIAL_PUT(0, 'a'),
		{ GUEST_PUT8, ARCH_BOOT_TIMER_ADDRESS, 123 },
		SERIAL_PUT(0, 'b'),
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
	for (unsigned int i = 0; i < ARCH_DEVICES_MAX + 1; i++)
		add_drive(rig, 'a');
	refused(rig, "Could not allocate GSI");
	rig->description.drive_count = ARCH_DEVICES_MAX;
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
	rig->description.config.mem_size_mib = 1;
	refused(rig, "Cannot load kernel due to invalid memory configuration");
	rig->description.config.mem_size_mib = MEM_MIB;

	rig->boot_source.boot_args = "console=ttyS0";
	fd_close(rig->drive_files[ARCH_DEVICES_MAX - 1].fd);
	rig->drive_files[ARCH_DEVICES_MAX - 1].fd = -1;
	refused(rig, "Unable to attach block device to Vmm");
	rig->drive_files[ARCH_DEVICES_MAX - 1].fd = disk('a');

	rig_start(rig);
	expect_running(rig);
	rig->description.drive_count = ARCH_DEVICES_MAX + 1;
	rig_free(rig);
	expect_nothing_left(&before, "all of it");
}

static void memory_of_any_size_is_given(void **state)
{
	static const uint64_t sizes_mib[] = { GUEST_MIB_MIN, GUEST_MIB_MIN + 1, 127, 3071, 3072, 3073, 5000 };

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
	unsigned int not_needed = what == WRAP_IOCTL ? GUEST_CALLS_NOT_NEEDED : 0;
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
		if (r == 0) {
			engine_kvm.destroy(rig->engine);
			rig_engine(rig);
		}
		if (!failed) {
			assert_int_equal(r, 0);
			expect_nothing_left(&before, name);
			return n - 1;
		}
		if (r == 0 && not_needed > 0)
			not_needed--;
		else if (r >= 0 || fault_text(&fault)[0] == '\0')
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
		{ WRAP_MALLOC, "malloc", 2 },
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
	CLEANUP(fd_close) int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counts) && counts[i] <= max; i++) {
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

static void a_vcpu_that_does_not_stop_at_the_end_stops_when_it_can(void **state)
{
	static const struct guest_step steps[] = {
		START_SECOND(second_resets_late),
		SERIAL_PUT(0, '!'),
		{ GUEST_PUT8, GUEST_FLAG, 1 },
		SERIAL_PUT(0, '.'),
		{ GUEST_JUMP, GUEST_STEP(START_SECOND_STEPS + 2) },
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
		IRQ_ON(ARCH_DEVICES_GSI),
		SET_UP_DEVICE,
		KICK,
		USED(1),
		IRQ_WAIT(ARCH_DEVICES_GSI),
		{ GUEST_PRINT, SECTOR, 512 },
		POWER_OFF,
	};
	struct rig *rig = drive_rig(steps, ARRAY_SIZE(steps));

	(void)state;
	rig_start(rig);
	expect_end(rig, ENGINE_END_GUEST);
	expect_sector(rig, 'd');
	assert_int_equal(rig->metrics->vcpu.exit_mmio_write.value, 18 + 512 * GUEST_MMIO_PER_BYTE);
	rig_free(rig);
}

static void a_pause_stops_drives_and_resume_serves_what_came(void **state)
{
	static const struct guest_step steps[] = {
		SET_UP_DEVICE,
		SERIAL_PUT(0, '1'),
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
		cmocka_unit_test(a_listener_may_destroy_it_when_it_hears_of_the_end),
		cmocka_unit_test(whatever_kvm_says_the_guest_goes_on_or_ends),
		cmocka_unit_test(a_pause_stops_the_guest_and_resume_goes_on),
		cmocka_unit_test(pauses_in_quick_succession_are_all_heard),
		cmocka_unit_test(a_guest_that_never_exits_is_paused),
		cmocka_unit_test(a_halted_guest_is_paused),
		cmocka_unit_test(a_pause_before_the_end_is_told_does_not_hide_it),
		cmocka_unit_test(a_vcpu_that_does_not_stop_is_told_and_all_go_on),
		cmocka_unit_test(signals_at_any_moment_do_no_harm),
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

	return rig_main(tests);
}
