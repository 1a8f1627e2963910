/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_QEMU_CHECK_H
#define SQUIB_ENGINE_QEMU_CHECK_H

#include "engine/engine.h"

/**
 * qemu_check() - can this engine give everything in @machine?
 *
 * Return: 0, or -errno with @fault, a whole text behind "Start microvm error: ".
 */
int qemu_check(enum squib_arch arch, bool boot_timer, const struct squib_machine *machine,
	       struct fault *fault);

#endif
