/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order is Firecracker's: what KVM supports; changed as a template says; made right for this
 * machine, so that no template can break identity and topology; and for each vCPU its place.
 */
#include "engine/kvm/cpu.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/kvm/capabilities.h"
#include "engine/kvm/vm.h"
#include "engine/kvm/x86_64/cpuid.h"
#include "engine/kvm/x86_64/msr.h"
#include "engine/kvm/x86_64/templates.h"

#define KVM_FAILED	"Kvm error: Architecture specific error: "
#define CONFIG_FAILED	"System configuration error: Failed to create guest config: "
#define VCPU_FAILED	"System configuration error: Error configuring the vcpu for boot: "

struct cpu_model {
	struct cpuid_topology topology;
	struct kvm_cpuid2 *cpuid;	/* but for the place of each vCPU */
	struct msr_change *msrs;
	size_t msr_count;
};

static int no_memory(struct fault *fault)
{
	return fault_set(fault, -ENOMEM, CONFIG_FAILED "out of memory");
}

/* Capabilities */

static const uint32_t needed_capabilities[] = {
	KVM_CAP_IRQCHIP,      KVM_CAP_IOEVENTFD, KVM_CAP_IRQFD,	      KVM_CAP_USER_MEMORY,
	KVM_CAP_SET_TSS_ADDR, KVM_CAP_PIT2,	 KVM_CAP_PIT_STATE2,  KVM_CAP_ADJUST_CLOCK,
	KVM_CAP_DEBUGREGS,    KVM_CAP_MP_STATE,	 KVM_CAP_VCPU_EVENTS, KVM_CAP_XCRS,
	KVM_CAP_XSAVE,	      KVM_CAP_EXT_CPUID,
};

int cpu_check_capabilities(int kvm_fd, const struct squib_machine *machine, struct fault *fault)
{
	return capabilities_check(kvm_fd, needed_capabilities, ARRAY_SIZE(needed_capabilities),
				  machine->cpu_config, fault);
}

/* What KVM supports */

#define ARCH_GET_XCOMP_SUPP		0x1021L	/* Linux arch/x86/include/uapi/asm/prctl.h */
#define ARCH_REQ_XCOMP_GUEST_PERM	0x1025L
#define XFEATURE_XTILE_DATA		18L	/* the tiles of Intel AMX */

/*
 * A process has to ask before its guests may have AMX: until then KVM leaves it out, or, before
 * Linux 6.4, tells of one half of it only, and a guest dies of that. EINVAL: a Linux before 5.16,
 * or before 5.17 for guests, where there is nothing to ask for.
 */
static int request_xstate(struct fault *fault)
{
	char text[OS_ERROR_MAX];
	uint64_t supported = 0;
	int r;

	if (syscall(SYS_arch_prctl, ARCH_GET_XCOMP_SUPP, &supported) < 0) {
		r = -errno;
		if (r == -EINVAL)
			return 0;
		return fault_set(fault, r, KVM_FAILED "Failed to request permission for dynamic XSTATE "
				 "features: Failed to get supported XSTATE features: %s",
				 os_error(r, text));
	}
	if ((supported & UINT64_C(1) << XFEATURE_XTILE_DATA) == 0)
		return 0;
	if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_GUEST_PERM, XFEATURE_XTILE_DATA) < 0 &&
	    errno != EINVAL) {
		r = -errno;
		return fault_set(fault, r, KVM_FAILED "Failed to request permission for dynamic XSTATE "
				 "features: Failed to request permission for XSTATE feature (%ld): %s",
				 XFEATURE_XTILE_DATA, os_error(r, text));
	}
	return 0;
}

/* All at once: asking takes KVM longer than the memory is worth, and it is given back. */
static int get_supported(int kvm_fd, struct kvm_cpuid2 **ret_cpuid, struct fault *fault)
{
	struct kvm_cpuid2 *cpuid = calloc(1, CPUID_SIZE_BYTES(CPUID_ENTRIES_MAX));
	char text[OS_ERROR_MAX];
	int r;

	if (cpuid == NULL)
		return no_memory(fault);
	cpuid->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0) {
		r = -errno;
		free(cpuid);
		return fault_set(fault, r, KVM_FAILED "Failed to get supported cpuid: %s",
				 os_error(r, text));
	}
	*ret_cpuid = cpuid;
	return 0;
}

