/* SPDX-License-Identifier: Apache-2.0 */
/*
 * We have threads, so between fork() and exec() only async-signal-safe functions run, and the child
 * reports a failure as an errno through a pipe that a successful exec closes.
 *
 * PR_SET_PDEATHSIG acts when the thread that forked ends. If that happened before the prctl(), the
 * signal would never come; the child then has another parent, and gives up.
 */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/close_range.h>

#include "base/fd.h"

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static char *find_in(const char *directories, const char *name)
{
	while (*directories != '\0') {
		size_t len = strcspn(directories, ":");
		struct buf path = BUF_INIT;

		buf_add(&path, directories, len);
		buf_adds(&path, len > 0 ? "/" : "./");	/* an empty entry is the working directory */
		buf_adds(&path, name);
		if (buf_str(&path) != NULL && is_program(path.data))
			return buf_take(&path);
		buf_done(&path);
		directories += len;
		if (*directories == ':')
			directories++;
	}
	return NULL;
}

char *process_find(const char *name)
{
	const char *path = getenv("PATH");

	if (strchr(name, '/') != NULL)
		return is_program(name) ? strdup(name) : NULL;
	return find_in(path != NULL ? path : "/usr/local/bin:/usr/bin:/bin", name);
}

/* In the child */

struct child {
	char *const *argv;
	const int *fds;
	size_t fd_count;
	int null_fd;
	int error_fd;
	int report_fd;
	pid_t parent;
};

static void reset_signals(void)
{
	struct sigaction by_default = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int signal = 1; signal < NSIG; signal++)
		sigaction(signal, &by_default, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Everything is close-on-exec by our own rule; but we may have inherited descriptors that are not,
 * and they are none of the program's business. Kernels before 5.11 lack the call: then the rule must do.
 */
static int pass_fds(const struct child *child)
{
	syscall(SYS_close_range, 3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < child->fd_count; i++)
		if (child->fds[i] >= 0 && fcntl(child->fds[i], F_SETFD, 0) < 0)
			return -errno;
	if (dup2(child->null_fd, 0) < 0 || dup2(child->error_fd, 1) < 0 ||
	    dup2(child->error_fd, 2) < 0)
		return -errno;
	return 0;
}

_Noreturn static void run_child(const struct child *child)
{
	int r;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != child->parent)
		_exit(127);
	setpgid(0, 0);
	reset_signals();
	r = pass_fds(child);
	if (r == 0) {
		execv(child->argv[0], child->argv);
		r = -errno;
	}
	while (write(child->report_fd, &r, sizeof(r)) < 0 && errno == EINTR)
		;
	_exit(127);
}

/* In the parent */

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Blocks until the child has executed the program or failed to. */
static int read_report(int fd)
{
	int error = 0;
	ssize_t n;

	do {
		n = read(fd, &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	return n == sizeof(error) ? error : 0;
}

int process_spawn(char *const argv[], const int *fds, size_t fd_count, int error_fd,
		  struct process *ret_process)
{
	CLEANUP(fd_close) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	CLEANUP(fd_close) int report_in = -1;
	CLEANUP(fd_close) int report_out = -1;
	int report[2], pidfd, r;
	pid_t pid;

	for (size_t i = 0; i < fd_count; i++)
		if (fds[i] >= 0 && fds[i] <= STDERR_FILENO)
			return -EBADF;
	if (null_fd < 0 || pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	report_in = report[0];
	report_out = report[1];
	struct child child = { .argv = argv, .fds = fds, .fd_count = fd_count, .null_fd = null_fd,
			       .error_fd = error_fd, .report_fd = report_out, .parent = getpid() };
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(&child);
	setpgid(pid, pid);	/* here too, so that it holds when we return */
	fd_close(fd_take(&report_out));
	r = read_report(report_in);
	if (r < 0) {
		wait_for(pid);
		return r;
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);	/* close-on-exec by itself */
	if (pidfd < 0) {
		r = -errno;
		kill(pid, SIGKILL);
		wait_for(pid);
		return r;
	}
	*ret_process = (struct process){ .pid = pid, .pidfd = pidfd };
	return 0;
}

void process_reap(struct process *process, int *ret_status)
{
	siginfo_t info = { 0 };
	int r;

	/* While it is not waited for, its number, which is the group's, belongs to nobody else. */
	kill(-process->pid, SIGKILL);
	do {
		r = waitid(P_PID, (id_t)process->pid, &info, WEXITED);
	} while (r < 0 && errno == EINTR);
	/* Someone else's SIGCHLD handling may have reaped it: then nothing is known. */
	*ret_status = r < 0 ? -SIGKILL : info.si_code == CLD_EXITED ? info.si_status :
								      -info.si_status;
	fd_close(fd_take(&process->pidfd));
	process->pid = 0;
}

void process_kill(struct process *process)
{
	int status;

	if (process->pid == 0)
		return;
	kill(process->pid, SIGKILL);
	process_reap(process, &status);
}
