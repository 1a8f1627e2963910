/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "cli/args.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define ALT_STACK_BYTES 65536	/* a handler formats a log line and writes the metrics */

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

struct signals {
	struct loop *loop;
	struct log *log;
	struct metrics *metrics;
	struct signals_listener *listener;
	struct loop_source source;
	sigset_t mask_before;
	stack_t stack_before;
	void *stack;
};

/* A handler is given nothing but the signal's number; this is where it finds the rest. */
static struct signals *_Atomic handlers_signals;

/*
 * Texts without stdio, which handlers must not use
 */

struct text {
	char data[128];
	size_t len;
};

static void text_add(struct text *text, const char *s)
{
	size_t len = strlen(s);

	if (len > sizeof(text->data) - 1 - text->len)
		len = sizeof(text->data) - 1 - text->len;
	memcpy(text->data + text->len, s, len);
	text->len += len;
	text->data[text->len] = '\0';
}

static void text_addi(struct text *text, int n)
{
	char digits[12] = "";
	size_t at = sizeof(digits) - 1;
	unsigned int rest = n < 0 ? 0U - (unsigned int)n : (unsigned int)n;

	do
		digits[--at] = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (n < 0)
		digits[--at] = '-';
	text_add(text, digits + at);
}

static struct text text_of_signal(const char *before, int signal, int code)
{
	struct text text = { .len = 0 };

	text_add(&text, before);
	text_addi(&text, signal);
	text_add(&text, ", code ");
	text_addi(&text, code);
	text_add(&text, ".");
	return text;
}

/*
 * Ends
 */

static void count_end(struct metrics *metrics, int signal)
{
	if (metrics == NULL)
		return;
	switch (signal) {
	case SIGBUS:
		metrics_store(&metrics->signals.sigbus, 1);
		break;
	case SIGSEGV:
		metrics_store(&metrics->signals.sigsegv, 1);
		break;
	case SIGXFSZ:
		metrics_store(&metrics->signals.sigxfsz, 1);
		break;
	case SIGXCPU:
		metrics_store(&metrics->signals.sigxcpu, 1);
		break;
	case SIGHUP:
		metrics_store(&metrics->signals.sighup, 1);
		break;
	case SIGILL:
		metrics_store(&metrics->signals.sigill, 1);
		break;
	case SIGSYS:
		metrics_store(&metrics->seccomp.num_faults, 1);
		break;
	}
}

static int exit_code_of(int signal)
{
	switch (signal) {
	case SIGBUS:
		return EXIT_CODE_SIGBUS;
	case SIGSEGV:
		return EXIT_CODE_SIGSEGV;
	case SIGXFSZ:
		return EXIT_CODE_SIGXFSZ;
	case SIGXCPU:
		return EXIT_CODE_SIGXCPU;
	case SIGHUP:
		return EXIT_CODE_SIGHUP;
	case SIGILL:
		return EXIT_CODE_SIGILL;
	case SIGSYS:
		return EXIT_CODE_SIGSYS;
	}
	return EXIT_CODE_UNEXPECTED;
}

static void log_from_handler(struct signals *signals, const struct text *text)
{
	log_write_from_signal(signals->log, SQUIB_LOG_ERROR, __FILE__, __LINE__, text->data);
}

/* The line is not the same for each signal: upstream adds one for a forbidden system call. */
static void log_end(struct signals *signals, int signal, int code, int syscall)
{
	struct text text = text_of_signal("Shutting down VM after intercepting signal ", signal,
					  code);

	log_from_handler(signals, &text);
	if (signal != SIGSYS || code != SYS_SECCOMP)
		return;
	text = (struct text){ .len = 0 };
	text_add(&text, "Shutting down VM after intercepting a bad syscall (");
	text_addi(&text, syscall);
	text_add(&text, ").");
	log_from_handler(signals, &text);
}

/* In handlers, too. */
static _Noreturn void end_with_code(struct signals *signals, int exit_code)
{
	static const struct text failed = { .data = "Failed to write metrics while stopping." };

	if (signals->metrics != NULL && metrics_write_from_signal(signals->metrics) < 0)
		log_from_handler(signals, &failed);
	_exit(exit_code);
}

static void handle_crash(int signal, siginfo_t *info, void *context)
{
	struct signals *signals = handlers_signals;
	int exit_code = exit_code_of(signal);

	(void)context;
	if (signals == NULL)
		_exit(exit_code);
	count_end(signals->metrics, signal);
	log_end(signals, signal, info->si_code, signal == SIGSYS ? info->si_syscall : 0);
	if (signals->listener->crashing != NULL)
		signals->listener->crashing(signals->listener);
	if (signal == SIGSYS && info->si_code != SYS_SECCOMP)
		exit_code = EXIT_CODE_UNEXPECTED;	/* someone sent it */
	end_with_code(signals, exit_code);
}

/*
 * Standard output may be what broke, and the log with it: then telling raises the signal anew, and
 * again with each telling. It is blocked while we are here, so that one can be taken away.
 */
