/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A path is cut into tokens at '/'; the method and the first token pick an entry of a table, which
 * says where further tokens lead and whether a body must, may or must not be there. Tokens beyond
 * those used are ignored, as upstream does.
 */
#include "api/route.h"

#include <errno.h>
#include <string.h>

#include "config/decode.h"

struct token {
	const char *s;
	size_t len;
};

/* The first three tokens; missing ones are empty with s == NULL, an empty one ("//") has s set. */
struct path {
	struct token token[3];
};

static struct path path_split(const char *uri, size_t len)
{
	struct path path = { 0 };
	const char *p = uri, *end = uri + len;

	while (p < end && *p == '/')
		p++;
	for (size_t i = 0; i < ARRAY_SIZE(path.token) && p < end; i++) {
		const char *slash = memchr(p, '/', (size_t)(end - p));

		path.token[i] = (struct token){ p, (size_t)((slash ? slash : end) - p) };
		p = slash ? slash + 1 : end;
	}
	return path;
}

static bool token_is(struct token token, const char *word)
{
	return token.s != NULL && token.len == strlen(word) && memcmp(token.s, word, token.len) == 0;
}

/* ‹upstream's text›, then squib's (contract 1.6) */
static int fault_no_resource(struct fault *fault, const struct http_request *request,
			     struct token what)
{
	return fault_set(fault, -EINVAL,
			 "Invalid request method and/or path: %s %.*s. No such resource: %.*s",
			 http_method_name(request->method), (int)what.len, what.s ? what.s : "",
			 (int)request->uri_len, request->uri);
}

static int fault_unrecognized(struct fault *fault, const struct http_request *request,
			      const char *prefix, struct token what)
{
	return fault_set(fault, -EINVAL, "Unrecognized %s request path `%s%.*s`.",
			 http_method_name(request->method), prefix, (int)what.len, what.s ? what.s : "");
}

static int route_id(struct token token, struct route *route, struct fault *fault)
{
	if (token.len == 0)
		return fault_set(fault, -EINVAL, "The ID cannot be empty.");
	if (!config_id_is_valid(token.s, token.len))
		return fault_set(fault, -EINVAL, "API Resource IDs can only contain alphanumeric "
				 "characters and underscores.");
	route->id = token.s;
	route->id_len = token.len;
	return 0;
}

/* What is done with the tokens behind the first. */
enum entry_kind {
	ENTRY_PLAIN,		/* ignored */
	ENTRY_ID,		/* the second is an id */
	ENTRY_BALLOON,		/* by the second and third */
	ENTRY_MMDS,		/* none: data; "config"; else an error */
	ENTRY_SNAPSHOT,		/* "create", "load"; else an error */
	ENTRY_MEMORY,		/* only "memory" */
	ENTRY_CONFIG,		/* only "config" */
};

struct entry {
	const char *word;
	enum entry_kind kind;
	enum squib_action_type type;		/* PUT, PATCH, DELETE */
	enum resource resource;			/* GET */
	/* The request counters, as members of struct metrics. */
	size_t count, fails;
};

