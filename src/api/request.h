/* SPDX-License-Identifier: Apache-2.0 */
/* From a whole HTTP request to something that can be answered or submitted. */
#ifndef SQUIB_API_REQUEST_H
#define SQUIB_API_REQUEST_H

#include "api/controller_internal.h"

/**
 * request_decode() - route a request and decode its body
 * @ret_route: what is asked for; ROUTE_READ needs no more
 * @ret_action: for ROUTE_ACTION, to be submitted; the caller owns the reference
 *
 * Order of checks as contract 1.6: id syntax, JSON, id match. Counts and logs as 1.8 and 8.2 say.
 *
 * Return: 0; -EINVAL with the client's fault (400); -ENOMEM.
 */
int request_decode(struct squib_controller *controller, const struct http_request *request,
		   bool openapi, struct route *ret_route, struct squib_action **ret_action,
		   struct fault *fault);

/**
 * request_log_outcome() - the line that says how a request ended (contract 1.8)
 * @fault: with errors; may be NULL
 */
void request_log_outcome(struct squib_controller *controller, int status, const char *fault,
			 size_t fault_len);

#endif