/* Upstream's words: the name as numbers, and a backslash that is really there */
static int other_vendor(const struct kvm_cpuid_entry2 *leaf_0, struct fault *fault)
{
	uint32_t regs[] = { leaf_0->ebx, leaf_0->edx, leaf_0->ecx };
	char name[sizeof(regs) * sizeof("255, ")] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(regs); i++)
		len += (size_t)snprintf(name + len, sizeof(name) - len, "%s%u", i > 0 ? ", " : "",
					((uint8_t *)regs)[i]);
	return fault_set(fault, -ENOTSUP, CONFIG_FAILED "Can create cpuid from raw: Unsupported CPUID "
			 "manufacturer id: \\\"[%s]\\\" (only 'GenuineIntel' and 'AuthenticAMD' are "
			 "supported).", name);
}

static int get_vendor(struct kvm_cpuid2 *cpuid, enum cpuid_vendor *ret_vendor, struct fault *fault)
{
	struct kvm_cpuid_entry2 *leaf_0 = cpuid_find(cpuid, 0, 0);

	if (leaf_0 == NULL)
		return fault_set(fault, -ENOENT, CONFIG_FAILED "Can create cpuid from raw: "
				 "Leaf 0 not found in the given `kvm_bindings::CpuId`.");
	*ret_vendor = cpuid_vendor(leaf_0);
	return *ret_vendor == CPUID_VENDOR_OTHER ? other_vendor(leaf_0, fault) : 0;
}

/* Templates */

/* Room for @count more changes of MSRs */
static int reserve_msrs(struct cpu_model *model, size_t count, struct fault *fault)
{
	if (count == 0)
		return 0;
	model->msrs = calloc(count, sizeof(*model->msrs));
	return model->msrs == NULL ? no_memory(fault) : 0;
}

static int apply_static(struct cpu_model *model, const struct cpu_template *template,
			struct fault *fault)
{
	int r = reserve_msrs(model, template->msr_count, fault);

	for (size_t part = 0; part < TEMPLATE_PARTS; part++)
		for (size_t i = 0; r == 0 && i < template->cpuid[part].count; i++)
			r = cpuid_change(model->cpuid, &template->cpuid[part].changes[i], fault);
	for (size_t i = 0; r == 0 && i < template->msr_count; i++)
		msr_change_add(model->msrs, &model->msr_count, template->msrs[i]);
	return r;
}

/* A leaf may come without registers, for its flags */
static int apply_leaf(struct cpu_model *model, const struct squib_cpuid_modifier *modifier,
		      struct fault *fault)
{
	struct cpuid_change change = { .leaf = modifier->leaf, .subleaf = modifier->subleaf,
				       .flags = modifier->flags };
	int r = cpuid_change(model->cpuid, &change, fault);

	for (size_t i = 0; r == 0 && i < modifier->modifier_count; i++) {
		change.reg = modifier->modifiers[i].reg;
		change.filter = (uint32_t)modifier->modifiers[i].bitmap.filter[0];
		change.value = (uint32_t)modifier->modifiers[i].bitmap.value[0];
		r = cpuid_change(model->cpuid, &change, fault);
	}
	return r;
}

static int apply_custom(struct cpu_model *model, const struct squib_cpu_config *config,
			struct fault *fault)
{
	int r = reserve_msrs(model, config->msr_modifier_count, fault);

	for (size_t i = 0; r == 0 && i < config->cpuid_modifier_count; i++)
		r = apply_leaf(model, &config->cpuid_modifiers[i], fault);
	for (size_t i = 0; r == 0 && i < config->msr_modifier_count; i++) {
		const struct squib_register_modifier *modifier = &config->msr_modifiers[i];

		msr_change_add(model->msrs, &model->msr_count,
			       (struct msr_change){ .index = (uint32_t)modifier->addr,
						    .filter = modifier->bitmap.filter[0],
						    .value = modifier->bitmap.value[0] });
	}
	return r;
}

