/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/kvm/x86_64/state.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#define RFLAGS_ALWAYS	(1u << 1)

/* Local vector table (Intel SDM 3, 11.5.1) */
#define APIC_LVT_LINT0	0x350
#define APIC_LVT_LINT1	0x360
#define APIC_MODE_MASK	0x700u
#define APIC_MODE_NMI	0x400u
#define APIC_MODE_EXTINT 0x700u

static int failed(struct fault *fault, const char *what)
{
	char text[OS_ERROR_MAX];
	int r = -errno;

	return fault_set(fault, r, "System configuration error: Failed to set up vCPU %s: %s", what,
			 os_error(r, text));
}

static struct kvm_segment segment(const struct x86_64_segment *segment)
{
	return (struct kvm_segment){ .selector = segment->selector, .limit = segment->limit,
				     .type = segment->type, .present = 1, .s = segment->s,
				     .db = segment->db, .l = segment->l, .g = segment->g };
}

static int set_special_registers(int vcpu_fd, const struct x86_64_cpu_state *state,
				 struct fault *fault)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return failed(fault, "special registers");
	sregs.cs = segment(&state->code);
	sregs.ds = segment(&state->data);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.tr = segment(&state->task);
	sregs.gdt = (struct kvm_dtable){ .base = X86_64_GDT, .limit = state->gdt_limit };
	sregs.idt = (struct kvm_dtable){ .limit = 0 };
	sregs.cr0 = state->cr0;
	sregs.cr3 = state->cr3;
	sregs.cr4 = state->cr4;
	sregs.efer = state->efer;
	return ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ? failed(fault, "special registers") : 0;
}

int state_set_entry(int vcpu_fd, const struct x86_64_boot_entry *entry, struct fault *fault)
{
	struct kvm_regs regs = { .rip = entry->rip, .rflags = RFLAGS_ALWAYS };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };	/* as after FNINIT */
	int r = set_special_registers(vcpu_fd, x86_64_cpu_state(entry->protocol), fault);

	if (r < 0)
		return r;
	if (entry->protocol == X86_64_BOOT_64) {
		regs.rsi = entry->info;
		regs.rsp = regs.rbp = X86_64_STACK;
	} else {
		regs.rbx = entry->info;
	}
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return failed(fault, "registers");
	if (ioctl(vcpu_fd, KVM_SET_FPU, &fpu) < 0)
		return failed(fault, "FPU");
	return 0;
}

static void set_mode(struct kvm_lapic_state *apic, size_t offset, uint32_t mode)
{
	uint32_t value;

	memcpy(&value, apic->regs + offset, sizeof(value));
	value = (value & ~APIC_MODE_MASK) | mode;
	memcpy(apic->regs + offset, &value, sizeof(value));
}

int state_set_local_apic(int vcpu_fd, struct fault *fault)
{
	struct kvm_lapic_state apic;

	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &apic) < 0)
		return failed(fault, "local APIC");
	set_mode(&apic, APIC_LVT_LINT0, APIC_MODE_EXTINT);
	set_mode(&apic, APIC_LVT_LINT1, APIC_MODE_NMI);
	return ioctl(vcpu_fd, KVM_SET_LAPIC, &apic) < 0 ? failed(fault, "local APIC") : 0;
}
