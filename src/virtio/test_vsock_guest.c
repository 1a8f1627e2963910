/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/test_vsock_guest.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/fd.h"

#define RING_BYTES   0x4000u
#define AVAIL_OFFSET 0x2000u
#define USED_OFFSET  0x3000u
#define RINGS	     0x10000u
#define RX_BUFFERS   0x40000u
#define TX_BUFFERS   0x200000u
#define TX_BYTES     0x11000u

static int listen_at(const char *path, int backlog)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	return fd;
}

void guest_init(struct guest *guest)
{
	struct squib_vsock config = { .guest_cid = GUEST_CID, .uds_path = guest->path };
	struct vsock_params params = { .config = &config };

	*guest = (struct guest){ .directory = "/tmp/test-vsock-XXXXXX", .refill = true,
				 .buf_alloc = 0x40000 };
	driver_init(&guest->driver);
	assert_non_null(mkdtemp(guest->directory));
	snprintf(guest->path, sizeof(guest->path), "%s/v.sock", guest->directory);
	guest->listen_fd = listen_at(guest->path, 4096);
	params.listen_fd = guest->listen_fd;
	params.loop = guest->driver.loop;
	params.metrics = guest->driver.metrics;
	guest->counters = &guest->driver.metrics->vsock;
	assert_int_equal(vsock_new(&params, &guest->device), 0);
	driver_attach(&guest->driver, guest->device);
}

static void remove_directory(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	rmdir(path);
}

void guest_done(struct guest *guest)
{
	driver_done(&guest->driver);
	fd_close(guest->listen_fd);
	remove_directory(guest->directory);
}

void guest_set_up_queue(struct guest *guest, unsigned int queue)
{
	struct guest_ring *ring = &guest->rings[queue];
	struct driver *driver = &guest->driver;

	*ring = (struct guest_ring){ .gpa = RINGS + queue * RING_BYTES, .size = GUEST_RING };
	memset(driver->ram + ring->gpa, 0, RING_BYTES);
	driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, queue);
	driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, ring->size);
	driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, ring->gpa);
	driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, ring->gpa + AVAIL_OFFSET);
	driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, ring->gpa + USED_OFFSET);
	driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
}

