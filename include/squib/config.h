/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed forms of every body that the Firecracker API accepts.
 *
 * A value of one of these types has been decoded and validated: all fields are in range, ids
 * have the right syntax, defaults are filled in. Fields keep their documented spelling, with the
 * unit added where the API leaves it out.
 *
 * Ownership: these structs and everything they point to are immutable and belong to the action
 * or machine description they came with (action.h); they live as long as it does. A NULL
 * pointer means "absent or null" in the request. Strings end in NUL and hold none inside.
 */
#ifndef SQUIB_CONFIG_H
#define SQUIB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A token bucket as sent. size 0 or refill_time_ms 0: no limit (on PATCH: remove the limit). */
struct squib_token_bucket {
	uint64_t size;			/* bytes (bandwidth) or requests (ops) */
	uint64_t one_time_burst;	/* extra tokens at the start; 0 when absent */
	uint64_t refill_time_ms;	/* time to fill an empty bucket ("refill_time") */
};

struct squib_rate_limiter {
	const struct squib_token_bucket *bandwidth;	/* NULL: absent */
	const struct squib_token_bucket *ops;		/* NULL: absent */
};

enum squib_action_kind {	/* "action_type" of PUT /actions */
	SQUIB_ACTION_KIND_FLUSH_METRICS,
	SQUIB_ACTION_KIND_INSTANCE_START,
	SQUIB_ACTION_KIND_SEND_CTRL_ALT_DEL,
};

struct squib_action_info {	/* PUT /actions */
	enum squib_action_kind action_type;
};

struct squib_boot_source {	/* PUT /boot-source */
	const char *kernel_image_path;
	const char *initrd_path;	/* NULL: none */
	const char *boot_args;		/* NULL: the default command line */
};

enum squib_cpu_template {
	SQUIB_CPU_TEMPLATE_C3,
	SQUIB_CPU_TEMPLATE_T2,
	SQUIB_CPU_TEMPLATE_T2S,
	SQUIB_CPU_TEMPLATE_NONE,
	SQUIB_CPU_TEMPLATE_T2CL,
	SQUIB_CPU_TEMPLATE_T2A,
	SQUIB_CPU_TEMPLATE_V1N1,
};

enum squib_huge_pages {
	SQUIB_HUGE_PAGES_NONE,
	SQUIB_HUGE_PAGES_TRANSPARENT,
	SQUIB_HUGE_PAGES_2M,
};

struct squib_machine_config {	/* PUT /machine-config, and the machine's state */
	uint8_t vcpu_count;		/* 1 to 32 */
	uint64_t mem_size_mib;
	bool smt;
	bool has_cpu_template;		/* on PUT: the field was there and not null */
	enum squib_cpu_template cpu_template;
	bool track_dirty_pages;
	enum squib_huge_pages huge_pages;
};

struct squib_machine_config_update {	/* PATCH /machine-config: NULL leaves a field as it is */
	const uint8_t *vcpu_count;
	const uint64_t *mem_size_mib;
	const bool *smt;
	const enum squib_cpu_template *cpu_template;
	const bool *track_dirty_pages;
	const enum squib_huge_pages *huge_pages;
};

enum squib_cpuid_register {
	SQUIB_CPUID_EAX,
	SQUIB_CPUID_EBX,
	SQUIB_CPUID_ECX,
	SQUIB_CPUID_EDX,
};

/* A register change: new = (old & ~filter) | value. Up to 128 bits, low half in [0]. */
struct squib_bitmap {
	uint64_t filter[2];
	uint64_t value[2];
};

struct squib_kvm_capability {
	uint32_t number;
	bool remove;			/* written with a leading '!' */
};

struct squib_cpuid_register_modifier {
	enum squib_cpuid_register reg;
	struct squib_bitmap bitmap;	/* 32 bits */
};

struct squib_cpuid_modifier {
	uint32_t leaf;
	uint32_t subleaf;
	uint32_t flags;
	const struct squib_cpuid_register_modifier *modifiers;
	size_t modifier_count;
};

struct squib_register_modifier {	/* MSR (64 bits) or Arm register (up to 128 bits) */
	uint64_t addr;
	struct squib_bitmap bitmap;
};

