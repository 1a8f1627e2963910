/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session tokens: when they expire, encrypted so that nobody else can make or change one, and
 * nothing has to be remembered of them. base64 of initialization vector, encrypted expiry and tag,
 * by AES-256-GCM, with the instance's id as associated data.
 */
#ifndef SQUIB_MMDS_TOKEN_H
#define SQUIB_MMDS_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <nettle/gcm.h>

#define TOKEN_LEN	      48u
#define TOKEN_TTL_MIN_SECONDS 1u
#define TOKEN_TTL_MAX_SECONDS 21600u

struct token_authority {
	char *associated;	/* "microvmid=‹id›" */
	struct gcm_aes256_ctx cipher;
	bool has_key;		/* made with the first token */
	uint32_t issued;	/* with this key */
};

/** token_authority_init() - 0 or -ENOMEM */
int token_authority_init(struct token_authority *authority, const char *instance_id);
void token_authority_done(struct token_authority *authority);

/**
 * token_issue() - a token that is good for @ttl_seconds
 * @ttl_seconds: within the bounds above
 * @ret_token: not NUL-terminated
 *
 * Return: 0; 1 when that took a new key, and all tokens before are void; -errno: no randomness.
 */
int token_issue(struct token_authority *authority, uint32_t ttl_seconds, uint64_t now_ns,
		char ret_token[TOKEN_LEN]);

/** token_is_valid() - was it issued here, and is it still good? Any text */
bool token_is_valid(struct token_authority *authority, const char *token, size_t len,
		    uint64_t now_ns);

#endif
