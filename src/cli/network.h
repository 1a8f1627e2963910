/* SPDX-License-Identifier: Apache-2.0 */
/* How network interfaces reach the host: what command line and configuration file say together. */
#ifndef SQUIB_CLI_NETWORK_H
#define SQUIB_CLI_NETWORK_H

#include <stddef.h>

#include "cli/args.h"
#include "net/passt.h"
#include "vmm/vmm.h"

struct arena;

struct network {
	enum vmm_network kind;
	const struct passt_port *ports;
	size_t port_count;
	const char *warning;	/* to be logged; NULL: none */
	struct arena *arena;	/* the ports' */
};

/**
 * network_decide() - the command line's word counts, if it has one; else the file's; else it is tap
 * @json, @len:	the configuration file's content; NULL: there is none. One that is broken says nothing:
 *		its fault is told by who plays it
 * @network:	always filled, and to be emptied by network_done()
 *
 * Return: 0 or -ENOMEM.
 */
int network_decide(const struct squib_args *args, const char *json, size_t len,
		   struct network *network);
void network_done(struct network *network);

#endif
