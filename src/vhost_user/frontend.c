/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost_user/frontend.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/loop.h"

#define NS_PER_MS 1000000u

/* Without waiting: a listener whose queue is full has others to serve. */
int vu_connect(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	CLEANUP(fd_close) int fd = -1;
	size_t len = strlen(path);

	if (len >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* With a longer address no path would be the name of an abstract socket. */
	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		return -errno;
	return fd_take(&fd);
}

void vu_frontend_init(struct vu_frontend *frontend, int fd)
{
	*frontend = (struct vu_frontend){ 0 };
	vu_channel_init(&frontend->channel, fd);
}

void vu_frontend_done(struct vu_frontend *frontend)
{
	vu_channel_done(&frontend->channel);
}

void vu_frontend_begin(struct vu_frontend *frontend, unsigned int timeout_ms)
{
	frontend->deadline_ns = clock_ns() + (uint64_t)timeout_ms * NS_PER_MS;
}

static int fail(struct vu_frontend *frontend, int r)
{
	frontend->broken = true;
	shutdown(frontend->channel.fd, SHUT_RDWR);
	return r;
}

static int wait_readable(const struct vu_frontend *frontend)
{
	struct pollfd pfd = { .fd = frontend->channel.fd, .events = POLLIN };
	uint64_t now_ns = clock_ns();
	int timeout_ms;

	if (now_ns >= frontend->deadline_ns)
		return -ETIMEDOUT;
	timeout_ms = (int)((frontend->deadline_ns - now_ns) / NS_PER_MS) + 1;
	return poll(&pfd, 1, timeout_ms) < 0 && errno != EINTR ? -errno : 0;
}

static int receive(struct vu_frontend *frontend)
{
	for (;;) {
		int r = vu_channel_receive(&frontend->channel);

		if (r == 0)
			r = wait_readable(frontend);
		if (r != 0)
			return r < 0 ? r : 0;
	}
}

static int take_reply(struct vu_frontend *frontend, enum vu_request request, void *payload,
		      uint32_t size)
{
	const struct vu_message *message = &frontend->channel.message;
	int r = receive(frontend);

	if (r < 0)
		return r;
	if (message->header.request != request || (message->header.flags & VU_FLAG_REPLY) == 0 ||
	    message->fd_count > 0)
		return -EPROTO;
	if (message->header.size == 0)
		return -EREMOTEIO;
	if (message->header.size != size)
		return -EPROTO;
	memcpy(payload, &message->payload, size);
	return 0;
}

/* @reply_size 0: there is none. */
static int converse(struct vu_frontend *frontend, const struct vu_header *header,
		    const void *payload, const int *fds, size_t fd_count, void *reply,
		    uint32_t reply_size)
{
	int r;

	if (frontend->broken)
		return -ESHUTDOWN;
	r = vu_send(frontend->channel.fd, header, payload, fds, fd_count);
	if (r == 0 && reply_size > 0) {
		r = take_reply(frontend, header->request, reply, reply_size);
		vu_channel_next(&frontend->channel);
	}
	return r < 0 ? fail(frontend, r) : 0;
}

int vu_frontend_tell(struct vu_frontend *frontend, enum vu_request request, const void *payload,
		     uint32_t size, const int *fds, size_t fd_count)
{
	bool acked = (frontend->protocol_features & VU_PROTOCOL_F_REPLY_ACK) != 0;
	struct vu_header header = { .request = request, .size = size,
				    .flags = VU_FLAGS_VERSION | (acked ? VU_FLAG_NEED_REPLY : 0) };
	uint64_t refused = 0;
	int r = converse(frontend, &header, payload, fds, fd_count, &refused,
			 acked ? sizeof(refused) : 0);

	return r == 0 && refused != 0 ? fail(frontend, -EREMOTEIO) : r;
}

int vu_frontend_ask(struct vu_frontend *frontend, enum vu_request request, void *payload,
		    uint32_t size)
{
	struct vu_header header = { .request = request, .flags = VU_FLAGS_VERSION, .size = size };

	return converse(frontend, &header, payload, NULL, 0, payload, size);
}

int vu_frontend_ask_u64(struct vu_frontend *frontend, enum vu_request request, uint64_t *ret_value)
{
	struct vu_header header = { .request = request, .flags = VU_FLAGS_VERSION };

	return converse(frontend, &header, NULL, NULL, 0, ret_value, sizeof(*ret_value));
}
