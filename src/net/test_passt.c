/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end against a passt that this program plays itself, so that it does what no real one does,
 * on demand: FAKE_PASST says what. And against the real one, as a user without any privilege.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"
#include "base/file.h"
#include "net/frame_stream.h"
#include "net/passt.h"
#include "net/passt_args.h"

#define NOBODY		65534
#define WAIT_MS		10000
#define HEADER		NET_HEADER_BYTES
#define SLOW_FRAMES	2000

/* ---- the fake ---- */

static void fake_echo(int fd)
{
	static char block[1 << 16];
	ssize_t n;

	while ((n = recv(fd, block, sizeof(block), 0)) > 0)
		if (send(fd, block, (size_t)n, MSG_NOSIGNAL) != n)
			_exit(9);
}

/* Each frame's length and the first byte of it, once the frames do not fit any more */
static void fake_slow(int fd)
{
	static const char ready[4 + FRAME_BYTES_MIN] = { 0, 0, 0, FRAME_BYTES_MIN };
	sigset_t set;
	int signal;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	send(fd, ready, sizeof(ready), MSG_NOSIGNAL);
	sigwait(&set, &signal);
	fake_echo(fd);
}

static int fake(int fd)
{
	static const char nothing[4];
	const char *mode = getenv("FAKE_PASST");

	if (fcntl(fd, F_GETFL) != O_RDWR)	/* blocking: passt waits for the rest of a frame */
		return 8;
	if (strcmp(mode, "echo") == 0) {
		fake_echo(fd);
	} else if (strcmp(mode, "slow") == 0) {
		fake_slow(fd);
	} else if (strcmp(mode, "dies") == 0) {
		fprintf(stderr, "Failed to send 3 bytes to syslog\nExternal interface not usable\n"
				"Failed to send 30 bytes to syslog\n");
		return 1;
	} else if (strcmp(mode, "garbage") == 0) {
		send(fd, nothing, sizeof(nothing), MSG_NOSIGNAL);
		pause();
	} else if (strcmp(mode, "closes") == 0) {
		close(fd);
		pause();
	}
	return 0;
}

/* ---- the bench ---- */

struct bench {
	struct net_backend *backend;
	struct loop *loop;
	struct log *log;
	char log_path[64];
	int changes;
	int fds_before;
	pid_t pid;		/* the last passt */
};

static void changed(struct net_backend *backend)
{
	struct bench *bench = backend->owner;

	assert_ptr_equal(backend, bench->backend);
	bench->changes++;
}

static int count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

/* A process that waits for a parent's care, which is us: the only one there is */
static pid_t child(void)
{
	char path[64], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/children", (long)syscall(SYS_gettid));
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	if (fgets(text, sizeof(text), file) == NULL)
		text[0] = '\0';
	fclose(file);
	return (pid_t)atoi(text);
}

