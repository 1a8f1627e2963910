#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes the lab: a Debian machine for QEMU's emulation, which emulates AMD's nested
# virtualization and Arm's EL2 too, so that KVM works inside it wherever this is run.
# tests/guest/lab boots it. The guests of the KVM in it are the second level (L2), the lab is
# the first (L1).
#
#	guest/make-lab.sh ARCH OUTDIR		ARCH: x86_64 or aarch64
#
# OUTDIR/kernel		Debian's cloud kernel
# OUTDIR/initrd		finds the root drive and goes over to it
# OUTDIR/root.img	Debian root file system, to be used read-only: what squib's guest tests
#			need, QEMU as a monitor to compare with, and lab/init, its first process
#
# As make-guest.sh it needs no root rights, takes its packages and all they depend on from
# Debian's mirrors, not from the host, whose architecture may be another, and keeps them in
# $SQUIB_CACHE.

set -eu

images='kernel initrd root.img'
wanted='base-files base-passwd bash coreutils dash diffutils findutils grep gzip hostname libc-bin
	mawk mount procps sed tar util-linux xz-utils zstd
	busybox-static curl e2fsprogs iperf3 iproute2 passt python3 python3-pytest socat strace
	libasan8 libcmocka0 libubsan1 zlib1g'
# Up to the root drive; the rest is loaded from there.
modules='virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk'

[ $# -eq 2 ] || { echo "usage: $0 x86_64|aarch64 OUTDIR" >&2; exit 2; }
. "$(dirname "$0")/debian.sh"
arch=$1
# lab/init loads what the kernel does not have built in, as it has KVM on aarch64.
case $arch in
x86_64) debian_arch=amd64 wanted="$wanted qemu-system-x86" init_modules='kvm-amd tun' ;;
aarch64) debian_arch=arm64 wanted="$wanted libfdt1 qemu-system-arm" init_modules=tun ;;
*) die "no such lab architecture: $arch (x86_64, aarch64)" ;;
esac
mkdir -p "$2"
out=$(cd "$2" && pwd)
packages=$cache/packages-lab-$arch
sources=lab

begin "lab-$arch"

download() {
	{ cp "$cache/packages-$arch"/linux-image-*.deb . 2>/dev/null || download_kernel; } &&
		download_wanted
}

begin_images "lab $arch"
root=$tmp/root
mkdir "$root"
# As in every Debian 12 (packages still bring files for both names).
for name in bin lib lib64 sbin; do
	mkdir -p "$root/usr/$name"
	ln -s "usr/$name" "$root/$name"
done
for package in "$packages"/*.deb; do
	dpkg-deb --fsys-tarfile "$package" |
		tar -x --keep-directory-symlink --no-same-owner -C "$root" \
			--exclude='./usr/share/doc*' --exclude='./usr/share/man*' \
			--exclude='./usr/share/locale*' --exclude='./usr/share/info*'
done
mv "$root"/boot/vmlinuz-* "$new/kernel"
rm -rf "$root"/boot

# What the packages' own scripts would do, as far as anything here needs it.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
ln -s mawk "$root/usr/bin/awk"
version=$(ls "$root/lib/modules")
busybox depmod -b "$root" "$version"
# Emulated CPUs compile slowly. Debian's python3 is of one version on the host and in the lab.
/usr/bin/python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$root" -p / \
	"$root"/usr/lib/python3*/ >"$tmp/compileall.log" || true	# some files are for other versions

mkdir -p "$root"/dev "$root"/proc "$root"/sys "$root"/run "$root"/tmp "$root"/job "$root"/result
cp "$here/lab/init" "$root/sbin/lab-init"
echo "$init_modules" >"$root/etc/lab-modules"
truncate -s "$(($(du -sm "$root" | cut -f 1) * 5 / 4 + 64))M" "$new/root.img"
mke2fs -q -F -t ext4 -O ^has_journal -m 0 -d "$root" "$new/root.img"

initrd=$tmp/initrd
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/root"
cp "$root/bin/busybox" "$initrd/bin"
cp "$here/lab/initramfs-init" "$initrd/init"
for module in $modules; do
	cp "$(find "$root/lib/modules" -name "$module.ko" -type f)" "$initrd"
	echo "/$module.ko" >>"$initrd/modules"
done
(cd "$initrd" && find . | sort | cpio -o -H newc --quiet -R 0:0) | gzip -n >"$new/initrd"

install_images
