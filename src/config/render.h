/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configs as clients see them: compact JSON, keys in the order of contract 3.2, absent values as
 * null. Appends to @out and allocates nothing else.
 */
#ifndef SQUIB_CONFIG_RENDER_H
#define SQUIB_CONFIG_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <squib/config.h>

#include "base/buf.h"

/**
 * token_bucket_limits() - does this bucket limit anything?
 *
 * One of size or refill time 0, or whose refill time does not fit 64 bits of nanoseconds, is no
 * bucket at all: it is shown as null, and a PATCH with it removes the limit. NULL limits nothing.
 */
bool token_bucket_limits(const struct squib_token_bucket *bucket);

/** render_rate_limiter() - null when no bucket limits; a bucket that does not limit is null too */
void render_rate_limiter(struct buf *out, const struct squib_rate_limiter *limiter);

void render_balloon(struct buf *out, const struct squib_balloon *balloon);
/** render_boot_source() - @source may be NULL: the shape of a machine without one */
void render_boot_source(struct buf *out, const struct squib_boot_source *source);
void render_drive(struct buf *out, const struct squib_drive *drive);
void render_entropy(struct buf *out, const struct squib_entropy *entropy);
void render_machine_config(struct buf *out, const struct squib_machine_config *config);
void render_memory_hotplug(struct buf *out, const struct squib_memory_hotplug *hotplug);
void render_network_interface(struct buf *out, const struct squib_network_interface *iface);
void render_pmem(struct buf *out, const struct squib_pmem *pmem);
void render_vsock(struct buf *out, const struct squib_vsock *vsock);

/* Building blocks: a value, and a key with what stands before it. */
void render_string(struct buf *out, const char *value);	/* NULL: null */
void render_bool(struct buf *out, bool value);
/** render_key() - "key": with a comma in front unless @first */
void render_key(struct buf *out, bool first, const char *key);

const char *render_mmds_version(enum squib_mmds_version version);

#endif
