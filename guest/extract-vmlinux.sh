#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Takes the ELF kernel out of an x86_64 bzImage.
#
#	guest/extract-vmlinux.sh BZIMAGE VMLINUX
#
# The setup header (Documentation/arch/x86/boot.rst of Linux) says where the compressed
# kernel lies; its first bytes say how it was compressed.

set -eu

[ $# -eq 2 ] || { echo "usage: $0 BZIMAGE VMLINUX" >&2; exit 2; }
image=$1
vmlinux=$2

die() {
	echo "$0: $image: $*" >&2
	exit 1
}

# Bytes of the image as one unsigned little-endian number: u8, u16 or u32 by SIZE.
# (od reads host order; the hosts this runs on are little-endian like the image.)
number_at() {
	od -An -v "-tu$2" "-j$1" "-N$2" "$image" | tr -d ' '
}

[ "$(dd if="$image" bs=1 skip=$((0x202)) count=4 2>/dev/null)" = HdrS ] || die "not a bzImage"

setup_sects=$(number_at $((0x1f1)) 1)
[ "$setup_sects" -ne 0 ] || setup_sects=4	# what 0 means in the boot protocol
payload_offset=$(number_at $((0x248)) 4)
payload_length=$(number_at $((0x24c)) 4)
start=$(((setup_sects + 1) * 512 + payload_offset))

# Linux's build appends the size of the unpacked kernel, four bytes, to every payload but
# gzip, which ends in it by its own format; unpackers would take it for trailing garbage.
case $(od -An -v -tx1 "-j$start" -N4 "$image" | tr -d ' ') in
1f8b*)		unpack='gzip -dc'; trailer=0 ;;
fd377a58)	unpack='xz -dc'; trailer=4 ;;
28b52ffd)	unpack='zstd -dc'; trailer=4 ;;
02214c18)	unpack='lz4 -dc'; trailer=4 ;;
*)		die "the kernel in it is compressed in an unknown way" ;;
esac

new=$vmlinux.new.$$
trap 'rm -f "$new"' EXIT
tail -c "+$((start + 1))" "$image" | head -c "$((payload_length - trailer))" | $unpack >"$new" ||
	die "unpacking failed: ${unpack%% *}"
[ "$(head -c 4 "$new" | od -An -tx1 | tr -d ' ')" = 7f454c46 ] || die "what it holds is no ELF file"
mv "$new" "$vmlinux"
