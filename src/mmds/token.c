/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/token.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <nettle/base64.h>
#include <nettle/memops.h>

#define NS_PER_MS 1000000u

struct token {
	uint8_t iv[GCM_IV_SIZE];
	uint8_t expiry[sizeof(uint64_t)];	/* little endian, milliseconds */
	uint8_t tag[GCM_DIGEST_SIZE];
};

static_assert(BASE64_ENCODE_RAW_LENGTH(sizeof(struct token)) == TOKEN_LEN, "without padding");

int token_authority_init(struct token_authority *authority, const char *instance_id)
{
	*authority = (struct token_authority){ 0 };
	if (asprintf(&authority->associated, "microvmid=%s", instance_id) < 0) {
		authority->associated = NULL;
		return -ENOMEM;
	}
	return 0;
}

void token_authority_done(struct token_authority *authority)
{
	free(authority->associated);
	explicit_bzero(authority, sizeof(*authority));
}

static int fill_random(uint8_t *data, size_t len)
{
	ssize_t n;

	do
		n = getrandom(data, len, 0);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : -EIO;
}

/* AES-GCM with random vectors is good for 2^32 messages (NIST SP 800-38D, 8.3). */
static int ensure_key(struct token_authority *authority)
{
	uint8_t key[AES256_KEY_SIZE];
	const bool was_used = authority->has_key;

	if (was_used && authority->issued < UINT32_MAX)
		return 0;
	if (fill_random(key, sizeof(key)) < 0)
		return -EIO;
	gcm_aes256_set_key(&authority->cipher, key);
	explicit_bzero(key, sizeof(key));
	authority->has_key = true;
	authority->issued = 0;
	return was_used;
}

static void begin_message(struct token_authority *authority, const struct token *token)
{
	gcm_aes256_set_iv(&authority->cipher, sizeof(token->iv), token->iv);
	gcm_aes256_update(&authority->cipher, strlen(authority->associated),
			  (const uint8_t *)authority->associated);
}

static void put_expiry(uint8_t *bytes, uint64_t expiry_ms)
{
	for (size_t i = 0; i < sizeof(expiry_ms); i++)
		bytes[i] = (uint8_t)(expiry_ms >> 8 * i);
}

static uint64_t get_expiry(const uint8_t *bytes)
{
	uint64_t expiry_ms = 0;

	for (size_t i = sizeof(expiry_ms); i > 0; i--)
		expiry_ms = expiry_ms << 8 | bytes[i - 1];
	return expiry_ms;
}

int token_issue(struct token_authority *authority, uint32_t ttl_seconds, uint64_t now_ns,
		char ret_token[TOKEN_LEN])
{
	struct token token;
	uint8_t expiry[sizeof(token.expiry)];
	int r = ensure_key(authority);

	assert(ttl_seconds >= TOKEN_TTL_MIN_SECONDS && ttl_seconds <= TOKEN_TTL_MAX_SECONDS);
	if (r < 0 || fill_random(token.iv, sizeof(token.iv)) < 0)
		return -EIO;
	put_expiry(expiry, now_ns / NS_PER_MS + ttl_seconds * UINT64_C(1000));
	begin_message(authority, &token);
	gcm_aes256_encrypt(&authority->cipher, sizeof(expiry), token.expiry, expiry);
	gcm_aes256_digest(&authority->cipher, sizeof(token.tag), token.tag);
	base64_encode_raw(ret_token, sizeof(token), (const uint8_t *)&token);
	authority->issued++;
	return r;
}

/* The decoder passes over white space; then too few bytes come out. */
static bool decode(const char *text, struct token *ret_token)
{
	uint8_t bytes[BASE64_DECODE_LENGTH(TOKEN_LEN)];
	size_t len = sizeof(bytes);
	struct base64_decode_ctx context;

	base64_decode_init(&context);
	if (!base64_decode_update(&context, &len, bytes, TOKEN_LEN, text) ||
	    !base64_decode_final(&context) || len != sizeof(*ret_token))
		return false;
	memcpy(ret_token, bytes, sizeof(*ret_token));
	return true;
}

bool token_is_valid(struct token_authority *authority, const char *token, size_t len,
		    uint64_t now_ns)
{
	struct token parts;
	uint8_t expiry[sizeof(parts.expiry)], tag[sizeof(parts.tag)];

	if (!authority->has_key || len != TOKEN_LEN || !decode(token, &parts))
		return false;
	begin_message(authority, &parts);
	gcm_aes256_decrypt(&authority->cipher, sizeof(expiry), expiry, parts.expiry);
	gcm_aes256_digest(&authority->cipher, sizeof(tag), tag);
	return memeql_sec(tag, parts.tag, sizeof(tag)) && get_expiry(expiry) > now_ns / NS_PER_MS;
}
