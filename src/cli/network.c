/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/network.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "config/decode.h"

static enum vmm_network decide_kind(const struct squib_args *args, const char *in_file)
{
	bool userspace = args->network_given ? args->network == ARGS_NETWORK_USERSPACE :
					       in_file != NULL && strcmp(in_file, "userspace") == 0;

	return userspace ? VMM_NETWORK_USERSPACE : VMM_NETWORK_TAP;
}

static int take_ports(struct network *network, const struct config_file *file)
{
	struct passt_port *ports = arena_alloc(network->arena, (file->port_count + 1) *
					       sizeof(*ports));

	if (ports == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < file->port_count; i++) {
		const struct config_port *port = &file->ports[i];

		ports[i] = (struct passt_port){
			.protocol = port->protocol == CONFIG_PORT_TCP ? PASST_TCP : PASST_UDP,
			.host_address = port->host_address,
			.host_port = port->host_port,
			.guest_port = port->guest_port,
		};
	}
	network->ports = ports;
	network->port_count = file->port_count;
	return 0;
}

int network_decide(const struct squib_args *args, const char *json, size_t len,
		   struct network *network)
{
	struct config_file file = { 0 };
	int r;

	*network = (struct network){ .kind = decide_kind(args, NULL) };
	if (json == NULL)
		return 0;
	network->arena = arena_new();
	if (network->arena == NULL)
		return -ENOMEM;
	r = config_file_decode(json, len, args->arch, network->arena, &file, NULL);
	if (r < 0)
		return r == -EINVAL ? 0 : r;
	network->kind = decide_kind(args, file.network);
	if (file.port_count > 0 && network->kind != VMM_NETWORK_USERSPACE)
		network->warning = "The configuration file's ports have no effect: they are for "
				   "--network userspace.";
	return take_ports(network, &file);
}

void network_done(struct network *network)
{
	arena_unref(network->arena);
	network->arena = NULL;
}
