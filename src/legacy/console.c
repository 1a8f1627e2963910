/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard input and output are often shared with the process that started us, and O_NONBLOCK is a
 * flag of the shared description: setting it breaks others (a shell that reads EAGAIN exits). So
 * pipes and terminals are opened anew through /proc/self/fd, which gives a description of our own.
 * Where that is refused (no /proc in a jail, a terminal of another user) we poll first and move no
 * more than a poll promises. Sockets cannot be reopened but have MSG_DONTWAIT; files never block,
 * and are used as they are, since a reopened one would begin at offset 0.
 *
 * epoll refuses files and devices such as /dev/null (EPERM). They are always ready as output; as
 * input a timer stands in for readiness, so that a large file does not hold the loop.
 */
#include "legacy/console.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/token_bucket.h"

#define INPUT_BYTES		4096
#define FOREGROUND_POLL_NS	500000000u

enum stream_kind {
	STREAM_NONBLOCKING,	/* a description of our own, O_NONBLOCK, or a file */
	STREAM_SOCKET,		/* MSG_DONTWAIT does it */
	STREAM_POLLED,		/* may block: poll first, then move what that allows */
};

struct stream {
	enum stream_kind kind;
	int fd;			/* -1: closed for good */
	size_t chunk;		/* most bytes per write */
};

struct console {
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct console_listener *listener;

	struct stream in;
	struct loop_source in_source;
	bool in_watched;
	bool in_polls;			/* epoll knows the descriptor; else in_timer stands in */
	struct loop_timer in_timer;	/* input without epoll, and a terminal in the background */
	bool guest_full;		/* wait for console_input_ready() */
	char in_data[INPUT_BYTES];	/* read but not yet taken by the guest */
	size_t in_start, in_len;

	bool is_terminal;
	bool is_raw;
	struct termios cooked;

	struct stream out;
	struct loop_source out_source;
	bool out_watched;
	bool out_short;			/* owes the listener an output_ready() */
	struct token_bucket limit;
	char out_data[CONSOLE_BUFFER_BYTES];	/* a ring */
	size_t out_start, out_len;
};

/* Streams */

static int reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* In any case a number of its own, so that input and output may be given as the same one. */
static struct stream stream_open(int fd, int flags)
{
	struct stream stream = { .kind = STREAM_NONBLOCKING, .fd = -1, .chunk = SIZE_MAX };
	bool may_block;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return stream;
	may_block = S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode);
	if (may_block)
		stream.fd = reopen(fd, flags);
	if (stream.fd >= 0)
		return stream;
	stream.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (may_block) {
		stream.kind = STREAM_POLLED;
		/* A pipe that polls writable has room for PIPE_BUF; a terminal promises a byte. */
		stream.chunk = S_ISFIFO(st.st_mode) ? PIPE_BUF : 1;
	} else if (S_ISSOCK(st.st_mode)) {
		stream.kind = STREAM_SOCKET;
	}
	return stream;
}

static void stream_close(struct stream *stream)
{
	fd_close(fd_take(&stream->fd));
}

static bool stream_is_ready(const struct stream *stream, short events)
{
	struct pollfd p = { .fd = stream->fd, .events = events };

	return poll(&p, 1, 0) == 1;
}

