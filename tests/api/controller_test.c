/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can't be provoked through a well-behaved monitor: deadlines, full queues, monitors that are
 * gone or late, connections that drop. Only the public interface is used.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/stat.h>
#include <unistd.h>

#include <squib/replay.h>

#include "lib/stub.h"

#define GET(path) "GET " path " HTTP/1.1\r\n\r\n"
#define PUT(path, length, body) \
	"PUT " path " HTTP/1.1\r\nContent-Length: " #length "\r\n\r\n" body
#define PUT_MACHINE PUT("/machine-config", 36, "{\"vcpu_count\":3,\"mem_size_mib\":4096}")
#define PUT_ENTROPY PUT("/entropy", 2, "{}")
#define START PUT("/actions", 31, "{\"action_type\":\"InstanceStart\"}")

static void expect(int fd, int status, const char *text)
{
	struct answer answer = stub_read_answer(fd);

	if (answer.status != status || strstr(answer.body, text) == NULL)
		fail_msg("want %d with '%s', got: %s", status, text, answer.bytes);
	answer_done(&answer);
}

static void ask(int fd, const char *request, int status, const char *text)
{
	stub_send(fd, request);
	expect(fd, status, text);
}

static struct squib_action *take(struct stub *stub, enum squib_action_type type)
{
	struct squib_action *action;

	assert_int_equal(squib_controller_next(stub->controller, 20000, &action), 1);
	assert_int_equal(squib_action_type(action), type);
	return action;
}