static void handle_sigpipe(int signal, siginfo_t *info, void *context)
{
	struct signals *signals = handlers_signals;
	int saved = errno;
	struct text text = text_of_signal("Received signal ", signal, info->si_code);
	sigset_t set;

	(void)context;
	if (signals != NULL) {
		if (signals->metrics != NULL)
			metrics_inc(&signals->metrics->signals.sigpipe);
		log_from_handler(signals, &text);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigtimedwait(&set, NULL, &(struct timespec){ 0 });
	errno = saved;
}

/* Die of @signal, so that who waits for us sees it. The kernel spares process 1. */
static _Noreturn void end_by_signal(int signal)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signal);
	sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(signal);
	_exit(128 + signal);
}

/* A failed assertion, for one. The process dies of it as it would have, but tidily. */
static void handle_bug(int signal, siginfo_t *info, void *context)
{
	struct signals *signals = handlers_signals;

	(void)info;
	(void)context;
	if (signals != NULL && signals->listener->crashing != NULL)
		signals->listener->crashing(signals->listener);
	end_by_signal(signal);
}

static _Noreturn void end(struct signals *signals, const struct signalfd_siginfo *info)
{
	int signal = (int)info->ssi_signo;
	bool plain = signal == SIGTERM || signal == SIGINT;

	count_end(signals->metrics, signal);
	if (!plain)
		log_end(signals, signal, info->ssi_code, 0);
	if (signals->listener->ending != NULL)
		signals->listener->ending(signals->listener, signal);
	if (plain)
		end_by_signal(signal);
	end_with_code(signals, exit_code_of(signal));
}

static void signals_ready(struct loop_source *source, uint32_t events)
{
	struct signals *signals = container_of(source, struct signals, source);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) == sizeof(info))
		end(signals, &info);
}

/*
 * Life
 */

static const int crash_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGSYS, SIGXFSZ };
static const int bug_signals[] = { SIGABRT, SIGFPE, SIGTRAP };
static const int loop_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGXCPU };

static bool left_to_sanitizers(int signal)
{
	return SANITIZED && (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
			     signal == SIGFPE);
}

/* A blocked signal is kept even when it is ignored, and would come out of the descriptor. */
static bool is_to_be_ignored(int signal)
{
	struct sigaction action;

	return (signal == SIGTERM || signal == SIGINT) && sigaction(signal, NULL, &action) == 0 &&
	       action.sa_handler == SIG_IGN;
}

static void install(int signal, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK,
	};

	sigfillset(&action.sa_mask);
	sigaction(signal, &action, NULL);
}

static void install_handlers(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++)
		if (!left_to_sanitizers(crash_signals[i]))
			install(crash_signals[i], handle_crash);
	for (size_t i = 0; i < ARRAY_SIZE(bug_signals); i++)
		if (!left_to_sanitizers(bug_signals[i]))
			install(bug_signals[i], handle_bug);
	install(SIGPIPE, handle_sigpipe);
}

/* Without it, a thread that ran out of stack could not run the handler that tells so. */
static int make_stack(struct signals *signals)
{
	stack_t stack = { .ss_size = ALT_STACK_BYTES };

	if (SANITIZED)		/* they have their own */
		return 0;
	signals->stack = malloc(ALT_STACK_BYTES);
	if (signals->stack == NULL)
		return -ENOMEM;
	stack.ss_sp = signals->stack;
	return sigaltstack(&stack, &signals->stack_before) < 0 ? -errno : 0;
}

static int make_source(struct signals *signals)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(loop_signals); i++)
		if (!is_to_be_ignored(loop_signals[i]))
			sigaddset(&set, loop_signals[i]);
	signals->source.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals->source.fd < 0)
		return -errno;
	signals->source.events = EPOLLIN;
	signals->source.ready = signals_ready;
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return loop_add(signals->loop, &signals->source);
}

int signals_new(struct loop *loop, struct log *log, struct metrics *metrics,
		struct signals_listener *listener, struct signals **ret_signals)
{
	struct signals *signals = calloc(1, sizeof(*signals));
	int r;

	if (signals == NULL)
		return -ENOMEM;
	signals->loop = loop;
	signals->log = log;
	signals->metrics = metrics;
	signals->listener = listener;
	signals->source.fd = -1;
	pthread_sigmask(SIG_SETMASK, NULL, &signals->mask_before);
	r = make_stack(signals);
	if (r == 0)
		r = make_source(signals);
	if (r < 0) {
		signals_free(signals);
		return r;
	}
	handlers_signals = signals;
	install_handlers();
	*ret_signals = signals;
	return 0;
}

int signals_fd(const struct signals *signals)
{
	return signals->source.fd;
}

static void remove_handlers(void)
{
	struct sigaction action = { .sa_handler = SIG_DFL };

	for (size_t i = 0; i < ARRAY_SIZE(crash_signals); i++)
		if (!left_to_sanitizers(crash_signals[i]))
			sigaction(crash_signals[i], &action, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(bug_signals); i++)
		if (!left_to_sanitizers(bug_signals[i]))
			sigaction(bug_signals[i], &action, NULL);
	sigaction(SIGPIPE, &action, NULL);
}

void signals_free(struct signals *signals)
{
	if (signals == NULL)
		return;
	if (handlers_signals == signals) {
		remove_handlers();
		handlers_signals = NULL;
	}
	if (signals->source.fd >= 0) {
		loop_remove(signals->loop, &signals->source);
		fd_close(signals->source.fd);
		pthread_sigmask(SIG_SETMASK, &signals->mask_before, NULL);
	}
	if (signals->stack != NULL) {
		sigaltstack(&signals->stack_before, NULL);
		free(signals->stack);
	}
	free(signals);
}
