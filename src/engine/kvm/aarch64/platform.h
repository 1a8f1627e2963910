/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_ENGINE_KVM_AARCH64_PLATFORM_H
#define SQUIB_ENGINE_KVM_AARCH64_PLATFORM_H

#include "boot/aarch64.h"

struct platform;

/** platform_gic() - the machine's interrupt controller, for its description; the platform's */
const struct aarch64_gic *platform_gic(const struct platform *platform);

#endif
