/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A QEMU process gives CPU, memory and interrupts; we are its parent, its monitor over QMP, and the
 * host end of its serial port. It is started by start() and not before, since clients wait a quarter
 * of a second for the answer to a PUT, and it never outlives us.
 *
 * The life of the process, as the engine sees it:
 *
 *	IDLE ──start()──► UP ──guest ended, or QMP closed──► CLOSING ──┐
 *	 ▲                 └───────── process ended ──────────────────► DRAINING ──► ENDED
 *	 └── start() failed: everything is undone
 *
 * UP: the guest runs or is paused. CLOSING: QEMU is on its way out and writes disks back; after
 * exit_ms it is killed. DRAINING: it is gone, what it said has been read, and the console takes the
 * guest's last bytes. ENDED: the listener was told.
 *
 * A command is sent and waited for in place, with a deadline; meanwhile QEMU's other descriptors and
 * its devices are served too, so that it is never stuck at one of them. Whatever is learned meanwhile, that
 * the process has ended for one, only arms the timer: ended() comes from the loop.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/lines.h"
#include "base/process.h"
#include "boot/cmdline.h"
#include "boot/image.h"
#include "engine/engine.h"
#include "engine/kvm/probe.h"
#include "engine/qemu/args.h"
#include "engine/qemu/check.h"
#include "engine/qemu/devices.h"
#include "engine/qemu/port.h"
#include "engine/qemu/qemu_internal.h"
#include "engine/qemu/qmp.h"
#include "engine/qemu/tsc.h"

#define MIB (UINT64_C(1) << 20)
#define NS_PER_MS UINT64_C(1000000)
#define MEM_MIB_MAX (INT64_MAX / MIB)

#define KERNEL_FAULT "System configuration error: Cannot load kernel due to invalid memory " \
		     "configuration or invalid kernel image: "
#define INTERNAL_FAULT "Internal error while starting microVM: "

/* QEMU's serial port on virt, and what the kernel calls it */
#define AARCH64_EARLYCON "pl011,mmio32,0x09000000"
#define AARCH64_CONSOLE	 "ttyAMA0"

#define ENDING_POLL_MS 100
#define FINISH_ROUNDS 64	/* of QMP_LINE_MAX; a socket holds far less */

#define BOOT_TIMER_WRITE "Invalid write at addr 0xC0000000,"

enum state { STATE_IDLE, STATE_UP, STATE_CLOSING, STATE_DRAINING, STATE_ENDED };

struct qemu_engine {
	struct engine engine;
	struct engine_params params;
	struct qemu_timeouts timeouts;
	struct tsc_mark created;
	enum state state;

	struct process process;
	struct loop_source process_source;
	int status;			/* of the ended process */
	struct loop_timer timer;	/* CLOSING: kill. DRAINING: tell the listener */

	struct qmp qmp;
	struct loop_source qmp_source;
	uint64_t last_id;		/* of the command sent last */
	bool greeted;
	bool answered;			/* the command last_id, by answer */
	struct qmp_message answer;
	bool guest_ended;		/* the guest asked for it */
	struct qemu_devices *devices;	/* of the machine that is up; NULL before */

	struct port port;
	struct lines words;		/* standard output and error of the process */
	char last_words[LINE_MAX_BYTES];
	struct lines guest_log;		/* only with the boot timer */
};

static struct qemu_engine *qemu_of(struct engine *engine)
{
	return container_of(engine, struct qemu_engine, engine);
}

struct qemu_timeouts *qemu_timeouts(struct engine *engine)
{
	return &qemu_of(engine)->timeouts;
}

static const char *program_of(enum squib_arch arch)
{
	return arch == SQUIB_ARCH_X86_64 ? "qemu-system-x86_64" : "qemu-system-aarch64";
}

static char *find_program(enum squib_arch arch)
{
	const char *override = getenv("SQUIB_QEMU");

	return process_find(override != NULL && *override != '\0' ? override : program_of(arch));
}

static uint64_t in_ms(unsigned int ms)
{
	return clock_ns() + ms * NS_PER_MS;
}

/* QEMU's words */

