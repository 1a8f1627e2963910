/* SPDX-License-Identifier: Apache-2.0 */
#include "net/test_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"

const char *link_namespace(void)
{
	CLEANUP(fd_close) int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return "/dev/net/tun cannot be opened";
	if (unshare(CLONE_NEWNET) < 0)
		return "a network namespace takes root";
	return NULL;
}

static void request(const char *name, unsigned long number, struct ifreq *request)
{
	CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strncpy(request->ifr_name, name, sizeof(request->ifr_name) - 1);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, number, request), 0);
}

static void silence_ipv6(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)	/* else there is no IPv6 */
		assert_int_equal(write(fd, "1", 1), 1);
}

void link_set(const char *name, bool up)
{
	struct ifreq flags = { 0 };

	if (up)
		silence_ipv6(name);
	request(name, SIOCGIFFLAGS, &flags);
	flags.ifr_flags = (short)(up ? flags.ifr_flags | IFF_UP : flags.ifr_flags & ~IFF_UP);
	request(name, SIOCSIFFLAGS, &flags);
}

static int index_of(const char *name)
{
	struct ifreq index = { 0 };

	request(name, SIOCGIFINDEX, &index);
	return index.ifr_ifindex;
}

void link_delete(const char *name)
{
	CLEANUP(fd_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} message = {
		.header = { .nlmsg_len = sizeof(message), .nlmsg_type = RTM_DELLINK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.info = { .ifi_index = index_of(name) },
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		uint8_t more[128];
	} answer;

	assert_int_equal(send(fd, &message, sizeof(message), 0), sizeof(message));
	assert_true(recv(fd, &answer, sizeof(answer), 0) > 0);
	assert_int_equal(answer.header.nlmsg_type, NLMSG_ERROR);
	assert_int_equal(answer.error.error, 0);
}

int link_socket(const char *name)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET,
				       .sll_protocol = htons(TEST_ETHERTYPE),
				       .sll_ifindex = index_of(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(TEST_ETHERTYPE));

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}
