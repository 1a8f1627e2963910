/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll_wait() hands out events in batches. A handler may remove, and free, a source whose event
 * is still further down in the batch; loop_remove() therefore also clears the batch of it.
 */
#include "base/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define LOOP_BATCH 16

struct loop {
	int epoll_fd;
	int batch_count;	/* events being dispatched; 0 outside loop_run_once() */
	struct epoll_event batch[LOOP_BATCH];
};

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		int r = -errno;

		free(loop);
		return r;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	fd_close(loop->epoll_fd);
	free(loop);
}

int loop_fd(const struct loop *loop)
{
	return loop->epoll_fd;
}

int loop_add(struct loop *loop, struct loop_source *source)
{
	struct epoll_event event = { .events = source->events, .data.ptr = source };

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (events == source->events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	source->events = events;
	return 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	if (source->fd >= 0)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = 0; i < loop->batch_count; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	int count;

	assert(loop->batch_count == 0);	/* handlers must not run the loop */
	count = epoll_wait(loop->epoll_fd, loop->batch, LOOP_BATCH, timeout_ms);
	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	loop->batch_count = count;
	for (int i = 0; i < count; i++) {
		struct loop_source *source = loop->batch[i].data.ptr;

		if (source != NULL)
			source->ready(source, loop->batch[i].events);
	}
	loop->batch_count = 0;
	return 0;
}

static void timer_ready(struct loop_source *source, uint32_t events)
{
	struct loop_timer *timer = container_of(source, struct loop_timer, source);
	uint64_t expirations;

	(void)events;
	/* EAGAIN: it was set anew between epoll_wait() and here */
	if (read(source->fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		timer->expired(timer);
}

int loop_timer_init(struct loop *loop, struct loop_timer *timer,
		    void (*expired)(struct loop_timer *timer))
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	int r;

	timer->source = (struct loop_source){ .fd = -1 };
	if (fd < 0)
		return -errno;
	timer->source = (struct loop_source){ .fd = fd, .events = EPOLLIN, .ready = timer_ready };
	timer->expired = expired;
	r = loop_add(loop, &timer->source);
	if (r < 0) {
		fd_close(fd);
		timer->source.fd = -1;
	}
	return r;
}

void loop_timer_done(struct loop *loop, struct loop_timer *timer)
{
	loop_remove(loop, &timer->source);
	fd_close(fd_take(&timer->source.fd));
}

int loop_timer_set(struct loop_timer *timer, uint64_t when_ns)
{
	struct itimerspec spec = {
		.it_value = { .tv_sec = (time_t)(when_ns / 1000000000),
			      .tv_nsec = (long)(when_ns % 1000000000) },
	};

	return timerfd_settime(timer->source.fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0 ? -errno : 0;
}

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}
