# SPDX-License-Identifier: Apache-2.0
"""What aarch64 alone has: device tree, GIC, PSCI, the clock, caches, registers in CPU templates."""

import os
import platform
import re
import time

import pytest

import squibvm

pytestmark = squibvm.only_on("aarch64", "x86_64 has ACPI, APICs, CPUID and MSRs in their places")
kvm_machine = pytest.mark.skipif(squibvm.ENGINE != "kvm", reason="QEMU's machine is laid out by QEMU")

CPU0 = "/sys/devices/system/cpu/cpu0"

# Numbers of registers as KVM has them (Linux, Documentation/virt/kvm/api.rst, KVM_GET_ONE_REG).
PSCI_VERSION = "0x6030000000140000"
ID_AA64ISAR0_EL1 = "0x603000000013c030"
NO_REGISTER = "0x603000000013ffff"

CPU_CONFIG_FAULT = "Start microvm error: System configuration error: "


def words(vm, path):
    """The strings in a file of the guest, which end in NUL there."""
    return vm.run(f"tr '\\0' '\\n' <{path}").split()


def features(vm):
    return set(vm.run("grep -m 1 ^Features /proc/cpuinfo").split(":")[1].split())


@kvm_machine
def test_the_device_tree_tells_of_the_machine_as_upstream_s(squib, tmp_path):
    (tmp_path / "drive").write_bytes(bytes(512))
    vm = squib("aarch64")
    vm.put("/entropy", {})
    vm.add_drive(str(tmp_path / "drive"), "d", root=False)
    vm.boot()

    assert words(vm, "/proc/device-tree/compatible") == ["linux,dummy-virt"]
    nodes = vm.run("cd /proc/device-tree; for node in */; do echo ${node%/}; done").split()
    # Where these two are is not for a name to say: where memory begins is seen below.
    assert {re.sub("(intc|memory)@.*", r"\1", node) for node in nodes} == {
        "apb-pclk",
        "chosen",
        "cpus",
        "intc",
        "memory",
        "psci",
        "rtc@40001000",
        "timer",
        "uart@40002000",
        "virtio_mmio@40003000",
        "virtio_mmio@40004000",
    }
    for node, compatible in {
        "psci": ["arm,psci-0.2"],
        "rtc@40001000": ["arm,pl031", "arm,primecell"],
        "timer": ["arm,armv8-timer"],
        "uart@40002000": ["ns16550a"],
        "virtio_mmio@40003000": ["virtio,mmio"],
    }.items():
        assert words(vm, f"/proc/device-tree/{node}/compatible") == compatible
    assert words(vm, "/proc/device-tree/psci/method") == ["hvc"]
    # Drives come before the source of entropy, and the first 2 MiB of memory are not the kernel's.
    assert words(vm, "/sys/bus/platform/devices/40003000.virtio_mmio/virtio0/device") == ["0x0002"]
    assert words(vm, "/sys/bus/platform/devices/40004000.virtio_mmio/virtio1/device") == ["0x0004"]
    assert re.match(r"80200000-[0-9a-f]+ : System RAM\n", vm.run("grep 'System RAM' /proc/iomem"))


def test_interrupts_come_by_the_gic(squib, tmp_path):
    (tmp_path / "drive").write_bytes(bytes(512))
    vm = squib("aarch64")
    vm.add_drive(str(tmp_path / "drive"), "d", root=False)
    vm.boot()

    vm.run("dd if=/dev/vda of=/dev/null bs=512 iflag=direct")
    taken = {}
    for line in vm.run("cat /proc/interrupts").splitlines():
        if match := re.match(r" *\d+: +(\d+) +GIC(?:v[23]|-0) +\d+ (Edge|Level) +(\S+)", line):
            taken[match[3]] = (int(match[1]), match[2])
    assert taken["arch_timer"][0] > 0 and taken["arch_timer"][1] == "Level"
    assert taken["virtio0"][0] > 0 and taken["virtio0"][1] == "Edge"
    console = "ttyS0" if squibvm.ENGINE == "kvm" else "uart-pl011"
    assert taken[console][0] > 0


