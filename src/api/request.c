/* SPDX-License-Identifier: Apache-2.0 */
#include "api/request.h"

#include <errno.h>
#include <string.h>

#include "base/metrics.h"
#include "config/decode.h"
#include "json/debug_text.h"

static const char *const method_words[] = {
	[HTTP_GET] = "Get",
	[HTTP_PUT] = "Put",
	[HTTP_PATCH] = "Patch",
	[HTTP_DELETE] = "Delete",
};

/* Metadata must not be in the log, by whatever spelling of the path it came. */
static bool is_mmds(const char *uri, size_t len)
{
	while (len > 0 && *uri == '/') {
		uri++;
		len--;
	}
	return len >= 4 && memcmp(uri, "mmds", 4) == 0 && (len == 4 || uri[4] == '/');
}

static bool uri_is(const struct http_request *request, const char *uri)
{
	return request->uri_len == strlen(uri) && memcmp(request->uri, uri, request->uri_len) == 0;
}

/*
 * "/mmds/config" is shown upstream; its body holds no metadata. Of all the other paths below /mmds
 * none is.
 */
static bool body_is_shown(const struct http_request *request)
{
	return uri_is(request, "/mmds/config") || !is_mmds(request->uri, request->uri_len);
}

/* Text for "%.*s", between quotes of its own or of the log line's. */
struct quoted_text {
	const char *s;
	int len;
	const char *quote;
};

static bool is_plain(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\')
			return false;
	return true;
}

/* The URI as it is logged. Nothing is allocated for a plain one, as every valid one is. */
static struct quoted_text uri_text(const struct http_request *request, struct buf *buf)
{
	if (is_plain(request->uri, request->uri_len))
		return (struct quoted_text){ request->uri, (int)request->uri_len, "\"" };
	debug_text_add(buf, request->uri, request->uri_len);
	return (struct quoted_text){ buf->data, (int)buf->len, "" };
}

static void add_body_text(struct buf *buf, const struct http_request *request)
{
	static const char no_text[] = "inconvertible to UTF-8";
	const char *s = request->body, *end = s + request->body_len;
	unsigned int code_point;

	while (s < end) {
		size_t len = utf8_decode(s, (size_t)(end - s), &code_point);

		if (len == 0) {
			debug_text_add(buf, no_text, sizeof(no_text) - 1);
			return;
		}
		s += len;
	}
	debug_text_add(buf, request->body, request->body_len);
}

static void log_request(struct squib_controller *c, const struct http_request *request)
{
	CLEANUP(buf_done) struct buf body = BUF_INIT;
	CLEANUP(buf_done) struct buf escaped = BUF_INIT;
	const char *word = method_words[request->method];
	struct quoted_text uri;

	if (!controller_logs(c, SQUIB_LOG_INFO))
		return;
	uri = uri_text(request, &escaped);
	if (request->body_len == 0 || !body_is_shown(request)) {
		api_log(c, INFO, "The API server received a %s request on %s%.*s%s.", word,
			uri.quote, uri.len, uri.s, uri.quote);
		return;
	}
	add_body_text(&body, request);
	if (buf_str(&body) == NULL)
		return;
	if (uri_is(request, "/cpu-config")) {
		api_log(c, INFO, "The API server received a %s request on \"/cpu-config\". To view "
			"the CPU template received by the API, configure log-level to DEBUG.", word);
		api_log(c, DEBUG, "The API server received a %s request on \"/cpu-config\" with "
			"body %s.", word, body.data);
		return;
	}
	api_log(c, INFO, "The API server received a %s request on %s%.*s%s with body %s.", word,
		uri.quote, uri.len, uri.s, uri.quote, body.data);
}

void request_log_outcome(struct squib_controller *c, int status, const char *fault,
			 size_t fault_len)
{
	if (fault == NULL)
		fault_len = 0;
	switch (status) {
	case 200:
		api_log(c, INFO, "The request was executed successfully. Status code: 200 OK.");
		break;
	case 204:
		api_log(c, INFO, "The request was executed successfully. Status code: 204 No "
			"Content.");
		break;
	case 413:
		api_log(c, ERROR, "Received Error. Status code: 413 Payload too large. Message: "
			"%.*s", (int)fault_len, fault);
		break;
	case 500:
		api_log(c, ERROR, "Received Error. Status code: 500 Internal Server Error. "
			"Message: %.*s", (int)fault_len, fault);
		break;
	case 504:
		api_log(c, ERROR, "Received Error. Status code: 504 Gateway Timeout. Message: "
			"%.*s", (int)fault_len, fault);
		break;
	default:
		api_log(c, ERROR, "Received Error. Status code: 400 Bad Request. Message: %.*s",
			(int)fault_len, fault);
	}
}

