/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs where: the main thread is the monitor's and runs the loop; "fc_api" serves the socket; a
 * third thread, short-lived, plays the configuration file, because it waits for answers that the
 * monitor gives. It reports back through an eventfd in the loop.
 */
#include "cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <squib/replay.h>
#include <squib/server.h>

#include "api/controller_internal.h"
#include "base/fd.h"
#include "base/file.h"
#include "cli/describe.h"
#include "cli/network.h"
#include "cli/openapi.h"
#include "cli/signals.h"
#include "vmm/vmm.h"

struct program {
	const struct squib_args *args;
	struct log *log;
	struct metrics *metrics;
	struct loop *loop;
	struct signals_listener signals_listener;
	struct signals *signals;
	struct squib_controller *controller;
	struct squib_server *server;	/* NULL with --no-api */
	struct engine_chooser engine_chooser;
	struct network network;
	struct vmm *vmm;

	struct buf config, metadata;	/* the files' contents; no data when not given */
	bool has_config, has_metadata;
	struct loop_source replay_ended; /* eventfd */
	bool replaying;
	pthread_t replay_thread;
	int replay_result;		/* these two: the thread's until it has ended */
	char *replay_fault;
	bool failed;			/* told already, with its reason */
};

/* Log an error, show it on standard error as upstream does, and say goodbye. Returns the code. */
static int end_with_error(struct log *log, int exit_code, const char *error, const char *debug)
{
	log_error(log, "%s", error);
	fprintf(stderr, "Error: %s\n", debug);
	log_error(log, "Firecracker exiting with error. exit_code=%d", exit_code);
	return exit_code;
}

#define DEFAULT_ID "anonymous-instance"

int program_print(const char *output)
{
	CLEANUP(log_free) struct log *log = NULL;

	fputs(output, stdout);
	if (fflush(stdout) != 0 || log_new(DEFAULT_ID, &log) < 0)
		return EXIT_CODE_ERROR;
	log_info(log, "Firecracker exiting successfully. exit_code=0");
	return EXIT_CODE_OK;
}

int program_describe_snapshot(const char *path)
{
	CLEANUP(buf_done) struct buf output = BUF_INIT;
	CLEANUP(buf_done) struct buf debug = BUF_INIT;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(log_free) struct log *log = NULL;

	if (describe_snapshot(path, &output, &fault, &debug) == 0)
		return program_print(buf_str(&output));
	if (log_new(DEFAULT_ID, &log) < 0)
		return EXIT_CODE_UNEXPECTED;
	return end_with_error(log, EXIT_CODE_ERROR, fault_text(&fault), buf_str(&debug));
}

int program_fail(const struct args_result *result)
{
	CLEANUP(log_free) struct log *log = NULL;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	if (log_new(result->logger_first ? result->args.id : DEFAULT_ID, &log) < 0)
		return EXIT_CODE_UNEXPECTED;
	if (result->logger_first)
		(void)log_configure(log, &result->args.logger, &fault);
	return end_with_error(log, result->exit_code, result->error, result->debug);
}

static void log_line(void *log_data, enum squib_log_level level, const char *file, int line,
		     const char *message)
{
	struct log *log = log_data;

	log_write(log, level, file, line, "%s", message);
}

static bool log_wants(void *log_data, enum squib_log_level level)
{
	return log_level_is_on(log_data, level);
}

/* ---- what comes before anything can be asked ---- */

static int open_log(struct program *program)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(fault_done) struct fault debug = FAULT_INIT;
	int r = metrics_new(&program->metrics);

	if (r == 0)
		r = log_new(program->args->id, &program->log);
	if (r < 0)
		return EXIT_CODE_UNEXPECTED;
	program->metrics->has_rtc = program->args->arch == SQUIB_ARCH_AARCH64;
	log_count_losses(program->log, &program->metrics->logger);
	r = log_configure(program->log, &program->args->logger, &fault);
	if (r == 0)
		return 0;
	fault_set(&debug, r, "LoggerInitialization(\"%s\")", fault_text(&fault));
	fault_prefix(&fault, "Could not initialize logger: ");
	return end_with_error(program->log, EXIT_CODE_ERROR, fault_text(&fault),
			      fault_text(&debug));
}

