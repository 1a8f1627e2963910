/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/test_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "boot/bytes.h"

struct file set16(struct file f, size_t at, uint16_t value)
{
	put_le16(f.data + at, value);
	return f;
}

struct file set32(struct file f, size_t at, uint32_t value)
{
	put_le32(f.data + at, value);
	return f;
}

struct file set64(struct file f, size_t at, uint64_t value)
{
	put_le64(f.data + at, value);
	return f;
}

int fd_of(const void *data, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	return fd;
}

void skip_without(const char *tool)
{
	char command[256];

	snprintf(command, sizeof(command), "%s -v >/dev/null 2>&1", tool);
	if (system(command) != 0) {
		print_message("there is no %s\n", tool);
		skip();
	}
}

void write_file(const char *dir, const char *name, const void *data, size_t len)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	fclose(file);
}

int run_in(const char *dir, const char *script, const char *name)
{
	char command[4096];
	int status;

	snprintf(command, sizeof(command), "sh -c 'cd $0 && %s' %s %s", script, dir, name);
	status = system(command);
	return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
