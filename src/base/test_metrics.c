/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

/* What Firecracker v1.16.1 writes when nothing has happened, from the second key on. */
#define ZERO_LINE_BEFORE_RTC \
	"\"api_server\":{\"process_startup_time_us\":0,\"process_startup_time_cpu_us\":0}," \
	"\"balloon\":{\"activate_fails\":0,\"inflate_count\":0,\"stats_updates_count\":0," \
	"\"stats_update_fails\":0,\"deflate_count\":0,\"event_fails\":0," \
	"\"free_page_report_count\":0,\"free_page_report_freed\":0," \
	"\"free_page_report_fails\":0,\"free_page_hint_count\":0,\"free_page_hint_freed\":0," \
	"\"free_page_hint_fails\":0}," \
	"\"block\":{\"activate_fails\":0,\"cfg_fails\":0,\"no_avail_buffer\":0," \
	"\"event_fails\":0,\"execute_fails\":0,\"invalid_reqs_count\":0,\"flush_count\":0," \
	"\"queue_event_count\":0,\"rate_limiter_event_count\":0,\"update_count\":0," \
	"\"update_fails\":0,\"read_bytes\":0,\"write_bytes\":0,\"read_count\":0," \
	"\"write_count\":0,\"read_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"write_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"rate_limiter_throttled_events\":0,\"io_engine_throttled_events\":0," \
	"\"remaining_reqs_count\":0}," \
	"\"deprecated_api\":{\"deprecated_http_api_calls\":0}," \
	"\"get_api_requests\":{\"instance_info_count\":0,\"machine_cfg_count\":0," \
	"\"mmds_count\":0,\"vmm_version_count\":0,\"hotplug_memory_count\":0}," \
	"\"i8042\":{\"error_count\":0,\"missed_read_count\":0,\"missed_write_count\":0," \
	"\"read_count\":0,\"reset_count\":0,\"write_count\":0},"
#define ZERO_LINE_RTC \
	"\"rtc\":{\"error_count\":0,\"missed_read_count\":0,\"missed_write_count\":0},"
