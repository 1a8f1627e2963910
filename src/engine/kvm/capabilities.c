/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/capabilities.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <sys/ioctl.h>

/* Whether the last word on a capability is to leave it out */
static bool is_removed(const struct squib_cpu_config *config, uint32_t number)
{
	bool removed = false;

	for (size_t i = 0; config != NULL && i < config->kvm_capability_count; i++)
		if (config->kvm_capabilities[i].number == number)
			removed = config->kvm_capabilities[i].remove;
	return removed;
}

static int check_one(int kvm_fd, const struct squib_cpu_config *config, uint32_t number,
		     struct fault *fault)
{
	if (is_removed(config, number) ||
	    ioctl(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)number) > 0)
		return 0;
	return fault_set(fault, -ENOTSUP, "Kvm error: Missing KVM capabilities: 0x%x", number);
}

int capabilities_check(int kvm_fd, const uint32_t *needed, size_t count,
		       const struct squib_cpu_config *config, struct fault *fault)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = check_one(kvm_fd, config, needed[i], fault);
	for (size_t i = 0; r == 0 && config != NULL && i < config->kvm_capability_count; i++)
		r = check_one(kvm_fd, config, config->kvm_capabilities[i].number, fault);
	return r;
}
