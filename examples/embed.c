/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another monitor behind the Firecracker API, in one thread and one poll() loop.
 *
 *	cc embed.c $(pkg-config --cflags --libs squib) -o embed
 *	./embed /tmp/embed.sock &
 *	curl --unix-socket /tmp/embed.sock http://localhost/
 *
 * It takes every configuration for good, "runs" the machine by printing what it would run, and ends
 * when a client asks for Ctrl-Alt-Del. What a real monitor does differently is in start() only.
 */
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <squib/controller.h>
#include <squib/server.h>

struct monitor {
	struct squib_action *started;	/* keeps the machine's description alive while it runs */
	bool done;
};

/* InstanceStart carries the machine whole and validated: nothing of the PUTs had to be kept. */
static void start(struct monitor *monitor, struct squib_action *action)
{
	const struct squib_machine *machine = squib_action_machine(action);

	if (access(machine->boot_source->kernel_image_path, R_OK) < 0) {
		squib_action_fail(action, "Start microvm error: the kernel cannot be read");
		return;
	}
	printf("starting %u vCPUs, %llu MiB, kernel %s\n", machine->config.vcpu_count,
	       (unsigned long long)machine->config.mem_size_mib,
	       machine->boot_source->kernel_image_path);
	for (size_t i = 0; i < machine->drive_count; i++)
		printf("  drive %s%s: %s\n", machine->drives[i]->drive_id,
		       machine->drives[i]->is_root_device ? " (root)" : "",
		       machine->drives[i]->path_on_host);
	monitor->started = squib_action_ref(action);
	squib_action_succeed(action);
}

static void handle(struct monitor *monitor, struct squib_action *action)
{
	switch (squib_action_type(action)) {
	case SQUIB_INSTANCE_START:
		start(monitor, action);
		break;
	case SQUIB_PATCH_VM:
		printf("%s\n", squib_action_vm(action)->state == SQUIB_VM_PAUSED ? "paused" : "resumed");
		squib_action_succeed(action);
		break;
	case SQUIB_SEND_CTRL_ALT_DEL:
		monitor->done = true;
		squib_action_succeed(action);
		break;
	case SQUIB_SNAPSHOT_CREATE:
	case SQUIB_SNAPSHOT_LOAD:
		squib_action_fail(action, "this monitor has no snapshots");
		break;
	default:
		printf("%s\n", squib_action_name(action));
		squib_action_succeed(action);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct squib_controller_options options = SQUIB_CONTROLLER_OPTIONS_INIT;
	struct squib_server_options server_options = SQUIB_SERVER_OPTIONS_INIT;
	struct squib_controller *controller;
	struct squib_server *server;
	struct monitor monitor = { 0 };
	struct pollfd fds[2];
	int r;

	options.instance_id = "embedded";
	options.firecracker_version = "1.16.0";
	options.vmm_version = "1.16.0 (embed)";
	options.smt = SQUIB_SMT_ALLOWED;
	options.ctrl_alt_del = true;
	server_options.socket_path = argc > 1 ? argv[1] : "/tmp/embed.sock";

	r = squib_controller_new(&options, &controller);
	if (r == 0)
		r = squib_server_new(controller, &server_options, &server);
	if (r < 0) {
		fprintf(stderr, "cannot serve %s: %s\n", server_options.socket_path, strerror(-r));
		return 1;
	}
	fds[0] = (struct pollfd){ .fd = squib_server_fd(server), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = squib_controller_fd(controller), .events = POLLIN };
	while (!monitor.done && poll(fds, 2, -1) >= 0) {
		struct squib_action *action;

		squib_server_dispatch(server);
		while (squib_controller_next(controller, 0, &action) == 1)
			handle(&monitor, action);
	}
	squib_server_free(server);
	squib_controller_free(controller);
	squib_action_unref(monitor.started);
	unlink(server_options.socket_path);
	return 0;
}
