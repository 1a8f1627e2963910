# SPDX-License-Identifier: Apache-2.0
"""The machine the guest finds: CPUs, memory, drives, entropy, console."""

import fcntl
import os
import signal
import struct
import subprocess
import termios

import pytest

import squibvm

both = pytest.mark.parametrize("arch", squibvm.ARCHES)


def file_in_image(image, path):
    """The content of a file in an ext4 image that no guest uses any more."""
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return subprocess.run(
        ["debugfs", "-R", f"cat {path}", image],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        check=True,
    ).stdout.decode()


@both
@pytest.mark.parametrize("cpus", squibvm.cpu_counts(1, 2, 4))
def test_the_guest_has_the_cpus_memory_root_and_entropy_it_was_given(squib, disk, arch, cpus):
    root = disk(arch)
    vm = squib(arch)
    vm.put("/machine-config", {"vcpu_count": cpus, "mem_size_mib": 192})
    vm.put("/entropy", {})
    vm.add_drive(root)
    guest = vm.boot()

    assert guest["cpus"] == str(cpus)
    # Each can be given work, and does it.
    for cpu in range(cpus):
        assert vm.run(f"taskset -c {cpu} awk '{{ print $39 }}' /proc/self/stat") == f"{cpu}\n"
    # MemTotal is what the kernel leaves after its own code and tables.
    assert 192 * 1024 * 0.75 < int(guest["mem_kib"]) < 192 * 1024
    assert (guest["root"], guest["mode"]) == ("/dev/vda", "rw")

    # Bytes from the device, and not always the same.
    assert vm.run("cat /sys/class/misc/hw_random/rng_current") == "virtio_rng.0\n"
    first = vm.run("head -c 32 /dev/hwrng | hexdump -v -e '1/1 \"%02x\"'; echo")
    second = vm.run("head -c 32 /dev/hwrng | hexdump -v -e '1/1 \"%02x\"'; echo")
    assert len(first.strip()) == 64
    assert first != second

    # The console takes more than a UART's queue in one go, and control characters.
    long_line = "x" * 1000
    assert vm.run(f"echo {long_line}") == f"{long_line}\n"
    vm.send("cat; echo interrupted")
    vm.send("cat says this")
    vm.console.expect("cat says this\n")
    vm.process.stdin.write(b"\x03")
    vm.console.expect("squib-guest# ")

    # What the guest writes is in the host's file once it is off.
    vm.run("echo from the guest >/written && sync")
    vm.send("poweroff -f")
    assert vm.wait_exit() == 0
    assert file_in_image(root, "/written") == "from the guest\n"


@both
def test_a_read_only_root_is_mounted_so_and_cannot_be_written(squib, disk, arch):
    root = disk(arch)
    os.chmod(root, 0o444)
    with open(root, "rb") as file:
        before = file.read()

    vm = squib(arch)
    vm.add_drive(root, is_read_only=True)
    guest = vm.boot()

    assert (guest["root"], guest["mode"]) == ("/dev/vda", "ro")
    assert vm.run("cat /sys/block/vda/ro") == "1\n"
    vm.run("! touch /written")
    vm.run("! mount -o remount,rw / && ! dd if=/dev/zero of=/dev/vda count=1")
    vm.send("reboot -f")
    assert vm.wait_exit() == 0
    with open(root, "rb") as file:
        assert file.read() == before


def test_a_root_given_by_partuuid_is_found(squib, disk):
    vm = squib()
    vm.add_drive(disk(squibvm.ARCH, "rootfs.gpt"), partuuid=squibvm.partuuid(squibvm.ARCH))
    guest = vm.boot()

    assert (guest["root"], guest["mode"]) == ("/dev/vda1", "rw")
    assert f"root=PARTUUID={squibvm.partuuid(squibvm.ARCH)} rw" in vm.run("cat /proc/cmdline")


