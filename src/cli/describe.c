/* SPDX-License-Identifier: Apache-2.0 */
/*
 * No snapshot can be written yet, so no file is one: what is long enough to have a magic number
 * has a wrong one.
 */
#include "cli/describe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "json/debug_text.h"

#define SNAPSHOT_BYTES_MAX 10000000	/* upstream reads no more */

/* The names of Rust's io::ErrorKind for what opening and reading a file gives. */
static const char *error_kind(int error)
{
	static const struct { int error; const char *kind; } kinds[] = {
		{ ENOENT, "NotFound" },	       { EACCES, "PermissionDenied" },
		{ EPERM, "PermissionDenied" }, { EISDIR, "IsADirectory" },
		{ ENOTDIR, "NotADirectory" },  { EINVAL, "InvalidInput" },
		{ ENOMEM, "OutOfMemory" },     { ENAMETOOLONG, "InvalidFilename" },
		{ EBUSY, "ResourceBusy" },     { ELOOP, "FilesystemLoop" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].error == error)
			return kinds[i].kind;
	return "Uncategorized";
}

/* Os { code: 2, kind: NotFound, message: "No such file or directory" } */
static void add_debug_io(struct buf *debug, int error)
{
	char text[OS_ERROR_MAX];
	char *number;

	os_error(error, text);
	number = strstr(text, " (os error");
	buf_addf(debug, "Os { code: %d, kind: %s, message: ", error, error_kind(error));
	debug_text_add(debug, text, number != NULL ? (size_t)(number - text) : strlen(text));
	buf_adds(debug, " }");
}

static int fail_open(struct fault *fault, struct buf *debug, int error)
{
	char text[OS_ERROR_MAX];

	buf_adds(debug, "PrintSnapshotDataFormat(OpenSnapshot(");
	add_debug_io(debug, error);
	buf_adds(debug, "))");
	return fault_set(fault, -error, "When printing Snapshot Data format: "
					"Unable to open snapshot state file: %s",
			 os_error(error, text));
}

#define WRONG_VERSION \
	"When printing Snapshot Data format: Invalid data format version of snapshot file: "

static int fail_read(struct fault *fault, struct buf *debug, int error)
{
	char text[OS_ERROR_MAX];

	buf_adds(debug, "PrintSnapshotDataFormat(SnapshotVersion(Io(");
	add_debug_io(debug, error);
	buf_adds(debug, ")))");
	return fault_set(fault, -error, WRONG_VERSION "IO Error: %s", os_error(error, text));
}

static int fail_short(struct fault *fault, struct buf *debug)
{
	buf_adds(debug, "PrintSnapshotDataFormat(SnapshotVersion(Io(Custom { kind: UnexpectedEof, "
			"error: \"File too short to contain CRC\" })))");
	return fault_set(fault, -EBADMSG, WRONG_VERSION "IO Error: File too short to contain CRC");
}

static int fail_long(struct fault *fault, struct buf *debug)
{
	buf_addf(debug, "PrintSnapshotDataFormat(SnapshotVersion(SizeLimitExceeded(%d)))",
		 SNAPSHOT_BYTES_MAX);
	return fault_set(fault, -EFBIG, WRONG_VERSION "Snapshot size exceeds limit of %d bytes",
			 SNAPSHOT_BYTES_MAX);
}

static int fail_magic(struct fault *fault, struct buf *debug, uint64_t magic)
{
	buf_addf(debug, "PrintSnapshotDataFormat(SnapshotVersion(InvalidMagic(%" PRIu64 ")))", magic);
	return fault_set(fault, -EBADMSG,
			 WRONG_VERSION "Magic value does not match arch: %" PRIu64, magic);
}

int describe_snapshot(const char *path, struct buf *output, struct fault *fault, struct buf *debug)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t magic;
	struct stat st;
	ssize_t n;

	(void)output;
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_open(fault, debug, errno);
	n = read(fd, &magic, sizeof(magic));
	if (n < 0)
		return fail_read(fault, debug, errno);
	if (n < (ssize_t)sizeof(magic))
		return fail_short(fault, debug);
	if (st.st_size > SNAPSHOT_BYTES_MAX)
		return fail_long(fault, debug);
	return fail_magic(fault, debug, magic);
}