#define ZERO_LINE_AFTER_RTC \
	"\"uart\":{\"error_count\":0,\"flush_count\":0,\"missed_read_count\":0," \
	"\"missed_write_count\":0,\"read_count\":0,\"write_count\":0," \
	"\"rate_limiter_dropped_bytes\":0}," \
	"\"latencies_us\":{\"full_create_snapshot\":0,\"diff_create_snapshot\":0," \
	"\"load_snapshot\":0,\"pause_vm\":0,\"resume_vm\":0,\"vmm_full_create_snapshot\":0," \
	"\"vmm_diff_create_snapshot\":0,\"vmm_load_snapshot\":0,\"vmm_pause_vm\":0," \
	"\"vmm_resume_vm\":0}," \
	"\"logger\":{\"missed_metrics_count\":0,\"metrics_fails\":0,\"missed_log_count\":0," \
	"\"rate_limited_log_count\":0}," \
	"\"mmds\":{\"rx_accepted\":0,\"rx_accepted_err\":0,\"rx_accepted_unusual\":0," \
	"\"rx_bad_eth\":0,\"rx_invalid_token\":0,\"rx_no_token\":0,\"rx_count\":0," \
	"\"tx_bytes\":0,\"tx_count\":0,\"tx_errors\":0,\"tx_frames\":0," \
	"\"connections_created\":0,\"connections_destroyed\":0}," \
	"\"net\":{\"activate_fails\":0,\"cfg_fails\":0,\"mac_address_updates\":0," \
	"\"no_rx_avail_buffer\":0,\"no_tx_avail_buffer\":0,\"event_fails\":0," \
	"\"rx_queue_event_count\":0,\"rx_event_rate_limiter_count\":0," \
	"\"rx_rate_limiter_throttled\":0,\"rx_tap_event_count\":0,\"rx_bytes_count\":0," \
	"\"rx_packets_count\":0,\"rx_fails\":0,\"rx_count\":0,\"tap_read_fails\":0," \
	"\"tap_write_fails\":0,\"tap_write_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"tx_bytes_count\":0,\"tx_malformed_frames\":0,\"tx_fails\":0,\"tx_count\":0," \
	"\"tx_packets_count\":0,\"tx_queue_event_count\":0,\"tx_rate_limiter_event_count\":0," \
	"\"tx_rate_limiter_throttled\":0,\"tx_spoofed_mac_count\":0," \
	"\"tx_remaining_reqs_count\":0}," \
	"\"patch_api_requests\":{\"drive_count\":0,\"drive_fails\":0,\"network_count\":0," \
	"\"network_fails\":0,\"machine_cfg_count\":0,\"machine_cfg_fails\":0," \
	"\"mmds_count\":0,\"mmds_fails\":0,\"hotplug_memory_count\":0," \
	"\"hotplug_memory_fails\":0,\"pmem_count\":0,\"pmem_fails\":0}," \
	"\"put_api_requests\":{\"actions_count\":0,\"actions_fails\":0," \
	"\"boot_source_count\":0,\"boot_source_fails\":0,\"drive_count\":0,\"drive_fails\":0," \
	"\"logger_count\":0,\"logger_fails\":0,\"machine_cfg_count\":0," \
	"\"machine_cfg_fails\":0,\"cpu_cfg_count\":0,\"cpu_cfg_fails\":0,\"metrics_count\":0," \
	"\"metrics_fails\":0,\"network_count\":0,\"network_fails\":0,\"mmds_count\":0," \
	"\"mmds_fails\":0,\"vsock_count\":0,\"vsock_fails\":0,\"pmem_count\":0," \
	"\"pmem_fails\":0,\"serial_count\":0,\"serial_fails\":0,\"hotplug_memory_count\":0," \
	"\"hotplug_memory_fails\":0}," \
	"\"seccomp\":{\"num_faults\":0}," \
	"\"vcpu\":{\"exit_io_in\":0,\"exit_io_out\":0,\"exit_mmio_read\":0," \
	"\"exit_mmio_write\":0,\"failures\":0,\"kvmclock_ctrl_fails\":0," \
	"\"exit_io_in_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"exit_io_out_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"exit_mmio_read_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"exit_mmio_write_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}}," \
	"\"vmm\":{\"panic_count\":0}," \
	"\"signals\":{\"sigbus\":0,\"sigsegv\":0,\"sigxfsz\":0,\"sigxcpu\":0,\"sigpipe\":0," \
	"\"sighup\":0,\"sigill\":0}," \
	"\"vsock\":{\"activate_fails\":0,\"cfg_fails\":0,\"rx_queue_event_fails\":0," \
	"\"tx_queue_event_fails\":0,\"ev_queue_event_fails\":0,\"muxer_event_fails\":0," \
	"\"conn_event_fails\":0,\"rx_queue_event_count\":0,\"tx_queue_event_count\":0," \
	"\"rx_bytes_count\":0,\"tx_bytes_count\":0,\"rx_packets_count\":0," \
	"\"tx_packets_count\":0,\"conns_added\":0,\"conns_killed\":0,\"conns_removed\":0," \
	"\"killq_resync\":0,\"tx_flush_fails\":0,\"tx_write_fails\":0,\"rx_read_fails\":0}," \
	"\"entropy\":{\"activate_fails\":0,\"entropy_event_fails\":0," \
	"\"entropy_event_count\":0,\"entropy_bytes\":0,\"host_rng_fails\":0," \
	"\"entropy_rate_limiter_throttled\":0,\"rate_limiter_event_count\":0}," \
	"\"pmem\":{\"activate_fails\":0,\"cfg_fails\":0,\"event_fails\":0," \
	"\"queue_event_count\":0,\"rate_limiter_throttled_events\":0," \
	"\"rate_limiter_event_count\":0}," \
	"\"interrupts\":{\"triggers\":0,\"config_updates\":0}," \
	"\"memory_hotplug\":{\"activate_fails\":0,\"queue_event_fails\":0," \
	"\"queue_event_count\":0,\"plug_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0}," \
	"\"plug_count\":0,\"plug_bytes\":0,\"plug_fails\":0,\"unplug_agg\":{\"min_us\":0," \
	"\"max_us\":0,\"sum_us\":0},\"unplug_count\":0,\"unplug_bytes\":0,\"unplug_fails\":0," \
	"\"unplug_discard_fails\":0,\"unplug_all_agg\":{\"min_us\":0,\"max_us\":0," \
	"\"sum_us\":0},\"unplug_all_count\":0,\"unplug_all_fails\":0," \
	"\"state_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":0},\"state_count\":0," \
	"\"state_fails\":0}"


