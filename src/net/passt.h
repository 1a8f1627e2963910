/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network without root or tap: passt (https://passt.top) is run as a process per interface. It plays
 * the network by sockets of its own user, and configures the guest by DHCP, DHCPv6 and NDP.
 */
#ifndef SQUIB_NET_PASST_H
#define SQUIB_NET_PASST_H

#include <stddef.h>
#include <stdint.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/loop.h"
#include "net/backend.h"

enum passt_protocol { PASST_TCP, PASST_UDP };

/* What comes to a port of the host goes to one of the guest. */
struct passt_port {
	enum passt_protocol protocol;
	const char *host_address;	/* IPv4 or IPv6; checked */
	uint16_t host_port;
	uint16_t guest_port;
};

struct passt_params {
	const char *name;		/* the interface's, for the log; copied */
	const char *program;		/* its path; copied */
	const struct passt_port *ports;
	size_t port_count;
	uint16_t mtu;			/* told to the guest by DHCP, up to 65521; 0: passt's own, 65520 */
	struct loop *loop;
	struct log *log;
	/* Ports, loop and log must outlive the back end. */
};

/**
 * passt_find() - the path of passt, to be freed: in PATH, else where Debian puts it
 *
 * Return: 0, or -ENOENT with a @fault that names the package.
 */
int passt_find(char **ret_program, struct fault *fault);

/**
 * passt_check_ports() - can the host's ports be had?
 *
 * passt ends when it cannot have one, but later, when nobody waits for the answer.
 *
 * Return: 0, or -errno with a @fault that names the first that cannot.
 */
int passt_check_ports(const struct passt_port *ports, size_t count, struct fault *fault);

/**
 * passt_backend_new() - start passt, and be its wire
 *
 * It ends with us, however we end. When it ends before, this is logged, with its last words, and the
 * back end's descriptor becomes -1; revive() starts another.
 *
 * Return: 0, or -errno with a @fault.
 */
int passt_backend_new(const struct passt_params *params, struct net_backend **ret_backend,
		      struct fault *fault);

#endif
