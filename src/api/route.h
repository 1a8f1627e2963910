/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a request line to what it asks for: the routing table of contract 1.5 and its fault texts
 * (1.6). Pure: no state, no allocation but for faults.
 */
#ifndef SQUIB_API_ROUTE_H
#define SQUIB_API_ROUTE_H

#include <squib/action.h>

#include "base/fault.h"
#include "base/metrics.h"
#include "http/request.h"

/* What a GET request reads from the mirror. */
enum resource {
	RESOURCE_INSTANCE_INFO,
	RESOURCE_VERSION,
	RESOURCE_VM_CONFIG,
	RESOURCE_MACHINE_CONFIG,
	RESOURCE_BALLOON,
	RESOURCE_MMDS,
	RESOURCE_MEMORY_HOTPLUG,
	RESOURCE_MIRROR_COUNT,		/* the above are rendered by the controller */
	RESOURCE_OPENAPI = RESOURCE_MIRROR_COUNT,
};

enum route_kind {
	ROUTE_READ,		/* resource is set */
	ROUTE_ACTION,		/* type is set */
};

struct route {
	enum route_kind kind;
	enum resource resource;
	enum squib_action_type type;	/* PUT /actions: SQUIB_INSTANCE_START until its body is decoded */
	const char *id;			/* path id: points into the request; NULL when there is none */
	size_t id_len;
	struct metric_count *count;			/* request counters, or NULL */
	struct metric_count *fails;
};

/**
 * route_request() - find out what a request asks for
 * @metrics: its request counters are put into the route and counted up
 *
 * The path id is checked for syntax. The body is not looked at, except whether there is one.
 *
 * Return: 0, or -EINVAL with the client's text in @fault.
 */
int route_request(const struct http_request *request, bool openapi, struct metrics *metrics,
		  struct route *ret_route, struct fault *fault);

#endif
