/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each case is a child process that takes over its signals and then meets one; what it left behind
 * is looked at afterwards.
 */
#include "cli/signals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

struct fixture {
	char dir[32];
	char log_path[48], metrics_path[48], marks_path[48];
	char log[8192], metrics[16384], marks[64];
};

struct child {
	struct signals_listener listener;
	struct log *log;
	struct metrics *metrics;
	struct loop *loop;
	struct signals *signals;
	int marks_fd;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->dir, "/tmp/test-signals-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	sprintf(fixture->log_path, "%s/log", fixture->dir);
	sprintf(fixture->metrics_path, "%s/metrics", fixture->dir);
	sprintf(fixture->marks_path, "%s/marks", fixture->dir);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->log_path);
	unlink(fixture->metrics_path);
	unlink(fixture->marks_path);
	rmdir(fixture->dir);
	free(fixture);
	return 0;
}

static void mark(struct child *child, const char *text)
{
	(void)!write(child->marks_fd, text, strlen(text));
}

static void ending(struct signals_listener *listener, int signal)
{
	struct child *child = container_of(listener, struct child, listener);
	char text[32];

	snprintf(text, sizeof(text), "ending %d", signal);
	mark(child, text);
}

static void crashing(struct signals_listener *listener)
{
	mark(container_of(listener, struct child, listener), "crashing");
}

static void child_init(struct child *child, struct fixture *fixture)
{
	struct squib_logger log_config = { .log_path = fixture->log_path, .level = SQUIB_LOG_INFO };
	struct squib_metrics metrics_config = { .metrics_path = fixture->metrics_path };

	*child = (struct child){ .listener = { ending, crashing } };
	child->marks_fd = open(fixture->marks_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (log_new("id", &child->log) < 0 || metrics_new(&child->metrics) < 0 ||
	    loop_new(&child->loop) < 0 || log_configure(child->log, &log_config, NULL) < 0 ||
	    metrics_open(child->metrics, &metrics_config, "id", NULL) < 0 ||
	    signals_new(child->loop, child->log, child->metrics, &child->listener,
			&child->signals) < 0)
		_exit(99);
	log_info(child->log, "begin");
}

/* Serves the loop until a signal ends it; half a second is a failure to end. */
static _Noreturn void serve(struct child *child)
{
	for (int i = 0; i < 5; i++)
		loop_run_once(child->loop, 100);
	_exit(98);
}

static void read_into(char *text, size_t size, const char *path)
{
	FILE *file = fopen(path, "re");
	size_t len = file != NULL ? fread(text, 1, size - 1, file) : 0;

	text[len] = '\0';
	if (file != NULL)
		fclose(file);
}

/* Runs @act in a child; its wait status. */
static int run(struct fixture *fixture, void (*act)(struct child *child))
{
	struct child child;
	int status;
	pid_t pid;

	unlink(fixture->log_path);
	unlink(fixture->metrics_path);
	unlink(fixture->marks_path);
	pid = fork();
	if (pid == 0) {
		child_init(&child, fixture);
		act(&child);
		serve(&child);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	read_into(fixture->log, sizeof(fixture->log), fixture->log_path);
	read_into(fixture->metrics, sizeof(fixture->metrics), fixture->metrics_path);
	read_into(fixture->marks, sizeof(fixture->marks), fixture->marks_path);
	return status;
}

static void check_exit(int status, int code)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
		fail_msg("wait status %x, want exit code %d", status, code);
}

static void check_log(struct fixture *fixture, const char *text)
{
	char line[128];

	snprintf(line, sizeof(line), " [id:main] %s\n", text);
	if (strstr(fixture->log, line) == NULL)
		fail_msg("\"%s\" not in the log: %s", text, fixture->log);
}

static void send_term(struct child *child)
{
	(void)child;
	kill(getpid(), SIGTERM);
}

static void send_int(struct child *child)
{
	(void)child;
	kill(getpid(), SIGINT);
}

static void term_and_int_end_by_themselves(void **state)
{
	struct fixture *fixture = *state;
	int status = run(fixture, send_term);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGTERM);
	assert_string_equal(fixture->marks, "ending 15");
	assert_null(strstr(fixture->log, "Shutting down"));
	status = run(fixture, send_int);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGINT);
	assert_string_equal(fixture->marks, "ending 2");
}

