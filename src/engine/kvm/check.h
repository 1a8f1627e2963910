/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_KVM_CHECK_H
#define SQUIB_ENGINE_KVM_CHECK_H

#include "engine/engine.h"

/**
 * kvm_check() - can this engine give everything in @machine?
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: ".
 */
int kvm_check(const struct squib_machine *machine, struct fault *fault);

#endif
