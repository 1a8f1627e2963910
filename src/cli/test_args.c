/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/args_table.h"
#include "cli/describe.h"

static const struct args_program program = {
	.firecracker_version = "1.16.0",
	.squib_version = "0.1.0",
	.engines = "kvm, qemu, mock",
	.host_arch = SQUIB_ARCH_X86_64,
};

/* The lists live as long as the block around the call: results point into them. */
#define LIST(...) ((char *[]){ ARG("squib"), __VA_ARGS__ })
#define PARSE(result, ...) \
	args_parse((int)ARRAY_SIZE(LIST(__VA_ARGS__)), LIST(__VA_ARGS__), &program, &(result))
#define ARG(s) ((char *)(s))

static void defaults_are_upstreams(void **state)
{
	CLEANUP(args_result_done) struct args_result result;
	char *argv[] = { ARG("squib"), NULL };

	(void)state;
	args_parse(1, argv, &program, &result);
	assert_int_equal(result.outcome, ARGS_RUN);
	assert_string_equal(result.args.api_sock, "/run/firecracker.socket");
	assert_string_equal(result.args.id, "anonymous-instance");
	assert_int_equal(result.args.http_api_max_payload_size, 51200);
	assert_int_equal(result.args.mmds_size_limit, 51200);
	assert_int_equal(result.args.logger.level, SQUIB_LOG_INFO);
	assert_null(result.args.logger.log_path);
	assert_null(result.args.logger.show_level);
	assert_null(result.args.logger.module);
	assert_null(result.args.metrics_path);
	assert_int_equal(result.args.engine, ARGS_ENGINE_AUTO);
	assert_int_equal(result.args.network, ARGS_NETWORK_TAP);
	assert_false(result.args.network_given);
	assert_int_equal(result.args.arch, SQUIB_ARCH_X86_64);
	assert_false(result.args.arch_given);
	assert_false(result.args.no_api || result.args.no_seccomp || result.args.enable_pci);
	assert_int_equal(result.args.extra_count, 0);
	args_result_done(&result);
	args_parse(0, argv + 1, &program, &result);	/* no name either */
	assert_int_equal(result.outcome, ARGS_RUN);
}

static void every_flag_is_read(void **state)
{
	CLEANUP(args_result_done) struct args_result result;

	(void)state;
	PARSE(result, ARG("--api-sock"), ARG("/s"), ARG("--force-api-sock"), ARG("--id"), ARG("a-1"),
	      ARG("--config-file"), ARG("/c"), ARG("--metadata"), ARG("/m"),
	      ARG("--http-api-max-payload-size"), ARG("30"), ARG("--mmds-size-limit"), ARG("+40"),
	      ARG("--openapi"), ARG("--log-path"), ARG("/l"), ARG("--level"), ARG("wArNiNg"),
	      ARG("--module"), ARG("vmm"), ARG("--show-level"), ARG("--show-log-origin"),
	      ARG("--metrics-path"), ARG("-m"), ARG("--start-time-us"), ARG("1"),
	      ARG("--start-time-cpu-us"), ARG("2"), ARG("--parent-cpu-time-us"),
	      ARG("18446744073709551615"), ARG("--no-seccomp"), ARG("--boot-timer"),
	      ARG("--enable-pci"), ARG("--engine"), ARG("mock"), ARG("--arch"), ARG("aarch64"),
	      ARG("--network"), ARG("userspace"), ARG("--"), ARG("--id"), ARG("--help"));
	assert_int_equal(result.outcome, ARGS_RUN);
	assert_string_equal(result.args.api_sock, "/s");
	assert_true(result.args.force_api_sock);
	assert_string_equal(result.args.id, "a-1");
	assert_string_equal(result.args.config_file, "/c");
	assert_string_equal(result.args.metadata, "/m");
	assert_int_equal(result.args.http_api_max_payload_size, 30);
	assert_int_equal(result.args.mmds_size_limit, 40);
	assert_true(result.args.openapi);
	assert_string_equal(result.args.logger.log_path, "/l");
	assert_int_equal(result.args.logger.level, SQUIB_LOG_WARN);
	assert_string_equal(result.args.logger.module, "vmm");
	assert_true(*result.args.logger.show_level && *result.args.logger.show_log_origin);
	assert_string_equal(result.args.metrics_path, "-m");
	assert_true(result.args.start_time_us.given);
	assert_int_equal(result.args.start_time_us.value, 1);
	assert_int_equal(result.args.start_time_cpu_us.value, 2);
	assert_int_equal(result.args.parent_cpu_time_us.value, UINT64_MAX);
	assert_true(result.args.no_seccomp && result.args.boot_timer && result.args.enable_pci);
	assert_int_equal(result.args.engine, ARGS_ENGINE_MOCK);
	assert_true(result.args.arch_given);
	assert_int_equal(result.args.arch, SQUIB_ARCH_AARCH64);
	assert_int_equal(result.args.network, ARGS_NETWORK_USERSPACE);
	assert_true(result.args.network_given);
	assert_int_equal(result.args.warning_count, 0);
	assert_int_equal(result.args.extra_count, 2);
	assert_string_equal(result.args.extra[1], "--help");
}

