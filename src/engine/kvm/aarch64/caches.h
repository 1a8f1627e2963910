/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The caches of the host's CPU, for the guest's device tree and for the register that says the same.
 */
#ifndef SQUIB_ENGINE_KVM_AARCH64_CACHES_H
#define SQUIB_ENGINE_KVM_AARCH64_CACHES_H

#include <stddef.h>
#include <stdint.h>

#include "boot/aarch64.h"

/**
 * caches_read() - the caches of the host's first CPU
 * @sysfs_root: "/sys"
 * @caches: AARCH64_CACHES_MAX of them
 *
 * What Linux does not tell of a cache is 0, or a share of one CPU; a cache without a level or a type,
 * or with one that cannot be, is left out.
 *
 * Return: how many there are, levels ascending, in each as Linux counts them. 0: it tells of none.
 */
size_t caches_read(const char *sysfs_root, struct aarch64_cache *caches);

/**
 * caches_clidr() - CLIDR_EL1 for a CPU with @caches
 * @clidr: what it is now. Types and level of coherence are replaced, the rest stays
 */
uint64_t caches_clidr(const struct aarch64_cache *caches, size_t count, uint64_t clidr);

/**
 * caches_apply() - have a vCPU's CLIDR_EL1 tell of @caches
 *
 * Since Linux 6.3 KVM makes one up, and a guest whose device tree says otherwise shows no caches at
 * all. Without a cache of level 1 nothing is changed.
 *
 * Return: 0, or -errno where KVM does not let us: then it was the host's already, as a rule.
 */
int caches_apply(const struct aarch64_cache *caches, size_t count, int vcpu_fd);

#endif