static void an_ignored_int_stays_ignored(void **state)
{
	struct fixture *fixture = *state;
	int status;

	signal(SIGINT, SIG_IGN);	/* as a shell does for background jobs */
	status = run(fixture, send_int);
	signal(SIGINT, SIG_DFL);
	check_exit(status, 98);
}

static void as_process_1_term_is_an_exit_code(void **state)
{
	struct fixture *fixture = *state;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct child child;

		if (unshare(CLONE_NEWPID) < 0)
			_exit(77);
		pid = fork();
		if (pid == 0) {
			child_init(&child, fixture);
			send_term(&child);
			serve(&child);
		}
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("skipped: no right to make a PID namespace\n");
		skip();
	}
	check_exit(status, 128 + SIGTERM);
}

static void send_hup(struct child *child)
{
	(void)child;
	kill(getpid(), SIGHUP);
}

static void send_xcpu(struct child *child)
{
	(void)child;
	kill(getpid(), SIGXCPU);
}

static void hup_and_xcpu_have_exit_codes(void **state)
{
	struct fixture *fixture = *state;

	check_exit(run(fixture, send_hup), 156);
	check_log(fixture, "Shutting down VM after intercepting signal 1, code 0.");
	assert_string_equal(fixture->marks, "ending 1");
	assert_non_null(strstr(fixture->metrics, "\"sighup\":1"));

	check_exit(run(fixture, send_xcpu), 154);
	check_log(fixture, "Shutting down VM after intercepting signal 24, code 0.");
	assert_non_null(strstr(fixture->metrics, "\"sigxcpu\":1"));
}

static void exceed_file_size(struct child *child)
{
	struct rlimit limit = { 10, RLIM_INFINITY };
	FILE *file = tmpfile();

	(void)child;
	setrlimit(RLIMIT_FSIZE, &limit);
	(void)!pwrite(fileno(file), "x", 1, 20);
}

static void a_file_too_large_ends_with_its_code(void **state)
{
	struct fixture *fixture = *state;

	check_exit(run(fixture, exceed_file_size), 151);	/* log and metrics are cut off, too */
	assert_string_equal(fixture->marks, "crashing");
}

static void fail_an_assertion(struct child *child)
{
	(void)child;
	abort();
}

static void a_failed_assertion_ends_tidily(void **state)
{
	struct fixture *fixture = *state;
	int status = run(fixture, fail_an_assertion);

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_string_equal(fixture->marks, "crashing");
}

static void send_xfsz(struct child *child)
{
	(void)child;
	raise(SIGXFSZ);
}

static void xfsz_is_told_of(void **state)
{
	struct fixture *fixture = *state;

	check_exit(run(fixture, send_xfsz), 151);
	check_log(fixture, "Shutting down VM after intercepting signal 25, code -6.");
	assert_non_null(strstr(fixture->metrics, "\"sigxfsz\":1"));
}

static void make_forbidden_call(struct child *child)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	(void)child;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(97);
	syscall(SYS_getppid);
}

static void a_forbidden_call_is_named(void **state)
{
	struct fixture *fixture = *state;
	char text[96];

	check_exit(run(fixture, make_forbidden_call), 148);
	check_log(fixture, "Shutting down VM after intercepting signal 31, code 1.");
	snprintf(text, sizeof(text), "Shutting down VM after intercepting a bad syscall (%d).",
		 (int)SYS_getppid);
	check_log(fixture, text);
	assert_non_null(strstr(fixture->metrics, "\"num_faults\":1"));
}

static void send_sys(struct child *child)
{
	(void)child;
	raise(SIGSYS);
}

static void a_sys_that_was_sent_is_unexpected(void **state)
{
	check_exit(run(*state, send_sys), 2);
}

static void read_nowhere(struct child *child)
{
	(void)child;
	*(volatile char *)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void read_past_the_end(struct child *child)
{
	FILE *file = tmpfile();

	(void)child;
	*(volatile char *)mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fileno(file), 0);
}

/* All bits set is no instruction of x86_64 (0xff /7), nor of aarch64. */
static void execute_nothing(struct child *child)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)child;
	memset(page, 0xff, 4096);
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	__builtin___clear_cache((char *)page, (char *)page + 4096);
	((void (*)(void))page)();
}

static volatile int depth;

static int __attribute__((noinline)) recurse(int n)
{
	volatile char page[4096];

	page[0] = (char)n;
	depth = n;
	return n < 0 ? 0 : recurse(n + 1) + page[0];
}