@both
def test_twelve_drives_appear_in_order_each_as_it_was_configured(squib, disk, tmp_path, arch):
    # (what, size in bytes, sectors the guest sees, further settings)
    drives = [
        ("plain", 1 << 20, 2048, {}),
        ("read only", 2 << 20, 4096, {"is_read_only": True}),
        ("unsafe cache", 3 << 20, 6144, {"cache_type": "Unsafe"}),
        ("writeback cache", 4 << 20, 8192, {"cache_type": "Writeback"}),
        ("empty, as a place holder", 0, 0, {}),
        ("less than a sector", 100, 0, {}),
        ("a sector and a bit", 1000, 1, {}),
        ("sync engine", 5 << 20, 10240, {"io_engine": "Sync"}),
    ]
    drives += [(f"number {n}", n << 20, n * 2048, {}) for n in range(9, 12)]

    vm = squib(arch)
    # The root drive is the first whenever it is configured, so it comes last here.
    for number, (what, size, _, more) in enumerate(drives):
        path = tmp_path / f"drive{number}"
        path.write_bytes(f"drive {what}\n".encode().ljust(size, b"\0")[:size])
        vm.add_drive(str(path), drive_id=f"d{number}", root=False, **more)
    vm.add_drive(disk(arch))
    assert vm.boot()["root"] == "/dev/vda"

    names = vm.run("cd /sys/block && echo vd*").split()
    assert names == [f"vd{letter}" for letter in "abcdefghijkl"]
    for name, (what, size, sectors, more) in zip(names[1:], drives):
        facts = vm.run(f"cat /sys/block/{name}/size /sys/block/{name}/ro /sys/block/{name}/queue/write_cache")
        cache = "write back" if more.get("cache_type") == "Writeback" else "write through"
        read_only = 1 if more.get("is_read_only") else 0
        assert facts == f"{sectors}\n{read_only}\n{cache}\n", what
        if sectors:
            assert vm.run(f"head -n 1 /dev/{name}") == f"drive {what}\n"

    vm.run("echo first >/dev/vdb && echo cached >/dev/vdd && echo flushed >/dev/vde && sync")
    vm.run("! dd if=/dev/zero of=/dev/vdc count=1")
    # A write behind the visible end must not reach the file either.
    vm.run("! dd if=/dev/zero of=/dev/vdh bs=512 seek=1 count=1")
    vm.send("reboot -f")
    assert vm.wait_exit() == 0
    assert (tmp_path / "drive0").read_bytes().startswith(b"first\n")
    assert (tmp_path / "drive1").read_bytes().startswith(b"drive read only\n")
    assert (tmp_path / "drive2").read_bytes().startswith(b"cached\n")
    assert (tmp_path / "drive3").read_bytes().startswith(b"flushed\n")
    for number, (_, size, _, _) in enumerate(drives):
        assert (tmp_path / f"drive{number}").stat().st_size == size


def test_serial_output_goes_to_the_file_named_for_it_and_input_is_left_alone(squib, tmp_path):
    serial = tmp_path / "serial"
    serial.touch()
    vm = squib()
    vm.put("/serial", {"serial_out_path": str(serial)})
    vm.put("/boot-source", squibvm.boot_source(squibvm.ARCH))
    vm.start()

    squibvm.wait_until(lambda: b"squib-guest# " in serial.read_bytes(), "the guest is up")
    # As upstream: with a file for the output, standard input is not for the guest. Nobody has read it
    # when squib's loop has been through.
    vm.send("echo typed")
    vm.patch("/vm", {"state": "Paused"})
    vm.patch("/vm", {"state": "Resumed"})
    (unread,) = struct.unpack("i", fcntl.ioctl(vm.process.stdin, termios.FIONREAD, bytes(4)))
    assert unread == len("echo typed\n")
    vm.process.terminate()
    assert vm.wait_exit() == -signal.SIGTERM
    assert b"typed" not in serial.read_bytes()
    assert "squib-guest" not in vm.console.text


