/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine has here and not elsewhere: ports, a keyboard controller, string instructions. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "boot/x86_64.h"
#include "engine/kvm/test_rig.h"

#define DEVICE ARCH_DEVICES_ADDRESS	/* the first */

/*
 * The guest fills the port while the listener takes what is in there; if a round ended only when the
 * port is empty, none would.
 */
static void a_guest_that_never_stops_printing_does_not_hold_the_loop(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_OUTS, SERIAL, GUEST_DATA, 500 },
		{ GUEST_JUMP, GUEST_SCRIPT },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

	(void)state;
	rig->slow = true;
	rig_start(rig);
	for (int i = 0; i < 3; i++) {
		size_t before = rig->total;

		UNTIL(rig, rig->total > before);	/* one round that has output */
		assert_in_range(rig->total - before, 1, 128 * 1024);
	}
	rig_free(rig);
}

static void reset_by_the_keyboard_controller_ends_it_once(void **state)
{
	static const struct guest_step steps[] = { RESET, RESET, POWER_OFF };
	struct rig *rig = RUN(steps);

	(void)state;
	expect_end(rig, ENGINE_END_GUEST);
	assert_int_equal(rig->metrics->i8042.reset_count.value, 1);
	resume_engine(rig);		/* what has ended stays so */
	run_ms(rig, 50);
	assert_int_equal(rig->metrics->i8042.reset_count.value, 1);
	assert_int_equal(rig->ended, 1);
	pause_engine(rig);
	rig_free(rig);
}

static void a_triple_fault_is_a_failure(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_PRINT, GUEST_DATA, 3 },
		{ GUEST_TRIPLE_FAULT },
	};
	struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), "bye", 3));

	(void)state;
	rig_start(rig);
	expect_end(rig, ENGINE_END_FAILED);
	expect_output(rig, "bye");
	assert_int_equal(rig->metrics->vcpu.failures.value, 1);
	rig_free(rig);
}

static void ctrl_alt_del_reaches_the_guest(void **state)
{
	static const struct guest_step steps[] = {
		IRQ_ON(X86_64_I8042_GSI),
		SERIAL_PUT(0, '!'),
		IRQ_WAIT(X86_64_I8042_GSI),
		{ GUEST_INS, 0x60, GUEST_DATA, 11 },
		{ GUEST_PRINT, GUEST_DATA, 11 },
		POWER_OFF,
	};
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	struct rig *rig = RUN(steps);

	(void)state;
	UNTIL(rig, rig->output_len > 0);
	assert_int_equal(engine_kvm.send_ctrl_alt_del(rig->engine, &fault), 0);
	expect_end(rig, ENGINE_END_GUEST);
	expect_output(rig, "!\x14\x11\xe0\x71\xe0\xf0\x71\xf0\x11\xf0\x14");
	rig_free(rig);
}