static int setup(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct squib_logger config = { .level = SQUIB_LOG_DEBUG, .log_path = bench->log_path };
	struct fault fault = FAULT_INIT;
	int fd;

	bench->fds_before = count_fds();
	assert_int_equal(loop_new(&bench->loop), 0);
	assert_int_equal(log_new("passt", &bench->log), 0);
	strcpy(bench->log_path, "/tmp/test_passt.XXXXXX");
	fd = mkstemp(bench->log_path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(log_configure(bench->log, &config, &fault), 0);
	*state = bench;
	return 0;
}

static int teardown(void **state)
{
	struct bench *bench = *state;

	net_backend_free(bench->backend);
	loop_free(bench->loop);
	log_free(bench->log);
	unlink(bench->log_path);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_int_equal(count_fds(), bench->fds_before);
	free(bench);
	return 0;
}

static void start(struct bench *bench, const char *mode)
{
	struct passt_params params = { .name = "eth0", .program = "/proc/self/exe", .loop = bench->loop,
				       .log = bench->log };
	struct fault fault = FAULT_INIT;

	setenv("FAKE_PASST", mode, 1);
	assert_int_equal(passt_backend_new(&params, &bench->backend, &fault), 0);
	assert_true(bench->backend->fd >= 0);
	assert_int_equal(bench->backend->features, 0);
	bench->backend->owner = bench;
	bench->backend->changed = changed;
	bench->pid = child();
	assert_true(bench->pid > 0);
}

static void run_until_changed(struct bench *bench)
{
	int before = bench->changes;

	while (bench->changes == before)
		assert_int_equal(loop_run_once(bench->loop, -1), 0);
}

static char *log_text(struct bench *bench)
{
	struct buf text = BUF_INIT;

	assert_int_equal(file_read(bench->log_path, &text), 0);
	return buf_take(&text);
}

static void assert_logged(struct bench *bench, const char *text, bool wanted)
{
	char *log = log_text(bench);

	if ((strstr(log, text) != NULL) != wanted)
		fail_msg("%s in the log: %s\n%s", wanted ? "not" : "is", text, log);
	free(log);
}

static ssize_t send_bytes(struct bench *bench, const void *frame, size_t len)
{
	uint8_t header[HEADER] = { 0 };
	const struct iovec segments[] = { { header, sizeof(header) }, { (void *)frame, len } };

	return bench->backend->ops->send(bench->backend, segments, 2);
}

/* The next frame, which is waited for; less than 0: none will come. */
static ssize_t receive_bytes(struct bench *bench, void *frame, size_t len)
{
	uint8_t header[HEADER];
	const struct iovec segments[] = { { header, sizeof(header) }, { frame, len } };

	for (;;) {
		struct pollfd fds[] = { { .fd = bench->backend->fd, .events = POLLIN },
					{ .fd = loop_fd(bench->loop), .events = POLLIN } };
		ssize_t r = bench->backend->ops->receive(bench->backend, segments, 2);

		if (r != -EAGAIN)
			return r < 0 ? r : r - (ssize_t)HEADER;
		if (poll(fds, 2, WAIT_MS) == 0)
			return -ETIMEDOUT;
		if (fds[1].revents != 0)
			loop_run_once(bench->loop, 0);
	}
}

static void assert_down(struct bench *bench)
{
	uint8_t frame[60] = { 0 };

	assert_int_equal(bench->backend->fd, -1);
	assert_int_equal(send_bytes(bench, frame, sizeof(frame)), -EIO);
	assert_int_equal(receive_bytes(bench, frame, sizeof(frame)), -EIO);
	assert_int_equal(kill(bench->pid, 0), -1);
	assert_int_equal(errno, ESRCH);
}

static void assert_echo(struct bench *bench, uint8_t seed)
{
	uint8_t frame[60], got[60];

	memset(frame, seed, sizeof(frame));
	assert_int_equal(send_bytes(bench, frame, sizeof(frame)), HEADER + sizeof(frame));
	assert_int_equal(receive_bytes(bench, got, sizeof(got)), sizeof(got));
	assert_memory_equal(frame, got, sizeof(frame));
}

/* ---- against the fake ---- */

static void frames_go_both_ways(void **state)
{
	struct bench *bench = *state;

	start(bench, "echo");
	for (int i = 0; i < 100; i++)
		assert_echo(bench, (uint8_t)i);
	assert_int_equal(bench->backend->ops->set_features(bench->backend, 0), 0);
	assert_int_equal(bench->backend->ops->revive(bench->backend), 0);	/* nothing to do */
	assert_int_equal(bench->changes, 0);
	assert_int_equal(child(), bench->pid);
	assert_echo(bench, 100);
}

static void a_death_is_logged_with_its_reason(void **state)
{
	struct bench *bench = *state;

	start(bench, "dies");
	run_until_changed(bench);
	assert_down(bench);
	assert_int_equal(bench->changes, 1);
	assert_logged(bench, "passt has ended (exit code 1): network interface eth0 is down until it "
		      "is updated. Its last words: External interface not usable\n", true);
	assert_logged(bench, "syslog", false);
}

static void a_kill_is_logged_with_its_signal(void **state)
{
	struct bench *bench = *state;

	start(bench, "echo");
	assert_echo(bench, 1);
	kill(bench->pid, SIGTERM);
	run_until_changed(bench);
	assert_down(bench);
	assert_logged(bench, "passt has ended (signal 15)", true);
	assert_logged(bench, "Its last words: none", true);
}

static void one_that_sends_nonsense_is_ended(void **state)
{
	struct bench *bench = *state;
	uint8_t frame[100];

	start(bench, "garbage");
	assert_int_equal(receive_bytes(bench, frame, sizeof(frame)), -EIO);
	assert_int_equal(bench->changes, 1);
	assert_down(bench);
	assert_int_equal(bench->changes, 1);
	assert_logged(bench, "passt has sent what is no frame (signal 9)", true);
}

static void one_that_closes_its_socket_is_ended(void **state)
{
	struct bench *bench = *state;

	start(bench, "closes");
	run_until_changed(bench);	/* nobody sends or receives */
	assert_down(bench);
	assert_logged(bench, "passt has ended (signal 9)", true);
}

static void sending_to_one_that_closed_ends_it(void **state)
{
	struct bench *bench = *state;
	uint8_t frame[60] = { 0 };

	start(bench, "closes");
	while (send_bytes(bench, frame, sizeof(frame)) != -EIO)
		poll(NULL, 0, 1);
	assert_int_equal(bench->changes, 1);
	assert_down(bench);
}

static void another_is_started_when_asked_for(void **state)
{
	struct bench *bench = *state;
	pid_t first;

	start(bench, "dies");
	first = bench->pid;
	for (int i = 0; i < 3; i++) {
		run_until_changed(bench);
		assert_down(bench);
		assert_int_equal(bench->changes, 2 * i + 1);
		setenv("FAKE_PASST", i < 2 ? "dies" : "echo", 1);
		assert_int_equal(bench->backend->ops->revive(bench->backend), 0);
		assert_int_equal(bench->changes, 2 * i + 2);
		assert_true(bench->backend->fd >= 0);
		bench->pid = child();
		assert_int_not_equal(bench->pid, first);
	}
	assert_echo(bench, 1);
}

/* A frame of which a part has left is completed; others are lost whole while there is no room. */
static void a_slow_one_gets_whole_frames(void **state)
{
	struct bench *bench = *state;
	static uint8_t frame[FRAME_BYTES_MAX], got[FRAME_BYTES_MAX];
	static uint8_t sent[SLOW_FRAMES];
	int count = 0, lost = 0;

	start(bench, "slow");
	assert_int_equal(receive_bytes(bench, got, sizeof(got)), FRAME_BYTES_MIN);
	for (int i = 0; i < SLOW_FRAMES; i++) {
		size_t len = i % 4 == 3 ? sizeof(frame) : 20000;
		ssize_t r;

		memset(frame, i, len);
		r = send_bytes(bench, frame, len);
		assert_true(r == -EAGAIN || r == (ssize_t)(HEADER + len));
		if (r > 0)
			sent[count++] = (uint8_t)i;
		else
			lost++;
	}
	assert_true(count > 0 && lost > 0);
	kill(bench->pid, SIGUSR1);
	for (int i = 0; i < count; i++) {
		size_t len = sent[i] % 4 == 3 ? sizeof(frame) : 20000;

		memset(frame, sent[i], len);
		assert_int_equal(receive_bytes(bench, got, sizeof(got)), len);
		assert_memory_equal(got, frame, len);
	}
	assert_echo(bench, 77);
}

static void a_program_that_cannot_run_is_a_fault(void **state)
{
	struct bench *bench = *state;
	struct passt_params params = { .name = "eth0", .program = "/nonexistent/passt",
				       .loop = bench->loop, .log = bench->log };
	struct fault fault = FAULT_INIT;

	assert_int_equal(passt_backend_new(&params, &bench->backend, &fault), -ENOENT);
	assert_null(bench->backend);
	assert_string_equal(fault_text(&fault),
			    "Cannot run passt: No such file or directory (os error 2)");
	fault_done(&fault);
}

/* Killed, we cannot end anything; it ends all the same. */
static void it_does_not_outlive_us(void **state)
{
	struct bench *bench = *state;
	struct pollfd ended = { .events = POLLIN };
	int p[2], status;
	pid_t us, passt = 0;

	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	us = fork();
	if (us == 0) {
		start(bench, "echo");
		assert_echo(bench, 1);
		if (write(p[1], &bench->pid, sizeof(bench->pid)) > 0)
			pause();
		_exit(1);
	}
	close(p[1]);
	assert_int_equal(read(p[0], &passt, sizeof(passt)), sizeof(passt));
	close(p[0]);
	ended.fd = (int)syscall(SYS_pidfd_open, passt, 0);
	assert_true(ended.fd >= 0);
	assert_int_equal(poll(&ended, 1, 0), 0);
	kill(us, SIGKILL);
	assert_int_equal(poll(&ended, 1, WAIT_MS), 1);
	close(ended.fd);
	assert_int_equal(waitpid(us, &status, 0), us);
	assert_int_equal(waitpid(passt, &status, 0), passt);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* ---- the command line and the ports ---- */

static void the_command_line_says_it_all(void **state)
{
	static const struct passt_port ports[] = {
		{ PASST_TCP, "127.0.0.1", 8080, 80 },
		{ PASST_UDP, "::1", 65535, 53 },
	};
	struct passt_params params = { .name = "eth0", .program = "/usr/bin/passt", .ports = ports,
				       .port_count = ARRAY_SIZE(ports), .mtu = 9000 };
	static const char *const want[] = {
		"/usr/bin/passt", "--foreground", "--quiet", "--fd", "7", "--mtu", "9000",
		"--tcp-ports", "127.0.0.1/8080:80", "--udp-ports", "::1/65535:53", NULL,
	};
	char **args = passt_args_new(&params, 7);

	(void)state;
	for (size_t i = 0; want[i] != NULL; i++)
		assert_string_equal(args[i], want[i]);
	assert_null(args[ARRAY_SIZE(want) - 1]);
	passt_args_free(args);

	params.mtu = 65535;	/* a frame of passt's has no more than that with its header */
	args = passt_args_new(&params, 3);
	assert_string_equal(args[6], "65521");
	passt_args_free(args);

	params.mtu = params.port_count = 0;
	args = passt_args_new(&params, 3);
	assert_string_equal(args[4], "3");
	assert_null(args[5]);
	passt_args_free(args);
	passt_args_free(NULL);
}

static int listen_on(int family, int type, const char *address, uint16_t *ret_port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr *any = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t len = family == AF_INET ? sizeof(v4) : sizeof(v6);
	int fd = socket(family, type | SOCK_CLOEXEC, 0);

	inet_pton(family, address, family == AF_INET ? (void *)&v4.sin_addr : &v6.sin6_addr);
	if (fd < 0 || bind(fd, any, len) < 0 || (type == SOCK_STREAM && listen(fd, 1) < 0)) {
		fd_close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, any, &len), 0);
	*ret_port = ntohs(family == AF_INET ? v4.sin_port : v6.sin6_port);
	return fd;
}

static void a_port_that_is_taken_is_a_fault(void **state)
{
	static const struct { int family, type; const char *address, *name; } cases[] = {
		{ AF_INET, SOCK_STREAM, "127.0.0.1", "TCP" },
		{ AF_INET, SOCK_DGRAM, "127.0.0.1", "UDP" },
		{ AF_INET, SOCK_STREAM, "0.0.0.0", "TCP" },
		{ AF_INET6, SOCK_STREAM, "::1", "TCP" },
	};
	struct fault fault = FAULT_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct passt_port ports[2] = { { PASST_TCP, "127.0.0.1", 0, 1 },
					       { .host_address = cases[i].address } };
		int fd = listen_on(cases[i].family, cases[i].type, cases[i].address,
				   &ports[1].host_port);
		char want[200];

		if (fd < 0)
			continue;	/* no IPv6 here */
		ports[1].protocol = cases[i].type == SOCK_STREAM ? PASST_TCP : PASST_UDP;
		snprintf(want, sizeof(want), "Cannot forward %s port %u of %s: Address in use "
			 "(os error 98)", cases[i].name, ports[1].host_port, cases[i].address);
		assert_int_equal(passt_check_ports(ports, 2, &fault), -EADDRINUSE);
		assert_string_equal(fault_text(&fault), want);
		close(fd);
		assert_int_equal(passt_check_ports(ports, 2, &fault), 0);
		ports[0] = ports[1];
		ports[1].host_address = "::1";
		snprintf(want, sizeof(want), "Cannot forward %s port %u of ::1: passt can listen on a "
			 "port at one address only", cases[i].name, ports[1].host_port);
		assert_int_equal(passt_check_ports(ports, 2, &fault), -EINVAL);
		assert_string_equal(fault_text(&fault), want);
	}
	assert_int_equal(passt_check_ports(NULL, 0, &fault), 0);
	fault_done(&fault);
}

