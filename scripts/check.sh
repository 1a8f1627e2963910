#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs every test and ends with one line: "N passed, N failed[, N skipped]". Each part may be run
# alone by naming it; CONTRIBUTING.md says what each does.
set -u
cd "$(dirname "$0")/.."

# shellcheck disable=SC2206
parts=(${@:-unit unit-aarch64 install api hostile tsan clients fuzz guest lab lab-aarch64-brief})
python=/usr/bin/python3
logs=build-check-logs
export PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:exitcode=98
passed=0 failed=0 skipped=0 failures=
mkdir -p "$logs"

say() { printf '\n== %s\n' "$*"; }

# tally NAME STATUS LOG: add up what a runner's last summary says. A runner that failed without
# saying how much counts as one failure.
tally() {
	local name=$1 status=$2 log=$3 p=0 f=0 s=0 line
	line=$(grep -aE '[0-9]+ (passed|failed|skipped)' "$log" | tail -n 1)
	p=$(grep -oE '[0-9]+ passed' <<<"$line" | grep -oE '[0-9]+' || echo 0)
	f=$(grep -oE '[0-9]+ (failed|error)' <<<"$line" | grep -oE '[0-9]+' | paste -sd+ | bc || echo 0)
	s=$(grep -oE '[0-9]+ skipped' <<<"$line" | grep -oE '[0-9]+' || echo 0)
	p=${p:-0} f=${f:-0} s=${s:-0}
	[ "$status" -ne 0 ] && [ "$f" -eq 0 ] && f=1
	[ "$p" -eq 0 ] && [ "$f" -eq 0 ] && [ "$s" -eq 0 ] && f=1	# it ran nothing
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf -- '-- %s: %s passed, %s failed, %s skipped\n' "$name" "$p" "$f" "$s"
	[ "$f" -eq 0 ] || note_failed "$name" "$log"
}

# What the last lines of all say of a part that failed.
note_failed() {	# NAME LOG
	failures+="-- $1 failed, see $2:"$'\n'
	failures+=$(grep -aE '^(FAILED|ERROR|lab:|not ok)|FAILED|Timeout' "$2" | tail -n 20)$'\n'
	failures+=$(tail -n 5 "$2")$'\n'
}

# run NAME COMMAND...: show and keep its output, then add it up
run() {
	local name=$1 status
	shift
	"$@" </dev/null 2>&1 | tee "$logs/$name.log"
	status=${PIPESTATUS[0]}
	tally "$name" "$status" "$logs/$name.log"
}

# build DIR OPTION...: configure once, then build
build() {
	local dir=$1
	shift
	[ -f "$dir/build.ninja" ] || meson setup "$dir" "$@" >"$logs/setup.log" 2>&1 ||
		{ cat "$logs/setup.log"; return 1; }
	ninja -C "$dir" >"$logs/build.log" 2>&1 || { tail -n 40 "$logs/build.log"; return 1; }
}

build_or_fail() {
	if ! build "$@"; then
		failed=$((failed + 1)) failures+="-- the build in $1 failed"$'\n'
		finish
	fi
}

# release [ARCH=...]: the program as it is shipped
release() {
	make --no-print-directory "$@" >"$logs/release.log" 2>&1 && return
	cat "$logs/release.log"
	failed=$((failed + 1)) failures+="-- make $* failed"$'\n'
}

finish() {
	printf '\n%s' "$failures"
	[ "$skipped" -eq 0 ] && echo "$passed passed, $failed failed" ||
		echo "$passed passed, $failed failed, $skipped skipped"
	exit $((failed > 0 || passed == 0))
}

