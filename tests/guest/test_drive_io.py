# SPDX-License-Identifier: Apache-2.0
"""What a guest reads and writes is what the host's file holds, whatever happens meanwhile."""

import hashlib
import os
import random
import subprocess

import pytest

import squibvm

DRIVE_BYTES = 16 << 20
WORKERS = 4
COPIES = 25  # by each

cpus = pytest.mark.parametrize("cpus", squibvm.cpu_counts(1, 2))


def make_plan():
    """Copies for each worker: (from, to, length) in bytes, each worker in its own part."""
    rng = random.Random(2)
    part = DRIVE_BYTES // WORKERS
    plan = []
    for worker in range(WORKERS):
        copies = []
        for _ in range(COPIES):
            length = 512 * rng.choice([1, 2, 7, 8, 9, 64, 255, 256, 1000, 2048])
            source = rng.randrange(0, DRIVE_BYTES - length, 512)
            copies.append((source, worker * part + rng.randrange(0, part - length, 512), length))
        plan.append(copies)
    return plan


def guest_script(plan):
    """The plan as a shell script: /dev/vda to /dev/vdb, one request a copy, workers at once."""
    lines = [
        "copy() {",
        "dd if=/dev/vda of=/dev/vdb bs=$3 count=1 skip=$1 seek=$2 iflag=skip_bytes,direct"
        ' oflag=seek_bytes,direct status=none && echo "copied $*"',
        "}",
    ]
    for copies in plan:
        lines += ["("] + [f"copy {source} {target} {length}" for source, target, length in copies]
        lines.append(") &")
    return "\n".join([*lines, "wait", "echo plan is done", ""])


class Copying:
    """A guest with a drive to copy from, one to copy to, and a script on a third.

    `serve` gives drives by socket, (path, read_only) to its path; `more` is for those by file.
    """

    def __init__(self, squib, tmp_path, cpus, serve=None, **more):
        rng = random.Random(1)
        self.source = rng.randbytes(DRIVE_BYTES)
        self.target = bytearray(rng.randbytes(DRIVE_BYTES))
        self.target_path = tmp_path / "target"
        self.plan = make_plan()
        script = guest_script(self.plan).encode()
        script += b"\n" * (-len(script) % 512)
        (tmp_path / "source").write_bytes(self.source)
        self.target_path.write_bytes(self.target)
        (tmp_path / "script").write_bytes(script)

        self.vm = squib()
        self.vm.put("/machine-config", {"vcpu_count": cpus, "mem_size_mib": 128})
        for name, read_only in [("source", True), ("target", False), ("script", True)]:
            if serve:
                body = {"drive_id": name, "is_root_device": False, "socket": serve(str(tmp_path / name), read_only)}
                self.vm.put(f"/drives/{name}", body)
            else:
                self.vm.add_drive(str(tmp_path / name), name, root=False, is_read_only=read_only, **more)
        self.vm.boot()
        self.vm.run("cat /dev/vdc >/tmp/script")

    def check(self):
        """Both drives, as the guest and as the host see them, are what the plan says."""
        for copies in self.plan:
            for source, target, length in copies:
                self.target[target : target + length] = self.source[source : source + length]
        sums = self.vm.run("sha256sum /dev/vda /dev/vdb | cut -d ' ' -f 1").split()
        expected = [hashlib.sha256(data).hexdigest() for data in (self.source, self.target)]
        assert sums == expected
        assert self.target_path.read_bytes() == self.target


@cpus
def test_data_goes_both_ways_unchanged_in_blocks_of_every_size(squib, tmp_path, cpus):
    copying = Copying(squib, tmp_path, cpus)
    said = copying.vm.run("sh /tmp/script").splitlines()
    assert len(said) == WORKERS * COPIES + 1 and said[-1] == "plan is done"
    copying.check()


