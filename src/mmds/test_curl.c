/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real client: curl over the kernel's TCP, in a network namespace that has nothing but a tap with
 * a stack at its other end. As a guest's, the kernel leaves checksums and segmentation to the device.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/loop.h"
#include "mmds/test_client.h"

#define URL "http://169.254.169.254"

#define skip_because(...) \
	do { \
		print_message("skipped: " __VA_ARGS__); \
		skip(); \
	} while (0)

struct bench {
	struct guest guest;
	int tap;
	struct buf said;	/* by curl */
};

static void set_address(int sock, struct ifreq *request, unsigned long what, const char *text)
{
	struct sockaddr_in *address = (struct sockaddr_in *)&request->ifr_addr;

	*address = (struct sockaddr_in){ .sin_family = AF_INET };
	assert_int_equal(inet_pton(AF_INET, text, &address->sin_addr), 1);
	assert_int_equal(ioctl(sock, what, request), 0);
}

/* Return: -errno when there are no taps here. */
static int open_tap(void)
{
	struct ifreq request = { .ifr_name = "mmds" };
	int sock, tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (tap < 0)
		return -errno;
	request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	if (ioctl(tap, TUNSETIFF, &request) < 0 ||
	    ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0) {
		int r = -errno;

		close(tap);
		return r;
	}
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(sock >= 0);
	set_address(sock, &request, SIOCSIFADDR, "169.254.1.1");
	set_address(sock, &request, SIOCSIFNETMASK, "255.255.0.0");
	request.ifr_flags = IFF_UP;
	assert_int_equal(ioctl(sock, SIOCSIFFLAGS, &request), 0);
	close(sock);
	return tap;
}

static void bench_init(struct bench *bench, const char *document)
{
	if (geteuid() != 0)
		skip_because("needs root\n");
	if (system("curl --version >/dev/null 2>&1") != 0)
		skip_because("needs curl\n");
	if (unshare(CLONE_NEWNET) < 0)
		skip_because("no network namespaces: %s\n", strerror(errno));
	*bench = (struct bench){ .tap = open_tap() };
	if (bench->tap < 0)
		skip_because("no taps: %s\n", strerror(-bench->tap));
	guest_init(&bench->guest, document);
}

static void bench_done(struct bench *bench)
{
	close(bench->tap);
	buf_done(&bench->said);
	guest_done(&bench->guest);
}

static void receive_frames(struct bench *bench)
{
	struct mmds_stack *stack = bench->guest.stack;
	struct virtio_net_hdr header;
	uint8_t frame[70000];
	struct iovec parts[] = { { &header, sizeof(header) }, { frame, sizeof(frame) } };
	ssize_t len;

	while ((len = readv(bench->tap, parts, 2)) > 0) {
		size_t bytes = (size_t)len - sizeof(header);
		size_t head = bytes < MMDS_HEAD_BYTES ? bytes : MMDS_HEAD_BYTES;

		if (mmds_stack_wants(stack, frame, head))
			mmds_stack_receive(stack, frame, bytes, clock_ns());
	}
}

static void send_frames(struct bench *bench)
{
	struct virtio_net_hdr header = { 0 };
	uint8_t frame[MMDS_FRAME_BYTES];
	struct iovec parts[] = { { &header, sizeof(header) }, { frame, 0 } };

	while ((parts[1].iov_len = mmds_stack_send(bench->guest.stack, frame, clock_ns())) > 0)
		assert_true(writev(bench->tap, parts, 2) > 0);
}

static int wait_ms(const struct bench *bench)
{
	uint64_t due_ns = mmds_stack_due_ns(bench->guest.stack), now_ns = clock_ns();

	if (due_ns == UINT64_MAX)
		return -1;
	return due_ns > now_ns ? (int)((due_ns - now_ns) / 1000000 + 1) : 0;
}

/* Be the device until curl closed its output. */
static void pump(struct bench *bench, int output)
{
	struct pollfd fds[] = { { bench->tap, POLLIN, 0 }, { output, POLLIN, 0 } };
	char piece[4096];
	ssize_t len = 1;

	while (len > 0) {
		assert_true(poll(fds, 2, wait_ms(bench)) >= 0);
		receive_frames(bench);
		send_frames(bench);
		if (fds[1].revents == 0)
			continue;
		len = read(output, piece, sizeof(piece));
		assert_true(len >= 0);
		buf_add(&bench->said, piece, (size_t)len);
	}
}