static void accesses_to_everything_harm_nothing(void **state)
{
	static const struct guest_step steps[] = {
		/* 0: ports */
		{ GUEST_OUTS, 0x80, GUEST_DATA, 0x10000 },
		{ GUEST_OUTS, I8042_COMMAND - 4, GUEST_DATA, 5000 },
		{ GUEST_INS, SERIAL + 5, GUEST_DATA + 0x8000, 0x4000 },
		{ GUEST_INS, 0x60, GUEST_DATA + 0x8000, 0x4000 },
		{ GUEST_OUT16, SERIAL, 0x4142 },
		{ GUEST_OUT32, SERIAL - 1, 0x41424344 },
		{ GUEST_OUT32, SLEEP_CONTROL, 0x34 },
		{ GUEST_OUT16, I8042_COMMAND, 0xfe },
		{ GUEST_OUT8, SLEEP_CONTROL, 0x20 },
		{ GUEST_IN32, SERIAL + 7, GUEST_DATA },
		{ GUEST_OUT8, 0xffff, 1 },
		{ GUEST_IN8, 0xffff, GUEST_DATA },
		/* 12: the device's page, its ends, and where there is none */
		{ GUEST_PUT8, DEVICE + 0x70, 0xff },
		{ GUEST_PUT16, DEVICE + 0x71, 0xffff },
		{ GUEST_PUT32, DEVICE + 0x72, 0xffffffff },
		{ GUEST_PUT32, DEVICE + 0xffe, 0xffffffff },
		{ GUEST_PUT32, DEVICE - 2, 0xffffffff },
		{ GUEST_GET32, DEVICE + 0xffd, GUEST_DATA },
		{ GUEST_GET32, DEVICE + 0x10b, GUEST_DATA },
		{ GUEST_GET32, ARCH_BOOT_TIMER_ADDRESS + 0xffd, GUEST_DATA },
		{ GUEST_PUT32, DEVICE + 0x50, 0 },
		{ GUEST_PUT32, DEVICE + 0x50, 0xffff },
		{ GUEST_PUT32, DEVICE + 0x1000, 1 },
		{ GUEST_GET32, 0xe0000000, GUEST_DATA },
		{ GUEST_PUT32, 0xfffffffc, 1 },
		{ GUEST_COPY, DEVICE, GUEST_DATA, 0x1000 },
		{ GUEST_COPY, GUEST_DATA + 0x8000, DEVICE - 0x10, 0x1020 },
		/* interrupts nobody waits for */
		{ GUEST_PUT32, LOCAL_APIC + 0xb0, 0 },
		{ GUEST_PUT32, IO_APIC + 0x40, 5 },
		{ GUEST_LOOP, GUEST_DATA + 0xfffc, GUEST_STEP(12) },
		SERIAL_PUT(0, '!'),
		{ GUEST_JUMP, GUEST_STEP(0) },
	};
	uint8_t *data = calloc(1, GUEST_END - GUEST_DATA);
	struct rig *rig;

	(void)state;
	assert_non_null(data);
	data[0xfffc] = 4;
	memset(data, 0x5a, 0x8000);
	rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), data, GUEST_END - GUEST_DATA));
	free(data);
	add_drive(rig, 'a');
	rig_start(rig);
	for (int i = 0; i < 20; i++) {
		run_ms(rig, 10);
		pause_engine(rig);
		resume_engine(rig);
	}
	UNTIL(rig, rig->output_len > 0);
	assert_int_equal(rig->ended, 0);
	assert_int_equal(rig->output[0], '!');
	rig_free(rig);
}

/* From memory, over its end, to where there is nothing */
static void a_string_instruction_without_end_is_paused(void **state)
{
	static const struct guest_step steps[] = {
		{ GUEST_OUTS, 0x80, (MEM_MIB << 20) - 0x10000, UINT32_MAX },
	};
	struct rig *rig = RUN(steps);

	(void)state;
	for (int i = 0; i < 20; i++) {
		const struct metrics_vcpu *vcpu = &rig->metrics->vcpu;
		uint64_t exits = vcpu->exit_io_out.value;

		UNTIL(rig, vcpu->exit_io_out.value > exits || rig->ended > 0);
		assert_int_equal(rig->ended, 0);
		pause_engine(rig);
		exits = vcpu->exit_io_out.value;
		usleep(2000);
		assert_int_equal(vcpu->exit_io_out.value, exits);
		resume_engine(rig);
	}
	rig_free(rig);
}

static void memory_that_cannot_be_is_refused(void **state)
{
	static const uint64_t sizes_mib[] = {
		UINT64_MAX >> 20, UINT64_C(1) << 43,
		(UINT64_C(1) << 27) - 1,	/* all there is, but for us */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes_mib); i++) {
		CLEANUP(fault_done) struct fault fault = FAULT_INIT;
		static const struct guest_step steps[] = { POWER_OFF };
		struct rig *rig = rig_new(guest_kernel(steps, ARRAY_SIZE(steps), NULL, 0));

		rig->description.config.mem_size_mib = sizes_mib[i];
		assert_true(rig_try_start(rig, &fault) < 0);
		assert_non_null(strstr(fault_text(&fault), "Invalid Memory Configuration"));
		rig_free(rig);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_that_never_stops_printing_does_not_hold_the_loop),
		cmocka_unit_test(reset_by_the_keyboard_controller_ends_it_once),
		cmocka_unit_test(a_triple_fault_is_a_failure),
		cmocka_unit_test(ctrl_alt_del_reaches_the_guest),
		cmocka_unit_test(accesses_to_everything_harm_nothing),
		cmocka_unit_test(a_string_instruction_without_end_is_paused),
		cmocka_unit_test(memory_that_cannot_be_is_refused),
	};

	return rig_main(tests);
}
