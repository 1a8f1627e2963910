/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/aarch64/registers.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>

unsigned int register_bits(uint64_t id)
{
	return 8u << ((id & KVM_REG_SIZE_MASK) >> KVM_REG_SIZE_SHIFT);
}

static int transfer(int vcpu_fd, unsigned long request, uint64_t id, struct register_value *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };

	if (register_bits(id) > sizeof(*value) * 8)
		return -EINVAL;		/* KVM would go by the number, beyond our end */
	return ioctl(vcpu_fd, request, &reg) < 0 ? -errno : 0;
}

int register_read(int vcpu_fd, uint64_t id, struct register_value *ret_value)
{
	struct register_value value = { 0 };
	int r = transfer(vcpu_fd, KVM_GET_ONE_REG, id, &value);

	if (r == 0)
		*ret_value = value;
	return r;
}

int register_write(int vcpu_fd, uint64_t id, const struct register_value *value)
{
	struct register_value copy = *value;

	return transfer(vcpu_fd, KVM_SET_ONE_REG, id, &copy);
}

int register_get(int vcpu_fd, uint64_t id, uint64_t *ret_value)
{
	struct register_value value;
	int r;

	assert(register_bits(id) == 64);
	r = register_read(vcpu_fd, id, &value);
	if (r == 0)
		*ret_value = value.half[0];
	return r;
}

int register_set(int vcpu_fd, uint64_t id, uint64_t value)
{
	assert(register_bits(id) == 64);
	return register_write(vcpu_fd, id, &(struct register_value){ .half = { value } });
}

struct register_value register_change(uint64_t id, struct register_value value,
				      const struct squib_bitmap *bitmap)
{
	unsigned int bits = register_bits(id);

	for (size_t i = 0; i < 2; i++)
		value.half[i] = (value.half[i] & ~bitmap->filter[i]) | bitmap->value[i];
	if (bits < 128)
		value.half[1] = 0;
	if (bits < 64)
		value.half[0] &= (UINT64_C(1) << bits) - 1;
	return value;
}

const char *register_text(uint64_t id, struct register_value value, char text[REGISTER_TEXT_MAX])
{
	unsigned int digits = register_bits(id) / 4;

	if (digits > 16)
		snprintf(text, REGISTER_TEXT_MAX, "0x%016" PRIx64 "%016" PRIx64, value.half[1],
			 value.half[0]);
	else
		snprintf(text, REGISTER_TEXT_MAX, "0x%0*" PRIx64, (int)digits, value.half[0]);
	return text;
}

/*
 * Arm ARM, ID_AA64MMFR0_EL1: TGran16 is 0 where there is none; TGran64 and TGran4 are signed, and
 * negative where there is none.
 */
bool register_has_pages(uint64_t mmfr0, uint32_t page_bytes)
{
	switch (page_bytes) {
	case 4096:
		return (mmfr0 >> 28 & 0xf) < 8;
	case 16384:
		return (mmfr0 >> 20 & 0xf) != 0;
	case 65536:
		return (mmfr0 >> 24 & 0xf) < 8;
	default:
		return false;
	}
}