static void the_payload_limit_is_the_data_stores_too(void **state)
{
	CLEANUP(args_result_done) struct args_result result;

	(void)state;
	PARSE(result, ARG("--http-api-max-payload-size"), ARG("2097152"));
	assert_int_equal(result.args.mmds_size_limit, 2097152);
}

static void other_hosts_flags_are_taken_with_a_warning(void **state)
{
	CLEANUP(args_result_done) struct args_result result;

	(void)state;
	PARSE(result, ARG("--network"), ARG("shared"), ARG("--bridged-iface"), ARG("en0"),
	      ARG("--gvproxy-path"), ARG("/g"), ARG("--macos-sandbox-profile"), ARG("/p"));
	assert_int_equal(result.outcome, ARGS_RUN);
	assert_int_equal(result.args.network, ARGS_NETWORK_TAP);
	assert_true(result.args.network_given);
	assert_int_equal(result.args.warning_count, 4);
}

#define NOT_EXPECTED "' which wasn't expected, or isn't valid in this context."

/* An argument list up to NULL, and what is wrong with it */
static const struct {
	const char *args[6];
	const char *error;
	const char *debug;
} bad_lists[] = {
	{ { "x" }, "Found argument 'x" NOT_EXPECTED, "UnexpectedArgument(\"x\")" },
	{ { "" }, "Found argument '" NOT_EXPECTED, "UnexpectedArgument(\"\")" },
	{ { "-x" }, "Found argument '-x" NOT_EXPECTED, "UnexpectedArgument(\"-x\")" },
	{ { "--x\"" }, "Found argument 'x\"" NOT_EXPECTED, "UnexpectedArgument(\"x\\\"\")" },
	{ { "--id=x" }, "Found argument 'id=x" NOT_EXPECTED, "UnexpectedArgument(\"id=x\")" },
	{ { "--i" }, "Found argument 'i" NOT_EXPECTED, "UnexpectedArgument(\"i\")" },
	{ { "--no-api", "true" }, "Found argument 'true" NOT_EXPECTED,
	  "UnexpectedArgument(\"true\")" },
	{ { "--id" }, "The argument 'id' requires a value, but none was supplied.",
	  "MissingValue(\"id\")" },
	{ { "--id", "--no-seccomp" }, "The argument 'id' requires a value, but none was supplied.",
	  "MissingValue(\"id\")" },
	{ { "--id", "--", "x" }, "The argument 'id' requires a value, but none was supplied.",
	  "MissingValue(\"id\")" },
	{ { "--id", "a", "--id", "a" }, "The argument 'id' was provided more than once.",
	  "DuplicateArgument(\"id\")" },
	{ { "--no-seccomp", "--no-seccomp" },
	  "The argument 'no-seccomp' was provided more than once.",
	  "DuplicateArgument(\"no-seccomp\")" },
	{ { "--no-api" }, "Argument 'config-file' required, but not found.",
	  "MissingArgument(\"config-file\")" },
	{ { "--seccomp-filter", "f", "--no-seccomp" },
	  "Argument 'seccomp-filter' cannot be used together with argument 'no-seccomp'.",
	  "ForbiddenArgument(\"no-seccomp\", \"seccomp-filter\")" },
	/* what each argument is comes before how they go together */
	{ { "--no-api", "--level", "bad", "x" }, "Found argument 'x" NOT_EXPECTED,
	  "UnexpectedArgument(\"x\")" },
	{ { "--id", "@", "--snapshot-version", "--no-api" },
	  "Argument 'config-file' required, but not found.", "MissingArgument(\"config-file\")" },
};

