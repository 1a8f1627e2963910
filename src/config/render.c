/* SPDX-License-Identifier: Apache-2.0 */
#include "config/render.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "json/value.h"

#define NS_PER_MS 1000000u

void render_bool(struct buf *out, bool value)
{
	buf_adds(out, value ? "true" : "false");
}

void render_string(struct buf *out, const char *value)
{
	if (value == NULL)
		buf_adds(out, "null");
	else
		buf_add_json_string(out, value, strlen(value));
}

void render_key(struct buf *out, bool first, const char *key)
{
	buf_adds(out, first ? "\"" : ",\"");
	buf_adds(out, key);
	buf_adds(out, "\":");
}

static void key_string(struct buf *out, bool first, const char *key, const char *value)
{
	render_key(out, first, key);
	render_string(out, value);
}

static void key_bool(struct buf *out, bool first, const char *key, bool value)
{
	render_key(out, first, key);
	render_bool(out, value);
}

static void key_u64(struct buf *out, bool first, const char *key, uint64_t value)
{
	render_key(out, first, key);
	json_write_u64(out, value);
}

static void key_null(struct buf *out, bool first, const char *key)
{
	key_string(out, first, key, NULL);
}

static void key_rate_limiter(struct buf *out, bool first, const char *key,
			     const struct squib_rate_limiter *limiter)
{
	render_key(out, first, key);
	render_rate_limiter(out, limiter);
}

bool token_bucket_limits(const struct squib_token_bucket *bucket)
{
	return bucket != NULL && bucket->size > 0 && bucket->refill_time_ms > 0 &&
	       bucket->refill_time_ms <= UINT64_MAX / NS_PER_MS;
}

static void key_token_bucket(struct buf *out, bool first, const char *key,
			     const struct squib_token_bucket *bucket)
{
	if (!token_bucket_limits(bucket)) {
		key_null(out, first, key);
		return;
	}
	render_key(out, first, key);
	buf_addc(out, '{');
	key_u64(out, true, "size", bucket->size);
	if (bucket->one_time_burst > 0)
		key_u64(out, false, "one_time_burst", bucket->one_time_burst);
	else
		key_null(out, false, "one_time_burst");
	key_u64(out, false, "refill_time", bucket->refill_time_ms);
	buf_addc(out, '}');
}

void render_rate_limiter(struct buf *out, const struct squib_rate_limiter *limiter)
{
	if (limiter == NULL || (!token_bucket_limits(limiter->bandwidth) &&
				!token_bucket_limits(limiter->ops))) {
		buf_adds(out, "null");
		return;
	}
	buf_addc(out, '{');
	key_token_bucket(out, true, "bandwidth", limiter->bandwidth);
	key_token_bucket(out, false, "ops", limiter->ops);
	buf_addc(out, '}');
}

void render_balloon(struct buf *out, const struct squib_balloon *balloon)
{
	buf_addc(out, '{');
	key_u64(out, true, "amount_mib", balloon->amount_mib);
	key_bool(out, false, "deflate_on_oom", balloon->deflate_on_oom);
	key_u64(out, false, "stats_polling_interval_s", balloon->stats_polling_interval_s);
	key_bool(out, false, "free_page_hinting", balloon->free_page_hinting);
	key_bool(out, false, "free_page_reporting", balloon->free_page_reporting);
	buf_addc(out, '}');
}

void render_boot_source(struct buf *out, const struct squib_boot_source *source)
{
	static const struct squib_boot_source none = { .kernel_image_path = "" };

	if (source == NULL)
		source = &none;
	buf_addc(out, '{');
	key_string(out, true, "kernel_image_path", source->kernel_image_path);
	key_string(out, false, "initrd_path", source->initrd_path);
	key_string(out, false, "boot_args", source->boot_args);
	buf_addc(out, '}');
}

static const char *io_engine_name(enum squib_io_engine engine)
{
	return engine == SQUIB_IO_ENGINE_ASYNC ? "Async" : "Sync";
}

/* A vhost-user drive has null where a virtio drive has values, and the other way round. */
void render_drive(struct buf *out, const struct squib_drive *drive)
{
	bool virtio = drive->socket == NULL;

	buf_addc(out, '{');
	key_string(out, true, "drive_id", drive->drive_id);
	key_string(out, false, "partuuid", drive->partuuid);
	key_bool(out, false, "is_root_device", drive->is_root_device);
	key_string(out, false, "cache_type",
		   drive->cache_type == SQUIB_CACHE_WRITEBACK ? "Writeback" : "Unsafe");
	if (virtio)
		key_bool(out, false, "is_read_only", drive->is_read_only);
	else
		key_null(out, false, "is_read_only");
	key_string(out, false, "path_on_host", virtio ? drive->path_on_host : NULL);
	key_rate_limiter(out, false, "rate_limiter", virtio ? drive->rate_limiter : NULL);
	key_string(out, false, "io_engine", virtio ? io_engine_name(drive->io_engine) : NULL);
	key_string(out, false, "socket", drive->socket);
	buf_addc(out, '}');
}

