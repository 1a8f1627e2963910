/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics, as contract 8.2: counters that any thread bumps, and the one JSON line that tells
 * them. One object a process. Bumping is a relaxed atomic and takes no lock:
 *
 *	metrics_inc(&metrics->put_api_requests.drive_count);
 *	metrics_add(&disk->read_bytes, len);
 *
 * The lists below are the only place where a member is named: the structs, the writer's tables and
 * the test are made from them. Their order is the order of the line. C is a counter (the line tells
 * what was added since the last line), S a stored value (told as it is), T a latency aggregate.
 */
#ifndef SQUIB_BASE_METRICS_H
#define SQUIB_BASE_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <squib/config.h>

#include "base/fault.h"
#include "base/util.h"

struct metric_count {
	_Atomic uint64_t value;
	uint64_t told;		/* the writer's: what lines so far have told of it */
	uint64_t telling;	/* the writer's: what the line in the making tells up to */
};

struct metric_value {
	_Atomic uint64_t value;
};

struct metric_time {
	struct metric_value min_us;	/* 0: nothing measured yet */
	struct metric_value max_us;
	struct metric_count sum_us;
};

#define METRICS_API_SERVER(C, S, T) \
	S(process_startup_time_us) S(process_startup_time_cpu_us)

#define METRICS_BALLOON(C, S, T) \
	C(activate_fails) C(inflate_count) C(stats_updates_count) C(stats_update_fails) \
	C(deflate_count) C(event_fails) \
	C(free_page_report_count) C(free_page_report_freed) C(free_page_report_fails) \
	C(free_page_hint_count) C(free_page_hint_freed) C(free_page_hint_fails)

#define METRICS_BLOCK(C, S, T) \
	C(activate_fails) C(cfg_fails) C(no_avail_buffer) C(event_fails) C(execute_fails) \
	C(invalid_reqs_count) C(flush_count) C(queue_event_count) C(rate_limiter_event_count) \
	C(update_count) C(update_fails) \
	C(read_bytes) C(write_bytes) C(read_count) C(write_count) T(read_agg) T(write_agg) \
	C(rate_limiter_throttled_events) C(io_engine_throttled_events) C(remaining_reqs_count)

#define METRICS_DEPRECATED_API(C, S, T) \
	C(deprecated_http_api_calls)

#define METRICS_GET_API_REQUESTS(C, S, T) \
	C(instance_info_count) C(machine_cfg_count) C(mmds_count) C(vmm_version_count) \
	C(hotplug_memory_count)

#define METRICS_I8042(C, S, T) \
	C(error_count) C(missed_read_count) C(missed_write_count) C(read_count) C(reset_count) \
	C(write_count)

#define METRICS_RTC(C, S, T) \
	C(error_count) C(missed_read_count) C(missed_write_count)

#define METRICS_UART(C, S, T) \
	C(error_count) C(flush_count) C(missed_read_count) C(missed_write_count) C(read_count) \
	C(write_count) C(rate_limiter_dropped_bytes)

#define METRICS_LATENCIES_US(C, S, T) \
	S(full_create_snapshot) S(diff_create_snapshot) S(load_snapshot) S(pause_vm) S(resume_vm) \
	S(vmm_full_create_snapshot) S(vmm_diff_create_snapshot) S(vmm_load_snapshot) \
	S(vmm_pause_vm) S(vmm_resume_vm)

#define METRICS_LOGGER(C, S, T) \
	C(missed_metrics_count) C(metrics_fails) C(missed_log_count) C(rate_limited_log_count)

#define METRICS_MMDS(C, S, T) \
	C(rx_accepted) C(rx_accepted_err) C(rx_accepted_unusual) C(rx_bad_eth) \
	C(rx_invalid_token) C(rx_no_token) C(rx_count) C(tx_bytes) C(tx_count) C(tx_errors) \
	C(tx_frames) C(connections_created) C(connections_destroyed)

#define METRICS_NET(C, S, T) \
	C(activate_fails) C(cfg_fails) C(mac_address_updates) C(no_rx_avail_buffer) \
	C(no_tx_avail_buffer) C(event_fails) C(rx_queue_event_count) \
	C(rx_event_rate_limiter_count) C(rx_rate_limiter_throttled) C(rx_tap_event_count) \
	C(rx_bytes_count) C(rx_packets_count) C(rx_fails) C(rx_count) C(tap_read_fails) \
	C(tap_write_fails) T(tap_write_agg) C(tx_bytes_count) C(tx_malformed_frames) C(tx_fails) \
	C(tx_count) C(tx_packets_count) C(tx_queue_event_count) C(tx_rate_limiter_event_count) \
	C(tx_rate_limiter_throttled) C(tx_spoofed_mac_count) C(tx_remaining_reqs_count)

