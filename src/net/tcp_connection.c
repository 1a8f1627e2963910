/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How sending works: next runs from una to the end of the data, or of the window. When no
 * acknowledgement comes for TCP_RETRANSMIT_NS it goes back to una, and all is sent again; three
 * duplicate acknowledgements have the first segment sent again at once. A window that is too
 * small for a whole segment is used only while nothing is on the way, so that a peer with a tiny
 * window does not make tiny segments of everything (RFC 9293, 3.8.6.2.1); a closed one is probed
 * with one byte at each timeout, which counts as a retransmission.
 *
 * What is received is checked as RFC 9293, 3.10.7.4 has it, with RFC 5961's rules for RST and SYN.
 */
#include "net/tcp_connection.h"

#include <assert.h>
#include <errno.h>

#define DUPLICATES_MAX 3	/* RFC 5681, 3.2 */
#define NEVER	       UINT64_MAX

/* Sequence numbers */

static uint32_t seq_of(const struct tcp_connection *tcp, uint64_t place)
{
	return tcp->iss + 1 + (uint32_t)place;
}

/* From @a to @b: positive when b is later. */
static int32_t seq_distance(uint32_t a, uint32_t b)
{
	return (int32_t)(b - a);
}

static bool in_window(const struct tcp_connection *tcp, uint32_t seq)
{
	return seq - tcp->receive_next < tcp->window;
}

/* RFC 9293, 3.10.7.4, the table of acceptable segments. */
static bool is_acceptable(const struct tcp_connection *tcp, const struct tcp_segment *segment)
{
	uint32_t len = tcp_segment_length(segment);

	if (segment->seq == tcp->receive_next)
		return true;	/* with a closed window for its acknowledgement only */
	return in_window(tcp, segment->seq) ||
	       (len > 0 && in_window(tcp, segment->seq + len - 1));
}

/* The timer */

static bool is_outstanding(const struct tcp_connection *tcp)
{
	return tcp->state == TCP_SYN_RECEIVED || tcp->una < tcp->sent;
}

/* There are bytes to send, and the peer takes none. */
static bool is_blocked(const struct tcp_connection *tcp)
{
	return tcp->next < tcp->end && tcp->window_end <= tcp->next;
}

static void start_timer(struct tcp_connection *tcp, uint64_t now_ns)
{
	tcp->timer_ns = is_outstanding(tcp) || is_blocked(tcp) ? now_ns + TCP_RETRANSMIT_NS : NEVER;
}

static void keep_timer(struct tcp_connection *tcp, uint64_t now_ns)
{
	if (tcp->timer_ns == NEVER || !(is_outstanding(tcp) || is_blocked(tcp)))
		start_timer(tcp, now_ns);
}

