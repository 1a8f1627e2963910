/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a machine: see vmm.h. */
#include "vmm/vmm_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "net/tap.h"
#include "vmm/userspace.h"

#define METRICS_PERIOD_NS (60 * UINT64_C(1000000000))
#define CONSOLE_FLUSH_MS 1000

void vmm_stop(struct vmm *vmm, int exit_code)
{
	vmm->stopping = true;
	vmm->exit_code = exit_code;
}

/* ---- what the engine tells ---- */

static void engine_ended(struct engine_listener *listener, enum engine_end end)
{
	struct vmm *vmm = container_of(listener, struct vmm, engine_listener);

	log_info(vmm->params.log, "Vmm is stopping.");
	vmm_stop(vmm, end == ENGINE_END_GUEST ? 0 : 1);
}

static bool is_ending(struct engine_listener *listener)
{
	struct vmm *vmm = container_of(listener, struct vmm, engine_listener);
	struct pollfd p = { .fd = vmm->params.ending_fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static size_t serial_output(struct engine_listener *listener, const void *data, size_t len)
{
	return console_output(container_of(listener, struct vmm, engine_listener)->console, data,
			      len);
}

static void serial_input_ready(struct engine_listener *listener)
{
	console_input_ready(container_of(listener, struct vmm, engine_listener)->console);
}

static uint64_t cpu_time_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void boot_timer(struct engine_listener *listener)
{
	struct vmm *vmm = container_of(listener, struct vmm, engine_listener);
	uint64_t us = clock_ns() / 1000 - vmm->start_us;
	uint64_t cpu_us = cpu_time_us() - vmm->start_cpu_us;

	log_limited_info(vmm->params.log, "Guest-boot-time = %6ju us %ju ms, %6ju CPU us %ju CPU ms",
		 (uintmax_t)us, (uintmax_t)us / 1000, (uintmax_t)cpu_us, (uintmax_t)cpu_us / 1000);
}

/* ---- what the console tells ---- */

static size_t console_input(struct console_listener *listener, const void *data, size_t len)
{
	struct vmm *vmm = container_of(listener, struct vmm, console_listener);

	/* before the machine is built nobody takes it; it waits */
	return vmm->engine != NULL ? vmm->ops->serial_input(vmm->engine, data, len) : 0;
}

static void console_output_ready(struct console_listener *listener)
{
	struct vmm *vmm = container_of(listener, struct vmm, console_listener);

	if (vmm->engine != NULL && vmm->ops->serial_output_ready != NULL)
		vmm->ops->serial_output_ready(vmm->engine);
}

/* ---- starting ---- */

static int open_console(struct vmm *vmm, const struct squib_machine *machine, struct fault *fault)
{
	struct console_params params = {
		.loop = vmm->params.loop,
		.log = vmm->params.log,
		.metrics = vmm->params.metrics,
		.listener = &vmm->console_listener,
		.arch = vmm->params.arch,
		.serial = machine->serial,
		.input_fd = vmm->params.console_in,
		.output_fd = vmm->params.console_out,
	};

	return console_new(&params, &vmm->console, fault);
}

static int create_engine(struct vmm *vmm, struct engine **ret_engine, struct fault *fault)
{
	struct engine_params params = {
		.arch = vmm->params.arch,
		.instance_id = vmm->params.instance_id,
		.boot_timer = vmm->params.boot_timer,
		.log = vmm->params.log,
		.metrics = vmm->params.metrics,
		.loop = vmm->params.loop,
		.listener = &vmm->engine_listener,
	};

	return vmm->ops->create(&params, ret_engine, fault);
}

static int make_tap_backend(struct vmm *vmm, const char *iface_id, struct net_backend **ret_backend,
			    struct fault *fault)
{
	int r = tap_backend_new(host_tap(vmm->host, iface_id), ret_backend);
	char error[OS_ERROR_MAX];

	return r < 0 ? fault_set(fault, r, "%s", os_error(r, error)) : 0;
}

/* *@ret_backend stays NULL where there is none to make. */
static int make_backend(struct vmm *vmm, const struct squib_machine *machine, size_t index,
			struct net_backend **ret_backend, struct fault *fault)
{
	const struct squib_network_interface *interface = machine->network_interfaces[index];
	CLEANUP(fault_done) struct fault reason = FAULT_INIT;
	int r = 0;

	switch (vmm->params.network) {
	case VMM_NETWORK_TAP:
		r = make_tap_backend(vmm, interface->iface_id, ret_backend, &reason);
		break;
	case VMM_NETWORK_USERSPACE:
		r = userspace_open(&vmm->params, interface, index == 0, ret_backend, &reason);
		break;
	case VMM_NETWORK_NONE:
		break;
	}
	if (r < 0)
		fault_set(fault, r, "Internal error while starting microVM: network interface %s: %s",
			  interface->iface_id, fault_text(&reason));
	return r;
}

/* The back ends that the engine did not take over are freed. */
static int start_with_backends(struct vmm *vmm, struct engine *engine,
			       struct engine_machine *build, struct fault *fault)
{
	const struct squib_machine *machine = build->description;
	int r = 0;

	for (size_t i = 0; i < machine->network_interface_count && r == 0; i++)
		r = make_backend(vmm, machine, i, &build->interfaces[i], fault);
	if (r == 0)
		r = vmm->ops->start(engine, build, fault);
	for (size_t i = 0; i < machine->network_interface_count; i++)
		net_backend_free(build->interfaces[i]);
	return r;
}

static int start_with_drives(struct vmm *vmm, struct engine *engine, struct engine_machine *build,
			     struct engine_file *drives, struct fault *fault)
{
	const struct squib_machine *machine = build->description;
	int r = host_connect_drives(vmm->host, fault);

	if (r < 0)
		return r;
	for (size_t i = 0; i < machine->drive_count; i++)
		drives[i] = host_drive(vmm->host, machine->drives[i]->drive_id);
	r = start_with_backends(vmm, engine, build, fault);
	if (r < 0)
		host_disconnect_drives(vmm->host);
	return r;
}

static int start_engine(struct vmm *vmm, struct engine *engine,
			const struct squib_machine *machine, struct fault *fault)
{
	struct engine_file *drives = calloc(machine->drive_count + 1, sizeof(*drives));
	struct net_backend **interfaces = calloc(machine->network_interface_count + 1,
						 sizeof(*interfaces));
	struct engine_machine build = {
		.description = machine,
		.kernel = host_kernel(vmm->host),
		.initrd = host_initrd(vmm->host),
		.drives = drives,
		.interfaces = interfaces,
		.vsock = host_vsock(vmm->host),
		.mmds = vmm->mmds,
	};
	int r = -ENOMEM;

	if (drives != NULL && interfaces != NULL) {
		if (machine->mmds_config != NULL)
			mmds_configure(vmm->mmds, machine->mmds_config);
		r = start_with_drives(vmm, engine, &build, drives, fault);
	} else {
		fault_set(fault, r, "Internal error while starting microVM: Out of memory");
	}
	free(interfaces);
	free(drives);
	return r;
}

static void write_metrics(struct vmm *vmm)
{
	metrics_write(vmm->params.metrics);
	loop_timer_set(&vmm->metrics_timer, clock_ns() + METRICS_PERIOD_NS);
}

static int check_pmem_files(const struct squib_machine *machine, struct fault *fault)
{
	for (size_t i = 0; i < machine->pmem_count; i++) {
		int r = host_check_pmem_file(machine->pmems[i], fault);

		if (r < 0) {
			fault_prefix(fault, "Cannot create pmem device: ");
			return r;
		}
	}
	return 0;
}

int vmm_choose_engine(struct vmm *vmm, struct fault *fault)
{
	struct engine_chooser *chooser = vmm->params.engine_chooser;

	if (vmm->ops == NULL)
		vmm->ops = chooser->choose(chooser, fault);
	return vmm->ops != NULL ? 0 : fault->error;
}

int vmm_start(struct vmm *vmm, struct squib_action *action, struct fault *fault)
{
	const struct squib_machine *machine = squib_action_machine(action);
	struct engine *engine = NULL;
	int r;

	vmm->start_us = clock_ns() / 1000;
	vmm->start_cpu_us = cpu_time_us();
	r = vmm_choose_engine(vmm, fault);
	if (r == 0)
		r = check_pmem_files(machine, fault);
	if (r < 0)
		return r;
	/* the console first: an engine may have output from the moment it starts */
	r = open_console(vmm, machine, fault);
	if (r == 0)
		r = create_engine(vmm, &engine, fault);
	if (r == 0)
		r = attached_fill(&vmm->devices, action);
	if (r == 0)
		r = start_engine(vmm, engine, machine, fault);
	if (r < 0) {
		attached_done(&vmm->devices);
		vmm->ops->destroy(engine);
		console_free(vmm->console);
		vmm->console = NULL;
		if (fault->error == 0)
			fault_set(fault, r, "Internal error while starting microVM: Out of memory");
		return r;
	}
	host_release(vmm->host);
	vmm->engine = engine;
	vmm->started = squib_action_ref(action);
	vmm->machine = machine;
	if (machine->balloon != NULL)
		vmm->balloon = *machine->balloon;
	console_input_ready(vmm->console);
	write_metrics(vmm);
	return 0;
}

/* ---- the loop ---- */

static void actions_ready(struct loop_source *source, uint32_t events)
{
	struct vmm *vmm = container_of(source, struct vmm, actions);
	struct squib_action *action;

	(void)events;
	/* one at a time: the engine's and the console's events are served in between */
	if (squib_controller_next(vmm->params.controller, 0, &action) == 1)
		vmm_handle(vmm, action);
}

static void metrics_due(struct loop_timer *timer)
{
	struct vmm *vmm = container_of(timer, struct vmm, metrics_timer);

	if (vmm->paused)	/* as upstream, a paused machine writes none */
		loop_timer_set(timer, clock_ns() + METRICS_PERIOD_NS);
	else
		write_metrics(vmm);
}

int vmm_new(const struct vmm_params *params, struct vmm **ret_vmm)
{
	struct mmds_params mmds = { .instance_id = params->instance_id, .log = params->log,
				    .metrics = params->metrics };
	struct vmm *vmm = calloc(1, sizeof(*vmm));
	int r;

	if (vmm == NULL)
		return -ENOMEM;
	vmm->params = *params;
	vmm->engine_listener = (struct engine_listener){
		.ended = engine_ended,
		.serial_output = serial_output,
		.serial_input_ready = serial_input_ready,
		.boot_timer = boot_timer,
		.is_ending = is_ending,
	};
	vmm->console_listener = (struct console_listener){
		.input = console_input,
		.output_ready = console_output_ready,
	};
	vmm->metrics_timer.source.fd = -1;
	vmm->actions = (struct loop_source){ .fd = squib_controller_fd(params->controller),
					     .events = EPOLLIN, .ready = actions_ready };
	r = host_new(params->network == VMM_NETWORK_NONE, &vmm->host);
	if (r == 0)
		r = mmds_new(&mmds, &vmm->mmds);
	if (r == 0)
		r = loop_timer_init(params->loop, &vmm->metrics_timer, metrics_due);
	if (r == 0)
		r = loop_add(params->loop, &vmm->actions);
	if (r < 0) {
		vmm_free(vmm);
		return r;
	}
	*ret_vmm = vmm;
	return 0;
}

void vmm_free(struct vmm *vmm)
{
	if (vmm == NULL)
		return;
	loop_remove(vmm->params.loop, &vmm->actions);
	if (vmm->metrics_timer.source.fd >= 0)
		loop_timer_done(vmm->params.loop, &vmm->metrics_timer);
	if (vmm->engine != NULL)
		vmm->ops->destroy(vmm->engine);
	console_free(vmm->console);
	attached_done(&vmm->devices);
	squib_action_unref(vmm->started);
	mmds_free(vmm->mmds);
	host_free(vmm->host);
	free(vmm);
}

int vmm_run(struct vmm *vmm)
{
	while (!vmm->stopping) {
		int r = loop_run_once(vmm->params.loop, -1);

		if (r < 0) {
			char error[OS_ERROR_MAX];

			log_error(vmm->params.log, "Event loop failed: %s", os_error(r, error));
			return 1;
		}
	}
	squib_controller_set_phase(vmm->params.controller, SQUIB_PHASE_SHUTDOWN);
	if (vmm->console != NULL)
		console_flush(vmm->console, CONSOLE_FLUSH_MS);
	metrics_write(vmm->params.metrics);
	return vmm->exit_code;
}

void vmm_restore_terminal(const struct vmm *vmm)
{
	if (vmm != NULL)
		console_restore_terminal(vmm->console);
}