void guest_start(struct guest *guest, unsigned int queue_count, unsigned int buffers)
{
	struct driver *driver = &guest->driver;

	driver_negotiate(driver, UINT64_MAX);
	for (unsigned int i = 0; i < queue_count; i++)
		guest_set_up_queue(guest, i);
	driver_write(driver, VIRTIO_MMIO_STATUS,
		     driver_read(driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
	guest->tx_slot = 0;
	guest_add_buffers(guest, buffers);
	driver_run(driver);
}

static void make_available(struct guest *guest, struct guest_ring *ring, gpa_t gpa, uint32_t len,
			   uint16_t flags)
{
	struct virtq_desc *desc = (struct virtq_desc *)(guest->driver.ram + ring->gpa) +
				  ring->next_desc;
	uint16_t *avail = (uint16_t *)(guest->driver.ram + ring->gpa + AVAIL_OFFSET);

	*desc = (struct virtq_desc){ .addr = htole64(gpa), .len = htole32(len),
				     .flags = htole16(flags) };
	avail[2 + ring->next_avail % ring->size] = htole16(ring->next_desc);
	ring->next_desc = (uint16_t)((ring->next_desc + 1) % ring->size);
	ring->next_avail++;
	__atomic_store_n(&avail[1], htole16(ring->next_avail), __ATOMIC_SEQ_CST);
}

static bool take_used(struct guest *guest, struct guest_ring *ring, uint32_t *ret_head,
		      uint32_t *ret_len)
{
	const uint16_t *used = (const uint16_t *)(guest->driver.ram + ring->gpa + USED_OFFSET);
	const struct virtq_used_elem *elem = (const struct virtq_used_elem *)(used + 2) +
					     ring->next_used % ring->size;
	uint16_t *used_event = (uint16_t *)(guest->driver.ram + ring->gpa + AVAIL_OFFSET) + 2 +
			       ring->size;

	if (le16toh(__atomic_load_n(&used[1], __ATOMIC_SEQ_CST)) == ring->next_used)
		return false;
	*ret_head = le32toh(elem->id);
	*ret_len = le32toh(elem->len);
	ring->next_used++;
	__atomic_store_n(used_event, htole16(ring->next_used), __ATOMIC_SEQ_CST);
	return true;
}

/* A buffer lies where its descriptor says it does, which are used in order. */
void guest_add_buffers(struct guest *guest, unsigned int count)
{
	struct guest_ring *ring = &guest->rings[0];

	for (unsigned int i = 0; i < count; i++)
		make_available(guest, ring, RX_BUFFERS + GUEST_RX_BYTES * ring->next_desc,
			       GUEST_RX_BYTES, VIRTQ_DESC_F_WRITE);
	if (count > 0)
		guest_kick(guest, 0);
}

void guest_kick(struct guest *guest, unsigned int queue)
{
	driver_write(&guest->driver, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

uint16_t guest_used(const struct guest *guest, unsigned int queue)
{
	const uint8_t *used = guest->driver.ram + guest->rings[queue].gpa + USED_OFFSET;

	return le16toh(__atomic_load_n((const uint16_t *)used + 1, __ATOMIC_SEQ_CST));
}

void guest_put(struct guest *guest, const struct vsock_header *header, const void *data,
	       uint32_t len)
{
	uint32_t gpa = TX_BUFFERS + TX_BYTES * (guest->tx_slot++ % GUEST_TX_SLOTS);
	struct virtio_vsock_hdr raw = {
		.src_cid = htole64(header->src_cid), .dst_cid = htole64(header->dst_cid),
		.src_port = htole32(header->src_port), .dst_port = htole32(header->dst_port),
		.len = htole32(header->len), .type = htole16(header->type),
		.op = htole16(header->op), .flags = htole32(header->flags),
		.buf_alloc = htole32(header->buf_alloc), .fwd_cnt = htole32(header->fwd_cnt),
	};

	memcpy(guest->driver.ram + gpa, &raw, sizeof(raw));
	if (len > 0)
		memcpy(guest->driver.ram + gpa + sizeof(raw), data, len);
	make_available(guest, &guest->rings[1], gpa, (uint32_t)sizeof(raw) + len, 0);
}

void guest_send(struct guest *guest, uint32_t guest_port, uint32_t host_port, uint16_t op,
		uint32_t flags, uint32_t fwd_cnt, const void *data, uint32_t len)
{
	struct vsock_header header = { .src_cid = GUEST_CID, .dst_cid = 2, .src_port = guest_port,
				       .dst_port = host_port, .len = len, .type = 1, .op = op,
				       .flags = flags, .buf_alloc = guest->buf_alloc,
				       .fwd_cnt = fwd_cnt };
	uint32_t head, used_len;

	guest_put(guest, &header, data, len);
	guest_kick(guest, 1);
	driver_run(&guest->driver);
	while (take_used(guest, &guest->rings[1], &head, &used_len))
		assert_int_equal(used_len, 0);
}

bool guest_take(struct guest *guest, struct guest_packet *packet)
{
	const uint8_t *buffer;
	struct virtio_vsock_hdr raw;
	uint32_t head, len;

	if (!take_used(guest, &guest->rings[0], &head, &len))
		return false;
	buffer = guest->driver.ram + RX_BUFFERS + GUEST_RX_BYTES * head;
	memcpy(&raw, buffer, sizeof(raw));
	packet->header = (struct vsock_header){
		.src_cid = le64toh(raw.src_cid), .dst_cid = le64toh(raw.dst_cid),
		.src_port = le32toh(raw.src_port), .dst_port = le32toh(raw.dst_port),
		.len = le32toh(raw.len), .type = le16toh(raw.type), .op = le16toh(raw.op),
		.flags = le32toh(raw.flags), .buf_alloc = le32toh(raw.buf_alloc),
		.fwd_cnt = le32toh(raw.fwd_cnt),
	};
	assert_int_equal(packet->header.len + sizeof(raw), len);
	assert_int_equal(packet->header.src_cid, 2);
	assert_int_equal(packet->header.dst_cid, GUEST_CID);
	assert_int_equal(packet->header.type, VIRTIO_VSOCK_TYPE_STREAM);
	memcpy(packet->data, buffer + sizeof(raw), packet->header.len);
	if (guest->refill)
		guest_add_buffers(guest, 1);
	return true;
}

void guest_expect(struct guest *guest, uint16_t op, struct guest_packet *packet)
{
	driver_run(&guest->driver);
	assert_true(guest_take(guest, packet));
	assert_int_equal(packet->header.op, op);
}

void guest_expect_nothing(struct guest *guest)
{
	struct guest_packet packet;

	driver_run(&guest->driver);
	if (guest_take(guest, &packet))
		fail_msg("a packet of op %u", packet.header.op);
}

void guest_wait(struct guest *guest, struct guest_packet *packet)
{
	while (!guest_take(guest, packet))
		assert_int_equal(loop_run_once(guest->driver.loop, 10000), 0);
}

/* --- the host */

int host_connect(const struct guest *guest)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	strncpy(address.sun_path, guest->path, sizeof(address.sun_path) - 1);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

int host_listen(const struct guest *guest, uint32_t port, int backlog)
{
	char path[96];

	snprintf(path, sizeof(path), "%s_%u", guest->path, port);
	unlink(path);
	return listen_at(path, backlog);
}

int host_accept(int listen_fd)
{
	return accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

void host_write(int fd, const void *data, size_t len)
{
	assert_int_equal(write(fd, data, len), len);
}

void host_read(int fd, void *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (uint8_t *)data + done, len - done);

		assert_true(n > 0);
		done += (size_t)n;
	}
}

bool host_is_closed(int fd)
{
	char byte;
	ssize_t n = read(fd, &byte, 1);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

bool host_has_nothing(int fd)
{
	char byte;

	return read(fd, &byte, 1) < 0 && errno == EAGAIN;
}

int open_from_host(struct guest *guest, uint32_t guest_port, uint32_t *ret_host_port)
{
	int fd = host_connect(guest);
	struct guest_packet packet;
	char text[64], want[64];
	int len;

	len = snprintf(text, sizeof(text), "CONNECT %u\n", guest_port);
	host_write(fd, text, (size_t)len);
	guest_expect(guest, VIRTIO_VSOCK_OP_REQUEST, &packet);
	assert_int_equal(packet.header.dst_port, guest_port);
	*ret_host_port = packet.header.src_port;
	guest_send(guest, guest_port, *ret_host_port, VIRTIO_VSOCK_OP_RESPONSE, 0, 0, NULL, 0);
	len = snprintf(want, sizeof(want), "OK %u\n", *ret_host_port);
	host_read(fd, text, (size_t)len);
	assert_memory_equal(text, want, (size_t)len);
	return fd;
}

int open_from_guest(struct guest *guest, int listen_fd, uint32_t guest_port, uint32_t host_port)
{
	struct guest_packet packet;
	int fd;

	guest_send(guest, guest_port, host_port, VIRTIO_VSOCK_OP_REQUEST, 0, 0, NULL, 0);
	guest_expect(guest, VIRTIO_VSOCK_OP_RESPONSE, &packet);
	assert_int_equal(packet.header.src_port, host_port);
	assert_int_equal(packet.header.dst_port, guest_port);
	fd = host_accept(listen_fd);
	assert_true(fd >= 0);
	return fd;
}

unsigned int count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned int count = 0;

	assert_non_null(directory);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}
