/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/metrics.h"

struct fixture {
	struct log *log;
	struct metrics *metrics;
	char dir[32];
	char path[48];
	char text[1 << 18];
};

static const bool yes = true, no = false;

static void configure(struct fixture *fixture, struct squib_logger config)
{
	assert_int_equal(log_configure(fixture->log, &config, NULL), 0);
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->dir, "/tmp/test-log-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	sprintf(fixture->path, "%s/log", fixture->dir);
	assert_int_equal(log_new("my-vm", &fixture->log), 0);
	assert_int_equal(metrics_new(&fixture->metrics), 0);
	log_count_losses(fixture->log, &fixture->metrics->logger);
	*state = fixture;
	return 0;
}

static int setup_file(void **state)
{
	struct fixture *fixture;

	setup(state);
	fixture = *state;
	configure(fixture, (struct squib_logger){ .log_path = fixture->path,
						  .level = SQUIB_LOG_INFO });
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	log_free(fixture->log);
	metrics_free(fixture->metrics);
	unlink(fixture->path);
	rmdir(fixture->dir);
	free(fixture);
	return 0;
}

/* What is in the log file. */
static const char *text(struct fixture *fixture)
{
	FILE *file = fopen(fixture->path, "re");
	size_t len;

	assert_non_null(file);
	len = fread(fixture->text, 1, sizeof(fixture->text) - 1, file);
	fixture->text[len] = '\0';
	fclose(file);
	return fixture->text;
}

static const char *clear(struct fixture *fixture)
{
	assert_int_equal(truncate(fixture->path, 0), 0);
	return fixture->path;
}

/* What follows the time in the last line of the file, which has only one. */
static const char *line(struct fixture *fixture)
{
	const char *found = strchr(text(fixture), ' ');

	assert_non_null(found);
	assert_ptr_equal(strchr(found, '\n'), strrchr(found, '\n'));
	return found + 1;
}

static void a_line_is_time_id_thread_and_message(void **state)
{
	struct fixture *fixture = *state;

	log_info(fixture->log, "API server started.");
	assert_string_equal(line(fixture), "[my-vm:main] API server started.\n");
}

static void check_time_in(struct fixture *fixture, const char *zone)
{
	char want[64];
	struct tm tm;
	time_t before = time(NULL), now;
	int len;

	setenv("TZ", zone, 1);
	tzset();
	clear(fixture);
	log_info(fixture->log, "x");
	now = time(NULL);
	localtime_r(&now, &tm);
	strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.", &tm);
	if (before == now)	/* else the second changed on the way */
		assert_memory_equal(text(fixture), want, strlen(want));
	assert_int_equal(strspn(fixture->text + strlen(want), "0123456789"), 9);
	sscanf(fixture->text, "%*d-%*d-%*dT%*d:%*d:%*d.%*d%n", &len);
	assert_int_equal(len, 29);
	assert_int_equal(fixture->text[len], ' ');

	clear(fixture);		/* a handler gives the same, by its own arithmetic */
	before = time(NULL);
	log_write_from_signal(fixture->log, SQUIB_LOG_ERROR, "src/x.c", 1, "x");
	now = time(NULL);
	localtime_r(&now, &tm);
	strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.", &tm);
	if (before == now)
		assert_memory_equal(text(fixture), want, strlen(want));
}

static void time_is_local(void **state)
{
	static const char *const zones[] = { "UTC0", "EST5EDT", "<+0545>-5:45", "<-1130>11:30" };

	for (size_t i = 0; i < ARRAY_SIZE(zones); i++)
		check_time_in(*state, zones[i]);
	unsetenv("TZ");
	tzset();
}

