# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034 # variables are for the scripts that source this
#
# What the scripts here share: Debian packages of any architecture, fetched and unpacked
# without touching the host's package set-up. Sourced, with $0 being the script that does it.

die() {
	echo "$0: $*" >&2
	exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
cache=${SQUIB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/squib}/guest
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"	# sfdisk and mke2fs, for users too

# begin NAME - one run at a time works on NAME: the others wait, then find it done. Sets $tmp,
# an empty directory that is gone when the script ends.
begin() {
	mkdir -p "$cache"
	exec 9>"$cache/lock-$1"
	flock 9
	rm -rf "$cache/tmp-$1".*	# of a run that was killed; the lock says that no other uses it
	tmp=$(mktemp -d "$cache/tmp-$1.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# apt TOOL ARGUMENT... - apt-TOOL as it would be on a machine of architecture $debian_arch that
# has nothing installed, with all its state under $tmp. It uses the host's sources and keys.
apt() {
	tool=$1
	shift
	mkdir -p "$tmp/lists/partial" "$tmp/apt-cache/archives/partial"
	"apt-$tool" -qq -o "APT::Architecture=$debian_arch" -o "APT::Architectures=$debian_arch" \
		-o APT::Sandbox::User=root \
		-o "Dir::State::Lists=$tmp/lists" -o Dir::State::status=/dev/null \
		-o "Dir::Cache=$tmp/apt-cache" -o Acquire::Languages=none \
		-o Acquire::Retries=3 "$@"
}

# A third-party source that is down does not matter; the download that follows notices the rest.
apt_update() {
	apt get update || echo "$0: apt-get update failed, trying with what it got" >&2
}

# fetched DIRECTORY COMMAND... - unless DIRECTORY exists, runs COMMAND in an empty directory
# and keeps what it has put there as DIRECTORY. (Remove that to get newer packages.)
fetched() {
	directory=$1
	shift
	[ ! -d "$directory" ] || return 0
	echo "${0##*/}: fetching Debian packages into $directory"
	apt_update
	mkdir "$tmp/packages"
	(cd "$tmp/packages" && "$@") || die "cannot download the packages"
	mv "$tmp/packages" "$directory"
}

# Debian's cloud kernel for $debian_arch, as one package in the current directory.
download_kernel() {
	# The meta package always depends on the newest kernel of its kind.
	kernel=$(apt cache depends "linux-image-cloud-$debian_arch" |
		awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { sub(/:.*/, "", $2); print $2; exit }')
	[ -n "$kernel" ] || die "cannot find Debian's cloud kernel for $debian_arch in the package sources"
	# Signed and unsigned kernels are the same; a mirror can have one before the other.
	apt get download "$kernel" || apt get download "$kernel-unsigned"
}

# The packages $wanted and all they depend on, in the current directory.
download_wanted() {
	echo "$wanted" >.wanted
	# shellcheck disable=SC2086 # a list
	apt get install --download-only --yes --no-install-recommends $wanted &&
		mv "$tmp"/apt-cache/archives/*.deb .
}

# What images are made from: the packages' names, which tell their versions, and sums of this
# file, the script, and $sources, files and directories next to it.
inputs() {
	ls "$packages"
	# shellcheck disable=SC2086 # a list
	(cd "$here" && find "${0##*/}" debian.sh $sources -type f -exec sha256sum {} + | sort -k 2)
}

up_to_date() {
	[ -d "$packages" ] && [ "$(inputs)" = "$(cat "$out/.made-from" 2>/dev/null)" ] || return 1
	for image in $images; do
		[ -e "$out/$image" ] || return 1
	done
}

# begin_images WHAT - ends the script when all $images are in $out and were made from what there
# is now. Else sees to $packages, with the script's function download, and sets $new, a directory
# in $out to make $images in.
begin_images() {
	! up_to_date || exit 0
	[ "$wanted" = "$(cat "$packages/.wanted" 2>/dev/null)" ] || rm -rf "$packages"
	fetched "$packages" download
	rm -rf "$out"/.new.*
	new=$out/.new.$$
	mkdir "$new"
	trap 'rm -rf "$tmp" "$new"' EXIT
	echo "$1: making images in $out"
}

# Puts $images under their names. Until all are there, none counts as made from anything.
install_images() {
	rm -f "$out/.made-from"
	for image in $images; do
		mv -f "$new/$image" "$out/$image"
	done
	inputs >"$new/made-from"
	mv "$new/made-from" "$out/.made-from"
	rm -rf "$new"
}
