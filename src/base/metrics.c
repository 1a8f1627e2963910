/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is rendered, under the writer's lock, into one preallocated buffer and written by one
 * write(). Rendering notes in each counter up to which value the line tells ("telling"); only when
 * the line is accepted does that become what was told. So nothing added meanwhile is lost, and
 * what a dropped line would have told is in the next one.
 *
 * A FIFO that is nearly full takes a part of a line. The rest stays in the buffer and goes first
 * next time, so a reader never sees two halves joined.
 *
 * The writer knows a group as a list of members with their kinds; where a member lies follows
 * from the sizes of those before it (asserted below).
 *
 * Rendering uses nothing a signal handler must not: no allocation, no stdio, no locale.
 */
#include "base/metrics.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/fd.h"

#define LINE_CAP	  65536	/* clients read lines of at most 64 KiB; untouched pages are free */
#define SIGNAL_WAIT_TRIES 20	/* of 1 ms */

struct metrics_writer {
	pthread_mutex_t lock;	/* everything here, "told", "telling" and the lists of devices */
	int fd;			/* -1: not configured */
	struct buf head;	/* the "id" and "properties" part */
	char *line;
	size_t cap;
	size_t written;		/* line[written, len) still belongs into the file */
	size_t len;
};

struct metrics_device {
	struct metrics_device *next;
	char *id;
	struct buf key;		/* the member name and its colon */
	alignas(max_align_t) unsigned char counters[];
};

enum member_kind { MEMBER_COUNT, MEMBER_VALUE, MEMBER_TIME };

struct member {
	enum member_kind kind;
	const char *key;	/* "name": */
};

enum group_kind { GROUP_PLAIN, GROUP_DEVICES, GROUP_DEVICES_WITHOUT_SUM };

struct group {
	enum group_kind kind;
	const char *name;
	const char *key;	/* "name": */
	const struct member *members;
	size_t member_count;
	size_t size;
	size_t offset;		/* in struct metrics: the group, or what its gone devices left */
	size_t first_offset;	/* in struct metrics: the list of devices */
};

