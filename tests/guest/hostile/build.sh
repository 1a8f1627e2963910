#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Usage: build.sh ARCH OUT - build the hostile guest kernel (what it does: main.c) for x86_64, as an ELF
# file with a PVH note, or for aarch64, as an Image. CC: another compiler for the host's own
# architecture; for the other one it is Debian's cross compiler.
set -eu
arch=$1 out=$2
dir=$(dirname "$0")
case $arch in
x86_64)
	cflags="-m64 -mno-red-zone -mcmodel=small -fcf-protection=none"
	;;
aarch64)
	cflags="-mno-outline-atomics -march=armv8-a"
	;;
*)
	echo "$0: no such architecture: $arch" >&2
	exit 1
	;;
esac
if [ "$(uname -m)" = "$arch" ]; then
	cc=${CC:-cc} objcopy=objcopy
else
	cc=$arch-linux-gnu-gcc objcopy=$arch-linux-gnu-objcopy
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for source in main.c machine.c packets.c pokes.c rings.c "$arch/arch.c" "$arch/start.S"; do
	# shellcheck disable=SC2086 # several flags
	$cc $cflags -std=gnu11 -O2 -g0 -Wall -Wextra -Werror -Wmissing-prototypes -ffreestanding \
		-nostdlib -mgeneral-regs-only -fno-pic -fno-pie -fno-stack-protector \
		-fno-asynchronous-unwind-tables -I"$dir/$arch" -I"$dir" \
		-c "$dir/$source" -o "$tmp/$(basename "$source").o"
done
# shellcheck disable=SC2086
$cc $cflags -nostdlib -static -no-pie -Wl,-T,"$dir/$arch/link.ld" -Wl,--build-id=none \
	-Wl,-z,noexecstack -Wl,-z,max-page-size=4096 -Wl,--no-warn-rwx-segments \
	-o "$tmp/elf" "$tmp"/*.o
case $arch in
x86_64) cp "$tmp/elf" "$out" ;;
aarch64) $objcopy -O binary "$tmp/elf" "$out" ;;
esac