static void bad_lists_give_upstreams_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_lists); i++) {
		CLEANUP(args_result_done) struct args_result result;
		char *argv[8] = { ARG("squib") }, want[256];
		int argc = 1;

		while (argc < 7 && bad_lists[i].args[argc - 1] != NULL) {
			argv[argc] = ARG(bad_lists[i].args[argc - 1]);
			argc++;
		}
		args_parse(argc, argv, &program, &result);
		assert_int_equal(result.outcome, ARGS_FAIL);
		assert_int_equal(result.exit_code, 153);
		assert_false(result.logger_first);
		snprintf(want, sizeof(want),
			 "Arguments parsing error: %s \\n\\nFor more information try --help.",
			 bad_lists[i].error);
		assert_string_equal(result.error, want);
		snprintf(want, sizeof(want), "ParseArguments(%s)", bad_lists[i].debug);
		assert_string_equal(result.debug, want);
	}
}

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
	const char *flag, *value;
	const char *error;	/* NULL: good */
	int exit_code;
	const char *debug;	/* NULL: as error */
} values[] = {
	{ "--id", "a", NULL, 0, NULL },
	{ "--id", "-Z9", NULL, 0, NULL },
	{ "--id", A64, NULL, 0, NULL },
	{ "--id", A64 "a", "Invalid instance ID: InvalidLen(65, 1, 64)", 1, NULL },
	{ "--id", "", "Invalid instance ID: InvalidLen(0, 1, 64)", 1, NULL },
	{ "--id", "abc@", "Invalid instance ID: InvalidChar('@', 3)", 1, NULL },
	{ "--id", "a_b", "Invalid instance ID: InvalidChar('_', 1)", 1, NULL },
	{ "--id", "'", "Invalid instance ID: InvalidChar('\\'', 0)", 1, NULL },
	{ "--id", "\"", "Invalid instance ID: InvalidChar('\"', 0)", 1, NULL },
	{ "--id", "a\n", "Invalid instance ID: InvalidChar('\\n', 1)", 1, NULL },
	{ "--id", "a\xe2\x82\xac", "Invalid instance ID: InvalidChar('\xe2\x82\xac', 1)", 1, NULL },
	{ "--level", "Off", NULL, 0, NULL },
	{ "--level", "TRACE", NULL, 0, NULL },
	{ "--level", "loud",
	  "Invalid value for logger level: Failed to parse string to level filter: "
	  "loud.Possible values: [Error, Warning, Info, Debug]", 152,
	  "InvalidLogLevel(LevelFilterFromStrError(\"loud\"))" },
	{ "--level", "",
	  "Invalid value for logger level: Failed to parse string to level filter: "
	  ".Possible values: [Error, Warning, Info, Debug]", 152,
	  "InvalidLogLevel(LevelFilterFromStrError(\"\"))" },
	{ "--start-time-us", "-1", "'start-time-us' parameter expected to be of 'u64' type.: "
				   "ParseIntError { kind: InvalidDigit }", 1, NULL },
	{ "--start-time-cpu-us", "1.5", "'start-time-cpu-us' parameter expected to be of 'u64' "
					"type.: ParseIntError { kind: InvalidDigit }", 1, NULL },
	{ "--parent-cpu-time-us", "+", "'parent-cpu-time-us' parameter expected to be of 'u64' "
				       "type.: ParseIntError { kind: InvalidDigit }", 1, NULL },
	{ "--http-api-max-payload-size", "18446744073709551616",
	  "'http-api-max-payload-size' parameter expected to be of 'usize' type.: "
	  "ParseIntError { kind: PosOverflow }", 1, NULL },
	{ "--http-api-max-payload-size", "00000000000000000000000", NULL, 0, NULL },
	{ "--mmds-size-limit", "", "'mmds-size-limit' parameter expected to be of 'usize' type.: "
				   "ParseIntError { kind: Empty }", 1, NULL },
	{ "--engine", "kvm", NULL, 0, NULL },
	{ "--engine", "kv", "Invalid value for engine: kv. Possible values: [auto, kvm, qemu, mock]",
	  152, "InvalidValue(\"engine\", \"kv\")" },
	{ "--engine", "", "Invalid value for engine: . Possible values: [auto, kvm, qemu, mock]",
	  152, "InvalidValue(\"engine\", \"\")" },
	{ "--arch", "x86", "Invalid value for arch: x86. Possible values: [x86_64, aarch64]",
	  152, "InvalidValue(\"arch\", \"x86\")" },
	{ "--network", "tap, userspace",
	  "Invalid value for network: tap, userspace. "
	  "Possible values: [tap, userspace, shared, bridged, host]",
	  152, "InvalidValue(\"network\", \"tap, userspace\")" },
};