struct squib_vcpu_feature {
	uint32_t index;
	struct squib_bitmap bitmap;	/* 32 bits */
};

struct squib_cpu_config {	/* PUT /cpu-config; lists of the other architecture are empty */
	const struct squib_kvm_capability *kvm_capabilities;
	size_t kvm_capability_count;
	const struct squib_cpuid_modifier *cpuid_modifiers;
	size_t cpuid_modifier_count;
	const struct squib_register_modifier *msr_modifiers;
	size_t msr_modifier_count;
	const struct squib_vcpu_feature *vcpu_features;
	size_t vcpu_feature_count;
	const struct squib_register_modifier *reg_modifiers;
	size_t reg_modifier_count;
};

struct squib_balloon {		/* PUT /balloon */
	uint32_t amount_mib;
	bool deflate_on_oom;
	uint16_t stats_polling_interval_s;
	bool free_page_hinting;
	bool free_page_reporting;
};

struct squib_balloon_update {	/* PATCH /balloon */
	uint32_t amount_mib;
};

struct squib_balloon_stats_update {	/* PATCH /balloon/statistics */
	uint16_t stats_polling_interval_s;
};

struct squib_balloon_hinting_start {	/* PATCH /balloon/hinting/start */
	bool acknowledge_on_stop;
};

enum squib_cache_type {
	SQUIB_CACHE_UNSAFE,
	SQUIB_CACHE_WRITEBACK,
};

enum squib_io_engine {
	SQUIB_IO_ENGINE_ASYNC,
	SQUIB_IO_ENGINE_SYNC,
};

/* PUT /drives/{drive_id}. Exactly one of path_on_host (virtio) and socket (vhost-user) is set. */
struct squib_drive {
	const char *drive_id;
	const char *partuuid;
	bool is_root_device;
	enum squib_cache_type cache_type;
	bool is_read_only;			/* virtio only */
	const char *path_on_host;
	const struct squib_rate_limiter *rate_limiter;
	enum squib_io_engine io_engine;		/* virtio only */
	const char *socket;
	/*
	 * Which virtio-only fields the request had, so that a drive that mixes both kinds can be
	 * refused; of no use after that.
	 */
	bool has_is_read_only;
	bool has_io_engine;
};

struct squib_drive_update {	/* PATCH /drives/{drive_id} */
	const char *drive_id;
	const char *path_on_host;
	const struct squib_rate_limiter *rate_limiter;
};

struct squib_network_interface {	/* PUT /network-interfaces/{iface_id} */
	const char *iface_id;
	const char *host_dev_name;
	bool has_guest_mac;
	uint8_t guest_mac[6];
	bool has_mtu;
	uint16_t mtu;
	const struct squib_rate_limiter *rx_rate_limiter;
	const struct squib_rate_limiter *tx_rate_limiter;
};

struct squib_network_interface_update {	/* PATCH /network-interfaces/{iface_id} */
	const char *iface_id;
	const struct squib_rate_limiter *rx_rate_limiter;
	const struct squib_rate_limiter *tx_rate_limiter;
};

struct squib_pmem {		/* PUT /pmem/{id} */
	const char *id;
	const char *path_on_host;
	bool root_device;
	bool read_only;
	const struct squib_rate_limiter *rate_limiter;
};

struct squib_pmem_update {	/* PATCH /pmem/{id} */
	const char *id;
	const struct squib_rate_limiter *rate_limiter;
};

struct squib_vsock {		/* PUT /vsock */
	const char *vsock_id;	/* deprecated, without effect */
	uint32_t guest_cid;
	const char *uds_path;
};

struct squib_entropy {		/* PUT /entropy */
	const struct squib_rate_limiter *rate_limiter;
};

struct squib_serial {		/* PUT /serial */
	const char *serial_out_path;			/* NULL: standard output */
	const struct squib_token_bucket *rate_limiter;	/* bytes; NULL: none */
};

enum squib_log_level {
	SQUIB_LOG_OFF,
	SQUIB_LOG_ERROR,
	SQUIB_LOG_WARN,
	SQUIB_LOG_INFO,
	SQUIB_LOG_DEBUG,
	SQUIB_LOG_TRACE,
};

