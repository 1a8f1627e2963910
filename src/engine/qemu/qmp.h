/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QMP, as much as an engine needs: QEMU sends one JSON object a line. The peer is a process that a
 * guest may have taken over, so nothing it sends is believed: lines are bounded, and what is not
 * well-formed is an error of the connection, never of ours.
 */
#ifndef SQUIB_ENGINE_QEMU_QMP_H
#define SQUIB_ENGINE_QEMU_QMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QMP_LINE_MAX	65536
#define QMP_NAME_MAX	64

enum qmp_kind {
	QMP_GREETING,
	QMP_RETURN,
	QMP_ERROR,
	QMP_EVENT,
	QMP_OTHER,	/* well-formed and none of these */
};

struct qmp_message {
	enum qmp_kind kind;
	uint64_t id;			/* return and error: of the command; 0: none */
	char name[QMP_NAME_MAX];	/* event: its name */
	char reason[QMP_NAME_MAX];	/* event: data.reason; "" when there is none */
	bool guest;			/* event: data.guest */
	char text[256];			/* error: its description, cut when longer */
};

/** qmp_parse() - one line without its end; 0, or -EPROTO for what is no JSON object */
int qmp_parse(const char *line, size_t len, struct qmp_message *ret_message);

struct qmp {
	int fd;		/* a stream socket, not owned */
	size_t len;	/* bytes in data[] */
	size_t start;	/* of which those before have been returned as lines */
	char data[QMP_LINE_MAX];
};

/**
 * qmp_receive() - read what is there without waiting
 *
 * Return: 1 when something came, 0 when nothing is there, -EPIPE at the end of the stream, -EPROTO
 * when a line is longer than QMP_LINE_MAX, or another -errno.
 */
int qmp_receive(struct qmp *qmp);

/** qmp_next() - the next whole message received: 1, 0 when there is none, or -EPROTO */
int qmp_next(struct qmp *qmp, struct qmp_message *ret_message);

/**
 * qmp_send() - a command without waiting for its answer
 * @arguments: JSON text of an object, or NULL
 *
 * Return: 0, or -errno; -EAGAIN when QEMU has not even read earlier commands.
 */
int qmp_send(struct qmp *qmp, uint64_t id, const char *command, const char *arguments);

#endif
