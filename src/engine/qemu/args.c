/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How /dev/vda and the others come in attach order: each device is put into a slot by number. The
 * guest finds microvm's slots from the highest number down (the order of the ACPI table), virt's
 * from the lowest up (the order of the device tree).
 */
#include "engine/qemu/args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/qemu/limits.h"

#define QUEUE_SIZE	256u	/* what our devices serve */
#define MAC_TEXT_MAX	18

void args_done(struct args *args)
{
	for (size_t i = 0; i < args->count; i++)
		free(args->argv[i]);
	free(args->argv);
	*args = (struct args){ 0 };
}

PRINTF_LIKE(2, 3)
static void add(struct args *args, const char *fmt, ...)
{
	char **argv;
	va_list ap;
	int n;

	if (args->broken)
		return;
	argv = realloc(args->argv, (args->count + 2) * sizeof(*argv));
	if (argv == NULL) {
		args->broken = true;
		return;
	}
	args->argv = argv;
	va_start(ap, fmt);
	n = vasprintf(&argv[args->count], fmt, ap);
	va_end(ap);
	if (n < 0)
		args->broken = true;
	else
		argv[++args->count] = NULL;
}

static void add_machine(struct args *args, const struct qemu_args *params)
{
	const char *accel = params->kvm ? "kvm" : "tcg";

	add(args, "-accel");
	add(args, "%s", accel);
	add(args, "-machine");
	if (params->arch == SQUIB_ARCH_X86_64) {
		add(args, "microvm,rtc=on,ioapic2=on,auto-kernel-cmdline=off,memory-backend=ram");
		add(args, "-cpu");
		add(args, "%s", params->kvm ? "host" : "max");
		/* Without it a reboot by "reboot=k" takes seconds or hangs; and Ctrl-Alt-Del needs it. */
		add(args, "-device");
		add(args, "i8042");
	} else {
		add(args, "virt,gic-version=%s,memory-backend=ram", params->kvm ? "host" : "3");
		add(args, "-cpu");
		add(args, "%s", params->kvm ? "host" : "cortex-a72");	/* "max" is 5 times slower */
	}
	add(args, "-global");
	add(args, "virtio-mmio.force-legacy=false");
}

/* Shared with the devices, which are in other processes. */
static void add_memory(struct args *args, const struct squib_machine_config *config)
{
	unsigned long long mib = config->mem_size_mib;
	const char *pages = config->huge_pages == SQUIB_HUGE_PAGES_2M ?
				    ",hugetlb=on,hugetlbsize=2M" : "";

	add(args, "-m");
	add(args, "%lluM", mib);
	add(args, "-object");
	/* Transparent huge pages need no more: QEMU advises them, and the host's setting decides. */
	add(args, "memory-backend-memfd,id=ram,size=%lluM,share=on%s", mib, pages);
}

static void add_cpus(struct args *args, const struct squib_machine_config *config)
{
	unsigned int count = config->vcpu_count;
	unsigned int threads = config->smt && count % 2 == 0 ? 2 : 1;

	add(args, "-smp");
	add(args, "%u,sockets=1,cores=%u,threads=%u", count, count / threads, threads);
}

static void add_channels(struct args *args, const struct qemu_args *params)
{
	add(args, "-chardev");
	add(args, "socket,id=qmp,fd=%d", params->qmp_fd);
	add(args, "-mon");
	add(args, "chardev=qmp,mode=control");
	add(args, "-chardev");
	add(args, "socket,id=serial,fd=%d", params->serial_fd);
	add(args, "-serial");
	add(args, "chardev:serial");
	if (params->guest_log_fd >= 0) {
		add(args, "-d");
		add(args, "guest_errors");
		add(args, "-D");
		add(args, "/proc/self/fd/%d", params->guest_log_fd);
	}
}

/* Files that QEMU inherits, and opens again. Not by /dev/fd, a link to there that a bare /dev lacks. */
static void add_kernel(struct args *args, const struct qemu_args *params)
{
	add(args, "-kernel");
	add(args, "/proc/self/fd/%d", params->kernel_fd);
	if (params->initrd_fd >= 0) {
		add(args, "-initrd");
		add(args, "/proc/self/fd/%d", params->initrd_fd);
	}
	add(args, "-append");
	add(args, "%s", params->cmdline);
}

static int slot_of(enum squib_arch arch, size_t device)
{
	return arch == SQUIB_ARCH_X86_64 ? QEMU_DEVICES_X86_64 - (int)device : (int)device;
}

