/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log, as contract 8.1. One object a process, any thread. Functions below vmm/, api/ and
 * main() return failures and do not log them.
 */
#ifndef SQUIB_BASE_LOG_H
#define SQUIB_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <squib/config.h>

#include "base/fault.h"
#include "base/util.h"

struct log;
struct metrics_logger;

/** log_new() - level Info, to standard output, for instance @id. To be called by the main thread */
int log_new(const char *id, struct log **ret_log);
void log_free(struct log *log);		/* accepts NULL */
DEFINE_CLEANUP(struct log *, log_free)

/** log_count_losses() - lines that cannot be written, or are too many, are counted in @counters */
void log_count_losses(struct log *log, struct metrics_logger *counters);

/**
 * log_configure() - PUT /logger and the command line's flags (contract 2.11)
 *
 * A log path is opened non-blocking, read-write, created; on failure nothing changes and @fault
 * is "Failed to open target file: ‹io›". What is in the file stays, lines are appended.
 *
 * The module filter lets lines through whose module begins with it. A line's module goes by
 * several names: the source path ("src/api/server"), the same from the folder on ("api/server"
 * or "api::server"), and the module of upstream where such a line would come from
 * ("firecracker::api_server", "api_server", "vmm::devices::virtio::block").
 */
int log_configure(struct log *log, const struct squib_logger *config, struct fault *fault);

/**
 * log_write() - one line, if level and module filter let it through
 * @log: may be NULL, then nothing happens
 * @file: __FILE__; its path from "src/" on is the origin and the module
 *
 * Keeps errno.
 */
void log_write(struct log *log, enum squib_log_level level, const char *file, int line,
	       const char *fmt, ...) PRINTF_LIKE(5, 6);

/** log_level_is_on() - would a line of that level be written? One relaxed load */
static inline bool log_level_is_on(const struct log *log, enum squib_log_level level)
{
	/* the level is what a struct log begins with */
	return log != NULL &&
	       level <= (enum squib_log_level)atomic_load_explicit((const _Atomic int *)log,
								   memory_order_relaxed);
}

#define log_at(log, level, ...) \
	do { \
		if (log_level_is_on((log), (level))) \
			log_write((log), (level), __FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

#define log_error(log, ...) log_at((log), SQUIB_LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...) log_at((log), SQUIB_LOG_WARN, __VA_ARGS__)
#define log_info(log, ...) log_at((log), SQUIB_LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_at((log), SQUIB_LOG_DEBUG, __VA_ARGS__)
#define log_trace(log, ...) log_at((log), SQUIB_LOG_TRACE, __VA_ARGS__)

/*
 * For lines that a guest can cause: each call site has its own allowance, kept in the log object,
 * of 10 lines at once and one more every half second. The others are counted, and the next line
 * that passes says how many they were.
 */
#define log_limited_at(log, level, ...) \
	do { \
		if (log_level_is_on((log), (level)) && \
		    log_site_admits((log), __FILE__, __LINE__)) \
			log_write((log), (level), __FILE__, __LINE__, __VA_ARGS__); \
	} while (0)

#define log_limited_error(log, ...) log_limited_at((log), SQUIB_LOG_ERROR, __VA_ARGS__)
#define log_limited_warn(log, ...) log_limited_at((log), SQUIB_LOG_WARN, __VA_ARGS__)
#define log_limited_info(log, ...) log_limited_at((log), SQUIB_LOG_INFO, __VA_ARGS__)

bool log_site_admits(struct log *log, const char *file, int line);

/**
 * log_limit_admits() - one more line at @now_ms?
 * @state:	an allowance; starts as 0
 * @ret_held:	when admitted, how many were refused since the last that was admitted
 */
bool log_limit_admits(_Atomic uint64_t *state, uint64_t now_ms, uint32_t *ret_held);

/**
 * log_write_from_signal() - as log_write(), for handlers of signals
 * @message: the ready text; cut off at some 500 bytes
 *
 * Allocates nothing and does not wait for the lock for more than a moment.
 */
void log_write_from_signal(struct log *log, enum squib_log_level level, const char *file,
			   int line, const char *message);

#endif
