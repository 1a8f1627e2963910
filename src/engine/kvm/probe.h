/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_KVM_PROBE_H
#define SQUIB_ENGINE_KVM_PROBE_H

#include <squib/controller.h>

#include "base/fault.h"

/**
 * kvm_probe() - does KVM run guests of @arch here, for real?
 *
 * Opening the device is not enough: there are hosts whose /dev/kvm is emulated, and fails at
 * instructions that Linux needs, or run a hundred times slower than the processor. So a guest of a
 * few instructions is run. Takes some milliseconds, ten seconds where a guest hangs, and leaves
 * nothing behind.
 *
 * Return: 0, or -errno with the reason in @reason.
 */
int kvm_probe(enum squib_arch arch, struct fault *reason);

#endif
