/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two passes: the arguments become one value a flag, by upstream's rules and with upstream's
 * errors; then the values become struct squib_args, checked in the order in which upstream comes
 * across them, as the first error is the one that is told.
 */
#include "cli/args.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args_table.h"
#include "json/debug_text.h"

#define ID_MAX 64

/* values[flag]: NULL when not given; of a flag without value, "" */
struct parser {
	const char *values[FLAG_COUNT];
	const struct args_program *program;
	struct args_result *result;
};

static char *text_take(struct buf *text)
{
	char *s = buf_take(text);

	return s != NULL ? s : strdup("");	/* out of memory: the exit code has to do */
}

static void add_debug(struct buf *buf, const char *s)
{
	debug_text_add(buf, s, strlen(s));
}

/* The end of the road; @error and @debug are emptied. Returns false for the caller to return. */
static bool fail(struct parser *parser, int exit_code, struct buf *error, struct buf *debug)
{
	parser->result->outcome = ARGS_FAIL;
	parser->result->exit_code = exit_code;
	parser->result->error = text_take(error);
	parser->result->debug = text_take(debug);
	return false;
}

/*
 * First pass
 */

/* @kind and its strings are upstream's error value, @fmt its text. @second may be NULL */
static bool fail_parsing(struct parser *parser, const char *kind, const char *first,
			 const char *second, const char *fmt, ...) PRINTF_LIKE(5, 6);

static bool fail_parsing(struct parser *parser, const char *kind, const char *first,
			 const char *second, const char *fmt, ...)
{
	struct buf error = BUF_INIT, debug = BUF_INIT;
	va_list ap;

	buf_adds(&error, "Arguments parsing error: ");
	va_start(ap, fmt);
	buf_vaddf(&error, fmt, ap);
	va_end(ap);
	/* sic: upstream prints these four characters, not two line ends */
	buf_adds(&error, " \\n\\nFor more information try --help.");
	buf_addf(&debug, "ParseArguments(%s(", kind);
	add_debug(&debug, first);
	if (second != NULL) {
		buf_adds(&debug, ", ");
		add_debug(&debug, second);
	}
	buf_adds(&debug, "))");
	return fail(parser, EXIT_CODE_ARG_PARSING, &error, &debug);
}

static bool fail_unexpected(struct parser *parser, const char *name)
{
	return fail_parsing(parser, "UnexpectedArgument", name, NULL,
			    "Found argument '%s' which wasn't expected, "
			    "or isn't valid in this context.", name);
}

static bool is_long(const char *arg)
{
	return strncmp(arg, "--", 2) == 0;
}

static enum flag flag_find(const char *name)
{
	for (enum flag flag = 0; flag < FLAG_COUNT; flag++)
		if (strcmp(flag_table[flag].name, name) == 0)
			return flag;
	return FLAG_NONE;
}

/* One flag and its value from @args. Returns how many arguments that were; 0: failed */
static int take_flag(struct parser *parser, int count, char *const args[])
{
	const char *name = args[0] + 2;
	enum flag flag;

	if (!is_long(args[0]))
		return fail_unexpected(parser, args[0]);
	flag = flag_find(name);
	if (flag == FLAG_NONE)
		return fail_unexpected(parser, name);
	if (parser->values[flag] != NULL)
		return fail_parsing(parser, "DuplicateArgument", name, NULL,
				    "The argument '%s' was provided more than once.", name);
	if (!flag_table[flag].takes_value) {
		parser->values[flag] = "";
		return 1;
	}
	if (count < 2 || is_long(args[1]))
		return fail_parsing(parser, "MissingValue", name, NULL,
				    "The argument '%s' requires a value, but none was supplied.",
				    name);
	parser->values[flag] = args[1];
	return 2;
}

static bool check_bonds(struct parser *parser)
{
	for (enum flag flag = 0; flag < FLAG_COUNT; flag++) {
		const struct flag_info *info = &flag_table[flag];
		const char *other = flag_table[info->other].name;

		if (!info->bound || parser->values[flag] == NULL ||
		    (parser->values[info->other] == NULL) == info->excludes)
			continue;
		if (info->excludes)
			return fail_parsing(parser, "ForbiddenArgument", info->name, other,
					    "Argument '%s' cannot be used together with "
					    "argument '%s'.", other, info->name);
		return fail_parsing(parser, "MissingArgument", other, NULL,
				    "Argument '%s' required, but not found.", other);
	}
	return true;
}

static bool parse_flags(struct parser *parser, int count, char *const args[])
{
	for (int i = 0; i < count;) {
		int taken = take_flag(parser, count - i, args + i);

		if (taken == 0)
			return false;
		i += taken;
	}
	return check_bonds(parser);
}

/*
 * What only prints
 */

