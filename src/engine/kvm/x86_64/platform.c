/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Port I/O. The interrupt controllers and the timer are in the kernel (arch.c), and so are their
 * ports; what comes here is the serial port, the keyboard controller and ACPI's power-off. All
 * registers are bytes; wider accesses, and other ports, read as 0 and are ignored, as upstream.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "boot/x86_64.h"
#include "engine/kvm/arch.h"
#include "legacy/i8042.h"
#include "legacy/uart.h"

struct platform {
	struct uart *uart;
	struct i8042 *i8042;
	struct log *log;
	struct metrics *metrics;
};

static int internal(struct fault *fault, int error, const char *what)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Internal error while starting microVM: %s: %s", what,
			 os_error(error, text));
}

static int add_irqs(const struct platform *platform, const struct vm *vm)
{
	int r = vm_add_irq(vm, uart_irq_fd(platform->uart), X86_64_SERIAL_GSI);

	return r < 0 ? r : vm_add_irq(vm, i8042_irq_fd(platform->i8042), X86_64_I8042_GSI);
}

int platform_new(const struct platform_params *params, struct platform **ret_platform,
		 struct fault *fault)
{
	struct platform *platform = calloc(1, sizeof(*platform));
	int r;

	if (platform == NULL)
		return internal(fault, -ENOMEM, "Legacy devices");
	platform->uart = params->uart;
	platform->log = params->log;
	platform->metrics = params->metrics;
	r = i8042_new(params->metrics, &platform->i8042);
	if (r == 0)
		r = add_irqs(platform, params->vm);
	if (r < 0) {
		platform_free(platform);
		return internal(fault, r, "Legacy devices");
	}
	*ret_platform = platform;
	return 0;
}

void platform_free(struct platform *platform)
{
	if (platform == NULL)
		return;
	i8042_free(platform->i8042);
	free(platform);
}

int platform_ctrl_alt_del(struct platform *platform, struct fault *fault)
{
	return i8042_ctrl_alt_del(platform->i8042, fault);
}

static bool is_serial(uint16_t port)
{
	return port >= X86_64_SERIAL_PORT && port < X86_64_SERIAL_PORT + UART_REGISTERS;
}

static bool is_i8042(uint16_t port)
{
	return port == I8042_DATA || port == I8042_COMMAND;
}

static uint8_t port_in(struct platform *platform, uint16_t port)
{
	if (is_serial(port))
		return uart_read(platform->uart, port - X86_64_SERIAL_PORT);
	if (is_i8042(port))
		return i8042_read(platform->i8042, port);
	return 0;
}

static enum vcpu_verdict port_out(struct platform *platform, uint16_t port, uint8_t value)
{
	if (is_serial(port)) {
		uart_write(platform->uart, port - X86_64_SERIAL_PORT, value);
	} else if (is_i8042(port)) {
		if (i8042_write(platform->i8042, port, value))
			return VCPU_GUEST_ENDED;
	} else if (port == X86_64_SLEEP_CONTROL_PORT &&
		   value == (X86_64_SLEEP_TYPE_S5 << 2 | X86_64_SLEEP_ENABLE)) {
		log_info(platform->log, "The guest powered off");
		return VCPU_GUEST_ENDED;
	}
	return VCPU_GO_ON;
}

/* One exit can carry many accesses, of a string instruction. */
static enum vcpu_verdict io_in(struct platform *platform, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	memset(data, 0, (size_t)run->io.size * run->io.count);
	if (run->io.size == 1)
		for (uint32_t i = 0; i < run->io.count; i++)
			data[i] = port_in(platform, run->io.port);
	return VCPU_GO_ON;
}

static enum vcpu_verdict io_out(struct platform *platform, struct kvm_run *run)
{
	const uint8_t *data = (const uint8_t *)run + run->io.data_offset;
	enum vcpu_verdict verdict = VCPU_GO_ON;

	if (run->io.size == 1)
		for (uint32_t i = 0; i < run->io.count && verdict == VCPU_GO_ON; i++)
			verdict = port_out(platform, run->io.port, data[i]);
	return verdict;
}

enum vcpu_verdict platform_port(struct platform *platform, struct kvm_run *run)
{
	struct metrics_vcpu *metrics = &platform->metrics->vcpu;
	uint64_t start_ns = clock_ns();
	enum vcpu_verdict verdict;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		verdict = io_in(platform, run);
		metrics_inc(&metrics->exit_io_in);
		metrics_time(&metrics->exit_io_in_agg, (clock_ns() - start_ns) / 1000);
	} else {
		verdict = io_out(platform, run);
		metrics_inc(&metrics->exit_io_out);
		metrics_time(&metrics->exit_io_out_agg, (clock_ns() - start_ns) / 1000);
	}
	return verdict;
}

bool platform_mmio(struct platform *platform, struct kvm_run *run)
{
	(void)platform;
	(void)run;
	return false;
}
