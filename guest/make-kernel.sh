#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds a small Linux kernel for microVM guests: everything built in, so that it boots from
# a virtio drive without an initramfs, and in a third of the time that Debian's kernel takes.
#
#	guest/make-kernel.sh ARCH OUTDIR	ARCH: x86_64 or aarch64
#
# OUTDIR/lean-kernel	bzImage on x86_64, Image on aarch64
# OUTDIR/lean-vmlinux	x86_64 only: the same as an ELF file
#
# The source is Debian's linux-source package, the configuration is tinyconfig, guest/kernel.frag
# and guest/kernel-ARCH.frag. That takes 6 minutes of two CPUs, so the result is kept in
# $SQUIB_CACHE (default: squib in the user's cache directory) under a name that tells the
# source's version and a sum over the fragments and this script; with such a result at hand
# nothing is built and nothing is asked of the package mirrors.

set -eu

source_package=linux-source-6.1

[ $# -eq 2 ] || { echo "usage: $0 x86_64|aarch64 OUTDIR" >&2; exit 2; }
. "$(dirname "$0")/debian.sh"
arch=$1
# The kernel's build has names of its own for architectures.
case $arch in
x86_64) kernel_arch=x86_64 target=bzImage built=arch/x86/boot/bzImage
	images='lean-kernel lean-vmlinux' ;;
aarch64) kernel_arch=arm64 target=Image built=arch/arm64/boot/Image
	images=lean-kernel ;;
*) die "no such guest architecture: $arch (x86_64, aarch64)" ;;
esac
mkdir -p "$2"
out=$(cd "$2" && pwd)
fragments="$here/kernel.frag $here/kernel-$arch.frag"
debian_arch=$(dpkg --print-architecture)	# the source is the same for all

begin "kernel-$arch"
# shellcheck disable=SC2086 # a list
sum=$(sed '/^[[:blank:]]*#/d' $fragments "$0" | sha256sum | cut -c 1-12)	# comments may change

build() {
	fetched "$tmp/source" apt get download "$source_package"
	deb=$(echo "$tmp/source/$source_package"_*.deb)
	version=$(dpkg-deb -f "$deb" Version)
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$source_package.tar.xz" | tar -xJ -C "$tmp"
	rm "$deb"

	echo "kernel $arch: building $version, which takes some minutes"
	[ "$(uname -m)" = "$arch" ] || export CROSS_COMPILE="$arch-linux-gnu-"
	export KBUILD_BUILD_USER=squib KBUILD_BUILD_HOST=lab KBUILD_BUILD_TIMESTAMP='2000-01-01 UTC'
	objects=$tmp/objects
	source=$tmp/$source_package
	mkdir "$objects"
	make -C "$source" O="$objects" ARCH="$kernel_arch" -s tinyconfig >/dev/null
	# shellcheck disable=SC2086 # a list
	(cd "$objects" && "$source/scripts/kconfig/merge_config.sh" -m .config $fragments >/dev/null)
	make -C "$source" O="$objects" ARCH="$kernel_arch" -s olddefconfig
	# An option whose condition is not met vanishes without a word; a guest without it would
	# fail much later, in a place that says nothing about it.
	# shellcheck disable=SC2086 # a list
	lost=$(grep -hE '^CONFIG_[A-Z0-9_]+=' $fragments | grep -v '=n$' |
		grep -vxFf "$objects/.config") || true
	[ -z "$lost" ] || die "$fragments ask for what the kernel cannot have:
$lost"
	make -C "$source" O="$objects" ARCH="$kernel_arch" -s -j"$(nproc)" "$target"

	mkdir "$tmp/images"
	cp "$objects/$built" "$tmp/images/lean-kernel"
	"${CROSS_COMPILE:-}strip" -o "$tmp/images/lean-vmlinux" "$objects/vmlinux"
	cp "$objects/.config" "$tmp/images/config"
	mv "$tmp/images" "$cache/kernel-$arch-$version-$sum"
}

newest() {
	find "$cache" -maxdepth 1 -name "kernel-$arch-*-$sum" | sort -V | tail -n 1
}

[ -n "$(newest)" ] || build
kept=$(newest)
for image in $images; do
	cmp -s "$kept/$image" "$out/$image" && continue
	cp "$kept/$image" "$out/$image.new.$$"
	mv "$out/$image.new.$$" "$out/$image"
done
