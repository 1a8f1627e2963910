/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses to device registers that no driver would make. */
#ifndef HOSTILE_POKES_H
#define HOSTILE_POKES_H

#include "machine.h"

/** poke_access() - of any width and direction, at @address */
void poke_access(struct rng *rng, uint64_t address, uint64_t value);

void poke_mmio(const struct machine *machine, struct rng *rng);

#endif
