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
#include "engine/kvm/aarch64/caches.h"
#include "engine/kvm/aarch64/registers.h"
#include "engine/kvm/aarch64/state.h"
#include "engine/kvm/aarch64/templates.h"
#include "engine/kvm/arch.h"
#include "engine/kvm/test_host.h"

#define VCPUS 4

#define REGISTER_FPSR	UINT64_C(0x60200000001000d4)	/* 32 bits */
#define REGISTER_V0	UINT64_C(0x6040000000100054)	/* 128 bits */
#define REGISTER_NONE	REGISTER_SYSTEM(3, 7, 15, 15, 7)

#define INIT_FAILED	"System configuration error: Error creating vcpu configuration: " \
	"Error initializing the vcpu: "
#define WRITE_FAILED	"System configuration error: Error configuring the vcpu: " \
	"Error applying template: Failed to set register "

/* A machine of its own for each test, since a vCPU's features are given once. */

static int setup(void **state)
{
	static struct host host;

	host_open(&host);
	*state = &host;
	return 0;
}

static int teardown(void **state)
{
	host_close(*state);
	return 0;
}

static bool is_off(int vcpu_fd)
{
	struct kvm_mp_state state;

	assert_int_equal(ioctl(vcpu_fd, KVM_GET_MP_STATE, &state), 0);
	return state.mp_state == KVM_MP_STATE_STOPPED;
}

static uint64_t get(int vcpu_fd, uint64_t id)
{
	uint64_t value = 0;

	assert_int_equal(register_get(vcpu_fd, id, &value), 0);
	return value;
}

/* The vCPUs of a machine with @config: 0, or the fault */
static int try_config(struct host *host, const struct squib_cpu_config *config, struct fault *fault)
{
	struct squib_machine machine = { .config = { .vcpu_count = VCPUS }, .cpu_config = config };
	struct cpu_model *model = NULL;
	int r = cpu_model_new(&host->vm, &machine, &model, fault);

	assert_true((r == 0) == (model != NULL));
	for (unsigned int i = 0; r == 0 && i < VCPUS; i++)
		r = cpu_model_setup(model, host_vcpu(host, i), i, fault);
	cpu_model_free(model);
	return r;
}

