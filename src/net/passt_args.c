/* SPDX-License-Identifier: Apache-2.0 */
#include "net/passt_args.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/buf.h"
#include "net/ethernet.h"
#include "net/frame_stream.h"

#define FIXED_ARGS 7	/* the program's name too */
#define MTU_MAX	   (FRAME_BYTES_MAX - ETHERNET_HEADER_BYTES)	/* of what the wire takes */

struct args {
	char **argv;		/* of the final size, the rest NULL */
	size_t count;
	bool broken;
};

static void add(struct args *args, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void add(struct args *args, const char *fmt, ...)
{
	struct buf text = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	args->argv[args->count] = buf_take(&text);
	args->broken = args->broken || args->argv[args->count] == NULL;
	args->count++;
}

/* "tcp 127.0.0.1:8080 to the guest's 80" is "--tcp-ports 127.0.0.1/8080:80" */
static void add_port(struct args *args, const struct passt_port *port)
{
	add(args, "%s", port->protocol == PASST_TCP ? "--tcp-ports" : "--udp-ports");
	add(args, "%s/%u:%u", port->host_address, port->host_port, port->guest_port);
}

char **passt_args_new(const struct passt_params *params, int fd)
{
	struct args args = { .argv = calloc(FIXED_ARGS + 2 * params->port_count + 1,
					    sizeof(*args.argv)) };

	if (args.argv == NULL)
		return NULL;
	add(&args, "%s", params->program);
	add(&args, "--foreground");
	add(&args, "--quiet");
	add(&args, "--fd");
	add(&args, "%d", fd);
	if (params->mtu != 0) {
		add(&args, "--mtu");
		add(&args, "%u", params->mtu < MTU_MAX ? params->mtu : MTU_MAX);
	}
	for (size_t i = 0; i < params->port_count; i++)
		add_port(&args, &params->ports[i]);
	if (args.broken) {
		for (size_t i = 0; i < args.count; i++)
			free(args.argv[i]);
		free(args.argv);
		return NULL;
	}
	return args.argv;
}

void passt_args_free(char **args)
{
	if (args == NULL)
		return;
	for (char **arg = args; *arg != NULL; arg++)
		free(*arg);
	free(args);
}