void render_entropy(struct buf *out, const struct squib_entropy *entropy)
{
	buf_addc(out, '{');
	key_rate_limiter(out, true, "rate_limiter", entropy->rate_limiter);
	buf_addc(out, '}');
}

static const char *cpu_template_name(enum squib_cpu_template cpu_template)
{
	static const char *const names[] = {
		[SQUIB_CPU_TEMPLATE_C3] = "C3",
		[SQUIB_CPU_TEMPLATE_T2] = "T2",
		[SQUIB_CPU_TEMPLATE_T2S] = "T2S",
		[SQUIB_CPU_TEMPLATE_NONE] = "None",
		[SQUIB_CPU_TEMPLATE_T2CL] = "T2CL",
		[SQUIB_CPU_TEMPLATE_T2A] = "T2A",
		[SQUIB_CPU_TEMPLATE_V1N1] = "V1N1",
	};
	static_assert(ARRAY_SIZE(names) == SQUIB_CPU_TEMPLATE_V1N1 + 1, "one name a template");

	return names[cpu_template];
}

static const char *huge_pages_name(enum squib_huge_pages huge_pages)
{
	static const char *const names[] = {
		[SQUIB_HUGE_PAGES_NONE] = "None",
		[SQUIB_HUGE_PAGES_TRANSPARENT] = "Transparent",
		[SQUIB_HUGE_PAGES_2M] = "2M",
	};
	static_assert(ARRAY_SIZE(names) == SQUIB_HUGE_PAGES_2M + 1, "one name a page size");

	return names[huge_pages];
}

void render_machine_config(struct buf *out, const struct squib_machine_config *config)
{
	buf_addc(out, '{');
	key_u64(out, true, "vcpu_count", config->vcpu_count);
	key_u64(out, false, "mem_size_mib", config->mem_size_mib);
	key_bool(out, false, "smt", config->smt);
	if (config->has_cpu_template)
		key_string(out, false, "cpu_template", cpu_template_name(config->cpu_template));
	key_bool(out, false, "track_dirty_pages", config->track_dirty_pages);
	key_string(out, false, "huge_pages", huge_pages_name(config->huge_pages));
	buf_addc(out, '}');
}

void render_memory_hotplug(struct buf *out, const struct squib_memory_hotplug *hotplug)
{
	buf_addc(out, '{');
	key_u64(out, true, "total_size_mib", hotplug->total_size_mib);
	key_u64(out, false, "block_size_mib", hotplug->block_size_mib);
	key_u64(out, false, "slot_size_mib", hotplug->slot_size_mib);
	buf_addc(out, '}');
}

static void render_mac(struct buf *out, const uint8_t mac[6])
{
	static const char hex[] = "0123456789abcdef";
	char text[6 * 3];

	for (size_t i = 0; i < 6; i++) {
		text[3 * i] = hex[mac[i] >> 4];
		text[3 * i + 1] = hex[mac[i] & 15];
		text[3 * i + 2] = ':';
	}
	buf_addc(out, '"');
	buf_add(out, text, sizeof(text) - 1);
	buf_addc(out, '"');
}

void render_network_interface(struct buf *out, const struct squib_network_interface *iface)
{
	buf_addc(out, '{');
	key_string(out, true, "iface_id", iface->iface_id);
	key_string(out, false, "host_dev_name", iface->host_dev_name);
	if (iface->has_guest_mac) {
		render_key(out, false, "guest_mac");
		render_mac(out, iface->guest_mac);
	} else {
		key_null(out, false, "guest_mac");
	}
	if (iface->has_mtu)
		key_u64(out, false, "mtu", iface->mtu);
	else
		key_null(out, false, "mtu");
	key_rate_limiter(out, false, "rx_rate_limiter", iface->rx_rate_limiter);
	key_rate_limiter(out, false, "tx_rate_limiter", iface->tx_rate_limiter);
	buf_addc(out, '}');
}

void render_pmem(struct buf *out, const struct squib_pmem *pmem)
{
	buf_addc(out, '{');
	key_string(out, true, "id", pmem->id);
	key_string(out, false, "path_on_host", pmem->path_on_host);
	key_bool(out, false, "root_device", pmem->root_device);
	key_bool(out, false, "read_only", pmem->read_only);
	key_rate_limiter(out, false, "rate_limiter", pmem->rate_limiter);
	buf_addc(out, '}');
}

void render_vsock(struct buf *out, const struct squib_vsock *vsock)
{
	buf_addc(out, '{');
	key_u64(out, true, "guest_cid", vsock->guest_cid);
	key_string(out, false, "uds_path", vsock->uds_path);
	buf_addc(out, '}');
}

const char *render_mmds_version(enum squib_mmds_version version)
{
	return version == SQUIB_MMDS_V2 ? "V2" : "V1";
}