#define METRICS_PATCH_API_REQUESTS(C, S, T) \
	C(drive_count) C(drive_fails) C(network_count) C(network_fails) \
	C(machine_cfg_count) C(machine_cfg_fails) C(mmds_count) C(mmds_fails) \
	C(hotplug_memory_count) C(hotplug_memory_fails) C(pmem_count) C(pmem_fails)

#define METRICS_PUT_API_REQUESTS(C, S, T) \
	C(actions_count) C(actions_fails) C(boot_source_count) C(boot_source_fails) \
	C(drive_count) C(drive_fails) C(logger_count) C(logger_fails) \
	C(machine_cfg_count) C(machine_cfg_fails) C(cpu_cfg_count) C(cpu_cfg_fails) \
	C(metrics_count) C(metrics_fails) C(network_count) C(network_fails) \
	C(mmds_count) C(mmds_fails) C(vsock_count) C(vsock_fails) C(pmem_count) C(pmem_fails) \
	C(serial_count) C(serial_fails) C(hotplug_memory_count) C(hotplug_memory_fails)

#define METRICS_SECCOMP(C, S, T) \
	S(num_faults)

#define METRICS_VCPU(C, S, T) \
	C(exit_io_in) C(exit_io_out) C(exit_mmio_read) C(exit_mmio_write) C(failures) \
	C(kvmclock_ctrl_fails) T(exit_io_in_agg) T(exit_io_out_agg) T(exit_mmio_read_agg) \
	T(exit_mmio_write_agg)

#define METRICS_VMM(C, S, T) \
	S(panic_count)

#define METRICS_SIGNALS(C, S, T) \
	S(sigbus) S(sigsegv) S(sigxfsz) S(sigxcpu) C(sigpipe) S(sighup) S(sigill)

#define METRICS_VSOCK(C, S, T) \
	C(activate_fails) C(cfg_fails) C(rx_queue_event_fails) C(tx_queue_event_fails) \
	C(ev_queue_event_fails) C(muxer_event_fails) C(conn_event_fails) \
	C(rx_queue_event_count) C(tx_queue_event_count) C(rx_bytes_count) C(tx_bytes_count) \
	C(rx_packets_count) C(tx_packets_count) C(conns_added) C(conns_killed) C(conns_removed) \
	C(killq_resync) C(tx_flush_fails) C(tx_write_fails) C(rx_read_fails)

#define METRICS_ENTROPY(C, S, T) \
	C(activate_fails) C(entropy_event_fails) C(entropy_event_count) C(entropy_bytes) \
	C(host_rng_fails) C(entropy_rate_limiter_throttled) C(rate_limiter_event_count)

#define METRICS_PMEM(C, S, T) \
	C(activate_fails) C(cfg_fails) C(event_fails) C(queue_event_count) \
	C(rate_limiter_throttled_events) C(rate_limiter_event_count)

#define METRICS_VHOST_USER_BLOCK(C, S, T) \
	C(activate_fails) C(cfg_fails) S(init_time_us) S(activate_time_us) \
	S(config_change_time_us)

#define METRICS_INTERRUPTS(C, S, T) \
	C(triggers) C(config_updates)

#define METRICS_MEMORY_HOTPLUG(C, S, T) \
	C(activate_fails) C(queue_event_fails) C(queue_event_count) \
	T(plug_agg) C(plug_count) C(plug_bytes) C(plug_fails) \
	T(unplug_agg) C(unplug_count) C(unplug_bytes) C(unplug_fails) C(unplug_discard_fails) \
	T(unplug_all_agg) C(unplug_all_count) C(unplug_all_fails) \
	T(state_agg) C(state_count) C(state_fails)

/*
 * The groups, in the order of the line. G: one of it. D: one for each registered device, named
 * "‹group›_‹id›" and sorted by id, then their sum. V: as D without a sum.
 */
#define METRICS_GROUPS(G, D, V) \
	G(api_server, METRICS_API_SERVER) \
	G(balloon, METRICS_BALLOON) \
	D(block, METRICS_BLOCK) \
	G(deprecated_api, METRICS_DEPRECATED_API) \
	G(get_api_requests, METRICS_GET_API_REQUESTS) \
	G(i8042, METRICS_I8042) \
	G(rtc, METRICS_RTC) \
	G(uart, METRICS_UART) \
	G(latencies_us, METRICS_LATENCIES_US) \
	G(logger, METRICS_LOGGER) \
	G(mmds, METRICS_MMDS) \
	D(net, METRICS_NET) \
	G(patch_api_requests, METRICS_PATCH_API_REQUESTS) \
	G(put_api_requests, METRICS_PUT_API_REQUESTS) \
	G(seccomp, METRICS_SECCOMP) \
	G(vcpu, METRICS_VCPU) \
	G(vmm, METRICS_VMM) \
	G(signals, METRICS_SIGNALS) \
	G(vsock, METRICS_VSOCK) \
	G(entropy, METRICS_ENTROPY) \
	D(pmem, METRICS_PMEM) \
	V(vhost_user_block, METRICS_VHOST_USER_BLOCK) \
	G(interrupts, METRICS_INTERRUPTS) \
	G(memory_hotplug, METRICS_MEMORY_HOTPLUG)