static void level_and_origin_are_shown_on_demand(void **state)
{
	struct fixture *fixture = *state;
	char want[64];

	configure(fixture, (struct squib_logger){ .level = SQUIB_LOG_TRACE, .show_level = &yes });
	log_write(fixture->log, SQUIB_LOG_WARN, "/usr/src/squib/src/api/server.c", 42, "x");
	assert_string_equal(line(fixture), "[my-vm:main:WARN] x\n");

	clear(fixture);
	configure(fixture, (struct squib_logger){ .level = SQUIB_LOG_TRACE,
						  .show_log_origin = &yes });
	log_write(fixture->log, SQUIB_LOG_TRACE, "../src/api/server.c", 42, "x");
	assert_string_equal(line(fixture), "[my-vm:main:TRACE:src/api/server.c:42] x\n");

	clear(fixture);		/* a real one */
	log_debug(fixture->log, "x");
	snprintf(want, sizeof(want), "[my-vm:main:DEBUG:src/base/test_log.c:%d] x\n", __LINE__ - 1);
	assert_string_equal(line(fixture), want);

	clear(fixture);
	configure(fixture, (struct squib_logger){ .level = SQUIB_LOG_TRACE, .show_level = &no });
	log_write_from_signal(fixture->log, SQUIB_LOG_ERROR, "src/cli/signals.c", 7, "x");
	assert_string_equal(line(fixture), "[my-vm:main:src/cli/signals.c:7] x\n");
}

static void lines_below_the_level_are_left_out(void **state)
{
	struct fixture *fixture = *state;
	int evaluated = 0;

	configure(fixture, (struct squib_logger){ .level = SQUIB_LOG_WARN });
	assert_true(log_level_is_on(fixture->log, SQUIB_LOG_ERROR));
	assert_true(log_level_is_on(fixture->log, SQUIB_LOG_WARN));
	assert_false(log_level_is_on(fixture->log, SQUIB_LOG_INFO));
	assert_false(log_level_is_on(NULL, SQUIB_LOG_ERROR));
	log_info(fixture->log, "%d", ++evaluated);
	log_info(NULL, "%d", ++evaluated);
	assert_int_equal(evaluated, 0);
	log_write(fixture->log, SQUIB_LOG_INFO, __FILE__, __LINE__, "x");
	log_write(NULL, SQUIB_LOG_ERROR, __FILE__, __LINE__, "x");
	configure(fixture, (struct squib_logger){ .level = SQUIB_LOG_OFF });
	log_error(fixture->log, "x");
	log_write_from_signal(fixture->log, SQUIB_LOG_ERROR, __FILE__, __LINE__, "x");
	assert_string_equal(text(fixture), "");
}

static void the_module_filter_knows_our_names_and_upstreams(void **state)
{
	static const struct { const char *filter, *file; bool passes; } cases[] = {
		{ "", "src/api/server.c", true },
		{ "src/api", "src/api/server.c", true },
		{ "api", "src/api/server.c", true },
		{ "api/server", "src/api/server.c", true },
		{ "api::server", "src/api/server.c", true },
		{ "api::server::x", "src/api/server.c", false },
		{ "firecracker", "src/api/server.c", true },
		{ "firecracker::api_server", "src/api/server.c", true },
		{ "api_server", "src/api/server.c", true },
		{ "api_server", "src/http/request.c", true },
		{ "api_server", "src/cli/main.c", false },
		{ "firecracker", "src/cli/main.c", true },
		{ "firecracker", "src/vmm/vmm.c", false },
		{ "vmm", "src/vmm/vmm.c", true },
		{ "vmm", "src/api/server.c", false },
		{ "vmm", "src/virtio/block.c", true },
		{ "vmm", "src/engine/kvm/vcpu.c", true },
		{ "vmm::logger", "src/base/log.c", true },
		{ "vmm::logger", "src/base/metrics.c", true },
		{ "vmm::logger", "src/base/loop.c", false },
		{ "vmm::devices", "src/legacy/serial.c", true },
		{ "vmm::devices::virtio::block", "src/virtio/block.c", true },
		{ "vmm::devices::virtio::block", "src/virtio/net.c", false },
		{ "kvm", "src/engine/kvm/vcpu.c", false },
		{ "engine::kvm", "src/engine/kvm/vcpu.c", true },
		{ "mmds", "src/mmds/store.c", true },
		{ "x", "elsewhere.c", false },
		{ "vmm", "elsewhere.c", true },
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		clear(fixture);
		configure(fixture, (struct squib_logger){ .level = SQUIB_LOG_INFO,
							  .module = cases[i].filter });
		log_write(fixture->log, SQUIB_LOG_INFO, cases[i].file, 1, "x");
		log_write_from_signal(fixture->log, SQUIB_LOG_INFO, cases[i].file, 1, "y");
		if ((strstr(text(fixture), " x\n") != NULL) != cases[i].passes ||
		    (strstr(text(fixture), " y\n") != NULL) != cases[i].passes)
			fail_msg("\"%s\" %s", cases[i].filter, cases[i].file);
	}
}

