/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's init: says "@ready", and then does what lines on its console say, each as it comes, and
 * says "@done". What fails is told, and ends the machine.
 *
 *	nothing
 *	read BYTES COUNT DEPTH, write ...	COUNT requests of BYTES to /dev/vda, past the page cache,
 *						one after the other, DEPTH at once
 *	send NET BYTES, receive NET BYTES	on a connection to the peer; NET: tcp or vsock
 *	echo NET COUNT				a byte to the peer and back
 *	connect NET COUNT			a connection, a byte on it, and its end
 */
#include "device_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define DISK	    "/dev/vda"
#define PAGE_BYTES  4096
#define BUFFER_BYTES (4 << 20)
#define DEPTH_MAX   64
#define SPAN_BYTES  (32 << 20)	/* of the disk that is used */

static char buffer[BUFFER_BYTES] __attribute__((aligned(PAGE_BYTES)));

static void die(const char *what)
{
	printf("\n@failed: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	reboot(RB_AUTOBOOT);
	exit(1);
}

static void must(bool good, const char *what)
{
	if (!good)
		die(what);
}

/* --- the disk */

static void transfer(const char *what, long bytes, long count, long depth)
{
	int fd = open(DISK, O_RDWR | O_DIRECT);
	struct io_event events[DEPTH_MAX];
	struct iocb blocks[DEPTH_MAX], *pointers[DEPTH_MAX];
	aio_context_t context = 0;

	must(fd >= 0, DISK);
	must(depth <= DEPTH_MAX && bytes * depth <= BUFFER_BYTES, what);
	must(syscall(SYS_io_setup, DEPTH_MAX, &context) == 0, "io_setup");
	for (long done = 0; done < count; done += depth) {
		for (long i = 0; i < depth; i++) {
			blocks[i] = (struct iocb){
				.aio_lio_opcode = *what == 'r' ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
				.aio_fildes = (uint32_t)fd,
				.aio_buf = (uintptr_t)(buffer + i * bytes),
				.aio_nbytes = (uint64_t)bytes,
				/* Not one after the other, or the driver would merge them. */
				.aio_offset = (done + i) * 2 * bytes % SPAN_BYTES,
			};
			pointers[i] = &blocks[i];
		}
		must(syscall(SYS_io_submit, context, depth, pointers) == depth, "io_submit");
		must(syscall(SYS_io_getevents, context, depth, depth, events, NULL) == depth,
		     "io_getevents");
		for (long i = 0; i < depth; i++)
			must(events[i].res == bytes, what);
	}
	syscall(SYS_io_destroy, context);
	close(fd);
}

/* --- connections */

static int connect_to_peer(const char *net)
{
	struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_port = htons(PEER_PORT) };
	struct sockaddr_vm vsock = { .svm_family = AF_VSOCK, .svm_port = PEER_PORT,
				     .svm_cid = VMADDR_CID_HOST };
	bool is_tcp = strcmp(net, "tcp") == 0;
	int fd = socket(is_tcp ? AF_INET : AF_VSOCK, SOCK_STREAM, 0), on = 1;

	must(fd >= 0, "socket");
	inet_pton(AF_INET, PEER_ADDRESS, &tcp.sin_addr);
	if (is_tcp)
		must(connect(fd, (struct sockaddr *)&tcp, sizeof(tcp)) == 0, "connect");
	else
		must(connect(fd, (struct sockaddr *)&vsock, sizeof(vsock)) == 0, "connect");
	if (is_tcp)
		must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "TCP_NODELAY");
	return fd;
}

static int ask_peer(const char *net, char what, long bytes)
{
	struct peer_request request = { .what = what, .bytes = (uint64_t)bytes };
	int fd = connect_to_peer(net);

	must(write(fd, &request, sizeof(request)) == sizeof(request), "request");
	return fd;
}

static void take_byte(int fd)
{
	must(read(fd, buffer, 1) == 1, "read");
}

static void send_bytes(const char *net, long bytes)
{
	int fd = ask_peer(net, PEER_TAKE, bytes);

	while (bytes > 0) {
		long n = write(fd, buffer, bytes < PEER_CHUNK_BYTES ? (size_t)bytes : PEER_CHUNK_BYTES);

		must(n > 0, "write");
		bytes -= n;
	}
	take_byte(fd);
	close(fd);
}

static void receive_bytes(const char *net, long bytes)
{
	int fd = ask_peer(net, PEER_GIVE, bytes);

	while (bytes > 0) {
		long n = read(fd, buffer, PEER_CHUNK_BYTES);

		must(n > 0, "read");
		bytes -= n;
	}
	close(fd);
}

static void echo(const char *net, long count)
{
	int fd = ask_peer(net, PEER_ECHO, 0);

	for (long i = 0; i < count; i++) {
		must(write(fd, buffer, 1) == 1, "write");
		take_byte(fd);
	}
	close(fd);
}

static void connect_often(const char *net, long count)
{
	for (long i = 0; i < count; i++) {
		int fd = ask_peer(net, PEER_TAKE, 0);

		take_byte(fd);
		close(fd);
	}
}

/* --- the machine */

/* The address is in the same place of each request. */
static void configure(int fd, unsigned long request, const char *address)
{
	struct ifreq ifreq = { .ifr_name = "eth0" };
	struct sockaddr_in in = { .sin_family = AF_INET };

	inet_pton(AF_INET, address, &in.sin_addr);
	memcpy(&ifreq.ifr_addr, &in, sizeof(in));
	must(ioctl(fd, request, &ifreq) == 0, "eth0");
}

static void set_up_network(void)
{
	struct ifreq ifreq = { .ifr_name = "eth0" };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (ioctl(fd, SIOCGIFFLAGS, &ifreq) == 0) {
		configure(fd, SIOCSIFADDR, GUEST_ADDRESS);
		configure(fd, SIOCSIFNETMASK, "255.255.255.0");
		ifreq.ifr_flags |= IFF_UP;
		must(ioctl(fd, SIOCSIFFLAGS, &ifreq) == 0, "eth0");
	}
	close(fd);
}

static void set_up(void)
{
	struct termios termios;

	mkdir("/dev", 0755);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	must(tcgetattr(STDIN_FILENO, &termios) == 0, "console");
	termios.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(STDIN_FILENO, TCSANOW, &termios);
	set_up_network();
	memset(buffer, 0x5a, sizeof(buffer));
}

static void obey(const char *line)
{
	char what[16] = "", net[16] = "";
	long numbers[3] = { 0 };

	if (sscanf(line, "%15s %ld %ld %ld", what, &numbers[0], &numbers[1], &numbers[2]) == 4)
		transfer(what, numbers[0], numbers[1], numbers[2]);
	else if (sscanf(line, "%15s %15s %ld", what, net, &numbers[0]) != 3)
		must(strcmp(what, "nothing") == 0, line);
	else if (strcmp(what, "send") == 0)
		send_bytes(net, numbers[0]);
	else if (strcmp(what, "receive") == 0)
		receive_bytes(net, numbers[0]);
	else if (strcmp(what, "echo") == 0)
		echo(net, numbers[0]);
	else
		connect_often(net, numbers[0]);
}

int main(void)
{
	char line[128];

	set_up();
	puts("@ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		obey(line);
		puts("@done");
		fflush(stdout);
	}
	die("console");
}