static void an_unanswered_action_meets_its_deadline(void **state)
{
	static const struct {
		enum squib_phase phase;
		const char *request, *text;
	} cases[] = {
		{ SQUIB_PHASE_UNINITIALIZED, PUT_ENTROPY, "VMM action timed out: pre-boot config" },
		{ SQUIB_PHASE_RUNNING, PUT("/actions", 30, "{\"action_type\":\"FlushMetrics\"}"),
		  "VMM action timed out: VMM action" },
		{ SQUIB_PHASE_RUNNING, "PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n"
		  "{\"state\":\"Paused\"}", "VMM action timed out: PATCH /vm" },
		{ SQUIB_PHASE_RUNNING, "PATCH /balloon HTTP/1.1\r\nContent-Length: 16\r\n\r\n"
		  "{\"amount_mib\":1}", "VMM action timed out: PATCH /balloon" },
		{ SQUIB_PHASE_PAUSED, PUT("/snapshot/create", 42, "{\"snapshot_path\":\"s\","
		  "\"mem_file_path\":\"mm\"}"), "VMM action timed out: PUT /snapshot/create" },
		{ SQUIB_PHASE_UNINITIALIZED, PUT("/snapshot/load", 41, "{\"snapshot_path\":\"s\","
		  "\"mem_file_path\":\"m\"}"), "VMM action timed out: PUT /snapshot/load" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct squib_controller_options options = stub_options();
		struct stub stub;
		int fd;

		options.initial_phase = cases[i].phase;
		options.timeouts = (struct squib_timeouts){ 10, 10, 10, 10, 10, 10, 10 };
		stub_start(&stub, &options, NULL);
		fd = stub_connect(&stub);
		ask(fd, cases[i].request, 504, cases[i].text);
		ask(fd, GET("/version"), 200, "1.16.0");	/* the connection lives on */
		close(fd);
		stub_stop(&stub);
	}
}

static void a_late_answer_reaches_the_mirror_and_nobody_else(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	struct stub stub;
	int fd;

	(void)state;
	options.timeouts.config_ms = 10;
	stub_start(&stub, &options, NULL);
	fd = stub_connect(&stub);
	ask(fd, PUT_MACHINE, 504, "timed out");
	ask(fd, GET("/machine-config"), 200, "\"vcpu_count\":1,");
	action = take(&stub, SQUIB_PUT_MACHINE_CONFIG);
	squib_action_succeed(action);
	ask(fd, GET("/machine-config"), 200, "\"vcpu_count\":3,");
	close(fd);
	stub_stop(&stub);
}

static void reads_are_answered_while_an_action_is_pending(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	struct stub stub;
	int writer, reader;

	(void)state;
	stub_start(&stub, &options, NULL);
	writer = stub_connect(&stub);
	reader = stub_connect(&stub);
	stub_send(writer, PUT_MACHINE);
	action = take(&stub, SQUIB_PUT_MACHINE_CONFIG);
	for (int i = 0; i < 100; i++)
		ask(reader, GET("/machine-config"), 200, "\"vcpu_count\":1,");
	squib_action_succeed(action);
	expect(writer, 204, "");
	ask(writer, GET("/machine-config"), 200, "\"vcpu_count\":3,");	/* own write */
	close(writer);
	close(reader);
	stub_stop(&stub);
}

static void a_full_queue_holds_clients_until_there_is_room(void **state)
{
	struct squib_controller_options options = stub_options();
	struct answer answer;
	struct stub stub;
	int first, second;

	(void)state;
	options.queue_capacity = 1;
	options.timeouts.config_ms = 10;
	stub_start(&stub, &options, NULL);
	first = stub_connect(&stub);
	second = stub_connect(&stub);
	ask(first, PUT_ENTROPY, 504, "timed out");	/* and stays in the queue: it is full */
	stub_send(second, PUT_MACHINE);			/* no deadline while it waits for room */
	ask(first, GET("/"), 200, "Not started");
	squib_action_succeed(take(&stub, SQUIB_PUT_ENTROPY));
	squib_action_succeed(take(&stub, SQUIB_PUT_MACHINE_CONFIG));
	/* 204, or 504 if this machine was slow; either way an answer, and the change is made */
	answer = stub_read_answer(second);
	assert_true(answer.status == 204 || answer.status == 504);
	answer_done(&answer);
	ask(second, GET("/machine-config"), 200, "\"vcpu_count\":3,");
	close(first);
	close(second);
	stub_stop(&stub);
}

static void clients_behind_an_expired_action_have_deadlines_of_their_own(void **state)
{
	struct squib_controller_options options = stub_options();
	struct stub stub;
	int fds[4];

	(void)state;
	options.timeouts.config_ms = 100;
	stub_start(&stub, &options, NULL);
	for (size_t i = 0; i < 4; i++) {
		fds[i] = stub_connect(&stub);
		stub_send(fds[i], PUT_ENTROPY);
	}
	for (size_t i = 0; i < 4; i++) {
		expect(fds[i], 504, "timed out");
		close(fds[i]);
	}
	for (size_t i = 0; i < 4; i++)	/* none was lost from the queue */
		squib_action_succeed(take(&stub, SQUIB_PUT_ENTROPY));
	stub_stop(&stub);
}

static void a_monitor_that_is_gone_is_a_500_for_changes_only(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	struct stub stub;
	int pending, waiting, reader;

	(void)state;
	stub_start(&stub, &options, NULL);
	pending = stub_connect(&stub);
	waiting = stub_connect(&stub);
	reader = stub_connect(&stub);
	stub_send(pending, PUT_ENTROPY);
	action = take(&stub, SQUIB_PUT_ENTROPY);
	stub_send(waiting, PUT_MACHINE);
	squib_controller_close(stub.controller);
	expect(pending, 500, "VMM event loop is gone");
	expect(waiting, 500, "VMM event loop is gone");
	ask(reader, PUT_ENTROPY, 500, "VMM event loop is gone");
	ask(reader, GET("/"), 200, "Not started");
	squib_action_succeed(action);			/* nobody hears */
	assert_int_equal(squib_controller_next(stub.controller, -1, &action), -ESHUTDOWN);
	close(pending);
	close(waiting);
	close(reader);
	stub_stop(&stub);
}

static void a_dropped_connection_takes_its_waiting_request_along(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *first, *next;
	struct stub stub;
	int pending, dropped, after;

	(void)state;
	stub_start(&stub, &options, NULL);
	pending = stub_connect(&stub);
	stub_send(pending, PUT_ENTROPY);
	first = take(&stub, SQUIB_PUT_ENTROPY);
	/* its turn has not come; a GET on another connection shows it was seen, then it goes */
	dropped = stub_connect(&stub);
	ask(dropped, GET("/"), 200, "");
	stub_send(dropped, PUT_MACHINE);
	after = stub_connect(&stub);
	ask(after, GET("/"), 200, "");
	close(dropped);
	ask(after, GET("/"), 200, "");
	close(pending);					/* under way: goes on unheard */
	ask(after, GET("/"), 200, "");
	squib_action_succeed(first);
	stub_send(after, PUT("/balloon", 41, "{\"amount_mib\":0,\"deflate_on_oom\":false}  "));
	next = take(&stub, SQUIB_PUT_BALLOON);
	squib_action_succeed(next);
	expect(after, 204, "");
	ask(after, GET("/machine-config"), 200, "\"vcpu_count\":1,");
	close(after);
	stub_stop(&stub);
}

static void an_action_outlives_its_controller(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, NULL);
	fd = stub_connect(&stub);
	stub_send(fd, PUT_MACHINE);
	action = take(&stub, SQUIB_PUT_MACHINE_CONFIG);
	close(fd);
	stub_stop(&stub);
	assert_int_equal(squib_action_machine_config(action)->vcpu_count, 3);
	squib_action_fail(action, "late");
}

