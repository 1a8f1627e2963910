/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linux has a folder for each cache of a CPU, index0 and on, with a file for each fact:
 * Documentation/ABI/testing/sysfs-devices-system-cpu. What is there depends on the firmware's
 * tables, so most may be missing.
 */
#include "engine/kvm/aarch64/caches.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/kvm/aarch64/registers.h"

#define LEVELS_MAX 7	/* that CLIDR_EL1 can tell of */
#define TEXT_MAX 1024	/* a map of 2,048 CPUs is 576 bytes */

/* Reading */

/* A file's text without the space at its end; false: there is none, or it is too long */
static bool read_text(int dir_fd, const char *name, char text[TEXT_MAX])
{
	CLEANUP(fd_close) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, TEXT_MAX);

	if (len <= 0 || len == TEXT_MAX)
		return false;
	text[len] = '\0';
	if (strlen(text) != (size_t)len)
		return false;
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
	return true;
}

/* A decimal number up to @max with nothing behind it but @suffix; false if it is anything else */
static bool parse_number(const char *text, const char **ret_suffix, uint32_t max, uint32_t *ret_number)
{
	unsigned long long number;
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	number = strtoull(text, &end, 10);
	if (errno != 0 || number > max)
		return false;
	if (ret_suffix != NULL)
		*ret_suffix = end;
	else if (*end != '\0')
		return false;
	*ret_number = (uint32_t)number;
	return true;
}

static uint32_t read_number(int dir_fd, const char *name)	/* 0: not known */
{
	char text[TEXT_MAX];
	uint32_t number;

	return read_text(dir_fd, name, text) && parse_number(text, NULL, UINT32_MAX, &number) ? number
											      : 0;
}

/* "64K", "1M"; 0: not known */
static uint32_t read_size(int dir_fd)
{
	char text[TEXT_MAX];
	const char *unit;
	unsigned int shift;
	uint32_t number;

	if (!read_text(dir_fd, "size", text) || !parse_number(text, &unit, UINT32_MAX, &number))
		return 0;
	if (strcmp(unit, "K") == 0)
		shift = 10;
	else if (strcmp(unit, "M") == 0)
		shift = 20;
	else
		return 0;
	return number > UINT32_MAX >> shift ? 0 : number << shift;
}

/* How many CPUs a map has, as "00000000,0000000f"; 0: not known */
static unsigned int count_cpus(const char *map)
{
	unsigned int count = 0;

	for (; *map != '\0'; map++) {
		char digit[2] = { *map };

		if (isxdigit((unsigned char)*map))
			count += (unsigned int)__builtin_popcountl(strtoul(digit, NULL, 16));
		else if (*map != ',')
			return 0;
	}
	return count;
}

static bool parse_type(const char *text, enum aarch64_cache_type *ret_type)
{
	static const char *const names[] = {
		[AARCH64_CACHE_DATA] = "Data",
		[AARCH64_CACHE_INSTRUCTION] = "Instruction",
		[AARCH64_CACHE_UNIFIED] = "Unified",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*ret_type = (enum aarch64_cache_type)i;
			return true;
		}
	return false;
}

static bool read_cache(int dir_fd, struct aarch64_cache *cache)
{
	char text[TEXT_MAX];
	unsigned int cpus;
	uint32_t level;

	if (!read_text(dir_fd, "level", text) || !parse_number(text, NULL, LEVELS_MAX, &level) ||
	    level == 0)
		return false;
	if (!read_text(dir_fd, "type", text) || !parse_type(text, &cache->type))
		return false;
	cache->level = level;
	cache->size_bytes = read_size(dir_fd);
	cache->line_bytes = read_number(dir_fd, "coherency_line_size");
	cache->sets = read_number(dir_fd, "number_of_sets");
	cpus = read_text(dir_fd, "shared_cpu_map", text) ? count_cpus(text) : 0;
	cache->cpus_per_unit = cpus > 0 ? cpus : 1;
	return true;
}

/* Behind those of its level */
static void insert(struct aarch64_cache *caches, size_t count, const struct aarch64_cache *cache)
{
	size_t at = count;

	while (at > 0 && caches[at - 1].level > cache->level)
		at--;
	memmove(caches + at + 1, caches + at, (count - at) * sizeof(*caches));
	caches[at] = *cache;
}

size_t caches_read(const char *sysfs_root, struct aarch64_cache *caches)
{
	size_t count = 0;

	for (unsigned int i = 0; i < AARCH64_CACHES_MAX; i++) {
		CLEANUP(fd_close) int dir_fd = -1;
		struct aarch64_cache cache;
		char path[PATH_MAX];
		int len = snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu0/cache/index%u",
				   sysfs_root, i);

		if (len < 0 || (size_t)len >= sizeof(path))
			break;
		dir_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir_fd < 0)
			break;
		if (read_cache(dir_fd, &cache))
			insert(caches, count++, &cache);
	}
	return count;
}

/* CLIDR_EL1 */

#define CLIDR_TYPE_BITS		3	/* a level, from bit 0 on */
#define CLIDR_COHERENCE_SHIFT	24	/* LoC: the level from which on all of the machine sees the same */
#define CLIDR_CHANGED		0x071fffffu

enum { CLIDR_NONE, CLIDR_INSTRUCTION, CLIDR_DATA, CLIDR_SEPARATE, CLIDR_UNIFIED };

static unsigned int clidr_type(const struct aarch64_cache *caches, size_t count, unsigned int level)
{
	bool has[AARCH64_CACHE_UNIFIED + 1] = { 0 };

	for (size_t i = 0; i < count; i++)
		if (caches[i].level == level)
			has[caches[i].type] = true;
	if (has[AARCH64_CACHE_UNIFIED])
		return CLIDR_UNIFIED;
	if (has[AARCH64_CACHE_DATA])
		return has[AARCH64_CACHE_INSTRUCTION] ? CLIDR_SEPARATE : CLIDR_DATA;
	return has[AARCH64_CACHE_INSTRUCTION] ? CLIDR_INSTRUCTION : CLIDR_NONE;
}

uint64_t caches_clidr(const struct aarch64_cache *caches, size_t count, uint64_t clidr)
{
	uint64_t told = 0;
	unsigned int level, type;

	for (level = 1; level <= LEVELS_MAX; level++) {
		type = clidr_type(caches, count, level);
		if (type == CLIDR_NONE)
			break;		/* what is behind a gap, software does not look for */
		told |= (uint64_t)type << CLIDR_TYPE_BITS * (level - 1);
	}
	if (level == 1)
		return clidr;
	told |= (uint64_t)(level - 1) << CLIDR_COHERENCE_SHIFT;
	return (clidr & ~(uint64_t)CLIDR_CHANGED) | told;
}

int caches_apply(const struct aarch64_cache *caches, size_t count, int vcpu_fd)
{
	uint64_t before, after;
	int r = register_get(vcpu_fd, REGISTER_CLIDR_EL1, &before);

	if (r < 0)
		return r;
	after = caches_clidr(caches, count, before);
	return after == before ? 0 : register_set(vcpu_fd, REGISTER_CLIDR_EL1, after);
}
