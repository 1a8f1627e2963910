/* SPDX-License-Identifier: Apache-2.0 */
/* passt's command line. */
#ifndef SQUIB_NET_PASST_ARGS_H
#define SQUIB_NET_PASST_ARGS_H

#include "base/util.h"
#include "net/passt.h"

/** passt_args_new() - for a connected socket that it inherits as @fd; NULL: out of memory */
char **passt_args_new(const struct passt_params *params, int fd);
void passt_args_free(char **args);	/* accepts NULL */
DEFINE_CLEANUP(char **, passt_args_free)

#endif