static void run_out_of_stack(struct child *child)
{
	struct rlimit limit = { 1 << 20, RLIM_INFINITY };

	(void)child;
	setrlimit(RLIMIT_STACK, &limit);
	recurse(0);
}

static void *read_nowhere_in_thread(void *data)
{
	pthread_setname_np(pthread_self(), "fc_vcpu 0");
	log_info(((struct child *)data)->log, "x");
	read_nowhere(data);
	return NULL;
}

static void let_a_thread_crash(struct child *child)
{
	pthread_t thread;

	pthread_create(&thread, NULL, read_nowhere_in_thread, child);
	pthread_join(thread, NULL);
}

static void crashes_are_told_of(void **state)
{
	struct fixture *fixture = *state;

	if (SANITIZED)
		skip();		/* the sanitizers tell of them */
	check_exit(run(fixture, read_nowhere), 150);
	check_log(fixture, "Shutting down VM after intercepting signal 11, code 2.");
	assert_string_equal(fixture->marks, "crashing");
	assert_non_null(strstr(fixture->metrics, "\"sigsegv\":1"));
	check_exit(run(fixture, run_out_of_stack), 150);
	check_exit(run(fixture, read_past_the_end), 149);
	check_log(fixture, "Shutting down VM after intercepting signal 7, code 2.");
	assert_non_null(strstr(fixture->metrics, "\"sigbus\":1"));
	check_exit(run(fixture, execute_nothing), 157);
	assert_non_null(strstr(fixture->metrics, "\"sigill\":1"));
	check_exit(run(fixture, let_a_thread_crash), 150);
	assert_non_null(strstr(fixture->log, "[id:fc_vcpu 0] Shutting down VM"));
}

static void break_a_pipe(struct child *child)
{
	int fds[2];

	(void)!pipe(fds);
	close(fds[0]);
	if (write(fds[1], "x", 1) >= 0 || errno != EPIPE)
		_exit(97);
	if (atomic_load(&child->metrics->signals.sigpipe.value) != 1)
		_exit(96);
	_exit(metrics_write(child->metrics) == 1 ? 0 : 95);
}

static void a_broken_pipe_is_only_told_of(void **state)
{
	struct fixture *fixture = *state;

	check_exit(run(fixture, break_a_pipe), 0);
	check_log(fixture, "Received signal 13, code 0.");
	assert_non_null(strstr(fixture->metrics, "\"sigpipe\":1"));
}

/* The log itself is the broken pipe. */
static void lose_standard_output(struct child *child)
{
	struct log *log;
	int fds[2];

	(void)!pipe(fds);
	dup2(fds[1], STDOUT_FILENO);
	close(fds[0]);
	close(fds[1]);
	signals_free(child->signals);
	log_new("id", &log);
	if (signals_new(child->loop, log, child->metrics, &child->listener, &child->signals) < 0)
		_exit(97);
	alarm(5);		/* in case it never ends */
	log_count_losses(log, &child->metrics->logger);
	log_info(log, "x");
	log_info(log, "y");
	if (atomic_load(&child->metrics->signals.sigpipe.value) != 1)
		_exit(96);
	/* two lines, and the handler's own */
	if (atomic_load(&child->metrics->logger.missed_log_count.value) != 3)
		_exit(95);
	_exit(0);
}

static void losing_the_log_is_no_loop(void **state)
{
	check_exit(run(*state, lose_standard_output), 0);
}

static void set_free(struct child *child)
{
	signals_free(child->signals);
	signals_free(NULL);
	raise(SIGHUP);
}

static void freed_signals_act_by_default(void **state)
{
	int status = run(*state, set_free);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGHUP);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(term_and_int_end_by_themselves),
		TEST(an_ignored_int_stays_ignored),
		TEST(as_process_1_term_is_an_exit_code),
		TEST(hup_and_xcpu_have_exit_codes),
		TEST(a_file_too_large_ends_with_its_code),
		TEST(a_failed_assertion_ends_tidily),
		TEST(xfsz_is_told_of),
		TEST(a_forbidden_call_is_named),
		TEST(a_sys_that_was_sent_is_unexpected),
		TEST(crashes_are_told_of),
		TEST(a_broken_pipe_is_only_told_of),
		TEST(losing_the_log_is_no_loop),
		TEST(freed_signals_act_by_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
