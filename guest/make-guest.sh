#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes a Linux guest for tests and demos out of Debian packages.
#
#	guest/make-guest.sh ARCH OUTDIR		ARCH: x86_64 or aarch64
#
# OUTDIR/kernel		Debian's cloud kernel as packaged: bzImage on x86_64, Image on aarch64
# OUTDIR/vmlinux	x86_64 only: the ELF kernel out of the bzImage
# OUTDIR/initrd		initramfs: busybox, virtio drivers; goes over to root= or stays
# OUTDIR/rootfs.ext4	64 MiB root file system with busybox, curl, iperf3 and socat
# OUTDIR/rootfs.gpt	a disk with a GPT and that file system in its only partition
# OUTDIR/partuuid	the unique id of that partition
#
# Needs no root rights, no mount and no loop device. Packages of either architecture come
# through apt-get with package lists of our own, so the host's package set-up is neither
# used up nor changed. They are kept in $SQUIB_CACHE (default: squib in the user's cache
# directory); remove it to get newer ones. Every file appears under its name when it is
# complete, and a run that finds everything up to date ends at once.

set -eu

programs='curl iperf3 socat'	# named as their packages are
wanted="busybox-static $programs"
root_mib=64
# Constant, so that tests may name it; it only has to be unique within one guest.
partuuid=7c1b0d5e-52f4-4b6a-9c39-6d1d5c0a7e21

# The modules the initramfs may load (guest/initramfs-init says when) and what they depend on.
modules='virtio_ring virtio virtio_mmio
	virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci
	virtio_blk virtio-rng virtio_balloon virtio_mem
	failover net_failover virtio_net
	vsock vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport
	libnvdimm nd_virtio nd_btt nd_pmem virtio_pmem'

[ $# -eq 2 ] || { echo "usage: $0 x86_64|aarch64 OUTDIR" >&2; exit 2; }
. "$(dirname "$0")/debian.sh"
arch=$1
case $arch in
x86_64) debian_arch=amd64 images='kernel vmlinux initrd rootfs.ext4 rootfs.gpt partuuid' ;;
aarch64) debian_arch=arm64 images='kernel initrd rootfs.ext4 rootfs.gpt partuuid' ;;
*) die "no such guest architecture: $arch (x86_64, aarch64)" ;;
esac
mkdir -p "$2"
out=$(cd "$2" && pwd)
packages=$cache/packages-$arch

sources='extract-vmlinux.sh initramfs-init root'

begin "$arch"

download() {
	download_kernel && download_wanted
}

begin_images "guest $arch"
for package in "$packages"/*.deb; do
	dpkg -x "$package" "$tmp/unpacked"
done
cp "$tmp"/unpacked/boot/vmlinuz-* "$new/kernel"
if [ "$arch" = x86_64 ]; then
	"$here/extract-vmlinux.sh" "$new/kernel" "$new/vmlinux"
fi

# The root file system. busybox's shell finds its own tools without links, so only what the
# kernel, init and scripts call by path needs a name.
root=$tmp/root
mkdir "$root"
(
	cd "$root"
	mkdir bin dev lib mnt newroot proc root run sbin sys tmp
	cp "$tmp"/unpacked/bin/busybox bin/busybox 2>/dev/null || # before and after the /usr merge
		cp "$tmp"/unpacked/usr/bin/busybox bin/busybox
	for name in sh mount umount sync; do
		ln -s busybox "bin/$name"
	done
	for name in init reboot poweroff halt; do
		ln -s ../bin/busybox "sbin/$name"
	done
)
cp -R "$here/root/." "$root"

# The same with /init and the drivers makes the initramfs.
initramfs=$tmp/initramfs
cp -R "$root" "$initramfs"
cp "$here/initramfs-init" "$initramfs/init"
mkdir "$initramfs/lib/modules"
for module in $modules; do
	file=$(find "$tmp/unpacked" -name "$module.ko*" -type f)
	case $file in
	*.ko) cp "$file" "$initramfs/lib/modules" ;;
	*.ko.xz) xz -dc "$file" >"$initramfs/lib/modules/$module.ko" ;;
	*.ko.zst) zstd -qdc "$file" >"$initramfs/lib/modules/$module.ko" ;;
	*)
		grep -q "/$module\.ko$" "$tmp"/unpacked/lib/modules/*/modules.builtin ||
			die "the kernel package has no module $module"
		;;
	esac
done
(cd "$initramfs" && find . | sort | cpio -o -H newc --quiet -R 0:0) | gzip -9n >"$new/initrd"

# add_libraries FILE - what FILE, a program or library, is linked with, and what that is, to /lib
add_libraries() {
	for library in $(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
		[ ! -e "$root/lib/$library" ] || continue
		file=$(find "$tmp/unpacked" -name "$library" | head -n 1)
		[ -n "$file" ] || die "no package has $library"
		cp "$file" "$root/lib"
		(add_libraries "$file")	# with variables of its own
	done
}

# The initramfs does without these, which are too large for every guest's memory.
for program in $programs; do
	cp "$tmp/unpacked/usr/bin/$program" "$root/bin"
	add_libraries "$root/bin/$program"
done
ln -s lib "$root/lib64"	# where x86_64 looks for its dynamic linker
truncate -s "${root_mib}M" "$new/rootfs.ext4"
mke2fs -q -F -t ext4 -L squib-root -m 0 -d "$root" "$new/rootfs.ext4"

# 1 MiB before the partition and 1 MiB behind it for the second copy of the table.
truncate -s "$((root_mib + 2))M" "$new/rootfs.gpt"
printf 'label: gpt\nstart=1MiB, size=%sMiB, type=linux, uuid=%s\n' "$root_mib" "$partuuid" |
	sfdisk -q "$new/rootfs.gpt"
dd if="$new/rootfs.ext4" of="$new/rootfs.gpt" bs=1M seek=1 conv=notrunc,sparse status=none
echo "$partuuid" >"$new/partuuid"

install_images