static bool contains(int count, char *const args[], const char *wanted)
{
	for (int i = 0; i < count; i++)
		if (strcmp(args[i], wanted) == 0)
			return true;
	return false;
}

static bool print(struct parser *parser, struct buf *output)
{
	parser->result->outcome = ARGS_PRINT;
	parser->result->output = text_take(output);
	return false;
}

static bool print_version(struct parser *parser)
{
	struct buf output = BUF_INIT;

	/* Clients take the second word of the first line. */
	buf_addf(&output, "Firecracker v%s\n", parser->program->firecracker_version);
	buf_addf(&output, "squib v%s (engines: %s)\n", parser->program->squib_version,
		 parser->program->engines);
	return print(parser, &output);
}

/* "  --name <name>" or "  --name" */
static size_t flag_usage_len(const struct flag_info *info)
{
	size_t len = strlen(info->name);

	return strlen("  --") + len + (info->takes_value ? strlen(" <>") + len : 0);
}

static void add_help(struct buf *output, const struct flag_info *info, size_t width)
{
	size_t pad = width - flag_usage_len(info);

	buf_addf(output, "  --%s", info->name);
	if (info->takes_value)
		buf_addf(output, " <%s>", info->name);
	buf_addf(output, "%*s   %s", (int)pad, "", info->help);
	if (info->default_value != NULL)
		buf_addf(output, " [default: \"%s\"]", info->default_value);
	buf_addc(output, '\n');
}

static bool print_help(struct parser *parser)
{
	struct buf output = BUF_INIT;
	size_t width = 0;

	for (enum flag flag = 0; flag < FLAG_COUNT; flag++)
		if (flag_usage_len(&flag_table[flag]) > width)
			width = flag_usage_len(&flag_table[flag]);
	buf_addf(&output, "Firecracker v%s\n\noptional arguments:\n",
		 parser->program->firecracker_version);
	for (enum flag flag = 0; flag < FLAG_COUNT; flag++)
		add_help(&output, &flag_table[flag], width);
	return print(parser, &output);
}

static bool print_snapshot_version(struct parser *parser)
{
	struct buf output = BUF_INIT;

	buf_adds(&output, "v" ARGS_SNAPSHOT_VERSION "\n");
	return print(parser, &output);
}

/*
 * Second pass
 */

static const char *value_of(const struct parser *parser, enum flag flag)
{
	const char *value = parser->values[flag];

	return value != NULL ? value : flag_table[flag].default_value;
}

static bool is_given(const struct parser *parser, enum flag flag)
{
	return parser->values[flag] != NULL;
}

static bool is_id_char(unsigned int c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-';
}

/* One character as Rust's Debug shows it; it differs from a string's in the quotes alone. */
static void add_debug_char(struct buf *buf, const char *s, size_t len)
{
	struct buf quoted = BUF_INIT;

	debug_text_add(&quoted, s, len);
	buf_addc(buf, '\'');
	if (*s == '\'')
		buf_adds(buf, "\\'");
	else if (*s == '"')
		buf_addc(buf, '"');
	else if (quoted.len > 2)
		buf_add(buf, quoted.data + 1, quoted.len - 2);
	buf_addc(buf, '\'');
	buf_done(&quoted);
}

bool args_check_id(const char *id, struct buf *reason)
{
	struct buf unwanted = BUF_INIT;
	size_t len = strlen(id), position = 0;

	if (reason == NULL)
		reason = &unwanted;
	if (len < 1 || len > ID_MAX) {
		buf_addf(reason, "InvalidLen(%zu, 1, %d)", len, ID_MAX);
		buf_done(&unwanted);
		return false;
	}
	for (size_t i = 0; i < len; position++) {
		unsigned int c;
		size_t width = utf8_decode(id + i, len - i, &c);

		if (width == 0 || !is_id_char(c)) {
			buf_adds(reason, "InvalidChar(");
			add_debug_char(reason, id + i, width == 0 ? 1 : width);
			buf_addf(reason, ", %zu)", position);
			buf_done(&unwanted);
			return false;
		}
		i += width;
	}
	return true;
}