static void a_missing_passt_is_named(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	char *path = strdup(getenv("PATH")), *program = NULL;

	(void)state;
	setenv("PATH", "/nonexistent", 1);
	if (access("/usr/bin/passt", X_OK) == 0) {
		assert_int_equal(passt_find(&program, &fault), 0);
		assert_string_equal(program, "/usr/bin/passt");
		free(program);
	} else {
		assert_int_equal(passt_find(&program, &fault), -ENOENT);
		assert_string_equal(fault_text(&fault), "passt, which --network userspace needs, is "
				    "not installed (Debian package: passt)");
	}
	setenv("PATH", path, 1);
	free(path);
}

/* ---- against the real one ---- */

#define ETHERNET 14
#define IPV4	 20
#define UDP	 8
#define BOOTP	 240	/* with the cookie */

static const uint8_t guest_mac[6] = { 0x06, 0x00, 0x5e, 0x00, 0x53, 0x01 };

static void put16(uint8_t *at, unsigned int value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static unsigned int get16(const uint8_t *at)
{
	return (unsigned int)at[0] << 8 | at[1];
}

static uint16_t ip_checksum(const uint8_t *header)
{
	unsigned int sum = 0;

	for (int i = 0; i < IPV4; i += 2)
		sum += get16(header + i);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~(sum + (sum >> 16));
}

static size_t dhcp_discover(uint8_t *frame)
{
	static const uint8_t cookie[] = { 0x63, 0x82, 0x53, 0x63 }, options[] = { 53, 1, 1, 255 };
	uint8_t *ip = frame + ETHERNET, *udp = ip + IPV4, *bootp = udp + UDP;
	size_t len = UDP + BOOTP + sizeof(options);

	memset(frame, 0, ETHERNET + IPV4 + len);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, guest_mac, 6);
	put16(frame + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, (unsigned int)(IPV4 + len));
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	memset(ip + 16, 0xff, 4);
	put16(ip + 10, ip_checksum(ip));
	put16(udp, 68);
	put16(udp + 2, 67);
	put16(udp + 4, (unsigned int)len);
	bootp[0] = 1;		/* request */
	bootp[1] = 1;		/* Ethernet */
	bootp[2] = 6;
	put16(bootp + 4, 0x1234);
	put16(bootp + 10, 0x8000);
	memcpy(bootp + 28, guest_mac, 6);
	memcpy(bootp + 236, cookie, sizeof(cookie));
	memcpy(bootp + BOOTP, options, sizeof(options));
	return ETHERNET + IPV4 + len;
}