@pytest.mark.parametrize("cpus", squibvm.cpu_counts(2, 4))
def test_cpus_go_and_come_back_by_psci(squib, cpus):
    vm = squib("aarch64")
    vm.put("/machine-config", {"vcpu_count": cpus, "mem_size_mib": 128})
    vm.boot()

    online = "/sys/devices/system/cpu/online"
    last = cpus - 1
    for _ in range(2):
        vm.run(f"echo 0 >/sys/devices/system/cpu/cpu{last}/online")
        assert vm.run(f"cat {online}") == ("0\n" if cpus == 2 else f"0-{last - 1}\n")
        vm.run(f"echo 1 >/sys/devices/system/cpu/cpu{last}/online")
        assert vm.run(f"cat {online}") == f"0-{last}\n"
        assert vm.run(f"taskset -c {last} awk '{{ print $39 }}' /proc/self/stat") == f"{last}\n"
    vm.run(f"echo 0 >/sys/devices/system/cpu/cpu{last}/online")
    vm.send("poweroff -f")
    assert vm.wait_exit() == 0


def test_the_clock_has_the_host_s_time_and_can_be_set(squib):
    vm = squib("aarch64", options=["--metrics-path", "metrics"])
    vm.boot()

    assert "pl031" in vm.run("readlink /sys/class/rtc/rtc0/device/driver")
    before = int(time.time())
    seen = int(vm.run("cat /sys/class/rtc/rtc0/since_epoch"))
    assert before - 1 <= seen <= time.time() + 1  # of either clock the seconds are cut
    # The kernel has set its own by it.
    assert vm.run("cat /sys/class/rtc/rtc0/hctosys") == "1\n"
    assert before - 60 <= int(vm.run("date +%s")) <= time.time() + 60

    vm.run("date -s @1000000000 && hwclock -u -w")
    assert 0 <= int(vm.run("cat /sys/class/rtc/rtc0/since_epoch")) - 1_000_000_000 < 1000
    # The host's own is as it was.
    assert time.time() >= before
    assert vm.metrics()["rtc"]["error_count"] == 0


def test_the_early_console_is_where_the_serial_port_is(squib):
    vm = squib("aarch64")
    body = squibvm.boot_source("aarch64")
    body["boot_args"] = "console=ttyS0 panic=1"
    vm.put("/boot-source", body)
    vm.start()
    vm.wait_for_guest()

    arguments = vm.run("cat /proc/cmdline").split()
    at = {"kvm": "uart,mmio,0x40002000", "qemu": "pl011,mmio32,0x09000000"}[squibvm.ENGINE]
    assert [word for word in arguments if word.startswith("earlycon")] == [f"earlycon={at}"]
    assert not [word for word in arguments if word.startswith("virtio_mmio.device=")]
    # It was there before the serial port's driver was.
    said = vm.console.text
    assert said.index("earlycon: ") < said.index("Serial: 8250/16550 driver")


def caches(read):
    """What there is to know of the caches of CPU 0; `read` gives a file of a cache, or ""."""
    found = []
    for index in range(8):
        names = ["level", "type", "size", "coherency_line_size", "number_of_sets"]
        facts = {name: read(f"{CPU0}/cache/index{index}/{name}").strip() for name in names}
        if facts["level"]:
            found.append(facts)
    return found


