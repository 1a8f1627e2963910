/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents: Linux, Documentation/virt/kvm/devices/arm-vgic.rst, arm-vgic-v3.rst and arm-vgic-its.rst;
 * the sizes are those of asm/kvm.h. The places are upstream's:
 *
 *	0x40000000	end
 *	version 3	distributor, 64 KiB; below it 128 KiB of redistributor for each vCPU; below them
 *			the ITS, 128 KiB
 *	version 2	distributor, 4 KiB; below it the CPU interface, 8 KiB
 */
#include "engine/kvm/aarch64/gic.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"

#define FAILED	"Error creating the global interrupt controller: "

#define PRIVATE_IRQS		32u	/* of a vCPU; the lines come behind them */
#define V3_DIST_BYTES		UINT64_C(0x10000)
#define V3_REDIST_BYTES		UINT64_C(0x20000)
#define V3_ITS_BYTES		UINT64_C(0x20000)
#define V3_MAINTENANCE_IRQ	9u
#define V2_MAINTENANCE_IRQ	8u

/* The descriptor of the device, or -errno */
static int create_device(const struct vm *vm, uint32_t type)
{
	struct kvm_create_device device = { .type = type };

	return ioctl(vm->fd, KVM_CREATE_DEVICE, &device) < 0 ? -errno : (int)device.fd;
}

static int create_failed(struct fault *fault, int error)
{
	return vm_fault(fault, error, FAILED "Error while calling KVM ioctl for setting up the "
			"global interrupt controller");
}

static int set(int fd, uint32_t group, uint64_t attribute, const void *value, struct fault *fault)
{
	struct kvm_device_attr attr = { .group = group, .attr = attribute, .addr = (uintptr_t)value };
	char text[OS_ERROR_MAX];
	int r;

	if (ioctl(fd, KVM_SET_DEVICE_ATTR, &attr) == 0)
		return 0;
	r = -errno;
	return fault_set(fault, r, "Error with the KvmVm object: " FAILED "Error while setting or "
			 "getting device attributes for the GIC: %s, true, %u", os_error(r, text),
			 group);
}

static int init(int fd, struct fault *fault)
{
	return set(fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL, fault);
}

/* What both versions have: two places, and the number of interrupts, by 32 */
static int set_up(int fd, const struct aarch64_gic *gic, const uint64_t types[2], size_t gsi_count,
		  struct fault *fault)
{
	uint32_t irqs = PRIVATE_IRQS + ((uint32_t)gsi_count + 31) / 32 * 32;
	int r = set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, types[0], &gic->registers[0], fault);

	if (r == 0)
		r = set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, types[1], &gic->registers[2], fault);
	if (r == 0)
		r = set(fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &irqs, fault);
	return r < 0 ? r : init(fd, fault);
}

/* Hosts may have none; then the guest has none either. Nothing of it is used without PCI. */
static int create_its(const struct vm *vm, struct aarch64_gic *gic, struct fault *fault)
{
	CLEANUP(fd_close) int fd = create_device(vm, KVM_DEV_TYPE_ARM_VGIC_ITS);
	int r;

	if (fd == -ENODEV) {
		gic->its[0] = gic->its[1] = 0;
		return 0;
	}
	if (fd < 0)
		return create_failed(fault, fd);
	r = set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_VGIC_ITS_ADDR_TYPE, &gic->its[0], fault);
	return r < 0 ? r : init(fd, fault);
}

static int create_v3(const struct vm *vm, int fd, size_t vcpu_count, size_t gsi_count,
		     struct aarch64_gic *gic, struct fault *fault)
{
	static const uint64_t types[] = { KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST };
	uint64_t dist = AARCH64_MMIO32_START - V3_DIST_BYTES;
	uint64_t redist_bytes = vcpu_count * V3_REDIST_BYTES;
	uint64_t redist = dist - redist_bytes;
	int r;

	*gic = (struct aarch64_gic){
		.compatible = "arm,gic-v3",
		.registers = { dist, V3_DIST_BYTES, redist, redist_bytes },
		.maintenance_irq = V3_MAINTENANCE_IRQ,
		.its = { redist - V3_ITS_BYTES, V3_ITS_BYTES },
	};
	r = create_its(vm, gic, fault);
	return r < 0 ? r : set_up(fd, gic, types, gsi_count, fault);
}

/* KVM shows the CPU interface of the hardware, by whole pages of the host. */
static int check_page(struct fault *fault)
{
	long bytes = sysconf(_SC_PAGESIZE);

	if (bytes == 4096)
		return 0;
	return fault_set(fault, -ENOTSUP, "Error with the KvmVm object: " FAILED "The host has GICv2 "
			 "only, which needs a host kernel with pages of 4 KiB; it has %ld KiB",
			 bytes / 1024);
}

static int create_v2(int fd, size_t gsi_count, struct aarch64_gic *gic, struct fault *fault)
{
	static const uint64_t types[] = { KVM_VGIC_V2_ADDR_TYPE_DIST, KVM_VGIC_V2_ADDR_TYPE_CPU };
	uint64_t dist = AARCH64_MMIO32_START - KVM_VGIC_V2_DIST_SIZE;
	int r = check_page(fault);

	*gic = (struct aarch64_gic){
		.compatible = "arm,gic-400",
		.registers = { dist, KVM_VGIC_V2_DIST_SIZE,
			       dist - KVM_VGIC_V2_CPU_SIZE, KVM_VGIC_V2_CPU_SIZE },
		.maintenance_irq = V2_MAINTENANCE_IRQ,
	};
	return r < 0 ? r : set_up(fd, gic, types, gsi_count, fault);
}

int gic_create(const struct vm *vm, size_t vcpu_count, size_t gsi_count,
	       struct aarch64_gic *ret_gic, struct fault *fault)
{
	CLEANUP(fd_close) int v3 = create_device(vm, KVM_DEV_TYPE_ARM_VGIC_V3);
	CLEANUP(fd_close) int v2 = -1;

	assert(gsi_count >= 1 && gsi_count <= AARCH64_GSI_COUNT);
	if (v3 >= 0)
		return create_v3(vm, v3, vcpu_count, gsi_count, ret_gic, fault);
	if (v3 != -ENODEV)
		return create_failed(fault, v3);
	v2 = create_device(vm, KVM_DEV_TYPE_ARM_VGIC_V2);
	return v2 < 0 ? create_failed(fault, v2) : create_v2(v2, gsi_count, ret_gic, fault);
}
