/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a guest with a vsock device, its driver, and the host around it. Packets are made and taken
 * one by one, as a test wants them; streams keep the counts of their credit as Linux does.
 */
#ifndef SQUIB_VIRTIO_TEST_VSOCK_GUEST_H
#define SQUIB_VIRTIO_TEST_VSOCK_GUEST_H

#include "virtio/test_driver.h"
#include "virtio/vsock.h"
#include "virtio/vsock_packet.h"

#define GUEST_CID	   52u
#define GUEST_RING	   256u
#define GUEST_RX_BYTES	   4096u	/* a receive buffer, with the header */
#define GUEST_TX_SLOTS	   16u

struct guest_ring {
	uint32_t gpa;		/* table; rings follow */
	uint16_t size;
	uint16_t next_desc;
	uint16_t next_avail;
	uint16_t next_used;
};

struct guest {
	struct driver driver;
	struct virtio_device *device;
	struct metrics_vsock *counters;
	struct guest_ring rings[3];
	bool refill;		/* give a receive buffer back as soon as it was looked at */
	unsigned int tx_slot;
	uint32_t buf_alloc;	/* what guest_send() tells */
	int listen_fd;
	char directory[32];
	char path[64];
};

struct guest_packet {
	struct vsock_header header;
	uint8_t data[VSOCK_DATA_BYTES_MAX];
};

/* Everything in place, in a directory of its own that is removed at the end. */
void guest_init(struct guest *guest);
void guest_done(struct guest *guest);
/** guest_start() - the driver starts, with queues up to @queue_count and @buffers receive buffers */
void guest_start(struct guest *guest, unsigned int queue_count, unsigned int buffers);
void guest_set_up_queue(struct guest *guest, unsigned int queue);

void guest_add_buffers(struct guest *guest, unsigned int count);
void guest_kick(struct guest *guest, unsigned int queue);
/** guest_used() - how many buffers of a queue the device has given back, ever, modulo 2^16 */
uint16_t guest_used(const struct guest *guest, unsigned int queue);
/** guest_put() - make a packet available, no kick */
void guest_put(struct guest *guest, const struct vsock_header *header, const void *data,
	       uint32_t len);
/** guest_send() - put, kick, run the loop */
void guest_send(struct guest *guest, uint32_t guest_port, uint32_t host_port, uint16_t op,
		uint32_t flags, uint32_t fwd_cnt, const void *data, uint32_t len);
/** guest_take() - the next packet that the device has written; false: there is none */
bool guest_take(struct guest *guest, struct guest_packet *packet);
/** guest_expect() - run the loop; the next packet is this one */
void guest_expect(struct guest *guest, uint16_t op, struct guest_packet *packet);
void guest_expect_nothing(struct guest *guest);
/** guest_wait() - run the loop until there is a packet */
void guest_wait(struct guest *guest, struct guest_packet *packet);

/** host_connect() - a socket connected to uds_path, non-blocking */
int host_connect(const struct guest *guest);
/** host_listen() - on uds_path_‹port› */
int host_listen(const struct guest *guest, uint32_t port, int backlog);
int host_accept(int listen_fd);
void host_write(int fd, const void *data, size_t len);
/** host_read() - exactly @len bytes that are there */
void host_read(int fd, void *data, size_t len);
/** host_is_closed() - an end of file, or an error, and nothing before it */
bool host_is_closed(int fd);
/** host_has_nothing() - open, and no data */
bool host_has_nothing(int fd);

/** open_from_host() - CONNECT to @guest_port and the guest accepts. The socket; @ret_host_port */
int open_from_host(struct guest *guest, uint32_t guest_port, uint32_t *ret_host_port);
/** open_from_guest() - the guest connects to who listens; the accepted socket */
int open_from_guest(struct guest *guest, int listen_fd, uint32_t guest_port, uint32_t host_port);

unsigned int count_fds(void);

#endif
