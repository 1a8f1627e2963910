/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line is made in one buffer under one lock and handed over by one write(). FIFOs take up to
 * PIPE_BUF bytes whole or not at all; a longer line may be cut when the reader is slow, and then
 * the next one starts on a line of its own.
 *
 * The target is opened for appending: files that clients made in advance keep what is in them,
 * and a file that logrotate copies and truncates goes on at its new end instead of growing a hole.
 *
 * Standard output is not ours alone, so it may block, and whoever started us may never read it. We
 * poll it first and wait a moment, once; from then on lines are lost until it takes some again.
 * When its reader is gone, one line raises SIGPIPE, and those behind it are not tried.
 *
 * What handlers of signals read is atomic; they may interrupt the holder of the lock.
 */
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/loop.h"
#include "base/metrics.h"

#define LIMIT_BURST	    10
#define LIMIT_REFILL_MS	    5000
#define LIMIT_SITES	    256
#define LINE_KEPT_BYTES	    4096	/* a longer line's memory is given back */
#define SIGNAL_LINE_BYTES   512
#define SIGNAL_WAIT_TRIES   5		/* of 1 ms */
#define STUCK_WAIT_MS	    200		/* for a slow reader of standard output */
#define THREAD_NAME_BYTES   16

struct log_site {
	_Atomic uint64_t key;		/* 0: free */
	_Atomic uint64_t state;
};

struct log {
	_Atomic int level;		/* first: log_level_is_on() reads it */
	_Atomic int fd;
	_Atomic bool show_level;
	_Atomic bool show_log_origin;
	_Atomic bool stuck;		/* standard output took nothing; do not wait for it again */
	bool stdout_may_block;
	_Atomic long utc_offset_s;	/* of the last line; handlers cannot ask for it */
	_Atomic(struct metrics_logger *) counters;
	char *id;
	char process_name[THREAD_NAME_BYTES];	/* threads that were given no name have this */
	pthread_mutex_t lock;		/* everything below */
	char *module;			/* NULL: no filter */
	struct buf line;
	bool torn;			/* the last line was cut before its newline */
	struct log_site sites[LIMIT_SITES];
};

static_assert(offsetof(struct log, level) == 0, "log_level_is_on()");

/* A line up to its message; fits any id and thread, and cuts off absurd paths. */
struct head {
	char data[SIGNAL_LINE_BYTES];
	size_t len;
};

static void head_add(struct head *head, const char *s)
{
	size_t len = strlen(s);
	size_t room = sizeof(head->data) - head->len;

	if (len > room)
		len = room;
	memcpy(head->data + head->len, s, len);
	head->len += len;
}

static void head_addu(struct head *head, uint64_t n, int width)
{
	char digits[21] = "";
	size_t at = sizeof(digits) - 1;

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) > 0 || (int)(sizeof(digits) - 1 - at) < width);
	head_add(head, digits + at);
}

static void head_add_field(struct head *head, uint64_t n, int width, const char *end)
{
	head_addu(head, n, width);
	head_add(head, end);
}

/*
 * Date and time of @seconds since 1970, which is local time: gmtime_r() by hand, as handlers must
 * not call it. Years begin in March here, so that the leap day is the last; 400 of them have
 * 146097 days, and day 0 is 1 March of the year 0.
 */
static void head_add_time(struct head *head, uint64_t seconds, uint64_t nanoseconds)
{
	uint64_t days = seconds / 86400 + 719468;
	uint64_t of_day = seconds % 86400;
	uint64_t era = days / 146097;
	uint64_t of_era = days % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t month = (5 * of_year + 2) / 153;	/* 0: March */
	uint64_t day = of_year - (153 * month + 2) / 5 + 1;

	head_add_field(head, era * 400 + year + (month >= 10), 1, "-");
	head_add_field(head, month < 10 ? month + 3 : month - 9, 2, "-");
	head_add_field(head, day, 2, "T");
	head_add_field(head, of_day / 3600, 2, ":");
	head_add_field(head, of_day / 60 % 60, 2, ":");
	head_add_field(head, of_day % 60, 2, ".");
	head_add_field(head, nanoseconds, 9, " ");
}

/* "src/api/server.c" of whatever path the compiler was given. */
static const char *source_path(const char *file)
{
	const char *path = file;

	for (const char *at = strstr(file, "src/"); at != NULL; at = strstr(at + 1, "src/"))
		if (at == file || at[-1] == '/')
			path = at;
	return path;
}

static const char *level_name(enum squib_log_level level)
{
	static const char *const names[] = {
		[SQUIB_LOG_OFF] = "OFF",
		[SQUIB_LOG_ERROR] = "ERROR",
		[SQUIB_LOG_WARN] = "WARN",
		[SQUIB_LOG_INFO] = "INFO",
		[SQUIB_LOG_DEBUG] = "DEBUG",
		[SQUIB_LOG_TRACE] = "TRACE",
	};

	return names[level];
}