#define METRICS_COUNT_FIELD(name) struct metric_count name;
#define METRICS_VALUE_FIELD(name) struct metric_value name;
#define METRICS_TIME_FIELD(name) struct metric_time name;
#define METRICS_DECLARE(name, MEMBERS) \
	struct metrics_##name { \
		MEMBERS(METRICS_COUNT_FIELD, METRICS_VALUE_FIELD, METRICS_TIME_FIELD) \
	};
METRICS_GROUPS(METRICS_DECLARE, METRICS_DECLARE, METRICS_DECLARE)

struct metrics_device;	/* a registered one */
struct metrics_writer;	/* the file, the line's buffer, the lock */

/*
 * What a device class has: its devices, and what those that are gone counted since the last line.
 */
#define METRICS_GROUP_FIELD(name, MEMBERS) struct metrics_##name name;
#define METRICS_DEVICES_FIELD(name, MEMBERS) \
	struct { struct metrics_device *first; struct metrics_##name gone; } name;

struct metrics {
	bool has_rtc;			/* the guest is aarch64: the line has "rtc" */
	struct metrics_writer *writer;
	METRICS_GROUPS(METRICS_GROUP_FIELD, METRICS_DEVICES_FIELD, METRICS_DEVICES_FIELD)
};

static inline void metrics_add(struct metric_count *count, uint64_t n)
{
	atomic_fetch_add_explicit(&count->value, n, memory_order_relaxed);
}

static inline void metrics_inc(struct metric_count *count)
{
	metrics_add(count, 1);
}

static inline void metrics_store(struct metric_value *value, uint64_t n)
{
	atomic_store_explicit(&value->value, n, memory_order_relaxed);
}

/** metrics_time() - one operation took @us; as upstream, minimum and maximum are not reset */
void metrics_time(struct metric_time *time, uint64_t us);

/** metrics_new() - all zero, no file; 0 or -ENOMEM. has_rtc may be set until the first line */
int metrics_new(struct metrics **ret_metrics);
/** metrics_free() - no device may be used any more. Writes no new line. Accepts NULL */
void metrics_free(struct metrics *metrics);
DEFINE_CLEANUP(struct metrics *, metrics_free)

/**
 * metrics_‹class›_register() - counters of device @id, for block, net, pmem, vhost_user_block
 *
 * What is registered under that id already is given again. They stay where they are until
 * metrics_‹class›_unregister(), which takes NULL too; what was not told by then still counts for
 * the sum of the class in the next line. NULL: out of memory. Any thread.
 */
#define METRICS_NO_FUNCTIONS(name, MEMBERS)
#define METRICS_DEVICE_FUNCTIONS(name, MEMBERS) \
	struct metrics_##name *metrics_##name##_register(struct metrics *metrics, const char *id); \
	void metrics_##name##_unregister(struct metrics *metrics, struct metrics_##name *device);
METRICS_GROUPS(METRICS_NO_FUNCTIONS, METRICS_DEVICE_FUNCTIONS, METRICS_DEVICE_FUNCTIONS)

/**
 * metrics_open() - PUT /metrics, --metrics-path: lines go to config->metrics_path from now on
 * @id: the instance id, for config->emit_id
 *
 * Works once. The file is opened non-blocking, read-write, created; a FIFO needs no reader. Writes
 * no line.
 *
 * Return: 0, or a negative errno with @fault "Cannot initialize the metrics system due to bad user
 * input: ‹reason›".
 */
int metrics_open(struct metrics *metrics, const struct squib_metrics *config, const char *id,
		 struct fault *fault);

/**
 * metrics_write() - write a line. Any thread
 *
 * A line that cannot be written whole or left to be finished is dropped and counted in
 * missed_metrics_count; the next line then tells what it would have told.
 *
 * Return: 1 when a line was written, 0 when no file is open, -errno when the line was dropped
 * (-EAGAIN: a FIFO that nobody reads is full).
 */
int metrics_write(struct metrics *metrics);

/**
 * metrics_write_from_signal() - as metrics_write(), for a handler of a fatal signal
 *
 * Allocates nothing and waits for a writer in another thread only for a moment: if the lock stays
 * held, the interrupted code may be the writer itself, and no line is written (-EBUSY).
 */
int metrics_write_from_signal(struct metrics *metrics);

#endif