# meson_tests NAME DIR [ARGUMENTS]: unit tests, counted by their cases
meson_tests() {
	local name=$1 dir=$2 status p f s
	shift 2
	rm -f "$dir/meson-logs/testlog.txt"
	meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$logs/$name.out" 2>&1
	status=$?
	cat "$logs/$name.out"
	p=$(grep -aoE '\[  PASSED  \] [0-9]+ test' "$dir/meson-logs/testlog.txt" |
		grep -oE '[0-9]+' | paste -sd+ | bc)
	f=$(grep -aoE '^Fail: +[0-9]+|^Timeout: +[0-9]+' "$logs/$name.out" |
		grep -oE '[0-9]+$' | paste -sd+ | bc)
	s=$(grep -aoE '\[  SKIPPED \] [0-9]+ test' "$dir/meson-logs/testlog.txt" |
		grep -oE '[0-9]+' | paste -sd+ | bc)
	{ cat "$logs/$name.out"; echo "${p:-0} passed, ${f:-0} failed, ${s:-0} skipped"; } >"$logs/$name.log"
	tally "$name" "$status" "$logs/$name.log"
}

# compiler ARCH: words of a command for programs in guests
compiler() {
	[ "$1" = "$(uname -m)" ] && echo "${CC:-cc}" || echo "$1-linux-gnu-gcc --sysroot=$(scripts/sysroot.sh "$1")"
}

# make_guests [ARCH]: little to do the second time. What has to be compiled is so for ARCH; without it
# for this machine's architecture, and on x86_64 for aarch64 too.
make_guests() {
	local arch cc wanted=${1:-$(uname -m) aarch64}
	for arch in x86_64 aarch64; do
		make_images guest/make-guest.sh "$arch" "build/guest/$arch"
		[[ " $wanted " = *" $arch "* ]] || continue
		make_images guest/make-kernel.sh "$arch" "build/guest/$arch"
		make_images tests/guest/hostile/build.sh "$arch" "build/guest/$arch/hostile"
		read -ra cc <<<"$(compiler "$arch")"
		make_images "${cc[@]}" -O2 -static -o "build/guest/$arch/vsock-peer" tests/guest/vsock_peer.c
	done
}

make_images() {
	"$@" >"$logs/images.log" 2>&1 || {
		cat "$logs/images.log"
		failed=$((failed + 1)) failures+="-- $* failed"$'\n'
	}
}

part_unit() {
	say "unit tests, with AddressSanitizer and UBSan"
	meson_tests unit build-asan
}

# Those that need a kernel of their architecture, the suite "kernel", are run in the lab, but for two:
# engine/test_qemu is a matter of deadlines, and boot/test_aarch64 is the same wherever it runs.
part_unit-aarch64() {
	[ "$(uname -m)" = x86_64 ] || return 0	# elsewhere it is the part before
	say "unit tests for aarch64, by QEMU's emulation of system calls, with UBSan"
	build_or_fail build-aarch64-ubsan --cross-file "$(scripts/sysroot.sh aarch64)/glibc.ini" \
		--werror -Db_sanitize=undefined -Dtests=enabled -Dstatic_program=false -Db_lundef=false
	meson_tests unit-aarch64 build-aarch64-ubsan --no-suite kernel
}

part_api() {
	say "the contract as a table"
	run api tests/api/run --binary build-asan/squib
	release
	run api-release tests/api/run --binary build/squib
	[ "$(uname -m)" = x86_64 ] || return 0
	release ARCH=aarch64
	run api-aarch64 tests/api/run --binary build-aarch64/squib
}

part_hostile() {
	say "hostile clients"
	SQUIB=$PWD/build-asan/squib run hostile $python -m pytest -q -rs tests/api/hostile
}

part_tsan() {
	say "API and devices, with ThreadSanitizer"
	build_or_fail build-tsan --werror -Db_sanitize=thread -Dtests=enabled -Dstatic_program=false \
		-Db_lundef=false
	meson_tests tsan build-tsan --suite api --suite threads
	run tsan-api tests/api/run --binary build-tsan/squib
}

