/* SPDX-License-Identifier: Apache-2.0 */
#include "boot/load.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void load_add_region(struct guest_region *regions, size_t *count, gpa_t start, gpa_t end,
		     uint64_t *left)
{
	uint64_t size = *left < end - start ? *left : end - start;

	if (size == 0)
		return;
	regions[(*count)++] = (struct guest_region){ start, size };
	*left -= size;
}

int load_room(const struct guest_mem *mem, gpa_t gpa, size_t len, void **ret_data)
{
	int r = guest_mem_slice(mem, gpa, len, ret_data);

	if (r == 0)
		guest_mem_mark_dirty(mem, *ret_data, len);
	return r;
}

int load_image(const struct guest_mem *mem, const struct image *image, uint64_t offset, gpa_t gpa,
	       uint64_t len, struct fault *fault)
{
	void *data;

	if (len == 0)
		return 0;
	if (load_room(mem, gpa, (size_t)len, &data) < 0)
		return fault_set(fault, -EFAULT, "The kernel lies outside of the memory");
	return image_read(image->fd, offset, data, len, fault);
}

/* initrd. The texts are upstream's, dots included. */

static int read_initrd(int fd, void *data, uint64_t len, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	uint64_t done = 0;

	while (done < len) {
		ssize_t n = pread(fd, (char *)data + done, len - done, (off_t)done);
		int r = n < 0 ? -errno : -EIO;

		if (r == -EINTR)
			continue;
		if (n <= 0)
			return fault_set(fault, r, "Cannot load initrd due to an invalid image: %s",
					 n < 0 ? os_error(r, text) : "failed to fill whole buffer");
		done += (uint64_t)n;
	}
	return 0;
}

static int place_initrd(const struct guest_mem *mem, int fd, gpa_t low, gpa_t high,
			struct load_initrd *ret_initrd, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	struct stat st;
	uint64_t len;
	void *data;
	gpa_t start;
	int r;

	if (fstat(fd, &st) < 0) {
		r = -errno;
		return fault_set(fault, r, "Cannot image metadata: %s", os_error(r, text));
	}
	len = (uint64_t)st.st_size;
	if (len > high)
		return fault_set(fault, -ENOMEM, "Failed to compute the initrd address.");
	start = (high - len) & ~(gpa_t)(GUEST_PAGE_BYTES - 1);
	if (start < low)
		return fault_set(fault, -ENOMEM, "Failed to compute the initrd address.");
	if (load_room(mem, start, (size_t)len, &data) < 0)	/* an empty file */
		return fault_set(fault, -EINVAL,
				 "Cannot load initrd due to an invalid memory configuration.");
	r = read_initrd(fd, data, len, fault);
	if (r == 0)
		*ret_initrd = (struct load_initrd){ start, len };
	return r;
}

int load_initrd(const struct guest_mem *mem, int fd, gpa_t low, gpa_t high,
		struct load_initrd *ret_initrd, struct fault *fault)
{
	CLEANUP(fault_done) struct fault cause = FAULT_INIT;
	int r;

	*ret_initrd = (struct load_initrd){ 0 };
	if (fd < 0)
		return 0;
	r = place_initrd(mem, fd, low, high, ret_initrd, &cause);
	if (r < 0)
		fault_set(fault, r, "Error with initrd initialization: %s.", fault_text(&cause));
	return r;
}
