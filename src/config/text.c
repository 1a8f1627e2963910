/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upstream parses these with Rust's standard library, whose habits show: numbers may begin with
 * a plus sign, even the two hex digits of a MAC address, and faults name Rust's error kinds.
 */
#include "config/text.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/util.h"

enum number_result {
	NUMBER_OK,
	NUMBER_EMPTY,
	NUMBER_BAD_DIGIT,
	NUMBER_TOO_LARGE,
};

/* As {} and {:?} show them. */
static const char *const number_words[] = {
	[NUMBER_EMPTY] = "cannot parse integer from empty string",
	[NUMBER_BAD_DIGIT] = "invalid digit found in string",
	[NUMBER_TOO_LARGE] = "number too large to fit in target type",
};
static const char *const number_kinds[] = {
	[NUMBER_EMPTY] = "Empty",
	[NUMBER_BAD_DIGIT] = "InvalidDigit",
	[NUMBER_TOO_LARGE] = "PosOverflow",
};

static unsigned int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0');
	if (c >= 'a' && c <= 'z')
		return (unsigned int)(c - 'a') + 10;
	if (c >= 'A' && c <= 'Z')
		return (unsigned int)(c - 'A') + 10;
	return 99;
}

static enum number_result parse_number(const char *s, size_t len, unsigned int base, uint64_t max,
				       uint64_t *ret_number)
{
	uint64_t number = 0;

	if (len == 0)
		return NUMBER_EMPTY;
	if (len > 1 && *s == '+') {
		s++;
		len--;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned int digit = digit_value(s[i]);

		if (digit >= base)
			return NUMBER_BAD_DIGIT;
		if (number > (max - digit) / base)
			return NUMBER_TOO_LARGE;
		number = number * base + digit;
	}
	*ret_number = number;
	return NUMBER_OK;
}

static int parse_mac(struct decoder *decoder, const struct json_text *text, void *value)
{
	uint8_t *mac = value;
	bool good = text->len == 6 * 2 + 5;

	for (size_t i = 0; i < 6 && good; i++) {
		const char *pair = text->data + 3 * i;
		uint64_t byte = 0;

		good = (i == 5 || pair[2] == ':') &&
		       parse_number(pair, 2, 16, UINT8_MAX, &byte) == NUMBER_OK;
		mac[i] = (uint8_t)byte;
	}
	return good ? 0 : json_fail(&decoder->reader, "The provided MAC address is invalid.");
}

const struct type mac_type = TEXT_TYPE(uint8_t[6], parse_mac);

/* One to three decimal digits, no zero in front of others, below 256. Return: how many, or 0. */
static size_t parse_octet(const char *s, size_t len, uint8_t *ret_octet)
{
	unsigned int octet = 0;
	size_t count = 0;

	while (count < len && count < 4 && s[count] >= '0' && s[count] <= '9')
		octet = octet * 10 + (unsigned int)(s[count++] - '0');
	if (count == 0 || count > 3 || octet > 255 || (count > 1 && s[0] == '0'))
		return 0;
	*ret_octet = (uint8_t)octet;
	return count;
}

static int parse_ipv4(struct decoder *decoder, const struct json_text *text, void *value)
{
	uint8_t *address = value;
	size_t pos = 0;
	bool good = true;

	for (size_t i = 0; i < 4 && good; i++) {
		size_t count;

		if (i > 0 && (pos == text->len || text->data[pos++] != '.'))
			good = false;
		count = good ? parse_octet(text->data + pos, text->len - pos, &address[i]) : 0;
		good = count > 0;
		pos += count;
	}
	if (good && pos == text->len)
		return 0;
	return json_fail(&decoder->reader, "invalid IPv4 address syntax");
}

const struct type ipv4_type = {
	.kind = TYPE_TEXT, .size = sizeof(uint8_t[4]), .want = "IPv4 address",
	.parse = parse_ipv4, .fails_in_place = true,
};

static int parse_log_level(struct decoder *decoder, const struct json_text *text, void *value)
{
	static const struct enum_name levels[] = {
		{ "off", SQUIB_LOG_OFF },     { "trace", SQUIB_LOG_TRACE },
		{ "debug", SQUIB_LOG_DEBUG }, { "info", SQUIB_LOG_INFO },
		{ "warn", SQUIB_LOG_WARN },   { "warning", SQUIB_LOG_WARN },
		{ "error", SQUIB_LOG_ERROR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strlen(levels[i].name) == text->len &&
		    strncasecmp(levels[i].name, text->data, text->len) == 0) {
			*(enum squib_log_level *)value = levels[i].value;
			return 0;
		}
	}
	return json_fail(&decoder->reader, "Invalid LevelFilter");
}

const struct type log_level_type = TEXT_TYPE(enum squib_log_level, parse_log_level);

