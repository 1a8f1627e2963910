/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine is our own: KVM gives CPU, memory and interrupts, and all devices are in this process.
 * vCPU threads run the guest and serve the registers it touches, each device under its own lock;
 * queues, the far end of the serial port and everything the monitor asks for are the loop's.
 *
 * What vCPU threads have to tell the loop goes through one eventfd and a set of flags. How the guest
 * ended is told to the listener once, when the serial port's last bytes have been taken or
 * DRAIN_MS have passed.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "boot/cmdline.h"
#include "boot/image.h"
#include "engine/device_set.h"
#include "engine/kvm/arch.h"
#include "engine/kvm/check.h"
#include "engine/kvm/devices.h"
#include "engine/kvm/probe.h"
#include "legacy/uart.h"

#define MIB (UINT64_C(1) << 20)
#define MEM_MIB_MAX (UINT64_MAX / MIB)
#define DRAIN_MS 1000
#define OUTPUT_ROUND_BYTES 65536
#define BOOT_TIMER_VALUE 123

enum event {
	EVENT_BOOT_TIMER = 1 << 0,
	EVENT_GUEST_ENDED = 1 << 1,
	EVENT_FAILED = 1 << 2,
};

enum state {
	STATE_UP,
	STATE_DRAINING,	/* the vCPUs are stopped for good, the console takes the guest's last bytes */
	STATE_ENDED,	/* the listener was told */
};

struct kvm_engine {
	struct engine engine;
	struct engine_params params;

	/* The machine; nothing of it before start(). */
	struct vm vm;
	struct guest_mem *mem;
	struct cpu_model *cpu;
	struct uart *uart;
	struct platform *platform;
	struct devices *devices;
	struct vcpus *vcpus;
	struct vcpus_listener vcpus_listener;

	struct loop_source uart_source;
	struct loop_source event_source;	/* eventfd */
	_Atomic unsigned int events;		/* enum event; set by vCPU threads */
	struct loop_timer drain_timer;
	enum state state;
	enum engine_end end;			/* from STATE_DRAINING on */
};

static struct kvm_engine *kvm_of(struct engine *engine)
{
	return container_of(engine, struct kvm_engine, engine);
}

/* ---- vCPU threads ---- */

static void tell(struct kvm_engine *kvm, enum event event)
{
	unsigned int before = atomic_fetch_or(&kvm->events, event);

	if ((before & event) == 0)
		eventfd_write(kvm->event_source.fd, 1);
}

static void boot_timer_access(struct kvm_engine *kvm, const struct kvm_run *run)
{
	if (kvm->params.boot_timer && run->mmio.is_write && run->mmio.data[0] == BOOT_TIMER_VALUE)
		tell(kvm, EVENT_BOOT_TIMER);
}

static enum vcpu_verdict mmio(struct kvm_engine *kvm, struct kvm_run *run)
{
	struct metrics_vcpu *metrics = &kvm->params.metrics->vcpu;
	struct metric_time *time = run->mmio.is_write ? &metrics->exit_mmio_write_agg
						      : &metrics->exit_mmio_read_agg;
	uint64_t start_ns = clock_ns();

	metrics_inc(run->mmio.is_write ? &metrics->exit_mmio_write : &metrics->exit_mmio_read);
	if (!run->mmio.is_write)
		memset(run->mmio.data, 0, sizeof(run->mmio.data));
	if (run->mmio.phys_addr == ARCH_BOOT_TIMER_ADDRESS)
		boot_timer_access(kvm, run);
	else if (!platform_mmio(kvm->platform, run))
		devices_access(kvm->devices, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			       run->mmio.is_write);
	metrics_time(time, (clock_ns() - start_ns) / 1000);
	return VCPU_GO_ON;
}

static enum vcpu_verdict vcpu_exited(struct vcpus_listener *listener, struct kvm_run *run)
{
	struct kvm_engine *kvm = container_of(listener, struct kvm_engine, vcpus_listener);

	return run->exit_reason == KVM_EXIT_MMIO ? mmio(kvm, run)
						 : platform_port(kvm->platform, run);
}

static void vcpu_ended(struct vcpus_listener *listener, enum vcpu_verdict verdict)
{
	struct kvm_engine *kvm = container_of(listener, struct kvm_engine, vcpus_listener);

	tell(kvm, verdict == VCPU_GUEST_ENDED ? EVENT_GUEST_ENDED : EVENT_FAILED);
}

/* ---- the serial port's far end ---- */