static void head_make(struct head *head, struct log *log, const struct timespec *now,
		      const char *thread, enum squib_log_level level, const char *file, int line)
{
	head_add_time(head, (uint64_t)(now->tv_sec + atomic_load(&log->utc_offset_s)),
		      (uint64_t)now->tv_nsec);
	head_add(head, "[");
	head_add(head, log->id);
	head_add(head, ":");
	head_add(head, thread);
	if (atomic_load(&log->show_level)) {
		head_add(head, ":");
		head_add(head, level_name(level));
	}
	if (atomic_load(&log->show_log_origin)) {
		head_add(head, ":");
		head_add(head, source_path(file));
		head_add(head, ":");
		head_addu(head, (uint64_t)line, 1);
	}
	head_add(head, "] ");
}

/*
 * The name is asked for once a thread, when @may_ask; a filter of system calls that is installed
 * later need not allow it. The only state outside struct log, and each thread's own.
 */
static const char *thread_name(const struct log *log, bool may_ask)
{
	static _Thread_local char name[THREAD_NAME_BYTES];

	if (name[0] != '\0' || !may_ask)
		return name[0] != '\0' ? name : "-";
	if (syscall(SYS_gettid) == getpid())
		strcpy(name, "main");
	else if (prctl(PR_GET_NAME, name) < 0 || name[0] == '\0' ||
		 strcmp(name, log->process_name) == 0)
		strcpy(name, "-");
	return name;
}

static void count_loss(struct log *log)
{
	struct metrics_logger *counters = atomic_load(&log->counters);

	if (counters != NULL)
		metrics_inc(&counters->missed_log_count);
}

/*
 * The module filter
 */

static bool has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Where upstream would have the code of our files; the first that fits counts. */
static const struct {
	const char *path;
	const char *module;
} upstream_modules[] = {
	{ "api/", "firecracker::api_server::" },
	{ "http/", "firecracker::api_server::" },
	{ "json/", "firecracker::api_server::request::" },
	{ "config/", "firecracker::api_server::request::" },
	{ "cli/", "firecracker::" },
	{ "jailer/", "jailer::" },
	{ "base/log", "vmm::logger::" },
	{ "base/metrics", "vmm::logger::metrics::" },
	{ "base/", "vmm::utils::" },
	{ "mem/", "vmm::vstate::memory::" },
	{ "net/tap", "vmm::devices::virtio::net::tap::" },
	{ "net/", "vmm::dumbo::" },
	{ "mmds/", "vmm::mmds::" },
	{ "virtio/", "vmm::devices::virtio::" },
	{ "vhost_user/", "vmm::devices::virtio::vhost_user::" },
	{ "legacy/", "vmm::devices::legacy::" },
	{ "boot/", "vmm::arch::" },
	{ "engine/", "vmm::vstate::" },
	{ "", "vmm::" },
};

/* @path below src/, with its slashes as "::" and without its ending, behind @prefix */
static void module_make(struct head *module, const char *prefix, const char *path)
{
	size_t stem_len = strcspn(path, ".");

	module->len = 0;
	head_add(module, prefix);
	for (size_t i = 0; i < stem_len; i++)
		head_add(module, path[i] == '/' ? "::" : (char[]){ path[i], '\0' });
	if (module->len == sizeof(module->data))
		module->len--;
	module->data[module->len] = '\0';
}

static bool module_matches(const char *filter, const char *file)
{
	const char *source = source_path(file);
	const char *path = has_prefix(source, "src/") ? source + 4 : source;
	struct head module;
	size_t i = 0;

	if (has_prefix(source, filter) || has_prefix(path, filter))
		return true;
	module_make(&module, "", path);
	if (has_prefix(module.data, filter))
		return true;
	while (!has_prefix(path, upstream_modules[i].path))
		i++;
	path += strcspn(path, "/");
	module_make(&module, upstream_modules[i].module, *path == '/' ? path + 1 : path);
	return has_prefix(module.data, filter) ||
	       (has_prefix(module.data, "firecracker::") &&
		has_prefix(module.data + strlen("firecracker::"), filter));
}

/*
 * Writing
 */

/* What polls writable takes PIPE_BUF bytes without blocking (a terminal, less, but soon). */
static int stdout_poll(struct log *log)
{
	struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };
	bool stuck = atomic_load(&log->stuck);

	if (poll(&p, 1, 0) != 1 && (stuck || poll(&p, 1, STUCK_WAIT_MS) != 1))
		return -EAGAIN;
	return stuck && (p.revents & POLLERR) != 0 ? -EPIPE : 0;
}