/* Bytes moved; 0 at the end of input; -EAGAIN when it would block; another -errno */
static ssize_t stream_read(const struct stream *stream, void *data, size_t len)
{
	ssize_t n;

	if (stream->kind == STREAM_POLLED && !stream_is_ready(stream, POLLIN))
		return -EAGAIN;
	do {
		if (stream->kind == STREAM_SOCKET)
			n = recv(stream->fd, data, len, MSG_DONTWAIT);
		else
			n = read(stream->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t stream_write(const struct stream *stream, const void *data, size_t len)
{
	ssize_t n;

	if (stream->kind == STREAM_POLLED && !stream_is_ready(stream, POLLOUT))
		return -EAGAIN;
	if (len > stream->chunk)
		len = stream->chunk;
	do {
		if (stream->kind == STREAM_SOCKET)
			n = send(stream->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			n = write(stream->fd, data, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* The terminal */

/* ENOTTY: not the terminal that controls us, and then there is no job control on it for us. */
static bool is_foreground(const struct console *console)
{
	pid_t group = tcgetpgrp(console->in.fd);

	return group == getpgrp() || (group < 0 && errno == ENOTTY);
}

/*
 * In the background tcsetattr() would stop the whole process by SIGTTOU; with that blocked it just
 * works, which is wanted for restoring alone.
 */
static void set_terminal(int fd, const struct termios *mode)
{
	sigset_t ttou, before;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &before);
	tcsetattr(fd, TCSANOW, mode);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* As upstream: no line editing, no echo, no signals from keys; output is still processed. */
static void make_raw(struct console *console)
{
	struct termios raw;

	if (console->is_raw || tcgetattr(console->in.fd, &console->cooked) < 0)
		return;
	raw = console->cooked;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	set_terminal(console->in.fd, &raw);
	console->is_raw = true;
}

void console_restore_terminal(const struct console *console)
{
	if (console != NULL && console->is_raw)
		set_terminal(console->in.fd, &console->cooked);
}

/* Input */

static void in_unwatch(struct console *console)
{
	if (console->in_watched)
		loop_remove(console->loop, &console->in_source);
	console->in_watched = false;
}

static void in_end(struct console *console)
{
	in_unwatch(console);
	console_restore_terminal(console);
	console->is_raw = false;
	stream_close(&console->in);
}

static void in_retry_at(struct console *console, uint64_t when_ns)
{
	if (loop_timer_set(&console->in_timer, when_ns) < 0)
		in_end(console);
}

static void in_wait(struct console *console)
{
	int r;

	if (console->is_terminal && !is_foreground(console)) {
		in_unwatch(console);	/* it polls readable for someone else's input */
		in_retry_at(console, clock_ns() + FOREGROUND_POLL_NS);
		return;
	}
	if (console->is_terminal)
		make_raw(console);
	if (!console->in_polls) {
		in_retry_at(console, clock_ns() + 1);
		return;
	}
	if (console->in_watched)
		return;
	r = loop_add(console->loop, &console->in_source);
	if (r == 0) {
		console->in_watched = true;
	} else if (r == -EPERM) {
		console->in_polls = false;
		in_retry_at(console, clock_ns() + 1);
	} else {
		in_end(console);
	}
}

/* true when the guest took all there was */
static bool in_offer(struct console *console)
{
	size_t taken;

	if (console->in_len == 0)
		return true;
	taken = console->listener->input(console->listener, console->in_data + console->in_start,
					 console->in_len);
	metrics_add(&console->metrics->uart.read_count, taken);
	console->in_start += taken;
	console->in_len -= taken;
	console->guest_full = console->in_len > 0;
	return console->in_len == 0;
}

/* One round of input, so that a fast sender does not hold the loop. */
static void in_pump(struct console *console)
{
	ssize_t n;

	if (console->in.fd < 0)
		return;
	if (console->is_terminal && !is_foreground(console)) {
		in_wait(console);
		return;
	}
	n = stream_read(&console->in, console->in_data, sizeof(console->in_data));
	if (n == 0 || (n < 0 && n != -EAGAIN)) {
		log_debug(console->log, "End of console input");
		in_end(console);
		return;
	}
	console->in_start = 0;
	console->in_len = n > 0 ? (size_t)n : 0;
	if (in_offer(console))
		in_wait(console);
	else
		in_unwatch(console);
}

static void in_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	in_pump(container_of(source, struct console, in_source));
}

static void in_timer_expired(struct loop_timer *timer)
{
	struct console *console = container_of(timer, struct console, in_timer);

	if (console->in.fd < 0 || console->guest_full)
		return;
	if (console->in_polls)
		in_wait(console);	/* a terminal: are we in the foreground by now? */
	else
		in_pump(console);
}

void console_input_ready(struct console *console)
{
	if (console->in.fd < 0 && console->in_len == 0)
		return;
	if (in_offer(console) && console->in.fd >= 0)
		in_wait(console);
}

/* Output */

static void out_unwatch(struct console *console)
{
	if (console->out_watched)
		loop_remove(console->loop, &console->out_source);
	console->out_watched = false;
}

static void out_drop(struct console *console, size_t len)
{
	metrics_add(&console->metrics->uart.missed_write_count, len);
}

/* Nobody will ever read it; the guest must not notice. */
static void out_end(struct console *console, int error)
{
	char text[OS_ERROR_MAX];

	log_warn(console->log, "Console output is gone, discarding from now on: %s",
		 os_error(error, text));
	metrics_inc(&console->metrics->uart.error_count);
	out_drop(console, console->out_len);
	console->out_len = 0;
	out_unwatch(console);
	stream_close(&console->out);
}

/*
 * Write now what can be written. A full disk loses the bytes but not the file: there may be room
 * again later.
 */
static size_t out_write(struct console *console, const char *data, size_t len)
{
	size_t done = 0;

	while (done < len && console->out.fd >= 0) {
		ssize_t n = stream_write(&console->out, data + done, len - done);

		if (n == -EAGAIN || n == 0)
			break;
		if (n == -ENOSPC || n == -EDQUOT || n == -EFBIG) {
			metrics_inc(&console->metrics->uart.error_count);
			out_drop(console, len - done);
			return len;
		}
		if (n < 0) {
			out_drop(console, len - done);
			out_end(console, (int)n);
			return len;
		}
		done += (size_t)n;
	}
	return done;
}

static void out_flush(struct console *console)
{
	while (console->out_len > 0) {
		size_t run = CONSOLE_BUFFER_BYTES - console->out_start;
		size_t n;

		if (run > console->out_len)
			run = console->out_len;
		n = out_write(console, console->out_data + console->out_start, run);
		if (console->out.fd < 0)
			return;		/* out_end() emptied the ring */
		console->out_start = (console->out_start + n) % CONSOLE_BUFFER_BYTES;
		console->out_len -= n;
		if (n < run)
			return;
	}
}

static void out_watch(struct console *console)
{
	int r;

	if (console->out_watched || console->out.fd < 0)
		return;
	r = loop_add(console->loop, &console->out_source);
	if (r < 0)
		out_end(console, r);
	else
		console->out_watched = true;
}

static void out_ready(struct loop_source *source, uint32_t events)
{
	struct console *console = container_of(source, struct console, out_source);

	(void)events;	/* an error or hang-up shows when writing */
	out_flush(console);
	if (console->out_len == 0)
		out_unwatch(console);
	if (console->out_short && console->out_len <= CONSOLE_BUFFER_BYTES / 2) {
		console->out_short = false;
		console->listener->output_ready(console->listener);
	}
}

static void out_queue(struct console *console, const char *data, size_t len)
{
	size_t end = (console->out_start + console->out_len) % CONSOLE_BUFFER_BYTES;
	size_t run = CONSOLE_BUFFER_BYTES - end;

	if (run > len)
		run = len;
	memcpy(console->out_data + end, data, run);
	memcpy(console->out_data, data + run, len - run);
	console->out_len += len;
	out_watch(console);
}

/* As much as the ring has room for, limited and written or queued. */
static size_t out_take(struct console *console, const char *data, size_t len)
{
	size_t room = CONSOLE_BUFFER_BYTES - console->out_len;
	size_t taken = len < room ? len : room;
	size_t allowed = token_bucket_take(&console->limit, taken, clock_ns());
	size_t done = 0;

	metrics_add(&console->metrics->uart.write_count, taken);
	metrics_add(&console->metrics->uart.rate_limiter_dropped_bytes, taken - allowed);
	if (console->out_len == 0)
		done = out_write(console, data, allowed);
	if (done < allowed && console->out.fd >= 0)
		out_queue(console, data + done, allowed - done);
	return taken;
}

size_t console_output(struct console *console, const void *data, size_t len)
{
	size_t taken = 0;

	while (taken < len && console->out.fd >= 0 && console->out_len < CONSOLE_BUFFER_BYTES)
		taken += out_take(console, (const char *)data + taken, len - taken);
	if (console->out.fd < 0) {
		out_drop(console, len - taken);
		return len;
	}
	if (taken < len)
		console->out_short = true;	/* the ring is full, so out_ready() will come */
	return taken;
}

void console_flush(struct console *console, int timeout_ms)
{
	uint64_t end_ns = clock_ns() + (uint64_t)timeout_ms * 1000000;

	out_flush(console);
	while (console->out_len > 0) {
		struct pollfd p = { .fd = console->out.fd, .events = POLLOUT };
		uint64_t now_ns = clock_ns();

		if (now_ns >= end_ns)
			return;
		if (poll(&p, 1, (int)((end_ns - now_ns) / 1000000) + 1) < 0 && errno != EINTR)
			return;
		out_flush(console);
	}
}

/* Life */

/*
 * Upstream: created, neither truncated nor appended to; read-write and non-blocking, so that a FIFO
 * needs no reader.
 */
static int out_open(struct console *console, const struct console_params *params,
		    struct fault *fault)
{
	const char *path = params->serial != NULL ? params->serial->serial_out_path : NULL;
	char text[OS_ERROR_MAX];
	int fd;

	if (path == NULL) {
		console->out = stream_open(params->output_fd, O_WRONLY);
		return 0;
	}
	fd = open(path, O_RDWR | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
	if (fd < 0) {
		int r = -errno;

		return fault_set(fault, r, params->arch == SQUIB_ARCH_X86_64 ?
				 "Failed to create device manager: Error with EventFd: %s" :
				 "Could not attach device: Error creating serial device: %s",
				 os_error(r, text));
	}
	console->out = (struct stream){ .kind = STREAM_NONBLOCKING, .fd = fd, .chunk = SIZE_MAX };
	return 0;
}

static void in_open(struct console *console, const struct console_params *params)
{
	if (params->serial != NULL && params->serial->serial_out_path != NULL)
		return;
	console->in = stream_open(params->input_fd, O_RDONLY);
	if (console->in.fd < 0)
		return;
	console->is_terminal = isatty(console->in.fd);
	console->in_polls = true;
	console->in_source = (struct loop_source){ .fd = console->in.fd, .events = EPOLLIN,
						   .ready = in_ready };
	in_wait(console);
}

int console_new(const struct console_params *params, struct console **ret_console,
		struct fault *fault)
{
	struct console *console = calloc(1, sizeof(*console));
	int r;

	if (console == NULL)
		return fault_set(fault, -ENOMEM, "Internal error while starting microVM: "
				 "Out of memory (os error 12)");
	console->loop = params->loop;
	console->log = params->log;
	console->metrics = params->metrics;
	console->listener = params->listener;
	console->in.fd = -1;
	console->out.fd = -1;
	console->in_timer.source.fd = -1;
	token_bucket_init(&console->limit, params->serial ? params->serial->rate_limiter : NULL,
			  clock_ns());
	r = out_open(console, params, fault);
	if (r < 0) {
		console_free(console);
		return r;
	}
	console->out_source = (struct loop_source){ .fd = console->out.fd, .events = EPOLLOUT,
						    .ready = out_ready };
	r = loop_timer_init(params->loop, &console->in_timer, in_timer_expired);
	if (r < 0) {
		char text[OS_ERROR_MAX];

		console_free(console);
		return fault_set(fault, r, "Internal error while starting microVM: %s",
				 os_error(r, text));
	}
	in_open(console, params);
	*ret_console = console;
	return 0;
}

void console_free(struct console *console)
{
	if (console == NULL)
		return;
	in_end(console);
	loop_timer_done(console->loop, &console->in_timer);
	out_unwatch(console);
	stream_close(&console->out);
	free(console);
}
