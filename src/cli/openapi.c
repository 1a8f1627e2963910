/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/openapi.h"

/* OPENAPI_JSON is the file's path, given by the build. */
__asm__(".pushsection .rodata\n"
	".global openapi_json\n"
	".hidden openapi_json\n"
	".type openapi_json, %object\n"
	"openapi_json:\n"
	".incbin \"" OPENAPI_JSON "\"\n"
	".byte 0\n"
	".size openapi_json, . - openapi_json\n"
	".popsection\n");
