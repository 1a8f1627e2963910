/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arguments QEMU is started with. Nothing a user chose stands in them but numbers, the instance
 * id and the kernel's command line (an argument of its own): ids and paths of drives, which may hold
 * QEMU's separators, do not. Files are named by descriptor numbers, which the process inherits.
 */
#ifndef SQUIB_ENGINE_QEMU_ARGS_H
#define SQUIB_ENGINE_QEMU_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "engine/qemu/devices.h"

/*
 * virtio-mmio slots. On microvm with the second IOAPIC slot 0 (GSI 24) never gets an interrupt, so
 * it is left empty.
 */
#define QEMU_DEVICES_X86_64	23
#define QEMU_DEVICES_AARCH64	32

struct args {
	char **argv;		/* ends in NULL unless broken */
	size_t count;
	bool broken;		/* out of memory; further additions do nothing */
};

void args_done(struct args *args);
static inline void args_done_p(struct args *args) { args_done(args); }

struct qemu_args {
	const char *program;
	const char *instance_id;
	enum squib_arch arch;
	bool kvm;
	const struct squib_machine *machine;
	const struct qemu_peer *peers;	/* of drives, network interfaces, vsock */
	const char *cmdline;
	int kernel_fd;
	int initrd_fd;		/* -1: none */
	int qmp_fd;
	int serial_fd;
	int guest_log_fd;	/* -1: guest errors are not logged */
};

/** qemu_args_build() - 0 or -ENOMEM */
int qemu_args_build(const struct qemu_args *params, struct args *ret_args);

#endif
