/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/fd.h"
#include "legacy/console.h"
#include "base/token_bucket.h"

struct fixture {
	struct console_listener listener;
	struct loop *loop;
	struct metrics *metrics;
	struct console *console;
	char got[1 << 20];	/* what the "guest" took */
	size_t got_len;
	size_t guest_room;	/* how much more it takes */
	unsigned output_ready;
	struct fault fault;
};

static size_t guest_input(struct console_listener *listener, const void *data, size_t len)
{
	struct fixture *f = container_of(listener, struct fixture, listener);

	if (len > f->guest_room)
		len = f->guest_room;
	assert_true(f->got_len + len <= sizeof(f->got));
	memcpy(f->got + f->got_len, data, len);
	f->got_len += len;
	f->guest_room -= len;
	return len;
}

static void guest_output_ready(struct console_listener *listener)
{
	container_of(listener, struct fixture, listener)->output_ready++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	signal(SIGPIPE, SIG_IGN);
	f->listener.input = guest_input;
	f->listener.output_ready = guest_output_ready;
	f->guest_room = SIZE_MAX;
	assert_int_equal(loop_new(&f->loop), 0);
	assert_int_equal(metrics_new(&f->metrics), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	console_free(f->console);
	loop_free(f->loop);
	metrics_free(f->metrics);
	fault_done(&f->fault);
	free(f);
	return 0;
}

static int start(struct fixture *f, int in, int out, const struct squib_serial *serial)
{
	struct console_params params = {
		.loop = f->loop, .metrics = f->metrics, .listener = &f->listener,
		.serial = serial, .input_fd = in, .output_fd = out,
	};

	return console_new(&params, &f->console, &f->fault);
}

static void run(struct fixture *f)	/* until nothing more happens */
{
	for (int i = 0; i < 500; i++) {
		size_t before = f->got_len;

		loop_run_once(f->loop, 2);
		if (f->got_len == before && i > 5)
			return;
	}
}

static void input_from_a_pipe_reaches_the_guest_and_its_end_is_no_error(void **state)
{
	struct fixture *f = *state;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(start(f, p[0], -1, NULL), 0);
	assert_int_equal(write(p[1], "echo hi\n", 8), 8);
	close(p[1]);
	run(f);
	assert_int_equal(f->got_len, 8);
	assert_memory_equal(f->got, "echo hi\n", 8);
	/* nothing is ready any more: no busy loop on the hang-up */
	assert_int_equal(loop_run_once(f->loop, 0), 0);
	assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
	close(p[0]);
}

static void *write_a_megabyte(void *arg)
{
	int fd = *(int *)arg;
	unsigned char block[4096];

	for (unsigned i = 0; i < 256; i++) {
		for (unsigned j = 0; j < sizeof(block); j++)
			block[j] = (unsigned char)((i * sizeof(block) + j) % 251);
		if (write(fd, block, sizeof(block)) != sizeof(block))
			break;
	}
	close(fd);
	return NULL;
}

static void a_megabyte_of_input_is_not_lost_when_the_guest_is_slow(void **state)
{
	struct fixture *f = *state;
	pthread_t thread;
	int p[2];

	assert_int_equal(pipe(p), 0);
	f->guest_room = 0;
	assert_int_equal(start(f, p[0], -1, NULL), 0);
	pthread_create(&thread, NULL, write_a_megabyte, &p[1]);
	for (int i = 0; i < 20000 && f->got_len < 1 << 20; i++) {
		loop_run_once(f->loop, 1);
		if (f->guest_room == 0) {
			f->guest_room = 1000;
			console_input_ready(f->console);
		}
	}
	pthread_join(thread, NULL);
	assert_int_equal(f->got_len, 1 << 20);
	for (size_t i = 0; i < f->got_len; i++)
		if ((unsigned char)f->got[i] != i % 251)
			fail_msg("byte %zu is wrong", i);
	close(p[0]);
}

static void files_and_devices_that_cannot_be_polled_are_read_too(void **state)
{
	struct fixture *f = *state;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	FILE *file = tmpfile();

	assert_int_equal(start(f, null, -1, NULL), 0);
	run(f);
	assert_int_equal(f->got_len, 0);
	console_free(f->console);
	for (int i = 0; i < 3000; i++)
		fprintf(file, "line %04d\n", i);
	rewind(file);
	assert_int_equal(start(f, fileno(file), -1, NULL), 0);
	run(f);
	assert_int_equal(f->got_len, 30000);
	fclose(file);
	close(null);
}

static void a_closed_standard_input_is_no_input(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(start(f, 987, 988, NULL), 0);
	assert_int_equal(console_output(f->console, "x", 1), 1);
	run(f);
}

static void a_full_pipe_holds_output_back_without_loss(void **state)
{
	struct fixture *f = *state;
	static char block[100000], back[400000];
	size_t sent = 0, got = 0;
	int p[2];

	memset(block, 'a', sizeof(block));
	assert_int_equal(pipe(p), 0);
	assert_int_equal(start(f, -1, p[1], NULL), 0);
	for (;;) {
		size_t n = console_output(f->console, block, sizeof(block));

		sent += n;
		if (n < sizeof(block))
			break;
	}
	assert_true(sent >= CONSOLE_BUFFER_BYTES && sent <= 3 * CONSOLE_BUFFER_BYTES);
	assert_int_equal(console_output(f->console, "x", 1), 0);
	loop_run_once(f->loop, 0);
	assert_int_equal(f->output_ready, 0);
	while (got < sent) {
		ssize_t n = read(p[0], back + got, sizeof(back) - got);

		assert_true(n > 0);
		got += (size_t)n;
		loop_run_once(f->loop, 0);
	}
	assert_int_equal(f->output_ready, 1);
	assert_int_equal(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
	close(p[0]);
	close(p[1]);
}

static void an_output_that_nobody_reads_any_more_is_discarded(void **state)
{
	struct fixture *f = *state;
	int p[2];

	assert_int_equal(pipe(p), 0);
	close(p[0]);
	assert_int_equal(start(f, -1, p[1], NULL), 0);
	close(p[1]);
	assert_int_equal(console_output(f->console, "hello", 5), 5);
	assert_int_equal(console_output(f->console, "hello", 5), 5);
	assert_int_equal(loop_run_once(f->loop, 0), 0);
	assert_int_equal(f->metrics->uart.missed_write_count.value, 10);
}

static void sockets_and_flush(void **state)
{
	struct fixture *f = *state;
	static char block[CONSOLE_BUFFER_BYTES];
	char back[65536];
	size_t sent = 0;
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	assert_int_equal(start(f, s[0], s[0], NULL), 0);
	assert_int_equal(write(s[1], "in", 2), 2);
	run(f);
	assert_int_equal(f->got_len, 2);
	for (int i = 0; i < 10; i++)
		sent += console_output(f->console, block, sizeof(block));
	console_flush(f->console, 20);		/* nobody reads: the time passes */
	while (sent > 0) {
		ssize_t n = read(s[1], back, sizeof(back));

		assert_true(n > 0);
		sent -= (size_t)n;
		console_flush(f->console, 20);
	}
	close(s[0]);
	close(s[1]);
}

static void serial_out_path_is_a_file_and_then_input_is_not_read(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/squib-console-XXXXXX";
	int fd = mkstemp(path);
	struct squib_serial serial = { .serial_out_path = path };
	char back[8] = "";
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(fd, "123456", 6), 6);
	assert_int_equal(write(p[1], "in", 2), 2);
	assert_int_equal(start(f, p[0], -1, &serial), 0);
	assert_int_equal(console_output(f->console, "abc", 3), 3);
	run(f);
	assert_int_equal(f->got_len, 0);
	assert_int_equal(pread(fd, back, 7, 0), 6);
	assert_string_equal(back, "abc456");	/* neither truncated nor appended to */
	unlink(path);
	close(fd);
	close(p[0]);
	close(p[1]);
}

static void a_bad_serial_out_path_is_upstreams_fault(void **state)
{
	struct fixture *f = *state;
	struct squib_serial serial = { .serial_out_path = "/nonexistent/x" };

	assert_int_equal(start(f, -1, -1, &serial), -ENOENT);
	assert_string_equal(fault_text(&f->fault), "Failed to create device manager: "
			    "Error with EventFd: No such file or directory (os error 2)");
}

static void a_full_disk_loses_bytes_only(void **state)
{
	struct fixture *f = *state;
	struct squib_serial serial = { .serial_out_path = "/dev/full" };

	assert_int_equal(start(f, -1, -1, &serial), 0);
	assert_int_equal(console_output(f->console, "abc", 3), 3);
	assert_int_equal(console_output(f->console, "abc", 3), 3);
	assert_int_equal(f->metrics->uart.missed_write_count.value, 6);
}

static void the_limiter_drops_and_counts(void **state)
{
	struct fixture *f = *state;
	struct squib_token_bucket bucket = { .size = 10, .one_time_burst = 5,
					     .refill_time_ms = 3600000 };
	struct squib_serial serial = { .rate_limiter = &bucket };
	char back[32];
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(start(f, -1, p[1], &serial), 0);
	assert_int_equal(console_output(f->console, "0123456789abcdefghij", 20), 20);
	assert_int_equal(read(p[0], back, sizeof(back)), 15);
	assert_memory_equal(back, "0123456789abcde", 15);
	assert_int_equal(f->metrics->uart.rate_limiter_dropped_bytes.value, 5);
	assert_int_equal(f->metrics->uart.write_count.value, 20);
	close(p[0]);
	close(p[1]);
}

static void token_bucket_refills_by_time(void **state)
{
	struct squib_token_bucket config = { .size = 1000, .refill_time_ms = 100 };
	struct token_bucket bucket;
	uint64_t now = 5000, got = 0;

	(void)state;
	token_bucket_init(&bucket, &config, now);
	assert_int_equal(token_bucket_take(&bucket, 1500, now), 1000);
	assert_int_equal(token_bucket_take(&bucket, 1, now + 99999), 0);
	assert_int_equal(token_bucket_take(&bucket, 5, now + 100000), 1);
	/* odd steps lose no fraction */
	now += 100000;
	for (int i = 0; i < 99900; i++) {
		now += 1000;
		got += token_bucket_take(&bucket, 1000, now);
	}
	assert_int_equal(got, 999);
	assert_int_equal(token_bucket_take(&bucket, UINT64_MAX, now + UINT64_MAX / 2), 1000);
	assert_int_equal(token_bucket_take(&bucket, 1, 0), 0);	/* a clock that went back */
	token_bucket_init(&bucket, NULL, 0);
	assert_int_equal(token_bucket_take(&bucket, UINT64_MAX, 0), UINT64_MAX);
	config.refill_time_ms = UINT64_MAX;
	token_bucket_init(&bucket, &config, 0);
	assert_int_equal(token_bucket_take(&bucket, UINT64_MAX, 0), UINT64_MAX);
}

static void raw_while_the_console_lives(struct fixture *f, int flags)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int status;
	pid_t pid;

	assert_true(master >= 0);
	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	pid = fork();
	if (pid == 0) {		/* a session of its own */
		struct termios before, during, after;
		int tty;

		setsid();
		tty = open(ptsname(master), O_RDWR | flags);
		if (tty < 0 || tcgetattr(tty, &before) < 0 || start(f, tty, tty, NULL) < 0)
			_exit(1);
		tcgetattr(tty, &during);
		if (during.c_lflag & (ICANON | ECHO | ISIG))
			_exit(2);
		if (write(master, "k\x03", 2) != 2)
			_exit(3);
		while (f->got_len < 2)	/* a terminal's two ends are apart */
			loop_run_once(f->loop, -1);
		if (f->got_len != 2 || f->got[1] != 3)
			_exit(4);
		console_free(f->console);
		tcgetattr(tty, &after);
		_exit(after.c_lflag == before.c_lflag ? 0 : 5);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(master);
}

static void a_terminal_is_raw_while_the_console_lives(void **state)
{
	raw_while_the_console_lives(*state, 0);		/* it controls the session */
	raw_while_the_console_lives(*state, O_NOCTTY);	/* there is none that does */
}

static void a_terminal_in_the_background_is_left_alone(void **state)
{
	struct fixture *f = *state;
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	int status;
	pid_t pid;

	assert_int_equal(grantpt(master) | unlockpt(master), 0);
	pid = fork();
	if (pid == 0) {
		int tty, inner;

		setsid();
		tty = open(ptsname(master), O_RDWR);
		inner = fork();
		if (inner == 0) {
			struct termios mode;

			setpgid(0, 0);
			if (start(f, tty, tty, NULL) < 0)
				_exit(1);
			run(f);
			tcgetattr(tty, &mode);
			console_free(f->console);
			_exit(mode.c_lflag & ICANON ? 0 : 2);
		}
		if (waitpid(inner, &status, WUNTRACED) != inner || status != 0)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(master);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		CASE(input_from_a_pipe_reaches_the_guest_and_its_end_is_no_error),
		CASE(a_megabyte_of_input_is_not_lost_when_the_guest_is_slow),
		CASE(files_and_devices_that_cannot_be_polled_are_read_too),
		CASE(a_closed_standard_input_is_no_input),
		CASE(a_full_pipe_holds_output_back_without_loss),
		CASE(an_output_that_nobody_reads_any_more_is_discarded),
		CASE(sockets_and_flush),
		CASE(serial_out_path_is_a_file_and_then_input_is_not_read),
		CASE(a_bad_serial_out_path_is_upstreams_fault),
		CASE(a_full_disk_loses_bytes_only),
		CASE(the_limiter_drops_and_counts),
		cmocka_unit_test(token_bucket_refills_by_time),
		CASE(a_terminal_is_raw_while_the_console_lives),
		CASE(a_terminal_in_the_background_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
