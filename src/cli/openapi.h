/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SQUIB_CLI_OPENAPI_H
#define SQUIB_CLI_OPENAPI_H

/* docs/openapi.json, the body of GET /openapi.json; ends in NUL */
extern const char openapi_json[];

#endif