#define TABLE_COUNT(name) { MEMBER_COUNT, "\"" #name "\":" },
#define TABLE_VALUE(name) { MEMBER_VALUE, "\"" #name "\":" },
#define TABLE_TIME(name)  { MEMBER_TIME, "\"" #name "\":" },
#define SIZE_COUNT(name)  + sizeof(struct metric_count)
#define SIZE_VALUE(name)  + sizeof(struct metric_value)
#define SIZE_TIME(name)	  + sizeof(struct metric_time)
#define TABLE(name, MEMBERS) \
	static const struct member name##_members[] = { \
		MEMBERS(TABLE_COUNT, TABLE_VALUE, TABLE_TIME) \
	}; \
	static_assert(sizeof(struct metrics_##name) == \
		      0 MEMBERS(SIZE_COUNT, SIZE_VALUE, SIZE_TIME), "no padding between members");
METRICS_GROUPS(TABLE, TABLE, TABLE)

#define GROUP(id, group_kind, data, list) { \
		.kind = group_kind, .name = #id, .key = "\"" #id "\":", \
		.members = id##_members, .member_count = ARRAY_SIZE(id##_members), \
		.size = sizeof(struct metrics_##id), \
		.offset = offsetof(struct metrics, data), \
		.first_offset = offsetof(struct metrics, list), \
	},
#define GROUP_G(name, MEMBERS) GROUP(name, GROUP_PLAIN, name, name)
#define GROUP_D(name, MEMBERS) GROUP(name, GROUP_DEVICES, name.gone, name.first)
#define GROUP_V(name, MEMBERS) GROUP(name, GROUP_DEVICES_WITHOUT_SUM, name.gone, name.first)
static const struct group groups[] = { METRICS_GROUPS(GROUP_G, GROUP_D, GROUP_V) };

static size_t member_size(const struct member *member)
{
	static const size_t sizes[] = {
		[MEMBER_COUNT] = sizeof(struct metric_count),
		[MEMBER_VALUE] = sizeof(struct metric_value),
		[MEMBER_TIME] = sizeof(struct metric_time),
	};

	return sizes[member->kind];
}

static void *group_data(struct metrics *metrics, const struct group *group)
{
	return (char *)metrics + group->offset;
}

static struct metrics_device **group_first(struct metrics *metrics, const struct group *group)
{
	return (struct metrics_device **)((char *)metrics + group->first_offset);
}

static bool group_is_told(struct metrics *metrics, const struct group *group)
{
	return group_data(metrics, group) != &metrics->rtc || metrics->has_rtc;
}

static uint64_t load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

void metrics_time(struct metric_time *time, uint64_t us)
{
	uint64_t min = load(&time->min_us.value);
	uint64_t max = load(&time->max_us.value);

	metrics_add(&time->sum_us, us);
	while ((min == 0 || us < min) &&
	       !atomic_compare_exchange_weak_explicit(&time->min_us.value, &min, us,
						      memory_order_relaxed, memory_order_relaxed))
		;
	while (us > max &&
	       !atomic_compare_exchange_weak_explicit(&time->max_us.value, &max, us,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

/*
 * Rendering. What does not fit is counted but not stored, so len tells the room a line needs.
 */

static void line_add(struct metrics_writer *writer, const char *data, size_t len)
{
	if (len > 0 && writer->len <= writer->cap && len <= writer->cap - writer->len)
		memcpy(writer->line + writer->len, data, len);
	writer->len += len;
}

static void line_adds(struct metrics_writer *writer, const char *s)
{
	line_add(writer, s, strlen(s));
}

static void line_addu(struct metrics_writer *writer, uint64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	line_add(writer, digits + at, sizeof(digits) - at);
}

static uint64_t count_tell(struct metric_count *count)
{
	count->telling = load(&count->value);
	return count->telling - count->told;
}

static void line_add_time(struct metrics_writer *writer, uint64_t min, uint64_t max, uint64_t sum)
{
	line_adds(writer, "{\"min_us\":");
	line_addu(writer, min);
	line_adds(writer, ",\"max_us\":");
	line_addu(writer, max);
	line_adds(writer, ",\"sum_us\":");
	line_addu(writer, sum);
	line_adds(writer, "}");
}

static void line_add_member(struct metrics_writer *writer, enum member_kind kind, void *data)
{
	struct metric_value *value = data;
	struct metric_time *time = data;

	switch (kind) {
	case MEMBER_COUNT:
		line_addu(writer, count_tell(data));
		break;
	case MEMBER_VALUE:
		line_addu(writer, load(&value->value));
		break;
	case MEMBER_TIME:
		line_add_time(writer, load(&time->min_us.value), load(&time->max_us.value),
			      count_tell(&time->sum_us));
		break;
	}
}

static void line_add_group(struct metrics_writer *writer, const struct group *group, void *data)
{
	char *at = data;

	for (size_t i = 0; i < group->member_count; i++) {
		line_adds(writer, i == 0 ? "{" : ",");
		line_adds(writer, group->members[i].key);
		line_add_member(writer, group->members[i].kind, at);
		at += member_size(&group->members[i]);
	}
	line_adds(writer, "},");
}

/* The counter at @offset of a group, or the sum of the time there; its devices were rendered. */
static struct metric_count *count_at(void *data, size_t offset, enum member_kind kind)
{
	void *member = (char *)data + offset;

	return kind == MEMBER_TIME ? &((struct metric_time *)member)->sum_us : member;
}

static uint64_t devices_sum(struct metrics *metrics, const struct group *group, size_t offset,
			    enum member_kind kind)
{
	uint64_t sum = count_tell(count_at(group_data(metrics, group), offset, kind));

	for (struct metrics_device *device = *group_first(metrics, group); device != NULL;
	     device = device->next) {
		struct metric_count *count = count_at(device->counters, offset, kind);

		sum += count->telling - count->told;
	}
	return sum;
}

/* As upstream, the sum has no minimum and maximum. */
static void line_add_sum(struct metrics_writer *writer, struct metrics *metrics,
			 const struct group *group)
{
	size_t offset = 0;

	line_adds(writer, group->key);	/* classes with a sum have no stored values */
	for (size_t i = 0; i < group->member_count; i++) {
		const struct member *member = &group->members[i];
		uint64_t sum = devices_sum(metrics, group, offset, member->kind);

		line_adds(writer, i == 0 ? "{" : ",");
		line_adds(writer, member->key);
		if (member->kind == MEMBER_TIME)
			line_add_time(writer, 0, 0, sum);
		else
			line_addu(writer, sum);
		offset += member_size(member);
	}
	line_adds(writer, "},");
}

static void line_add_devices(struct metrics_writer *writer, struct metrics *metrics,
			     const struct group *group)
{
	for (struct metrics_device *device = *group_first(metrics, group); device != NULL;
	     device = device->next) {
		line_add(writer, device->key.data, device->key.len);
		line_add_group(writer, group, device->counters);
	}
	if (group->kind == GROUP_DEVICES)
		line_add_sum(writer, metrics, group);
}

static void line_render(struct metrics_writer *writer, struct metrics *metrics)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	writer->len = 0;
	line_adds(writer, "{\"utc_timestamp_ms\":");
	line_addu(writer, (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
	line_adds(writer, ",");
	line_add(writer, writer->head.data, writer->head.len);
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		if (groups[i].kind != GROUP_PLAIN) {
			line_add_devices(writer, metrics, &groups[i]);
		} else if (group_is_told(metrics, &groups[i])) {
			line_adds(writer, groups[i].key);
			line_add_group(writer, &groups[i], group_data(metrics, &groups[i]));
		}
	}
	writer->len--;		/* the last comma; the brace takes its place */
	line_adds(writer, "}\n");
}

/* The rendered line is on its way: what it tells counts as told. */

static void group_settle(const struct group *group, void *data)
{
	size_t offset = 0;

	for (size_t i = 0; i < group->member_count; i++) {
		const struct member *member = &group->members[i];

		if (member->kind != MEMBER_VALUE) {
			struct metric_count *count = count_at(data, offset, member->kind);

			count->told = count->telling;
		}
		offset += member_size(member);
	}
}

static void line_settle(struct metrics *metrics)
{
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		group_settle(&groups[i], group_data(metrics, &groups[i]));
		if (groups[i].kind == GROUP_PLAIN)
			continue;
		for (struct metrics_device *device = *group_first(metrics, &groups[i]);
		     device != NULL; device = device->next)
			group_settle(&groups[i], device->counters);
	}
}

/* Write on at line[written]. 0 when nothing is left, or -errno */
static int line_write_on(struct metrics_writer *writer)
{
	while (writer->written < writer->len) {
		ssize_t n = write(writer->fd, writer->line + writer->written,
				  writer->len - writer->written);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		writer->written += (size_t)n;
	}
	return 0;
}

static int line_grow(struct metrics_writer *writer)
{
	size_t cap = writer->len + LINE_CAP;
	char *line = malloc(cap);	/* nothing of the old one is needed */

	if (line == NULL)
		return -ENOMEM;
	free(writer->line);
	writer->line = line;
	writer->cap = cap;
	return 0;
}

static int line_make(struct metrics *metrics, bool may_allocate)
{
	struct metrics_writer *writer = metrics->writer;
	int r = line_write_on(writer);

	if (r < 0)
		return r;
	line_render(writer, metrics);
	writer->written = 0;
	if (writer->len > writer->cap && may_allocate && line_grow(writer) == 0)
		line_render(writer, metrics);	/* digits may have grown since, not by that much */
	if (writer->len > writer->cap)
		r = -ENOMEM;
	else
		r = line_write_on(writer);
	if (writer->written > 0) {
		line_settle(metrics);
		return 1;
	}
	writer->len = 0;
	return r;
}

static int metrics_write_locked(struct metrics *metrics, bool may_allocate)
{
	int r;

	if (metrics->writer->fd < 0)
		return 0;
	r = line_make(metrics, may_allocate);
	if (r < 0)
		metrics_inc(&metrics->logger.missed_metrics_count);
	return r;
}

int metrics_write(struct metrics *metrics)
{
	int r;

	pthread_mutex_lock(&metrics->writer->lock);
	r = metrics_write_locked(metrics, true);
	pthread_mutex_unlock(&metrics->writer->lock);
	return r;
}

int metrics_write_from_signal(struct metrics *metrics)
{
	int r;

	/* a compare and exchange in both C libraries we link, so fit for a handler */
	for (int i = 0; pthread_mutex_trylock(&metrics->writer->lock) != 0; i++) {
		if (i == SIGNAL_WAIT_TRIES)
			return -EBUSY;
		poll(NULL, 0, 1);
	}
	r = metrics_write_locked(metrics, false);
	pthread_mutex_unlock(&metrics->writer->lock);
	return r;
}

/*
 * Opening
 */

static int property_compare(const void *a, const void *b)
{
	const struct squib_property *const *left = a;
	const struct squib_property *const *right = b;
	int order = strcmp((*left)->name, (*right)->name);

	if (order != 0)
		return order;
	return *left < *right ? -1 : *left > *right;	/* as sent */
}

/* Sorted by name, and of several with one name the last, as upstream's map has them. */
static int head_add_properties(struct buf *head, const struct squib_metrics *config)
{
	const struct squib_property **sorted;
	size_t count = config->property_count;
	const char *comma = "";

	sorted = calloc(count + 1, sizeof(*sorted));	/* the last is NULL */
	if (sorted == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &config->properties[i];
	qsort(sorted, count, sizeof(*sorted), property_compare);
	buf_adds(head, "\"properties\":{");
	for (size_t i = 0; i < count; i++) {
		if (sorted[i + 1] != NULL && strcmp(sorted[i]->name, sorted[i + 1]->name) == 0)
			continue;
		buf_adds(head, comma);
		buf_add_json_string(head, sorted[i]->name, strlen(sorted[i]->name));
		buf_addc(head, ':');
		buf_add_json_string(head, sorted[i]->value, strlen(sorted[i]->value));
		comma = ",";
	}
	buf_adds(head, "},");
	free(sorted);
	return 0;
}

static int head_make(struct buf *head, const struct squib_metrics *config, const char *id)
{
	if (config->emit_id) {
		buf_adds(head, "\"id\":");
		buf_add_json_string(head, id, strlen(id));
		buf_addc(head, ',');
	}
	if (config->properties != NULL && head_add_properties(head, config) < 0)
		return -ENOMEM;
	return buf_error(head);
}

static int writer_open(struct metrics_writer *writer, int *fd, const struct squib_metrics *config,
		       const char *id)
{
	int r;

	if (writer->fd >= 0)
		return -EALREADY;
	buf_reset(&writer->head);
	r = head_make(&writer->head, config, id);
	if (r < 0)
		return r;
	free(writer->line);
	writer->line = malloc(LINE_CAP);
	if (writer->line == NULL)
		return -ENOMEM;
	writer->cap = LINE_CAP;
	writer->fd = fd_take(fd);
	return 0;
}

static int open_fault(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error,
			 "Cannot initialize the metrics system due to bad user input: %s",
			 error == -EALREADY ? "Reinitialization of metrics not allowed." :
					      os_error(error, text));
}

int metrics_open(struct metrics *metrics, const struct squib_metrics *config, const char *id,
		 struct fault *fault)
{
	/*
	 * For reading too: a FIFO then opens without a reader and never breaks. Appending: a file
	 * that is rotated by copying and truncating goes on at its new end.
	 */
	CLEANUP(fd_close) int fd = open(config->metrics_path,
					O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
					0666);
	int r;

	if (fd < 0)		/* upstream, too, looks at the path first */
		return open_fault(fault, -errno);
	pthread_mutex_lock(&metrics->writer->lock);
	r = writer_open(metrics->writer, &fd, config, id);
	pthread_mutex_unlock(&metrics->writer->lock);
	return r < 0 ? open_fault(fault, r) : 0;
}

/*
 * Devices
 */

static void device_free(struct metrics_device *device)
{
	if (device == NULL)
		return;
	buf_done(&device->key);
	free(device->id);
	free(device);
}

static struct metrics_device *device_new(const struct group *group, const char *id)
{
	struct metrics_device *device = calloc(1, sizeof(*device) + group->size);
	CLEANUP(buf_done) struct buf name = BUF_INIT;

	if (device == NULL)
		return NULL;
	buf_addf(&name, "%s_%s", group->name, id);
	buf_add_json_string(&device->key, buf_error(&name) == 0 ? name.data : "", name.len);
	buf_addc(&device->key, ':');
	device->id = strdup(id);
	if (device->id == NULL || buf_error(&name) < 0 || buf_error(&device->key) < 0) {
		device_free(device);
		return NULL;
	}
	return device;
}

static void *device_register(struct metrics *metrics, const struct group *group, const char *id)
{
	struct metrics_device **at = group_first(metrics, group);
	struct metrics_device *device;

	while (*at != NULL && strcmp((*at)->id, id) < 0)
		at = &(*at)->next;
	if (*at != NULL && strcmp((*at)->id, id) == 0)
		return (*at)->counters;
	device = device_new(group, id);
	if (device == NULL)
		return NULL;
	device->next = *at;
	*at = device;
	return device->counters;
}

/* What @data counted and no line told, to the sum of its class. */
static void device_bequeath(struct metrics *metrics, const struct group *group, void *data)
{
	size_t offset = 0;

	for (size_t i = 0; i < group->member_count; i++) {
		enum member_kind kind = group->members[i].kind;

		if (kind != MEMBER_VALUE) {
			struct metric_count *count = count_at(data, offset, kind);

			metrics_add(count_at(group_data(metrics, group), offset, kind),
				    load(&count->value) - count->told);
		}
		offset += member_size(&group->members[i]);
	}
}

static void device_unregister(struct metrics *metrics, const struct group *group, void *counters)
{
	struct metrics_device **at = group_first(metrics, group);
	struct metrics_device *device;

	while (*at != NULL && (*at)->counters != counters)
		at = &(*at)->next;
	device = *at;
	if (device == NULL)	/* counters is NULL */
		return;
	device_bequeath(metrics, group, counters);
	*at = device->next;
	device_free(device);
}

static const struct group *group_of(struct metrics *metrics, void *gone)
{
	size_t i = 0;

	while (group_data(metrics, &groups[i]) != gone)
		i++;
	return &groups[i];
}

#define NO_FUNCTIONS(name, MEMBERS)
#define DEVICE_FUNCTIONS(class, MEMBERS) \
	struct metrics_##class *metrics_##class##_register(struct metrics *metrics, const char *id) \
	{ \
		struct metrics_##class *device; \
\
		pthread_mutex_lock(&metrics->writer->lock); \
		device = device_register(metrics, group_of(metrics, &metrics->class.gone), id); \
		pthread_mutex_unlock(&metrics->writer->lock); \
		return device; \
	} \
\
	void metrics_##class##_unregister(struct metrics *metrics, struct metrics_##class *device) \
	{ \
		pthread_mutex_lock(&metrics->writer->lock); \
		device_unregister(metrics, group_of(metrics, &metrics->class.gone), device); \
		pthread_mutex_unlock(&metrics->writer->lock); \
	}
METRICS_GROUPS(NO_FUNCTIONS, DEVICE_FUNCTIONS, DEVICE_FUNCTIONS)

int metrics_new(struct metrics **ret_metrics)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (metrics == NULL)
		return -ENOMEM;
	metrics->writer = calloc(1, sizeof(*metrics->writer));
	if (metrics->writer == NULL) {
		free(metrics);
		return -ENOMEM;
	}
	pthread_mutex_init(&metrics->writer->lock, NULL);
	metrics->writer->fd = -1;
	*ret_metrics = metrics;
	return 0;
}

static void devices_free(struct metrics_device **first)
{
	while (*first != NULL) {
		struct metrics_device *device = *first;

		*first = device->next;
		device_free(device);
	}
}

void metrics_free(struct metrics *metrics)
{
	struct metrics_writer *writer;

	if (metrics == NULL)
		return;
	writer = metrics->writer;
	if (writer->fd >= 0)
		line_write_on(writer);	/* leave no half line behind if it can be helped */
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (groups[i].kind != GROUP_PLAIN)
			devices_free(group_first(metrics, &groups[i]));
	fd_close(writer->fd);
	pthread_mutex_destroy(&writer->lock);
	buf_done(&writer->head);
	free(writer->line);
	free(writer);
	free(metrics);
}
