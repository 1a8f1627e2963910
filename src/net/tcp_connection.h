/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection that the peer opened (RFC 9293), as a state machine over segments: no buffers,
 * no clock, no memory of its own. The owner keeps what was received and what is to be sent, and
 * knows the latter by its place in the stream: the first byte is at 0.
 *
 *	tcp_receive() takes a segment, and gives the bytes that come next.
 *	tcp_queue() says that there is more to send, tcp_close() that there will be no more.
 *	tcp_send() makes the next segment, tcp_due_ns() says when there will be one.
 *
 * The peer sits on the same machine, so segments are seldom lost or reordered, and nothing else
 * uses the wire: there is no congestion control and the retransmission timeout is constant. What
 * arrives ahead of a gap is dropped, and sent again by the peer. Our end closes only after the
 * peer's, so there is no TIME-WAIT.
 */
#ifndef SQUIB_NET_TCP_CONNECTION_H
#define SQUIB_NET_TCP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "net/tcp.h"

#define TCP_MSS_MAX		1460u	/* ours, and the most we send at once */
#define TCP_MSS_DEFAULT		536u	/* RFC 9293 3.7.1, of a peer that names none */
#define TCP_MSS_MIN		100u	/* as upstream: whoever wants less is not served */
#define TCP_RETRANSMIT_NS	(300 * UINT64_C(1000000))
#define TCP_RETRANSMIT_COUNT	15

enum tcp_state {
	TCP_SYN_RECEIVED,	/* our SYN was not acknowledged yet */
	TCP_ESTABLISHED,
	TCP_CLOSE_WAIT,		/* the peer sent FIN, we may still send */
};

enum tcp_verdict {
	TCP_USUAL,
	TCP_UNUSUAL,	/* the segment, or part of it, was not as it should be and was ignored */
	TCP_REFUSED,	/* it cannot belong to this connection: send RST and forget it */
	TCP_GONE,	/* forget it: reset by the peer, or closed by both */
};

/* Places in our stream are 64 bits wide and do not wrap; FIN is at the end. */
struct tcp_connection {
	enum tcp_state state;
	uint32_t iss;		/* of our SYN; the byte at place 0 has the next number */
	uint64_t una;		/* first place that is not acknowledged */
	uint64_t next;		/* next place to send; goes back to una when time ran out */
	uint64_t sent;		/* behind all that was ever sent */
	uint64_t end;		/* behind the bytes there are to send */
	uint64_t window_end;	/* behind what the peer takes */
	uint32_t window_seq;	/* SND.WL1: the segment that said so */
	uint16_t mss;
	uint8_t duplicates;	/* acknowledgements of una in a row */
	uint8_t tries;		/* retransmissions without an answer */

	uint32_t receive_next;	/* RCV.NXT */
	uint32_t window;	/* RCV.WND: room that the owner has */
	uint32_t window_max;	/* the room there was at first */
	uint32_t window_told;	/* what the peer believes it to be */

	bool ack_due;		/* in TCP_SYN_RECEIVED: our SYN */
	bool resend;		/* the first segment again, after duplicates */
	bool probe;		/* one byte though the window is closed */
	bool closing;		/* FIN goes behind the last byte */
	uint64_t timer_ns;	/* when to retransmit; UINT64_MAX: nothing to wait for */
};

/**
 * tcp_open() - answer @syn
 * @iss: initial sequence number, not to be guessed; @window: room for what is received
 *
 * Return: 0, or -EBADMSG: no SYN that we answer.
 */
int tcp_open(struct tcp_connection *tcp, const struct tcp_segment *syn, uint32_t iss,
	     uint32_t window);

/**
 * tcp_receive() - take a segment
 * @ret_data, @ret_len: what of it continues the stream, at most the window, which gets smaller by
 *	it. Part of the segment; @ret_len is 0 if nothing is
 */
enum tcp_verdict tcp_receive(struct tcp_connection *tcp, const struct tcp_segment *segment,
			     uint64_t now_ns, const uint8_t **ret_data, size_t *ret_len);

/** tcp_set_window() - room for what is received, after the owner used some up */
void tcp_set_window(struct tcp_connection *tcp, uint32_t window);

/** tcp_queue() - @len more bytes are to be sent */
void tcp_queue(struct tcp_connection *tcp, uint64_t len, uint64_t now_ns);
/** tcp_is_drained() - all bytes that were to be sent are acknowledged */
bool tcp_is_drained(const struct tcp_connection *tcp);
/** tcp_close() - send FIN when all is sent; the peer did. No tcp_queue() after this */
void tcp_close(struct tcp_connection *tcp);

/**
 * tcp_send() - the next segment
 * @ret_segment: to be completed with ports, and with payload_len bytes of the stream from
 *	*@ret_place on as its payload
 *
 * Return: 1 with a segment; 0 there is none now; -ETIMEDOUT: the peer is silent, reset it.
 */
int tcp_send(struct tcp_connection *tcp, uint64_t now_ns, struct tcp_segment *ret_segment,
	     uint64_t *ret_place);

/** tcp_due_ns() - when tcp_send() does not return 0: 0 is now, UINT64_MAX is not by itself */
uint64_t tcp_due_ns(const struct tcp_connection *tcp);

/** tcp_make_reset() - RST for the connection */
void tcp_make_reset(const struct tcp_connection *tcp, struct tcp_segment *ret_segment);
/** tcp_make_refusal() - RST as the answer to a segment that belongs to no connection */
void tcp_make_refusal(const struct tcp_segment *refused, struct tcp_segment *ret_segment);

#endif