static void *log_from_thread(void *data)
{
	struct fixture *fixture = data;

	log_info(fixture->log, "x");
	return NULL;
}

static void *log_from_named_thread(void *data)
{
	pthread_setname_np(pthread_self(), "fc_vcpu 0");
	return log_from_thread(data);
}

static void threads_are_shown_by_name(void **state)
{
	struct fixture *fixture = *state;
	pthread_t thread;

	pthread_create(&thread, NULL, log_from_thread, fixture);
	pthread_join(thread, NULL);
	assert_string_equal(line(fixture), "[my-vm:-] x\n");
	clear(fixture);
	pthread_create(&thread, NULL, log_from_named_thread, fixture);
	pthread_join(thread, NULL);
	assert_string_equal(line(fixture), "[my-vm:fc_vcpu 0] x\n");
}

static void files_are_appended_to_and_may_be_rotated(void **state)
{
	struct fixture *fixture = *state;
	char moved[64];
	FILE *file = fopen(fixture->path, "we");

	fputs("old\n", file);
	fclose(file);
	configure(fixture, (struct squib_logger){ .log_path = fixture->path,
						  .level = SQUIB_LOG_INFO });
	log_info(fixture->log, "1");
	assert_memory_equal(text(fixture), "old\n2", 5);
	assert_non_null(strstr(fixture->text, "] 1\n"));

	clear(fixture);		/* copytruncate */
	log_info(fixture->log, "2");
	assert_string_equal(line(fixture), "[my-vm:main] 2\n");

	sprintf(moved, "%s.1", fixture->path);
	assert_int_equal(rename(fixture->path, moved), 0);
	log_info(fixture->log, "3");
	assert_int_equal(access(fixture->path, F_OK), -1);
	configure(fixture, (struct squib_logger){ .log_path = fixture->path,
						  .level = SQUIB_LOG_INFO });
	log_info(fixture->log, "4");
	assert_string_equal(line(fixture), "[my-vm:main] 4\n");
	assert_int_equal(unlink(moved), 0);
}

static void a_bad_path_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct squib_logger config = { .log_path = "/no/such/dir/log", .level = SQUIB_LOG_OFF,
				       .show_level = &yes };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	assert_int_equal(log_configure(fixture->log, &config, &fault), -ENOENT);
	assert_string_equal(fault_text(&fault), "Failed to open target file: "
						"No such file or directory (os error 2)");
	log_info(fixture->log, "x");
	assert_string_equal(line(fixture), "[my-vm:main] x\n");
}

static uint64_t missed(struct fixture *fixture)
{
	return atomic_load(&fixture->metrics->logger.missed_log_count.value);
}

