#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Installs the Debian 12 packages that squib's own tasks need.
#
#	scripts/setup-packages.sh GROUP...
#
# Only what is missing is installed, and nothing is asked of the package mirrors when
# nothing is missing, so the Makefile can call this before every task.

set -eu

# One line a package: the groups that need it (comma separated), its name, what for.
packages() {
	cat <<-'END'
	build		gcc					C compiler
	build		libc6-dev				C library headers
	build		make					the Makefile in front of meson
	build		meson					build description
	build		ninja-build				build runner
	build		pkg-config				how meson finds libraries
	build		zlib1g-dev				gzip compressed kernels
	build		libzstd-dev				zstd compressed kernels
	build		libfdt-dev				device trees of aarch64 guests
	build		nettle-dev				AES-GCM for the tokens of the metadata service
	build		liburing-dev				asynchronous block devices
	build		musl-tools				C library of the program
	build		scdoc					manual pages

	cross		gcc-aarch64-linux-gnu			C compiler for aarch64; make ARCH=aarch64
	cross		qemu-user				runs the tests of aarch64
	cross		ca-certificates				mirrors reached over TLS

	guest		qemu-system-x86				CPU, RAM and interrupts of x86_64 guests without KVM
	guest		qemu-system-arm				the same for aarch64 guests
	guest		busybox-static				user space of the x86_64 (native) guest
	guest		binutils				readelf finds the libraries of the guest's programs
	guest		cpio					packs the initramfs
	guest		e2fsprogs				mke2fs -d makes root file systems without mounting
	guest		fdisk					sfdisk makes the disk with a GPT
	guest		gzip					compressed initramfs and kernels
	guest		zstd					zstd compressed kernels
	guest		lz4					payload of Debian's 6.1 cloud bzImage
	guest		xz-utils				payload of Debian's generic bzImage
	guest		ca-certificates				mirrors reached over TLS

	kernel		gcc					compiles the lean guest kernel
	kernel		make					its build
	kernel		flex					its configuration language and other parsers
	kernel		bison					the same
	kernel		bc					its time constants
	kernel		libelf-dev				its objtool reads what was compiled
	kernel		libc6-dev				C library of the tools it is built with
	kernel		lz4					compresses it
	kernel		xz-utils				unpacks its source

	lab		qemu-system-x86				the machine that the lab is
	lab		qemu-system-arm				the same for aarch64
	lab		busybox-static				depmod makes the list of the lab's modules
	lab		python3					runs it; its modules are compiled for it
	lab		xz-utils				unpacks the packages it is made of
	lab		cpio					packs the initramfs
	lab		e2fsprogs				mke2fs -d makes root file systems without mounting
	lab		gzip					compressed initramfs
	lab		ca-certificates				mirrors reached over TLS

	check		clang					second compiler, sanitizers, fuzzers
	check		libclang-rt-14-dev			run time of the sanitizers and libFuzzer
	check		libcmocka-dev				unit tests
	check		acpica-tools				iasl reads the ACPI tables we make
	check		device-tree-compiler			dtc reads the device trees we make
	check		g++					the headers in C++
	check		python3-pytest				whole-process tests
	check		python3-requests			client stack: Python
	check		python3-requests-unixsocket		client stack: Python over a Unix socket
	check		python3-yaml				reads the API description
	check		nodejs					client stack: Node
	check		golang-go				client stack: Go
	check		golang-github-go-openapi-runtime-dev	client stack: what the Go SDK is made of
	check		golang-github-go-openapi-strfmt-dev	client stack: what the Go SDK is made of
	check		iproute2				network namespaces and taps
	check		iperf3					the host's end of measurements in a guest
	check		qemu-system-common			qemu-storage-daemon: drives by socket
	check		qemu-user				runs the program of another architecture in the API tests
	check		bc					adds up what the test runners counted
	check,demo	passt					networking without root, as squib runs it
	check,demo	socat					client stack: a connection held open in a shell script
	check,demo	curl					client stack: shell
	check,bench,demo	procps				ps: looks for what is left behind
	check,bench	python3					runs the tests and the measurements
	END
}

usage() {
	echo "usage: $0 GROUP..." >&2
	echo "groups: $(packages | awk 'NF { print $1 }' | tr ',' '\n' | sort -u | xargs)" >&2
	exit 2
}

[ $# -gt 0 ] || usage

wanted=
for group; do
	names=$(packages | awk -v group="$group" '
		NF { n = split($1, in_groups, ","); for (i = 1; i <= n; i++) if (in_groups[i] == group) print $2 }')
	[ -n "$names" ] || { echo "$0: no such group: $group" >&2; usage; }
	wanted="$wanted $names"
done

# dpkg-query prints only what it knows and complains about the rest; both are expected.
# shellcheck disable=SC2086 # package names hold no blanks
have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
	awk '$1 == "installed" { printf "%s ", $2 }') || true

missing=
for name in $wanted; do
	case " $have $missing " in
	*" $name "*) ;;
	*) missing="$missing $name" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "$0: these Debian packages are missing; as root run:" >&2
	echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
	exit 1
fi

echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive
# A third-party source that is down must not stop an install that does not need it, so a
# failing update is only reported; the install then says what it could not find.
apt-get -qq update || echo "$0: apt-get update failed, going on with the package lists as they are" >&2
# shellcheck disable=SC2086
if ! said=$(apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing 2>&1); then
	printf '%s\n' "$said" >&2
	echo "$0: could not install:$missing" >&2
	exit 1
fi
