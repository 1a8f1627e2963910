/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The microVM metadata service as guests see it (contract, section 9): one data store and one
 * authority for tokens, shared by the stacks of the interfaces that serve it.
 *
 * Threads: the loop's.
 */
#ifndef SQUIB_MMDS_MMDS_H
#define SQUIB_MMDS_MMDS_H

#include <squib/config.h>

#include "base/log.h"
#include "base/metrics.h"

struct mmds;

struct mmds_params {
	const char *instance_id;	/* tokens are bound to it */
	struct log *log;
	struct metrics *metrics;
	/* All must outlive it. */
};

/** mmds_new() - an empty store, V1, 169.254.169.254. 0 or -errno */
int mmds_new(const struct mmds_params *params, struct mmds **ret_mmds);
void mmds_free(struct mmds *mmds);	/* accepts NULL; when no stack is left */

/** mmds_configure() - as PUT /mmds/config says; before the guest runs */
void mmds_configure(struct mmds *mmds, const struct squib_mmds_config *config);

/**
 * mmds_set_document() - the whole store, as PUT or PATCH /mmds left it
 * @json: valid JSON, @len bytes; copied
 *
 * Answers out of the store that was are sent to their end; those out of an older one are cut off.
 *
 * Return: 0, or -errno and then the store is as before: -ENOMEM, -EFBIG (512 MiB are too much).
 */
int mmds_set_document(struct mmds *mmds, const char *json, size_t len);

#endif