/* Run curl with @arguments. Return: what it wrote. */
static const char *curl(struct bench *bench, const char *arguments)
{
	char command[1000];
	int ends[2], status;
	pid_t child;

	snprintf(command, sizeof(command), "exec curl -q --silent --show-error --max-time 20 2>&1 %s",
		 arguments);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(ends[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(ends[1]);
	buf_reset(&bench->said);
	pump(bench, ends[0]);
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0)
		fail_msg("curl %s: %d, %s", arguments, status, buf_str(&bench->said));
	return buf_str(&bench->said);
}

static void curl_reads_values(void **state)
{
	const struct metrics_mmds *counters;
	struct bench bench;

	(void)state;
	bench_init(&bench, "{\"a\":{\"b\":\"text\",\"c\":1}}");
	counters = &bench.guest.metrics->mmds;
	assert_string_equal(curl(&bench, URL "/a"), "b\nc");
	assert_string_equal(curl(&bench, "-H 'Accept: application/json' " URL), "{\"a\":{\"b\":\"text\",\"c\":1}}");
	assert_string_equal(curl(&bench, "--http1.0 " URL "/a/b"), "text");
	assert_string_equal(curl(&bench, "-o /dev/null -w '%{http_code}' " URL "/d"), "404");
	assert_string_equal(curl(&bench, "-o /dev/null -w '%{http_code}' -X POST -d x=1 " URL), "501");
	assert_int_equal(counters->connections_created.value, 5);
	assert_string_equal(curl(&bench, "-w '%{num_connects} ' " URL "/a/b " URL "/a/b " URL "/a/b"),
			    "text1 text0 text0 ");
	assert_int_equal(counters->connections_created.value, 6);
	assert_int_equal(counters->connections_destroyed.value, 6);
	assert_int_equal(counters->rx_accepted_err.value, 0);
	assert_int_equal(counters->rx_accepted_unusual.value, 0);
	bench_done(&bench);
}

static void curl_gets_a_token(void **state)
{
	struct bench bench;
	char arguments[300];
	const char *token;

	(void)state;
	bench_init(&bench, "{\"a\":\"text\"}");
	guest_configure(&bench.guest, SQUIB_MMDS_V2, false);
	assert_string_equal(curl(&bench, "-o /dev/null -w '%{http_code}' " URL "/a"), "401");
	token = curl(&bench, "-X PUT -H 'X-metadata-token-ttl-seconds: 60' " URL "/latest/api/token");
	assert_int_equal(strlen(token), 48);
	snprintf(arguments, sizeof(arguments), "-H 'X-metadata-token: %s' " URL "/a", token);
	assert_string_equal(curl(&bench, arguments), "text");
	/* With a body that has no bytes, and one that has some */
	curl(&bench, "-X PUT -d '' -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
	     "-o /dev/null -w '%{http_code}' " URL "/latest/api/token");
	assert_string_equal(buf_str(&bench.said), "200");
	curl(&bench, "-T - -H Expect: -H 'X-metadata-token-ttl-seconds: 60' -o /dev/null -w '%{http_code}' " URL
	     "/latest/api/token </dev/null");
	assert_string_equal(buf_str(&bench.said), "200");
	bench_done(&bench);
}

static void large_values_come_whole_on_many_connections(void **state)
{
	static char document[300003], value[300001];
	static const char line[] = "200 300000\n";
	struct bench bench;
	const char *said;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	snprintf(document, sizeof(document), "\"%s\"", value);
	bench_init(&bench, document);
	said = curl(&bench, "--parallel --parallel-immediate --parallel-max 25 '" URL "/#[1-25]' "
		    "-o /dev/null -w '%{http_code} %{size_download}\\n' "
		    "2>/dev/null");	/* a progress meter that is not silent */
	for (int i = 0; i < 25; i++, said += strlen(line))
		assert_memory_equal(said, line, strlen(line));
	assert_string_equal(said, "");
	assert_string_equal(curl(&bench, URL), value);
	assert_true(bench.guest.metrics->mmds.tx_bytes.value > sizeof(value));
	bench_done(&bench);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(curl_reads_values),
		cmocka_unit_test(curl_gets_a_token),
		cmocka_unit_test(large_values_come_whole_on_many_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