def read_host(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


# A host in an emulator knows little of its caches: these are what it is made to say of them.
SIZES = {
    "Data": {"size": "48K", "coherency_line_size": "64", "number_of_sets": "256"},
    "Instruction": {"size": "16K", "coherency_line_size": "64", "number_of_sets": "64"},
    "Unified": {"size": "768K", "coherency_line_size": "64", "number_of_sets": "1024"},
}


def host_with_sizes(directory):
    """Words that run a program on a host that says what SIZES has of its caches."""
    for index in range(8):
        levels = read_host(f"{CPU0}/cache/index{index}/level"), read_host(f"{CPU0}/cache/index{index}/type")
        if not levels[0]:
            break
        cache = directory / f"index{index}"
        cache.mkdir()
        (cache / "level").write_text(levels[0])
        (cache / "type").write_text(levels[1])
        (cache / "shared_cpu_map").write_text("1\n")
        for name, value in SIZES[levels[1].strip()].items():
            (cache / name).write_text(value + "\n")
    script = f'mount --bind {directory} {CPU0}/cache; exec "$@"'
    return ["unshare", "--mount", "sh", "-euc", script, "sh"]


@kvm_machine
@pytest.mark.skipif(not os.path.exists(f"{CPU0}/cache/index0/level"), reason="the host knows nothing of its caches")
@pytest.mark.parametrize("host", ["as it is", "with sizes"])
def test_the_guest_s_caches_are_the_host_s(squib, tmp_path, host):
    under = []
    if host == "with sizes":
        if os.geteuid() != 0:
            pytest.skip("needs root, to have a host say something else")
        under = host_with_sizes(tmp_path)
    vm = squib("aarch64", under=under)
    vm.boot()

    there = caches(lambda path: vm.run(f"cat {path} 2>/dev/null || :"))
    expected = caches(read_host)
    if host == "with sizes":
        expected = [{**facts, **SIZES[facts["type"]]} for facts in expected]
    assert there == expected


def refused_at_start(vm):
    fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
    assert vm.state() == "Not started"
    assert vm.engine_processes() == []
    return fault


@kvm_machine
def test_a_template_changes_a_register_that_the_guest_sees(squib):
    vm = squib("aarch64")
    vm.boot()
    assert "PSCIv1.1 detected" in vm.run("dmesg | grep -m 1 'psci: PSCIv'")

    vm = squib("aarch64")
    vm.put("/cpu-config", {"reg_modifiers": [{"addr": PSCI_VERSION, "bitmap": "0b0"}]})
    vm.boot()
    assert "PSCIv1.0 detected" in vm.run("dmesg | grep -m 1 'psci: PSCIv'")


def kernel_version():
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", platform.release()).groups()))


@kvm_machine
def test_a_template_hides_a_feature_where_kvm_lets_it(squib):
    vm = squib("aarch64")
    vm.boot()
    assert "aes" in features(vm)

    vm = squib("aarch64")
    vm.put("/boot-source", squibvm.boot_source("aarch64"))
    vm.put("/cpu-config", {"reg_modifiers": [{"addr": ID_AA64ISAR0_EL1, "bitmap": "0b0000xxxx"}]})
    if kernel_version() < (6, 7):  # the register is what it is
        fault = refused_at_start(vm)
        begin = f"{CPU_CONFIG_FAULT}Error configuring the vcpu: Error applying template: "
        assert fault.startswith(f"{begin}Failed to set register {ID_AA64ISAR0_EL1} to value 0x")
        assert fault.endswith(": Invalid argument (os error 22)")
        vm.put("/cpu-config", {})
    vm.start()
    vm.wait_for_guest()
    assert ("aes" in features(vm)) == (kernel_version() < (6, 7))


@kvm_machine
def test_what_no_vcpu_can_be_is_refused_by_name_and_the_next_try_boots(squib):
    vm = squib("aarch64")
    vm.put("/boot-source", squibvm.boot_source("aarch64"))

    begin = f"{CPU_CONFIG_FAULT}Error creating vcpu configuration: "
    vm.put("/cpu-config", {"reg_modifiers": [{"addr": NO_REGISTER, "bitmap": "0b1"}]})
    assert refused_at_start(vm) == (
        f"{begin}Error reading vcpu registers: Failed to get register {int(NO_REGISTER, 16)}:"
        " No such file or directory (os error 2)"
    )
    # Bit 3 is a PMU, which nobody would set up; bit 31 is nothing.
    vm.put("/cpu-config", {"vcpu_features": [{"index": 0, "bitmap": "0b1xxx"}]})
    assert refused_at_start(vm) == (
        f"{begin}Error initializing the vcpu: Found unsupported KVM_ARM_VCPU_PMU_V3 bit set in vcpu features."
    )
    vm.put("/cpu-config", {"vcpu_features": [{"index": 0, "bitmap": "0b1" + "x" * 31}]})
    fault = refused_at_start(vm)
    assert fault.startswith(f"{begin}Error initializing the vcpu: Error initializing the vcpu: ")
    vm.put("/cpu-config", {"kvm_capabilities": ["4000000000"]})
    assert refused_at_start(vm) == f"Start microvm error: Kvm error: Missing KVM capabilities: {4_000_000_000:#x}"

    vm.put("/cpu-config", {"kvm_capabilities": ["!4000000000"], "vcpu_features": [{"index": 0, "bitmap": "x"}]})
    vm.start()
    vm.wait_for_guest()


@kvm_machine
def test_v1n1_makes_a_neoverse_n1_or_is_refused(squib):
    vm = squib("aarch64")
    vm.put("/boot-source", squibvm.boot_source("aarch64"))
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "V1N1"})
    status, answer = vm.request("PUT", "/actions", {"action_type": "InstanceStart"})
    if status == 204:
        vm.wait_for_guest()
        assert not features(vm) & {"sve", "dit", "sha512", "sha3", "sm3", "sm4", "flagm", "jscvt", "fcma", "i8mm", "bf16"}
        return
    begin = f"{CPU_CONFIG_FAULT}Error configuring the vcpu: Error applying template: Failed to set register 0x60300000001"
    assert status == 400 and answer["fault_message"].startswith(begin)
    assert vm.state() == "Not started"
    vm.patch("/machine-config", {"cpu_template": "None"})
    vm.start()
    vm.wait_for_guest()


