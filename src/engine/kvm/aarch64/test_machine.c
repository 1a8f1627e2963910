/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine has here and not elsewhere: calls to PSCI, a clock, the interrupt controller. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "engine/kvm/test_rig.h"

#define DEVICE ARCH_DEVICES_ADDRESS	/* the first */

static void calls_that_are_none_are_refused(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_CALL, PSCI_SYSTEM_SUSPEND, GUEST_CODE },
		{ GUEST_CALL, 0x8400ffff },
		{ GUEST_CALL, 0xc4000003, 0xffff, GUEST_CODE },	/* CPU_ON, of no processor */
		{ GUEST_CALL, 0xffffffff, 0xffffffff, 0xffffffff },
		SERIAL_PUT(0, '!'),
		POWER_OFF,
	};
	struct rig *rig = RUN(steps);

	(void)state;
	expect_end(rig, ENGINE_END_GUEST);
	expect_output(rig, "!");
	rig_free(rig);
}

static void a_processor_that_is_off_is_paused_and_comes_back(void **state)
{
	static const struct guest_step second[] = {
		SERIAL_PUT(0, '2'), { GUEST_CALL, PSCI_CPU_OFF },
	};
	static const struct guest_step steps[] = {
		{ GUEST_START, GUEST_DATA }, { GUEST_SPIN, 1000 }, { GUEST_JUMP, GUEST_SCRIPT },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), second, sizeof(second)));

	(void)state;
	rig->description.config.vcpu_count = 2;
	rig_start(rig);
	for (int i = 0; i < 5; i++) {
		UNTIL(rig, rig->output_len > 10 || rig->ended > 0);
		assert_int_equal(rig->ended, 0);
		pause_engine(rig);
		expect_still(rig);
		rig->output_len = 0;
		resume_engine(rig);
	}
	rig_free(rig);
}

static void the_clock_is_there(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_GET32, CLOCK + 0xfe0, GUEST_DATA },		/* its part number, from here on */
		{ GUEST_GET32, CLOCK + 0xfe4, GUEST_DATA + 1 * 4 },
		{ GUEST_PUT32, CLOCK + 8, 0x44434241 },			/* set it */
		{ GUEST_GET32, CLOCK + 8, GUEST_DATA + 2 * 4 },
		{ GUEST_PRINT, GUEST_DATA, 12 },
		POWER_OFF,
	};
	struct rig *rig = RUN(steps);

	(void)state;
	expect_end(rig, ENGINE_END_GUEST);
	assert_int_equal(rig->output_len, 12);
	assert_memory_equal(rig->output, "\x31\0\0\0\x10\0\0\0" "ABCD", 12);
	rig_free(rig);
}

