/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/loop.h"
#include "engine/kvm/probe.h"
#include "engine/kvm/self_test.h"

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static enum squib_arch host_arch(void)	/* where it is neither, one is as good as the other */
{
	return self_test_guest != NULL ? self_test_guest->arch : SQUIB_ARCH_X86_64;
}

/* Whatever the host is: an answer, in time, with a reason when it is no, and nothing left behind. */
static void the_answer_has_a_reason_and_leaves_nothing(void **state)
{
	CLEANUP(fault_done) struct fault reason = FAULT_INIT;
	int before = open_fds();
	uint64_t start_ns = clock_ns();
	int r = kvm_probe(host_arch(), &reason);

	(void)state;
	print_message("KVM: %s (%.1f ms)\n", r == 0 ? "works" : fault_text(&reason),
		      (double)(clock_ns() - start_ns) / 1e6);
	assert_true(r <= 0);
	assert_true((r == 0) == (fault_text(&reason)[0] == '\0'));
	assert_int_equal(open_fds(), before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);	/* no child is left */
}

static void a_foreign_architecture_is_refused(void **state)
{
	CLEANUP(fault_done) struct fault reason = FAULT_INIT;
	enum squib_arch other = host_arch() == SQUIB_ARCH_X86_64 ? SQUIB_ARCH_AARCH64
								: SQUIB_ARCH_X86_64;

	(void)state;
	assert_int_equal(kvm_probe(other, &reason), -ENOTSUP);
	assert_string_equal(fault_text(&reason),
			    self_test_guest != NULL ?
				    "KVM runs guests of the host's architecture only" :
				    "KVM has no self-test on this host's architecture");
}

/* Faults name them. */
static void every_step_has_a_name(void **state)
{
	(void)state;
	for (uint32_t i = 0; self_test_guest != NULL && i < self_test_guest->step_count; i++)
		assert_true(self_test_guest->steps[i] != NULL && self_test_guest->steps[i][0] != '\0');
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_answer_has_a_reason_and_leaves_nothing),
		cmocka_unit_test(a_foreign_architecture_is_refused),
		cmocka_unit_test(every_step_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
