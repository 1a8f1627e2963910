/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM offers the host's CPU, with some features only on request (struct kvm_vcpu_init). A template
 * may ask for them, and for other values of registers.
 *
 * That a vCPU is off at first, and that PSCI turns it on, is the machine's, and no template's: one
 * that means to ask for a feature and gives zeros for the bits below it takes neither away.
 */
#include "engine/kvm/cpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "engine/kvm/aarch64/registers.h"
#include "engine/kvm/aarch64/templates.h"
#include "engine/kvm/capabilities.h"
#include "engine/kvm/vm.h"

#define INIT_FAILED	"System configuration error: Error creating vcpu configuration: " \
	"Error initializing the vcpu: "
#define READ_FAILED	"System configuration error: Error creating vcpu configuration: " \
	"Error reading vcpu registers: "
#define WRITE_FAILED	"System configuration error: Error configuring the vcpu: " \
	"Error applying template: "

struct cpu_model {
	struct kvm_vcpu_init init;	/* of the first vCPU */
	const struct squib_register_modifier *modifiers;	/* of a template or of the machine */
	size_t modifier_count;
};

int cpu_check_capabilities(int kvm_fd, const struct squib_machine *machine, struct fault *fault)
{
	static const uint32_t needed[] = {
		KVM_CAP_IOEVENTFD,    KVM_CAP_IRQFD,	   KVM_CAP_USER_MEMORY,
		KVM_CAP_ARM_PSCI_0_2, KVM_CAP_DEVICE_CTRL, KVM_CAP_MP_STATE,
		KVM_CAP_ONE_REG,
	};

	return capabilities_check(kvm_fd, needed, ARRAY_SIZE(needed), machine->cpu_config, fault);
}

/* The model */

static bool has_feature(const struct kvm_vcpu_init *init, unsigned int feature)
{
	return (init->features[0] & 1u << feature) != 0;
}

static int change_features(struct kvm_vcpu_init *init, const struct squib_cpu_config *config,
			   struct fault *fault)
{
	for (size_t i = 0; i < config->vcpu_feature_count; i++) {
		const struct squib_vcpu_feature *feature = &config->vcpu_features[i];
		uint32_t *word;

		if (feature->index >= ARRAY_SIZE(init->features))
			return fault_set(fault, -EINVAL, INIT_FAILED "Invalid index of vcpu features: "
					 "%u, should be < %zu", feature->index,
					 ARRAY_SIZE(init->features));
		word = &init->features[feature->index];
		*word = (*word & ~(uint32_t)feature->bitmap.filter[0]) |
			(uint32_t)feature->bitmap.value[0];
	}
	/* KVM lets no guest run that has a PMU which nobody set up. */
	if (has_feature(init, KVM_ARM_VCPU_PMU_V3))
		return fault_set(fault, -ENOTSUP, INIT_FAILED "Found unsupported KVM_ARM_VCPU_PMU_V3 bit "
				 "set in vcpu features.");
	return 0;
}

static int apply_custom(struct cpu_model *model, const struct squib_cpu_config *config,
			struct fault *fault)
{
	model->modifiers = config->reg_modifiers;
	model->modifier_count = config->reg_modifier_count;
	return change_features(&model->init, config, fault);
}

static int apply_static(struct cpu_model *model, enum squib_cpu_template name, struct fault *fault)
{
	const struct cpu_template *template;
	int r = cpu_template_get(name, &template, fault);

	if (r == 0) {
		model->modifiers = template->modifiers;
		model->modifier_count = template->count;
	}
	return r;
}

static int build(struct cpu_model *model, const struct vm *vm, const struct squib_machine *machine,
		 struct fault *fault)
{
	const struct squib_machine_config *config = &machine->config;
	int r = 0;

	if (ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &model->init) < 0)
		return vm_fault(fault, -errno, "Failed to create vcpu: Error getting the vcpu "
				"preferred target");
	if (config->has_cpu_template && config->cpu_template != SQUIB_CPU_TEMPLATE_NONE)
		r = apply_static(model, config->cpu_template, fault);
	else if (machine->cpu_config != NULL)
		r = apply_custom(model, machine->cpu_config, fault);
	model->init.features[0] &= ~(1u << KVM_ARM_VCPU_POWER_OFF);
	model->init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	return r;
}

int cpu_model_new(const struct vm *vm, const struct squib_machine *machine,
		  struct cpu_model **ret_model, struct fault *fault)
{
	struct cpu_model *model = calloc(1, sizeof(*model));
	int r;

	if (model == NULL)
		return fault_set(fault, -ENOMEM, INIT_FAILED "out of memory");
	r = build(model, vm, machine, fault);
	if (r < 0) {
		cpu_model_free(model);
		return r;
	}
	*ret_model = model;
	return 0;
}

void cpu_model_free(struct cpu_model *model)
{
	free(model);
}

/* A vCPU */

static int init_vcpu(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		     struct fault *fault)
{
	struct kvm_vcpu_init init = model->init;
	int sve = KVM_ARM_VCPU_SVE;
	char text[OS_ERROR_MAX];
	int r = 0;

	if (index > 0)
		init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
	if (ioctl(vcpu_fd, KVM_ARM_VCPU_INIT, &init) < 0)
		r = -errno;
	else if (has_feature(&init, KVM_ARM_VCPU_SVE) &&
		 ioctl(vcpu_fd, KVM_ARM_VCPU_FINALIZE, &sve) < 0)
		r = -errno;
	return r == 0 ? 0 : fault_set(fault, r, INIT_FAILED "Error initializing the vcpu: %s",
				      os_error(r, text));
}

static int read_registers(const struct cpu_model *model, int vcpu_fd, struct register_value *values,
			  struct fault *fault)
{
	for (size_t i = 0; i < model->modifier_count; i++) {
		uint64_t id = model->modifiers[i].addr;
		char text[OS_ERROR_MAX];
		int r = register_read(vcpu_fd, id, &values[i]);

		if (r < 0)	/* in decimal, as upstream has it */
			return fault_set(fault, r, READ_FAILED "Failed to get register %llu: %s",
					 (unsigned long long)id, os_error(r, text));
	}
	return 0;
}

static int write_registers(const struct cpu_model *model, int vcpu_fd,
			   const struct register_value *values, struct fault *fault)
{
	for (size_t i = 0; i < model->modifier_count; i++) {
		const struct squib_register_modifier *modifier = &model->modifiers[i];
		struct register_value value = register_change(modifier->addr, values[i],
							      &modifier->bitmap);
		char text[OS_ERROR_MAX], value_text[REGISTER_TEXT_MAX];
		int r = register_write(vcpu_fd, modifier->addr, &value);

		if (r < 0)
			return fault_set(fault, r, WRITE_FAILED "Failed to set register 0x%llx to value "
					 "%s: %s", (unsigned long long)modifier->addr,
					 register_text(modifier->addr, value, value_text),
					 os_error(r, text));
	}
	return 0;
}

int cpu_model_setup(const struct cpu_model *model, int vcpu_fd, unsigned int index,
		    struct fault *fault)
{
	struct register_value *values = NULL;
	int r = init_vcpu(model, vcpu_fd, index, fault);

	if (r < 0 || model->modifier_count == 0)
		return r;
	values = calloc(model->modifier_count, sizeof(*values));
	if (values == NULL)
		return fault_set(fault, -ENOMEM, WRITE_FAILED "out of memory");
	r = read_registers(model, vcpu_fd, values, fault);
	if (r == 0)
		r = write_registers(model, vcpu_fd, values, fault);
	free(values);
	return r;
}