static int parse_kvm_capability(struct decoder *decoder, const struct json_text *text, void *value)
{
	struct squib_kvm_capability *capability = value;
	bool remove = text->len > 0 && text->data[0] == '!';
	uint64_t number = 0;
	enum number_result result = parse_number(text->data + remove, text->len - remove, 10,
						 UINT32_MAX, &number);

	*capability = (struct squib_kvm_capability){
		.number = (uint32_t)number, .remove = remove,
	};
	if (result == NUMBER_OK)
		return 0;
	return json_fail(&decoder->reader,
			 "Failed to parse string [%.*s] as a kvm capability - can not convert to numeric: %s",
			 (int)text->len, text->data, number_words[result]);
}

const struct type kvm_capability_type = TEXT_TYPE(struct squib_kvm_capability,
						  parse_kvm_capability);

static int parse_cpuid_register(struct decoder *decoder, const struct json_text *text, void *value)
{
	static const struct enum_name registers[] = {
		{ "eax", SQUIB_CPUID_EAX }, { "ebx", SQUIB_CPUID_EBX },
		{ "ecx", SQUIB_CPUID_ECX }, { "edx", SQUIB_CPUID_EDX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(registers); i++) {
		if (text->len == 3 && memcmp(text->data, registers[i].name, 3) == 0) {
			*(enum squib_cpuid_register *)value = registers[i].value;
			return 0;
		}
	}
	return json_fail(&decoder->reader,
			 "Invalid CPUID register. Must be one of [eax, ebx, ecx, edx]");
}

const struct type cpuid_register_type = TEXT_TYPE(enum squib_cpuid_register, parse_cpuid_register);

static int parse_prefixed(struct decoder *decoder, const struct json_text *text, uint64_t max,
			  uint64_t *ret_number)
{
	unsigned int base = 0;
	enum number_result result;

	if (text->len >= 2 && memcmp(text->data, "0b", 2) == 0)
		base = 2;
	else if (text->len >= 2 && memcmp(text->data, "0x", 2) == 0)
		base = 16;
	if (base == 0)
		return json_fail(&decoder->reader,
				 "No supported number system prefix found in value [%.*s]. Make sure to prefix the number with '0x' for hexadecimal numbers or '0b' for binary numbers.",
				 (int)text->len, text->data);
	result = parse_number(text->data + 2, text->len - 2, base, max, ret_number);
	if (result == NUMBER_OK)
		return 0;
	return json_fail(&decoder->reader,
			 "Failed to parse string [%.*s] as a number for CPU template - ParseIntError { kind: %s }",
			 (int)text->len, text->data, number_kinds[result]);
}

static int parse_hex32(struct decoder *decoder, const struct json_text *text, void *value)
{
	uint64_t number = 0;
	int r = parse_prefixed(decoder, text, UINT32_MAX, &number);

	*(uint32_t *)value = (uint32_t)number;
	return r;
}

static int parse_hex64(struct decoder *decoder, const struct json_text *text, void *value)
{
	return parse_prefixed(decoder, text, UINT64_MAX, value);
}

static int parse_msr_address(struct decoder *decoder, const struct json_text *text, void *value)
{
	return parse_prefixed(decoder, text, UINT32_MAX, value);
}

const struct type hex32_type = TEXT_TYPE(uint32_t, parse_hex32);
const struct type hex64_type = TEXT_TYPE(uint64_t, parse_hex64);
const struct type msr_address_type = TEXT_TYPE(uint64_t, parse_msr_address);

/* From the least significant position, which stands last. */
static int parse_bitmap(struct decoder *decoder, const struct json_text *text, unsigned int width,
			struct squib_bitmap *bitmap)
{
	size_t start = text->len >= 2 && memcmp(text->data, "0b", 2) == 0 ? 2 : 0;
	unsigned int bit = 0;

	*bitmap = (struct squib_bitmap){ 0 };
	for (size_t i = text->len; i > start; i--) {
		char c = text->data[i - 1];

		if (bit == width)	/* an underscore here is one too many, too */
			return json_fail(&decoder->reader,
					 "Failed to parse string [%.*s] as a bitmap - string is too long",
					 (int)text->len, text->data);
		if (c == '_')
			continue;
		if (c != '0' && c != '1' && c != 'x')
			return json_fail(&decoder->reader,
					 "Failed to parse string [%.*s] as a bitmap - unknown character: %d",
					 (int)text->len, text->data, (unsigned char)c);
		if (c != 'x')
			bitmap->filter[bit / 64] |= 1ull << bit % 64;
		if (c == '1')
			bitmap->value[bit / 64] |= 1ull << bit % 64;
		bit++;
	}
	return 0;
}

static int parse_bitmap32(struct decoder *decoder, const struct json_text *text, void *value)
{
	return parse_bitmap(decoder, text, 32, value);
}

static int parse_bitmap64(struct decoder *decoder, const struct json_text *text, void *value)
{
	return parse_bitmap(decoder, text, 64, value);
}

static int parse_bitmap128(struct decoder *decoder, const struct json_text *text, void *value)
{
	return parse_bitmap(decoder, text, 128, value);
}

const struct type bitmap32_type = TEXT_TYPE(struct squib_bitmap, parse_bitmap32);
const struct type bitmap64_type = TEXT_TYPE(struct squib_bitmap, parse_bitmap64);
const struct type bitmap128_type = TEXT_TYPE(struct squib_bitmap, parse_bitmap128);
