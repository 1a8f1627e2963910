/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of a QEMU that the test plays: who reaches them, and when they are served. */
#include <dirent.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/metrics.h"
#include "engine/qemu/devices.h"
#include "vhost_user/protocol.h"

#define DRIVES 3	/* the second is served by another process */

struct rig {
	struct engine_params params;
	struct squib_drive drives[DRIVES];
	const struct squib_drive *drive_list[DRIVES];
	struct engine_file files[DRIVES];
	struct squib_machine description;
	struct qemu_devices *devices;
	const struct qemu_peer *peers;
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

static void rig_init(struct rig *rig)
{
	static const char *const ids[DRIVES] = { "a", "b", "c" };
	struct engine_machine machine = { .vsock = { .fd = -1 } };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	size_t count;

	*rig = (struct rig){ .fds_before = count_fds() };
	assert_int_equal(loop_new(&rig->params.loop), 0);
	assert_int_equal(metrics_new(&rig->params.metrics), 0);
	for (size_t i = 0; i < DRIVES; i++) {
		rig->drives[i] = (struct squib_drive){ .drive_id = ids[i],
						       .io_engine = SQUIB_IO_ENGINE_SYNC };
		rig->drive_list[i] = &rig->drives[i];
		rig->files[i].fd = memfd_create("disk", MFD_CLOEXEC);
	}
	rig->drives[1].socket = "socket";
	rig->description = (struct squib_machine){ .drives = rig->drive_list, .drive_count = DRIVES };
	machine.description = &rig->description;
	machine.drives = rig->files;
	if (qemu_devices_new(&rig->params, &machine, &rig->devices, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	rig->peers = qemu_devices_peers(rig->devices, &count);
	assert_int_equal(count, DRIVES);
}

static void rig_done(struct rig *rig)
{
	qemu_devices_free(rig->devices);
	for (size_t i = 0; i < DRIVES; i++)
		fd_close(rig->files[i].fd);
	metrics_free(rig->params.metrics);
	loop_free(rig->params.loop);
	assert_int_equal(count_fds(), rig->fds_before);
}

/* Until nothing is ready: a loop that spins never ends. */
static void run(struct rig *rig)
{
	struct pollfd pfd = { .fd = loop_fd(rig->params.loop), .events = POLLIN };

	while (poll(&pfd, 1, 0) > 0)
		assert_int_equal(loop_run_once(rig->params.loop, 0), 0);
}

/* As QEMU does with "abstract=on" and "tight=on". */
static int reach(const struct qemu_peer *peer)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(peer->address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(peer->fd, -1);
	memcpy(address.sun_path + 1, peer->address, len);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)), 0);
	return fd;
}

static void ask(int fd)
{
	struct vu_header header = { .request = VU_GET_FEATURES, .flags = VU_FLAGS_VERSION };

	assert_int_equal(write(fd, &header, sizeof(header)), sizeof(header));
}

/* How much was answered: 0, the other side hung up; -1, nothing. */
static ssize_t answer(int fd)
{
	char data[64];

	return recv(fd, data, sizeof(data), MSG_DONTWAIT);
}

#define ANSWER_BYTES ((ssize_t)(sizeof(struct vu_header) + sizeof(uint64_t)))

static void each_is_served_to_qemu_at_its_address(void **state)
{
	struct rig rig;
	int first, last;

	(void)state;
	rig_init(&rig);
	assert_true(rig.peers[1].fd >= 0);
	assert_string_not_equal(rig.peers[0].address, rig.peers[2].address);
	first = reach(&rig.peers[0]);		/* as soon as it runs, before we come to know who it is */
	ask(first);
	qemu_devices_expect(rig.devices, getpid());
	assert_int_equal(rig.peers[1].fd, -1);
	last = reach(&rig.peers[2]);
	ask(last);
	run(&rig);
	assert_int_equal(answer(first), ANSWER_BYTES);
	assert_int_equal(answer(last), ANSWER_BYTES);
	fd_close(first);			/* QEMU is gone */
	fd_close(last);
	run(&rig);
	rig_done(&rig);
}

/* And what has yet to come is served in place, too. */
static void they_are_served_in_place(void **state)
{
	struct rig rig;
	struct pollfd pfd = { .events = POLLIN };
	int fd;

	(void)state;
	rig_init(&rig);
	qemu_devices_expect(rig.devices, getpid());
	fd = reach(&rig.peers[0]);
	ask(fd);
	pfd.fd = qemu_devices_fd(rig.devices);
	while (poll(&pfd, 1, 0) > 0)
		qemu_devices_serve(rig.devices);
	assert_int_equal(answer(fd), ANSWER_BYTES);
	fd_close(fd);
	rig_done(&rig);
}

static void strangers_are_not_let_in(void **state)
{
	struct rig rig;
	pid_t stranger;
	int status, fd;

	(void)state;
	rig_init(&rig);
	qemu_devices_expect(rig.devices, getpid());
	stranger = fork();
	if (stranger == 0) {
		char byte;

		fd = reach(&rig.peers[0]);
		_exit(read(fd, &byte, 1) == 0 ? 0 : 1);
	}
	while (waitpid(stranger, &status, WNOHANG) == 0)
		loop_run_once(rig.params.loop, 10);
	assert_int_equal(status, 0);
	fd = reach(&rig.peers[0]);		/* the place is free still */
	ask(fd);
	run(&rig);
	assert_int_equal(answer(fd), ANSWER_BYTES);
	fd_close(fd);
	rig_done(&rig);
}

static void nobody_is_let_in_twice(void **state)
{
	struct rig rig;
	int first, second;

	(void)state;
	rig_init(&rig);
	qemu_devices_expect(rig.devices, getpid());
	first = reach(&rig.peers[0]);
	second = reach(&rig.peers[0]);
	ask(second);
	run(&rig);
	assert_true(answer(second) <= 0);
	ask(first);
	run(&rig);
	assert_int_equal(answer(first), ANSWER_BYTES);
	fd_close(first);
	fd_close(second);
	rig_done(&rig);
}

/* The loop comes to rest, and QEMU is not left waiting. */
static void without_descriptors_qemu_is_turned_away(void **state)
{
	struct rlimit limit, none;
	struct rig rig;
	char byte;
	int fd;

	(void)state;
	rig_init(&rig);
	qemu_devices_expect(rig.devices, getpid());
	fd = reach(&rig.peers[0]);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = limit.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	run(&rig);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(read(fd, &byte, 1) <= 0);
	fd_close(fd);
	rig_done(&rig);
}

static void one_that_is_reached_in_a_pause_is_paused(void **state)
{
	struct rig rig;
	int fd;

	(void)state;
	rig_init(&rig);
	qemu_devices_expect(rig.devices, getpid());
	qemu_devices_pause(rig.devices);
	qemu_devices_pause(rig.devices);
	fd = reach(&rig.peers[0]);
	ask(fd);
	run(&rig);
	assert_int_equal(answer(fd), ANSWER_BYTES);
	qemu_devices_resume(rig.devices);
	qemu_devices_resume(rig.devices);
	fd_close(fd);
	rig_done(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_served_to_qemu_at_its_address),
		cmocka_unit_test(they_are_served_in_place),
		cmocka_unit_test(strangers_are_not_let_in),
		cmocka_unit_test(nobody_is_let_in_twice),
		cmocka_unit_test(without_descriptors_qemu_is_turned_away),
		cmocka_unit_test(one_that_is_reached_in_a_pause_is_paused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