/* A DHCP option of a frame; NULL: it has none */
static const uint8_t *dhcp_option(const uint8_t *frame, size_t len, uint8_t wanted)
{
	const uint8_t *at = frame + ETHERNET + IPV4 + UDP + BOOTP, *end = frame + len;

	while (at + 1 < end && at[0] != 255 && at + 2 + at[1] <= end) {
		if (at[0] == wanted)
			return at + 2;
		at += 2 + at[1];
	}
	return NULL;
}

static bool is_dhcp_offer(const uint8_t *frame, size_t len)
{
	const uint8_t *type;

	if (len < ETHERNET + IPV4 + UDP + BOOTP || get16(frame + 12) != 0x0800 ||
	    frame[ETHERNET + 9] != IPPROTO_UDP || get16(frame + ETHERNET + IPV4) != 67)
		return false;
	type = dhcp_option(frame, len, 53);
	return type != NULL && *type == 2;
}

static size_t arp_request(uint8_t *frame, const uint8_t *sender, const uint8_t *target)
{
	static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(frame, 0, 60);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, guest_mac, 6);
	put16(frame + 12, 0x0806);
	memcpy(frame + 14, head, sizeof(head));
	memcpy(frame + 22, guest_mac, 6);
	memcpy(frame + 28, sender, 4);
	memcpy(frame + 38, target, 4);
	return 60;
}

