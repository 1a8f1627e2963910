/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/x86_64/msr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CHUNK 32	/* at a time; KVM would take 256, and machines have 11 to set */

#define GET_FAILED "System configuration error: Failed to create guest config: " \
	"KVM vcpu ioctl failed: Failed to get KVM vcpu "
#define SET_FAILED "System configuration error: Error configuring the vcpu for boot: " \
	"Failed to set MSRs: "

/*
 * Intel SDM volume 4. Linux finds the CPU as the boot protocol and a reset leave it; with MTRRs on
 * and write-back as their default, it need not set up any.
 */
static const struct kvm_msr_entry boot_msrs[] = {
	{ .index = 0x10, .data = 0 },			/* IA32_TIME_STAMP_COUNTER */
	{ .index = 0x174, .data = 0 },			/* IA32_SYSENTER_CS */
	{ .index = 0x175, .data = 0 },			/* IA32_SYSENTER_ESP */
	{ .index = 0x176, .data = 0 },			/* IA32_SYSENTER_EIP */
	{ .index = 0x1a0, .data = 1 },			/* IA32_MISC_ENABLE: fast strings */
	{ .index = 0x2ff, .data = 1 << 11 | 6 },	/* IA32_MTRR_DEF_TYPE: on, write-back */
	{ .index = 0xc0000081, .data = 0 },		/* IA32_STAR */
	{ .index = 0xc0000082, .data = 0 },		/* IA32_LSTAR */
	{ .index = 0xc0000083, .data = 0 },		/* IA32_CSTAR */
	{ .index = 0xc0000084, .data = 0 },		/* IA32_FMASK */
	{ .index = 0xc0000102, .data = 0 },		/* IA32_KERNEL_GS_BASE */
};

void msr_change_add(struct msr_change *changes, size_t *count, struct msr_change change)
{
	size_t at = 0;

	while (at < *count && changes[at].index < change.index)
		at++;
	if (at < *count && changes[at].index == change.index) {
		changes[at].filter |= change.filter;
		changes[at].value = (changes[at].value & ~change.filter) | change.value;
		return;
	}
	memmove(changes + at + 1, changes + at, (*count - at) * sizeof(*changes));
	changes[at] = change;
	++*count;
}

/* KVM_GET_MSRS or KVM_SET_MSRS for @entries up to one that fails: how many were done, or -errno */
static int transfer(int vcpu_fd, unsigned long request, struct kvm_msr_entry *entries, size_t count)
{
	_Alignas(struct kvm_msrs)
		uint8_t buffer[sizeof(struct kvm_msrs) + CHUNK * sizeof(struct kvm_msr_entry)];
	struct kvm_msrs *msrs = (struct kvm_msrs *)buffer;
	size_t done = 0;

	while (done < count) {
		size_t n = count - done < CHUNK ? count - done : CHUNK;
		int r;

		memset(msrs, 0, sizeof(*msrs));
		msrs->nmsrs = (uint32_t)n;
		memcpy(msrs->entries, entries + done, n * sizeof(*entries));
		r = ioctl(vcpu_fd, request, msrs);
		if (r < 0)
			return -errno;
		memcpy(entries + done, msrs->entries, n * sizeof(*entries));
		done += (size_t)r;
		if ((size_t)r < n)
			break;
	}
	return (int)done;
}

static int read_msrs(int vcpu_fd, struct kvm_msr_entry *entries, size_t count, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	int r = transfer(vcpu_fd, KVM_GET_MSRS, entries, count);

	if (r < 0)
		return fault_set(fault, r, GET_FAILED "msrs: %s", os_error(r, text));
	if ((size_t)r < count)
		return fault_set(fault, -ENOENT, GET_FAILED "msr: 0x%x", entries[r].index);
	return 0;
}

int msr_write(int vcpu_fd, struct kvm_msr_entry *list, size_t count, struct fault *fault)
{
	char text[OS_ERROR_MAX];
	int r = transfer(vcpu_fd, KVM_SET_MSRS, list, count);

	if (r < 0)
		return fault_set(fault, r, SET_FAILED "Failed to set MSRs: %s", os_error(r, text));
	if ((size_t)r < count)
		return fault_set(fault, -EINVAL, SET_FAILED "Not all given MSRs were set. "
				 "The first that was not: 0x%x.", list[r].index);
	return 0;
}

/* Behind the others, or instead of one */
static void put(struct kvm_msr_entry *entries, size_t *count, const struct kvm_msr_entry *entry)
{
	for (size_t i = 0; i < *count; i++)
		if (entries[i].index == entry->index) {
			entries[i].data = entry->data;
			return;
		}
	entries[(*count)++] = *entry;
}

int msr_list_new(int vcpu_fd, const struct msr_change *changes, size_t count,
		 struct kvm_msr_entry **ret_list, size_t *ret_count, struct fault *fault)
{
	struct kvm_msr_entry *list = calloc(count + ARRAY_SIZE(boot_msrs), sizeof(*list));
	size_t total = count;
	int r;

	if (list == NULL)
		return fault_set(fault, -ENOMEM, SET_FAILED "out of memory");
	for (size_t i = 0; i < count; i++)
		list[i].index = changes[i].index;
	r = read_msrs(vcpu_fd, list, count, fault);
	if (r < 0) {
		free(list);
		return r;
	}
	for (size_t i = 0; i < count; i++)
		list[i].data = (list[i].data & ~changes[i].filter) | changes[i].value;
	for (size_t i = 0; i < ARRAY_SIZE(boot_msrs); i++)
		put(list, &total, &boot_msrs[i]);
	*ret_list = list;
	*ret_count = total;
	return 0;
}
