/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses to ports and device registers that no driver would make. */
#ifndef HOSTILE_POKES_H
#define HOSTILE_POKES_H

#include "machine.h"

void poke_mmio(const struct machine *machine, struct rng *rng);
void poke_port(const struct machine *machine, struct rng *rng);

#endif
