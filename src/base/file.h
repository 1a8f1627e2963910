/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_BASE_FILE_H
#define SQUIB_BASE_FILE_H

#include "base/buf.h"

#define FILE_READ_MAX (64u << 20)	/* bytes; no configuration comes near */

/** file_read() - append a file's content; 0 or -errno, -EFBIG over FILE_READ_MAX */
int file_read(const char *path, struct buf *out);

#endif