static void values_are_checked(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		CLEANUP(args_result_done) struct args_result result;

		PARSE(result, ARG(values[i].flag), ARG(values[i].value));
		if (values[i].error == NULL) {
			assert_int_equal(result.outcome, ARGS_RUN);
			continue;
		}
		assert_int_equal(result.outcome, ARGS_FAIL);
		assert_string_equal(result.error, values[i].error);
		assert_string_equal(result.debug,
				    values[i].debug != NULL ? values[i].debug : values[i].error);
		assert_int_equal(result.exit_code, values[i].exit_code);
		assert_true(result.logger_first == (strcmp(values[i].flag, "--id") != 0 &&
						    strcmp(values[i].flag, "--level") != 0));
	}
}

static void an_id_that_is_no_text_is_refused(void **state)
{
	CLEANUP(buf_done) struct buf reason = BUF_INIT;

	(void)state;
	assert_false(args_check_id("\xff", NULL));
	assert_false(args_check_id("a\xe2\x82", &reason));
	assert_memory_equal(buf_str(&reason), "InvalidChar('", 13);
}

static void the_first_error_is_upstreams_first(void **state)
{
	CLEANUP(args_result_done) struct args_result result;

	(void)state;
	PARSE(result, ARG("--http-api-max-payload-size"), ARG("x"), ARG("--level"), ARG("x"),
	      ARG("--id"), ARG("@"));
	assert_memory_equal(result.error, "Invalid instance ID", 19);
	args_result_done(&result);
	PARSE(result, ARG("--start-time-us"), ARG("x"), ARG("--mmds-size-limit"), ARG("x"),
	      ARG("--http-api-max-payload-size"), ARG("x"));
	assert_memory_equal(result.error, "'http-api-max", 13);
	args_result_done(&result);
	/* without API nobody looks at the times */
	PARSE(result, ARG("--start-time-us"), ARG("x"), ARG("--no-api"), ARG("--config-file"),
	      ARG("c"));
	assert_int_equal(result.outcome, ARGS_RUN);
	assert_false(result.args.start_time_us.given);
}

static void version_names_firecracker_first(void **state)
{
	CLEANUP(args_result_done) struct args_result result;

	(void)state;
	PARSE(result, ARG("--version"));
	assert_int_equal(result.outcome, ARGS_PRINT);
	assert_string_equal(result.output,
			    "Firecracker v1.16.0\nsquib v0.1.0 (engines: kvm, qemu, mock)\n");
	args_result_done(&result);
	PARSE(result, ARG("--bad"), ARG("x"), ARG("--id"), ARG("--version"));
	assert_int_equal(result.outcome, ARGS_PRINT);
	args_result_done(&result);
	PARSE(result, ARG("--"), ARG("--version"));
	assert_int_equal(result.outcome, ARGS_RUN);
}