/*
 * Give the console what the guest has sent; true when it took all. The guest may send as fast as the
 * console takes, so a round ends, and the loop's other sources have their turn before the next.
 */
static bool pump_output(struct kvm_engine *kvm)
{
	struct engine_listener *listener = kvm->params.listener;
	const uint8_t *data;
	size_t len, done = 0;

	while ((len = uart_peek(kvm->uart, &data)) > 0) {
		size_t taken;

		if (done >= OUTPUT_ROUND_BYTES) {
			eventfd_write(kvm->uart_source.fd, 1);
			return false;
		}
		taken = listener->serial_output(listener, data, len);
		uart_consume(kvm->uart, taken);
		if (taken < len)
			return false;	/* serial_output_ready() will come */
		done += taken;
	}
	return true;
}

static void end_if_drained(struct kvm_engine *kvm)
{
	if (kvm->state == STATE_DRAINING && pump_output(kvm))
		loop_timer_set(&kvm->drain_timer, clock_ns());
}

static void uart_ready(struct loop_source *source, uint32_t events)
{
	struct kvm_engine *kvm = container_of(source, struct kvm_engine, uart_source);
	eventfd_t count;

	(void)events;
	eventfd_read(source->fd, &count);
	if (pump_output(kvm))
		end_if_drained(kvm);
	if (uart_take_input_wanted(kvm->uart))
		kvm->params.listener->serial_input_ready(kvm->params.listener);
}

static size_t kvm_serial_input(struct engine *engine, const void *data, size_t len)
{
	return uart_input(kvm_of(engine)->uart, data, len);
}

static void kvm_serial_output_ready(struct engine *engine)
{
	struct kvm_engine *kvm = kvm_of(engine);

	if (pump_output(kvm))
		end_if_drained(kvm);
}

/* ---- the end ---- */

static void begin_ending(struct kvm_engine *kvm, enum engine_end end)
{
	if (kvm->state != STATE_UP)
		return;
	kvm->state = STATE_DRAINING;
	kvm->end = end;
	vcpus_pause(kvm->vcpus);	/* one that is late stops when it can */
	loop_timer_set(&kvm->drain_timer, clock_ns() + DRAIN_MS * UINT64_C(1000000));
	end_if_drained(kvm);
}

static void drain_expired(struct loop_timer *timer)
{
	struct kvm_engine *kvm = container_of(timer, struct kvm_engine, drain_timer);

	kvm->state = STATE_ENDED;
	kvm->params.listener->ended(kvm->params.listener, kvm->end);
}

static void events_ready(struct loop_source *source, uint32_t ready)
{
	struct kvm_engine *kvm = container_of(source, struct kvm_engine, event_source);
	unsigned int events;
	eventfd_t count;

	(void)ready;
	eventfd_read(source->fd, &count);
	events = atomic_exchange(&kvm->events, 0);
	if ((events & EVENT_BOOT_TIMER) != 0)
		kvm->params.listener->boot_timer(kvm->params.listener);
	/* Two vCPUs may end at once; one that failed is what a person has to hear of. */
	if ((events & EVENT_FAILED) != 0)
		begin_ending(kvm, ENGINE_END_FAILED);
	else if ((events & EVENT_GUEST_ENDED) != 0)
		begin_ending(kvm, ENGINE_END_GUEST);
}

/* ---- life ---- */

static int kvm_engine_probe(enum squib_arch arch, struct fault *reason)
{
	return kvm_probe(arch, reason);
}

static int kvm_create(const struct engine_params *params, struct engine **ret_engine,
		      struct fault *fault)
{
	struct kvm_engine *kvm = calloc(1, sizeof(*kvm));

	if (kvm == NULL)
		return fault_set(fault, -ENOMEM, "Internal error while starting microVM: Out of "
				 "memory (os error 12)");
	kvm->engine.ops = &engine_kvm;
	kvm->params = *params;
	kvm->vm = VM_NONE;
	kvm->uart_source.fd = -1;
	kvm->event_source.fd = -1;
	kvm->drain_timer.source.fd = -1;
	kvm->vcpus_listener = (struct vcpus_listener){ .exited = vcpu_exited,
						       .ended = vcpu_ended };
	*ret_engine = &kvm->engine;
	return 0;
}

