/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_BASE_FILE_H
#define SQUIB_BASE_FILE_H

#include "base/buf.h"

/** file_read() - append a file's content; 0 or -errno */
int file_read(const char *path, struct buf *out);

#endif