static void a_full_fifo_costs_lines(void **state)
{
	struct fixture *fixture = *state;
	char *body = malloc(3000), *at = fixture->text;
	size_t lines = 0;
	ssize_t len;
	int fd;

	memset(body, 'b', 2999);
	body[2999] = '\0';
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	configure(fixture, (struct squib_logger){ .log_path = fixture->path,
						  .level = SQUIB_LOG_INFO });
	fd = open(fixture->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fcntl(fd, F_SETPIPE_SZ, 4096);
	errno = ECHILD;
	for (int i = 0; i < 3; i++)
		log_info(fixture->log, "%s", body);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(missed(fixture), 2);
	len = read(fd, fixture->text, sizeof(fixture->text) - 1);
	assert_true(len > 3000);

	/* longer than the FIFO: cut, and what follows begins on its own line */
	log_info(fixture->log, "%s%s", body, body);
	assert_int_equal(missed(fixture), 3);
	len = read(fd, fixture->text, sizeof(fixture->text) - 1);
	assert_int_equal(len, 4096);
	log_info(fixture->log, "next");
	log_info(fixture->log, "last");
	len += read(fd, fixture->text + len, sizeof(fixture->text) - 1 - (size_t)len);
	fixture->text[len] = '\0';
	for (; (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_int_equal(lines, 3);
	assert_int_equal(missed(fixture), 3);
	close(fd);
	free(body);
}

static void messages_are_written_as_they_are(void **state)
{
	struct fixture *fixture = *state;
	size_t len = 60000;
	char *body = malloc(len + 1);

	memset(body, 'x', len);
	body[len] = '\0';
	body[100] = '\n';
	log_info(fixture->log, "%s", body);
	assert_memory_equal(strstr(text(fixture), "] ") + 2, body, len);
	assert_string_equal(strstr(fixture->text, "] ") + 2 + len, "\n");
	clear(fixture);
	log_write_from_signal(fixture->log, SQUIB_LOG_ERROR, __FILE__, 1, body);
	assert_int_equal(strlen(text(fixture)), 512);	/* cut, with its newline */
	assert_int_equal(fixture->text[511], '\n');
	free(body);
}

static void what_a_guest_causes_is_limited_per_place(void **state)
{
	struct fixture *fixture = *state;
	size_t lines = 0;

	for (int i = 0; i < 25; i++) {
		log_limited_warn(fixture->log, "one place");
		if (i < 5)
			log_limited_error(fixture->log, "another place");
	}
	for (const char *at = text(fixture); (at = strchr(at, '\n')) != NULL; at++)
		lines++;
	assert_in_range(lines, 15, 17);		/* a slow run may earn one more */
	assert_in_range(atomic_load(&fixture->metrics->logger.rate_limited_log_count.value), 14, 15);
	log_limited_info(NULL, "x");
}

static void an_allowance_refills_with_time(void **state)
{
	_Atomic uint64_t allowance = 0;
	uint32_t held;
	uint64_t now = 1000000;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_true(log_limit_admits(&allowance, now, &held));
	for (int i = 0; i < 3; i++)
		assert_false(log_limit_admits(&allowance, now + 499, &held));
	assert_true(log_limit_admits(&allowance, now + 500, &held));
	assert_int_equal(held, 3);
	assert_false(log_limit_admits(&allowance, now + 500, &held));
	assert_true(log_limit_admits(&allowance, now + 1000, &held));
	assert_int_equal(held, 1);
	now += 100000;		/* long idle: ten again, not more */
	for (int i = 0; i < 10; i++) {
		assert_true(log_limit_admits(&allowance, now, &held));
		assert_int_equal(held, 0);
	}
	assert_false(log_limit_admits(&allowance, now, &held));
}

static void suppressed_lines_are_told_of(void **state)
{
	struct fixture *fixture = *state;

	for (int i = 0; i < 13; i++) {
		if (i == 12)
			usleep(520000);
		log_limited_warn(fixture->log, "x");
	}
	assert_non_null(strstr(text(fixture), "2 messages were suppressed due to rate limiting\n"));
}

static void *log_much(void *data)
{
	struct fixture *fixture = data;

	for (int i = 0; i < 300; i++) {
		log_info(fixture->log, "line %d of many, all of which must come out whole", i);
		log_limited_warn(fixture->log, "limited");
		log_write_from_signal(fixture->log, SQUIB_LOG_ERROR, __FILE__, __LINE__, "fatal");
	}
	return NULL;
}

static void threads_do_not_mix_their_lines(void **state)
{
	struct fixture *fixture = *state;
	pthread_t threads[4];
	size_t lines = 0;

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, log_much, fixture);
	for (int i = 0; i < 50; i++)	/* meanwhile the target is set again and again */
		configure(fixture, (struct squib_logger){ .log_path = fixture->path,
							  .level = SQUIB_LOG_INFO,
							  .show_level = i % 2 ? &yes : &no,
							  .module = "src/base" });
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	for (char *at = strtok((char *)text(fixture), "\n"); at != NULL; at = strtok(NULL, "\n")) {
		assert_memory_equal(at + 29, " [my-vm:-", 9);
		assert_true(strstr(at, "] line ") != NULL || strstr(at, "] limited") != NULL ||
			    strstr(at, "] fatal") != NULL || strstr(at, "suppressed") != NULL);
		lines++;
	}
	assert_true(lines >= 4 * 600 + 10);
	assert_int_equal(missed(fixture), 0);
}

static void the_default_is_standard_output(void **state)
{
	struct fixture *fixture = *state;
	int out = dup(STDOUT_FILENO), pipe_fds[2];
	ssize_t len;

	assert_int_equal(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], STDOUT_FILENO);
	log_info(fixture->log, "x");
	log_debug(fixture->log, "y");
	dup2(out, STDOUT_FILENO);
	len = read(pipe_fds[0], fixture->text, sizeof(fixture->text) - 1);
	fixture->text[len] = '\0';
	assert_string_equal(fixture->text + 29, " [my-vm:main] x\n");
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(out);
}

static void a_reader_that_sleeps_costs_lines_and_not_us(void **state)
{
	struct fixture *fixture = *state;
	int out = dup(STDOUT_FILENO), pipe_fds[2];
	static char long_message[200000];
	struct timespec start, end;
	const char *found;
	struct log *log;
	ssize_t len;

	memset(long_message, 'x', sizeof(long_message) - 1);
	assert_int_equal(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], STDOUT_FILENO);
	assert_int_equal(log_new("my-vm", &log), 0);
	log_count_losses(log, &fixture->metrics->logger);
	clock_gettime(CLOCK_MONOTONIC, &start);
	log_info(log, "%s", long_message);	/* cut */
	for (int i = 0; i < 1000; i++)
		log_info(log, "lost");
	clock_gettime(CLOCK_MONOTONIC, &end);
	len = read(pipe_fds[0], fixture->text, sizeof(fixture->text) - 1);
	log_info(log, "there again");
	dup2(out, STDOUT_FILENO);
	assert_in_range(len, 4096, 200000);
	assert_int_equal(fixture->metrics->logger.missed_log_count.value, 1001);
	assert_true(end.tv_sec - start.tv_sec < 10);	/* and not 0.2 s for each line */
	len = read(pipe_fds[0], fixture->text, sizeof(fixture->text) - 1);
	fixture->text[len] = '\0';
	assert_int_equal(fixture->text[0], '\n');
	found = strstr(fixture->text, "[my-vm:main] there again\n");
	assert_non_null(found);
	log_free(log);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(out);
}

