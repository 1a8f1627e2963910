/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts of Firecracker 1.16.1: which bits a template clears and sets, and where it may be used.
 * T2, T2S, T2CL and T2A make a CPU look like the Haswell of an EC2 T2 instance and differ in
 * leaves above 0x80000000 and in IA32_ARCH_CAPABILITIES; C3 is an Ivy Bridge.
 *
 * Names of bits: Intel SDM volume 2A, CPUID, and volume 4; AMD APM volume 3, appendix E.
 */
#include "engine/kvm/x86_64/templates.h"

#include <errno.h>

#define SKYLAKE		0x00050654
#define CASCADE_LAKE	0x00050657
#define ICE_LAKE	0x000606a6
#define MILAN		0x00a00f11

#define SUBLEAF KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define ROW(leaf_, subleaf_, flags_, reg_, filter_, value_) \
	{ .leaf = leaf_, .subleaf = subleaf_, .flags = flags_, .reg = SQUIB_CPUID_##reg_, \
	  .filter = filter_, .value = value_ }

static const struct cpuid_change c3[] = {
	/* family 6, model 0x3e, stepping 4 */
	ROW(0x1, 0, 0, EAX, 0x0fff3fff, 0x000306e4),
	/* - DTES64 MONITOR DS-CPL VMX TM2 CNXT-ID SDBG FMA xTPR PDCM MOVBE */
	ROW(0x1, 0, 0, ECX, 0x0040dd3c, 0),
	/* + MCE MTRR - PSN DS ACPI SS TM PBE */
	ROW(0x1, 0, 0, EDX, 0xa8641080, 0x00001080),
	/*
	 * - SGX BMI1 HLE AVX2 BMI2 INVPCID RTM RDT-M MPX RDT-A AVX512F/DQ RDSEED ADX AVX512_IFMA
	 * CLFLUSHOPT CLWB PT AVX512PF/ER/CD SHA AVX512BW/VL
	 */
	ROW(0x7, 0, SUBLEAF, EBX, 0xffafdd3c, 0),
	/* - AVX512_VBMI UMIP PKU OSPKE AVX512_VNNI AVX512_VPOPCNTDQ LA57 RDPID SGX_LC */
	ROW(0x7, 0, SUBLEAF, ECX, 0x4041481e, 0),
	/* - AVX512_4VNNIW AVX512_4FMAPS */
	ROW(0x7, 0, SUBLEAF, EDX, 0x0000000c, 0),
	/* - the state of MPX, AVX-512, PKRU */
	ROW(0xd, 0, SUBLEAF, EAX, 0x000002f8, 0),
	/* - XSAVEC XGETBV(1) XSAVES */
	ROW(0xd, 1, SUBLEAF, EAX, 0x0000000e, 0),
	/* - LZCNT PREFETCHW */
	ROW(0x80000001, 0, 0, ECX, 0x00000120, 0),
	/* - 1 GiB pages */
	ROW(0x80000001, 0, 0, EDX, 0x04000000, 0),
};

static const struct cpuid_change t2_common[] = {
	/* family 6, model 0x3f, stepping 2 */
	ROW(0x1, 0, 0, EAX, 0x0fff3fff, 0x000306f2),
	/* - DTES64 MONITOR DS-CPL VMX SMX EIST TM2 CNXT-ID SDBG xTPR PDCM DCA */
	ROW(0x1, 0, 0, ECX, 0x0004cdfc, 0),
	/* + MCE MTRR - PSN DS ACPI SS TM IA-64 PBE */
	ROW(0x1, 0, 0, EDX, 0xe8641080, 0x00001080),
	/*
	 * + ERMS - SGX HLE RTM RDT-M MPX RDT-A AVX512F/DQ RDSEED ADX AVX512_IFMA PCOMMIT CLFLUSHOPT
	 * CLWB PT AVX512PF/ER/CD SHA AVX512BW/VL
	 */
	ROW(0x7, 0, SUBLEAF, EBX, 0xffefda14, 0x00000200),
	/*
	 * - AVX512_VBMI UMIP PKU OSPKE AVX512_VBMI2 GFNI VAES VPCLMULQDQ AVX512_VNNI AVX512_BITALG
	 * AVX512_VPOPCNTDQ LA57 RDPID SGX_LC
	 */
	ROW(0x7, 0, SUBLEAF, ECX, 0x40415f5e, 0),
	/* - AVX512_4VNNIW AVX512_4FMAPS FSRM AVX512_VP2INTERSECT */
	ROW(0x7, 0, SUBLEAF, EDX, 0x0000011c, 0),
	/* - the state of MPX, AVX-512, PKRU */
	ROW(0xd, 0, SUBLEAF, EAX, 0x000002f8, 0),
	/* - XSAVEC XGETBV(1) XSAVES */
	ROW(0xd, 1, SUBLEAF, EAX, 0x0000000e, 0),
};

static const struct cpuid_change t2[] = {		/* and T2S */
	/* - PREFETCHW MONITORX */
	ROW(0x80000001, 0, 0, ECX, 0x20000100, 0),
	/* - 1 GiB pages */
	ROW(0x80000001, 0, 0, EDX, 0x04000000, 0),
	/* - WBNOINVD */
	ROW(0x80000008, 0, 0, EBX, 0x00000200, 0),
};

