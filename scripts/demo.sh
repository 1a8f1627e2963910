#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Boots a Linux guest with squib, step by step as Firecracker's getting-started guide does,
# talks to it over its console, and ends it. Takes less than a minute.
#
# Needs build/squib and the guest images that guest/make-guest.sh puts into build/guest;
# SQUIB and SQUIB_GUEST name others. Further arguments go to squib (--engine qemu, ...).

set -eu

cd "$(dirname "$0")/.."
arch=$(uname -m)
squib=${SQUIB:-build/squib}
guest=${SQUIB_GUEST:-build/guest}/$arch
id=squib-demo-$$
deadline_s=90	# for each wait: a hang guard, not an expectation

die() {
	echo "demo: $*" >&2
	exit 1
}

[ -x "$squib" ] || die "$squib is not there: run make first"
for image in kernel initrd rootfs.ext4; do
	[ -e "$guest/$image" ] || die "$guest/$image is not there: run guest/make-guest.sh $arch $guest"
done
squib=$(realpath "$squib")
guest=$(realpath "$guest")

tmp=$(mktemp -d "${TMPDIR:-/tmp}/squib-demo.XXXXXX")
squib_pid=
clean_up() {
	if [ -n "$squib_pid" ]; then
		kill "$squib_pid" 2>/dev/null || true
		tries=50
		while kill -0 "$squib_pid" 2>/dev/null && [ "$tries" -gt 0 ]; do
			tries=$((tries - 1))
			sleep 0.1
		done
		kill -9 "$squib_pid" 2>/dev/null || true
	fi
	wait	# for the viewer too, which ends with squib
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step() {
	printf '\n== %s\n' "$*"
}

# Waits until COMMAND... succeeds; gives up when squib has ended or the deadline is over.
wait_for() {
	what=$1
	shift
	tries=$((deadline_s * 10))
	until "$@"; do
		kill -0 "$squib_pid" 2>/dev/null || die "squib has ended while waiting for: $what"
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || die "waited $deadline_s seconds for: $what"
		sleep 0.1
	done
}

# One API request as in the guide; shows it and its answer, and goes on only after a success.
request() {
	printf -- '-> %s %s %s\n' "$1" "$2" "${3:-}"
	status=$(curl --silent --show-error --output "$tmp/answer" --write-out '%{http_code}' \
		--unix-socket "$tmp/api.sock" -X "$1" ${3:+--data "$3"} "http://localhost$2")
	printf '<- %s %s\n' "$status" "$(cat "$tmp/answer" 2>/dev/null)"
	rm -f "$tmp/answer"
	case $status in 2*) ;; *) die "the request was refused" ;; esac
}

prompts() {
	grep -c 'squib-guest# ' "$tmp/console" || true
}

more_prompts_than() {
	[ "$(prompts)" -gt "$1" ]
}

# Types a line on the guest's console and waits until the shell is back.
type_line() {
	before=$(prompts)
	printf '%s\n' "$1" >&3
	wait_for "the guest's answer to: $1" more_prompts_than "$before"
}

step "Starting squib (guest architecture $arch); its log goes to a file"
cp --sparse=always "$guest/rootfs.ext4" "$tmp/rootfs.ext4"	# the guest writes to it
touch "$tmp/log" "$tmp/console"
mkfifo "$tmp/keyboard"
# Opened for both directions, so that neither side waits for the other to come.
exec 3<>"$tmp/keyboard"
"$squib" --api-sock "$tmp/api.sock" --id "$id" --network userspace "$@" <"$tmp/keyboard" >"$tmp/console" 3>&- &
squib_pid=$!
wait_for "the API socket" test -S "$tmp/api.sock"
request GET /
if [ -s "$tmp/console" ]; then
	echo "What it has said so far:"
	sed 's/^/   | /' "$tmp/console"
fi

step "Configuring the machine"
request PUT /logger "{\"log_path\": \"$tmp/log\", \"level\": \"Info\", \"show_level\": true}"
request PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 192}'
request PUT /boot-source "{\"kernel_image_path\": \"$guest/kernel\", \"initrd_path\": \"$guest/initrd\", \"boot_args\": \"console=ttyS0 reboot=k panic=1\"}"
request PUT /drives/rootfs "{\"drive_id\": \"rootfs\", \"path_on_host\": \"$tmp/rootfs.ext4\", \"is_root_device\": true, \"is_read_only\": false}"
request PUT /network-interfaces/eth0 '{"iface_id": "eth0", "host_dev_name": "none", "guest_mac": "06:00:c0:00:02:02"}'
request PUT /mmds/config '{"version": "V2", "network_interfaces": ["eth0"]}'
request PUT /mmds '{"latest": {"meta-data": {"instance-id": "i-demo"}}}'
request PUT /vsock "{\"guest_cid\": 3, \"uds_path\": \"$tmp/vsock\"}"
request PUT /entropy '{}'

step "Booting; what follows is the guest's console"
said=$(wc -l <"$tmp/console")
request PUT /actions '{"action_type": "InstanceStart"}'
# Without carriage returns and the shell's question where the cursor is.
tail --pid="$squib_pid" -n "+$((said + 1))" -f "$tmp/console" 3>&- |
	sed -u 's/\r//g; s/\x1b\[6n//g; s/^/   | /' &
viewer_pid=$!
wait_for "the guest's shell" more_prompts_than 0
type_line 'uname -a'
type_line 'head -n 5 /proc/cpuinfo'
type_line 'df -h'
type_line 'head -c 16 /dev/hwrng | hexdump -C'

step "The guest asks for its metadata"
type_line 'ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip route add 169.254.169.254 dev eth0'
type_line 'token=$(curl -s -X PUT -H "X-metadata-token-ttl-seconds: 60" http://169.254.169.254/latest/api/token)'
type_line 'curl -s -H "X-metadata-token: $token" http://169.254.169.254/latest/meta-data/instance-id; echo'

step "The host talks to a port of the guest, over vsock"
type_line 'socat VSOCK-LISTEN:52 SYSTEM:"uname -srm" 2>/dev/null &'
answers() {
	printf 'CONNECT 52\n' | socat -t 5 - "UNIX-CONNECT:$tmp/vsock" >"$tmp/answer" 2>&1 && [ -s "$tmp/answer" ]
}
wait_for "the guest at the port" answers
sed 's/^/<- /' "$tmp/answer"

request GET /

step "Rebooting in the guest: like Firecracker, squib ends then"
echo reboot >&3
code=0
ended() {
	! kill -0 "$squib_pid" 2>/dev/null
}
tries=$((deadline_s * 10))
until ended; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || die "waited $deadline_s seconds for the guest to reboot"
	sleep 0.1
done
wait "$squib_pid" || code=$?
squib_pid=
wait "$viewer_pid" || true	# shows the last lines
viewer_pid=

step "squib has ended with exit code $code; the end of its log:"
tail -n 3 "$tmp/log" | sed 's/^/   | /'
[ "$code" -eq 0 ] || die "the exit code should be 0"
if left=$(pgrep -af -- "$id"); then
	die "processes of it are left: $left"
fi
echo
echo "No process of it is left, and $tmp is removed now."