static void a_start_that_timed_out_keeps_changes_away_until_it_ends(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	struct stub stub;
	int fd;

	(void)state;
	options.timeouts.instance_start_ms = 10;
	stub_start(&stub, &options, NULL);
	fd = stub_connect(&stub);
	stub_send(fd, PUT("/boot-source", 25, "{\"kernel_image_path\":\"k\"}"));
	squib_action_succeed(take(&stub, SQUIB_PUT_BOOT_SOURCE));
	expect(fd, 204, "");
	ask(fd, START, 504, "VMM action timed out: InstanceStart");
	ask(fd, GET("/"), 200, "\"state\":\"Not started\"");
	ask(fd, PUT_MACHINE, 400, "cannot be served during boot orchestration");
	action = take(&stub, SQUIB_INSTANCE_START);
	assert_string_equal(squib_action_machine(action)->boot_source->kernel_image_path, "k");
	squib_action_succeed(action);
	ask(fd, GET("/"), 200, "\"state\":\"Running\"");
	ask(fd, PUT_MACHINE, 400, "not supported after starting the microVM");
	squib_controller_set_phase(stub.controller, SQUIB_PHASE_SHUTDOWN);
	ask(fd, PUT_MACHINE, 500, "VMM is shut down");
	ask(fd, GET("/"), 200, "\"state\":\"Not started\"");
	close(fd);
	stub_stop(&stub);
}

static void fail_start(struct stub *stub, struct squib_action *action)
{
	(void)stub;
	if (squib_action_type(action) == SQUIB_INSTANCE_START)
		squib_action_fail(action, "Start microvm error: no");
	else
		squib_action_succeed(action);
}

static void a_failed_start_can_be_tried_again(void **state)
{
	struct squib_controller_options options = stub_options();
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, fail_start);
	fd = stub_connect(&stub);
	ask(fd, START, 400, "Cannot start microvm without kernel configuration.");
	ask(fd, PUT("/boot-source", 25, "{\"kernel_image_path\":\"k\"}"), 204, "");
	ask(fd, START, 400, "Start microvm error: no");
	ask(fd, PUT_MACHINE, 204, "");
	ask(fd, START, 400, "Start microvm error: no");
	close(fd);
	stub_stop(&stub);
}

static void the_machine_of_a_start_is_whole_and_lives_with_the_action(void **state)
{
	struct squib_controller_options options = stub_options();
	const struct squib_machine *machine;
	struct squib_action *action;
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, NULL);
	fd = stub_connect(&stub);
	stub_send(fd, PUT("/boot-source", 25, "{\"kernel_image_path\":\"k\"}"));
	squib_action_succeed(take(&stub, SQUIB_PUT_BOOT_SOURCE));
	expect(fd, 204, "");
	stub_send(fd, PUT("/drives/data", 62, "{\"drive_id\":\"data\",\"is_root_device\":false,"
			  "\"path_on_host\":\"dd\"}"));
	squib_action_succeed(take(&stub, SQUIB_PUT_DRIVE));
	expect(fd, 204, "");
	stub_send(fd, PUT("/drives/root", 61, "{\"drive_id\":\"root\",\"is_root_device\":true,"
			  "\"path_on_host\":\"rr\"}"));
	squib_action_succeed(take(&stub, SQUIB_PUT_DRIVE));
	expect(fd, 204, "");
	stub_send(fd, START);
	action = take(&stub, SQUIB_INSTANCE_START);
	squib_action_ref(action);
	squib_action_succeed(action);
	expect(fd, 204, "");
	close(fd);
	stub_stop(&stub);
	machine = squib_action_machine(action);
	assert_int_equal(machine->drive_count, 2);
	assert_string_equal(machine->drives[0]->drive_id, "root");
	assert_string_equal(machine->drives[1]->path_on_host, "dd");
	assert_int_equal(machine->config.mem_size_mib, 128);
	squib_action_unref(action);
}

