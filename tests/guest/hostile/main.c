/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that attacks its monitor: a kernel of a few KiB that makes random accesses to device
 * registers and whatever else leads out of a machine of its architecture, and drives virtio devices,
 * whichever there are, with rings full of nonsense: disk requests, frames to the metadata service,
 * vsock packets. The monitor must stay alive, and in the end reset the machine when it is asked to.
 *
 *	tests/guest/hostile/build.sh x86_64 hostile
 *	squib: kernel_image_path hostile, boot_args "seed=7 rounds=20000", drives that may be
 *	overwritten (the last of them read-only, say), 16 MiB or more, one or two vCPUs; with a vsock
 *	device somebody may listen on ports 52 and 53
 *	qemu-system-x86_64 -M microvm -accel tcg -m 64 -nographic -no-reboot -kernel hostile \
 *		-global virtio-mmio.force-legacy=false -drive if=none,id=d,file=DISK,format=raw \
 *		-device virtio-blk-device,drive=d -append "seed=7 base=0xfeb00000 stride=0x200 devices=24 own=0"
 *	(QEMU 7.2 with ports fails an assertion of its own)
 *
 * On the serial port come "hostile: begin ...", a line "hostile: . ROUNDS" every 4096 rounds, and
 * "hostile: done seed=SEED rounds=ROUNDS"; between them whatever random bytes were written to the
 * port. Then it resets the machine: squib ends with code 0. The accesses of one seed are always the
 * same, but for what a second CPU does, which changes descriptors under the devices' hands.
 *
 * Options on the command line, those not listed are ignored: seed=N rounds=N; base=ADDRESS stride=N
 * devices=N (device pages); smp=0 leaves a second CPU alone; own=0 leaves alone what only this
 * architecture has (x86_64: ports; aarch64: the interrupt controller, the firmware that KVM plays,
 * system registers), and string=0 makes no rep ins and outs; rmw=1 makes locked operations at MMIO,
 * too, which a software KVM may not know, and no KVM knows on aarch64. And mode=:
 *
 *	echo		sends serial input back, by polling, until a 'q'
 *	flood		"hostile: flood LINE ..." ROUNDS times, lines numbered from 1; rounds=0: no end
 *	reset		x86_64: by the keyboard controller; aarch64: PSCI
 *	poweroff	x86_64: by the sleep control register; aarch64: PSCI
 *	crash		x86_64: a triple fault; aarch64: an undefined instruction, which ends nothing
 *	hang		a tight loop, interrupts disabled
 *	halt		waits for an interrupt, interrupts disabled
 *	boottimer	writes 123 to the boot timer, then resets
 *	mmio-fetch	jumps into a device page: on x86_64 KVM cannot emulate that, on aarch64 it
 *			gives us an exception
 *	badaccess	x86_64: cmpxchg16b on a device page; aarch64: a pair of registers: KVM cannot
 *			emulate either
 *
 * echo, flood and boottimer end with "hostile: done mode=MODE" and a reset.
 */
#include "machine.h"
#include "pokes.h"
#include "rings.h"

#define BOOT_TIMER_VALUE	123
#define ROUNDS_PER_LINE		4096
#define SETUP_ROUNDS		128	/* one device is kicked about this long */
#define SECOND_CPU_POLLS	100	/* at least so many exits, and so many cycles */
#define SECOND_CPU_CYCLES	100000000u

_Noreturn void hostile_main(uint64_t start_info);	/* from start.S */

static struct machine machine;
static volatile bool second_is_up;

