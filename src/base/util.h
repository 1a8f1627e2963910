/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_BASE_UTIL_H
#define SQUIB_BASE_UTIL_H

#include <stddef.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

/*
 * Cleanup attached to the variable: CLEANUP(fd_close) int fd = -1; calls fd_close_p(&fd) when it
 * goes out of scope. DEFINE_CLEANUP makes the x_p function from a destructor that takes the value.
 */
#define CLEANUP(fn) __attribute__((cleanup(fn##_p)))
#define DEFINE_CLEANUP(type, fn) static inline void fn##_p(type *p) { fn(*p); }

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#endif