static ssize_t stdout_write(struct log *log, const char *data, size_t len)
{
	ssize_t n = stdout_poll(log);

	if (n == 0) {
		n = write(STDOUT_FILENO, data, len < PIPE_BUF ? len : PIPE_BUF);
		n = n < 0 ? -errno : n;
	}
	atomic_store(&log->stuck, n < 0);
	return n;
}

/* All of it, or -errno; *@ret_written tells how much went out even then. */
static int write_all(struct log *log, const char *data, size_t len, size_t *ret_written)
{
	int fd = atomic_load(&log->fd);
	bool may_block = fd == STDOUT_FILENO && log->stdout_may_block;

	*ret_written = 0;
	while (*ret_written < len) {
		const char *rest = data + *ret_written;
		size_t rest_len = len - *ret_written;
		ssize_t n;

		if (may_block) {
			n = stdout_write(log, rest, rest_len);
		} else {
			n = write(fd, rest, rest_len);
			n = n < 0 ? -errno : n;
		}
		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		*ret_written += (size_t)n;
	}
	return 0;
}

static void line_out(struct log *log)
{
	size_t written = 0;

	if (buf_error(&log->line) < 0 ||
	    write_all(log, log->line.data, log->line.len, &written) < 0) {
		count_loss(log);
		log->torn = log->torn || written > 0;
	} else {
		log->torn = false;
	}
	if (log->line.cap > LINE_KEPT_BYTES)
		buf_done(&log->line);
	buf_reset(&log->line);
}

static void line_write(struct log *log, enum squib_log_level level, const char *file, int line,
		       const char *fmt, va_list ap)
{
	struct head head = { .len = 0 };
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (localtime_r(&now.tv_sec, &tm) != NULL)
		atomic_store(&log->utc_offset_s, tm.tm_gmtoff);
	head_make(&head, log, &now, thread_name(log, true), level, file, line);
	if (log->torn)
		buf_addc(&log->line, '\n');
	buf_add(&log->line, head.data, head.len);
	buf_vaddf(&log->line, fmt, ap);
	buf_addc(&log->line, '\n');
	line_out(log);
}

void log_write(struct log *log, enum squib_log_level level, const char *file, int line,
	       const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (level == SQUIB_LOG_OFF || !log_level_is_on(log, level))
		return;
	va_start(ap, fmt);
	pthread_mutex_lock(&log->lock);
	if (log->module == NULL || module_matches(log->module, file))
		line_write(log, level, file, line, fmt, ap);
	pthread_mutex_unlock(&log->lock);
	va_end(ap);
	errno = saved;
}

/* The lock serves the order of lines only: fatal news go out without it too. */
static bool lock_from_signal(struct log *log)
{
	for (int i = 0; pthread_mutex_trylock(&log->lock) != 0; i++) {
		if (i == SIGNAL_WAIT_TRIES)
			return false;
		poll(NULL, 0, 1);
	}
	return true;
}

void log_write_from_signal(struct log *log, enum squib_log_level level, const char *file, int line,
			   const char *message)
{
	int saved = errno;
	struct head head = { .len = 0 };
	struct timespec now;
	size_t written;
	bool locked;

	if (!log_level_is_on(log, level))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	locked = lock_from_signal(log);
	head_make(&head, log, &now, thread_name(log, false), level, file, line);
	head_add(&head, message);
	if (head.len == sizeof(head.data))
		head.len--;
	head_add(&head, "\n");
	if ((!locked || log->module == NULL || module_matches(log->module, file)) &&
	    write_all(log, head.data, head.len, &written) < 0)
		count_loss(log);
	if (locked)
		pthread_mutex_unlock(&log->lock);
	errno = saved;
}

/*
 * Limits: the generic cell rate algorithm. The state holds in its lower 40 bits the time in ms at
 * which the allowance is full again, and above how many lines were refused since the last one.
 */

#define LIMIT_TIME_BITS 40
#define LIMIT_TIME_MASK ((UINT64_C(1) << LIMIT_TIME_BITS) - 1)
#define LIMIT_HELD_MAX	(UINT64_MAX >> LIMIT_TIME_BITS)

bool log_limit_admits(_Atomic uint64_t *state, uint64_t now_ms, uint32_t *ret_held)
{
	uint64_t old = atomic_load_explicit(state, memory_order_relaxed);
	uint64_t full_ms, held, new;
	bool admitted;

	do {
		full_ms = old & LIMIT_TIME_MASK;
		held = old >> LIMIT_TIME_BITS;
		if (full_ms < now_ms)
			full_ms = now_ms;
		full_ms += LIMIT_REFILL_MS / LIMIT_BURST;
		admitted = full_ms - now_ms <= LIMIT_REFILL_MS;
		if (admitted)
			new = full_ms & LIMIT_TIME_MASK;
		else
			new = held < LIMIT_HELD_MAX ? old + LIMIT_TIME_MASK + 1 : old;
	} while (!atomic_compare_exchange_weak_explicit(state, &old, new, memory_order_relaxed,
							memory_order_relaxed));
	*ret_held = admitted ? (uint32_t)held : 0;
	return admitted;
}

