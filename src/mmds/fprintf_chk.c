/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For C libraries that do not have it (musl): Debian's libnettle.a was compiled with glibc's
 * _FORTIFY_SOURCE, and calls this when it is asked, by a variable of the environment, to tell which
 * CPU it found.
 */
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *stream, int flag, const char *fmt, ...);

int __fprintf_chk(FILE *stream, int flag, const char *fmt, ...)
{
	va_list ap;
	int r;

	(void)flag;
	va_start(ap, fmt);
	r = vfprintf(stream, fmt, ap);
	va_end(ap);
	return r;
}