/* The vCPUs first, since they use everything else. */
static void tear_down(struct kvm_engine *kvm)
{
	vcpus_free(kvm->vcpus);
	kvm->vcpus = NULL;
	loop_remove(kvm->params.loop, &kvm->uart_source);
	kvm->uart_source.fd = -1;	/* the port's */
	loop_remove(kvm->params.loop, &kvm->event_source);
	fd_close(fd_take(&kvm->event_source.fd));
	if (kvm->drain_timer.source.fd >= 0)
		loop_timer_done(kvm->params.loop, &kvm->drain_timer);
	devices_free(kvm->devices);
	kvm->devices = NULL;
	platform_free(kvm->platform);
	kvm->platform = NULL;
	uart_free(kvm->uart);
	kvm->uart = NULL;
	cpu_model_free(kvm->cpu);
	kvm->cpu = NULL;
	vm_close(&kvm->vm);
	guest_mem_free(kvm->mem);
	kvm->mem = NULL;
}

static void kvm_destroy(struct engine *engine)
{
	if (engine == NULL)
		return;
	tear_down(kvm_of(engine));
	free(kvm_of(engine));
}

static int kvm_engine_check(struct engine *engine, const struct squib_machine *description,
			    struct fault *fault)
{
	(void)engine;
	return kvm_check(description, fault);
}

/* ---- starting ---- */

static int internal(struct fault *fault, int error)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, "Internal error while starting microVM: %s",
			 os_error(error, text));
}

/* Then the process at the other end of it reads and writes guest memory, too. */
static bool has_socket_drive(const struct squib_machine *machine)
{
	for (size_t i = 0; i < machine->drive_count; i++)
		if (machine->drives[i]->socket != NULL)
			return true;
	return false;
}

static int make_memory(struct kvm_engine *kvm, const struct squib_machine *machine,
		       struct fault *fault)
{
	const struct squib_machine_config *config = &machine->config;
	struct guest_region regions[GUEST_REGIONS_MAX];
	struct guest_mem_params params = {
		.regions = regions,
		.huge_pages = config->huge_pages,
		.track_dirty = config->track_dirty_pages,
		.shared = has_socket_drive(machine),
	};
	char text[OS_ERROR_MAX];
	int r = -ENOMEM;

	if (config->mem_size_mib > MEM_MIB_MAX) {
		fault_set(fault, r, "Cannot create mmap region: %s", os_error(r, text));
	} else {
		params.region_count = arch_regions(config->mem_size_mib * MIB, regions);
		r = guest_mem_new(&params, &kvm->mem, fault);
	}
	if (r < 0)
		fault_prefix(fault, "Invalid Memory Configuration: ");
	return r;
}

static int make_vm(struct kvm_engine *kvm, const struct squib_machine *machine,
		   struct fault *fault)
{
	int r = make_memory(kvm, machine, fault);

	if (r == 0)
		r = vm_open(&kvm->vm, fault);
	if (r == 0)
		r = cpu_check_capabilities(kvm->vm.kvm_fd, machine, fault);
	if (r == 0)
		r = cpu_model_new(&kvm->vm, machine, &kvm->cpu, fault);
	if (r == 0)
		r = arch_vm_setup(&kvm->vm, kvm->mem, fault);
	if (r == 0)
		r = vcpus_new(&kvm->vm, machine->config.vcpu_count, kvm->params.log,
			      kvm->params.metrics, &kvm->vcpus_listener, &kvm->vcpus, fault);
	if (r == 0)
		r = vm_add_memory(&kvm->vm, kvm->mem, machine->config.track_dirty_pages, fault);
	return r;
}

static int watch(struct kvm_engine *kvm)
{
	struct loop *loop = kvm->params.loop;
	int r;

	kvm->uart_source = (struct loop_source){ .fd = uart_wake_fd(kvm->uart), .events = EPOLLIN,
						 .ready = uart_ready };
	kvm->event_source = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						  .events = EPOLLIN, .ready = events_ready };
	if (kvm->event_source.fd < 0)
		return -errno;
	r = loop_add(loop, &kvm->uart_source);
	if (r == 0)
		r = loop_add(loop, &kvm->event_source);
	return r < 0 ? r : loop_timer_init(loop, &kvm->drain_timer, drain_expired);
}

static int make_devices(struct kvm_engine *kvm, const struct engine_machine *machine,
			struct fault *fault)
{
	struct platform_params params = {
		.vm = &kvm->vm,
		.vcpu_count = machine->description->config.vcpu_count,
		.device_count = device_set_bound(machine->description),
		.log = kvm->params.log,
		.metrics = kvm->params.metrics,
	};
	int r = uart_new(kvm->params.metrics, &kvm->uart);

