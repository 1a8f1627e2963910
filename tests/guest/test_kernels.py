# SPDX-License-Identifier: Apache-2.0
"""Kernel images: every form that boots, and every form that must be refused kindly."""

import pytest

import squibvm

FORMS = [
    ("x86_64", "kernel", None),
    ("x86_64", "kernel", "gzip"),
    ("x86_64", "kernel", "zstd"),
    ("x86_64", "vmlinux", None),
    ("x86_64", "vmlinux", "gzip"),
    ("x86_64", "vmlinux", "zstd"),
    ("aarch64", "kernel", None),
    ("aarch64", "kernel", "gzip"),
    ("aarch64", "kernel", "zstd"),
]
FORMS = [form for form in FORMS if form[0] in squibvm.ARCHES]


def name_of(form):
    arch, name, how = form
    kind = "vmlinux" if name == "vmlinux" else {"x86_64": "bzImage", "aarch64": "Image"}[arch]
    return f"{arch}-{kind}" + (f"-{how}" if how else "")


@pytest.mark.parametrize("form", FORMS, ids=map(name_of, FORMS))
def test_a_guest_boots_from_each_form_of_kernel(squib, compressed, form):
    arch, name, how = form
    kernel = compressed(arch, name, how) if how else squibvm.image(arch, name)

    vm = squib(arch)
    guest = vm.boot(kernel=kernel)

    assert guest["root"] == "initramfs"
    assert vm.state() == "Running"
    assert vm.run("uname -m") == f"{arch}\n"


# There is a lean kernel (guest/make-kernel.sh) for these.
LEAN_ARCHES = [arch for arch in squibvm.ARCHES if arch == "x86_64"]


@pytest.mark.parametrize("cpus", squibvm.cpu_counts(1, 2, 4))
@pytest.mark.parametrize("name", ["lean-kernel", "lean-vmlinux"])
@pytest.mark.parametrize("arch", LEAN_ARCHES)
def test_a_kernel_with_built_in_drivers_needs_no_initramfs(squib, disk, arch, name, cpus):
    vm = squib(arch)
    vm.put("/machine-config", {"vcpu_count": cpus, "mem_size_mib": 128})
    vm.add_drive(disk(arch))
    guest = vm.boot(squibvm.image(arch, name), initrd=False)

    assert (guest["root"], guest["mode"], guest["cpus"]) == ("/dev/vda", "rw", str(cpus))
    # Each CPU can be given work, and does it.
    for cpu in range(cpus):
        assert vm.run(f"taskset -c {cpu} awk '{{ print $39 }}' /proc/self/stat") == f"{cpu}\n"
    vm.send("reboot -f")
    assert vm.wait_exit() == 0


@pytest.mark.parametrize("arch", LEAN_ARCHES)
def test_the_kernel_itself_finds_a_root_by_partuuid(squib, disk, arch):
    vm = squib(arch)
    vm.add_drive(disk(arch, "rootfs.gpt"), partuuid=squibvm.partuuid(arch))
    guest = vm.boot(squibvm.image(arch, "lean-kernel"), initrd=False)

    assert (guest["root"], guest["mode"]) == ("/dev/vda1", "rw")


@pytest.mark.skipif(squibvm.ENGINE != "kvm", reason="QEMU's microvm needs ACPI to be found")
@pytest.mark.parametrize("cpus", squibvm.cpu_counts(1, 2))
def test_without_acpi_the_mp_table_and_the_command_line_tell_as_much(squib, disk, cpus):
    """As Kata boots its guests: devices are found by virtio_mmio.device=, CPUs by the MP table."""
    vm = squib("x86_64")
    vm.put("/machine-config", {"vcpu_count": cpus, "mem_size_mib": 128})
    vm.add_drive(disk("x86_64"))
    body = squibvm.boot_source("x86_64", squibvm.image("x86_64", "lean-vmlinux"), initrd=False)
    body["boot_args"] += " acpi=off"
    vm.put("/boot-source", body)
    vm.start()
    guest = vm.wait_for_guest()

    assert (guest["root"], guest["mode"], guest["cpus"]) == ("/dev/vda", "rw", str(cpus))
    words = vm.run("cat /proc/cmdline").split()
    assert words[-3:] == ["root=/dev/vda", "rw", "virtio_mmio.device=4K@0xc0001000:5"]
    vm.run("dd if=/dev/vda of=/dev/null bs=64k count=16 iflag=direct")
    vm.send("reboot")
    assert vm.wait_exit() == 0


@pytest.mark.parametrize("arch", squibvm.ARCHES)
def test_a_bad_kernel_is_a_fault_and_the_next_try_boots(squib, compressed, tmp_path, arch):
    vm = squib(arch)

    fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
    assert fault == "Start microvm error: Cannot start microvm without kernel configuration."

    missing = squibvm.boot_source(arch)
    missing["kernel_image_path"] = str(tmp_path / "missing")
    fault = vm.refused("PUT", "/boot-source", missing)
    assert fault.startswith("Boot source error: The kernel file cannot be opened: ")

    def file_with(name, data):
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    with open(squibvm.image(arch, "kernel"), "rb") as file:
        kernel = file.read()
    with open(compressed(arch, "kernel", "gzip"), "rb") as file:
        packed = file.read()
    other = "aarch64" if arch == "x86_64" else "x86_64"
    bad_kernels = {
        "an empty file": file_with("empty", b""),
        "garbage": file_with("garbage", bytes(range(256)) * 4096),
        "a text": file_with("text", b"#!/bin/sh\necho no kernel\n"),
        "a kernel cut in its header": file_with("header", kernel[:100]),
        "a kernel cut in its body": file_with("body", kernel[: len(kernel) // 2]),
        "a compressed kernel cut short": file_with("packed", packed[: len(packed) // 2]),
        "a kernel of another architecture": squibvm.image(other, "kernel"),
    }
    for what, path in bad_kernels.items():
        vm.put("/boot-source", squibvm.boot_source(arch, path))
        fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
        assert fault.startswith("Start microvm error: "), what
        assert vm.state() == "Not started", what
        assert vm.engine_processes() == [], what

    vm.boot()
