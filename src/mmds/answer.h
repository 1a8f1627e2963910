/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP as guests see it (contract, section 9): a request in, the bytes of its answer out. */
#ifndef SQUIB_MMDS_ANSWER_H
#define SQUIB_MMDS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "mmds/mmds.h"

#define MMDS_REQUEST_BYTES_MAX 2500u

struct mmds_document;

/* What an answer is made of: a small part of its own, and a piece of a document. */
struct mmds_answer {
	struct buf head;		/* the body too, if it is not from a document */
	struct mmds_document *document;	/* a reference, or NULL */
	const char *body;		/* in the document */
	size_t body_len;
};

/**
 * mmds_answer_request() - answer the request at the start of @data, if it is all there
 * @len: MMDS_REQUEST_BYTES_MAX at most
 * @at_end: nothing will follow @data
 * @answer: empty before
 * @ret_used: bytes of @data that are done with
 * @ret_skip: bytes after them that belong to the request too, and are to be dropped when they come
 *
 * Return: 1 with an answer; 0: more is needed; -ENOMEM.
 */
int mmds_answer_request(struct mmds *mmds, const char *data, size_t len, bool at_end,
			uint64_t now_ns, struct mmds_answer *answer, size_t *ret_used,
			uint32_t *ret_skip);

/** mmds_answer_is_void() - what it is made of is gone, it cannot be sent any more */
bool mmds_answer_is_void(const struct mmds_answer *answer);

size_t mmds_answer_len(const struct mmds_answer *answer);
/** mmds_answer_copy() - @len bytes from @at on; they are there */
void mmds_answer_copy(const struct mmds_answer *answer, size_t at, void *to, size_t len);
/** mmds_answer_done() - it was sent; make it empty */
void mmds_answer_done(struct mmds_answer *answer);

#endif
