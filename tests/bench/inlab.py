# SPDX-License-Identifier: Apache-2.0
"""What the measurements in the lab (tests/guest/lab) have in common. ARCH names another architecture."""

import os
import platform
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HOST_ARCH = platform.machine()
ARCH = os.environ.get("ARCH", HOST_ARCH)
SQUIB = os.environ.get("SQUIB", os.path.join(ROOT, "build" if ARCH == HOST_ARCH else f"build-{ARCH}", "squib"))
GUEST = os.path.join(ROOT, "build/guest", ARCH)

RAM_MIB = 128
# reboot=k: how every one of these machines can be reset.
BOOT_ARGS = "console=ttyS0 quiet reboot=k panic=-1"
# squib adds "pci=off", as Firecracker. An aarch64 kernel says on its console that it does not know that,
# at the price of 84 exits: of all monitors or of none.
PEER_BOOT_ARGS = BOOT_ARGS + (" pci=off" if ARCH == "aarch64" else "")

# QEMU's machine that is most alike, its name, how its guest names the console, and what it can boot.
QEMU_MACHINE, QEMU_NAME, QEMU_CONSOLE, KERNELS = {
    "x86_64": ("microvm,rtc=on", "QEMU microvm", "ttyS0", ["lean-kernel", "lean-vmlinux"]),
    "aarch64": ("virt,gic-version=host", "QEMU virt", "ttyAMA0", ["lean-kernel", "kernel"]),
}[ARCH]
QEMU_BOOT_ARGS = PEER_BOOT_ARGS.replace("ttyS0", QEMU_CONSOLE)
# Up to the kernel.
QEMU = [f"qemu-system-{ARCH}", "-M", QEMU_MACHINE, "-accel", "kvm", "-cpu", "host"]
QEMU += ["-smp", "1", "-m", str(RAM_MIB), "-nodefaults", "-no-user-config", "-display", "none"]
QEMU += ["-serial", "stdio", "-no-reboot", "-global", "virtio-mmio.force-legacy=false"]


def compile_static(directory, name, *more):
    """Return the path of a program made of NAME.c beside this file, and the others."""
    program = os.path.join(directory, name)
    compiler = ["cc"]
    if ARCH != HOST_ARCH:
        sysroot = subprocess.run([os.path.join(ROOT, "scripts/sysroot.sh"), ARCH], stdout=subprocess.PIPE, check=True)
        compiler = [f"{ARCH}-linux-gnu-gcc", "--sysroot=" + sysroot.stdout.decode().strip()]
    command = [*compiler, "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-static", "-o", program]
    subprocess.run([*command, *(os.path.join(HERE, f"{part}.c") for part in (name, *more))], check=True)
    return program


def make_initrd(root, path):
    """An initramfs of what is in the directory."""
    names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=root, stdout=subprocess.PIPE, check=True).stdout
    with open(path, "wb") as file:
        cpio = ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"]
        subprocess.run(cpio, cwd=root, input=names, stdout=file, check=True)
    return path


def run_script(script, puts, results, *options):
    """Run a shell script, which is at PUTS["script"], in a lab; what it leaves in /result is in RESULTS."""
    with open(puts["script"], "w") as file:
        file.write(script)
    command = [os.path.join(ROOT, "tests/guest/lab"), "--arch", ARCH, "--results", results, *options]
    command += [f"--put={path}={name}" for name, path in puts.items()]
    subprocess.run([*command, "sh", "/job/script"], stdin=subprocess.DEVNULL, check=True)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_times(values):
    """The first, and the others with how many times the first they are; None is nothing."""
    cells = []
    for value in values:
        if value is None:
            cells.append("-")
        elif not cells:
            cells.append(number(value))
        else:
            times = f"{value / values[0]:.2f}x" if values[0] else "-"
            cells.append(f"{number(value)} ({times})")
    return cells


def print_rows(rows):
    """A table; the first row is its head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print()
    for row in rows:
        print("  " + "  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]))
