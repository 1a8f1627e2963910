/* SPDX-License-Identifier: Apache-2.0 */
/* Against the KVM of this host, whatever it is. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <cmocka.h>

#include "base/fd.h"
#include "engine/kvm/cpu.h"
#include "engine/kvm/test_host.h"
#include "engine/kvm/x86_64/cpuid.h"
#include "engine/kvm/x86_64/msr.h"
#include "engine/kvm/x86_64/templates.h"

static int setup(void **state)
{
	static struct host host;

	host_open(&host);
	*state = &host;
	if (host.vm.fd >= 0 && (ioctl(host.vm.fd, KVM_SET_TSS_ADDR, 0xfffbd000) < 0 ||
				ioctl(host.vm.fd, KVM_CREATE_IRQCHIP, 0) < 0))
		return -1;
	return 0;
}

static int teardown(void **state)
{
	host_close(*state);
	return 0;
}

static uint64_t read_msr(int vcpu_fd, uint32_t index)
{
	_Alignas(struct kvm_msrs) uint8_t buffer[sizeof(struct kvm_msrs) +
						 sizeof(struct kvm_msr_entry)] = { 0 };
	struct kvm_msrs *msrs = (struct kvm_msrs *)buffer;

	msrs->nmsrs = 1;
	msrs->entries[0].index = index;
	assert_int_equal(ioctl(vcpu_fd, KVM_GET_MSRS, msrs), 1);
	return msrs->entries[0].data;
}

static struct kvm_cpuid2 *read_cpuid(int vcpu_fd)	/* to be freed */
{
	struct kvm_cpuid2 *cpuid = calloc(1, CPUID_SIZE_BYTES(CPUID_ENTRIES_MAX));

	assert_non_null(cpuid);
	cpuid->nent = CPUID_ENTRIES_MAX;
	assert_int_equal(ioctl(vcpu_fd, KVM_GET_CPUID2, cpuid), 0);
	return cpuid;
}