int tcp_open(struct tcp_connection *tcp, const struct tcp_segment *syn, uint32_t iss,
	     uint32_t window)
{
	uint16_t mss = syn->mss != 0 ? syn->mss : TCP_MSS_DEFAULT;

	if ((syn->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_SYN ||
	    syn->payload_len > 0 || mss < TCP_MSS_MIN)
		return -EBADMSG;
	*tcp = (struct tcp_connection){
		.state = TCP_SYN_RECEIVED,
		.iss = iss,
		.window_end = syn->window,
		.window_seq = syn->seq,
		.mss = mss < TCP_MSS_MAX ? mss : TCP_MSS_MAX,
		.receive_next = syn->seq + 1,
		.window = window,
		.window_max = window,
		.window_told = window,
		.ack_due = true,
		.timer_ns = NEVER,
	};
	return 0;
}

/* Receiving */

static enum tcp_verdict receive_reset(struct tcp_connection *tcp, const struct tcp_segment *segment)
{
	if (segment->seq == tcp->receive_next)
		return TCP_GONE;
	if (in_window(tcp, segment->seq))
		tcp->ack_due = true;	/* a peer that means it will then say so with the right number */
	return TCP_UNUSUAL;
}

static enum tcp_verdict receive_syn(struct tcp_connection *tcp, const struct tcp_segment *segment)
{
	bool again = tcp->state == TCP_SYN_RECEIVED && segment->seq + 1 == tcp->receive_next;

	tcp->ack_due = true;
	return again ? TCP_USUAL : TCP_UNUSUAL;
}

static void take_window(struct tcp_connection *tcp, const struct tcp_segment *segment)
{
	if (seq_distance(tcp->window_seq, segment->seq) < 0)
		return;		/* older than what we know */
	tcp->window_seq = segment->seq;
	tcp->window_end = tcp->una + segment->window;
}

static bool is_duplicate(const struct tcp_connection *tcp, const struct tcp_segment *segment)
{
	return tcp->una < tcp->sent && tcp_segment_length(segment) == 0 &&
	       tcp->una + segment->window == tcp->window_end;
}

/* @acked more than before; all of it was sent. */
static void advance(struct tcp_connection *tcp, uint32_t acked, uint64_t now_ns)
{
	tcp->una += acked;
	if (tcp->next < tcp->una)
		tcp->next = tcp->una;
	tcp->duplicates = 0;
	tcp->resend = false;
	tcp->probe = false;
	start_timer(tcp, now_ns);
}

static enum tcp_verdict receive_ack(struct tcp_connection *tcp, const struct tcp_segment *segment,
				    uint64_t now_ns)
{
	uint32_t acked = segment->ack - seq_of(tcp, tcp->una);
	enum tcp_verdict verdict = TCP_USUAL;

	if (acked > tcp->sent - tcp->una) {
		if (seq_distance(seq_of(tcp, tcp->una), segment->ack) > 0)
			tcp->ack_due = true;	/* of what was never sent */
		return TCP_UNUSUAL;
	}
	tcp->tries = 0;
	if (acked > 0) {
		advance(tcp, acked, now_ns);
	} else if (is_duplicate(tcp, segment)) {
		verdict = TCP_UNUSUAL;
		if (tcp->duplicates < UINT8_MAX && ++tcp->duplicates == DUPLICATES_MAX)
			tcp->resend = true;
	}
	take_window(tcp, segment);
	keep_timer(tcp, now_ns);
	return verdict;
}

static enum tcp_verdict receive_first_ack(struct tcp_connection *tcp,
					  const struct tcp_segment *segment)
{
	/* The timer runs from when our SYN was sent. */
	if (segment->ack != tcp->iss + 1 || tcp->timer_ns == NEVER)
		return TCP_REFUSED;
	tcp->state = TCP_ESTABLISHED;
	tcp->tries = 0;
	tcp->timer_ns = NEVER;
	tcp->ack_due = false;
	tcp->probe = false;
	return TCP_USUAL;
}

static void receive_bytes(struct tcp_connection *tcp, uint32_t len)
{
	tcp->receive_next += len;
	tcp->window -= len;
	tcp->window_told -= len < tcp->window_told ? len : tcp->window_told;
}

static void receive_fin(struct tcp_connection *tcp)
{
	tcp->receive_next++;
	tcp->ack_due = true;
	tcp->state = TCP_CLOSE_WAIT;
}

static enum tcp_verdict receive_payload(struct tcp_connection *tcp,
					const struct tcp_segment *segment,
					const uint8_t **ret_data, size_t *ret_len)
{
	int32_t known = seq_distance(segment->seq, tcp->receive_next);
	size_t len = segment->payload_len;

	if (tcp_segment_length(segment) == 0)
		return TCP_USUAL;
	tcp->ack_due = true;
	if (known < 0 || tcp->state == TCP_CLOSE_WAIT)
		return TCP_UNUSUAL;	/* ahead of a gap, or behind FIN */
	if ((size_t)known <= len) {
		len -= (size_t)known;
		*ret_data = segment->payload + known;
		*ret_len = len < tcp->window ? len : tcp->window;
		receive_bytes(tcp, (uint32_t)*ret_len);
		if (*ret_len == len && (segment->flags & TCP_FIN))
			receive_fin(tcp);
	}
	return known == 0 && *ret_len == len ? TCP_USUAL : TCP_UNUSUAL;
}

static bool is_closed(const struct tcp_connection *tcp)
{
	return tcp->state == TCP_CLOSE_WAIT && tcp->closing && tcp->una == tcp->end + 1;
}

enum tcp_verdict tcp_receive(struct tcp_connection *tcp, const struct tcp_segment *segment,
			     uint64_t now_ns, const uint8_t **ret_data, size_t *ret_len)
{
	enum tcp_verdict verdict, payload;

	*ret_data = NULL;
	*ret_len = 0;
	if (segment->flags & TCP_RST)
		return receive_reset(tcp, segment);
	if (segment->flags & TCP_SYN)
		return receive_syn(tcp, segment);
	if (!is_acceptable(tcp, segment)) {
		tcp->ack_due = true;
		return TCP_UNUSUAL;
	}
	if (!(segment->flags & TCP_ACK))
		return TCP_UNUSUAL;
	if (tcp->state == TCP_SYN_RECEIVED) {
		verdict = receive_first_ack(tcp, segment);
		if (verdict != TCP_USUAL)
			return verdict;
	}
	verdict = receive_ack(tcp, segment, now_ns);
	if (is_closed(tcp))
		return TCP_GONE;
	payload = receive_payload(tcp, segment, ret_data, ret_len);
	return verdict != TCP_USUAL ? verdict : payload;
}

/* RFC 9293, 3.8.6.2.2: a window that opened is told when it is worth it. */
void tcp_set_window(struct tcp_connection *tcp, uint32_t window)
{
	uint32_t worth = tcp->window_max / 2 < TCP_MSS_MAX ? tcp->window_max / 2 : TCP_MSS_MAX;

	tcp->window = window;
	if (window > tcp->window_told && window - tcp->window_told >= worth)
		tcp->ack_due = true;
}

/* Sending */

void tcp_queue(struct tcp_connection *tcp, uint64_t len, uint64_t now_ns)
{
	assert(!tcp->closing);
	tcp->end += len;
	keep_timer(tcp, now_ns);
}

bool tcp_is_drained(const struct tcp_connection *tcp)
{
	return tcp->una >= tcp->end;
}

void tcp_close(struct tcp_connection *tcp)
{
	assert(tcp->state == TCP_CLOSE_WAIT);
	tcp->closing = true;
}

/* How many bytes may go from @place on. */
static uint16_t payload_room(const struct tcp_connection *tcp, uint64_t place)
{
	uint64_t limit = tcp->end < tcp->window_end ? tcp->end : tcp->window_end;

	if (limit <= place)
		return 0;
	return (uint16_t)(limit - place < tcp->mss ? limit - place : tcp->mss);
}

struct plan {
	uint8_t flags;		/* 0: nothing to send */
	uint64_t place;
	uint16_t len;
};

static struct plan plan_data(const struct tcp_connection *tcp)
{
	struct plan plan = { .place = tcp->resend ? tcp->una : tcp->next };

	plan.len = payload_room(tcp, plan.place);
	if (plan.len < tcp->mss && plan.place + plan.len < tcp->end && plan.place > tcp->una)
		plan.len = 0;	/* wait for a better window */
	if (plan.len == 0 && tcp->probe && plan.place == tcp->una && plan.place < tcp->end)
		plan.len = 1;
	if (plan.len > 0)
		plan.flags = TCP_ACK;
	if (plan.len > 0 && plan.place + plan.len == tcp->end)
		plan.flags |= TCP_PSH;
	if (tcp->closing && plan.place + plan.len == tcp->end)
		plan.flags |= TCP_ACK | TCP_FIN;
	return plan;
}

static struct plan plan_segment(const struct tcp_connection *tcp)
{
	struct plan plan = { 0 };

	if (tcp->state == TCP_SYN_RECEIVED) {
		plan.flags = tcp->ack_due ? TCP_SYN | TCP_ACK : 0;
		return plan;
	}
	plan = plan_data(tcp);
	if (plan.flags == 0 && tcp->ack_due)
		plan = (struct plan){ .flags = TCP_ACK, .place = tcp->sent };
	return plan;
}

static bool has_expired(const struct tcp_connection *tcp, uint64_t now_ns)
{
	return tcp->timer_ns <= now_ns;
}

static int expire(struct tcp_connection *tcp, uint64_t now_ns)
{
	if (tcp->tries == TCP_RETRANSMIT_COUNT)
		return -ETIMEDOUT;
	tcp->tries++;
	tcp->next = tcp->una;
	tcp->duplicates = 0;
	tcp->resend = false;
	tcp->probe = true;
	if (tcp->state == TCP_SYN_RECEIVED)
		tcp->ack_due = true;
	start_timer(tcp, now_ns);
	return 0;
}

static void commit(struct tcp_connection *tcp, const struct plan *plan, uint64_t now_ns)
{
	uint64_t after = plan->place + plan->len + ((plan->flags & TCP_FIN) != 0);

	tcp->ack_due = false;
	tcp->window_told = tcp->window;
	if (plan->flags & TCP_SYN) {
		start_timer(tcp, now_ns);
		return;
	}
	if (plan->len == 0 && !(plan->flags & TCP_FIN))
		return;
	if (plan->place == tcp->next)
		tcp->next = after;
	tcp->resend = false;
	tcp->probe = false;
	if (after > tcp->sent)
		tcp->sent = after;
	keep_timer(tcp, now_ns);
}

int tcp_send(struct tcp_connection *tcp, uint64_t now_ns, struct tcp_segment *ret_segment,
	     uint64_t *ret_place)
{
	struct plan plan;

	if (has_expired(tcp, now_ns) && expire(tcp, now_ns) < 0)
		return -ETIMEDOUT;
	plan = plan_segment(tcp);
	if (plan.flags == 0)
		return 0;
	*ret_place = plan.place;
	*ret_segment = (struct tcp_segment){
		.seq = plan.flags & TCP_SYN ? tcp->iss : seq_of(tcp, plan.place),
		.ack = tcp->receive_next,
		.flags = plan.flags,
		.window = (uint16_t)(tcp->window < UINT16_MAX ? tcp->window : UINT16_MAX),
		.mss = plan.flags & TCP_SYN ? TCP_MSS_MAX : 0,
		.payload_len = plan.len,
	};
	commit(tcp, &plan, now_ns);
	return 1;
}

uint64_t tcp_due_ns(const struct tcp_connection *tcp)
{
	return plan_segment(tcp).flags != 0 ? 0 : tcp->timer_ns;
}

/* Resets */

void tcp_make_reset(const struct tcp_connection *tcp, struct tcp_segment *ret_segment)
{
	*ret_segment = (struct tcp_segment){
		.seq = tcp->state == TCP_SYN_RECEIVED ? tcp->iss + 1 : seq_of(tcp, tcp->sent),
		.ack = tcp->receive_next,
		.flags = TCP_RST | TCP_ACK,
	};
}

void tcp_make_refusal(const struct tcp_segment *refused, struct tcp_segment *ret_segment)
{
	if (refused->flags & TCP_ACK)
		*ret_segment = (struct tcp_segment){ .seq = refused->ack, .flags = TCP_RST };
	else
		*ret_segment = (struct tcp_segment){
			.ack = refused->seq + tcp_segment_length(refused),
			.flags = TCP_RST | TCP_ACK,
		};
}