static int open_metrics(struct program *program)
{
	struct squib_metrics config = { .metrics_path = program->args->metrics_path };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(fault_done) struct fault debug = FAULT_INIT;
	int r;

	if (config.metrics_path == NULL)
		return 0;
	r = metrics_open(program->metrics, &config, program->args->id, &fault);
	if (r == 0)
		return 0;
	fault_set(&debug, r, "MetricsInitialization(\"%s\")", fault_text(&fault));
	fault_prefix(&fault, "Could not initialize metrics: ");
	return end_with_error(program->log, EXIT_CODE_ERROR, fault_text(&fault),
			      fault_text(&debug));
}

/* Where upstream panics, the message is the same and the code 1. */
static int read_inputs(struct program *program)
{
	static const char config_fault[] = "Unable to open or read from the configuration file";
	static const char metadata_fault[] = "Unable to open or read from the mmds content file";
	const struct squib_args *args = program->args;

	program->has_config = args->config_file != NULL;
	if (program->has_config && file_read(args->config_file, &program->config) < 0)
		return end_with_error(program->log, EXIT_CODE_ERROR, config_fault, config_fault);
	if (network_decide(args, program->config.data, program->config.len, &program->network) < 0)
		return EXIT_CODE_UNEXPECTED;
	if (program->network.warning != NULL)
		log_warn(program->log, "%s", program->network.warning);
	program->has_metadata = args->metadata != NULL;
	if (program->has_metadata && file_read(args->metadata, &program->metadata) < 0)
		return end_with_error(program->log, EXIT_CODE_ERROR, metadata_fault,
				      metadata_fault);
	return 0;
}

/* Filters of one's own would have to be in upstream's binary form, which is not read yet. */
static int check_seccomp_filter(struct program *program)
{
	const char *path = program->args->seccomp_filter;
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	char error[OS_ERROR_MAX];
	CLEANUP(fd_close) int fd = -1;

	if (path == NULL)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fault_set(&fault, -errno, "Seccomp error: Filter file open error: %s",
			  os_error(errno, error));
	else
		fault_set(&fault, -ENOTSUP, "Seccomp error: Filter deserialization failed: filters "
			  "of one's own are not supported by this version of squib");
	return end_with_error(program->log, EXIT_CODE_ERROR, fault_text(&fault),
			      "SeccompFilter(Filter)");
}

static uint64_t clock_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void store_startup_times(struct program *program)
{
	const struct squib_args *args = program->args;
	struct metrics *metrics = program->metrics;

	if (args->start_time_us.given)
		metrics_store(&metrics->api_server.process_startup_time_us,
			      clock_us(CLOCK_MONOTONIC) - args->start_time_us.value);
	if (args->start_time_cpu_us.given)
		metrics_store(&metrics->api_server.process_startup_time_cpu_us,
			      clock_us(CLOCK_PROCESS_CPUTIME_ID) - args->start_time_cpu_us.value +
			      args->parent_cpu_time_us.value);
}

/* ---- the engine ---- */

static void warn(struct program *program, const char *text)
{
	log_warn(program->log, "%s", text);
	fprintf(stderr, "squib: %s\n", text);
}

/* SQUIB_ENGINE stands in for --engine where a client makes up the command line. */
static enum args_engine wanted_engine(struct program *program)
{
	const char *name = getenv("SQUIB_ENGINE");

	if (program->args->engine != ARGS_ENGINE_AUTO || name == NULL)
		return program->args->engine;
	if (strcmp(name, "mock") == 0)
		return ARGS_ENGINE_MOCK;
	if (strcmp(name, "qemu") == 0)
		return ARGS_ENGINE_QEMU;
	if (strcmp(name, "kvm") == 0)
		return ARGS_ENGINE_KVM;
	return ARGS_ENGINE_AUTO;
}

static const struct engine_ops *take_engine(struct program *program, const struct engine_ops *ops)
{
	CLEANUP(fault_done) struct fault text = FAULT_INIT;

	log_info(program->log, "Engine: %s", ops->name);
	if (program->args->enable_pci && !ops->pci) {
		fault_set(&text, -ENOTSUP, "the %s engine has no PCI: --enable-pci has no effect",
			  ops->name);
		warn(program, fault_text(&text));
	}
	return ops;
}

