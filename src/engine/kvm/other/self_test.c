/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/self_test.h"

const struct self_test_guest *const self_test_guest = NULL;