/*
 * Each call site takes the first free place from where it hashes to. There are far more places
 * than sites; should they ever run out, the last comers share one.
 */
static _Atomic uint64_t *site_state(struct log *log, const char *file, int line)
{
	uint64_t key = ((uint64_t)(uintptr_t)file << 16) + (uint64_t)line;
	size_t first = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 56);

	static_assert(LIMIT_SITES == 256, "the hash has 8 bits");
	for (size_t i = 0; i < LIMIT_SITES; i++) {
		struct log_site *site = &log->sites[(first + i) % LIMIT_SITES];
		uint64_t found = 0;

		if (atomic_compare_exchange_strong(&site->key, &found, key) || found == key)
			return &site->state;
	}
	return &log->sites[first].state;
}

bool log_site_admits(struct log *log, const char *file, int line)
{
	uint32_t held = 0;

	if (!log_limit_admits(site_state(log, file, line), clock_ns() / 1000000, &held)) {
		struct metrics_logger *counters = atomic_load(&log->counters);

		if (counters != NULL)
			metrics_inc(&counters->rate_limited_log_count);
		return false;
	}
	if (held > 0)
		log_write(log, SQUIB_LOG_WARN, file, line,
			  "%u messages were suppressed due to rate limiting", held);
	return true;
}

/*
 * Life and configuration
 */

int log_new(const char *id, struct log **ret_log)
{
	struct log *log = calloc(1, sizeof(*log));
	time_t now = time(NULL);
	struct stat st;
	struct tm tm;

	if (log == NULL)
		return -ENOMEM;
	log->id = strdup(id);
	if (log->id == NULL) {
		free(log);
		return -ENOMEM;
	}
	tzset();	/* while /etc is in sight, and before threads and handlers need it */
	if (localtime_r(&now, &tm) != NULL)
		log->utc_offset_s = tm.tm_gmtoff;
	prctl(PR_GET_NAME, log->process_name);
	pthread_mutex_init(&log->lock, NULL);
	log->level = SQUIB_LOG_INFO;
	log->fd = STDOUT_FILENO;
	log->stdout_may_block = fstat(STDOUT_FILENO, &st) == 0 && !S_ISREG(st.st_mode);
	*ret_log = log;
	return 0;
}

void log_free(struct log *log)
{
	if (log == NULL)
		return;
	if (log->fd != STDOUT_FILENO)
		fd_close(log->fd);
	pthread_mutex_destroy(&log->lock);
	buf_done(&log->line);
	free(log->module);
	free(log->id);
	free(log);
}

void log_count_losses(struct log *log, struct metrics_logger *counters)
{
	atomic_store(&log->counters, counters);
}

/*
 * Writers need not notice: the second and later targets take over the number of the one before.
 */
static void target_set(struct log *log, int *fd)
{
	int old = atomic_load(&log->fd);

	if (old != STDOUT_FILENO && dup3(*fd, old, O_CLOEXEC) >= 0)
		return;		/* the caller closes the other number */
	atomic_store(&log->fd, fd_take(fd));
	if (old != STDOUT_FILENO)
		fd_close(old);
}

static int config_fault(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Failed to open target file: %s", os_error(error, text));
}

int log_configure(struct log *log, const struct squib_logger *config, struct fault *fault)
{
	CLEANUP(fd_close) int fd = -1;
	char *module = NULL;

	if (config->log_path != NULL) {
		/* for reading too: a FIFO then opens without a reader and never breaks */
		fd = open(config->log_path,
			  O_RDWR | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
		if (fd < 0)
			return config_fault(fault, -errno);
	}
	if (config->module != NULL) {
		module = strdup(config->module);
		if (module == NULL)
			return config_fault(fault, -ENOMEM);
	}
	pthread_mutex_lock(&log->lock);
	if (fd >= 0) {
		target_set(log, &fd);
		log->torn = false;
	}
	if (module != NULL) {
		free(log->module);
		log->module = module;
	}
	if (config->show_level != NULL)
		atomic_store(&log->show_level, *config->show_level);
	if (config->show_log_origin != NULL)
		atomic_store(&log->show_log_origin, *config->show_log_origin);
	atomic_store_explicit(&log->level, config->level, memory_order_relaxed);
	pthread_mutex_unlock(&log->lock);
	return 0;
}