/* Where upstream panics: the message is all there is, and the exit code is the plain one. */
static bool fail_panic(struct parser *parser, const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool fail_panic(struct parser *parser, const char *fmt, ...)
{
	struct buf error = BUF_INIT, debug = BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	buf_vaddf(&error, fmt, ap);
	va_end(ap);
	buf_add(&debug, error.data, error.len);
	return fail(parser, EXIT_CODE_ERROR, &error, &debug);
}

static bool read_id(struct parser *parser)
{
	CLEANUP(buf_done) struct buf reason = BUF_INIT;

	parser->result->args.id = value_of(parser, FLAG_ID);
	if (args_check_id(parser->result->args.id, &reason))
		return true;
	return fail_panic(parser, "Invalid instance ID: %s",
			  buf_str(&reason) != NULL ? reason.data : "");
}

static bool level_from_name(const char *name, enum squib_log_level *ret_level)
{
	static const struct { const char *name; enum squib_log_level level; } levels[] = {
		{ "off", SQUIB_LOG_OFF },     { "trace", SQUIB_LOG_TRACE },
		{ "debug", SQUIB_LOG_DEBUG }, { "info", SQUIB_LOG_INFO },
		{ "warn", SQUIB_LOG_WARN },   { "warning", SQUIB_LOG_WARN },
		{ "error", SQUIB_LOG_ERROR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcasecmp(name, levels[i].name) == 0) {
			*ret_level = levels[i].level;
			return true;
		}
	}
	return false;
}

static bool fail_level(struct parser *parser, const char *level)
{
	struct buf error = BUF_INIT, debug = BUF_INIT;

	buf_addf(&error, "Invalid value for logger level: Failed to parse string to level filter: "
			 "%s.Possible values: [Error, Warning, Info, Debug]", level);
	buf_adds(&debug, "InvalidLogLevel(LevelFilterFromStrError(");
	add_debug(&debug, level);
	buf_adds(&debug, "))");
	return fail(parser, EXIT_CODE_BAD_CONFIGURATION, &error, &debug);
}

static bool read_logger(struct parser *parser)
{
	static const bool yes = true;
	struct squib_logger *logger = &parser->result->args.logger;
	const char *level = value_of(parser, FLAG_LEVEL);

	logger->log_path = value_of(parser, FLAG_LOG_PATH);
	logger->level = SQUIB_LOG_INFO;
	logger->show_level = is_given(parser, FLAG_SHOW_LEVEL) ? &yes : NULL;
	logger->show_log_origin = is_given(parser, FLAG_SHOW_LOG_ORIGIN) ? &yes : NULL;
	logger->module = value_of(parser, FLAG_MODULE);
	if (level != NULL && !level_from_name(level, &logger->level))
		return fail_level(parser, level);
	parser->result->logger_first = true;	/* of whatever may be wrong from here on */
	return true;
}

/* The index of a flag's value in @choices, "one, two, three"; -1 when it has failed */
static int read_choice(struct parser *parser, enum flag flag, const char *choices)
{
	const char *value = value_of(parser, flag);
	const char *at = choices;
	struct buf error = BUF_INIT, debug = BUF_INIT;

	for (int i = 0; *at != '\0'; i++) {
		size_t len = strcspn(at, ",");

		if (strncmp(at, value, len) == 0 && value[len] == '\0')
			return i;
		at += len;
		at += strspn(at, ", ");
	}
	buf_addf(&error, "Invalid value for %s: %s. Possible values: [%s]", flag_table[flag].name,
		 value, choices);
	buf_addf(&debug, "InvalidValue(\"%s\", ", flag_table[flag].name);
	add_debug(&debug, value);
	buf_addc(&debug, ')');
	fail(parser, EXIT_CODE_BAD_CONFIGURATION, &error, &debug);
	return -1;
}

static void warn(struct parser *parser, const char *warning)
{
	struct squib_args *args = &parser->result->args;

	args->warnings[args->warning_count++] = warning;
}

static bool read_network(struct parser *parser)
{
	struct squib_args *args = &parser->result->args;
	int choice = read_choice(parser, FLAG_NETWORK, "tap, userspace, shared, bridged, host");

	if (choice < 0)
		return false;
	args->network_given = is_given(parser, FLAG_NETWORK);
	args->network = choice == 1 ? ARGS_NETWORK_USERSPACE : ARGS_NETWORK_TAP;
	if (choice > 1)
		warn(parser, "This value of --network has no meaning on Linux: tap is used.");
	if (is_given(parser, FLAG_BRIDGED_IFACE))
		warn(parser, "--bridged-iface has no effect on Linux.");
	if (is_given(parser, FLAG_GVPROXY_PATH))
		warn(parser, "--gvproxy-path has no effect on Linux.");
	if (is_given(parser, FLAG_MACOS_SANDBOX_PROFILE))
		warn(parser, "--macos-sandbox-profile has no effect on Linux.");
	return true;
}

static bool read_machine(struct parser *parser)
{
	static const enum args_engine engines[] = {
		ARGS_ENGINE_AUTO, ARGS_ENGINE_KVM, ARGS_ENGINE_QEMU, ARGS_ENGINE_MOCK,
	};
	static const enum squib_arch archs[] = { SQUIB_ARCH_X86_64, SQUIB_ARCH_AARCH64 };
	struct squib_args *args = &parser->result->args;
	int choice = read_choice(parser, FLAG_ENGINE, "auto, kvm, qemu, mock");

	if (choice < 0)
		return false;
	args->engine = engines[choice];
	args->arch = parser->program->host_arch;
	args->arch_given = is_given(parser, FLAG_ARCH);
	if (args->arch_given) {
		choice = read_choice(parser, FLAG_ARCH, "x86_64, aarch64");
		if (choice < 0)
			return false;
		args->arch = archs[choice];
	}
	return read_network(parser);
}

/* As Rust's u64::from_str(). NULL, or the kind of error */
static const char *number_parse(const char *s, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (*s == '\0')
		return "Empty";
	if (*s == '+' && s[1] != '\0')
		s++;
	if (s[strspn(s, "0123456789")] != '\0')
		return "InvalidDigit";
	for (; *s != '\0'; s++)
		if (__builtin_mul_overflow(number, (uint64_t)10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*s - '0'), &number))
			return "PosOverflow";
	*ret_number = number;
	return NULL;
}