/* QEMU may be installed by the time it is wanted, so it is taken in any case. */
static const struct engine_ops *take_qemu(struct program *program)
{
	CLEANUP(fault_done) struct fault reason = FAULT_INIT;
	CLEANUP(fault_done) struct fault text = FAULT_INIT;

	if (engine_qemu.probe(program->args->arch, &reason) < 0) {
		fault_set(&text, -ENOTSUP, "the qemu engine cannot run guests here: %s",
			  fault_text(&reason));
		warn(program, fault_text(&text));
	}
	return take_engine(program, &engine_qemu);
}

static const struct engine_ops *take_kvm(struct program *program, struct fault *fault)
{
	if (engine_kvm.probe(program->args->arch, fault) == 0)
		return take_engine(program, &engine_kvm);
	fault_prefix(fault, "Kvm error: ");
	warn(program, "without a KVM that works, guests run by --engine qemu");
	return NULL;
}

/* Never a slow way in silence. */
static const struct engine_ops *take_best(struct program *program)
{
	CLEANUP(fault_done) struct fault reason = FAULT_INIT;
	CLEANUP(fault_done) struct fault text = FAULT_INIT;

	if (engine_kvm.probe(program->args->arch, &reason) == 0)
		return take_engine(program, &engine_kvm);
	fault_set(&text, -ENOTSUP, "KVM cannot be used: %s; guests run by the qemu engine",
		  fault_text(&reason));
	warn(program, fault_text(&text));
	return take_qemu(program);
}

static const struct engine_ops *choose_engine(struct engine_chooser *chooser, struct fault *fault)
{
	struct program *program = container_of(chooser, struct program, engine_chooser);

	switch (wanted_engine(program)) {
	case ARGS_ENGINE_MOCK:
		return take_engine(program, &engine_mock);
	case ARGS_ENGINE_QEMU:
		return take_qemu(program);
	case ARGS_ENGINE_KVM:
		return take_kvm(program, fault);
	default:
		return take_best(program);
	}
}

/* ---- the configuration file ---- */

/*
 * Clients can connect since the socket was bound; they are served once the configuration file is
 * through, and see what came of it.
 */
static void start_server(struct program *program)
{
	int r;

	if (program->server == NULL)
		return;
	store_startup_times(program);
	r = squib_server_start(program->server);
	if (r == 0)
		return;
	program->failed = true;
	end_with_error(program->log, EXIT_CODE_ERROR, os_error_words(-r), "Internal");
	vmm_stop(program->vmm, EXIT_CODE_ERROR);
}

static void *replay(void *arg)
{
	struct program *program = arg;
	const struct buf *config = &program->config, *metadata = &program->metadata;
	const char *text = config->data != NULL ? config->data : "";
	const char *metadata_text = metadata->data != NULL ? metadata->data : "";

	prctl(PR_SET_NAME, "main");	/* upstream's main thread does this, and logs so */
	program->replay_result =
		squib_controller_replay(program->controller, program->has_config ? text : NULL,
					config->len, program->has_metadata ? metadata_text : NULL,
					metadata->len, &program->replay_fault);
	eventfd_write(program->replay_ended.fd, 1);
	return NULL;
}

static void report_replay_fault(struct program *program)
{
	const char *fault = program->replay_fault != NULL ? program->replay_fault : "Out of memory";
	const char *run = program->args->no_api ? "RunWithoutApi" : "RunWithApi";
	CLEANUP(fault_done) struct fault error = FAULT_INIT;
	CLEANUP(fault_done) struct fault debug = FAULT_INIT;

	if (program->replay_result == -EBADMSG) {
		end_with_error(program->log, EXIT_CODE_ERROR, fault, fault);
		return;
	}
	if (program->has_config)
		fault_set(&error, -EINVAL, "%sError error: Failed to build MicroVM from Json: %s",
			  run, fault);
	else	/* sic: the fault ends with a dot, and two follow */
		fault_set(&error, -EINVAL, "%sError error: Failed to build MicroVM: Populating MMDS "
			  "from file failed: %s..", run, fault);
	fault_set(&debug, -EINVAL, "%s(BuildMicroVm(\"%s\"))", run, fault);
	end_with_error(program->log, EXIT_CODE_ERROR, fault_text(&error), fault_text(&debug));
}

