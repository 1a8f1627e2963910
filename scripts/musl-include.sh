#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: musl-include.sh DIRECTORY - fill a directory with links to the headers that musl does not
# bring and that do not depend on the C library: the kernel's, zlib's, zstd's, libfdt's,
# nettle's and liburing's.
set -eu
to=$1
multiarch=$(cc -print-multiarch)
mkdir -p "$to"
for header in linux asm-generic zlib.h zconf.h zstd.h zstd_errors.h libfdt.h libfdt_env.h fdt.h nettle liburing.h liburing; do
	ln -sfn "/usr/include/$header" "$to/$header"
done
ln -sfn "/usr/include/$multiarch/asm" "$to/asm"
[ ! -e "/usr/include/$multiarch/zconf.h" ] || ln -sfn "/usr/include/$multiarch/zconf.h" "$to/zconf.h"