#define COUNTS(group, name) \
	.count = offsetof(struct metrics, group.name##_count), \
	.fails = offsetof(struct metrics, group.name##_fails)
#define READS(name) .count = offsetof(struct metrics, get_api_requests.name##_count)

static const struct entry get_entries[] = {
	{ "balloon", ENTRY_BALLOON, .resource = RESOURCE_BALLOON },
	{ "version", ENTRY_PLAIN, .resource = RESOURCE_VERSION, READS(vmm_version) },
	{ "vm", ENTRY_CONFIG, .resource = RESOURCE_VM_CONFIG },
	{ "machine-config", ENTRY_PLAIN, .resource = RESOURCE_MACHINE_CONFIG, READS(machine_cfg) },
	{ "mmds", ENTRY_PLAIN, .resource = RESOURCE_MMDS, READS(mmds) },
	{ "hotplug", ENTRY_MEMORY, .resource = RESOURCE_MEMORY_HOTPLUG, READS(hotplug_memory) },
	{ "openapi.json", ENTRY_PLAIN, .resource = RESOURCE_OPENAPI },
	{ 0 },
};

static const struct entry put_entries[] = {
	{ "actions", ENTRY_PLAIN, SQUIB_INSTANCE_START, COUNTS(put_api_requests, actions) },
	{ "balloon", ENTRY_PLAIN, SQUIB_PUT_BALLOON },
	{ "boot-source", ENTRY_PLAIN, SQUIB_PUT_BOOT_SOURCE, COUNTS(put_api_requests, boot_source) },
	{ "cpu-config", ENTRY_PLAIN, SQUIB_PUT_CPU_CONFIG, COUNTS(put_api_requests, cpu_cfg) },
	{ "drives", ENTRY_ID, SQUIB_PUT_DRIVE, COUNTS(put_api_requests, drive) },
	{ "entropy", ENTRY_PLAIN, SQUIB_PUT_ENTROPY },
	{ "hotplug", ENTRY_MEMORY, SQUIB_PUT_MEMORY_HOTPLUG,
	  COUNTS(put_api_requests, hotplug_memory) },
	{ "logger", ENTRY_PLAIN, SQUIB_PUT_LOGGER, COUNTS(put_api_requests, logger) },
	{ "machine-config", ENTRY_PLAIN, SQUIB_PUT_MACHINE_CONFIG,
	  COUNTS(put_api_requests, machine_cfg) },
	{ "metrics", ENTRY_PLAIN, SQUIB_PUT_METRICS, COUNTS(put_api_requests, metrics) },
	{ "mmds", ENTRY_MMDS, SQUIB_PUT_MMDS, COUNTS(put_api_requests, mmds) },
	{ "network-interfaces", ENTRY_ID, SQUIB_PUT_NETWORK_INTERFACE,
	  COUNTS(put_api_requests, network) },
	{ "pmem", ENTRY_ID, SQUIB_PUT_PMEM, COUNTS(put_api_requests, pmem) },
	{ "serial", ENTRY_PLAIN, SQUIB_PUT_SERIAL, COUNTS(put_api_requests, serial) },
	{ "snapshot", ENTRY_SNAPSHOT, SQUIB_SNAPSHOT_CREATE },
	{ "vsock", ENTRY_PLAIN, SQUIB_PUT_VSOCK, COUNTS(put_api_requests, vsock) },
	{ 0 },
};

static const struct entry patch_entries[] = {
	{ "balloon", ENTRY_BALLOON, SQUIB_PATCH_BALLOON },
	{ "drives", ENTRY_ID, SQUIB_PATCH_DRIVE, COUNTS(patch_api_requests, drive) },
	{ "hotplug", ENTRY_MEMORY, SQUIB_PATCH_MEMORY_HOTPLUG,
	  COUNTS(patch_api_requests, hotplug_memory) },
	{ "machine-config", ENTRY_PLAIN, SQUIB_PATCH_MACHINE_CONFIG,
	  COUNTS(patch_api_requests, machine_cfg) },
	{ "mmds", ENTRY_PLAIN, SQUIB_PATCH_MMDS, COUNTS(patch_api_requests, mmds) },
	{ "network-interfaces", ENTRY_ID, SQUIB_PATCH_NETWORK_INTERFACE,
	  COUNTS(patch_api_requests, network) },
	{ "pmem", ENTRY_ID, SQUIB_PATCH_PMEM, COUNTS(patch_api_requests, pmem) },
	{ "vm", ENTRY_PLAIN, SQUIB_PATCH_VM },
	{ 0 },
};

static const struct entry delete_entries[] = {
	{ "drives", ENTRY_ID, SQUIB_DELETE_DRIVE },
	{ "network-interfaces", ENTRY_ID, SQUIB_DELETE_NETWORK_INTERFACE },
	{ "pmem", ENTRY_ID, SQUIB_DELETE_PMEM },
	{ 0 },
};

static const struct entry *entry_find(const struct entry *entries, struct token token)
{
	for (; entries->word != NULL; entries++)
		if (token_is(token, entries->word))
			return entries;
	return NULL;
}

static int route_hinting(const struct http_request *request, struct token op,
			 struct route *route, struct fault *fault)
{
	if (request->method == HTTP_GET) {
		if (!token_is(op, "status"))
			return fault_unrecognized(fault, request, "/hinting/", op);
		route->kind = ROUTE_ACTION;
		route->type = SQUIB_GET_BALLOON_HINTING_STATUS;
	} else if (token_is(op, "start")) {
		route->type = SQUIB_BALLOON_HINTING_START;
	} else if (token_is(op, "stop")) {
		route->type = SQUIB_BALLOON_HINTING_STOP;
	} else if (token_is(op, "status")) {
		route->type = SQUIB_BALLOON_HINTING_STATUS_PATCH;
	} else {
		return fault_unrecognized(fault, request, "/hinting/", op);
	}
	return 0;
}

static int route_get_balloon(const struct http_request *request, const struct path *path,
			     struct route *route, struct fault *fault)
{
	if (path->token[1].s == NULL)
		return 0;
	if (token_is(path->token[1], "hinting"))
		return route_hinting(request, path->token[2], route, fault);
	if (!token_is(path->token[1], "statistics"))
		return fault_unrecognized(fault, request, "", path->token[1]);
	route->kind = ROUTE_ACTION;
	route->type = SQUIB_GET_BALLOON_STATISTICS;
	return 0;
}

static int route_patch_balloon(const struct http_request *request, const struct path *path,
			       struct route *route, struct fault *fault)
{
	if (token_is(path->token[1], "hinting"))
		return route_hinting(request, path->token[2], route, fault);
	if (request->body_len == 0)
		return fault_set(fault, -EINVAL, "Empty PATCH request.");
	if (token_is(path->token[1], "statistics"))
		route->type = SQUIB_PATCH_BALLOON_STATISTICS;
	return 0;
}

static int route_snapshot(const struct http_request *request, const struct path *path,
			  struct route *route, struct fault *fault)
{
	struct token op = path->token[1];

	if (op.s == NULL)
		return fault_set(fault, -EINVAL, "Missing snapshot operation type.");
	if (token_is(op, "create"))
		route->type = SQUIB_SNAPSHOT_CREATE;
	else if (token_is(op, "load"))
		route->type = SQUIB_SNAPSHOT_LOAD;
	else	/* upstream names the whole path here */
		return fault_set(fault, -EINVAL, "Invalid request method and/or path: "
				 "PUT /snapshot/%.*s. No such resource: %.*s", (int)op.len, op.s,
				 (int)request->uri_len, request->uri);
	return 0;
}

static int route_tokens(const struct http_request *request, const struct entry *entry,
			const struct path *path, struct route *route, struct fault *fault)
{
	struct token second = path->token[1];

	switch (entry->kind) {
	case ENTRY_PLAIN:
		return 0;
	case ENTRY_ID:
		return route_id(second, route, fault);
	case ENTRY_BALLOON:
		if (request->method == HTTP_GET)
			return route_get_balloon(request, path, route, fault);
		return route_patch_balloon(request, path, route, fault);
	case ENTRY_MMDS:
		if (token_is(second, "config"))
			route->type = SQUIB_PUT_MMDS_CONFIG;
		else if (second.s != NULL)
			return fault_unrecognized(fault, request, "", second);
		return 0;
	case ENTRY_SNAPSHOT:
		return route_snapshot(request, path, route, fault);
	case ENTRY_MEMORY:
		if (!token_is(second, "memory"))
			return fault_no_resource(fault, request, path->token[0]);
		return 0;
	case ENTRY_CONFIG:
		if (!token_is(second, "config"))
			return fault_no_resource(fault, request, path->token[0]);
		return 0;
	}
	return 0;
}

static struct metric_count *metric_at(struct metrics *metrics, size_t offset)
{
	return offset == 0 ? NULL : (struct metric_count *)((char *)metrics + offset);
}

/* The entry a method and body lead to; NULL with a fault. GET / has none and is handled before. */
static const struct entry *route_entry(const struct http_request *request, struct token first,
				       struct fault *fault)
{
	bool body = request->body_len > 0;
	const struct entry *entry = NULL;
	const char *wrong_body = NULL;

	switch (request->method) {
	case HTTP_GET:
		entry = entry_find(get_entries, first);
		if (body)
			wrong_body = "GET request cannot have a body.";
		break;
	case HTTP_PUT:
		entry = entry_find(put_entries, first);
		if (!body)
			wrong_body = "Empty PUT request.";
		break;
	case HTTP_PATCH:
		entry = entry_find(patch_entries, first);
		/* the balloon's operations decide themselves whether they need a body */
		if (!body && !(entry != NULL && entry->kind == ENTRY_BALLOON))
			wrong_body = "Empty PATCH request.";
		break;
	case HTTP_DELETE:
		entry = entry_find(delete_entries, first);
		if (body)
			wrong_body = "Empty Delete request.";	/* sic */
		break;
	}
	if (wrong_body != NULL) {
		fault_set(fault, -EINVAL, "%s", wrong_body);
		return NULL;
	}
	if (entry == NULL)
		fault_no_resource(fault, request, first);
	return entry;
}

int route_request(const struct http_request *request, bool openapi, struct metrics *metrics,
		  struct route *ret_route, struct fault *fault)
{
	struct path path = path_split(request->uri, request->uri_len);
	const struct entry *entry;
	struct route route = { 0 };
	int r;

	if (request->method == HTTP_GET && request->body_len == 0 && path.token[0].s == NULL) {
		route.resource = RESOURCE_INSTANCE_INFO;
		route.count = &metrics->get_api_requests.instance_info_count;
		metrics_inc(route.count);
		*ret_route = route;
		return 0;
	}
	entry = route_entry(request, path.token[0], fault);
	if (entry == NULL)
		return -EINVAL;
	if (entry->resource == RESOURCE_OPENAPI && !openapi)
		return fault_no_resource(fault, request, path.token[0]);
	route.kind = request->method == HTTP_GET ? ROUTE_READ : ROUTE_ACTION;
	route.resource = entry->resource;
	route.type = entry->type;
	route.count = metric_at(metrics, entry->count);
	route.fails = metric_at(metrics, entry->fails);
	if (route.count != NULL)
		metrics_inc(route.count);
	r = route_tokens(request, entry, &path, &route, fault);
	if (r < 0) {
		if (route.fails != NULL)
			metrics_inc(route.fails);
		return r;
	}
	*ret_route = route;
	return 0;
}
