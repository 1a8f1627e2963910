/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of the guest's: what came of a request that is not whole, and the answer that is on
 * its way. One request at a time: the next is looked at when the guest has acknowledged the answer.
 */
#ifndef SQUIB_MMDS_ENDPOINT_H
#define SQUIB_MMDS_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mmds/answer.h"
#include "net/tcp_connection.h"

struct endpoint {
	struct tcp_connection tcp;
	uint8_t ip[4];			/* the guest's end */
	uint16_t port;
	uint64_t heard_ns;		/* when its last segment came */
	struct mmds_answer answer;
	uint64_t answer_place;		/* in the stream */
	bool answering;
	uint32_t skip;			/* bytes to drop when they come */
	uint32_t received;		/* bytes in data */
	char data[MMDS_REQUEST_BYTES_MAX];
};

/** endpoint_new() - for a SYN. Return: 0, -EBADMSG: it is none that we answer; -ENOMEM */
int endpoint_new(const struct tcp_segment *syn, uint32_t iss, uint64_t now_ns,
		 struct endpoint **ret_endpoint);
void endpoint_free(struct endpoint *endpoint);	/* accepts NULL */

enum endpoint_fate {
	ENDPOINT_GOES_ON,
	ENDPOINT_RESET,		/* we give it up: send its RST, free it */
	ENDPOINT_REFUSED,	/* the same, but RST is the answer to the segment */
	ENDPOINT_GONE,		/* free it */
};

/** endpoint_receive() - take a segment; @mmds counts what is wrong with it */
enum endpoint_fate endpoint_receive(struct endpoint *endpoint, struct mmds *mmds,
				    const struct tcp_segment *segment, uint64_t now_ns);

/**
 * endpoint_send() - the next segment
 * @payload: room for TCP_MSS_MAX bytes; its payload is copied there
 *
 * Return: as tcp_send(), or -ESTALE: its answer is void, reset it.
 */
int endpoint_send(struct endpoint *endpoint, uint64_t now_ns, struct tcp_segment *ret_segment,
		  uint8_t *payload);

/** endpoint_due_ns() - as tcp_due_ns(), for endpoint_send() */
uint64_t endpoint_due_ns(const struct endpoint *endpoint);

#endif
