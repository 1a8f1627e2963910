# SPDX-License-Identifier: Apache-2.0
"""PATCH /drives while a guest runs: another file, other limits."""

import os
import time

import pytest

import squibvm


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("read_only", [False, True], ids=["rw", "ro"])
@pytest.mark.parametrize("arch", squibvm.ARCHES)
def test_a_drive_gets_another_file_of_another_size(squib, tmp_path, arch, read_only, paused):
    """As clients do that begin with stub drives and put the real image in later."""
    stub, image, last = tmp_path / "stub", tmp_path / "image,readonly=off", tmp_path / "last"
    stub.write_bytes(b"stub\n".ljust(1024, b"\0"))
    image.write_bytes(b"image\n".ljust((8 << 20) + 100, b"\0"))
    last.write_bytes(b"last\n".ljust(4096, b"\0"))

    vm = squib(arch)
    vm.add_drive(str(stub), drive_id="d", root=False, is_read_only=read_only)
    vm.boot()
    assert vm.run("cat /sys/block/vda/size; head -n 1 /dev/vda") == "2\nstub\n"
    if paused:
        vm.patch("/vm", {"state": "Paused"})
    vm.patch("/drives/d", {"drive_id": "d", "path_on_host": str(image)})
    if paused:
        assert vm.state() == "Paused"
        vm.patch("/vm", {"state": "Resumed"})
    size = "until [ $(cat /sys/block/vda/size) = %d ]; do sleep 0.1; done; head -n 1 /dev/vda"
    assert vm.run(size % 16384) == "image\n"

    fault = vm.refused("PATCH", "/drives/d", {"drive_id": "d", "path_on_host": "/nonexistent"})
    assert "No such file or directory (os error 2) /nonexistent" in fault
    assert vm.run("head -n 1 /dev/vda") == "image\n"

    if not read_only:
        vm.run("printf written | dd of=/dev/vda bs=1k seek=1k conv=fsync")
        assert image.read_bytes()[1 << 20 :][:7] == b"written"
    vm.patch("/drives/d", {"drive_id": "d", "path_on_host": str(last)})
    assert vm.run(size % 8) == "last\n"
    assert image.stat().st_size == (8 << 20) + 100 and stub.stat().st_size == 1024


def test_limits_come_and_go(squib, tmp_path):
    data = tmp_path / "data"
    data.write_bytes(os.urandom(4 << 20))
    vm = squib()
    vm.add_drive(str(data), drive_id="d", root=False)
    vm.boot()

    def read_seconds():
        start = time.monotonic()
        vm.run("dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct")
        return time.monotonic() - start

    # 4 MiB through a bucket of 1 MiB a second take 3 s however fast or slow the machine is.
    bucket = {"size": 1 << 20, "refill_time": 1000}
    vm.patch("/drives/d", {"drive_id": "d", "rate_limiter": {"bandwidth": bucket}})
    assert read_seconds() > 2.5
    # Another bucket is added, and this one stays.
    vm.patch("/drives/d", {"drive_id": "d", "rate_limiter": {"ops": {"size": 9000, "refill_time": 1000}}})
    assert read_seconds() > 2.5
    # It stays with a new file as well.
    vm.patch("/drives/d", {"drive_id": "d", "path_on_host": str(data)})
    assert read_seconds() > 2.5
    burst = {"drive_id": "d", "rate_limiter": {"bandwidth": {**bucket, "one_time_burst": 4 << 20}}}
    vm.patch("/drives/d", burst)
    assert read_seconds() < 2.5  # the burst is spent first
    assert read_seconds() > 2.5
    vm.patch("/drives/d", {"drive_id": "d", "rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}})
    vm.run("dd if=/dev/vda of=/dev/null bs=64k count=64 iflag=direct")


def drive_rates(vm):
    """Requests and bytes a second that the guest reads, by its own counters and clock."""
    said = vm.run(
        "sleep 1; for i in 1 2; do cut -d ' ' -f 1 /proc/uptime;"
        " awk '{ print $1, $3 * 512 }' /sys/block/vda/stat; [ $i = 2 ] || sleep 3; done"
    )
    start, ops, read, end, ops_after, read_after = map(float, said.split())
    return (ops_after - ops) / (end - start), (read_after - read) / (end - start)


@squibvm.too_long_for_lab
def test_limits_hold_within_a_tenth(squib, tmp_path):
    data = tmp_path / "data"
    data.write_bytes(bytes(1 << 20))
    vm = squib()
    bandwidth = {"bandwidth": {"size": 100_000, "refill_time": 50}}
    vm.add_drive(str(data), drive_id="d", root=False, rate_limiter=bandwidth)
    vm.boot()
    vm.run("(while :; do dd if=/dev/vda of=/dev/null bs=16k iflag=direct status=none; done &)")

    _, bytes_s = drive_rates(vm)
    assert abs(bytes_s / 2_000_000 - 1) < 0.1
    ops = {"bandwidth": {"size": 0, "refill_time": 0}, "ops": {"size": 5, "refill_time": 50}}
    vm.patch("/drives/d", {"drive_id": "d", "rate_limiter": ops})
    ops_s, _ = drive_rates(vm)
    assert abs(ops_s / 100 - 1) < 0.1