static bool equal(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* The second CPU */

void second_cpu_main(void)
{
	struct rng rng = { .state = machine.options.seed * 0x9e3779b97f4a7c15 | 1 };

	second_is_up = true;
	for (;;)
		driver_scribble(&machine, &rng);
}

/* Long enough for fast machines and for slow ones, as both clocks are bad. */
static bool start_second_cpu(void)
{
	uint64_t end;

	if (!arch_start_second_cpu())
		return false;
	end = cycles() + SECOND_CPU_CYCLES;
	for (int i = 0; !second_is_up && (i < SECOND_CPU_POLLS || cycles() < end); i++)
		arch_delay(1);
	return second_is_up;
}

/* Fuzzing */

static void begin_line(void)
{
	serial_reset();
	serial_print("\r\nhostile: ");
}

static void print_setting(const char *name, uint64_t value)
{
	serial_print(name);
	serial_print_number(value);
}

static void fuzz_round(struct driver *driver, struct rng *rng)
{
	switch (rng_below(rng, 4)) {
	case 0:
		for (int i = 0; i < 4; i++)
			poke_mmio(&machine, rng);
		break;
	case 1:
		for (int i = 0; i < 4 && machine.options.own; i++)
			arch_poke(&machine, rng);
		break;
	default:
		if (rng_one_in(rng, SETUP_ROUNDS / 2))
			driver_setup(driver, rng);
		driver_kick(driver, rng);
		break;
	}
}

static void fuzz(void)
{
	const struct options *options = &machine.options;
	struct rng rng = { .state = options->seed };
	struct driver driver = { .machine = &machine };

	if (options->smp && start_second_cpu())
		serial_print("hostile: a second CPU\r\n");
	for (uint64_t round = 0; round < options->rounds; round++) {
		/* pokes disturb what was set up: so often that kicks reach a sound device */
		if (round % SETUP_ROUNDS == 0)
			driver_setup(&driver, &rng);
		fuzz_round(&driver, &rng);
		if ((round + 1) % ROUNDS_PER_LINE == 0) {
			begin_line();
			print_setting(". ", round + 1);
			serial_print("\r\n");
		}
	}
	begin_line();
	print_setting("done seed=", options->seed);
	print_setting(" rounds=", options->rounds);
	serial_print("\r\n");
	arch_reset();
}

/* The other modes */

static void done(void)
{
	serial_print("hostile: done mode=");
	serial_print(machine.options.mode);
	serial_print("\r\n");
	arch_reset();
}

static void echo(void)
{
	char c;

	serial_print("hostile: echo\r\n");
	do {
		c = serial_get();
		serial_put(c);
	} while (c != 'q');
	serial_print("\r\n");
	done();
}

static void flood(void)
{
	for (uint64_t i = 1; machine.options.rounds == 0 || i <= machine.options.rounds; i++) {
		print_setting("hostile: flood ", i);
		serial_print(" the quick brown fox jumps over the lazy dog\r\n");
	}
	done();
}

static void hang(void)
{
	for (;;)
		__asm__ volatile("");
}

static void boot_timer(void)
{
	mmio_write8(BOOT_TIMER, BOOT_TIMER_VALUE);
	done();
}

static void mmio_fetch(void)
{
	arch_call(machine.options.base);
	serial_print("hostile: it came back\r\n");
	arch_reset();
}

static void bad_access(void)
{
	arch_bad_access(machine.options.base);
	serial_print("hostile: it was emulated\r\n");
	arch_reset();
}

static void crash(void)
{
	arch_crash();
	serial_print("hostile: it goes on\r\n");
	arch_reset();
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{ "", fuzz },
	{ "echo", echo },
	{ "flood", flood },
	{ "reset", arch_reset },
	{ "poweroff", arch_power_off },
	{ "crash", crash },
	{ "hang", hang },
	{ "halt", arch_halt },
	{ "boottimer", boot_timer },
	{ "mmio-fetch", mmio_fetch },
	{ "badaccess", bad_access },
};

void hostile_main(uint64_t start_info)
{
	bool usable;

	serial_reset();
	usable = machine_read(&machine, start_info);
	print_setting("hostile: begin seed=", machine.options.seed);
	print_setting(" rounds=", machine.options.rounds);
	print_setting(" memory=", machine.memory_end);
	serial_print(" mode=");
	serial_print(machine.options.mode);
	serial_print("\r\n");
	if (!usable)
		serial_print("hostile: no start info, or less than 16 MiB of memory\r\n");
	for (size_t i = 0; usable && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (equal(machine.options.mode, modes[i].name))
			modes[i].run();
	serial_print("hostile: no such mode\r\n");
	arch_reset();
}
