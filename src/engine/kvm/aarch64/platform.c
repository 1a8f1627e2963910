/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The interrupt controller, which is in the kernel, and a page of registers for each of serial port
 * and clock. Power-off and reset are calls to PSCI, which KVM serves and tells as system events.
 */
#include "engine/kvm/aarch64/platform.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>

#include "engine/kvm/aarch64/gic.h"
#include "engine/kvm/arch.h"
#include "legacy/pl031.h"
#include "legacy/uart.h"

struct platform {
	struct aarch64_gic gic;
	struct uart *uart;
	struct pl031 *clock;
	struct metrics *metrics;
};

static int attach_failed(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Could not attach device: MMIO transport error: %s",
			 os_error(error, text));
}

/* KVM takes interrupts only when there is a controller. */
static int fill(struct platform *platform, const struct platform_params *params,
		struct fault *fault)
{
	int r = gic_create(params->vm, params->vcpu_count, ARCH_DEVICES_GSI + params->device_count,
			   &platform->gic, fault);

	if (r < 0)
		return r;
	r = pl031_new(params->metrics, &platform->clock);
	if (r == 0)
		r = vm_add_irq(params->vm, uart_irq_fd(platform->uart), ARCH_SERIAL_GSI);
	return r < 0 ? attach_failed(fault, r) : 0;
}

int platform_new(const struct platform_params *params, struct platform **ret_platform,
		 struct fault *fault)
{
	struct platform *platform = calloc(1, sizeof(*platform));
	int r;

	if (platform == NULL)
		return attach_failed(fault, -ENOMEM);
	platform->uart = params->uart;
	platform->metrics = params->metrics;
	r = fill(platform, params, fault);
	if (r < 0) {
		platform_free(platform);
		return r;
	}
	*ret_platform = platform;
	return 0;
}

void platform_free(struct platform *platform)
{
	if (platform == NULL)
		return;
	pl031_free(platform->clock);
	free(platform);
}

const struct aarch64_gic *platform_gic(const struct platform *platform)
{
	return &platform->gic;
}

/* There is no keyboard: the interface refuses before it comes here. */
int platform_ctrl_alt_del(struct platform *platform, struct fault *fault)
{
	(void)platform;
	return fault_set(fault, -ENOTSUP, "SendCtrlAltDel is x86-only and not supported on aarch64");
}

/* There are no ports, so KVM has no such exits. */
enum vcpu_verdict platform_port(struct platform *platform, struct kvm_run *run)
{
	(void)platform;
	(void)run;
	return VCPU_FAILED;
}

/* Registers are bytes; what is behind them reads as 0 and is ignored. */
static void serial_access(struct platform *platform, struct kvm_run *run, uint64_t offset)
{
	struct metrics_uart *metrics = &platform->metrics->uart;

	if (run->mmio.len != 1)
		metrics_inc(run->mmio.is_write ? &metrics->missed_write_count
					       : &metrics->missed_read_count);
	else if (offset >= UART_REGISTERS)
		return;
	else if (run->mmio.is_write)
		uart_write(platform->uart, (uint16_t)offset, run->mmio.data[0]);
	else
		run->mmio.data[0] = uart_read(platform->uart, (uint16_t)offset);
}

static void clock_access(struct platform *platform, struct kvm_run *run, uint64_t offset)
{
	if (run->mmio.is_write)
		pl031_write(platform->clock, offset, run->mmio.data, run->mmio.len);
	else
		pl031_read(platform->clock, offset, run->mmio.data, run->mmio.len);
}

bool platform_mmio(struct platform *platform, struct kvm_run *run)
{
	uint64_t offset = run->mmio.phys_addr % AARCH64_REGISTER_BYTES;

	switch (run->mmio.phys_addr - offset) {
	case AARCH64_SERIAL_ADDRESS:
		serial_access(platform, run, offset);
		return true;
	case AARCH64_RTC_ADDRESS:
		clock_access(platform, run, offset);
		return true;
	default:
		return false;
	}
}
