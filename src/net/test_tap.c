/* SPDX-License-Identifier: Apache-2.0 */
#include "net/tap.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "net/test_link.h"

#define BIT(n) (UINT64_C(1) << (n))

/* From 06:00:00:00:00:01 to everybody. */
static const uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 6, 0, 0, 0, 0, 1,
				   TEST_ETHERTYPE >> 8, TEST_ETHERTYPE & 0xff, 'h', 'e', 'l', 'l', 'o' };

static const char *no_taps;	/* why, or NULL; set once, by main() */

static void need_taps(void)
{
	if (no_taps != NULL) {
		print_message("skipped: %s\n", no_taps);
		skip();
	}
}

/* A tap that is up, behind a back end. */
struct host {
	struct net_backend *backend;
	int packets;		/* the host's side */
	unsigned int changes;
};

static void changed(struct net_backend *backend)
{
	((struct host *)backend->owner)->changes++;
}

static void make_tap(struct host *host)
{
	int fd = tap_open("sq0", NULL);

	*host = (struct host){ 0 };
	assert_true(fd >= 0);
	assert_int_equal(tap_backend_new(fd, &host->backend), 0);
	fd_close(fd);
	link_set("sq0", true);
	host->packets = link_socket("sq0");
	host->backend->owner = host;
	host->backend->changed = changed;
}

static void free_tap(struct host *host)
{
	net_backend_free(host->backend);
	fd_close(host->packets);
}

static short events_of(const struct host *host)
{
	struct pollfd p = { .fd = host->backend->fd, .events = POLLIN };

	assert_true(poll(&p, 1, 0) >= 0);
	return p.revents;
}

static ssize_t receive(struct host *host, uint8_t *header, uint8_t *data)
{
	static uint8_t rest[NET_FRAME_BYTES];
	struct iovec segments[] = { { header, NET_HEADER_BYTES }, { data, 14 },
				    { data + 14, 1000 }, { rest, sizeof(rest) } };

	return host->backend->ops->receive(host->backend, segments, 4);
}

static ssize_t send_frame(struct host *host)
{
	uint8_t header[NET_HEADER_BYTES] = { 0 };
	struct iovec segments[] = { { header, sizeof(header) }, { (void *)frame, 20 },
				    { (void *)(frame + 20), sizeof(frame) - 20 } };

	return host->backend->ops->send(host->backend, segments, 3);
}

static void names_of_16_bytes_are_too_long(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	(void)state;
	assert_int_equal(tap_check_name("a123456789abcde", &fault), 0);
	assert_int_equal(tap_check_name("", &fault), 0);
	assert_int_equal(tap_check_name("a123456789abcdef", &fault), -EINVAL);
	assert_string_equal(fault_text(&fault), "Open tap device failed: Invalid interface name");
}

static void a_tap_is_opened_once(void **state)
{
	struct fault fault = FAULT_INIT;
	int fd;

	(void)state;
	need_taps();
	assert_int_equal(tap_open("a123456789abcdef", &fault), -EINVAL);
	assert_string_equal(fault_text(&fault), "Open tap device failed: Invalid interface name");
	fd = tap_open("a123456789abcde", &fault);
	assert_true(fd >= 0);
	assert_int_equal(tap_open("a123456789abcde", &fault), -EBUSY);
	assert_string_equal(fault_text(&fault), "Open tap device failed: Error while creating ifreq "
			    "structure: Resource busy (os error 16). Invalid TUN/TAP Backend provided "
			    "by a123456789abcde. Check our documentation on setting up the network "
			    "devices.");
	fd_close(fd);
	fd = tap_open("a123456789abcde", &fault);
	assert_true(fd >= 0);
	fd_close(fd);
	fault_done(&fault);
}

static void frames_go_through(void **state)
{
	uint8_t header[NET_HEADER_BYTES], data[1014];
	struct host host;

	(void)state;
	need_taps();
	make_tap(&host);
	assert_int_equal(receive(&host, header, data), -EAGAIN);
	assert_int_equal(events_of(&host), 0);
	assert_int_equal(write(host.packets, frame, sizeof(frame)), sizeof(frame));
	assert_int_equal(events_of(&host), POLLIN);
	assert_int_equal(receive(&host, header, data), NET_HEADER_BYTES + sizeof(frame));
	assert_memory_equal(data, frame, sizeof(frame));
	assert_int_equal(receive(&host, header, data), -EAGAIN);
	assert_int_equal(send_frame(&host), NET_HEADER_BYTES + sizeof(frame));
	assert_int_equal(recv(host.packets, data, sizeof(data), 0), sizeof(frame));
	assert_memory_equal(data, frame, sizeof(frame));
	free_tap(&host);
}

static void offloads_are_those_that_were_negotiated(void **state)
{
	static const struct { uint64_t features; int want; } cases[] = {
		{ 0, 0 },
		{ BIT(VIRTIO_NET_F_GUEST_CSUM), 0 },
		{ BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) |
		  BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_UFO), 0 },
		{ BIT(VIRTIO_NET_F_GUEST_TSO4), -EINVAL },	/* no checksums, no segments */
		{ BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_MRG_RXBUF), 0 },
	};
	struct host host;

	(void)state;
	need_taps();
	make_tap(&host);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(host.backend->ops->set_features(host.backend, cases[i].features),
				 cases[i].want);
	free_tap(&host);
}

static void a_tap_that_is_down_loses_frames_until_it_is_up(void **state)
{
	uint8_t header[NET_HEADER_BYTES], data[1014];
	struct host host;

	(void)state;
	need_taps();
	make_tap(&host);
	link_set("sq0", false);
	assert_int_equal(send_frame(&host), -EIO);
	assert_int_equal(receive(&host, header, data), -EAGAIN);
	assert_int_equal(events_of(&host), 0);
	assert_int_equal(host.changes, 0);
	link_set("sq0", true);
	assert_int_equal(send_frame(&host), NET_HEADER_BYTES + sizeof(frame));
	free_tap(&host);
}

static void a_tap_that_is_removed_is_gone_for_good(void **state)
{
	uint8_t header[NET_HEADER_BYTES], data[1014];
	struct host host;

	(void)state;
	need_taps();
	make_tap(&host);
	link_delete("sq0");
	assert_true((events_of(&host) & POLLERR) != 0);
	assert_int_equal(host.backend->ops->set_features(host.backend, 0), 0);
	assert_int_equal(host.changes, 0);
	assert_int_equal(receive(&host, header, data), -EBADFD);
	assert_int_equal(host.backend->fd, -1);
	assert_int_equal(host.changes, 1);
	assert_int_equal(send_frame(&host), -EBADFD);
	assert_int_equal(receive(&host, header, data), -EBADFD);
	assert_int_equal(host.changes, 1);
	free_tap(&host);
	make_tap(&host);	/* the same with sending first */
	link_delete("sq0");
	assert_int_equal(send_frame(&host), -EBADFD);
	assert_int_equal(host.backend->fd, -1);
	assert_int_equal(host.changes, 1);
	free_tap(&host);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_16_bytes_are_too_long),
		cmocka_unit_test(a_tap_is_opened_once),
		cmocka_unit_test(frames_go_through),
		cmocka_unit_test(offloads_are_those_that_were_negotiated),
		cmocka_unit_test(a_tap_that_is_down_loses_frames_until_it_is_up),
		cmocka_unit_test(a_tap_that_is_removed_is_gone_for_good),
	};

	no_taps = link_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
