/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive's file is changed by giving its device another block node ("drive0.1" for "drive0.0").
 * That alone leaves the guest with the old size: QEMU raises the configuration interrupt only when
 * the node a device has is resized, and neither a read-only node nor one of a fixed size can be. So,
 * with the guest stopped, the device is first given a throw-away node over a memory file, that is
 * resized, and then the new one; when the guest goes on, the interrupt makes it read the new size.
 */
#include "engine/qemu/drives.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "engine/qemu/limits.h"

#define SECTOR_BYTES	512
#define SET_OF_CHANGES	1000	/* descriptor sets: below are those QEMU was started with */
#define SET_OF_SWAP	999

struct drive {
	char *id;
	bool read_only, flush, async;
	unsigned int generation;	/* of its node */
	unsigned int set;		/* of the node's descriptor */
	struct squib_token_bucket bandwidth, ops;
};

struct drives {
	unsigned int next_set;
	size_t count;
	struct drive drive[];
};

/* One change under way */
struct change {
	struct qemu_engine *qemu;
	struct drive *drive;
	size_t index;
	uint64_t deadline_ns;
	struct fault *fault;
};

static void copy_bucket(struct squib_token_bucket *to, const struct squib_token_bucket *from)
{
	if (from != NULL)
		*to = *from;
}

struct drives *drives_new(const struct squib_machine *machine)
{
	struct drives *drives = calloc(1, sizeof(*drives) +
					  machine->drive_count * sizeof(drives->drive[0]));

	if (drives == NULL)
		return NULL;
	drives->next_set = SET_OF_CHANGES;
	for (size_t i = 0; i < machine->drive_count; i++) {
		const struct squib_drive *config = machine->drives[i];
		struct drive *drive = &drives->drive[i];

		*drive = (struct drive){ .id = strdup(config->drive_id),
					 .read_only = config->is_read_only,
					 .flush = config->cache_type == SQUIB_CACHE_WRITEBACK,
					 .async = config->io_engine == SQUIB_IO_ENGINE_ASYNC,
					 .set = (unsigned int)i };
		if (config->rate_limiter != NULL) {
			copy_bucket(&drive->bandwidth, config->rate_limiter->bandwidth);
			copy_bucket(&drive->ops, config->rate_limiter->ops);
		}
		drives->count++;
		if (drive->id == NULL) {
			drives_free(drives);
			return NULL;
		}
	}
	return drives;
}

void drives_free(struct drives *drives)
{
	if (drives == NULL)
		return;
	for (size_t i = 0; i < drives->count; i++)
		free(drives->drive[i].id);
	free(drives);
}

PRINTF_LIKE(4, 5)
static int run(struct change *change, int fd, const char *command, const char *fmt, ...)
{
	CLEANUP(buf_done) struct buf arguments = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&arguments, fmt, ap);
	va_end(ap);
	if (buf_str(&arguments) == NULL)
		return fault_set(change->fault, -ENOMEM, "Out of memory (os error 12)");
	return qemu_command(change->qemu, command, arguments.data, fd, change->deadline_ns,
			    change->fault);
}

/* What is taken back or tidied up is not worth a fault of its own, or the one there is. */
#define run_quietly(change, ...) \
	do { \
		struct change quiet = *(change); \
		quiet.fault = NULL; \
		run(&quiet, -1, __VA_ARGS__); \
	} while (0)

static void drop_node(struct change *change, const char *kind, unsigned int generation,
		      unsigned int set)
{
	run_quietly(change, "blockdev-del", "{\"node-name\":\"%s%zu.%u\"}", kind, change->index,
		    generation);
	run_quietly(change, "remove-fd", "{\"fdset-id\":%u}", set);
}

static int give_node(struct change *change, const char *kind, unsigned int generation)
{
	return run(change, -1, "qom-set", "{\"path\":\"/machine/peripheral/disk%zu\","
		   "\"property\":\"drive\",\"value\":\"%s%zu.%u\"}", change->index, kind,
		   change->index, generation);
}

/* As args.c does for the first one */
static int add_node(struct change *change, int fd, unsigned int generation, unsigned int set)
{
	const struct drive *drive = change->drive;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return fault_set(change->fault, -errno, "cannot read the file's size");
	r = run(change, fd, "add-fd", "{\"fdset-id\":%u}", set);
	if (r < 0)
		return r;
	r = run(change, -1, "blockdev-add", "{\"driver\":\"throttle\",\"node-name\":\"drive%zu.%u\","
		"\"throttle-group\":\"limit%zu\",\"read-only\":%s,\"file\":{\"driver\":\"raw\","
		"\"size\":%llu,\"file\":{\"driver\":\"file\",\"filename\":\"/dev/fdset/%u\","
		"\"auto-read-only\":false,\"locking\":\"off\",\"aio\":\"%s\",\"cache\":"
		"{\"no-flush\":%s}}}}", change->index, generation, change->index,
		drive->read_only ? "true" : "false",
		(unsigned long long)st.st_size / SECTOR_BYTES * SECTOR_BYTES, set,
		drive->async ? "io_uring" : "threads", drive->flush ? "false" : "true");
	if (r < 0)
		run_quietly(change, "remove-fd", "{\"fdset-id\":%u}", set);
	return r;
}