/* "qemu-system-x86_64: -device x: text" without the name in front */
static const char *without_name(const char *line)
{
	const char *colon = strstr(line, ": ");

	if (strncmp(line, "qemu", 4) != 0 || colon == NULL)
		return line;
	return colon + 2;
}

static void words_line(struct lines *lines, const char *text)
{
	struct qemu_engine *qemu = container_of(lines, struct qemu_engine, words);

	text = without_name(text);
	if (strncmp(text, "warning: ", 9) != 0 || qemu->last_words[0] == '\0')
		snprintf(qemu->last_words, sizeof(qemu->last_words), "%s", text);
	log_limited_warn(qemu->params.log, "QEMU: %s", text);	/* a guest can make it talk */
}

static void guest_log_line(struct lines *lines, const char *text)
{
	struct qemu_engine *qemu = container_of(lines, struct qemu_engine, guest_log);

	if (strncmp(text, BOOT_TIMER_WRITE, strlen(BOOT_TIMER_WRITE)) == 0)
		qemu->params.listener->boot_timer(qemu->params.listener);
}

static void read_lines(struct qemu_engine *qemu, struct lines *lines)
{
	if (!lines_read(lines))
		lines_close(lines, qemu->params.loop);
}

static void words_ready(struct loop_source *source, uint32_t events)
{
	struct qemu_engine *qemu = container_of(source, struct qemu_engine, words.source);

	(void)events;
	read_lines(qemu, &qemu->words);
}

static void guest_log_ready(struct loop_source *source, uint32_t events)
{
	struct qemu_engine *qemu = container_of(source, struct qemu_engine, guest_log.source);

	(void)events;
	read_lines(qemu, &qemu->guest_log);
}

/* The end */

static void begin_closing(struct qemu_engine *qemu)
{
	if (qemu->state != STATE_UP)
		return;
	qemu->state = STATE_CLOSING;
	loop_timer_set(&qemu->timer, in_ms(qemu->timeouts.exit_ms));
}

static void end_soon(struct qemu_engine *qemu)
{
	loop_timer_set(&qemu->timer, clock_ns() + 1);
}

static void port_drained(struct port *port)
{
	struct qemu_engine *qemu = container_of(port, struct qemu_engine, port);

	if (qemu->state == STATE_DRAINING)
		end_soon(qemu);
}

static void log_end(struct qemu_engine *qemu)
{
	struct log *log = qemu->params.log;
	const char *words = qemu->last_words[0] != '\0' ? qemu->last_words : "nothing";

	if (qemu->guest_ended)
		log_info(log, "QEMU engine: the guest has ended");
	else if (qemu->status < 0)
		log_error(log, "QEMU engine: QEMU was killed by signal %d (%s); its last words: %s",
			  -qemu->status, strsignal(-qemu->status), words);
	else
		log_error(log, "QEMU engine: QEMU ended with code %d; its last words: %s",
			  qemu->status, words);
}

static void tell_end(struct qemu_engine *qemu)
{
	struct engine_listener *listener = qemu->params.listener;
	enum engine_end end = qemu->guest_ended ? ENGINE_END_GUEST : ENGINE_END_FAILED;

	qemu->state = STATE_ENDED;
	port_close(&qemu->port);
	log_end(qemu);
	listener->ended(listener, end);	/* may destroy the engine: nothing after it */
}

static void timer_expired(struct loop_timer *timer)
{
	struct qemu_engine *qemu = container_of(timer, struct qemu_engine, timer);

	if (qemu->state == STATE_CLOSING) {
		log_warn(qemu->params.log, "QEMU engine: QEMU does not end, killing it");
		kill(qemu->process.pid, SIGKILL);
	} else if (qemu->state == STATE_DRAINING) {
		tell_end(qemu);
	}
}

/* QMP */

static void take_event(struct qemu_engine *qemu, const struct qmp_message *event)
{
	if (strcmp(event->name, "SHUTDOWN") == 0) {
		log_info(qemu->params.log, "QEMU engine: shutdown (%s)", event->reason);
		qemu->guest_ended = qemu->guest_ended || event->guest;
		begin_closing(qemu);
	} else if (strcmp(event->name, "GUEST_PANICKED") == 0) {
		log_warn(qemu->params.log, "QEMU engine: the guest panicked");
	}
}