/* NULL when the machine has no static template */
static int get_template(const struct squib_machine *machine,
			const struct cpu_template **ret_template, struct fault *fault)
{
	struct kvm_cpuid_entry2 leaf_0 = { .function = 0 }, leaf_1 = { .function = 1 };

	*ret_template = NULL;
	if (!machine->config.has_cpu_template ||
	    machine->config.cpu_template == SQUIB_CPU_TEMPLATE_NONE)
		return 0;
	cpuid_read_host(&leaf_0);
	cpuid_read_host(&leaf_1);
	return cpu_template_get(machine->config.cpu_template, cpuid_vendor(&leaf_0),
				cpuid_signature(leaf_1.eax), ret_template, fault);
}

/* The model */

static void shrink(struct cpu_model *model)
{
	struct kvm_cpuid2 *smaller = realloc(model->cpuid, CPUID_SIZE_BYTES(model->cpuid->nent));

	if (smaller != NULL)
		model->cpuid = smaller;
}

static int build(struct cpu_model *model, int kvm_fd, const struct squib_machine *machine,
		 struct fault *fault)
{
	enum cpuid_vendor vendor = CPUID_VENDOR_OTHER;
	const struct cpu_template *template;
	int r = get_template(machine, &template, fault);

	if (r == 0)
		r = request_xstate(fault);
	if (r == 0)
		r = get_supported(kvm_fd, &model->cpuid, fault);
	if (r == 0)
		r = get_vendor(model->cpuid, &vendor, fault);
	if (r == 0 && template != NULL)
		r = apply_static(model, template, fault);
	else if (r == 0 && machine->cpu_config != NULL)
		r = apply_custom(model, machine->cpu_config, fault);
	if (r < 0)
		return r;
	if (cpuid_normalise(model->cpuid, vendor, &model->topology, cpuid_read_host, fault) < 0)
		return fault_prefix(fault, VCPU_FAILED "Failed to apply modifications to CPUID: ");
	shrink(model);
	return 0;
}

int cpu_model_new(const struct vm *vm, const struct squib_machine *machine,
		  struct cpu_model **ret_model, struct fault *fault)
{
	struct cpu_model *model = calloc(1, sizeof(*model));
	int r;

	if (model == NULL)
		return no_memory(fault);
	model->topology.cpus = machine->config.vcpu_count;
	model->topology.threads_per_core =
		machine->config.smt && machine->config.vcpu_count > 1 ? 2 : 1;
	r = build(model, vm->kvm_fd, machine, fault);
	if (r < 0) {
		cpu_model_free(model);
		return r;
	}
	*ret_model = model;
	return 0;
}

void cpu_model_free(struct cpu_model *model)
{
	if (model == NULL)
		return;
	free(model->cpuid);
	free(model->msrs);
	free(model);
}

static int set_cpuid(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		     struct fault *fault)
{
	size_t size_bytes = CPUID_SIZE_BYTES(model->cpuid->nent);
	struct kvm_cpuid2 *cpuid = malloc(size_bytes);
	char text[OS_ERROR_MAX];
	int r = 0;

	if (cpuid == NULL)
		return no_memory(fault);
	memcpy(cpuid, model->cpuid, size_bytes);
	cpuid_place(cpuid, &model->topology, index);
	if (ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid) < 0) {
		r = -errno;
		fault_set(fault, r, VCPU_FAILED "Failed to set CPUID: %s", os_error(r, text));
	}
	free(cpuid);
	return r;
}

int cpu_model_setup(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		    struct fault *fault)
{
	struct kvm_msr_entry *msrs;
	size_t count;
	int r = msr_list_new(vcpu_fd, model->msrs, model->msr_count, &msrs, &count, fault);

	if (r < 0)
		return r;
	r = set_cpuid(model, vcpu_fd, index, fault);
	if (r == 0)
		r = msr_write(vcpu_fd, msrs, count, fault);
	free(msrs);
	return r;
}