/* The id in the body of a request that has one in its path, or NULL. */
static const char *body_id(enum squib_action_type type, const void *config)
{
	switch (type) {
	case SQUIB_PUT_DRIVE:
		return ((const struct squib_drive *)config)->drive_id;
	case SQUIB_PATCH_DRIVE:
		return ((const struct squib_drive_update *)config)->drive_id;
	case SQUIB_PUT_NETWORK_INTERFACE:
		return ((const struct squib_network_interface *)config)->iface_id;
	case SQUIB_PATCH_NETWORK_INTERFACE:
		return ((const struct squib_network_interface_update *)config)->iface_id;
	case SQUIB_PUT_PMEM:
		return ((const struct squib_pmem *)config)->id;
	case SQUIB_PATCH_PMEM:
		return ((const struct squib_pmem_update *)config)->id;
	default:
		return NULL;
	}
}

static int check_id_match(const struct route *route, const void *config, struct fault *fault)
{
	const char *id = body_id(route->type, config);

	if (id == NULL || (strlen(id) == route->id_len && memcmp(id, route->id, route->id_len) == 0))
		return 0;
	if (route->type == SQUIB_PUT_NETWORK_INTERFACE ||
	    route->type == SQUIB_PATCH_NETWORK_INTERFACE)
		return fault_set(fault, -EINVAL, "The id from the path [%.*s] does not match the "
				 "id from the body [%s]!", (int)route->id_len, route->id, id);
	return fault_set(fault, -EINVAL, "The id from the path does not match the id from the body!");
}

static bool is_empty_update(const struct squib_machine_config_update *update)
{
	return update->vcpu_count == NULL && update->mem_size_mib == NULL && update->smt == NULL &&
	       update->cpu_template == NULL && update->track_dirty_pages == NULL &&
	       update->huge_pages == NULL;
}

/* PUT /actions: the body says which action it is. */
static enum squib_action_type action_of(const struct squib_action_info *info)
{
	switch (info->action_type) {
	case SQUIB_ACTION_KIND_FLUSH_METRICS:
		return SQUIB_FLUSH_METRICS;
	case SQUIB_ACTION_KIND_SEND_CTRL_ALT_DEL:
		return SQUIB_SEND_CTRL_ALT_DEL;
	case SQUIB_ACTION_KIND_INSTANCE_START:
		break;
	}
	return SQUIB_INSTANCE_START;
}

static bool has_no_body(enum squib_action_type type)
{
	switch (type) {
	case SQUIB_DELETE_DRIVE:
	case SQUIB_DELETE_NETWORK_INTERFACE:
	case SQUIB_DELETE_PMEM:
	case SQUIB_GET_BALLOON_STATISTICS:
	case SQUIB_GET_BALLOON_HINTING_STATUS:
	case SQUIB_BALLOON_HINTING_STATUS_PATCH:
	case SQUIB_BALLOON_HINTING_STOP:	/* ignored */
		return true;
	default:
		return false;
	}
}

static int decode_body(struct squib_controller *c, const struct http_request *request,
		       struct route *route, struct arena *arena, const void **ret_config,
		       struct fault *fault)
{
	const void *config = NULL;
	int r;

	if (has_no_body(route->type))
		return 0;
	r = config_decode(route->type, controller_options(c)->arch, request->body,
			  request->body_len, arena, &config, fault);
	if (r == -EINVAL)
		return config_fault_to_api(fault);
	if (r < 0)
		return r;
	r = check_id_match(route, config, fault);
	if (r < 0)
		return r;
	if (route->type == SQUIB_PATCH_MACHINE_CONFIG && is_empty_update(config))
		return fault_set(fault, -EINVAL, "Empty PATCH request.");
	if (route->type == SQUIB_INSTANCE_START)
		route->type = action_of(config);
	*ret_config = config;
	return 0;
}

static int decode_action(struct squib_controller *c, const struct http_request *request,
			 struct route *route, struct squib_action **ret_action, struct fault *fault)
{
	CLEANUP(arena_unref) struct arena *arena = arena_new();
	const void *config = NULL;
	const char *deprecation = NULL;
	int r;

	if (arena == NULL)
		return -ENOMEM;
	r = decode_body(c, request, route, arena, &config, fault);
	if (r < 0)
		return r;
	r = action_new(c, route->type, arena, route->id, route->id_len, config, ret_action);
	if (r < 0)
		return r;
	if (config != NULL)
		deprecation = config_deprecation(route->type, config);
	if (deprecation != NULL) {
		(*ret_action)->deprecated = true;
		metrics_inc(&controller_metrics(c)->deprecated_api.deprecated_http_api_calls);
		api_log(c, WARN, "%s", deprecation);
	}
	return 0;
}

int request_decode(struct squib_controller *c, const struct http_request *request, bool openapi,
		   struct route *ret_route, struct squib_action **ret_action, struct fault *fault)
{
	int r;

	log_request(c, request);
	r = route_request(request, openapi, controller_metrics(c), ret_route, fault);
	if (r < 0 || ret_route->kind == ROUTE_READ)
		return r;
	r = decode_action(c, request, ret_route, ret_action, fault);
	if (r < 0 && ret_route->fails != NULL)
		metrics_inc(ret_route->fails);
	return r;
}