# The header of an Image: Linux, Documentation/arm64/booting.rst.
FLAGS = 24


def with_flags(flags):
    """The kernel, with bits of its header's flags changed as a function has it."""
    with open(squibvm.image("aarch64", squibvm.KERNEL), "rb") as file:
        kernel = bytearray(file.read())
    old = int.from_bytes(kernel[FLAGS : FLAGS + 8], "little")
    kernel[FLAGS : FLAGS + 8] = flags(old).to_bytes(8, "little")
    return kernel


def test_a_big_endian_kernel_is_refused(squib, tmp_path):
    (tmp_path / "kernel").write_bytes(with_flags(lambda flags: flags | 1))
    vm = squib("aarch64")
    vm.put("/boot-source", squibvm.boot_source("aarch64", str(tmp_path / "kernel")))
    fault = refused_at_start(vm)
    assert fault.startswith(f"{CPU_CONFIG_FAULT}Cannot load kernel due to invalid memory configuration or invalid kernel")
    assert fault.endswith(": The Image is big-endian")


def test_a_kernel_with_other_pages_is_refused_where_the_cpu_has_them_not(squib, tmp_path):
    # It says 16 KiB and has 4, so it boots where CPUs have both.
    (tmp_path / "kernel").write_bytes(with_flags(lambda flags: flags & ~6 | 2 << 1))
    vm = squib("aarch64")
    vm.put("/boot-source", squibvm.boot_source("aarch64", str(tmp_path / "kernel")))
    status, answer = vm.request("PUT", "/actions", {"action_type": "InstanceStart"})
    if status == 204:
        vm.wait_for_guest()
        return
    assert status == 400 and answer["fault_message"].startswith(CPU_CONFIG_FAULT)
    assert "16 KiB" in answer["fault_message"]
    assert vm.state() == "Not started"
    assert vm.engine_processes() == []
    vm.boot()