struct fixture {
	struct metrics *metrics;
	char dir[32];
	char path[48];
	char *text;	/* what read_file() read last */
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->dir, "/tmp/test-metrics-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	sprintf(fixture->path, "%s/metrics", fixture->dir);
	assert_int_equal(metrics_new(&fixture->metrics), 0);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	metrics_free(fixture->metrics);
	unlink(fixture->path);
	rmdir(fixture->dir);
	free(fixture->text);
	free(fixture);
	return 0;
}

static void open_metrics(struct fixture *fixture)
{
	struct squib_metrics config = { .metrics_path = fixture->path };

	assert_int_equal(metrics_open(fixture->metrics, &config, "id", NULL), 0);
}

static char *read_file(struct fixture *fixture)
{
	FILE *file = fopen(fixture->path, "re");
	size_t size = 1 << 22, len;

	assert_non_null(file);
	free(fixture->text);
	fixture->text = malloc(size);
	len = fread(fixture->text, 1, size - 1, file);
	fixture->text[len] = '\0';
	fclose(file);
	return fixture->text;
}

/* Write a line and return it, newline and all. */
static char *next_line(struct fixture *fixture)
{
	assert_int_equal(truncate(fixture->path, 0), 0);
	assert_int_equal(metrics_write(fixture->metrics), 1);
	return read_file(fixture);
}

/* The number of @member, searched behind the group @key. */
static uint64_t number(const char *line, const char *key, const char *member)
{
	char quoted[128];

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	line = strstr(line, quoted);
	assert_non_null(line);
	snprintf(quoted, sizeof(quoted), "\"%s\":", member);
	line = strstr(line, quoted);
	assert_non_null(line);
	return strtoull(line + strlen(quoted), NULL, 10);
}

static void check_zero_line(const char *line, const char *want)
{
	static const char begin[] = "{\"utc_timestamp_ms\":";
	char *end;
	uint64_t ms;

	assert_memory_equal(line, begin, strlen(begin));
	ms = strtoull(line + strlen(begin), &end, 10);
	assert_true(ms / 1000 + 5 > (uint64_t)time(NULL) && ms / 1000 <= (uint64_t)time(NULL));
	assert_int_equal(*end, ',');
	assert_string_equal(end + 1, want);
}

static void a_line_has_upstreams_members_in_upstreams_order(void **state)
{
	struct fixture *fixture = *state;

	open_metrics(fixture);
	check_zero_line(next_line(fixture), ZERO_LINE_BEFORE_RTC ZERO_LINE_AFTER_RTC "}\n");
	fixture->metrics->has_rtc = true;
	check_zero_line(next_line(fixture),
			ZERO_LINE_BEFORE_RTC ZERO_LINE_RTC ZERO_LINE_AFTER_RTC "}\n");
}

/* Puts a different number into each member and finds each in its place. */
#define NUMBER_COUNT(name) metrics_add(&group->name, ++n);
#define NUMBER_VALUE(name) metrics_store(&group->name, ++n);
#define NUMBER_TIME(name)  metrics_time(&group->name, ++n);
#define NUMBER(name, MEMBERS) \
	{ \
		struct metrics_##name *group = &fixture->metrics->name; \
		MEMBERS(NUMBER_COUNT, NUMBER_VALUE, NUMBER_TIME) \
	}
#define NUMBER_DEVICE(name, MEMBERS) \
	{ \
		struct metrics_##name *group = \
			metrics_##name##_register(fixture->metrics, "dev"); \
		assert_non_null(group); \
		MEMBERS(NUMBER_COUNT, NUMBER_VALUE, NUMBER_TIME) \
	}
