/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store holds, as bytes that are ready to be sent: answers refer to them and copy nothing,
 * however many there are. A document does not change; a new one takes its place, and the old one
 * goes when the last answer out of it has been sent, or is revoked.
 */
#ifndef SQUIB_MMDS_DOCUMENT_H
#define SQUIB_MMDS_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/util.h"

struct mmds_document;
struct mmds_value;	/* in a document */

/** mmds_document_new() - from valid JSON. 0 or -errno; -EFBIG: 512 MiB are too much */
int mmds_document_new(const char *json, size_t len, struct mmds_document **ret_document);
struct mmds_document *mmds_document_ref(struct mmds_document *document);
void mmds_document_unref(struct mmds_document *document);	/* accepts NULL */
DEFINE_CLEANUP(struct mmds_document *, mmds_document_unref)

/** mmds_document_is_shared() - has somebody else a reference? */
bool mmds_document_is_shared(const struct mmds_document *document);

/**
 * mmds_document_revoke() - give back its memory though there are references; accepts NULL
 *
 * Whoever has one must ask mmds_document_is_revoked() before looking at a piece of it.
 */
void mmds_document_revoke(struct mmds_document *document);
bool mmds_document_is_revoked(const struct mmds_document *document);

/**
 * mmds_document_find() - the value at a path
 * @path: a JSON pointer (RFC 6901); a slash at its end does not count
 *
 * Return: NULL: there is none.
 */
const struct mmds_value *mmds_document_find(const struct mmds_document *document,
					    const char *path, size_t len);

/** mmds_document_json() - a value as compact JSON, keys in order */
const char *mmds_document_json(const struct mmds_document *document,
			       const struct mmds_value *value, size_t *ret_len);

/**
 * mmds_document_imds() - a value as EC2's metadata service would tell it
 *
 * A string is told as it is, an object as the list of its keys, those of objects with a slash.
 *
 * Return: NULL: other values have no such form.
 */
const char *mmds_document_imds(const struct mmds_document *document,
			       const struct mmds_value *value, size_t *ret_len);

#endif
