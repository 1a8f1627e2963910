/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Only the counter is alive. It is never compared with the match register, so that no interrupt is
 * ever raised: both status registers read 0, and there is nothing to clear.
 */
#include "legacy/pl031.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Arm DDI 0224C, table 3-1 */
#define REG_DATA		0x000	/* read-only: the time */
#define REG_MATCH		0x004
#define REG_LOAD		0x008
#define REG_CONTROL		0x00c
#define REG_MASK		0x010
#define REG_RAW_STATUS		0x014	/* read-only */
#define REG_MASKED_STATUS	0x018	/* read-only */
#define REG_CLEAR		0x01c	/* write-only */
#define REG_ID			0xfe0	/* up to the end of the page, a byte in each: read-only */
#define REG_END			0x1000

#define CONTROL_ENABLED		1u
#define MASK_BIT		1u

static const uint8_t ids[(REG_END - REG_ID) / 4] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

struct pl031 {
	struct metrics *metrics;
	pthread_mutex_t lock;	/* over all below */
	uint32_t load, match, mask;
	int64_t offset_s;	/* of the guest's time from the host's */
};

static uint32_t host_time_s(void)
{
	return (uint32_t)time(NULL);
}

/* As upstream, a time that does not fit is the host's again: the counter does not start over at 0. */
static uint32_t guest_time_s(const struct pl031 *rtc)
{
	uint32_t now_s = host_time_s();
	int64_t time_s = now_s + rtc->offset_s;

	return time_s >= 0 && time_s <= UINT32_MAX ? (uint32_t)time_s : now_s;
}

static bool read_register(const struct pl031 *rtc, uint64_t reg, uint32_t *ret_value)
{
	switch (reg) {
	case REG_DATA:
		*ret_value = guest_time_s(rtc);
		return true;
	case REG_MATCH:
		*ret_value = rtc->match;
		return true;
	case REG_LOAD:
		*ret_value = rtc->load;
		return true;
	case REG_CONTROL:
		*ret_value = CONTROL_ENABLED;	/* it cannot be stopped */
		return true;
	case REG_MASK:
		*ret_value = rtc->mask;
		return true;
	case REG_RAW_STATUS:
	case REG_MASKED_STATUS:
		*ret_value = 0;
		return true;
	default:
		if (reg < REG_ID || reg >= REG_END)
			return false;
		*ret_value = ids[(reg - REG_ID) / 4];
		return true;
	}
}

static bool write_register(struct pl031 *rtc, uint64_t reg, uint32_t value)
{
	switch (reg) {
	case REG_MATCH:
		rtc->match = value;
		return true;
	case REG_LOAD:
		rtc->load = value;
		rtc->offset_s = (int64_t)value - host_time_s();
		return true;
	case REG_CONTROL:
		if (value == CONTROL_ENABLED) {
			rtc->load = 0;
			rtc->offset_s = 0;
		}
		return true;
	case REG_MASK:
		rtc->mask = value & MASK_BIT;
		return true;
	case REG_CLEAR:
		return true;
	default:
		return false;
	}
}

/* As upstream counts: the wrong size for any register is an error, but has missed none. */
static bool is_register_wide(struct pl031 *rtc, uint32_t len)
{
	if (len == sizeof(uint32_t))
		return true;
	metrics_inc(&rtc->metrics->rtc.error_count);
	return false;
}

void pl031_read(struct pl031 *rtc, uint64_t offset, uint8_t *data, uint32_t len)
{
	uint32_t value;
	bool known;

	if (!is_register_wide(rtc, len))
		return;
	pthread_mutex_lock(&rtc->lock);
	known = read_register(rtc, offset, &value);
	pthread_mutex_unlock(&rtc->lock);
	if (known) {
		value = htole32(value);
		memcpy(data, &value, sizeof(value));
	} else {
		metrics_inc(&rtc->metrics->rtc.missed_read_count);
		metrics_inc(&rtc->metrics->rtc.error_count);
	}
}

void pl031_write(struct pl031 *rtc, uint64_t offset, const uint8_t *data, uint32_t len)
{
	uint32_t value;
	bool known;

	if (!is_register_wide(rtc, len))
		return;
	memcpy(&value, data, sizeof(value));
	pthread_mutex_lock(&rtc->lock);
	known = write_register(rtc, offset, le32toh(value));
	pthread_mutex_unlock(&rtc->lock);
	if (!known) {
		metrics_inc(&rtc->metrics->rtc.missed_write_count);
		metrics_inc(&rtc->metrics->rtc.error_count);
	}
}

int pl031_new(struct metrics *metrics, struct pl031 **ret_rtc)
{
	struct pl031 *rtc = calloc(1, sizeof(*rtc));

	if (rtc == NULL)
		return -ENOMEM;
	rtc->metrics = metrics;
	pthread_mutex_init(&rtc->lock, NULL);
	*ret_rtc = rtc;
	return 0;
}

void pl031_free(struct pl031 *rtc)
{
	if (rtc == NULL)
		return;
	pthread_mutex_destroy(&rtc->lock);
	free(rtc);
}