static void replay_ended(struct loop_source *source, uint32_t events)
{
	struct program *program = container_of(source, struct program, replay_ended);

	(void)events;
	pthread_join(program->replay_thread, NULL);
	program->replaying = false;
	loop_remove(program->loop, source);
	if (program->replay_result == 0) {
		start_server(program);
		return;
	}
	program->failed = true;
	report_replay_fault(program);
	vmm_stop(program->vmm, EXIT_CODE_ERROR);
}

static int start_replay(struct program *program)
{
	int r;

	if (!program->has_config && !program->has_metadata)
		return 0;
	program->replay_ended = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						      .events = EPOLLIN, .ready = replay_ended };
	if (program->replay_ended.fd < 0)
		return -errno;
	r = loop_add(program->loop, &program->replay_ended);
	if (r < 0)
		return r;
	r = -pthread_create(&program->replay_thread, NULL, replay, program);
	program->replaying = r == 0;
	return r;
}

/* ---- the API ---- */

/* libsquib takes 0 as "the default". */
static uint64_t limit_of(uint64_t bytes)
{
	return bytes != 0 ? bytes : SQUIB_NO_BYTES;
}

static int make_controller(struct program *program)
{
	const struct squib_args *args = program->args;
	bool x86_64 = args->arch == SQUIB_ARCH_X86_64;
	struct squib_controller_options options = SQUIB_CONTROLLER_OPTIONS_INIT;
	int r;

	options.instance_id = args->id;
	options.firecracker_version = SQUIB_FIRECRACKER_VERSION;
	options.vmm_version = SQUIB_FIRECRACKER_VERSION " (squib " SQUIB_VERSION ")";
	options.arch = args->arch;
	options.smt = x86_64 ? SQUIB_SMT_ALLOWED : SQUIB_SMT_AARCH64;
	options.ctrl_alt_del = x86_64;
	options.pci = args->enable_pci;
	options.limits.mmds_bytes = limit_of(args->mmds_size_limit);
	options.log = log_line;
	options.log_enabled = log_wants;
	options.log_data = program->log;
	r = squib_controller_new(&options, &program->controller);
	if (r == 0)
		controller_use_metrics(program->controller, program->metrics);
	return r;
}

static int report_bind_error(struct program *program, int r)
{
	const char *path = program->args->api_sock;
	CLEANUP(fault_done) struct fault error = FAULT_INIT;
	CLEANUP(fault_done) struct fault debug = FAULT_INIT;
	char os[OS_ERROR_MAX];
	int code;

	if (r == -EADDRINUSE) {
		fault_set(&error, r, "RunWithApiError error: Failed to open the API socket at: %s. "
			  "Check that it is not already used.", path);
		fault_set(&debug, r, "RunWithApi(FailedToBindSocket(\"%s\"))", path);
	} else {
		fault_set(&error, r, "RunWithApiError error: Failed to bind and run the HTTP "
			  "server: IO error: %s", os_error(r, os));
		fault_set(&debug, r, "RunWithApi(FailedToBindAndRunHttpServer(IOError(Os { code: "
			  "%d, message: \"%s\" })))", -r, os_error_words(-r));
	}
	code = end_with_error(program->log, EXIT_CODE_ERROR, fault_text(&error),
			      fault_text(&debug));
	if (r == -EADDRINUSE)
		fprintf(stderr, "squib: %s exists; remove it if no other instance uses it, or start "
			"with --force-api-sock to replace a socket nobody answers on\n", path);
	return code;
}

static int make_server(struct program *program)
{
	const struct squib_args *args = program->args;
	struct squib_server_options options = SQUIB_SERVER_OPTIONS_INIT;
	int r;

	if (args->no_api)
		return 0;
	options.socket_path = args->api_sock;
	options.existing_socket = args->force_api_sock ? SQUIB_SOCKET_REPLACE_STALE
						       : SQUIB_SOCKET_FAIL;
	options.max_body_bytes = limit_of(args->http_api_max_payload_size);
	options.openapi = args->openapi ? openapi_json : NULL;
	r = squib_server_new(program->controller, &options, &program->server);
	if (r < 0)
		return report_bind_error(program, r);
	log_info(program->log, "Listening on API socket (\"%s\").", args->api_sock);
	return 0;
}

/* ---- signals ---- */

static void ending(struct signals_listener *listener, int signal)
{
	struct program *program = container_of(listener, struct program, signals_listener);
	struct vmm *vmm = program->vmm;

	(void)signal;
	program->vmm = NULL;	/* first: crashing() looks at it */
	vmm_free(vmm);		/* stops the engine, restores the terminal */
}

