/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses to device registers that no driver would make. */
#ifndef HOSTILE_POKES_H
#define HOSTILE_POKES_H

#include "machine.h"

void poke_mmio(const struct machine *machine, struct rng *rng);

#endif
