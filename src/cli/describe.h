/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_CLI_DESCRIBE_H
#define SQUIB_CLI_DESCRIBE_H

#include "base/buf.h"
#include "base/fault.h"

/**
 * describe_snapshot() - --describe-snapshot: the version of the format of a snapshot's state file
 * @output: on success "v10.0.0\n" is appended
 * @fault: on failure "When printing Snapshot Data format: ‹reason›"
 * @debug: on failure the reason as upstream shows it on standard error, after "Error: ", is appended
 *
 * Return: 0 or a negative errno; the exit code is then EXIT_CODE_ERROR.
 */
int describe_snapshot(const char *path, struct buf *output, struct fault *fault, struct buf *debug);

#endif