#define PUT_ROOT(id) \
	"PUT /drives/" id " HTTP/1.1\r\nContent-Length: 57\r\n\r\n" \
	"{\"drive_id\":\"" id "\",\"is_root_device\":true,\"path_on_host\":\"p\"}"

static void a_late_change_is_part_of_the_start_behind_it(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	struct answer answer;
	struct stub stub;
	int fd;

	(void)state;
	options.timeouts.config_ms = 10;
	stub_start(&stub, &options, NULL);
	fd = stub_connect(&stub);
	stub_send(fd, PUT("/boot-source", 25, "{\"kernel_image_path\":\"k\"}"));
	squib_action_succeed(take(&stub, SQUIB_PUT_BOOT_SOURCE));
	answer = stub_read_answer(fd);		/* 204, or 504 when this machine is slow */
	answer_done(&answer);
	ask(fd, PUT_ROOT("a"), 504, "timed out");
	stub_send(fd, START);
	squib_action_succeed(take(&stub, SQUIB_PUT_DRIVE));
	action = take(&stub, SQUIB_INSTANCE_START);
	assert_int_equal(squib_action_machine(action)->drive_count, 1);
	squib_action_succeed(action);
	expect(fd, 204, "");
	close(fd);
	stub_stop(&stub);
}

static void late_changes_that_exclude_each_other_are_checked_again(void **state)
{
	struct squib_controller_options options = stub_options();
	struct answer answer;
	struct stub stub;
	int fd;

	(void)state;
	options.timeouts.config_ms = 10;
	stub_start(&stub, &options, NULL);
	fd = stub_connect(&stub);
	ask(fd, PUT_ROOT("a"), 504, "timed out");
	ask(fd, PUT_ROOT("b"), 504, "timed out");
	squib_action_succeed(take(&stub, SQUIB_PUT_DRIVE));
	squib_action_succeed(take(&stub, SQUIB_PUT_DRIVE));
	ask(fd, GET("/vm/config"), 200, "\"drives\":[{\"drive_id\":\"a\"");
	stub_send(fd, GET("/vm/config"));
	answer = stub_read_answer(fd);
	assert_null(strstr(answer.body, "\"drive_id\":\"b\""));
	answer_done(&answer);
	close(fd);
	stub_stop(&stub);
}

static void a_server_runs_in_the_callers_loop(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_server_options server_options = SQUIB_SERVER_OPTIONS_INIT;
	char directory[] = "/tmp/squib-test-XXXXXX";
	struct stub stub = { 0 };
	struct pollfd fds[3];
	char bytes[512] = "";
	ssize_t got = 0;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(stub.socket_path, sizeof(stub.socket_path), "%s/api.sock", directory);
	server_options.socket_path = stub.socket_path;
	assert_int_equal(squib_controller_new(&options, &stub.controller), 0);
	assert_int_equal(squib_server_new(stub.controller, &server_options, &stub.server), 0);
	fds[0] = (struct pollfd){ .fd = squib_server_fd(stub.server), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = squib_controller_fd(stub.controller), .events = POLLIN };
	fds[2] = (struct pollfd){ .fd = stub_connect(&stub), .events = POLLIN };
	stub_send(fds[2].fd, PUT_MACHINE GET("/machine-config"));
	while (strstr(bytes, "\"vcpu_count\":3") == NULL) {
		struct squib_action *action;

		assert_true(poll(fds, 3, 20000) > 0);
		assert_int_equal(squib_server_dispatch(stub.server), 0);
		if (squib_controller_next(stub.controller, 0, &action) == 1)
			squib_action_succeed(action);
		if (fds[2].revents & POLLIN) {
			ssize_t n = recv(fds[2].fd, bytes + got, sizeof(bytes) - 1 - (size_t)got, 0);

			assert_true(n > 0);
			got += n;
		}
		bytes[got] = '\0';
	}
	assert_memory_equal(bytes, "HTTP/1.1 204 \r\n", 15);
	close(fds[2].fd);
	squib_server_free(stub.server);
	squib_controller_free(stub.controller);
	unlink(stub.socket_path);
	rmdir(directory);
}