@pytest.mark.parametrize(
    "cpus, io_engine",
    [pytest.param(*param.values, "Sync", marks=param.marks) for param in squibvm.cpu_counts(1, 2)] + [(1, "Async")],
)
def test_a_guest_paused_again_and_again_loses_nothing(squib, tmp_path, cpus, io_engine):
    copying = Copying(squib, tmp_path, cpus, io_engine=io_engine)
    vm = copying.vm
    vm.run("(while [ ! -e /tmp/idle ]; do :; done &)")
    vm.send("sh /tmp/script")
    # The guest gets on between two pauses, however slow it is.
    said = []
    for _ in range(WORKERS * COPIES):
        said.append(vm.console.expect(r"copied (\d+ \d+ \d+)\n")[1])
        vm.patch("/vm", {"state": "Paused"})
        assert vm.state() == "Paused"
        vm.patch("/vm", {"state": "Resumed"})
        assert vm.state() == "Running"
    vm.console.expect("plan is done\n")
    # Nothing was said twice either.
    assert sorted(said) == sorted(f"{s} {t} {n}" for copies in copying.plan for s, t, n in copies)
    vm.run("touch /tmp/idle")
    copying.check()


@pytest.fixture
def megabyte(tmp_path):
    """A directory on a file system of a megabyte."""
    path = tmp_path / "megabyte"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "squib-test", path]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("needs a small file system, and mounting one is not allowed here")
    yield path
    subprocess.run(["umount", path], check=True)


# The fixtures' order: the file system can only go when squib is gone.
def test_a_full_host_disk_is_an_error_in_the_guest_and_not_the_end(megabyte, squib):
    path = megabyte / "drive"
    with open(path, "wb") as file:
        file.truncate(8 << 20)
    vm = squib()
    vm.add_drive(str(path), drive_id="d", root=False)
    vm.boot()

    vm.run("! dd if=/dev/urandom of=/dev/vda bs=64k oflag=direct")
    assert vm.state() == "Running"
    vm.run("dd if=/dev/vda of=/dev/null bs=64k iflag=direct")
    # What is there can still be written.
    vm.run("echo again | dd of=/dev/vda bs=512 conv=sync oflag=direct")
    assert path.read_bytes()[:6] == b"again\n"


def test_a_file_that_shrinks_is_an_error_in_the_guest_and_not_the_end(squib, tmp_path):
    path = tmp_path / "drive"
    path.write_bytes(b"x" * (1 << 20))
    vm = squib()
    vm.add_drive(str(path), drive_id="d", root=False)
    vm.boot()

    os.truncate(path, 64 << 10)
    vm.run("! dd if=/dev/vda of=/dev/null bs=4k skip=32 count=1 iflag=direct")
    assert vm.run("dd if=/dev/vda bs=4k count=1 iflag=direct status=none | wc -c") == "4096\n"
    # A write makes the file long enough again.
    vm.run("printf 'back again' | dd of=/dev/vda bs=4k seek=32 conv=sync oflag=direct")
    assert path.read_bytes()[32 * 4096 :][:10] == b"back again"
    assert vm.state() == "Running"


def test_a_file_that_has_lost_its_name_still_works(squib, tmp_path):
    path = tmp_path / "drive"
    path.write_bytes(b"old\n".ljust(1 << 20, b"\0"))
    vm = squib()
    vm.add_drive(str(path), drive_id="d", root=False)
    vm.boot()

    with open(path, "rb") as file:
        path.unlink()
        assert vm.run("head -n 1 /dev/vda") == "old\n"
        vm.run("echo new | dd of=/dev/vda bs=512 conv=sync oflag=direct")
        assert vm.run("dd if=/dev/vda bs=512 count=1 iflag=direct status=none | head -n 1") == "new\n"
        assert file.read(4) == b"new\n"


def test_a_drive_s_serial_number_is_made_of_its_file_s_numbers(squib, tmp_path):
    path = tmp_path / "drive"
    path.write_bytes(bytes(512))
    vm = squib()
    vm.add_drive(str(path), drive_id="d", root=False)
    vm.boot()

    stat = path.stat()
    serial = f"{stat.st_dev}{stat.st_rdev}{stat.st_ino}"[:20]
    assert vm.run("cat /sys/block/vda/serial").strip() == serial