static int add_swap_node(struct change *change)
{
	CLEANUP(fd_close) int fd = memfd_create("swap", MFD_CLOEXEC);
	int r;

	if (fd < 0 || ftruncate(fd, SECTOR_BYTES) < 0)
		return fault_set(change->fault, -errno, "cannot make a memory file");
	r = run(change, fd, "add-fd", "{\"fdset-id\":%u}", SET_OF_SWAP);
	if (r < 0)
		return r;
	r = run(change, -1, "blockdev-add", "{\"driver\":\"raw\",\"node-name\":\"swap%zu.0\","
		"\"file\":{\"driver\":\"file\",\"filename\":\"/dev/fdset/%u\",\"locking\":\"off\"}}",
		change->index, SET_OF_SWAP);
	if (r < 0)
		run_quietly(change, "remove-fd", "{\"fdset-id\":%u}", SET_OF_SWAP);
	return r;
}

/* With the guest stopped and all nodes there. On failure the device has its old node again. */
static int exchange(struct change *change, unsigned int generation)
{
	int r = give_node(change, "swap", 0);

	if (r == 0)
		r = run(change, -1, "block_resize", "{\"node-name\":\"swap%zu.0\",\"size\":%d}",
			change->index, 2 * SECTOR_BYTES);
	if (r == 0)
		r = give_node(change, "drive", generation);
	if (r < 0) {
		struct change quiet = *change;

		quiet.fault = NULL;
		give_node(&quiet, "drive", change->drive->generation);
	}
	return r;
}

static int change_node(struct change *change, int fd, unsigned int set)
{
	struct drive *drive = change->drive;
	unsigned int generation = drive->generation + 1;
	int r = add_node(change, fd, generation, set);

	if (r < 0)
		return r;
	r = add_swap_node(change);
	if (r == 0) {
		r = exchange(change, generation);
		drop_node(change, "swap", 0, SET_OF_SWAP);
	}
	if (r < 0) {
		drop_node(change, "drive", generation, set);
		return r;
	}
	drop_node(change, "drive", drive->generation, drive->set);
	drive->generation = generation;
	drive->set = set;
	return 0;
}

static int change_file(struct change *change, int fd, unsigned int set, bool paused)
{
	int r = paused ? 0 : qemu_command(change->qemu, "stop", NULL, -1, change->deadline_ns,
					  change->fault);

	if (r == 0)
		r = change_node(change, fd, set);
	if (!paused) {		/* also after a "stop" that was not answered: it may come yet */
		int resumed = qemu_command(change->qemu, "cont", NULL, -1, change->deadline_ns,
					   r < 0 ? NULL : change->fault);

		if (r == 0)
			r = resumed;
	}
	return r;
}

static int change_limits(struct change *change, const struct throttle *bytes,
			 const struct throttle *ops)
{
	CLEANUP(buf_done) struct buf limits = BUF_INIT;

	throttle_json(&limits, bytes, ops);
	if (buf_str(&limits) == NULL)
		return fault_set(change->fault, -ENOMEM, "Out of memory (os error 12)");
	return run(change, -1, "qom-set", "{\"path\":\"/objects/limit%zu\",\"property\":\"limits\","
		   "\"value\":%s}", change->index, limits.data);
}

/* As the drive had them; the first fault is the one to tell. */
static void restore_limits(struct change *change)
{
	struct change quiet = *change;
	struct throttle bytes, ops;

	quiet.fault = NULL;
	if (throttle_from_bucket(&change->drive->bandwidth, &bytes) == NULL &&
	    throttle_from_bucket(&change->drive->ops, &ops) == NULL)
		change_limits(&quiet, &bytes, &ops);
}

static int update_drive(struct drives *drives, struct change *change,
			const struct squib_drive_update *update, int file_fd, bool paused)
{
	struct drive *drive = change->drive;
	struct squib_token_bucket bandwidth = drive->bandwidth, buckets_ops = drive->ops;
	struct throttle bytes, ops;
	const char *refused;
	int r = 0;

	if (update->rate_limiter != NULL) {
		copy_bucket(&bandwidth, update->rate_limiter->bandwidth);
		copy_bucket(&buckets_ops, update->rate_limiter->ops);
	}
	refused = throttle_from_bucket(&bandwidth, &bytes);
	if (refused == NULL)
		refused = throttle_from_bucket(&buckets_ops, &ops);
	if (refused != NULL)
		return fault_set(change->fault, -ENOTSUP, "the qemu engine does not support a rate "
				 "limiter with %s yet (drive %s)", refused, drive->id);
	/* the limits first: they can be set back with one command, the file cannot */
	if (update->rate_limiter != NULL)
		r = change_limits(change, &bytes, &ops);
	if (r == 0 && file_fd >= 0) {
		r = change_file(change, file_fd, drives->next_set++, paused);
		if (r < 0 && update->rate_limiter != NULL)
			restore_limits(change);
	}
	if (r == 0) {
		drive->bandwidth = bandwidth;
		drive->ops = buckets_ops;
	}
	return r;
}

int drives_update(struct drives *drives, struct qemu_engine *qemu,
		  const struct squib_drive_update *update, int file_fd, bool paused,
		  uint64_t deadline_ns, struct fault *fault)
{
	for (size_t i = 0; i < drives->count; i++) {
		struct change change = { .qemu = qemu, .drive = &drives->drive[i], .index = i,
					 .deadline_ns = deadline_ns, .fault = fault };
		int r;

		if (strcmp(drives->drive[i].id, update->drive_id) != 0)
			continue;
		r = update_drive(drives, &change, update, file_fd, paused);
		if (r < 0)
			fault_prefix(fault, "Block: ");
		return r;
	}
	return fault_set(fault, -ENODEV, "Failed perform action on device: Device not found");
}