	if (r == 0)
		r = watch(kvm);
	if (r < 0)
		return internal(fault, r);
	params.uart = kvm->uart;
	r = platform_new(&params, &kvm->platform, fault);
	if (r < 0)
		return r;
	return devices_new(&kvm->params, &kvm->vm, kvm->mem, machine, &kvm->devices, fault);
}

static int load(struct kvm_engine *kvm, const struct engine_machine *machine,
		const struct image *image, struct fault *fault)
{
	CLEANUP(buf_done) struct buf line = BUF_INIT;
	struct arch_boot_params params = {
		.vm = &kvm->vm,
		.vcpus = kvm->vcpus,
		.platform = kvm->platform,
		.cpu = kvm->cpu,
		.mem = kvm->mem,
		.machine = machine->description,
		.image = image,
		.initrd_fd = machine->initrd.fd,
	};
	struct cmdline_params cmdline = { .arch = kvm->params.arch,
					  .machine = machine->description,
					  .earlycon = ARCH_EARLYCON };
	int r;

	params.devices = devices_list(kvm->devices, &params.device_count);
	cmdline.devices = params.devices;
	cmdline.device_count = params.device_count;
	r = cmdline_build(&cmdline, &line, fault);
	if (r < 0)
		return r;
	params.cmdline = buf_str(&line);
	return arch_boot(&params, fault);
}

static int build(struct kvm_engine *kvm, const struct engine_machine *machine,
		 struct fault *fault)
{
	CLEANUP(image_done) struct image image = IMAGE_INIT;
	int r = image_open(machine->kernel.fd, kvm->params.arch, &image, fault);

	if (r < 0) {
		fault_prefix(fault, "System configuration error: Cannot load kernel due to invalid "
			     "memory configuration or invalid kernel image: ");
		return r;
	}
	r = make_vm(kvm, machine->description, fault);
	if (r == 0)
		r = make_devices(kvm, machine, fault);
	if (r == 0)
		r = load(kvm, machine, &image, fault);
	return r < 0 ? r : vcpus_start(kvm->vcpus, fault);
}

static int kvm_start(struct engine *engine, const struct engine_machine *machine,
		     struct fault *fault)
{
	struct kvm_engine *kvm = kvm_of(engine);
	int r = kvm_check(machine->description, fault);

	if (r == 0)
		r = build(kvm, machine, fault);
	if (r < 0) {
		tear_down(kvm);
		return r;
	}
	vcpus_resume(kvm->vcpus);
	return 0;
}

/* ---- what the monitor asks for ---- */

static int kvm_pause(struct engine *engine, struct fault *fault)
{
	struct kvm_engine *kvm = kvm_of(engine);
	int r = vcpus_pause(kvm->vcpus);

	if (r < 0) {
		if (kvm->state == STATE_UP)
			vcpus_resume(kvm->vcpus);
		return fault_set(fault, r, "Failed to pause the vCPUs: they did not answer in time");
	}
	devices_pause(kvm->devices);
	return 0;
}

static int kvm_resume(struct engine *engine, struct fault *fault)
{
	struct kvm_engine *kvm = kvm_of(engine);

	(void)fault;
	devices_resume(kvm->devices);
	if (kvm->state == STATE_UP)
		vcpus_resume(kvm->vcpus);
	return 0;
}

static int kvm_ctrl_alt_del(struct engine *engine, struct fault *fault)
{
	return platform_ctrl_alt_del(kvm_of(engine)->platform, fault);
}

static int kvm_update_drive(struct engine *engine, const struct squib_drive_update *update,
			    int file_fd, struct fault *fault)
{
	return device_set_update_drive(devices_set(kvm_of(engine)->devices), update, file_fd,
				       fault);
}

static int kvm_update_network_interface(struct engine *engine,
					const struct squib_network_interface_update *update,
					struct fault *fault)
{
	return device_set_update_network_interface(devices_set(kvm_of(engine)->devices), update,
						   fault);
}

const struct engine_ops engine_kvm = {
	.name = "kvm",
	.probe = kvm_engine_probe,
	.create = kvm_create,
	.destroy = kvm_destroy,
	.check = kvm_engine_check,
	.start = kvm_start,
	.pause = kvm_pause,
	.resume = kvm_resume,
	.send_ctrl_alt_del = kvm_ctrl_alt_del,
	.update_drive = kvm_update_drive,
	.update_network_interface = kvm_update_network_interface,
	.serial_input = kvm_serial_input,
	.serial_output_ready = kvm_serial_output_ready,
};