static void crashing(struct signals_listener *listener)
{
	struct program *program = container_of(listener, struct program, signals_listener);

	vmm_restore_terminal(program->vmm);	/* a helper process dies with us */
}

/* ---- all together ---- */

/* Guests that the mock engine does not run need nothing of the host, nor the right to it. */
static enum vmm_network wanted_network(struct program *program)
{
	if (wanted_engine(program) == ARGS_ENGINE_MOCK)
		return VMM_NETWORK_NONE;
	return program->network.kind;
}

static int make_vmm(struct program *program)
{
	const struct squib_args *args = program->args;
	struct vmm_params params = {
		.controller = program->controller,
		.engine_chooser = &program->engine_chooser,
		.loop = program->loop,
		.log = program->log,
		.metrics = program->metrics,
		.arch = args->arch,
		.instance_id = args->id,
		.boot_timer = args->boot_timer,
		.network = wanted_network(program),
		.ports = program->network.ports,
		.port_count = program->network.port_count,
		.pci = args->enable_pci,
		.console_in = STDIN_FILENO,
		.console_out = STDOUT_FILENO,
		.ending_fd = signals_fd(program->signals),
	};

	return vmm_new(&params, &program->vmm);
}

static int make_parts(struct program *program)
{
	int r = loop_new(&program->loop);

	program->signals_listener = (struct signals_listener){ .ending = ending,
							       .crashing = crashing };
	if (r == 0)	/* before there are threads */
		r = signals_new(program->loop, program->log, program->metrics,
				&program->signals_listener, &program->signals);
	if (r == 0)
		r = make_controller(program);
	if (r == 0)
		r = make_vmm(program);
	if (r == 0)
		return make_server(program);
	return end_with_error(program->log, EXIT_CODE_ERROR, os_error_words(-r), "Internal");
}

/* The machine ended badly; why is in the log already. */
static void report_stop(struct program *program, int code)
{
	bool api = !program->args->no_api;

	end_with_error(program->log, code, api ?
		       "RunWithApiError error: MicroVMStopped with an error: GenericError" :
		       "RunWithoutApiError error: MicroVMStopped without an error: GenericError",
		       api ? "RunWithApi(MicroVMStoppedWithError(GenericError))" :
		       "RunWithoutApiError(Shutdown(GenericError))");
}

static int serve(struct program *program)
{
	int code, r = start_replay(program);

	if (r < 0)
		return end_with_error(program->log, EXIT_CODE_ERROR, os_error_words(-r),
				      "Internal");
	if (!program->replaying)
		start_server(program);
	code = vmm_run(program->vmm);
	if (code != 0 && !program->failed)
		report_stop(program, code);
	return code;
}

static int prepare(struct program *program)
{
	int code = open_log(program);

	if (code != 0)
		return code;
	log_info(program->log, "Running Firecracker v%s", SQUIB_FIRECRACKER_VERSION);
	for (size_t i = 0; i < program->args->warning_count; i++)
		log_warn(program->log, "%s", program->args->warnings[i]);
	code = open_metrics(program);
	if (code == 0)
		code = check_seccomp_filter(program);
	if (code == 0)
		code = read_inputs(program);
	return code;
}

static void program_done(struct program *program)
{
	if (program->controller != NULL)
		squib_controller_close(program->controller);	/* a replay ends with it */
	if (program->replaying)
		pthread_join(program->replay_thread, NULL);
	fd_close(program->replay_ended.fd);
	vmm_free(program->vmm);
	network_done(&program->network);
	squib_server_free(program->server);
	squib_controller_free(program->controller);
	signals_free(program->signals);
	loop_free(program->loop);
	buf_done(&program->config);
	buf_done(&program->metadata);
	free(program->replay_fault);
	log_free(program->log);
	metrics_free(program->metrics);
}

int program_run(const struct squib_args *args)
{
	struct program program = { .args = args, .replay_ended = { .fd = -1 },
				   .engine_chooser = { .choose = choose_engine } };
	int code = prepare(&program);

	if (code == 0)
		code = make_parts(&program);
	if (code == 0)
		code = serve(&program);
	if (code == 0)
		log_info(program.log, "Firecracker exiting successfully. exit_code=0");
	program_done(&program);
	return code;
}