#define CHECK_COUNT(name) assert_int_equal(number(line, key, #name), ++n);
#define CHECK_TIME(name) \
	n++; \
	{ \
		char want[128]; \
		sprintf(want, "\"" #name "\":{\"min_us\":%" PRIu64 ",\"max_us\":%" PRIu64 \
			",\"sum_us\":%" PRIu64 "}", n, n, n); \
		assert_non_null(strstr(strstr(line, key), want)); \
	}
#define CHECK(name, MEMBERS) \
	{ \
		const char *key = #name; \
		MEMBERS(CHECK_COUNT, CHECK_COUNT, CHECK_TIME) \
	}
#define CHECK_DEVICE(name, MEMBERS) \
	{ \
		const char *key = #name "_dev"; \
		MEMBERS(CHECK_COUNT, CHECK_COUNT, CHECK_TIME) \
	}

static void every_member_is_told_in_its_place(void **state)
{
	struct fixture *fixture = *state;
	uint64_t n = 1000;
	const char *line;

	open_metrics(fixture);
	fixture->metrics->has_rtc = true;
	METRICS_GROUPS(NUMBER, NUMBER_DEVICE, NUMBER_DEVICE)
	line = next_line(fixture);
	n = 1000;
	METRICS_GROUPS(CHECK, CHECK_DEVICE, CHECK_DEVICE)
}

static void counters_tell_differences_and_stored_values_stay(void **state)
{
	struct fixture *fixture = *state;
	struct metrics *metrics = fixture->metrics;
	const char *line;

	metrics_add(&metrics->put_api_requests.drive_count, 3);	/* before there is a file */
	metrics_store(&metrics->latencies_us.pause_vm, 77);
	metrics_time(&metrics->vcpu.exit_io_in_agg, 5);
	metrics_time(&metrics->vcpu.exit_io_in_agg, 2);
	metrics_time(&metrics->vcpu.exit_io_in_agg, 9);
	open_metrics(fixture);
	line = next_line(fixture);
	assert_int_equal(number(line, "put_api_requests", "drive_count"), 3);
	assert_int_equal(number(line, "latencies_us", "pause_vm"), 77);
	assert_non_null(strstr(line, "\"exit_io_in_agg\":{\"min_us\":2,\"max_us\":9,\"sum_us\":16}"));

	metrics_inc(&metrics->put_api_requests.drive_count);
	line = next_line(fixture);
	assert_int_equal(number(line, "put_api_requests", "drive_count"), 1);
	assert_int_equal(number(line, "latencies_us", "pause_vm"), 77);
	assert_non_null(strstr(line, "\"exit_io_in_agg\":{\"min_us\":2,\"max_us\":9,\"sum_us\":0}"));
	assert_int_equal(number(next_line(fixture), "put_api_requests", "drive_count"), 0);
}

static void devices_are_sorted_and_summed(void **state)
{
	struct fixture *fixture = *state;
	struct metrics *metrics = fixture->metrics;
	struct metrics_block *root = metrics_block_register(metrics, "rootfs");
	struct metrics_block *data = metrics_block_register(metrics, "data");
	struct metrics_net *net = metrics_net_register(metrics, "a\"b");
	const char *line;

	open_metrics(fixture);
	assert_ptr_equal(metrics_block_register(metrics, "rootfs"), root);
	metrics_add(&root->read_bytes, 512);
	metrics_add(&data->read_bytes, 4096);
	metrics_time(&data->read_agg, 40);
	metrics_inc(&net->tx_count);
	line = next_line(fixture);
	assert_int_equal(number(line, "block_rootfs", "read_bytes"), 512);
	assert_int_equal(number(line, "block_data", "read_bytes"), 4096);
	assert_int_equal(number(line, "block", "read_bytes"), 4608);
	assert_true(strstr(line, "\"block_data\"") < strstr(line, "\"block_rootfs\""));
	assert_true(strstr(line, "\"block_rootfs\"") < strstr(line, "\"block\""));
	/* upstream's sum has no minimum and maximum */
	assert_non_null(strstr(strstr(line, "\"block\""),
			       "\"read_agg\":{\"min_us\":0,\"max_us\":0,\"sum_us\":40}"));
	assert_int_equal(number(line, "net_a\\\"b", "tx_count"), 1);
	assert_int_equal(number(line, "net", "tx_count"), 1);
}

