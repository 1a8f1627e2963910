/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mirror: the answer to every GET request, rendered in advance, as one immutable object.
 *
 * One writer at a time (whoever holds the controller's lock) and one reader (the server's thread)
 * share a mailbox of one place. The writer puts a new mirror there and frees the one it finds, for the reader never saw that; the
 * reader takes what it finds and from then on owns it. So the reader takes no lock, allocates nothing,
 * and nobody frees what another reads.
 */
#ifndef SQUIB_API_MIRROR_H
#define SQUIB_API_MIRROR_H

#include <stdatomic.h>
#include <stddef.h>

#include "api/route.h"

/* A whole response, kept-alive form, shared by mirrors as long as it does not change. */
struct mirror_answer {
	atomic_uint refs;
	int status;
	size_t len;
	size_t body_offset;	/* where the body begins in bytes */
	char bytes[];
};

struct mirror {
	struct mirror_answer *answers[RESOURCE_MIRROR_COUNT];
};

struct mirror_box {
	_Atomic(struct mirror *) posted;	/* not yet seen by the reader */
	struct mirror *current;			/* the reader's */
	struct mirror *latest;			/* the writer's: owns a reference to each answer */
};

struct mirror_answer *mirror_answer_new(int status, const char *body, size_t len);
struct mirror_answer *mirror_answer_ref(struct mirror_answer *answer);
void mirror_answer_unref(struct mirror_answer *answer);

int mirror_box_init(struct mirror_box *box);
void mirror_box_done(struct mirror_box *box);

/**
 * mirror_publish() - make changed answers visible. Writer.
 * @changed: a new answer, or NULL where the latest one stays; references are taken over
 *
 * Return: 0, or -ENOMEM and then nothing changed (the references are given back).
 */
int mirror_publish(struct mirror_box *box,
		   struct mirror_answer *changed[RESOURCE_MIRROR_COUNT]);

/** mirror_read() - the newest answer. Reader; valid until the next mirror_read(). */
struct mirror_answer *mirror_read(struct mirror_box *box, enum resource resource);

#endif