def test_a_boot_from_the_configuration_file_alone_needs_no_socket(squib, disk):
    root = disk(squibvm.ARCH)
    config = {
        "boot-source": squibvm.boot_source(squibvm.ARCH),
        "drives": [{"drive_id": "rootfs", "path_on_host": root, "is_root_device": True}],
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 160},
    }
    vm = squib(api=False, config=config)
    guest = vm.wait_for_guest()

    assert guest["root"] == "/dev/vda"
    assert not os.path.exists(vm.socket)
    vm.send("reboot -f")
    assert vm.wait_exit() == 0


def test_a_boot_from_a_configuration_file_can_be_led_over_the_socket(squib):
    config = {
        "boot-source": squibvm.boot_source(squibvm.OTHER_ARCH),
        "drives": [],
        "machine-config": {"vcpu_count": min(2, squibvm.CPUS_MAX), "mem_size_mib": 160},
    }
    vm = squib(squibvm.OTHER_ARCH, config=config)

    assert vm.wait_for_guest()["cpus"] == str(config["machine-config"]["vcpu_count"])
    assert vm.state() == "Running"
    assert vm.get("/machine-config")["mem_size_mib"] == 160
    fault = vm.refused("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    assert "not supported after starting the microVM" in fault


def test_the_command_line_is_the_user_s_and_what_the_machine_adds(squib, disk):
    vm = squib(squibvm.OTHER_ARCH)
    body = squibvm.boot_source(squibvm.OTHER_ARCH)
    body["boot_args"] += " squib.test=1 -- for-init"
    vm.put("/boot-source", body)
    vm.add_drive(disk(squibvm.OTHER_ARCH), is_read_only=True)
    vm.start()
    vm.wait_for_guest()

    words = vm.run("cat /proc/cmdline").split()
    assert words[-2:] == ["--", "for-init"]
    for word in ["panic=1", "squib.test=1", "root=/dev/vda", "ro"]:
        assert word in words[:-2]


# Devices of the API that an engine cannot give yet. Nothing is ignored in silence: the
# machine does not start, and the reason names what cannot be had and who says so.
REFUSED = [
    ("/balloon", {"amount_mib": 8, "deflate_on_oom": True}, "balloon"),
    ("/pmem/data", {"id": "data", "path_on_host": "/dev/null"}, "pmem"),
    ("/hotplug/memory", {"total_size_mib": 128}, "memory hotplug"),
]
TEMPLATE = {"x86_64": "T2", "aarch64": "V1N1"}[squibvm.ARCH]
if squibvm.ENGINE == "qemu":
    burst = {"bandwidth": {"size": 1, "one_time_burst": 9, "refill_time": 100}}
    REFUSED += [
        ("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": TEMPLATE}, "CPU template"),
        ("/entropy", {"rate_limiter": burst}, "entropy"),
    ]


@pytest.mark.parametrize("path, body, name", REFUSED, ids=[path for path, _, _ in REFUSED])
def test_what_an_engine_cannot_give_is_refused_at_the_start_by_name(squib, path, body, name):
    vm = squib()
    vm.put("/boot-source", squibvm.boot_source(squibvm.ARCH))
    vm.put(path, body)

    fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
    assert fault.startswith("Start microvm error: ")
    assert name in fault
    assert f"{squibvm.ENGINE} engine" in fault
    assert vm.state() == "Not started"
    assert vm.engine_processes() == []


@pytest.mark.skipif(squibvm.ENGINE != "kvm", reason="in the QEMU engine the memory is QEMU's")
@squibvm.only_on("x86_64", "1022 GiB are the most there, as upstream, and a host can map as much")
def test_more_memory_than_the_host_can_map_is_refused_at_the_start(squib):
    vm = squib()
    vm.put("/boot-source", squibvm.boot_source(squibvm.ARCH))
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 1 << 27})

    fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
    assert fault == (
        "Start microvm error: Invalid Memory Configuration: Cannot create mmap region:"
        " Out of memory (os error 12)"
    )
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    vm.start()
    vm.wait_for_guest()
