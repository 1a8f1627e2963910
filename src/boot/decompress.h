/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_BOOT_DECOMPRESS_H
#define SQUIB_BOOT_DECOMPRESS_H

#include <stdint.h>

#include "base/fault.h"

/**
 * decompress() - turn a file that is compressed as a whole into a plain one
 * @fd: a file that can be read at offsets. When 1 is returned it was closed and replaced by a
 *	sealed memory file with the plain bytes
 * @max_bytes: most that may come out
 *
 * Knows gzip and zstd. The first member or frame counts; what follows it is ignored.
 *
 * Return: 1 when it was decompressed, 0 when it is not compressed, or a negative errno with @fault.
 */
int decompress(int *fd, uint64_t max_bytes, struct fault *fault);

#endif