static void a_device_that_is_gone_still_counts_once(void **state)
{
	struct fixture *fixture = *state;
	struct metrics_pmem *pmem = metrics_pmem_register(fixture->metrics, "p0");
	const char *line;

	open_metrics(fixture);
	metrics_add(&pmem->queue_event_count, 5);
	next_line(fixture);
	metrics_add(&pmem->queue_event_count, 2);
	metrics_pmem_unregister(fixture->metrics, pmem);
	metrics_pmem_unregister(fixture->metrics, NULL);
	line = next_line(fixture);
	assert_null(strstr(line, "pmem_p0"));
	assert_int_equal(number(line, "pmem", "queue_event_count"), 2);
	pmem = metrics_pmem_register(fixture->metrics, "p0");
	assert_non_null(pmem);
	assert_int_equal(number(next_line(fixture), "pmem", "queue_event_count"), 0);
}

static void id_and_properties_come_after_the_time(void **state)
{
	static const struct squib_property properties[] = {
		{ "zone", "b" }, { "customer", "x" }, { "a \"name\"", "" }, { "customer", "y\n" },
	};
	struct fixture *fixture = *state;
	struct squib_metrics config = {
		.metrics_path = fixture->path, .emit_id = true,
		.properties = properties, .property_count = ARRAY_SIZE(properties),
	};

	assert_int_equal(metrics_open(fixture->metrics, &config, "my-vm", NULL), 0);
	check_zero_line(next_line(fixture),
			"\"id\":\"my-vm\",\"properties\":{\"a \\\"name\\\"\":\"\","
			"\"customer\":\"y\\n\",\"zone\":\"b\"},"
			ZERO_LINE_BEFORE_RTC ZERO_LINE_AFTER_RTC "}\n");
}

static void an_empty_map_of_properties_is_told(void **state)
{
	struct fixture *fixture = *state;
	struct squib_metrics config = {
		.metrics_path = fixture->path, .properties = (struct squib_property[1]){ { 0 } },
	};

	assert_int_equal(metrics_open(fixture->metrics, &config, "my-vm", NULL), 0);
	check_zero_line(next_line(fixture), "\"properties\":{},"
					    ZERO_LINE_BEFORE_RTC ZERO_LINE_AFTER_RTC "}\n");
}

static void opening_works_once_and_says_why_not(void **state)
{
	struct fixture *fixture = *state;
	struct squib_metrics config = { .metrics_path = "/no/such/dir/metrics" };
	CLEANUP(fault_done) struct fault fault = FAULT_INIT;

	assert_int_equal(metrics_write(fixture->metrics), 0);
	assert_int_equal(metrics_open(fixture->metrics, &config, "id", &fault), -ENOENT);
	assert_string_equal(fault_text(&fault),
			    "Cannot initialize the metrics system due to bad user input: "
			    "No such file or directory (os error 2)");
	config.metrics_path = "/";
	assert_int_equal(metrics_open(fixture->metrics, &config, "id", &fault), -EISDIR);
	open_metrics(fixture);
	assert_string_equal(read_file(fixture), "");	/* opening writes nothing */
	config.metrics_path = fixture->path;
	assert_int_equal(metrics_open(fixture->metrics, &config, "id", &fault), -EALREADY);
	assert_string_equal(fault_text(&fault),
			    "Cannot initialize the metrics system due to bad user input: "
			    "Reinitialization of metrics not allowed.");
	assert_int_equal(metrics_write(fixture->metrics), 1);
}

