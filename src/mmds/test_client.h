/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a guest that speaks TCP with a stack, frame by frame, as well or as badly as told. */
#ifndef SQUIB_MMDS_TEST_CLIENT_H
#define SQUIB_MMDS_TEST_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/metrics.h"
#include "mmds/mmds.h"
#include "mmds/stack.h"
#include "net/tcp.h"

#define SECOND_NS UINT64_C(1000000000)

struct guest {
	struct metrics *metrics;
	struct mmds *mmds;
	struct mmds_stack *stack;
	uint64_t now_ns;
};

void guest_init(struct guest *guest, const char *document);
void guest_done(struct guest *guest);
void guest_configure(struct guest *guest, enum squib_mmds_version version, bool imds_compat);

/** guest_frame() - a frame with a TCP segment from 10.0.0.2 to the service. Return: its length */
size_t guest_frame(const struct tcp_segment *segment, uint8_t *frame);
/** guest_send() - send such a frame, however long it is */
void guest_send(struct guest *guest, const struct tcp_segment *segment);
/**
 * guest_next() - the next segment from the service, all of its headers checked
 * @ret_segment: its payload is good until the next call
 *
 * Return: false: there is none now.
 */
bool guest_next(struct guest *guest, struct tcp_segment *ret_segment);

/* A connection that behaves; its fields may be changed to have it misbehave. */
struct client {
	struct guest *guest;
	uint16_t port;
	uint32_t seq;		/* of what it sends next */
	uint32_t ack;		/* what it expects next */
	uint16_t window;
	uint16_t mss;		/* 0: without the option */
	struct buf received;
	bool fin;		/* came, after all that is in received */
	bool reset;
};

void client_init(struct client *client, struct guest *guest, uint16_t port);
void client_done(struct client *client);
/** client_open() - the handshake */
void client_open(struct client *client);
/** client_segment() - send one; seq goes on by what it has */
void client_segment(struct client *client, uint8_t flags, const char *data, size_t len);
void client_say(struct client *client, const char *text);
/** client_take() - receive and acknowledge what there is until nothing comes any more */
void client_take(struct client *client);
/** client_ask() - send @request, take the answer. Return: it, whole, NUL-terminated; client's */
const char *client_ask(struct client *client, const char *request);

#endif
