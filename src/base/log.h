/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log, as contract 8.1. One object a process, any thread. Functions below vmm/, api/ and
 * main() return failures and do not log them.
 */
#ifndef SQUIB_BASE_LOG_H
#define SQUIB_BASE_LOG_H

#include <stdbool.h>
#include <squib/config.h>

#include "base/fault.h"
#include "base/util.h"

struct log;

/** log_new() - level Info, to standard output, for instance @id */
int log_new(const char *id, struct log **ret_log);
void log_free(struct log *log);

/**
 * log_configure() - PUT /logger and the command line's flags (contract 2.11)
 *
 * A log path is opened non-blocking, read-write, created; on failure nothing changes and @fault
 * is "Failed to open target file: ‹io›".
 */
int log_configure(struct log *log, const struct squib_logger *config, struct fault *fault);

/**
 * log_write() - one line, if level and module filter let it through
 * @log: may be NULL, then nothing happens
 * @file: __FILE__; its path from "src/" on is the origin and the module
 */
void log_write(struct log *log, enum squib_log_level level, const char *file, int line,
	       const char *fmt, ...) PRINTF_LIKE(5, 6);

#define log_error(log, ...) log_write((log), SQUIB_LOG_ERROR, __FILE__, __LINE__, __VA_ARGS__)
#define log_warn(log, ...) log_write((log), SQUIB_LOG_WARN, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(log, ...) log_write((log), SQUIB_LOG_INFO, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(log, ...) log_write((log), SQUIB_LOG_DEBUG, __FILE__, __LINE__, __VA_ARGS__)

/** log_level_is_on() - would a line of that level be written? */
bool log_level_is_on(const struct log *log, enum squib_log_level level);

#endif