static void take_message(struct qemu_engine *qemu, const struct qmp_message *message)
{
	switch (message->kind) {
	case QMP_GREETING:
		qemu->greeted = true;
		break;
	case QMP_EVENT:
		take_event(qemu, message);
		break;
	case QMP_RETURN:
	case QMP_ERROR:
		/* Another id: the late answer to a command that was given up. */
		if (message->id == qemu->last_id) {
			qemu->answer = *message;
			qemu->answered = true;
		}
		break;
	case QMP_OTHER:
		break;
	}
}

static void close_qmp(struct qemu_engine *qemu)
{
	loop_remove(qemu->params.loop, &qemu->qmp_source);
	fd_close(fd_take(&qemu->qmp_source.fd));
	qemu->qmp.fd = -1;
}

static int receive_qmp(struct qemu_engine *qemu)
{
	struct qmp_message message;
	int r = qmp_receive(&qemu->qmp), next = 0;

	while ((next = qmp_next(&qemu->qmp, &message)) == 1)
		take_message(qemu, &message);
	return next < 0 ? next : r;
}

/*
 * QEMU closes the channel when it ends. Nonsense on it means that QEMU is not itself any more, so
 * it is killed rather than obeyed.
 */
static void read_qmp(struct qemu_engine *qemu)
{
	int r = receive_qmp(qemu);

	if (r >= 0)
		return;
	if (r != -EPIPE) {
		log_error(qemu->params.log, "QEMU engine: QEMU sent what is no QMP, killing it");
		kill(qemu->process.pid, SIGKILL);
	}
	close_qmp(qemu);
	begin_closing(qemu);
}

static void qmp_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	read_qmp(container_of(source, struct qemu_engine, qmp_source));
}

/* The process has ended: everything it sent is in our descriptors by now. */
static void reap(struct qemu_engine *qemu)
{
	loop_remove(qemu->params.loop, &qemu->process_source);
	process_reap(&qemu->process, &qemu->status);
	qemu->process_source.fd = -1;
	/* Bounded: a process that QEMU started and let go may still be sending. */
	for (int i = 0; i < FINISH_ROUNDS && qemu->qmp.fd >= 0 && receive_qmp(qemu) > 0; i++)
		;
	close_qmp(qemu);
	lines_finish(&qemu->words);
	lines_finish(&qemu->guest_log);
	lines_close(&qemu->words, qemu->params.loop);
	lines_close(&qemu->guest_log, qemu->params.loop);
	if (qemu->state == STATE_IDLE)
		return;		/* within start(), which gives the fault */
	qemu->state = STATE_DRAINING;
	if (qemu->port.ended && qemu->port.len == 0)
		end_soon(qemu);
	else
		loop_timer_set(&qemu->timer, in_ms(qemu->timeouts.drain_ms));
}

static void process_ready(struct loop_source *source, uint32_t events)
{
	(void)events;
	reap(container_of(source, struct qemu_engine, process_source));
}

/* Waiting in place */

static bool is_greeted(const struct qemu_engine *qemu) { return qemu->greeted; }
static bool is_answered(const struct qemu_engine *qemu) { return qemu->answered; }

static bool is_ending(const struct qemu_engine *qemu)
{
	struct engine_listener *listener = qemu->params.listener;

	return listener->is_ending != NULL && listener->is_ending(listener);
}

/* One round over QEMU's descriptors and those of the devices it has of us, without the console */
static void serve(struct qemu_engine *qemu, int timeout_ms)
{
	struct pollfd p[] = {
		{ .fd = qemu->process.pidfd, .events = POLLIN },
		{ .fd = qemu->qmp.fd, .events = POLLIN },
		{ .fd = qemu->words.source.fd, .events = POLLIN },
		{ .fd = qemu->guest_log.source.fd, .events = POLLIN },
		{ .fd = qemu_devices_fd(qemu->devices), .events = POLLIN },
	};

	if (poll(p, ARRAY_SIZE(p), timeout_ms < ENDING_POLL_MS ? timeout_ms : ENDING_POLL_MS) <= 0)
		return;
	if (p[4].revents != 0)
		qemu_devices_serve(qemu->devices);
	if (p[1].revents != 0)
		read_qmp(qemu);
	if (p[2].revents != 0)
		read_lines(qemu, &qemu->words);
	if (p[3].revents != 0)
		read_lines(qemu, &qemu->guest_log);
	if (p[0].revents != 0)
		reap(qemu);
}

