/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_CONFIG_DECODE_INTERNAL_H
#define SQUIB_CONFIG_DECODE_INTERNAL_H

#include "config/schema.h"

/**
 * decode_document() - decode a whole document into a new @type in the arena
 *
 * Return: 0; -EINVAL with the text in @fault; -ENOMEM.
 */
int decode_document(const struct type *type, enum squib_arch arch, const char *json, size_t len,
		    struct arena *arena, void **ret_value, struct fault *fault);

/** cpu_config_check() - what upstream validates after decoding; the fault has no position */
int cpu_config_check(const struct squib_cpu_config *config, struct fault *fault);

#endif
