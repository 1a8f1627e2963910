#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: build.sh OUT - build the hostile guest kernel (x86_64; what it does: main.c) as the ELF file
# OUT, with a PVH note. CC: another compiler, on other hosts a cross compiler.
set -eu
out=$1
dir=$(dirname "$0")
[ -n "${CC-}" ] || case $(uname -m) in
x86_64) CC=cc ;;
*) CC=x86_64-linux-gnu-gcc ;;
esac
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for source in start.S main.c machine.c packets.c pokes.c rings.c; do
	$CC -std=gnu11 -O2 -g0 -Wall -Wextra -Werror -Wmissing-prototypes -ffreestanding -nostdlib \
		-m64 -mno-red-zone -mgeneral-regs-only -mcmodel=small -fno-pic -fno-pie \
		-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
		-c "$dir/$source" -o "$objects/$source.o"
done
$CC -m64 -nostdlib -static -no-pie -Wl,-T,"$dir/link.ld" -Wl,--build-id=none -Wl,-z,noexecstack \
	-Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments -o "$out" "$objects"/*.o