static bool is_arp_reply(const uint8_t *frame, size_t len)
{
	return len >= 42 && get16(frame + 12) == 0x0806 && get16(frame + 20) == 2;
}

static bool is_connection(const uint8_t *frame, size_t len)
{
	const uint8_t *tcp = frame + ETHERNET + IPV4;

	return len >= ETHERNET + IPV4 + 20 && get16(frame + 12) == 0x0800 &&
	       frame[ETHERNET + 9] == IPPROTO_TCP && get16(tcp + 2) == 80 && (tcp[13] & 0x02) != 0;
}

/* Frames until one of a kind; its length, or negative when none comes */
static ssize_t expect(struct bench *bench, uint8_t *frame,
		      bool (*is_wanted)(const uint8_t *frame, size_t len))
{
	ssize_t len;

	do {
		len = receive_bytes(bench, frame, FRAME_BYTES_MAX);
	} while (len >= 0 && !is_wanted(frame, (size_t)len));
	return len;
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

enum { REAL_OK, REAL_BROKEN, REAL_UNUSABLE };

/* What a guest does first, by hand */
static int talk_to_passt(struct bench *bench, const char *program, uint16_t port)
{
	static uint8_t frame[FRAME_BYTES_MAX], offer[FRAME_BYTES_MAX];
	const struct passt_port forward = { PASST_TCP, "127.0.0.1", port, 80 };
	struct passt_params params = { .name = "eth0", .program = program, .ports = &forward,
				       .port_count = 1, .mtu = 1400, .loop = bench->loop, .log = bench->log };
	struct fault fault = FAULT_INIT;
	const uint8_t *router, *mtu;
	ssize_t len;
	int client;

	if (passt_backend_new(&params, &bench->backend, &fault) < 0)
		return REAL_BROKEN;
	bench->backend->owner = bench;
	bench->backend->changed = changed;
	send_bytes(bench, frame, dhcp_discover(frame));
	len = expect(bench, offer, is_dhcp_offer);
	if (len < 0)
		return len == -EIO ? REAL_UNUSABLE : REAL_BROKEN;
	router = dhcp_option(offer, (size_t)len, 3);
	mtu = dhcp_option(offer, (size_t)len, 26);
	if (router == NULL || mtu == NULL || get16(mtu) != 1400)
		return REAL_BROKEN;
	send_bytes(bench, frame, arp_request(frame, offer + ETHERNET + IPV4 + UDP + 16, router));
	if (expect(bench, frame, is_arp_reply) < 0)
		return REAL_BROKEN;
	client = connect_to(port);
	if (client < 0 || expect(bench, frame, is_connection) < 0)
		return REAL_BROKEN;
	close(client);
	net_backend_free(bench->backend);
	bench->backend = NULL;
	return bench->changes == 0 && child() == 0 ? REAL_OK : REAL_BROKEN;
}

static void the_real_one_serves(struct bench *bench, uid_t user)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	char *program, *log;
	uint16_t port;
	int status;
	pid_t pid;

	if (passt_find(&program, &fault) < 0) {
		print_message("%s\n", fault_text(&fault));
		skip();
	}
	close(listen_on(AF_INET, SOCK_STREAM, "127.0.0.1", &port));
	pid = fork();
	if (pid == 0) {
		if (getuid() == 0 && user != 0 &&
		    (setgroups(0, NULL) < 0 || setgid(user) < 0 || setuid(user) < 0))
			_exit(REAL_BROKEN);
		_exit(talk_to_passt(bench, program, port));
	}
	free(program);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	log = log_text(bench);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != REAL_OK)
		print_message("status %#x\n%s", status, log);
	free(log);
	if (WIFEXITED(status) && WEXITSTATUS(status) == REAL_UNUSABLE)
		skip();		/* no route, or no user namespaces: it has said so */
	assert_int_equal(status, 0);
}

static void the_real_one_serves_as_nobody(void **state)
{
	the_real_one_serves(*state, NOBODY);
}

static void the_real_one_serves_as_root(void **state)
{
	if (getuid() != 0)
		skip();
	the_real_one_serves(*state, 0);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(frames_go_both_ways),
		TEST(a_death_is_logged_with_its_reason),
		TEST(a_kill_is_logged_with_its_signal),
		TEST(one_that_sends_nonsense_is_ended),
		TEST(one_that_closes_its_socket_is_ended),
		TEST(sending_to_one_that_closed_ends_it),
		TEST(another_is_started_when_asked_for),
		TEST(a_slow_one_gets_whole_frames),
		TEST(a_program_that_cannot_run_is_a_fault),
		TEST(it_does_not_outlive_us),
		cmocka_unit_test(the_command_line_says_it_all),
		cmocka_unit_test(a_port_that_is_taken_is_a_fault),
		cmocka_unit_test(a_missing_passt_is_named),
		TEST(the_real_one_serves_as_nobody),
		TEST(the_real_one_serves_as_root),
	};

	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], "--fd") == 0)
			_exit(fake(atoi(argv[i + 1])));	/* the sanitizers would fork at exit */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
