/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reason of a failure, for a person or a client: a negative errno and a text that was made
 * where it happened. Callers may put a class prefix in front of it.
 */
#ifndef SQUIB_BASE_FAULT_H
#define SQUIB_BASE_FAULT_H

#include "base/buf.h"
#include "base/util.h"

struct fault {
	int error;		/* 0 or a negative errno */
	struct buf text;
};

#define FAULT_INIT { 0 }

/** fault_set() - replace the text; returns @error, so that "return fault_set(...)" reads well. @fault may be NULL */
int fault_set(struct fault *fault, int error, const char *fmt, ...) PRINTF_LIKE(3, 4);

/** fault_prefix() - put a text in front of what is there; returns the fault's error */
int fault_prefix(struct fault *fault, const char *prefix);

/** fault_text() - the text, "" when there is none; valid until the fault changes */
const char *fault_text(struct fault *fault);

void fault_done(struct fault *fault);
static inline void fault_done_p(struct fault *fault) { fault_done(fault); }

/** os_error_words() - the words of an errno, musl's where they differ; never freed, any thread */
const char *os_error_words(int error);

#define OS_ERROR_MAX 128

/**
 * os_error() - an OS error as clients know it: "No such file or directory (os error 2)"
 * @error: errno, positive or negative
 * @text: at least OS_ERROR_MAX bytes; returned
 *
 * Where musl's words differ from glibc's, musl's are given, as upstream's binaries carry them
 * (contract, "Notation").
 */
const char *os_error(int error, char text[OS_ERROR_MAX]);

#endif
