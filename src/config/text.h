/* SPDX-License-Identifier: Apache-2.0 */
/* Strings that stand for something: the types of bodies that are written as text. */
#ifndef SQUIB_CONFIG_TEXT_H
#define SQUIB_CONFIG_TEXT_H

#include "config/schema.h"

extern const struct type mac_type;		/* uint8_t[6] */
extern const struct type ipv4_type;		/* uint8_t[4], network order */
extern const struct type log_level_type;	/* enum squib_log_level */
extern const struct type kvm_capability_type;	/* struct squib_kvm_capability */
extern const struct type cpuid_register_type;	/* enum squib_cpuid_register */
extern const struct type hex32_type;		/* uint32_t, written 0x... or 0b... */
extern const struct type hex64_type;		/* uint64_t */
extern const struct type msr_address_type;	/* uint64_t of 32 bits */
extern const struct type bitmap32_type;		/* struct squib_bitmap of as many positions */
extern const struct type bitmap64_type;
extern const struct type bitmap128_type;

#endif
