# SPDX-License-Identifier: Apache-2.0
"""A guest that attacks its monitor: tests/guest/hostile tells what it does.

Whatever it does, squib lives, answers its clients, and ends as the guest asks in the end. It
is of most use against a build with sanitizers.
"""

import contextlib
import os
import signal
import socket
import time

import pytest

import squibvm

pytestmark = pytest.mark.skipif(
    squibvm.ENGINE != "kvm", reason="made for the machine of the KVM engine; QEMU's devices are QEMU's"
)

ROUNDS = int(os.environ.get("SQUIB_HOSTILE_ROUNDS", "8192"))
SEEDS = range(1, 1 + int(os.environ.get("SQUIB_HOSTILE_SEEDS", "2")))

# A place in the code may log 10 lines at once and then two a second, and there are so many of
# them that a guest can reach.
LIMITED_PLACES = 60

GUEST_MAC = "06:00:c0:00:02:02"
VSOCK_PORTS = (52, 53)  # see packets.c

# By mode of the guest: the last it says, squib's exit code, and what is in the log. On aarch64 an
# exception is the guest's own affair, but for an access that KVM is not told enough of.
NOT_EMULATED = ("hostile: begin", 1, ["Received KVM_EXIT_INTERNAL_ERROR signal", "--engine qemu"])
SELF_HARM = {
    "x86_64": {
        "crash": ("hostile: begin", 1, ["Unexpected exit reason on vcpu run: Shutdown", "triple fault"]),
        "mmio-fetch": NOT_EMULATED,
        "badaccess": NOT_EMULATED,
    },
    "aarch64": {
        "crash": ("hostile: it goes on", 0, []),
        "mmio-fetch": ("hostile: it came back", 0, []),
        "badaccess": ("hostile: begin", 1, ["Received ENOSYS error because KVM failed to emulate an instruction."]),
    },
}


def make(squib, tmp_path, args, cpus=1, io_engine="Sync", **kwargs):
    """A machine with that guest, a writable drive, a read-only one, a limited one, and entropy."""
    vm = squib(**kwargs)
    vm.put("/machine-config", {"vcpu_count": cpus, "mem_size_mib": 32, "track_dirty_pages": True})
    limit = {"bandwidth": {"size": 1 << 20, "refill_time": 100}, "ops": {"size": 100, "refill_time": 100}}
    drives = {"rw": {"cache_type": "Writeback"}, "ro": {"is_read_only": True}, "slow": {"rate_limiter": limit}}
    drives["rw"]["io_engine"] = io_engine
    for name, more in drives.items():
        path = tmp_path / name
        path.write_bytes(name.encode().ljust(1 << 20, b"."))
        vm.add_drive(str(path), drive_id=name, root=False, **more)
    vm.put("/entropy", {})
    vm.put("/boot-source", {"kernel_image_path": squibvm.image(squibvm.ARCH, "hostile"), "boot_args": args})
    return vm


def add_networks(vm, network, stack):
    """A tap, the metadata service behind it, and vsock with somebody at the ports it tries."""
    network.add_tap("tap0", "192.0.2.1/24")
    vm.put("/network-interfaces/net", {"iface_id": "net", "host_dev_name": "tap0", "guest_mac": GUEST_MAC})
    vm.put("/mmds/config", {"version": "V2", "network_interfaces": ["net"]})
    vm.put("/mmds", {"latest": {"meta-data": "x" * 20000}})
    vm.put("/vsock", {"guest_cid": 3, "uds_path": vm.path("vsock")})
    for port in VSOCK_PORTS:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(f"{vm.path('vsock')}_{port}")
        listener.listen(1000)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cpus", squibvm.cpu_counts(1, 2))
def test_whatever_it_writes_it_hurts_only_itself(squib, network, tmp_path, cpus, seed):
    with contextlib.ExitStack() as stack:
        io_engine = "Async" if seed % 2 == 0 else "Sync"
        vm = make(squib, tmp_path, f"seed={seed} rounds={ROUNDS}", cpus, io_engine, network=network)
        add_networks(vm, network, stack)
        attack(vm, tmp_path, seed)