static bool read_number(struct parser *parser, enum flag flag, const char *type,
			uint64_t *ret_number)
{
	const char *kind = number_parse(value_of(parser, flag), ret_number);

	if (kind == NULL)
		return true;
	return fail_panic(parser,
			  "'%s' parameter expected to be of '%s' type.: ParseIntError { kind: %s }",
			  flag_table[flag].name, type, kind);
}

static bool read_time(struct parser *parser, enum flag flag, struct args_number *ret_number)
{
	ret_number->given = is_given(parser, flag);
	return !ret_number->given || read_number(parser, flag, "u64", &ret_number->value);
}

static bool read_limits(struct parser *parser)
{
	struct squib_args *args = &parser->result->args;

	if (!read_number(parser, FLAG_HTTP_API_MAX_PAYLOAD_SIZE, "usize",
			 &args->http_api_max_payload_size))
		return false;
	args->mmds_size_limit = args->http_api_max_payload_size;
	return !is_given(parser, FLAG_MMDS_SIZE_LIMIT) ||
	       read_number(parser, FLAG_MMDS_SIZE_LIMIT, "usize", &args->mmds_size_limit);
}

static bool read_times(struct parser *parser)
{
	struct squib_args *args = &parser->result->args;

	return args->no_api ||
	       (read_time(parser, FLAG_START_TIME_US, &args->start_time_us) &&
		read_time(parser, FLAG_START_TIME_CPU_US, &args->start_time_cpu_us) &&
		read_time(parser, FLAG_PARENT_CPU_TIME_US, &args->parent_cpu_time_us));
}

static void read_the_rest(struct parser *parser)
{
	struct squib_args *args = &parser->result->args;

	args->api_sock = value_of(parser, FLAG_API_SOCK);
	args->force_api_sock = is_given(parser, FLAG_FORCE_API_SOCK);
	args->no_api = is_given(parser, FLAG_NO_API);
	args->config_file = value_of(parser, FLAG_CONFIG_FILE);
	args->metadata = value_of(parser, FLAG_METADATA);
	args->openapi = is_given(parser, FLAG_OPENAPI);
	args->metrics_path = value_of(parser, FLAG_METRICS_PATH);
	args->no_seccomp = is_given(parser, FLAG_NO_SECCOMP);
	args->seccomp_filter = value_of(parser, FLAG_SECCOMP_FILTER);
	args->boot_timer = is_given(parser, FLAG_BOOT_TIMER);
	args->enable_pci = is_given(parser, FLAG_ENABLE_PCI);
}

static bool read_values(struct parser *parser)
{
	if (is_given(parser, FLAG_SNAPSHOT_VERSION))
		return print_snapshot_version(parser);
	if (is_given(parser, FLAG_DESCRIBE_SNAPSHOT)) {
		parser->result->args.describe_snapshot = value_of(parser, FLAG_DESCRIBE_SNAPSHOT);
		parser->result->outcome = ARGS_DESCRIBE_SNAPSHOT;
		return false;
	}
	read_the_rest(parser);
	return read_id(parser) && read_logger(parser) && read_machine(parser) &&
	       read_limits(parser) && read_times(parser);
}

void args_parse(int argc, char *const argv[], const struct args_program *program,
		struct args_result *result)
{
	struct parser parser = { .program = program, .result = result };
	char *const *args = argv + (argc > 0);
	int count = 0, all = argc - (argc > 0);

	*result = (struct args_result){ .outcome = ARGS_RUN };
	while (count < all && strcmp(args[count], "--") != 0)
		count++;
	if (count < all) {
		result->args.extra = args + count + 1;
		result->args.extra_count = (size_t)(all - count - 1);
	}
	if (contains(count, args, "--help") || contains(count, args, "-h"))
		print_help(&parser);
	else if (contains(count, args, "--version"))
		print_version(&parser);
	else if (parse_flags(&parser, count, args))
		read_values(&parser);
}

void args_result_done(struct args_result *result)
{
	free(result->output);
	free(result->error);
	free(result->debug);
	*result = (struct args_result){ .outcome = ARGS_FAIL };
}
