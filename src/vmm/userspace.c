/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/userspace.h"

#include <stdlib.h>

#include "net/passt.h"

int userspace_check(struct fault *fault)
{
	char *program = NULL;
	int r = passt_find(&program, fault);

	free(program);
	if (r < 0)
		fault_prefix(fault, "Network config error: Could not create the network device: ");
	return r;
}

int userspace_open(const struct vmm_params *params, const struct squib_network_interface *interface,
		   bool first, struct net_backend **ret_backend, struct fault *fault)
{
	struct passt_params passt = {
		.name = interface->iface_id,
		.ports = params->ports,
		.port_count = first ? params->port_count : 0,
		.mtu = interface->has_mtu ? interface->mtu : 0,
		.loop = params->loop,
		.log = params->log,
	};
	char *program = NULL;
	int r = passt_find(&program, fault);

	if (r == 0)
		r = passt_check_ports(passt.ports, passt.port_count, fault);
	passt.program = program;
	if (r == 0)
		r = passt_backend_new(&passt, ret_backend, fault);
	free(program);
	return r;
}