def attack(vm, tmp_path, seed):
    started = time.monotonic()
    vm.start()
    vm.console.expect(f"hostile: begin seed={seed}")
    for _ in range(ROUNDS // 4096):
        assert vm.state() == "Running"
        # A vCPU that a busy host does not let run cannot be stopped in time: the client tries again.
        squibvm.wait_until(
            lambda: vm.request("PATCH", "/vm", {"state": "Paused"})[0] == 204, "the machine pauses"
        )
        vm.patch("/drives/rw", {"drive_id": "rw", "path_on_host": str(tmp_path / "rw")})
        vm.patch("/vm", {"state": "Resumed"})
        vm.console.expect(r"hostile: \. \d+")
    vm.console.expect(f"hostile: done seed={seed}")
    assert vm.wait_exit() == 0
    assert (tmp_path / "ro").read_bytes() == b"ro".ljust(1 << 20, b".")
    assert (tmp_path / "rw").stat().st_size == 1 << 20
    # What it caused is in the log, but not without end.
    lines = [line for line in vm.log().splitlines() if ":fc_api]" not in line]
    assert len(lines) < LIMITED_PLACES * (10 + 2 * (time.monotonic() - started))


def test_a_guest_that_hangs_answers_nobody_but_squib_does(squib, tmp_path):
    vm = make(squib, tmp_path, "mode=hang", min(2, squibvm.CPUS_MAX))
    vm.start()
    vm.console.expect("hostile: begin")
    vm.patch("/vm", {"state": "Paused"})
    vm.patch("/vm", {"state": "Resumed"})
    assert vm.state() == "Running"
    vm.process.terminate()
    assert vm.wait_exit() == -signal.SIGTERM


@pytest.mark.parametrize("mode", ["reset", "poweroff"])
def test_a_guest_may_end_by_one_register(squib, tmp_path, mode):
    vm = make(squib, tmp_path, f"mode={mode}")
    vm.start()
    assert vm.wait_exit() == 0


@pytest.mark.parametrize("mode", ["crash", "mmio-fetch", "badaccess"])
def test_what_a_cpu_does_to_itself_ends_squib_with_a_reason_or_not_at_all(squib, tmp_path, mode):
    said, code, logged = SELF_HARM[squibvm.ARCH][mode]
    vm = make(squib, tmp_path, f"mode={mode}")
    vm.start()
    vm.console.expect(said)
    assert vm.wait_exit() == code
    log = vm.log()
    for text in logged:
        assert text in log


def test_serial_output_without_end_loses_nothing_and_blocks_nobody(squib, tmp_path):
    vm = make(squib, tmp_path, "mode=flood rounds=2000")
    vm.start()
    vm.console.hold()
    for _ in range(20):
        assert vm.state() == "Running"
    vm.console.release()
    for line in range(1, 2001):
        vm.console.expect(rf"hostile: flood {line} .*\n")
        assert vm.console.skipped == "" or line == 1
    assert vm.wait_exit() == 0


def test_input_comes_back_from_a_guest_that_polls(squib, tmp_path):
    vm = make(squib, tmp_path, "mode=echo")
    vm.start()
    vm.console.expect("hostile: begin.*\n")
    text = "".join(f"line {n} of a text without the letter that ends it\n" for n in range(100))
    vm.process.stdin.write(text.encode() + b"q")
    vm.console.expect("hostile: done mode=echo")
    assert text in vm.console.text
    assert vm.wait_exit() == 0


def test_the_boot_timer_may_be_hit_at_any_time(squib, tmp_path):
    vm = make(squib, tmp_path, "mode=boottimer", options=["--boot-timer"])
    vm.start()
    assert vm.wait_exit() == 0
    assert "Guest-boot-time = " in vm.log()
