#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: musl-include.sh DIRECTORY COMPILER [ARGUMENT...] - fill a directory with links to the headers
# that musl does not bring and that do not depend on the C library: the kernel's, zlib's, zstd's,
# nettle's, liburing's and libfdt's. They are those below the compiler's --sysroot, if it has one.
set -eu
to=$1
shift
multiarch=$("$@" -print-multiarch)
include=$("$@" -print-sysroot)/usr/include
mkdir -p "$to"
for header in linux asm-generic zlib.h zconf.h zstd.h zstd_errors.h nettle liburing.h liburing \
	fdt.h libfdt.h libfdt_env.h; do
	ln -sfn "$include/$header" "$to/$header"
done
ln -sfn "$include/$multiarch/asm" "$to/asm"
[ ! -e "$include/$multiarch/zconf.h" ] || ln -sfn "$include/$multiarch/zconf.h" "$to/zconf.h"
