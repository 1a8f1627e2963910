/* SPDX-License-Identifier: Apache-2.0 */
/* The monitor with an engine that the test plays: what a start gets of the host, and the next one after it. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "api/controller_internal.h"
#include "api/request.h"
#include "base/fd.h"
#include "net/backend.h"
#include "net/test_link.h"
#include "vmm/vmm.h"

/* --- the engine */

/* What its start() does, and saw. */
static struct {
	bool fails;
	unsigned int starts;
	unsigned int engines;		/* there are now */
	unsigned int backends;		/* of the last start */
	bool listens;			/* the same: its vsock does */
} fake;

static int fake_create(const struct engine_params *params, struct engine **ret_engine,
		       struct fault *fault)
{
	(void)params;
	(void)fault;
	*ret_engine = calloc(1, sizeof(**ret_engine));
	assert_non_null(*ret_engine);
	fake.engines++;
	return 0;
}

static void fake_destroy(struct engine *engine)
{
	fake.engines -= engine != NULL;
	free(engine);
}

static bool is_listening(int fd)
{
	int listens = 0;
	socklen_t len = sizeof(listens);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens != 0;
}

static int fake_start(struct engine *engine, const struct engine_machine *machine,
		      struct fault *fault)
{
	const struct squib_machine *description = machine->description;

	(void)engine;
	fake.starts++;
	fake.listens = is_listening(machine->vsock.fd);
	for (size_t i = 0; i < description->drive_count; i++)
		assert_int_equal(write(machine->drives[i].fd, "!", 1), 1);
	fake.backends = 0;
	for (size_t i = 0; i < description->network_interface_count; i++) {
		fake.backends += machine->interfaces[i] != NULL;
		net_backend_free(machine->interfaces[i]);
		machine->interfaces[i] = NULL;
	}
	return fake.fails ? fault_set(fault, -EIO, "Internal error while starting microVM: not now") : 0;
}

static size_t fake_serial_input(struct engine *engine, const void *data, size_t len)
{
	(void)engine;
	(void)data;
	return len;
}

static const struct engine_ops fake_ops = {
	.name = "fake",
	.create = fake_create,
	.destroy = fake_destroy,
	.start = fake_start,
	.serial_input = fake_serial_input,
};

static const struct engine_ops *choose_fake(struct engine_chooser *chooser, struct fault *fault)
{
	(void)chooser;
	(void)fault;
	return &fake_ops;
}

/* --- a monitor and its client */

struct rig {
	struct waiter waiter;
	struct squib_action *ended;
	struct squib_controller *controller;
	struct engine_chooser chooser;
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct vmm *vmm;
	char dir[32];
	char drive[64], vsock[64];	/* sockets in it */
	size_t fds_before;
};

static size_t count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void note_ended(struct waiter *waiter, struct squib_action *action)
{
	container_of(waiter, struct rig, waiter)->ended = action;
}

static void rig_init(struct rig *rig)
{
	struct squib_controller_options options = SQUIB_CONTROLLER_OPTIONS_INIT;
	struct vmm_params params = { .instance_id = "test", .console_in = -1, .console_out = -1,
				     .network = VMM_NETWORK_TAP, .ending_fd = -1 };

	fake.fails = false;
	fake.starts = 0;
	*rig = (struct rig){ .waiter = { .done = note_ended }, .chooser = { .choose = choose_fake },
			     .dir = "/tmp/squib-test-XXXXXX", .fds_before = count_fds() };
	options.instance_id = "test";
	options.firecracker_version = options.vmm_version = "1.16.0";
	assert_non_null(mkdtemp(rig->dir));
	snprintf(rig->drive, sizeof(rig->drive), "%s/drive", rig->dir);
	snprintf(rig->vsock, sizeof(rig->vsock), "%s/vsock", rig->dir);
	assert_int_equal(squib_controller_new(&options, &rig->controller), 0);
	assert_int_equal(loop_new(&rig->loop), 0);
	assert_int_equal(log_new("test", &rig->log), 0);
	assert_int_equal(metrics_new(&rig->metrics), 0);
	params.controller = rig->controller;
	params.engine_chooser = &rig->chooser;
	params.loop = rig->loop;
	params.log = rig->log;
	params.metrics = rig->metrics;
	assert_int_equal(vmm_new(&params, &rig->vmm), 0);
}

static void rig_done(struct rig *rig)
{
	vmm_free(rig->vmm);
	assert_int_equal(fake.engines, 0);
	squib_controller_free(rig->controller);
	metrics_free(rig->metrics);
	log_free(rig->log);
	loop_free(rig->loop);
	unlink(rig->drive);
	unlink(rig->vsock);
	assert_int_equal(rmdir(rig->dir), 0);
	assert_int_equal(count_fds(), rig->fds_before);
}

