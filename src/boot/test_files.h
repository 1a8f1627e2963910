/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: files to read, in memory, and files that a tool reads, in a directory of its own. */
#ifndef SQUIB_BOOT_TEST_FILES_H
#define SQUIB_BOOT_TEST_FILES_H

#include <stddef.h>
#include <stdint.h>

#define FILE_LEN_MAX 32768

struct file {
	uint8_t data[FILE_LEN_MAX];
	size_t len;
};

/* @f with another value, little endian, at @at */
struct file set16(struct file f, size_t at, uint16_t value);
struct file set32(struct file f, size_t at, uint32_t value);
struct file set64(struct file f, size_t at, uint64_t value);

/** fd_of() - a file with @data in it, open for reading and writing */
int fd_of(const void *data, size_t len);

/** skip_without() - skip the test where there is no @tool, which tells its version with -v */
void skip_without(const char *tool);

void write_file(const char *dir, const char *name, const void *data, size_t len);

/**
 * run_in() - run @script of a shell, without single quotes, in the directory @dir
 * @name: its $1; $0 is @dir
 *
 * Return: its exit status, or -1.
 */
int run_in(const char *dir, const char *script, const char *name);

#endif
