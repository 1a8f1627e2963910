/* SPDX-License-Identifier: Apache-2.0 */
/* For src/mmds only. */
#ifndef SQUIB_MMDS_MMDS_INTERNAL_H
#define SQUIB_MMDS_MMDS_INTERNAL_H

#include "mmds/document.h"
#include "mmds/mmds.h"
#include "mmds/token.h"

struct mmds {
	struct log *log;
	struct metrics_mmds *counters;
	enum squib_mmds_version version;
	bool imds_compat;
	uint8_t address[4];
	struct mmds_document *document;
	struct mmds_document *outdated;	/* the one before, if answers out of it were being sent */
	struct token_authority tokens;
};

#endif
