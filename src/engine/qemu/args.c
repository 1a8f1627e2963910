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
#include <sys/stat.h>

#include "base/buf.h"
#include "engine/qemu/limits.h"

#define SECTOR_BYTES	512
#define DISK_ID_MAX	20	/* VIRTIO_BLK_ID_BYTES */

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

static void add_memory(struct args *args, const struct squib_machine_config *config)
{
	unsigned long long mib = config->mem_size_mib;

	add(args, "-m");
	add(args, "%lluM", mib);
	add(args, "-object");
	switch (config->huge_pages) {
	case SQUIB_HUGE_PAGES_2M:
		add(args, "memory-backend-memfd,id=ram,size=%lluM,share=on,hugetlb=on,"
			  "hugetlbsize=2M", mib);
		break;
	case SQUIB_HUGE_PAGES_TRANSPARENT:
		/* QEMU advises huge pages for anonymous memory; a memfd's are the host's setting */
		add(args, "memory-backend-ram,id=ram,size=%lluM", mib);
		break;
	case SQUIB_HUGE_PAGES_NONE:
		add(args, "memory-backend-memfd,id=ram,size=%lluM,share=on", mib);
		break;
	}
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
		add(args, "/dev/fd/%d", params->guest_log_fd);
	}
}

static void add_kernel(struct args *args, const struct qemu_args *params)
{
	add(args, "-kernel");
	add(args, "/dev/fd/%d", params->kernel_fd);
	if (params->initrd_fd >= 0) {
		add(args, "-initrd");
		add(args, "/dev/fd/%d", params->initrd_fd);
	}
	add(args, "-append");
	add(args, "%s", params->cmdline);
}

static int slot_of(enum squib_arch arch, size_t device)
{
	return arch == SQUIB_ARCH_X86_64 ? QEMU_DEVICES_X86_64 - (int)device : (int)device;
}

/* Every drive has a throttle group, so that limits may come later. */
static void add_throttle(struct args *args, size_t i, const struct squib_rate_limiter *limiter)
{
	CLEANUP(buf_done) struct buf limits = BUF_INIT;
	struct throttle bytes, ops;

	throttle_from_bucket(limiter != NULL ? limiter->bandwidth : NULL, &bytes);
	throttle_from_bucket(limiter != NULL ? limiter->ops : NULL, &ops);
	throttle_json(&limits, &bytes, &ops);
	if (buf_str(&limits) == NULL)
		args->broken = true;
	else
		add(args, "-object");
	add(args, "{\"qom-type\":\"throttle-group\",\"id\":\"limit%zu\",\"limits\":%s}", i,
	    limits.data);
}

/*
 * A file whose size is no multiple of a sector is cut down, as upstream does; QEMU by itself would
 * round up and let a guest's write grow it.
 */
static int add_drive(struct args *args, const struct qemu_args *params, size_t i, int slot)
{
	const struct squib_drive *drive = params->machine->drives[i];
	const char *read_only = drive->is_read_only ? "on" : "off";
	bool flush = drive->cache_type == SQUIB_CACHE_WRITEBACK;
	char id[64];
	struct stat st;

	if (fstat(params->drives[i].fd, &st) < 0)
		return -errno;
	add(args, "-add-fd");
	add(args, "fd=%d,set=%zu", params->drives[i].fd, i);
	add_throttle(args, i, drive->rate_limiter);
	/* drives.c makes the like of it when the file is changed, and takes this one away by name */
	add(args, "-blockdev");
	add(args, "driver=throttle,node-name=drive%zu.0,throttle-group=limit%zu,read-only=%s,"
	    "file.driver=raw,file.size=%llu,file.file.driver=file,file.file.filename=/dev/fdset/%zu,"
	    "file.file.auto-read-only=off,file.file.locking=off,file.file.aio=%s,"
	    "file.file.cache.no-flush=%s", i, i, read_only,
	    (unsigned long long)st.st_size / SECTOR_BYTES * SECTOR_BYTES, i,
	    drive->io_engine == SQUIB_IO_ENGINE_ASYNC ? "io_uring" : "threads",
	    flush ? "off" : "on");
	/* The guest reads this id as upstream makes it, from the file's identity. */
	snprintf(id, sizeof(id), "%llu%llu%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_rdev, (unsigned long long)st.st_ino);
	add(args, "-device");
	add(args, "virtio-blk-device,id=disk%zu,drive=drive%zu.0,bus=virtio-mmio-bus.%d,serial=%.*s,"
	    "num-queues=1,discard=off,write-zeroes=off,config-wce=off,write-cache=%s,"
	    "rerror=report,werror=report", i, i, slot, DISK_ID_MAX, id, flush ? "on" : "off");
	return 0;
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

size_t qemu_device_count(const struct squib_machine *machine)
{
	return machine->drive_count + (machine->entropy != NULL);
}

int qemu_args_build(const struct qemu_args *params, struct args *ret_args)
{
	static const char *const always[] = {
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S",
	};
	const struct squib_machine *machine = params->machine;
	CLEANUP(args_done) struct args args = { 0 };
	size_t i;

	add(&args, "%s", params->program);
	add(&args, "-name");
	add(&args, "%s", params->instance_id);
	for (i = 0; i < ARRAY_SIZE(always); i++)
		add(&args, "%s", always[i]);
	add_machine(&args, params);
	add_memory(&args, &machine->config);
	add_cpus(&args, &machine->config);
	add_channels(&args, params);
	add_kernel(&args, params);
	for (i = 0; i < machine->drive_count; i++) {
		int r = add_drive(&args, params, i, slot_of(params->arch, i));

		if (r < 0)
			return r;
	}
	if (machine->entropy != NULL)
		add_entropy(&args, machine->entropy, slot_of(params->arch, i));
	if (args.broken)
		return -ENOMEM;
	*ret_args = args;
	args = (struct args){ 0 };
	return 0;
}