/* @want: the fault, NULL for success. */
static void put(struct rig *rig, const char *uri, const char *want, const char *format, ...)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	char body[512];
	struct http_request request = { .method = HTTP_PUT, .minor = 1, .uri = uri,
					.uri_len = strlen(uri), .body = body };
	struct squib_action *action;
	struct route route;
	va_list args;

	va_start(args, format);
	request.body_len = (size_t)vsnprintf(body, sizeof(body), format, args);
	va_end(args);
	if (request_decode(rig->controller, &request, false, &route, &action, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	rig->ended = NULL;
	controller_submit(rig->controller, action, &rig->waiter);
	while (rig->ended == NULL)
		assert_int_equal(loop_run_once(rig->loop, -1), 0);
	if (want != NULL)
		assert_string_equal(rig->ended->outcome.body, want);
	else if (rig->ended->outcome.status != 204)
		fail_msg("%s: %s", uri, rig->ended->outcome.body);
	squib_action_unref(rig->ended);
}

static void start(struct rig *rig, const char *want)
{
	put(rig, "/actions", want, "{\"action_type\":\"InstanceStart\"}");
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

static void accept_used(int listen_fd)
{
	CLEANUP(fd_close) int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	char data[8];

	assert_true(fd >= 0);
	assert_int_equal(read(fd, data, sizeof(data)), 1);	/* one start */
	assert_int_equal(read(fd, data, sizeof(data)), 0);	/* nobody has it any more */
	assert_int_equal(accept(listen_fd, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
}

/* --- tests */

#define NOT_NOW "Start microvm error: Internal error while starting microVM: not now"
#define NOBODY	"Start microvm error: Unable to attach block device to Vmm: Vhost user backend error: " \
		"Vhost-user error: Failed to connect to UDS Unix stream: No such file or directory " \
		"(os error 2)"

/* A back end may be told things once a connection; QEMU may have broken off within a message. */
static void a_start_after_one_that_failed_has_a_connection_of_its_own(void **state)
{
	struct rig rig;
	int listen_fd;

	(void)state;
	rig_init(&rig);
	listen_fd = listen_at(rig.drive);
	put(&rig, "/boot-source", NULL, "{\"kernel_image_path\":\"/proc/self/exe\"}");
	put(&rig, "/drives/d", NULL, "{\"drive_id\":\"d\",\"is_root_device\":false,\"socket\":\"%s\"}",
	    rig.drive);
	fake.fails = true;
	start(&rig, NOT_NOW);
	accept_used(listen_fd);
	start(&rig, NOT_NOW);
	accept_used(listen_fd);
	fd_close(listen_fd);
	unlink(rig.drive);
	start(&rig, NOBODY);
	start(&rig, NOBODY);
	assert_int_equal(fake.starts, 2);
	fake.fails = false;
	listen_fd = listen_at(rig.drive);
	start(&rig, NULL);
	accept_used(listen_fd);
	assert_int_equal(fake.starts, 3);
	fd_close(listen_fd);
	rig_done(&rig);
}

static void a_start_after_one_that_failed_has_all_else_again(void **state)
{
	const char *no_taps = link_namespace();
	struct rig rig;

	(void)state;
	rig_init(&rig);
	put(&rig, "/boot-source", NULL, "{\"kernel_image_path\":\"/proc/self/exe\"}");
	put(&rig, "/vsock", NULL, "{\"guest_cid\":3,\"uds_path\":\"%s\"}", rig.vsock);
	if (no_taps == NULL) {
		put(&rig, "/network-interfaces/eth0", NULL,
		    "{\"iface_id\":\"eth0\",\"host_dev_name\":\"squib0\"}");
		put(&rig, "/mmds/config", NULL,
		    "{\"version\":\"V2\",\"network_interfaces\":[\"eth0\"]}");
	} else {
		print_message("without interfaces: %s\n", no_taps);
	}
	for (unsigned int i = 0; i < 3; i++) {
		fake.fails = i < 2;
		start(&rig, fake.fails ? NOT_NOW : NULL);
		assert_true(fake.listens);
		assert_int_equal(fake.backends, no_taps == NULL);
		assert_int_equal(access(rig.vsock, F_OK), 0);
		assert_int_equal(fake.engines, !fake.fails);
	}
	rig_done(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_start_after_one_that_failed_has_a_connection_of_its_own),
		cmocka_unit_test(a_start_after_one_that_failed_has_all_else_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
