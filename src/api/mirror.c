/* SPDX-License-Identifier: Apache-2.0 */
#include "api/mirror.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "http/response.h"

struct mirror_answer *mirror_answer_new(int status, const char *body, size_t len)
{
	struct http_response response = { .status = status, .body = body, .body_len = len };
	CLEANUP(buf_done) struct buf bytes = BUF_INIT;
	struct mirror_answer *answer;

	http_response_write(&bytes, &response);
	if (buf_error(&bytes) < 0)
		return NULL;
	answer = malloc(sizeof(*answer) + bytes.len);
	if (answer == NULL)
		return NULL;
	atomic_init(&answer->refs, 1);
	answer->status = status;
	answer->len = bytes.len;
	answer->body_offset = bytes.len - len;
	memcpy(answer->bytes, bytes.data, bytes.len);
	return answer;
}

struct mirror_answer *mirror_answer_ref(struct mirror_answer *answer)
{
	atomic_fetch_add_explicit(&answer->refs, 1, memory_order_relaxed);
	return answer;
}

void mirror_answer_unref(struct mirror_answer *answer)
{
	if (answer != NULL &&
	    atomic_fetch_sub_explicit(&answer->refs, 1, memory_order_acq_rel) == 1)
		free(answer);
}

static void mirror_free(struct mirror *mirror)
{
	if (mirror == NULL)
		return;
	for (size_t i = 0; i < RESOURCE_MIRROR_COUNT; i++)
		mirror_answer_unref(mirror->answers[i]);
	free(mirror);
}

int mirror_box_init(struct mirror_box *box)
{
	atomic_init(&box->posted, NULL);
	box->current = calloc(1, sizeof(*box->current));
	box->latest = calloc(1, sizeof(*box->latest));
	if (box->current != NULL && box->latest != NULL)
		return 0;
	mirror_box_done(box);
	return -ENOMEM;
}

void mirror_box_done(struct mirror_box *box)
{
	mirror_free(atomic_exchange(&box->posted, NULL));
	mirror_free(box->current);
	mirror_free(box->latest);
	box->current = box->latest = NULL;
}

int mirror_publish(struct mirror_box *box, struct mirror_answer *changed[RESOURCE_MIRROR_COUNT])
{
	struct mirror *mirror = calloc(1, sizeof(*mirror));

	for (size_t i = 0; i < RESOURCE_MIRROR_COUNT; i++) {
		if (changed[i] == NULL)
			continue;
		if (mirror == NULL) {
			mirror_answer_unref(changed[i]);
			continue;
		}
		mirror_answer_unref(box->latest->answers[i]);
		box->latest->answers[i] = changed[i];
	}
	if (mirror == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < RESOURCE_MIRROR_COUNT; i++)
		if (box->latest->answers[i] != NULL)
			mirror->answers[i] = mirror_answer_ref(box->latest->answers[i]);
	/*
	 * release: the reader sees the answers whole. acquire: a mirror the reader never took is
	 * ours to free.
	 */
	mirror_free(atomic_exchange_explicit(&box->posted, mirror, memory_order_acq_rel));
	return 0;
}

struct mirror_answer *mirror_read(struct mirror_box *box, enum resource resource)
{
	/* the plain load keeps the line shared while nothing changes */
	if (atomic_load_explicit(&box->posted, memory_order_relaxed) != NULL) {
		struct mirror *newest = atomic_exchange_explicit(&box->posted, NULL,
								 memory_order_acq_rel);

		if (newest != NULL) {
			mirror_free(box->current);
			box->current = newest;
		}
	}
	return box->current->answers[resource];
}
