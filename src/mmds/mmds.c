/* SPDX-License-Identifier: Apache-2.0 */
#include "mmds/mmds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mmds/mmds_internal.h"

static const uint8_t default_address[] = { 169, 254, 169, 254 };

int mmds_new(const struct mmds_params *params, struct mmds **ret_mmds)
{
	struct mmds *mmds = calloc(1, sizeof(*mmds));
	int r;

	if (mmds == NULL)
		return -ENOMEM;
	mmds->log = params->log;
	mmds->counters = &params->metrics->mmds;
	mmds->version = SQUIB_MMDS_V1;
	memcpy(mmds->address, default_address, sizeof(mmds->address));
	r = token_authority_init(&mmds->tokens, params->instance_id);
	if (r == 0)
		r = mmds_set_document(mmds, "null", strlen("null"));
	if (r < 0) {
		mmds_free(mmds);
		return r;
	}
	*ret_mmds = mmds;
	return 0;
}

void mmds_free(struct mmds *mmds)
{
	if (mmds == NULL)
		return;
	mmds_document_unref(mmds->document);
	mmds_document_unref(mmds->outdated);
	token_authority_done(&mmds->tokens);
	free(mmds);
}

void mmds_configure(struct mmds *mmds, const struct squib_mmds_config *config)
{
	mmds->version = config->version;
	mmds->imds_compat = config->imds_compat;
	memcpy(mmds->address, config->ipv4_address, sizeof(mmds->address));
}

/*
 * Answers that are on their way are finished, but only out of the last document. A guest that takes
 * nothing of its answers could else hold as many documents as it has connections.
 */
static void retire(struct mmds *mmds, struct mmds_document *document)
{
	mmds_document_revoke(mmds->outdated);
	mmds_document_unref(mmds->outdated);
	mmds->outdated = NULL;
	if (document != NULL && mmds_document_is_shared(document))
		mmds->outdated = document;
	else
		mmds_document_unref(document);
}

int mmds_set_document(struct mmds *mmds, const char *json, size_t len)
{
	struct mmds_document *document;
	int r = mmds_document_new(json, len, &document);

	if (r < 0)
		return r;
	retire(mmds, mmds->document);
	mmds->document = document;
	return 0;
}