static int wait_until(struct qemu_engine *qemu, bool (*done)(const struct qemu_engine *),
		      uint64_t deadline_ns)
{
	while (!done(qemu)) {
		uint64_t now_ns = clock_ns();

		if (qemu->process.pid == 0)
			return -ESRCH;
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		if (is_ending(qemu))
			return -ECANCELED;
		serve(qemu, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);
	}
	return 0;
}

/*
 * 0; -ESRCH: QEMU is gone; -ETIMEDOUT: it does not answer; -ECANCELED: the program is about to
 * end; -EIO: it answered with an error, which is in answer.text; or another -errno
 */
static int command(struct qemu_engine *qemu, const char *name, const char *arguments,
		   uint64_t deadline_ns)
{
	int r;

	if (qemu->qmp.fd < 0)
		return -ESRCH;
	qemu->answered = false;
	qemu->last_id++;
	r = qmp_send(&qemu->qmp, qemu->last_id, name, arguments);
	if (r == -EAGAIN)
		return -ETIMEDOUT;
	if (r < 0)
		return r == -EPIPE || r == -ECONNRESET ? -ESRCH : r;
	r = wait_until(qemu, is_answered, deadline_ns);
	if (r < 0)
		return r;
	return qemu->answer.kind == QMP_RETURN ? 0 : -EIO;
}

/* To a machine that is up, for who asked for something that QEMU has to do. */
static int ask_qemu(struct qemu_engine *qemu, const char *name, const char *arguments,
		    struct fault *fault)
{
	char text[OS_ERROR_MAX];
	int r;

	if (qemu->state != STATE_UP)
		return fault_set(fault, -ESRCH, "the guest of the qemu engine has ended");
	r = command(qemu, name, arguments, in_ms(qemu->timeouts.command_ms));
	switch (r) {
	case 0:
		return 0;
	case -ESRCH:
		return fault_set(fault, r, "the guest of the qemu engine has ended");
	case -ETIMEDOUT:
		return fault_set(fault, r, "QEMU does not answer (%s)", name);
	case -EIO:
		return fault_set(fault, r, "QEMU refuses %s: %s", name, qemu->answer.text);
	default:
		return fault_set(fault, r, "cannot reach QEMU (%s): %s", name, os_error(r, text));
	}
}

/* Starting */

/* What start() prepares and QEMU inherits */
struct launch {
	const struct engine_machine *machine;
	struct image kernel;
	struct buf cmdline;
	char *program;
	bool kvm;
	int qmp_fd, serial_fd, words_fd, guest_log_fd;	/* QEMU's ends */
};

static void launch_done(struct launch *launch)
{
	image_done(&launch->kernel);
	buf_done(&launch->cmdline);
	free(launch->program);
	fd_close(launch->qmp_fd);
	fd_close(launch->serial_fd);
	fd_close(launch->words_fd);
	fd_close(launch->guest_log_fd);
}
static void launch_done_p(struct launch *launch) { launch_done(launch); }

static bool choose_kvm(struct qemu_engine *qemu)
{
	CLEANUP(fault_done) struct fault reason = FAULT_INIT;
	bool kvm = kvm_probe(qemu->params.arch, &reason) == 0;

	if (kvm)
		log_info(qemu->params.log, "QEMU engine: accelerator kvm");
	else
		log_info(qemu->params.log, "QEMU engine: accelerator tcg (%s)", fault_text(&reason));
	return kvm;
}

static int prepare_kernel(struct qemu_engine *qemu, struct launch *launch, struct fault *fault)
{
	uint64_t mem_mib = launch->machine->description->config.mem_size_mib;
	struct image *kernel = &launch->kernel;
	int r = image_open(launch->machine->kernel.fd, qemu->params.arch, kernel, fault);

	if (r == 0 && kernel->format == IMAGE_ELF && kernel->pvh_entry == 0)
		r = fault_set(fault, -ENOEXEC, "The ELF image has no PVH entry point, which the qemu "
			      "engine needs (CONFIG_PVH); use its bzImage");
	if (r == 0 && kernel->memory_bytes / MIB >= mem_mib)
		r = fault_set(fault, -ENOMEM, "The kernel needs more than %llu MiB of memory",
			      (unsigned long long)(kernel->memory_bytes / MIB));
	if (r < 0)
		fault_prefix(fault, KERNEL_FAULT);
	return r;
}