/* The channel of the next device that is served to QEMU, and QEMU's name for it. */
static void add_channel(struct args *args, const struct qemu_args *params, size_t device)
{
	const struct qemu_peer *peer = &params->peers[device];

	add(args, "-chardev");
	if (peer->fd >= 0)
		add(args, "socket,id=device%zu,fd=%d", device, peer->fd);
	else
		add(args, "socket,id=device%zu,path=%s,abstract=on", device, peer->address);
}

static void add_drive(struct args *args, const struct qemu_args *params, size_t device)
{
	add_channel(args, params, device);
	add(args, "-device");
	add(args, "vhost-user-blk,chardev=device%zu,bus=virtio-mmio-bus.%d,num-queues=1,"
	    "queue-size=%u,config-wce=off", device, slot_of(params->arch, device), QUEUE_SIZE);
}

/*
 * QEMU's device always has an address. Without one the guest would make one up; as it cannot, it is
 * given one made up.
 */
static void mac_text(char text[static MAC_TEXT_MAX], const struct squib_network_interface *interface)
{
	uint8_t mac[6];

	if (interface->has_guest_mac) {
		memcpy(mac, interface->guest_mac, sizeof(mac));
	} else {
		getrandom(mac, sizeof(mac), 0);	/* so few bytes never fail to come */
		mac[0] = (mac[0] & 0xfc) | 0x02;	/* local, not a group */
	}
	snprintf(text, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
}

static void add_network_interface(struct args *args, const struct qemu_args *params,
				  const struct squib_network_interface *interface, size_t device)
{
	static const char without_control_queue[] =
		",ctrl_vq=off,ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,ctrl_mac_addr=off,"
		"ctrl_guest_offloads=off,guest_announce=off";
	char mac[MAC_TEXT_MAX], mtu[32] = "";

	mac_text(mac, interface);
	if (interface->has_mtu)
		snprintf(mtu, sizeof(mtu), ",host_mtu=%u", interface->mtu);
	add_channel(args, params, device);
	add(args, "-netdev");
	add(args, "vhost-user,id=net%zu,chardev=device%zu", device, device);
	add(args, "-device");
	add(args, "virtio-net-device,netdev=net%zu,bus=virtio-mmio-bus.%d,mac=%s,rx_queue_size=%u,"
	    "tx_queue_size=%u%s%s", device, slot_of(params->arch, device), mac, QUEUE_SIZE, QUEUE_SIZE,
	    without_control_queue, mtu);
}

static void add_vsock(struct args *args, const struct qemu_args *params, size_t device)
{
	add_channel(args, params, device);
	add(args, "-device");
	add(args, "vhost-user-vsock-device,chardev=device%zu,bus=virtio-mmio-bus.%d", device,
	    slot_of(params->arch, device));
}

static void add_entropy(struct args *args, const struct squib_entropy *entropy, int slot)
{
	uint64_t bytes;
	uint32_t period_ms;

	rng_limit(entropy->rate_limiter, &bytes, &period_ms);
	add(args, "-object");
	add(args, "rng-random,id=entropy,filename=/dev/urandom");
	add(args, "-device");
	if (bytes != 0)
		add(args, "virtio-rng-device,rng=entropy,bus=virtio-mmio-bus.%d,max-bytes=%llu,"
		    "period=%u", slot, (unsigned long long)bytes, period_ms);
	else
		add(args, "virtio-rng-device,rng=entropy,bus=virtio-mmio-bus.%d", slot);
}

static void add_devices(struct args *args, const struct qemu_args *params)
{
	const struct squib_machine *machine = params->machine;
	size_t device = 0;

	for (size_t i = 0; i < machine->drive_count; i++)
		add_drive(args, params, device++);
	for (size_t i = 0; i < machine->network_interface_count; i++)
		add_network_interface(args, params, machine->network_interfaces[i], device++);
	if (machine->vsock != NULL)
		add_vsock(args, params, device++);
	if (machine->entropy != NULL)
		add_entropy(args, machine->entropy, slot_of(params->arch, device));
}

int qemu_args_build(const struct qemu_args *params, struct args *ret_args)
{
	static const char *const always[] = {
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
	};
	const struct squib_machine *machine = params->machine;
	CLEANUP(args_done) struct args args = { 0 };

	add(&args, "%s", params->program);
	add(&args, "-name");
	add(&args, "%s", params->instance_id);
	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		add(&args, "%s", always[i]);
	add_machine(&args, params);
	add_memory(&args, &machine->config);
	add_cpus(&args, &machine->config);
	add_channels(&args, params);
	add_kernel(&args, params);
	add_devices(&args, params);
	if (args.broken)
		return -ENOMEM;
	*ret_args = args;
	args = (struct args){ 0 };
	return 0;
}
