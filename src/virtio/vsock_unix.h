/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Unix sockets of a vsock device (contract, section 10). Every one is non-blocking and
 * close-on-exec.
 */
#ifndef SQUIB_VIRTIO_VSOCK_UNIX_H
#define SQUIB_VIRTIO_VSOCK_UNIX_H

#include <stddef.h>
#include <stdint.h>

#define VSOCK_GREETING_BYTES_MAX 32u	/* "CONNECT ‹port›\n" */

/** vsock_unix_accept() - a socket or -errno; -EAGAIN: nobody is waiting */
int vsock_unix_accept(int listen_fd);

/** vsock_unix_socket() - a socket that is not connected yet, or -errno */
int vsock_unix_socket(void);

/**
 * vsock_unix_connect() - to who listens at ‹path›_‹port›; may be tried again
 *
 * Return: 0 or -errno; -EAGAIN: so many are waiting there that nobody is let in now.
 */
int vsock_unix_connect(int fd, const char *path, uint32_t port);

/**
 * vsock_unix_read_greeting() - take the CONNECT line off a socket, and nothing behind it
 *
 * The whole line has to be there, as upstream wants it.
 *
 * Return: 0 with the port; -EAGAIN: nothing is there; -EPROTO: no such line, or the other side is
 * gone; another -errno.
 */
int vsock_unix_read_greeting(int fd, uint32_t *ret_port);

/**
 * vsock_unix_parse_greeting() - the port in what was received
 * @len: up to VSOCK_GREETING_BYTES_MAX
 * @ret_used: how many of them are the line
 *
 * Return: 0 or -EPROTO, and then nothing is written.
 */
int vsock_unix_parse_greeting(const char *text, size_t len, uint32_t *ret_port, size_t *ret_used);

#endif