static void the_first_vcpu_is_on_and_each_has_its_place(void **state)
{
	struct host *host = host_of(state);
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (try_config(host, NULL, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	for (unsigned int i = 0; i < VCPUS; i++) {
		assert_true(is_off(host_vcpu(host, i)) == (i > 0));
		assert_int_equal(get(host_vcpu(host, i), REGISTER_MPIDR_EL1) & 0xff, i);
	}
	assert_true(state_has_pages(host_vcpu(host, 0), 4096) ||
		    state_has_pages(host_vcpu(host, 0), 16384) ||
		    state_has_pages(host_vcpu(host, 0), 65536));
	assert_false(state_has_pages(host_vcpu(host, 0), 8192));
}

static void v1n1_is_there_or_refused_in_words(void **state)
{
	struct host *host = host_of(state);
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct squib_machine machine = { .config = { .vcpu_count = 1, .has_cpu_template = true,
						     .cpu_template = SQUIB_CPU_TEMPLATE_V1N1 } };
	const struct cpu_template *template;
	struct cpu_model *model;
	int r;

	assert_int_equal(cpu_template_get(SQUIB_CPU_TEMPLATE_V1N1, &template, NULL), 0);
	assert_int_equal(cpu_model_new(&host->vm, &machine, &model, &fault), 0);
	r = cpu_model_setup(model, host_vcpu(host, 0), 0, &fault);
	cpu_model_free(model);
	print_message("V1N1: %s\n", r == 0 ? "taken" : fault_text(&fault));
	if (r < 0)
		assert_memory_equal(fault_text(&fault), WRITE_FAILED "0x603000000013c0",
				    strlen(WRITE_FAILED "0x603000000013c0"));
	for (size_t i = 0; r == 0 && i < template->count; i++) {
		const struct squib_register_modifier *modifier = &template->modifiers[i];

		assert_true((get(host_vcpu(host, 0), modifier->addr) & modifier->bitmap.filter[0]) ==
			    modifier->bitmap.value[0]);
	}
}

static void a_custom_configuration_is_applied(void **state)
{
	struct host *host = host_of(state);
	/* The last word on a register counts alone. */
	static const struct squib_register_modifier modifiers[] = {
		{ REGISTER_X(9), { .filter = { UINT64_MAX }, .value = { 0x55 } } },
		{ REGISTER_X(9), { .filter = { 0xf0 }, .value = { 0xa0 } } },
		{ REGISTER_FPSR, { .filter = { 0x9f }, .value = { 0x11 } } },
		{ REGISTER_V0, { .filter = { 0xff, 0xff00 }, .value = { 0x12, 0x3400 } } },
	};
	static const struct squib_cpu_config config = {
		.reg_modifiers = modifiers, .reg_modifier_count = ARRAY_SIZE(modifiers),
	};
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct register_value value;

	if (try_config(host, &config, &fault) < 0)
		fail_msg("%s", fault_text(&fault));
	for (unsigned int i = 0; i < VCPUS; i++) {
		assert_int_equal(get(host_vcpu(host, i), REGISTER_X(9)), 0xa0);
		assert_int_equal(register_read(host_vcpu(host, i), REGISTER_FPSR, &value), 0);
		assert_int_equal(value.half[0], 0x11);
		assert_int_equal(register_read(host_vcpu(host, i), REGISTER_V0, &value), 0);
		assert_int_equal(value.half[0], 0x12);
		assert_int_equal(value.half[1], 0x3400);
	}
}

static void what_the_host_has_not_is_refused_in_words(void **state)
{
	struct host *host = host_of(state);
	/* Exception level 1: a value that means nothing */
	static const struct squib_register_modifier unknown[] = {
		{ REGISTER_X(9), { .filter = { UINT64_MAX }, .value = { 0x55 } } },
		{ REGISTER_NONE, { .filter = { 1 } } },
	};
	static const struct squib_register_modifier refused = {
		REGISTER_ID_AA64PFR0_EL1, { .filter = { UINT64_MAX }, .value = { 0xf0 } }
	};
	static const struct squib_vcpu_feature index = { 7, { .filter = { 1 } } };
	static const struct squib_vcpu_feature pmu = { 0, { .filter = { 8 }, .value = { 8 } } };
	static const struct squib_vcpu_feature feature = { 6, { .filter = { 1 }, .value = { 1 } } };
	static const struct {
		struct squib_cpu_config config;
		int want;
		const char *text;
	} cases[] = {
		{ { .reg_modifiers = unknown, .reg_modifier_count = 2 }, -ENOENT,
		  "System configuration error: Error creating vcpu configuration: Error reading vcpu "
		  "registers: Failed to get register 6931039826524504063: No such file or directory "
		  "(os error 2)" },
		{ { .reg_modifiers = &refused, .reg_modifier_count = 1 }, -EINVAL,
		  WRITE_FAILED "0x603000000013c020 to value 0x00000000000000f0: Invalid argument (os "
		  "error 22)" },
		{ { .vcpu_features = &index, .vcpu_feature_count = 1 }, -EINVAL,
		  INIT_FAILED "Invalid index of vcpu features: 7, should be < 7" },
		{ { .vcpu_features = &pmu, .vcpu_feature_count = 1 }, -ENOTSUP,
		  INIT_FAILED "Found unsupported KVM_ARM_VCPU_PMU_V3 bit set in vcpu features." },
		{ { .vcpu_features = &feature, .vcpu_feature_count = 1 }, -ENOENT,
		  INIT_FAILED "Error initializing the vcpu: No such file or directory (os error 2)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		int r = try_config(host, &cases[i].config, &fault);

		if (r != cases[i].want || strcmp(fault_text(&fault), cases[i].text) != 0)
			fail_msg("%zu: %d: %s", i, r, fault_text(&fault));
	}
	/* All are read before one is written. */
	assert_int_equal(get(host_vcpu(host, 0), REGISTER_X(9)), 0);
}

/* Zeros for bits that someone means to say nothing of; and vCPU 0 cannot be turned off */
static void power_is_no_template_s(void **state)
{
	struct host *host = host_of(state);
	static const struct squib_vcpu_feature off[] = {
		{ 0, { .filter = { 7 }, .value = { 1 } } },
		{ 0, { .filter = { 4 } } },
	};
	static const struct squib_vcpu_feature on = { 0, { .filter = { 7 } } };
	static const struct squib_cpu_config configs[] = {
		{ .vcpu_features = off, .vcpu_feature_count = ARRAY_SIZE(off) },
		{ .vcpu_features = &on, .vcpu_feature_count = 1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(configs); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;

		if (try_config(host, &configs[i], &fault) < 0)
			fail_msg("%s", fault_text(&fault));
		for (unsigned int k = 0; k < VCPUS; k++)
			assert_true(is_off(host_vcpu(host, k)) == (k > 0));
	}
}

static void capabilities_are_checked(void **state)
{
	struct host *host = host_of(state);
	static const struct squib_kvm_capability none = { .number = 0xfffff };
	static const struct squib_kvm_capability removed[] = { { 0xfffff }, { 0xfffff, true } };
	static const struct {
		struct squib_cpu_config config;
		int want;
	} cases[] = {
		{ { 0 }, 0 },
		{ { .kvm_capabilities = &none, .kvm_capability_count = 1 }, -ENOTSUP },
		{ { .kvm_capabilities = removed, .kvm_capability_count = 2 }, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		struct squib_machine machine = { .cpu_config = &cases[i].config };

		assert_int_equal(cpu_check_capabilities(host->vm.kvm_fd, &machine, &fault),
				 cases[i].want);
		assert_string_equal(fault_text(&fault),
				    cases[i].want < 0 ? "Kvm error: Missing KVM capabilities: 0xfffff"
						      : "");
	}
}

static void clidr_is_the_hosts_where_kvm_lets_us(void **state)
{
	struct host *host = host_of(state);
	struct aarch64_cache caches[AARCH64_CACHES_MAX];
	size_t count = caches_read("/sys", caches);
	uint64_t before, after;
	int r;

	assert_int_equal(try_config(host, NULL, NULL), 0);
	before = get(host_vcpu(host, 0), REGISTER_CLIDR_EL1);
	r = caches_apply(caches, count, host_vcpu(host, 0));
	after = get(host_vcpu(host, 0), REGISTER_CLIDR_EL1);
	print_message("%zu caches, CLIDR_EL1 0x%llx and 0x%llx: %s\n", count,
		      (unsigned long long)before, (unsigned long long)after,
		      r == 0 ? "taken" : strerror(-r));
	assert_true(after == (r == 0 ? caches_clidr(caches, count, before) : before));
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
	vm.fd = fds[0];
	assert_int_equal(cpu_model_new(&vm, &machine, &model, &fault), -ENOTTY);
	assert_null(model);
	assert_non_null(strstr(fault_text(&fault), "Error with the KvmVm object: Failed to create vcpu: "
			       "Error getting the vcpu preferred target: "));
	assert_int_equal(cpu_check_capabilities(fds[0], &machine, &fault), -ENOTSUP);
	assert_string_equal(fault_text(&fault), "Kvm error: Missing KVM capabilities: 0x24");
	assert_true(state_has_pages(fds[0], 4096));
	fd_close(fds[0]);
	fd_close(fds[1]);
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WITH_HOST(the_first_vcpu_is_on_and_each_has_its_place),
		WITH_HOST(v1n1_is_there_or_refused_in_words),
		WITH_HOST(a_custom_configuration_is_applied),
		WITH_HOST(what_the_host_has_not_is_refused_in_words),
		WITH_HOST(power_is_no_template_s),
		WITH_HOST(capabilities_are_checked),
		WITH_HOST(clidr_is_the_hosts_where_kvm_lets_us),
		cmocka_unit_test(a_kvm_that_fails_is_a_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