static void what_was_in_the_file_stays(void **state)
{
	struct fixture *fixture = *state;
	char moved[64];
	FILE *file = fopen(fixture->path, "we");

	fputs("old\n", file);
	fclose(file);
	open_metrics(fixture);
	assert_int_equal(metrics_write(fixture->metrics), 1);
	assert_memory_equal(read_file(fixture), "old\n{\"utc", 8);

	/* rotated by renaming: goes on there, as nobody told us */
	sprintf(moved, "%s.1", fixture->path);
	assert_int_equal(rename(fixture->path, moved), 0);
	assert_int_equal(metrics_write(fixture->metrics), 1);
	assert_int_equal(rename(moved, fixture->path), 0);
	assert_int_equal(number(strchr(strchr(read_file(fixture), '\n') + 1, '\n'), "vmm",
				"panic_count"), 0);

	/* rotated by copying and truncating: no hole of zero bytes */
	assert_int_equal(truncate(fixture->path, 0), 0);
	assert_int_equal(metrics_write(fixture->metrics), 1);
	assert_memory_equal(read_file(fixture), "{\"utc", 5);
}

static size_t read_some(int fd, char *data, size_t size)
{
	ssize_t n = read(fd, data, size);

	assert_true(n > 0);
	return (size_t)n;
}