static const struct cpuid_change t2cl[] = {
	/* - SSE4A MisAlignSse PREFETCHW MONITORX: what T2A guests have not, either */
	ROW(0x80000001, 0, 0, ECX, 0x200001c0, 0),
	/* - MmxExt MMX FXSR FFXSR 1 GiB pages */
	ROW(0x80000001, 0, 0, EDX, 0x07c00000, 0),
	/* - WBNOINVD */
	ROW(0x80000008, 0, 0, EBX, 0x00000200, 0),
};

static const struct cpuid_change t2a[] = {
	/* - SVM SSE4A MisAlignSse 3DNowPrefetch MONITORX */
	ROW(0x80000001, 0, 0, ECX, 0x200001c4, 0),
	/* - MmxExt FFXSR 1 GiB pages */
	ROW(0x80000001, 0, 0, EDX, 0x06400000, 0),
	/* + RstrFpErrPtrs IbrsPreferred IbrsSameMode EferLmsleUnsupported - CLZERO WBNOINVD */
	ROW(0x80000008, 0, 0, EBX, 0x001c0205, 0x001c0004),
};

static const struct msr_change t2s_msrs[] = {
	/*
	 * just RSBA SKIP_L1DFL_VMENTRY IF_PSCHANGE_MC_NO MISC_PACKAGE_CTLS ENERGY_FILTERING_CTL
	 * RRSBA GDS_NO RFDS_NO, whatever the host has
	 */
	{ .index = MSR_IA32_ARCH_CAPABILITIES, .filter = UINT64_MAX, .value = 0x0c080c4c },
};

static const struct msr_change t2cl_msrs[] = {
	/* only what tells of vulnerabilities and KVM passes on: Linux 6.8, arch/x86/kvm/x86.c */
	{ .index = MSR_IA32_ARCH_CAPABILITIES, .filter = 0xffffffffe2f51e00, .value = 0 },
};

#define PART(table) { .changes = table, .count = ARRAY_SIZE(table) }

static const struct cpu_template templates[] = {
	[SQUIB_CPU_TEMPLATE_C3] = {
		.vendor = CPUID_VENDOR_INTEL, .models = { SKYLAKE, CASCADE_LAKE, ICE_LAKE },
		.cpuid = { PART(c3) },
	},
	[SQUIB_CPU_TEMPLATE_T2] = {
		.vendor = CPUID_VENDOR_INTEL, .models = { SKYLAKE, CASCADE_LAKE, ICE_LAKE },
		.cpuid = { PART(t2_common), PART(t2) },
	},
	[SQUIB_CPU_TEMPLATE_T2S] = {
		.vendor = CPUID_VENDOR_INTEL, .models = { SKYLAKE, CASCADE_LAKE },
		.cpuid = { PART(t2_common), PART(t2) },
		.msrs = t2s_msrs, .msr_count = ARRAY_SIZE(t2s_msrs),
	},
	[SQUIB_CPU_TEMPLATE_T2CL] = {
		.vendor = CPUID_VENDOR_INTEL, .models = { CASCADE_LAKE, ICE_LAKE },
		.cpuid = { PART(t2_common), PART(t2cl) },
		.msrs = t2cl_msrs, .msr_count = ARRAY_SIZE(t2cl_msrs),
	},
	[SQUIB_CPU_TEMPLATE_T2A] = {
		.vendor = CPUID_VENDOR_AMD, .models = { MILAN },
		.cpuid = { PART(t2_common), PART(t2a) },
	},
};

static const char *const names[] = {
	[SQUIB_CPU_TEMPLATE_C3] = "C3",	    [SQUIB_CPU_TEMPLATE_T2] = "T2",
	[SQUIB_CPU_TEMPLATE_T2S] = "T2S",   [SQUIB_CPU_TEMPLATE_NONE] = "None",
	[SQUIB_CPU_TEMPLATE_T2CL] = "T2CL", [SQUIB_CPU_TEMPLATE_T2A] = "T2A",
	[SQUIB_CPU_TEMPLATE_V1N1] = "V1N1",
};
_Static_assert(ARRAY_SIZE(names) == SQUIB_CPU_TEMPLATE_V1N1 + 1, "a name for each template");

int cpu_template_get(enum squib_cpu_template template, enum cpuid_vendor vendor,
		     uint32_t signature, const struct cpu_template **ret_template,
		     struct fault *fault)
{
	const struct cpu_template *found;

	/* Of another architecture, or none at all */
	if (template >= ARRAY_SIZE(templates) || templates[template].models[0] == 0)
		return fault_set(fault, -ENOTSUP, "Failed to get CPU template: "
				 "Invalid static CPU template: %s",
				 template < ARRAY_SIZE(names) ? names[template] : "?");
	found = &templates[template];
	if (found->vendor != vendor)
		return fault_set(fault, -ENOTSUP, "Failed to get CPU template: CPU vendor mismatched "
				 "between actual CPU and CPU template.");
	for (size_t i = 0; i < TEMPLATE_MODELS; i++)
		if (found->models[i] != 0 && found->models[i] == signature) {
			*ret_template = found;
			return 0;
		}
	return fault_set(fault, -ENOTSUP, "Failed to get CPU template: The current CPU model is not "
			 "permitted to apply the CPU template.");
}
