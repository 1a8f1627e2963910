/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streaming: 64 KiB in, 64 KiB out, so that a small file that claims to hold a petabyte costs no
 * more than the bound. zstd's window is bounded by its library (128 MiB).
 */
#include "boot/decompress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fd.h"

#define BLOCK 65536

struct stream {
	int in_fd, out_fd;
	uint64_t in_offset;
	uint64_t out_left;		/* of the bound */
	size_t in_len;			/* bytes in in[]; 0 at the end of the file */
	uint8_t in[BLOCK];
	uint8_t out[BLOCK];
};

static int refill(struct stream *stream, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	ssize_t n;

	do {
		n = pread(stream->in_fd, stream->in, BLOCK, (off_t)stream->in_offset);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		int r = -errno;

		return fault_set(fault, r, "Cannot read the image: %s", os_error(r, text));
	}
	stream->in_len = (size_t)n;
	stream->in_offset += (size_t)n;
	return 0;
}

static int put(struct stream *stream, size_t len, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	size_t done = 0;

	if (len > stream->out_left)
		return fault_set(fault, -EFBIG, "The compressed image is too large");
	stream->out_left -= len;
	while (done < len) {
		ssize_t n = write(stream->out_fd, stream->out + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int r = -errno;

			return fault_set(fault, r, "Cannot decompress the image: %s",
					 os_error(r, text));
		}
		done += (size_t)n;
	}
	return 0;
}

static int damaged(struct fault *fault, const char *reason)
{
	return fault_set(fault, -ENOEXEC, "The compressed image is damaged: %s", reason);
}

static int cut(struct fault *fault)
{
	return fault_set(fault, -ENOEXEC, "The compressed image is truncated");
}

static int inflate_all(struct stream *stream, z_stream *z, struct fault *fault)
{
	for (;;) {
		int r, z_result;

		if (z->avail_in == 0) {
			r = refill(stream, fault);
			if (r < 0)
				return r;
			if (stream->in_len == 0)
				return cut(fault);
			z->next_in = stream->in;
			z->avail_in = (uInt)stream->in_len;
		}
		z->next_out = stream->out;
		z->avail_out = BLOCK;
		z_result = inflate(z, Z_NO_FLUSH);
		if (z_result != Z_OK && z_result != Z_STREAM_END && z_result != Z_BUF_ERROR)
			return damaged(fault, z->msg != NULL ? z->msg : "gzip");
		r = put(stream, BLOCK - z->avail_out, fault);
		if (r < 0 || z_result == Z_STREAM_END)
			return r;
	}
}

static int gunzip(struct stream *stream, struct fault *fault)
{
	z_stream z = { 0 };
	int r;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)	/* 16: a gzip header */
		return fault_set(fault, -ENOMEM, "Out of memory (os error 12)");
	r = inflate_all(stream, &z, fault);
	inflateEnd(&z);
	return r;
}

static int unzstd_all(struct stream *stream, ZSTD_DStream *z, struct fault *fault)
{
	ZSTD_inBuffer in = { .src = stream->in };

	for (;;) {
		ZSTD_outBuffer out = { .dst = stream->out, .size = BLOCK };
		size_t left;
		int r;

		if (in.pos == in.size) {
			r = refill(stream, fault);
			if (r < 0)
				return r;
			if (stream->in_len == 0)
				return cut(fault);
			in.size = stream->in_len;
			in.pos = 0;
		}
		left = ZSTD_decompressStream(z, &out, &in);
		if (ZSTD_isError(left))
			return damaged(fault, ZSTD_getErrorName(left));
		r = put(stream, out.pos, fault);
		if (r < 0 || left == 0)
			return r;
	}
}

static int unzstd(struct stream *stream, struct fault *fault)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	int r;

	if (z == NULL)
		return fault_set(fault, -ENOMEM, "Out of memory (os error 12)");
	r = unzstd_all(stream, z, fault);
	ZSTD_freeDStream(z);
	return r;
}

static int seal(int fd)
{
	int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

static int run(int (*algorithm)(struct stream *, struct fault *), int *fd, uint64_t max_bytes,
	       struct fault *fault)
{
	CLEANUP(fd_close) int out_fd = memfd_create("kernel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stream *stream = calloc(1, sizeof(*stream));
	char text[OS_ERROR_MAX];
	int r;

	if (out_fd < 0 || stream == NULL) {
		r = out_fd < 0 ? -errno : -ENOMEM;
		free(stream);
		return fault_set(fault, r, "Cannot decompress the image: %s", os_error(r, text));
	}
	stream->in_fd = *fd;
	stream->out_fd = out_fd;
	stream->out_left = max_bytes;
	r = algorithm(stream, fault);
	free(stream);
	if (r < 0)
		return r;
	r = seal(out_fd);
	if (r < 0)
		return fault_set(fault, r, "Cannot decompress the image: %s", os_error(r, text));
	fd_close(*fd);
	*fd = fd_take(&out_fd);
	return 1;
}

int decompress(int *fd, uint64_t max_bytes, struct fault *fault)
{
	static const uint8_t gzip[] = { 0x1f, 0x8b, 0x08 }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };
	uint8_t magic[4] = { 0 };

	if (pread(*fd, magic, sizeof(magic), 0) < 0) {
		char text[OS_ERROR_MAX];
		int r = -errno;

		return fault_set(fault, r, "Cannot read the image: %s", os_error(r, text));
	}
	if (memcmp(magic, gzip, sizeof(gzip)) == 0)
		return run(gunzip, fd, max_bytes, fault);
	if (memcmp(magic, zstd, sizeof(zstd)) == 0)
		return run(unzstd, fd, max_bytes, fault);
	return 0;
}