static int check_initrd(const struct engine_machine *machine, struct fault *fault)
{
	uint64_t mem_mib = machine->description->config.mem_size_mib;
	char text[OS_ERROR_MAX];
	struct stat st;

	if (machine->initrd.fd < 0)
		return 0;
	if (fstat(machine->initrd.fd, &st) < 0) {
		int r = -errno;

		return fault_set(fault, r, "Error with initrd initialization: Cannot image metadata: "
				 "%s.", os_error(r, text));
	}
	/* The two dots are upstream's. */
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size / MIB >= mem_mib)
		return fault_set(fault, -EINVAL, "Error with initrd initialization: "
				 "Failed to compute the initrd address..");
	return 0;
}

static int prepare_cmdline(struct qemu_engine *qemu, struct launch *launch, struct fault *fault)
{
	bool tells_tsc = !launch->kvm && qemu->params.arch == SQUIB_ARCH_X86_64;
	struct cmdline_params params = {
		.arch = qemu->params.arch,
		.machine = launch->machine->description,
		.earlycon = AARCH64_EARLYCON,
		.console = AARCH64_CONSOLE,
		.tsc_early_khz = tells_tsc ? tsc_khz_since(&qemu->created) : 0,
	};

	return cmdline_build(&params, &launch->cmdline, fault);
}

static int internal(struct fault *fault, int error, const char *what)
{
	char text[OS_ERROR_MAX];

	return fault_set(fault, error, INTERNAL_FAULT "the qemu engine cannot %s: %s", what,
			 os_error(error, text));
}