struct squib_logger {		/* PUT /logger; NULL keeps a value, but an absent level is Info */
	const char *log_path;
	enum squib_log_level level;
	const bool *show_level;
	const bool *show_log_origin;
	const char *module;
};

struct squib_property {
	const char *name;
	const char *value;
};

struct squib_metrics {		/* PUT /metrics */
	const char *metrics_path;
	bool emit_id;
	const struct squib_property *properties;	/* sorted by name */
	size_t property_count;
};

struct squib_mmds_data {	/* PUT and PATCH /mmds */
	const char *body;		/* as sent, valid JSON, body_len bytes */
	size_t body_len;
	const char *document;		/* the whole data store once applied: compact JSON */
	size_t document_len;
};

enum squib_mmds_version {
	SQUIB_MMDS_V1,
	SQUIB_MMDS_V2,
};

struct squib_mmds_config {	/* PUT /mmds/config */
	enum squib_mmds_version version;
	const char *const *network_interfaces;
	size_t network_interface_count;
	uint8_t ipv4_address[4];	/* default 169.254.169.254 */
	bool imds_compat;
};

enum squib_vm_state {
	SQUIB_VM_PAUSED,
	SQUIB_VM_RESUMED,
};

struct squib_vm {		/* PATCH /vm */
	enum squib_vm_state state;
};

enum squib_snapshot_type {
	SQUIB_SNAPSHOT_DIFF,
	SQUIB_SNAPSHOT_FULL,
};

struct squib_snapshot_create {	/* PUT /snapshot/create */
	enum squib_snapshot_type snapshot_type;
	const char *snapshot_path;
	const char *mem_file_path;
};

enum squib_mem_backend_type {
	SQUIB_MEM_BACKEND_FILE,
	SQUIB_MEM_BACKEND_UFFD,
};

struct squib_network_override {
	const char *iface_id;
	const char *host_dev_name;
};

enum squib_snapshot_huge_pages {
	SQUIB_SNAPSHOT_HUGE_PAGES_SNAPSHOT,	/* as the machine had when it was saved */
	SQUIB_SNAPSHOT_HUGE_PAGES_NONE,
	SQUIB_SNAPSHOT_HUGE_PAGES_TRANSPARENT,
	SQUIB_SNAPSHOT_HUGE_PAGES_2M,
};

/* PUT /snapshot/load. The deprecated mem_file_path and enable_diff_snapshots are folded in. */
struct squib_snapshot_load {
	const char *snapshot_path;
	enum squib_mem_backend_type backend_type;
	const char *backend_path;
	bool track_dirty_pages;
	bool resume_vm;
	const struct squib_network_override *network_overrides;
	size_t network_override_count;
	const char *vsock_override_uds_path;	/* NULL: none */
	bool clock_realtime;
	enum squib_snapshot_huge_pages huge_pages;
	bool deprecated_fields;			/* a deprecated field was used */
};

struct squib_memory_hotplug {	/* PUT /hotplug/memory */
	uint64_t total_size_mib;
	uint64_t block_size_mib;
	uint64_t slot_size_mib;
};

struct squib_memory_hotplug_update {	/* PATCH /hotplug/memory */
	uint64_t requested_size_mib;
};

/*
 * The whole machine as configured: what InstanceStart is about to start. Order is attach order;
 * a root drive comes first.
 */
struct squib_machine {
	struct squib_machine_config config;
	const struct squib_boot_source *boot_source;	/* never NULL with InstanceStart */
	const struct squib_cpu_config *cpu_config;	/* NULL: none */
	const struct squib_drive *const *drives;
	size_t drive_count;
	const struct squib_network_interface *const *network_interfaces;
	size_t network_interface_count;
	const struct squib_pmem *const *pmems;
	size_t pmem_count;
	const struct squib_vsock *vsock;
	const struct squib_balloon *balloon;
	const struct squib_entropy *entropy;
	const struct squib_serial *serial;
	const struct squib_memory_hotplug *memory_hotplug;
	const struct squib_mmds_config *mmds_config;
};

#endif
