/* SPDX-License-Identifier: Apache-2.0 */
/* Network interfaces of --network userspace: a passt each. */
#ifndef SQUIB_VMM_USERSPACE_H
#define SQUIB_VMM_USERSPACE_H

#include <stdbool.h>

#include "vmm/vmm.h"

struct net_backend;

/**
 * userspace_check() - is passt there? Whether it can run shows only when it does
 *
 * 0, or -errno with a whole text in @fault (contract 2.8).
 */
int userspace_check(struct fault *fault);

/**
 * userspace_open() - start the passt of an interface
 * @first:	it is the machine's first, which the host's ports lead to
 *
 * 0, or -errno with the reason in @fault.
 */
int userspace_open(const struct vmm_params *params, const struct squib_network_interface *interface,
		   bool first, struct net_backend **ret_backend, struct fault *fault);

#endif
