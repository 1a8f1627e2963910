/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_KVM_CAPABILITIES_H
#define SQUIB_ENGINE_KVM_CAPABILITIES_H

#include <stddef.h>
#include <stdint.h>

#include <squib/config.h>

#include "base/fault.h"

/**
 * capabilities_check() - whether KVM can do what a machine needs
 * @kvm_fd: /dev/kvm
 * @needed: KVM_CAP_* of each machine of this architecture, @count of them
 * @config: adds to them and removes from them; NULL: none
 *
 * Return: 0, or -ENOTSUP with @fault, a whole text behind "Start microvm error: ".
 */
int capabilities_check(int kvm_fd, const uint32_t *needed, size_t count,
		       const struct squib_cpu_config *config, struct fault *fault);

#endif
