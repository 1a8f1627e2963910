/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *fault, int error, const char *fmt, ...)
{
	struct buf text = BUF_INIT;	/* apart: an argument may be the old text */
	va_list ap;

	if (fault == NULL)
		return error;
	va_start(ap, fmt);
	buf_vaddf(&text, fmt, ap);
	va_end(ap);
	buf_done(&fault->text);
	fault->text = text;
	fault->error = error;
	return error;
}

int fault_prefix(struct fault *fault, const char *prefix)
{
	return fault_set(fault, fault->error, "%s%s", prefix, fault_text(fault));
}

const char *fault_text(struct fault *fault)
{
	const char *text = fault->error == 0 ? NULL : buf_str(&fault->text);

	if (text != NULL)
		return text;
	return fault->error == 0 ? "" : "Out of memory (os error 12)";
}

void fault_done(struct fault *fault)
{
	buf_done(&fault->text);
	fault->error = 0;
}

#ifdef __GLIBC__
const char *os_error_words(int error)
{
	static const struct { int error; const char *text; } musl[] = {
		{ ENOMEM, "Out of memory" },
		{ EBUSY, "Resource busy" },
		{ EMFILE, "No file descriptors available" },
		{ EIO, "I/O error" },
		{ EADDRINUSE, "Address in use" },
		{ ENOTTY, "Not a tty" },
		{ ENXIO, "No such device or address" },
		{ EXDEV, "Cross-device link" },
		{ ELOOP, "Symbolic link loop" },
		{ ENAMETOOLONG, "Filename too long" },
		{ EADDRNOTAVAIL, "Address not available" },
		{ EOPNOTSUPP, "Not supported" },
		{ ETIMEDOUT, "Operation timed out" },
		{ ENFILE, "Too many open files in system" },
		{ EAGAIN, "Resource temporarily unavailable" },
	};
	const char *words;

	for (size_t i = 0; i < ARRAY_SIZE(musl); i++)
		if (musl[i].error == error)
			return musl[i].text;
	words = strerrordesc_np(error);
	return words != NULL ? words : "Unknown error";
}
#else
const char *os_error_words(int error)
{
	return strerror(error);	/* musl's are constants */
}
#endif

const char *os_error(int error, char text[OS_ERROR_MAX])
{
	if (error < 0)
		error = -error;
	snprintf(text, OS_ERROR_MAX, "%s (os error %d)", os_error_words(error), error);
	return text;
}
