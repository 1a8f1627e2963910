/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmds/mmds_internal.h"

int endpoint_new(const struct tcp_segment *syn, uint32_t iss, uint64_t now_ns,
		 struct endpoint **ret_endpoint)
{
	struct endpoint *endpoint;
	struct tcp_connection tcp;
	int r = tcp_open(&tcp, syn, iss, MMDS_REQUEST_BYTES_MAX);

	if (r < 0)
		return r;
	endpoint = malloc(sizeof(*endpoint));
	if (endpoint == NULL)
		return -ENOMEM;
	memset(endpoint, 0, offsetof(struct endpoint, data));
	endpoint->tcp = tcp;
	endpoint->port = syn->source_port;
	endpoint->heard_ns = now_ns;
	*ret_endpoint = endpoint;
	return 0;
}

void endpoint_free(struct endpoint *endpoint)
{
	if (endpoint == NULL)
		return;
	mmds_answer_done(&endpoint->answer);
	free(endpoint);
}

static void drop_received(struct endpoint *endpoint, size_t len)
{
	endpoint->received -= (uint32_t)len;
	memmove(endpoint->data, endpoint->data + len, endpoint->received);
}

static void skip_received(struct endpoint *endpoint)
{
	uint32_t len = endpoint->skip < endpoint->received ? endpoint->skip : endpoint->received;

	endpoint->skip -= len;
	drop_received(endpoint, len);
}

static bool is_at_end(const struct endpoint *endpoint)
{
	return endpoint->tcp.state == TCP_CLOSE_WAIT;
}

/* Return: 1 when there is an answer to send, 0 when there is none yet, or -ENOMEM. */
static int answer_next(struct endpoint *endpoint, struct mmds *mmds, uint64_t now_ns)
{
	uint32_t skip;
	size_t used;
	int r;

	r = mmds_answer_request(mmds, endpoint->data, endpoint->received, is_at_end(endpoint),
				now_ns, &endpoint->answer, &used, &skip);
	if (r <= 0)
		return r;
	drop_received(endpoint, used);
	endpoint->skip = skip;		/* nothing is left of the last, else nothing was received */
	skip_received(endpoint);
	endpoint->answering = true;
	endpoint->answer_place = endpoint->tcp.end;
	tcp_queue(&endpoint->tcp, mmds_answer_len(&endpoint->answer), now_ns);
	return 1;
}

/* After something came: is an answer through, is a request whole? */
static enum endpoint_fate proceed(struct endpoint *endpoint, struct mmds *mmds, uint64_t now_ns)
{
	int r;

	if (endpoint->tcp.closing)
		return ENDPOINT_GOES_ON;
	if (endpoint->answering && !tcp_is_drained(&endpoint->tcp))
		return ENDPOINT_GOES_ON;
	mmds_answer_done(&endpoint->answer);
	endpoint->answering = false;
	r = answer_next(endpoint, mmds, now_ns);
	if (r < 0) {
		metrics_inc(&mmds->counters->tx_errors);
		return ENDPOINT_RESET;
	}
	if (r == 0 && endpoint->received == sizeof(endpoint->data))
		return ENDPOINT_RESET;		/* too long a request */
	if (r == 0 && is_at_end(endpoint))
		tcp_close(&endpoint->tcp);
	return ENDPOINT_GOES_ON;
}

enum endpoint_fate endpoint_receive(struct endpoint *endpoint, struct mmds *mmds,
				    const struct tcp_segment *segment, uint64_t now_ns)
{
	enum endpoint_fate fate;
	enum tcp_verdict verdict;
	const uint8_t *data;
	size_t len;

	endpoint->heard_ns = now_ns;
	verdict = tcp_receive(&endpoint->tcp, segment, now_ns, &data, &len);
	if (verdict == TCP_UNUSUAL || verdict == TCP_REFUSED ||
	    (verdict == TCP_GONE && (segment->flags & TCP_RST)))
		metrics_inc(&mmds->counters->rx_accepted_unusual);
	if (verdict == TCP_REFUSED)
		return ENDPOINT_REFUSED;
	if (verdict == TCP_GONE)
		return ENDPOINT_GONE;
	if (len > 0)		/* the window is the room there is */
		memcpy(endpoint->data + endpoint->received, data, len);
	endpoint->received += (uint32_t)len;
	skip_received(endpoint);
	fate = proceed(endpoint, mmds, now_ns);
	tcp_set_window(&endpoint->tcp, (uint32_t)sizeof(endpoint->data) - endpoint->received);
	return fate;
}

int endpoint_send(struct endpoint *endpoint, uint64_t now_ns, struct tcp_segment *ret_segment,
		  uint8_t *payload)
{
	uint64_t place;
	int r;

	if (mmds_answer_is_void(&endpoint->answer))
		return -ESTALE;
	r = tcp_send(&endpoint->tcp, now_ns, ret_segment, &place);
	if (r > 0 && ret_segment->payload_len > 0)
		mmds_answer_copy(&endpoint->answer, place - endpoint->answer_place, payload,
				 ret_segment->payload_len);
	return r;
}

uint64_t endpoint_due_ns(const struct endpoint *endpoint)
{
	return mmds_answer_is_void(&endpoint->answer) ? 0 : tcp_due_ns(&endpoint->tcp);
}