static void vcpus_take_what_a_model_gives(void **state)
{
	struct host *host = host_of(state);
	static const struct { uint8_t vcpus; bool smt; } machines[] = {
		{ 1, false }, { 1, true }, { 4, false }, { 4, true }, { 32, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(machines); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct squib_machine machine = { .config = { .vcpu_count = machines[i].vcpus,
							     .smt = machines[i].smt } };
		struct cpu_model *model = NULL;

		if (cpu_model_new(&host->vm, &machine, &model, &fault) < 0)
			fail_msg("%s", fault_text(&fault));
		for (unsigned int k = 0; k < machines[i].vcpus; k++) {
			struct kvm_cpuid2 *cpuid;

			if (cpu_model_setup(model, host_vcpu(host, k), k, &fault) < 0)
				fail_msg("vCPU %u: %s", k, fault_text(&fault));
			cpuid = read_cpuid(host_vcpu(host, k));
			assert_int_equal(cpuid_find(cpuid, 1, 0)->ebx >> 24, k);
			assert_int_equal(cpuid_find(cpuid, 1, 0)->ecx >> 31, 1);
			free(cpuid);
			assert_int_equal(read_msr(host_vcpu(host, k), 0x2ff), 0x806);
		}
		cpu_model_free(model);
	}
}

/* With the words of clients: what they say must not depend on the host */
static void every_template_is_there_or_refused_in_words(void **state)
{
	struct host *host = host_of(state);
	static const char *const words[] = {
		"Failed to get CPU template: CPU vendor mismatched between actual CPU and CPU template.",
		"Failed to get CPU template: The current CPU model is not permitted to apply the CPU "
		"template.",
	};

	for (int t = SQUIB_CPU_TEMPLATE_C3; t <= SQUIB_CPU_TEMPLATE_T2A; t++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct squib_machine machine = { .config = { .vcpu_count = 1, .has_cpu_template = true,
							     .cpu_template = t } };
		struct cpu_model *model = NULL;
		int r = cpu_model_new(&host->vm, &machine, &model, &fault);

		assert_true((r == 0) == (model != NULL));
		if (r == 0)
			r = cpu_model_setup(model, host_vcpu(host, 0), 0, &fault);
		if (r < 0 && strcmp(fault_text(&fault), words[0]) != 0 &&
		    strcmp(fault_text(&fault), words[1]) != 0)
			fail_msg("template %d: %s", t, fault_text(&fault));
		assert_true(t != SQUIB_CPU_TEMPLATE_NONE || r == 0);
		cpu_model_free(model);
	}
}

/* What a custom configuration comes to: 0, or the fault */
static int try_config(struct host *host, const struct squib_cpu_config *config, int vcpu_fd,
		      struct fault *fault)
{
	struct squib_machine machine = { .config = { .vcpu_count = 2 }, .cpu_config = config };
	struct cpu_model *model = NULL;
	int r = cpu_model_new(&host->vm, &machine, &model, fault);

	if (r == 0)
		r = cpu_model_setup(model, vcpu_fd, 1, fault);
	cpu_model_free(model);
	return r;
}

/* The bits of T2, where the host has their leaves; this host may be none that T2 is for. */
static void a_vcpu_takes_what_templates_do(void **state)
{
	struct host *host = host_of(state);
	const struct cpu_template *t2;
	struct squib_cpuid_register_modifier registers[16];
	struct squib_cpuid_modifier leaves[16];
	struct squib_cpu_config config = { .cpuid_modifiers = leaves };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	size_t n = 0;

	assert_int_equal(cpu_template_get(SQUIB_CPU_TEMPLATE_T2, CPUID_VENDOR_INTEL, 0x50657, &t2, NULL),
			 0);
	for (size_t part = 0; part < TEMPLATE_PARTS; part++)
		for (size_t i = 0; i < t2->cpuid[part].count; i++, n++) {
			const struct cpuid_change *change = &t2->cpuid[part].changes[i];

			assert_true(n < ARRAY_SIZE(leaves));
			registers[n] = (struct squib_cpuid_register_modifier){
				.reg = change->reg,
				.bitmap = { .filter = { change->filter }, .value = { change->value } } };
			leaves[n] = (struct squib_cpuid_modifier){
				.leaf = change->leaf, .subleaf = change->subleaf, .flags = change->flags,
				.modifiers = &registers[n], .modifier_count = 1 };
		}
	config.cpuid_modifier_count = n;
	if (try_config(host, &config, host_vcpu(host, 1), &fault) < 0) {
		assert_non_null(strstr(fault_text(&fault), "not supported by KVM: Leaf: "));
		print_message("skipped: %s\n", fault_text(&fault));
		skip();
	}
}

static void a_custom_configuration_is_applied(void **state)
{
	struct host *host = host_of(state);
	/* EAX: another model. EBX: the APIC id, which no template can change. */
	static const struct squib_cpuid_register_modifier registers[] = {
		{ SQUIB_CPUID_EAX, { .filter = { 0xfff }, .value = { 0x123 } } },
		{ SQUIB_CPUID_EBX, { .filter = { 0xff000000 }, .value = { 0x55000000 } } },
	};
	static const struct squib_cpuid_modifier leaf = { .leaf = 1, .modifiers = registers,
							  .modifier_count = ARRAY_SIZE(registers) };
	/* PAT, twice; SYSENTER_EIP, which boot sets to 0 */
	static const struct squib_register_modifier msrs[] = {
		{ 0x277, { .filter = { UINT64_MAX }, .value = { 0x0007040600070406 } } },
		{ 0x277, { .filter = { 0xff }, .value = { 0x00 } } },
		{ 0x176, { .filter = { UINT64_MAX }, .value = { 0x1000 } } },
	};
	static const struct squib_cpu_config config = {
		.cpuid_modifiers = &leaf, .cpuid_modifier_count = 1,
		.msr_modifiers = msrs, .msr_modifier_count = ARRAY_SIZE(msrs),
	};
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct kvm_cpuid2 *cpuid;

	if (try_config(host, &config, host_vcpu(host, 1), &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	cpuid = read_cpuid(host_vcpu(host, 1));
	assert_int_equal(cpuid_find(cpuid, 1, 0)->eax & 0xfff, 0x123);
	assert_int_equal(cpuid_find(cpuid, 1, 0)->ebx >> 24, 1);
	free(cpuid);
	assert_true(read_msr(host_vcpu(host, 1), 0x277) == 0x0007040600070400);
	assert_int_equal(read_msr(host_vcpu(host, 1), 0x176), 0);
}

static void what_the_host_has_not_is_refused_in_words(void **state)
{
	struct host *host = host_of(state);
	static const struct squib_cpuid_modifier leaf = { .leaf = 0x8000abcd, .subleaf = 0x12 };
	static const struct squib_register_modifier msr = { .addr = 0xdeadbeef };
	static const struct {
		struct squib_cpu_config config;
		const char *want;
	} cases[] = {
		{ { .cpuid_modifiers = &leaf, .cpuid_modifier_count = 1 },
		  "System configuration error: Failed to create guest config: Template changes a CPUID "
		  "entry not supported by KVM: Leaf: 8000abcd, Subleaf: 12" },
		{ { .msr_modifiers = &msr, .msr_modifier_count = 1 },
		  "System configuration error: Failed to create guest config: KVM vcpu ioctl failed: "
		  "Failed to get KVM vcpu msr: 0xdeadbeef" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;

		assert_int_equal(try_config(host, &cases[i].config, host_vcpu(host, 1), &fault), -ENOENT);
		assert_string_equal(fault_text(&fault), cases[i].want);
	}
}

/* What KVM lists and reads, but for what counts time; how many */
static size_t list_msrs(struct host *host, int vcpu_fd, struct msr_change *changes, size_t max)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + 2048 * sizeof(uint32_t));
	size_t count = 0;

	assert_non_null(list);
	list->nmsrs = 2048;
	assert_int_equal(ioctl(host->vm.kvm_fd, KVM_GET_MSR_INDEX_LIST, list), 0);
	for (uint32_t i = 0; i < list->nmsrs && count < max; i++) {
		struct kvm_msr_entry *entries = NULL;
		struct msr_change change = { .index = list->indices[i] };
		size_t n;

		if (change.index == 0x10 || change.index >> 8 == 0x400000 ||
		    msr_list_new(vcpu_fd, &change, 1, &entries, &n, NULL) < 0)
			continue;
		if (msr_write(vcpu_fd, entries, n, NULL) == 0)
			msr_change_add(changes, &count, change);
		free(entries);
	}
	free(list);
	return count;
}

/* More than fit in one call, where the host has as many */
static void many_msrs_are_taken_in_turns(void **state)
{
	struct host *host = host_of(state);
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct msr_change changes[256];
	struct kvm_msr_entry *list = NULL;
	size_t count = list_msrs(host, host_vcpu(host, 1), changes, ARRAY_SIZE(changes) - 1), total;

	print_message("%zu MSRs\n", count);
	if (msr_list_new(host_vcpu(host, 1), changes, count, &list, &total, &fault) < 0 ||
	    msr_write(host_vcpu(host, 1), list, total, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(list[i].index, changes[i].index);
		if (list[i].index >> 8 == 2)	/* MTRRs, PAT: nobody else changes them */
			assert_true(list[i].data == read_msr(host_vcpu(host, 1), list[i].index));
	}
	list[total - 1].index = 0xdeadbeef;
	assert_int_equal(msr_write(host_vcpu(host, 1), list, total, &fault), -EINVAL);
	assert_string_equal(fault_text(&fault), "System configuration error: Error configuring the vcpu "
			    "for boot: Failed to set MSRs: Not all given MSRs were set. The first that "
			    "was not: 0xdeadbeef.");
	free(list);
	changes[count] = (struct msr_change){ .index = 0xdeadbeef };
	assert_int_equal(msr_list_new(host_vcpu(host, 1), changes, count + 1, &list, &total, &fault),
			 -ENOENT);
	assert_non_null(strstr(fault_text(&fault), "msr: 0xdeadbeef"));
}

static void capabilities_are_checked(void **state)
{
	struct host *host = host_of(state);
	static const struct squib_kvm_capability none = { .number = 0xfffff };
	static const struct squib_kvm_capability removed[] = { { 0xfffff }, { 0xfffff, true } };
	static const struct squib_kvm_capability again[] = { { 0xfffff, true }, { 0xfffff } };
	static const struct squib_kvm_capability some[] = { { 3 }, { 7, true }, { 7 }, { 32, true } };
	static const struct {
		struct squib_cpu_config config;
		int want;
	} cases[] = {
		{ { 0 }, 0 },
		{ { .kvm_capabilities = some, .kvm_capability_count = 4 }, 0 },
		{ { .kvm_capabilities = &none, .kvm_capability_count = 1 }, -ENOTSUP },
		{ { .kvm_capabilities = removed, .kvm_capability_count = 2 }, 0 },
		{ { .kvm_capabilities = again, .kvm_capability_count = 2 }, -ENOTSUP },
	};
	struct squib_machine plain = { .config = { .vcpu_count = 1 } };

	assert_int_equal(cpu_check_capabilities(host->vm.kvm_fd, &plain, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct squib_machine machine = { .cpu_config = &cases[i].config };

		assert_int_equal(cpu_check_capabilities(host->vm.kvm_fd, &machine, &fault), cases[i].want);
		if (cases[i].want < 0)
			assert_string_equal(fault_text(&fault),
					    "Kvm error: Missing KVM capabilities: 0xfffff");
	}
}

/* No KVM at all: a pipe, say */
static void a_kvm_that_fails_is_a_fault(void **state)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct squib_machine machine = { .config = { .vcpu_count = 1 } };
	struct cpu_model *model = NULL;
	struct vm vm = VM_NONE;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	vm.kvm_fd = fds[0];
	assert_int_equal(cpu_model_new(&vm, &machine, &model, &fault), -ENOTTY);
	assert_null(model);
	assert_non_null(strstr(fault_text(&fault),
			       "Kvm error: Architecture specific error: Failed to get supported cpuid: "));
	assert_int_equal(cpu_check_capabilities(fds[0], &machine, &fault), -ENOTSUP);
	assert_string_equal(fault_text(&fault), "Kvm error: Missing KVM capabilities: 0x0");
	fd_close(fds[0]);
	fd_close(fds[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(vcpus_take_what_a_model_gives),
		cmocka_unit_test(every_template_is_there_or_refused_in_words),
		cmocka_unit_test(a_vcpu_takes_what_templates_do),
		cmocka_unit_test(a_custom_configuration_is_applied),
		cmocka_unit_test(what_the_host_has_not_is_refused_in_words),
		cmocka_unit_test(many_msrs_are_taken_in_turns),
		cmocka_unit_test(capabilities_are_checked),
		cmocka_unit_test(a_kvm_that_fails_is_a_fault),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
