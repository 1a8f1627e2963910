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


# guest/make-kernel.sh makes these.
LEAN_KERNELS = [("x86_64", "lean-kernel"), ("x86_64", "lean-vmlinux"), ("aarch64", "lean-kernel")]
# scripts/check.sh builds them for the host's architecture, and on x86_64 for aarch64.
LEAN_KERNELS = [
    kernel for kernel in LEAN_KERNELS if kernel[0] in squibvm.ARCHES and kernel[0] in (squibvm.HOST_ARCH, "aarch64")
]


@pytest.mark.parametrize("cpus", squibvm.cpu_counts(1, 2, 4))
@pytest.mark.parametrize("kernel", LEAN_KERNELS, ids="-".join)
def test_a_kernel_with_built_in_drivers_needs_no_initramfs(squib, disk, kernel, cpus):
    arch, name = kernel
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


@pytest.mark.parametrize("arch", sorted({arch for arch, _ in LEAN_KERNELS}))
def test_the_kernel_itself_finds_a_root_by_partuuid(squib, disk, arch):
    vm = squib(arch)
    vm.add_drive(disk(arch, "rootfs.gpt"), partuuid=squibvm.partuuid(arch))
    guest = vm.boot(squibvm.image(arch, "lean-kernel"), initrd=False)

    assert (guest["root"], guest["mode"]) == ("/dev/vda1", "rw")


@squibvm.only_on("x86_64", "there are no tables beside the device tree")
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


KERNEL_FAULT = (
    "Start microvm error: System configuration error: Cannot load kernel due to invalid memory configuration or"
    " invalid kernel image: "
)
# What 100 bytes of a bzImage are cannot be told.
CUT_IN_HEADER = {"x86_64": "Not a kernel image", "aarch64": "truncated"}


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
    no_kernel = "Not a kernel image: neither bzImage, ELF nor Image"
    bad_kernels = {
        "an empty file": (file_with("empty", b""), "The image is empty"),
        "garbage": (file_with("garbage", bytes(range(256)) * 4096), no_kernel),
        "a text": (file_with("text", b"#!/bin/sh\necho no kernel\n"), no_kernel),
        "a kernel cut in its header": (file_with("header", kernel[:100]), CUT_IN_HEADER[arch]),
        "a kernel cut in its body": (file_with("body", kernel[: len(kernel) // 2]), "truncated"),
        "a compressed kernel cut short": (file_with("packed", packed[: len(packed) // 2]), "truncated"),
        "a kernel of another architecture": (squibvm.image(other, "kernel"), f"the guest is {arch}"),
    }
    for what, (path, reason) in bad_kernels.items():
        vm.put("/boot-source", squibvm.boot_source(arch, path))
        fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
        assert fault.startswith(KERNEL_FAULT), what
        assert reason in fault[len(KERNEL_FAULT) :], what
        assert vm.state() == "Not started", what
        assert vm.engine_processes() == [], what

    vm.boot()