static void accesses_to_everything_harm_nothing(void **state)
{
	static const struct guest_step steps[] = {
		/* 0: serial port and clock */
		{ GUEST_PUT32, SERIAL, 0x41424344 },
		{ GUEST_PUT64, SERIAL, 0x41424344, 0x45464748 },
		{ GUEST_GET32, SERIAL + 4, GUEST_DATA },
		{ GUEST_PUT8, SERIAL + 8, 'x' },
		{ GUEST_PUT8, SERIAL + 0xfff, 'x' },
		{ GUEST_GET32, SERIAL + 0xffc, GUEST_DATA },
		{ GUEST_COPY, GUEST_DATA + 0x4000, SERIAL, 0x20 },
		{ GUEST_COPY, GUEST_DATA + 0x4000, CLOCK, 0x40 },
		{ GUEST_COPY, CLOCK, GUEST_DATA, 0x40 },
		{ GUEST_PUT64, CLOCK + 0xff8, 0xffffffff, 0xffffffff },
		{ GUEST_PUT16, CLOCK + 2, 0xffff },
		/* the device's page, its ends, and where there is none */
		{ GUEST_PUT8, DEVICE + 0x70, 0xff },
		{ GUEST_PUT16, DEVICE + 0x71, 0xffff },
		{ GUEST_PUT32, DEVICE + 0x72, 0xffffffff },
		{ GUEST_PUT32, DEVICE + 0xffe, 0xffffffff },
		{ GUEST_PUT32, DEVICE - 4, 0xffffffff },
		{ GUEST_GET32, DEVICE + 0xffc, GUEST_DATA },
		{ GUEST_GET32, DEVICE + 0x108, GUEST_DATA },
		{ GUEST_GET32, ARCH_BOOT_TIMER_ADDRESS + 0xffc, GUEST_DATA },
		{ GUEST_PUT32, DEVICE + 0x50, 0 },
		{ GUEST_PUT32, DEVICE + 0x50, 0xffff },
		{ GUEST_PUT32, DEVICE + 0x1000, 1 },
		{ GUEST_GET32, 0x7ffffffc, GUEST_DATA },
		{ GUEST_PUT32, 0x10000000, 1 },
		{ GUEST_COPY, DEVICE, GUEST_DATA, 0x120 },
		{ GUEST_COPY, GUEST_DATA + 0x4000, DEVICE - 0x10, 0x140 },
		/* the interrupt controller */
		{ GUEST_COPY, GUEST_DATA + 0x4000, DISTRIBUTOR, 0x120 },
		{ GUEST_PUT32, DISTRIBUTOR, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR + 0x80, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR + 0x104, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR + 0x204, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR + 0x304, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR + 0xc08, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR + 0xfffc, 0xffffffff },
		{ GUEST_PUT32, DISTRIBUTOR - 0x20000 + 0x14, 0 },	/* its processor sleeps */
		{ GUEST_PUT32, DISTRIBUTOR - 0x40000, 0xffffffff },	/* the ITS, with no table */
		{ GUEST_PUT64, DISTRIBUTOR - 0x40000 + 0x80, 0xffffffff, 0xffffffff },
		{ GUEST_PUT64, DISTRIBUTOR - 0x40000 + 0x88, 0xffffffff, 0xffffffff },
		SERIAL_PUT(0, '!'),
		{ GUEST_JUMP, GUEST_SCRIPT },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	add_drive(rig, 'a');
	rig_start(rig);
	for (int i = 0; i < 20; i++) {
		run_ms(rig, 10);
		pause_engine(rig);
		resume_engine(rig);
	}
	UNTIL(rig, rig->output_len > 1 || rig->ended > 0);
	assert_int_equal(rig->ended, 0);
	assert_non_null(memchr(rig->output, '!', rig->output_len));
	assert_true(rig->metrics->uart.missed_write_count.value > 0);
	rig_free(rig);
}

static void refuses(struct rig_fake_ioctl fake, uint64_t mem_size_mib, unsigned int vcpu_count,
		    const char *text)
{
	static const struct guest_step steps[] = { POWER_OFF };
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	int r;

	rig->description.config.mem_size_mib = mem_size_mib;
	rig->description.config.vcpu_count = (uint8_t)vcpu_count;
	ioctl_fake = fake;
	r = rig_try_start(rig, &fault);
	ioctl_fake = (struct rig_fake_ioctl){ 0 };
	assert_true(r < 0);
	assert_string_equal(fault_text(&fault), text);
	rig_free(rig);
}

static void hosts_that_have_less_are_told_of(void **state)
{
	(void)state;
	refuses((struct rig_fake_ioctl){ .request = KVM_CHECK_EXTENSION,
					 .arg = KVM_CAP_ARM_VM_IPA_SIZE, .result = 32 }, 2049, 1,
		"Error with the KvmVm object: Cannot set the memory regions: Bad address (os error 14): "
		"memory of this size ends at 0x100100000, and this host's KVM gives guests addresses "
		"of 32 bits");
	refuses((struct rig_fake_ioctl){ .request = KVM_CREATE_DEVICE, .any_arg = true, .result = -1,
					 .error = ENODEV }, 128, 1,
		"Error with the KvmVm object: Error creating the global interrupt controller: Error "
		"while calling KVM ioctl for setting up the global interrupt controller: No such device "
		"(os error 19)");
	refuses((struct rig_fake_ioctl){ .request = KVM_SET_DEVICE_ATTR, .any_arg = true, .result = -1,
					 .error = EINVAL }, 128, 1,
		"Error with the KvmVm object: Error creating the global interrupt controller: Error "
		"while setting or getting device attributes for the GIC: Invalid argument (os error "
		"22), true, 0");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_that_are_none_are_refused),
		cmocka_unit_test(a_processor_that_is_off_is_paused_and_comes_back),
		cmocka_unit_test(the_clock_is_there),
		cmocka_unit_test(accesses_to_everything_harm_nothing),
		cmocka_unit_test(hosts_that_have_less_are_told_of),
	};

	return rig_main(tests);
}