static void a_full_fifo_costs_lines_but_no_counts(void **state)
{
	struct fixture *fixture = *state;
	struct metrics *metrics = fixture->metrics;
	char *text = calloc(1, 1 << 17), *line, *end;
	uint64_t written = 0, told = 0, missed = 0, dropped = 0;
	size_t len = 0;
	int fd;

	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	open_metrics(fixture);		/* without a reader */
	fd = open(fixture->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	fcntl(fd, F_SETPIPE_SZ, 4096);	/* a line takes more, so the first is cut */
	for (int i = 0; i < 5; i++) {
		int r;

		metrics_add(&metrics->balloon.inflate_count, 10);
		written += 10;
		r = metrics_write(metrics);
		assert_true(r == 1 || r == -EAGAIN);
		dropped += r < 0;
	}
	assert_int_equal(dropped, 4);
	len += read_some(fd, text, 4096);
	assert_int_equal(metrics_write(metrics), 1);	/* the rest of the first, and a new one */
	while (memchr(text, '\n', len) == NULL || text[len - 1] != '\n') {
		len += read_some(fd, text + len, 4096);
		metrics_write(metrics);		/* makes it finish what it began, may add more */
	}
	for (line = text; (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		assert_memory_equal(line, "{\"utc_timestamp_ms\":", 20);
		assert_memory_equal(end - 2, "}}", 2);
		told += number(line, "balloon", "inflate_count");
		missed += number(line, "logger", "missed_metrics_count");
		assert_null(strstr(line + 20, "utc_timestamp_ms"));
	}
	assert_int_equal(told, written);
	assert_true(missed >= dropped);
	close(fd);
	free(text);
}

static void a_handler_of_signals_can_write_one(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(metrics_write_from_signal(fixture->metrics), 0);
	open_metrics(fixture);
	metrics_store(&fixture->metrics->signals.sigsegv, 1);
	metrics_inc(&fixture->metrics->balloon.event_fails);
	assert_int_equal(metrics_write_from_signal(fixture->metrics), 1);
	assert_int_equal(number(read_file(fixture), "signals", "sigsegv"), 1);
	assert_int_equal(number(next_line(fixture), "balloon", "event_fails"), 0);
}

struct bumper {
	struct metrics *metrics;
	struct metrics_block *block;
	_Atomic bool stop;
	uint64_t count;
};

static void *bump(void *data)
{
	struct bumper *bumper = data;

	while (!atomic_load(&bumper->stop)) {
		metrics_inc(&bumper->block->read_count);
		metrics_inc(&bumper->metrics->vcpu.exit_io_in);
		metrics_time(&bumper->metrics->vcpu.exit_io_in_agg, 1 + bumper->count % 7);
		bumper->count++;
	}
	return NULL;
}

static void *write_lines(void *data)
{
	for (int i = 0; i < 100; i++) {
		int r = i % 2 ? metrics_write(data) : metrics_write_from_signal(data);

		assert_true(r == 1 || r == -EBUSY);
	}
	return NULL;
}

static void nothing_is_lost_while_lines_are_written(void **state)
{
	struct fixture *fixture = *state;
	struct bumper bumpers[2] = { 0 };
	pthread_t threads[4];
	uint64_t want = 0, exits = 0, reads = 0, sums = 0;
	char *line, *end;

	open_metrics(fixture);
	for (int i = 0; i < 2; i++) {
		bumpers[i].metrics = fixture->metrics;
		bumpers[i].block = metrics_block_register(fixture->metrics, i ? "b" : "a");
	}
	for (int i = 0; i < 2; i++) {
		pthread_create(&threads[i], NULL, bump, &bumpers[i]);
		pthread_create(&threads[2 + i], NULL, write_lines, fixture->metrics);
	}
	for (int i = 0; i < 100; i++)
		metrics_block_unregister(fixture->metrics,
					 metrics_block_register(fixture->metrics, "c"));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[2 + i], NULL);
	for (int i = 0; i < 2; i++) {
		atomic_store(&bumpers[i].stop, true);
		pthread_join(threads[i], NULL);
		want += bumpers[i].count;
	}
	assert_int_equal(metrics_write(fixture->metrics), 1);
	for (line = read_file(fixture); (end = strchr(line, '\n')) != NULL; line = end + 1) {
		*end = '\0';
		exits += number(line, "vcpu", "exit_io_in");
		reads += number(line, "block", "read_count");
		sums += number(line, "block_a", "read_count") + number(line, "block_b", "read_count");
	}
	assert_int_equal(exits, want);
	assert_int_equal(reads, want);
	assert_int_equal(sums, want);
}

#define FILL_COUNT(name) metrics_add(&group->name, UINT64_MAX);
#define FILL_VALUE(name) metrics_store(&group->name, UINT64_MAX);
#define FILL_TIME(name)	 metrics_time(&group->name, UINT64_MAX);
#define FILL(name, MEMBERS) \
	{ \
		struct metrics_##name *group = &fixture->metrics->name; \
		MEMBERS(FILL_COUNT, FILL_VALUE, FILL_TIME) \
	}
#define FILL_DEVICE(name, MEMBERS) \
	for (int i = 0; i < devices; i++) { \
		char id[16]; \
		struct metrics_##name *group; \
		sprintf(id, "device-%d", i); \
		group = metrics_##name##_register(fixture->metrics, id); \
		MEMBERS(FILL_COUNT, FILL_VALUE, FILL_TIME) \
	}

static void long_lines_are_whole(void **state)
{
	struct fixture *fixture = *state;
	int devices = 12;	/* of each class */
	size_t len;

	open_metrics(fixture);
	METRICS_GROUPS(FILL, FILL_DEVICE, FILL_DEVICE)
	len = strlen(next_line(fixture));
	assert_in_range(len, 30000, 65535);	/* all numbers as long as can be */

	devices = 60;
	METRICS_GROUPS(METRICS_NO_FUNCTIONS, FILL_DEVICE, FILL_DEVICE)
	assert_int_equal(metrics_write_from_signal(fixture->metrics), -ENOMEM);
	len = strlen(next_line(fixture));
	assert_true(len > 65536);
	assert_int_equal(number(fixture->text, "net_device-59", "tx_count"), UINT64_MAX);
	assert_string_equal(fixture->text + len - 3, "}}\n");
	assert_int_equal(metrics_write_from_signal(fixture->metrics), 1);	/* has room now */
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_line_has_upstreams_members_in_upstreams_order),
		TEST(every_member_is_told_in_its_place),
		TEST(counters_tell_differences_and_stored_values_stay),
		TEST(devices_are_sorted_and_summed),
		TEST(a_device_that_is_gone_still_counts_once),
		TEST(id_and_properties_come_after_the_time),
		TEST(an_empty_map_of_properties_is_told),
		TEST(opening_works_once_and_says_why_not),
		TEST(what_was_in_the_file_stays),
		TEST(a_full_fifo_costs_lines_but_no_counts),
		TEST(a_handler_of_signals_can_write_one),
		TEST(nothing_is_lost_while_lines_are_written),
		TEST(long_lines_are_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
