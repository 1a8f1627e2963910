#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes what a cross build for ARCH needs besides Debian's cross compiler, and prints where it is.
#
#	scripts/sysroot.sh ARCH			ARCH: aarch64
#
# DIRECTORY/usr, lib	musl, glibc, the libraries that squib uses, and those of the sanitizers
# DIRECTORY/musl.ini	meson cross file: musl, for the static program
# DIRECTORY/glibc.ini	meson cross file: glibc, for libsquib and the tests, which QEMU runs if
#			it is there
#
# The packages are not installed but unpacked, and kept with the guests' in $SQUIB_CACHE; remove
# them there to get newer ones.

set -eu

# Without what they depend on: that would be a whole native compiler.
wanted='linux-libc-dev libc6 libc6-dev libgcc-s1 musl-dev
	libasan8 libubsan1 libstdc++6
	libcmocka-dev libcmocka0 libfdt-dev libfdt1 liburing-dev
	libnettle8 nettle-dev libzstd1 libzstd-dev zlib1g zlib1g-dev'

[ $# -eq 1 ] || { echo "usage: $0 aarch64" >&2; exit 2; }
. "$(dirname "$0")/../guest/debian.sh"
arch=$1
case $arch in
aarch64) debian_arch=arm64 ;;
*) die "no cross build for such an architecture: $arch (aarch64)" ;;
esac
gnu=$arch-linux-gnu
musl=$arch-linux-musl
packages=$cache/packages-sysroot-$arch

download() {
	echo "$wanted" >.wanted
	# shellcheck disable=SC2086 # a list
	apt get download $wanted
}

cross_file() {	# COMPILER ARGUMENT...
	cat <<-END
		[binaries]
		c = [$(printf "'%s', " "$@")]
		ar = '$gnu-ar'
		ld = '$gnu-ld'
		objcopy = '$gnu-objcopy'
		strip = '$gnu-strip'
		pkgconfig = ['env', 'PKG_CONFIG_SYSTEM_INCLUDE_PATH=$sysroot/usr/include', 'pkg-config']

		[properties]
		sys_root = '$sysroot'
		pkg_config_libdir = '$sysroot/usr/lib/$gnu/pkgconfig'

		[host_machine]
		system = 'linux'
		cpu_family = '$arch'
		cpu = '$arch'
		endian = 'little'
	END
}

# What the packages have, with no path that leads out of the directory.
make_sysroot() {
	for package in "$packages"/*.deb; do
		dpkg-deb --fsys-tarfile "$package" |
			tar -x --no-same-owner --exclude='./usr/share' -C "$new"
	done
	find "$new" -type l -lname '/*' | while read -r link; do
		ln -sfn "$(realpath -s --relative-to="${link%/*}" "$new$(readlink "$link")")" "$link"
	done
	sed "s|/usr/[a-z]*/$musl|$sysroot&|g" "$new/usr/lib/$musl/musl-gcc.specs" >"$new/musl.specs"
	cross_file "$gnu-gcc" "--sysroot=$sysroot" -specs "$sysroot/musl.specs" >"$new/musl.ini"
	cross_file "$gnu-gcc" "--sysroot=$sysroot" >"$new/glibc.ini"
	sed -i "/^\[binaries\]/a exe_wrapper = ['qemu-$arch', '-L', '$sysroot']" "$new/glibc.ini"
}

begin "sysroot-$arch"
[ "$wanted" = "$(cat "$packages/.wanted" 2>/dev/null)" ] || rm -rf "$packages"
fetched "$packages" download >&2
sysroot=$cache/sysroot-$arch-$({ ls "$packages"; cat "$0"; } | sha256sum | cut -c -12)
if [ ! -d "$sysroot" ]; then
	echo "${0##*/}: unpacking them into $sysroot" >&2
	new=$tmp/sysroot
	mkdir "$new"
	make_sysroot
	mv "$new" "$sysroot"
fi
echo "$sysroot"
