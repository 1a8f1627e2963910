/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts of Firecracker 1.16.1: which bits the template clears and sets.
 *
 * Names of fields: Arm ARM (DDI 0487), D19 "AArch64 System Register Descriptions".
 */
#include "engine/kvm/aarch64/templates.h"

#include <errno.h>

#include "engine/kvm/aarch64/registers.h"

#define ROW(register_, filter_, value_) \
	{ .addr = REGISTER_##register_, .bitmap = { .filter = { filter_ }, .value = { value_ } } }

/* Makes a Neoverse V1 look like a Neoverse N1. */
static const struct squib_register_modifier v1n1[] = {
	/* - SVE DIT */
	ROW(ID_AA64PFR0_EL1, 0x000f000f00000000, 0),
	/* - SHA512 SHA3 SM3 SM4 FHM FlagM RNDR; SHA256 stays */
	ROW(ID_AA64ISAR0_EL1, 0xf0ff0fff0000f000, 0x1000),
	/* - DC CVADP, JSCVT FCMA LRCPC2 BF16 DGH I8MM; DC CVAP and LRCPC stay */
	ROW(ID_AA64ISAR1_EL1, 0x00fff00000fff00f, 0x00100001),
	/* - LSE2: single-copy atomicity of what is not aligned */
	ROW(ID_AA64MMFR2_EL1, 0x0000000f00000000, 0),
};

/* Of the other architecture; they get here through the library only. */
static const char *const others[] = {
	[SQUIB_CPU_TEMPLATE_C3] = "C3",	    [SQUIB_CPU_TEMPLATE_T2] = "T2",
	[SQUIB_CPU_TEMPLATE_T2S] = "T2S",   [SQUIB_CPU_TEMPLATE_NONE] = "None",
	[SQUIB_CPU_TEMPLATE_T2CL] = "T2CL", [SQUIB_CPU_TEMPLATE_T2A] = "T2A",
};
_Static_assert(ARRAY_SIZE(others) == SQUIB_CPU_TEMPLATE_V1N1, "a name for each template");

int cpu_template_get(enum squib_cpu_template template, const struct cpu_template **ret_template,
		     struct fault *fault)
{
	static const struct cpu_template found = { .modifiers = v1n1, .count = ARRAY_SIZE(v1n1) };

	if (template != SQUIB_CPU_TEMPLATE_V1N1)
		return fault_set(fault, -ENOTSUP, "Failed to get CPU template: "
				 "Invalid static CPU template: %s",
				 template < ARRAY_SIZE(others) ? others[template] : "?");
	*ret_template = &found;
	return 0;
}