static void help_wins_and_lists_every_flag(void **state)
{
	static const char begin[] =
		"Firecracker v1.16.0\n"
		"\n"
		"optional arguments:\n"
		"  --api-sock <api-sock>                                     "
		"Path to unix domain socket used by the API. "
		"[default: \"/run/firecracker.socket\"]\n"
		"  --arch <arch>                                             ";
	CLEANUP(args_result_done) struct args_result result;
	char line[80];

	(void)state;
	PARSE(result, ARG("--version"), ARG("x"), ARG("-h"));
	assert_int_equal(result.outcome, ARGS_PRINT);
	assert_memory_equal(result.output, begin, strlen(begin));
	for (enum flag flag = 0; flag < FLAG_COUNT; flag++) {
		const struct flag_info *info = &flag_table[flag];

		if (flag > 0)
			assert_true(strcmp(flag_table[flag - 1].name, info->name) < 0);
		if (info->takes_value)
			snprintf(line, sizeof(line), "\n  --%s <%s> ", info->name, info->name);
		else
			snprintf(line, sizeof(line), "\n  --%s ", info->name);
		assert_non_null(strstr(result.output, line));
	}
	assert_non_null(strstr(result.output,
			       "\n  --http-api-max-payload-size <http-api-max-payload-size>   "
			       "Http API request payload max size, in bytes. "
			       "[default: \"51200\"]\n"));
	assert_int_equal(result.output[strlen(result.output) - 1], '\n');
	args_result_done(&result);
	PARSE(result, ARG("x"), ARG("--help"));
	assert_int_equal(result.outcome, ARGS_PRINT);
}

static void snapshot_version_needs_a_good_list(void **state)
{
	CLEANUP(args_result_done) struct args_result result;

	(void)state;
	PARSE(result, ARG("--snapshot-version"), ARG("--id"), ARG("@"));
	assert_int_equal(result.outcome, ARGS_PRINT);
	assert_string_equal(result.output, "v10.0.0\n");
	args_result_done(&result);
	PARSE(result, ARG("--describe-snapshot"), ARG("/f"));
	assert_int_equal(result.outcome, ARGS_DESCRIBE_SNAPSHOT);
	assert_string_equal(result.args.describe_snapshot, "/f");
}

static void check_description(const char *path, const char *want, const char *want_debug)
{
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;
	CLEANUP(buf_done) struct buf output = BUF_INIT, debug = BUF_INIT;
	char text[256];

	assert_true(describe_snapshot(path, &output, &fault, &debug) < 0);
	snprintf(text, sizeof(text), "When printing Snapshot Data format: %s", want);
	assert_string_equal(fault_text(&fault), text);
	snprintf(text, sizeof(text), "PrintSnapshotDataFormat(%s)", want_debug);
	assert_string_equal(buf_str(&debug), text);
}

static void what_is_no_snapshot_is_said_to_be_none(void **state)
{
	char path[] = "/tmp/test-args-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	check_description("/no/such/file",
			  "Unable to open snapshot state file: "
			  "No such file or directory (os error 2)",
			  "OpenSnapshot(Os { code: 2, kind: NotFound, "
			  "message: \"No such file or directory\" })");
	check_description("/", "Invalid data format version of snapshot file: "
			       "IO Error: Is a directory (os error 21)",
			  "SnapshotVersion(Io(Os { code: 21, kind: IsADirectory, "
			  "message: \"Is a directory\" }))");
	assert_int_equal(write(fd, "1234567", 7), 7);
	check_description(path, "Invalid data format version of snapshot file: "
				"IO Error: File too short to contain CRC",
			  "SnapshotVersion(Io(Custom { kind: UnexpectedEof, "
			  "error: \"File too short to contain CRC\" }))");
	assert_int_equal(pwrite(fd, "\1\0\0\0\0\0\0\0", 8, 0), 8);
	check_description(path, "Invalid data format version of snapshot file: "
				"Magic value does not match arch: 1",
			  "SnapshotVersion(InvalidMagic(1))");
	assert_int_equal(ftruncate(fd, 10000001), 0);
	check_description(path, "Invalid data format version of snapshot file: "
				"Snapshot size exceeds limit of 10000000 bytes",
			  "SnapshotVersion(SizeLimitExceeded(10000000))");
	close(fd);
	unlink(path);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_upstreams),
		cmocka_unit_test(every_flag_is_read),
		cmocka_unit_test(the_payload_limit_is_the_data_stores_too),
		cmocka_unit_test(other_hosts_flags_are_taken_with_a_warning),
		cmocka_unit_test(bad_lists_give_upstreams_errors),
		cmocka_unit_test(values_are_checked),
		cmocka_unit_test(an_id_that_is_no_text_is_refused),
		cmocka_unit_test(the_first_error_is_upstreams_first),
		cmocka_unit_test(version_names_firecracker_first),
		cmocka_unit_test(help_wins_and_lists_every_flag),
		cmocka_unit_test(snapshot_version_needs_a_good_list),
		cmocka_unit_test(what_is_no_snapshot_is_said_to_be_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