static int open_channels(struct qemu_engine *qemu, struct launch *launch)
{
	int s[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return -errno;
	qemu->qmp.fd = qemu->qmp_source.fd = s[0];
	qemu->qmp.len = qemu->qmp.start = 0;
	launch->qmp_fd = s[1];
	r = lines_open(&qemu->words, words_line, &launch->words_fd);
	if (r == 0 && qemu->params.boot_timer)
		r = lines_open(&qemu->guest_log, guest_log_line, &launch->guest_log_fd);
	if (r == 0)
		r = port_open(&qemu->port, qemu->params.loop, qemu->params.listener, port_drained,
			      &launch->serial_fd);
	return r;
}

static int spawn(struct qemu_engine *qemu, struct launch *launch)
{
	const struct engine_machine *machine = launch->machine;
	size_t device_count, fd_count = 5;
	const struct qemu_peer *peers = qemu_devices_peers(qemu->devices, &device_count);
	struct qemu_args params = {
		.program = launch->program,
		.instance_id = qemu->params.instance_id,
		.arch = qemu->params.arch,
		.kvm = launch->kvm,
		.machine = machine->description,
		.peers = peers,
		.cmdline = buf_str(&launch->cmdline),
		.kernel_fd = launch->kernel.fd,
		.initrd_fd = machine->initrd.fd,
		.qmp_fd = launch->qmp_fd,
		.serial_fd = launch->serial_fd,
		.guest_log_fd = launch->guest_log_fd,
	};
	/* qemu_check() bounds their number */
	int fds[5 + QEMU_DEVICES_AARCH64] = { params.kernel_fd, params.initrd_fd, params.qmp_fd,
					      params.serial_fd, params.guest_log_fd };
	CLEANUP(args_done) struct args args = { 0 };
	int r = qemu_args_build(&params, &args);

	if (r < 0)
		return r;
	for (size_t i = 0; i < device_count; i++)
		if (peers[i].fd >= 0)
			fds[fd_count++] = peers[i].fd;
	return process_spawn(args.argv, fds, fd_count, launch->words_fd, &qemu->process);
}

static int watch(struct qemu_engine *qemu)
{
	struct loop *loop = qemu->params.loop;
	int r;

	qemu->process_source.fd = qemu->process.pidfd;
	r = loop_add(loop, &qemu->process_source);
	if (r == 0)
		r = loop_add(loop, &qemu->qmp_source);
	if (r == 0 && qemu->words.source.fd >= 0)
		r = loop_add(loop, &qemu->words.source);
	if (r == 0 && qemu->guest_log.source.fd >= 0)
		r = loop_add(loop, &qemu->guest_log.source);
	if (r == 0)
		r = port_watch(&qemu->port);
	return r;
}

/* Nothing is left; start() may come again. */
static void undo(struct qemu_engine *qemu)
{
	struct loop *loop = qemu->params.loop;

	qemu->state = STATE_IDLE;
	loop_timer_set(&qemu->timer, 0);
	loop_remove(loop, &qemu->process_source);
	process_kill(&qemu->process);
	qemu->process_source.fd = -1;
	close_qmp(qemu);
	lines_close(&qemu->words, loop);
	lines_close(&qemu->guest_log, loop);
	port_close(&qemu->port);
	qemu_devices_free(qemu->devices);
	qemu->devices = NULL;
}

static int no_memory(struct fault *fault)
{
	return fault_set(fault, -ENOMEM, "Invalid Memory Configuration: Cannot create mmap region: "
			 "Out of memory (os error 12)");
}

/* What QEMU said when it gave up, put into the classes clients know */
static int fault_of_words(struct qemu_engine *qemu, int error, struct fault *fault)
{
	const char *words = qemu->last_words;

	if (strstr(words, "allocate memory") != NULL || strstr(words, "guest memory") != NULL ||
	    strstr(words, "memory size") != NULL || strstr(words, "RAM size") != NULL ||
	    strstr(words, "memfd") != NULL || strstr(words, "guest RAM") != NULL)
		return no_memory(fault);
	if (strstr(words, "initrd") != NULL)
		return fault_set(fault, error, "Error with initrd initialization: %s.", words);
	if (strstr(words, "kernel") != NULL || strstr(words, "PVH") != NULL)
		return fault_set(fault, error, KERNEL_FAULT "%s", words);
	if (words[0] != '\0')
		return fault_set(fault, error, INTERNAL_FAULT "QEMU gave up: %s", words);
	if (qemu->status < 0)
		return fault_set(fault, error, INTERNAL_FAULT "QEMU was killed by signal %d (%s)",
				 -qemu->status, strsignal(-qemu->status));
	return fault_set(fault, error, INTERNAL_FAULT "QEMU gave up without a word (code %d)",
			 qemu->status);
}

/* From exec to the first instruction of the guest */
static int bring_up(struct qemu_engine *qemu, struct fault *fault)
{
	uint64_t deadline_ns = in_ms(qemu->timeouts.start_ms);
	int r = wait_until(qemu, is_greeted, deadline_ns);

	if (r == 0)
		r = command(qemu, "qmp_capabilities", NULL, deadline_ns);
	if (r == 0)
		r = watch(qemu);
	if (r == 0) {
		qemu->state = STATE_UP;		/* the guest may end before "cont" is answered */
		r = command(qemu, "cont", NULL, deadline_ns);
	}
	if (r == -ESRCH && qemu->process.pid != 0) {
		/* It closed the channel first: hear it out. */
		uint64_t exit_ns = in_ms(qemu->timeouts.exit_ms);

		while (qemu->process.pid != 0 && clock_ns() < exit_ns && !is_ending(qemu))
			serve(qemu, ENDING_POLL_MS);
	}
	if (r == -ETIMEDOUT)
		return fault_set(fault, r, INTERNAL_FAULT "QEMU does not answer; its last words: %s",
				 qemu->last_words[0] != '\0' ? qemu->last_words : "nothing");
	if (r == -ECANCELED)
		return fault_set(fault, r, INTERNAL_FAULT "the program is ending");
	if (r == -EIO)
		return fault_set(fault, r, INTERNAL_FAULT "QEMU refuses to start: %s",
				 qemu->answer.text);
	return r < 0 ? fault_of_words(qemu, r, fault) : 0;
}

static void forget(struct qemu_engine *qemu)
{
	qemu->greeted = qemu->answered = qemu->guest_ended = false;
	qemu_devices_free(qemu->devices);	/* of a machine that has ended */
	qemu->devices = NULL;
	qemu->last_words[0] = '\0';
	qemu->status = 0;
}

/* A kernel with other pages than QEMU's cortex-a72 has (see args.c) would end without a word. */
static int check_pages(const struct launch *launch, struct fault *fault)
{
	if (launch->kvm || launch->kernel.page_bytes != 16384)
		return 0;
	return fault_set(fault, -ENOEXEC, KERNEL_FAULT "The Image is made for pages of 16 KiB, which "
			 "QEMU's cortex-a72 does not have");
}

static int launch(struct qemu_engine *qemu, struct launch *launch, struct fault *fault)
{
	int r;

	launch->program = find_program(qemu->params.arch);
	if (launch->program == NULL)
		return fault_set(fault, -ENOENT, INTERNAL_FAULT "the qemu engine cannot find %s",
				 program_of(qemu->params.arch));
	launch->kvm = choose_kvm(qemu);
	r = check_pages(launch, fault);
	if (r == 0)
		r = prepare_cmdline(qemu, launch, fault);
	if (r < 0)
		return r;
	r = open_channels(qemu, launch);
	if (r < 0)
		return internal(fault, r, "open its channels");
	r = spawn(qemu, launch);
	if (r < 0)
		return internal(fault, r, "run QEMU");
	log_debug(qemu->params.log, "QEMU engine: %s is process %d", launch->program,
		  (int)qemu->process.pid);
	/* Else the ends of these streams would never be seen. */
	fd_close(fd_take(&launch->qmp_fd));
	fd_close(fd_take(&launch->serial_fd));
	fd_close(fd_take(&launch->words_fd));
	fd_close(fd_take(&launch->guest_log_fd));
	qemu_devices_expect(qemu->devices, qemu->process.pid);
	return bring_up(qemu, fault);
}

static int engine_check(struct engine *engine, const struct squib_machine *description,
			struct fault *fault)
{
	struct qemu_engine *qemu = qemu_of(engine);

	return qemu_check(qemu->params.arch, qemu->params.boot_timer, description, fault);
}

static int engine_start(struct engine *engine, const struct engine_machine *machine,
			struct fault *fault)
{
	struct qemu_engine *qemu = qemu_of(engine);
	CLEANUP(launch_done) struct launch preparation = {
		.machine = machine, .kernel = IMAGE_INIT, .qmp_fd = -1, .serial_fd = -1,
		.words_fd = -1, .guest_log_fd = -1,
	};
	int r = engine_check(engine, machine->description, fault);

	if (r == 0 && machine->description->config.mem_size_mib > MEM_MIB_MAX)
		r = no_memory(fault);
	if (r == 0)
		r = prepare_kernel(qemu, &preparation, fault);
	if (r == 0)
		r = check_initrd(machine, fault);
	if (r < 0)
		return r;
	forget(qemu);
	r = qemu_devices_new(&qemu->params, machine, &qemu->devices, fault);
	if (r == 0)
		r = launch(qemu, &preparation, fault);
	if (r < 0)
		undo(qemu);
	return r;
}

/* The rest of the interface */

static int engine_probe(enum squib_arch arch, struct fault *reason)
{
	char *program = find_program(arch);

	if (program == NULL)
		return fault_set(reason, -ENOENT, "%s is not installed (Debian's package is %s)",
				 program_of(arch), arch == SQUIB_ARCH_X86_64 ?
				 "qemu-system-x86" : "qemu-system-arm");
	free(program);
	return 0;
}

static int engine_create(const struct engine_params *params, struct engine **ret_engine,
			 struct fault *fault)
{
	struct qemu_engine *qemu = calloc(1, sizeof(*qemu));
	int r;

	if (qemu == NULL)
		return fault_set(fault, -ENOMEM, "Out of memory (os error 12)");
	qemu->engine.ops = &engine_qemu;
	qemu->params = *params;
	qemu->timeouts = (struct qemu_timeouts){ .start_ms = 20000, .command_ms = 4000,
						 .exit_ms = 5000, .drain_ms = 1000 };
	qemu->created = tsc_mark();
	qemu->process = (struct process)PROCESS_INIT;
	qemu->process_source = (struct loop_source){ .fd = -1, .events = EPOLLIN,
						     .ready = process_ready };
	qemu->qmp.fd = -1;
	qemu->qmp_source = (struct loop_source){ .fd = -1, .events = EPOLLIN, .ready = qmp_ready };
	qemu->port.source.fd = -1;
	qemu->words.source = (struct loop_source){ .fd = -1, .ready = words_ready };
	qemu->guest_log.source = (struct loop_source){ .fd = -1, .ready = guest_log_ready };
	r = loop_timer_init(params->loop, &qemu->timer, timer_expired);
	if (r < 0) {
		char text[OS_ERROR_MAX];

		free(qemu);
		return fault_set(fault, r, "Cannot make a timer: %s", os_error(r, text));
	}
	*ret_engine = &qemu->engine;
	return 0;
}

static void engine_destroy(struct engine *engine)
{
	struct qemu_engine *qemu;

	if (engine == NULL)
		return;
	qemu = qemu_of(engine);
	undo(qemu);
	loop_timer_done(qemu->params.loop, &qemu->timer);
	free(qemu);
}

static int engine_pause(struct engine *engine, struct fault *fault)
{
	struct qemu_engine *qemu = qemu_of(engine);
	int r;

	qemu_devices_pause(qemu->devices);
	r = ask_qemu(qemu, "stop", NULL, fault);
	/* One that was not answered may come yet: then the devices are about to be stopped. */
	if (r < 0 && r != -ETIMEDOUT)
		qemu_devices_resume(qemu->devices);
	return r;
}

static int engine_resume(struct engine *engine, struct fault *fault)
{
	struct qemu_engine *qemu = qemu_of(engine);
	int r = ask_qemu(qemu, "cont", NULL, fault);

	if (r == 0)
		qemu_devices_resume(qemu->devices);
	return r;
}

static int engine_send_ctrl_alt_del(struct engine *engine, struct fault *fault)
{
	struct qemu_engine *qemu = qemu_of(engine);

	if (qemu->params.arch != SQUIB_ARCH_X86_64)
		return fault_set(fault, -ENOTSUP, "the machine has no keyboard");
	return ask_qemu(qemu, "send-key",
			"{\"keys\":[{\"type\":\"qcode\",\"data\":\"ctrl\"},"
			"{\"type\":\"qcode\",\"data\":\"alt\"},"
			"{\"type\":\"qcode\",\"data\":\"delete\"}]}", fault);
}

static int engine_update_drive(struct engine *engine, const struct squib_drive_update *update,
			       int file_fd, struct fault *fault)
{
	/* One by "socket" has nothing to change, and QEMU learns of a new size by itself. */
	if (file_fd < 0 && update->rate_limiter == NULL)
		return 0;
	return device_set_update_drive(qemu_devices_set(qemu_of(engine)->devices), update, file_fd,
				       fault);
}

static int engine_update_network_interface(struct engine *engine,
					   const struct squib_network_interface_update *update,
					   struct fault *fault)
{
	return device_set_update_network_interface(qemu_devices_set(qemu_of(engine)->devices),
						   update, fault);
}

static size_t engine_serial_input(struct engine *engine, const void *data, size_t len)
{
	return port_input(&qemu_of(engine)->port, data, len);
}

static void engine_serial_output_ready(struct engine *engine)
{
	struct qemu_engine *qemu = qemu_of(engine);

	if (qemu->state == STATE_DRAINING)	/* it is slow, not stuck */
		loop_timer_set(&qemu->timer, in_ms(qemu->timeouts.drain_ms));
	port_output_ready(&qemu->port);
}

const struct engine_ops engine_qemu = {
	.name = "qemu",
	.probe = engine_probe,
	.create = engine_create,
	.destroy = engine_destroy,
	.check = engine_check,
	.start = engine_start,
	.pause = engine_pause,
	.resume = engine_resume,
	.send_ctrl_alt_del = engine_send_ctrl_alt_del,
	.update_drive = engine_update_drive,
	.update_network_interface = engine_update_network_interface,
	.serial_input = engine_serial_input,
	.serial_output_ready = engine_serial_output_ready,
};