static unsigned int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void nothing_leaks_over_thousands_of_rounds(void **state)
{
	struct squib_controller_options options = stub_options();
	unsigned int before = count_fds();
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, stub_acknowledge);
	for (int i = 0; i < 3000; i++) {
		fd = stub_connect(&stub);
		if (i % 3 == 0)
			ask(fd, PUT_MACHINE, 204, "");
		else if (i % 3 == 1)
			stub_send(fd, "PUT /machine-config HTTP/1.1\r\nContent-Length: 36\r\n\r\n{\"v");
		else
			ask(fd, "nonsense\r\n\r\n", 400, "error");
		close(fd);
	}
	fd = stub_connect(&stub);
	ask(fd, GET("/"), 200, "Not started");
	close(fd);
	stub_stop(&stub);
	assert_int_equal(count_fds(), before);
}

static void the_eleventh_client_is_told_so(void **state)
{
	static const char full[] = "HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\n"
				   "Content-Length: 40\r\n\r\n{ \"error\": \"Too many open "
				   "connections\" }";
	struct squib_controller_options options = stub_options();
	int fds[11];
	char bytes[256] = "";
	struct stub stub;

	(void)state;
	stub_start(&stub, &options, stub_acknowledge);
	for (int i = 0; i < 10; i++) {
		fds[i] = stub_connect(&stub);
		ask(fds[i], GET("/"), 200, "Not started");
	}
	fds[10] = stub_connect(&stub);
	assert_int_equal(recv(fds[10], bytes, sizeof(bytes) - 1, MSG_WAITALL), sizeof(full) - 1);
	assert_string_equal(bytes, full);
	close(fds[10]);
	close(fds[9]);
	fds[9] = stub_connect(&stub);	/* a place is free again at once */
	ask(fds[9], GET("/"), 200, "Not started");
	for (int i = 0; i < 10; i++)
		close(fds[i]);
	stub_stop(&stub);
}

static const char *file_config = "{\"boot-source\":{\"kernel_image_path\":\"k\"},\"drives\":[],"
				 "\"machine-config\":{\"vcpu_count\":2,\"mem_size_mib\":64}}";

static void a_configuration_file_goes_the_same_way_in(void **state)
{
	struct squib_controller_options options = stub_options();
	char *fault = NULL;
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, stub_acknowledge);
	fd = stub_connect(&stub);
	assert_int_equal(squib_controller_replay(stub.controller, file_config, strlen(file_config),
						 "{\"a\":1}", 7, &fault), 0);
	ask(fd, GET("/"), 200, "Running");
	ask(fd, GET("/machine-config"), 200, "\"vcpu_count\":2,");
	close(fd);
	stub_stop(&stub);
}

static void a_configuration_file_faults_in_upstreams_words(void **state)
{
	static const struct { const char *json, *metadata; int want; const char *text; } cases[] = {
		{ "{\"drives\":[]}", NULL, -EINVAL, "Configuration for VMM from one single json "
		  "failed: Invalid JSON: missing field `boot-source` at line 1 column 13" },
		{ "{\"boot-source\":{\"kernel_image_path\":\"k\"},\"drives\":[],\"balloon\":"
		  "{\"amount_mib\":999,\"deflate_on_oom\":true}}", NULL, -EINVAL, "Configuration for "
		  "VMM from one single json failed: Balloon device error: Amount of pages requested "
		  "is too large." },
		{ "{\"boot-source\":{\"kernel_image_path\":\"k\"},\"drives\":[]}", "{", -EBADMSG,
		  "MMDS error: metadata provided not valid json" },
		{ "{\"boot-source\":{\"kernel_image_path\":\"k\"},\"drives\":[]}", NULL, -EINVAL,
		  "Could not Start MicroVM from one single json: no" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct squib_controller_options options = stub_options();
		const char *metadata = cases[i].metadata;
		char *fault = NULL;
		struct stub stub;

		stub_start(&stub, &options, fail_start);
		assert_int_equal(squib_controller_replay(stub.controller, cases[i].json,
							 strlen(cases[i].json), metadata,
							 metadata ? strlen(metadata) : 0, &fault),
				 cases[i].want);
		assert_string_equal(fault, cases[i].text);
		free(fault);
		stub_stop(&stub);
	}
}

static void *replay(void *arg)
{
	struct stub *stub = arg;
	char *fault = NULL;

	assert_int_equal(squib_controller_replay(stub->controller, file_config,
						 strlen(file_config), NULL, 0, &fault), 0);
	return NULL;
}

static void clients_wait_until_a_configuration_file_is_through(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_action *action;
	pthread_t thread;
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, NULL);
	assert_int_equal(pthread_create(&thread, NULL, replay, &stub), 0);
	action = take(&stub, SQUIB_PUT_MACHINE_CONFIG);
	fd = stub_connect(&stub);
	stub_send(fd, "PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n{\"state\":\"Paused\"}");
	squib_action_succeed(action);
	squib_action_succeed(take(&stub, SQUIB_PUT_BOOT_SOURCE));
	squib_action_succeed(take(&stub, SQUIB_INSTANCE_START));
	squib_action_succeed(take(&stub, SQUIB_PATCH_VM));
	expect(fd, 204, "");
	pthread_join(thread, NULL);
	close(fd);
	stub_stop(&stub);
}