part_clients() {
	say "real clients"
	run differential bash -c 'node tests/clients/http_differential.mjs && echo "1 passed, 0 failed" ||
		{ echo "0 passed, 1 failed"; exit 1; }'
	make_guests
	SQUIB=$PWD/build-asan/squib run clients $python -m pytest -q -rs tests/clients
}

part_fuzz() {
	say "fuzzing, for a bounded time"
	run fuzz tests/fuzz/run
}

part_install() {
	say "installation"
	run install tests/install/run
}

part_guest() {
	say "guests"
	make_guests
	SQUIB=$PWD/build-asan/squib run guest $python -m pytest -q -rs tests/guest
}

# kvm_tests NAME PROGRAM KERNEL ARGUMENT...: guest tests with the KVM engine, a lab for some files
kvm_tests() {
	local name=$1 program=$2 kernel=$3 i log files=(tests/guest/test_*.py)
	local each=${FILES_PER_LAB:-3}
	shift 3
	rm -f "$logs/kvm-$name"-*
	[ "$each" != all ] || each=${#files[@]}
	for ((i = 0; i < ${#files[@]}; i += each)); do
		log=$logs/kvm-$name-$((i / each + 1))
		SQUIB_KERNEL=$kernel tests/guest/with-kvm "$program" "${files[@]:i:each}" "$@" \
			</dev/null >"$log.log" 2>&1
		echo $? >"$log.status"
	done
}

kvm_results() {	# NAME
	local name=$1 log status ran=
	for log in "$logs/kvm-$name"-*.log; do
		status=$(cat "${log%.log}.status")
		[ "$status" -eq 5 ] && continue		# no test of that file was asked for
		ran=1
		cat "$log"
		tally "$(basename "$log" .log)" "$status" "$log"
	done
	[ "$ran" ] || { echo "-- $name: no test"; failed=$((failed + 1)) failures+="-- kvm-$name: no test"$'\n'; }
}

# What is started in the background gets a process group of its own, to be ended with all that it
# started itself: it would not hear of Ctrl-C, and an end by a signal would leave it.
end_jobs_at_exit() {
	trap 'for job in $(jobs -p); do kill -- -"$job"; done 2>/dev/null' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	set -m
}

# The KVM engine: once with sanitizers and Debian's kernel, and once as it is shipped, with the lean
# kernel. In a lab one CPU is busy, so both run at the same time; what the one does well is left out
# of the other, and of either the console that nobody reads: its 14,000 lines take many minutes there,
# and the hostile guest's flood shows the same.
part_lab() {
	say "guests on KVM"
	make_guests
	make_images guest/make-lab.sh "$(uname -m)" "build/guest/lab-$(uname -m)"
	release
	end_jobs_at_exit
	local released='not test_hostile and not no_kvm and not nobody_reads'
	for file in mmds userspace socket_drive clients_guest; do released+=" and not test_$file"; done
	kvm_tests asan build-asan/squib kernel \
		-k "not test_console and not each_form and not built_in_drivers and not nobody_reads" &
	kvm_tests release build/squib lean-kernel \
		-k "$released" &
	set +m
	wait
	kvm_results asan
	kvm_results release
}

# units_in_lab ARCH DIR TEST...: unit tests that need a KVM of their architecture
units_in_lab() {
	local arch=$1 dir=$2 log=$logs/kvm-$1-units-1 p f s test words puts=()
	shift 2
	rm -f "$log".*
	for test; do puts+=(--put "$dir/src/$test=$test"); done
	# shellcheck disable=SC2016 # for the shell in the lab
	tests/guest/lab --arch "$arch" --again --timeout 600 "${puts[@]}" -- \
		env ASAN_OPTIONS="$ASAN_OPTIONS" UBSAN_OPTIONS="$UBSAN_OPTIONS" bash -c \
		'for test; do ./$test || { echo "Fail: $test"; failed=1; }; done; exit $failed' - "$@" \
		</dev/null >"$log.log" 2>&1
	echo $? >"$log.status"
	# of the last lab, if there were several
	words=$(awk '/^lab: / { said = "" } { said = said $0 "\n" } END { print said }' "$log.log")
	p=$(grep -aoE '\[  PASSED  \] [0-9]+ test' <<<"$words" | grep -oE '[0-9]+' | paste -sd+ | bc)
	s=$(grep -aoE '\[  SKIPPED \] [0-9]+ test' <<<"$words" | grep -oE '[0-9]+' | paste -sd+ | bc)
	f=$(grep -ac '^Fail: ' <<<"$words")
	echo "${p:-0} passed, $f failed, ${s:-0} skipped" >>"$log.log"
}

# The same in the lab that is an Arm machine, where guests have several CPUs, and with the other kind
# of interrupt controller and of virtualization. Here all of it.
part_lab-aarch64() {
	arm_lab "not no_kvm and not nobody_reads" "not no_kvm and not nobody_reads" \
		"interrupts_come or test_machine or test_drive_io"
}

# And here what is of this architecture, every device, and what differs with the kernel and the number
# of CPUs: most of what devices do is seen in the other lab.
part_lab-aarch64-brief() {
	[ "$(uname -m)" = x86_64 ] || return 0	# elsewhere it is the part before
	arm_lab "test_aarch64 or test_hostile and not [2- or test_kernels and not each_form or twelve_drives" \
		"(test_machine or test_life or test_vsock or each_form or test_drive_io) and not nobody_reads" \
		"interrupts_come or the_guest_has_the_cpus"
}

# arm_lab ASAN_TESTS RELEASE_TESTS GICV2_TESTS
arm_lab() {
	local shipped=build asan=build-asan name
	say "guests on KVM, aarch64"
	make_guests aarch64
	make_images guest/make-lab.sh aarch64 build/guest/lab-aarch64
	if [ "$(uname -m)" != aarch64 ]; then
		shipped=build-aarch64 asan=build-aarch64-asan
		build_or_fail "$asan" --cross-file "$(scripts/sysroot.sh aarch64)/glibc.ini" \
			--werror -Db_sanitize=address,undefined -Dtests=enabled -Dstatic_program=false \
			-Db_lundef=false
	fi
	release ARCH=aarch64
	end_jobs_at_exit
	FILES_PER_LAB=all kvm_tests aarch64-asan "$asan/squib" kernel -k "$1" &
	{
		units_in_lab aarch64 "$asan" engine/test_{probe,cpu,kvm,machine,registers,caches} \
			cli/test_signals mem/test_guest_mem net/test_passt \
			vhost_user/test_vhost_user_{device,block} virtio/test_block_uring
		LAB_OPTIONS='--gic 2 --cpu cortex-a72' FILES_PER_LAB=all \
			kvm_tests aarch64-gic2 "$shipped/squib" kernel -k "$3"
		FILES_PER_LAB=all kvm_tests aarch64-release "$shipped/squib" lean-kernel -k "$2"
	} &
	set +m
	wait
	for name in units asan release gic2; do kvm_results "aarch64-$name"; done
}

# Guests with several CPUs, which the lab is not made for: see tests/guest/with-kvm.
part_smp() {
	say "guests on KVM with several CPUs"
	make_guests
	make_images guest/make-lab.sh "$(uname -m)" "build/guest/lab-$(uname -m)"
	kvm_tests smp build/squib kernel --smp
	kvm_results smp
}

for part in "${parts[@]}"; do
	declare -F "part_$part" >/dev/null || { echo "$0: no such part: $part" >&2; exit 2; }
done
start=$SECONDS
build_or_fail build-asan --werror -Db_sanitize=address,undefined -Dtests=enabled -Dstatic_program=false \
	-Db_lundef=false
for part in "${parts[@]}"; do
	"part_$part"
	echo "   (${part}: at $((SECONDS - start)) s)"
done
finish