static volatile sig_atomic_t sigpipes;

static void count_sigpipe(int signal)
{
	(void)signal;
	sigpipes++;
}

static void a_reader_that_is_gone_raises_one_signal(void **state)
{
	struct fixture *fixture = *state;
	int out = dup(STDOUT_FILENO), pipe_fds[2];
	struct log *log;

	signal(SIGPIPE, count_sigpipe);
	assert_int_equal(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], STDOUT_FILENO);
	close(pipe_fds[1]);
	assert_int_equal(log_new("my-vm", &log), 0);
	log_count_losses(log, &fixture->metrics->logger);
	log_info(log, "read");
	close(pipe_fds[0]);
	for (int i = 0; i < 100; i++)
		log_info(log, "lost");
	dup2(out, STDOUT_FILENO);
	assert_int_equal(sigpipes, 1);
	assert_int_equal(fixture->metrics->logger.missed_log_count.value, 100);
	log_free(log);
	close(out);
	signal(SIGPIPE, SIG_DFL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_file, teardown)
#define TEST_BARE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_line_is_time_id_thread_and_message),
		TEST(time_is_local),
		TEST(level_and_origin_are_shown_on_demand),
		TEST(lines_below_the_level_are_left_out),
		TEST(the_module_filter_knows_our_names_and_upstreams),
		TEST(threads_are_shown_by_name),
		TEST_BARE(files_are_appended_to_and_may_be_rotated),
		TEST(a_bad_path_changes_nothing),
		TEST_BARE(a_full_fifo_costs_lines),
		TEST(messages_are_written_as_they_are),
		TEST(what_a_guest_causes_is_limited_per_place),
		TEST(an_allowance_refills_with_time),
		TEST(suppressed_lines_are_told_of),
		TEST(threads_do_not_mix_their_lines),
		TEST_BARE(the_default_is_standard_output),
		TEST_BARE(a_reader_that_sleeps_costs_lines_and_not_us),
		TEST_BARE(a_reader_that_is_gone_raises_one_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