static void an_existing_socket_is_treated_as_told(void **state)
{
	struct squib_controller_options options = stub_options();
	struct squib_server_options server_options = SQUIB_SERVER_OPTIONS_INIT;
	struct squib_controller *other;
	struct squib_server *server = NULL;
	struct stat st;
	struct stub stub;
	int fd;

	(void)state;
	stub_start(&stub, &options, stub_acknowledge);
	assert_int_equal(stat(stub.socket_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	server_options.socket_path = stub.socket_path;
	server_options.existing_socket = SQUIB_SOCKET_FAIL;
	assert_int_equal(squib_server_new(stub.controller, &server_options, &server), -EBUSY);
	assert_int_equal(squib_controller_new(&options, &other), 0);
	assert_int_equal(squib_server_new(other, &server_options, &server), -EADDRINUSE);
	server_options.existing_socket = SQUIB_SOCKET_REPLACE_STALE;	/* somebody answers */
	assert_int_equal(squib_server_new(other, &server_options, &server), -EADDRINUSE);
	squib_controller_free(other);
	fd = stub_connect(&stub);
	ask(fd, GET("/"), 200, "");
	close(fd);
	squib_server_free(stub.server);
	stub.server = NULL;
	assert_int_equal(squib_server_new(stub.controller, &server_options, &server), 0);
	squib_server_free(server);
	assert_int_equal(unlink(stub.socket_path), 0);
	fd = open(stub.socket_path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_int_equal(squib_server_new(stub.controller, &server_options, &server), -EADDRINUSE);
	assert_int_equal(stat(stub.socket_path, &st), 0);	/* a file is not taken for a socket */
	assert_true(S_ISREG(st.st_mode));
	close(fd);
	server_options.existing_socket = SQUIB_SOCKET_REPLACE;
	assert_int_equal(squib_server_new(stub.controller, &server_options, &server), 0);
	squib_server_free(server);
	server_options.socket_path = "/nonexistent/api.sock";
	assert_int_equal(squib_server_new(stub.controller, &server_options, &server), -ENOENT);
	stub_stop(&stub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_unanswered_action_meets_its_deadline),
		cmocka_unit_test(a_late_answer_reaches_the_mirror_and_nobody_else),
		cmocka_unit_test(reads_are_answered_while_an_action_is_pending),
		cmocka_unit_test(a_full_queue_holds_clients_until_there_is_room),
		cmocka_unit_test(clients_behind_an_expired_action_have_deadlines_of_their_own),
		cmocka_unit_test(a_monitor_that_is_gone_is_a_500_for_changes_only),
		cmocka_unit_test(a_dropped_connection_takes_its_waiting_request_along),
		cmocka_unit_test(an_action_outlives_its_controller),
		cmocka_unit_test(a_start_that_timed_out_keeps_changes_away_until_it_ends),
		cmocka_unit_test(a_failed_start_can_be_tried_again),
		cmocka_unit_test(the_machine_of_a_start_is_whole_and_lives_with_the_action),
		cmocka_unit_test(a_late_change_is_part_of_the_start_behind_it),
		cmocka_unit_test(late_changes_that_exclude_each_other_are_checked_again),
		cmocka_unit_test(a_server_runs_in_the_callers_loop),
		cmocka_unit_test(nothing_leaks_over_thousands_of_rounds),
		cmocka_unit_test(the_eleventh_client_is_told_so),
		cmocka_unit_test(a_configuration_file_goes_the_same_way_in),
		cmocka_unit_test(a_configuration_file_faults_in_upstreams_words),
		cmocka_unit_test(clients_wait_until_a_configuration_file_is_through),
		cmocka_unit_test(an_existing_socket_is_treated_as_told),
	};

	return cmocka_run_group_tests_name("controller", tests, NULL, NULL);
}
