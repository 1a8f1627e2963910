# SPDX-License-Identifier: Apache-2.0
"""The life of a machine: pausing it, every way it ends, and that nothing outlives it."""

import fcntl
import os
import re
import signal
import subprocess

import pytest

import squibvm

both = pytest.mark.parametrize("arch", squibvm.ARCHES)
with_helper_process = pytest.mark.skipif(
    squibvm.ENGINE == "kvm", reason="the KVM engine runs the guest in squib itself"
)


@both
def test_a_console_nobody_reads_stops_the_guest_s_output_and_nothing_else(squib, arch):
    vm = squib(arch)
    vm.boot()

    # More than all the buffers on the way hold, so the guest has to wait for us: 87 kB; the pipe and
    # squib hold 72, and a pipe of the usual size alone would hold 65.
    fcntl.fcntl(vm.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    count = 14_000
    vm.console.hold()
    vm.send(f"seq {count}; echo all said")
    for _ in range(100):
        assert vm.state() == "Running"
    vm.patch("/vm", {"state": "Paused"})
    assert vm.state() == "Paused"
    vm.patch("/vm", {"state": "Resumed"})
    assert vm.state() == "Running"
    with open(f"/proc/{vm.process.pid}/status") as file:
        resident_kib = int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1])

    vm.console.release()
    vm.console.expect("all said\n")
    numbers = [int(line) for line in vm.console.skipped.split() if line.isdigit()]
    assert numbers == list(range(1, count + 1))  # none lost, none twice
    # What was held back was held back in the guest.
    with open(f"/proc/{vm.process.pid}/status") as file:
        assert int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) <= resident_kib + 1024

    # The end does not wait for a reader either.
    vm.console.hold()
    vm.send(f"seq {count}")
    assert vm.state() == "Running"
    helpers = vm.helpers()
    vm.process.terminate()
    assert vm.process.wait(squibvm.DEADLINE_S) == -signal.SIGTERM
    vm.assert_gone(helpers)


def test_standard_input_at_its_end_is_no_error(squib):
    vm = squib(squibvm.OTHER_ARCH, stdin=subprocess.DEVNULL)
    vm.put("/boot-source", squibvm.boot_source(squibvm.OTHER_ARCH))
    vm.start()
    vm.console.expect("squib-guest# ")
    assert vm.state() == "Running"


@both
def test_a_paused_guest_stands_still_and_goes_on_where_it_was(squib, arch):
    vm = squib(arch)
    vm.boot()
    vm.send("n=0; while :; do n=$((n + 1)); echo tick $n; sleep 0.05; done")
    vm.console.expect("tick 3\n")

    vm.patch("/vm", {"state": "Paused"})
    assert vm.state() == "Paused"
    vm.console.expect_silence()
    last = int(re.findall(r"tick (\d+)\n", vm.console.text)[-1])
    vm.patch("/vm", {"state": "Paused"})  # again: no fault, no change
    assert vm.state() == "Paused"

    vm.patch("/vm", {"state": "Resumed"})
    assert vm.state() == "Running"
    vm.console.expect(f"tick {last + 1}\n")
    vm.console.expect(f"tick {last + 20}\n")

    # A paused machine can be ended too.
    vm.patch("/vm", {"state": "Paused"})
    helpers = vm.helpers()
    vm.process.terminate()
    assert vm.wait_exit() == -signal.SIGTERM
    vm.assert_gone(helpers)


@both
@pytest.mark.parametrize("command", ["reboot -f", "poweroff -f", "reboot"])
def test_a_guest_that_ends_itself_ends_squib_with_code_0(squib, arch, command):
    vm = squib(arch)
    vm.boot()
    helpers = vm.helpers()

    vm.send(command)
    assert vm.wait_exit() == 0
    vm.assert_gone(helpers)
    assert "exit_code=0" in vm.log()


@both
def test_a_kernel_panic_is_seen_to_its_last_line_and_ends_squib_with_code_0(squib, arch):
    vm = squib(arch)
    vm.boot()

    vm.send("echo c >/proc/sysrq-trigger")
    assert vm.wait_exit() == 0
    vm.console.expect("Kernel panic - not syncing: sysrq triggered crash")
    vm.console.expect("Rebooting in 1 seconds")


@squibvm.only_on("x86_64", "no keyboard controller")
def test_ctrl_alt_del_reaches_the_guest_s_init(squib):
    vm = squib("x86_64")
    vm.boot()

    vm.put("/actions", {"action_type": "SendCtrlAltDel"})
    vm.console.expect("squib-guest: ctrl-alt-del")
    assert vm.wait_exit() == 0


@squibvm.only_on("aarch64", "there it is typed")
def test_ctrl_alt_del_is_refused_where_there_are_no_keys(squib):
    vm = squib("aarch64")
    text = "Invalid action: SendCtrlAltDel is x86-only and not supported on aarch64"
    assert vm.refused("PUT", "/actions", {"action_type": "SendCtrlAltDel"}) == text
    vm.boot()
    assert vm.refused("PUT", "/actions", {"action_type": "SendCtrlAltDel"}) == text
    assert vm.run("echo alive") == "alive\n"
    assert vm.state() == "Running"


def test_sigterm_ends_squib_by_that_signal_and_the_guest_with_it(squib):
    vm = squib()
    vm.boot()
    helpers = vm.helpers()

    vm.process.terminate()
    assert vm.wait_exit() == -signal.SIGTERM
    vm.assert_gone(helpers)


def test_sigkill_of_squib_leaves_nothing_running(squib):
    vm = squib()
    vm.boot()
    helpers = vm.helpers()

    vm.process.kill()
    vm.process.wait()
    vm.assert_gone(helpers)


@with_helper_process
def test_sigkill_of_squib_while_paused_leaves_nothing_running(squib):
    vm = squib(squibvm.OTHER_ARCH)
    vm.boot()
    vm.patch("/vm", {"state": "Paused"})
    helpers = vm.helpers()
    assert helpers

    vm.process.kill()
    vm.process.wait()
    vm.assert_gone(helpers)


@with_helper_process
def test_an_engine_that_dies_under_squib_ends_it_with_an_error_and_a_reason(squib):
    vm = squib()
    vm.boot()
    (engine,) = vm.engine_processes()

    os.kill(engine, signal.SIGKILL)
    assert vm.wait_exit() > 0
    assert re.search("qemu.*(signal 9|killed)", vm.log(), re.IGNORECASE)


# Where the guest says so.
BOOT_TIMERS = {"x86_64": 0xC0000000, "aarch64": 0x40000000}
there_is_memory = pytest.mark.skipif(squibvm.ENGINE == "qemu", reason="QEMU's machine has memory at that address")


@pytest.mark.parametrize("arch", [pytest.param(arch, marks=[there_is_memory] if arch == "aarch64" else [])
                                  for arch in squibvm.ARCHES])
def test_the_boot_timer_is_logged_when_the_guest_says_it_is_up(squib, arch):
    vm = squib(arch, options=["--boot-timer"])
    vm.boot()

    vm.run(f"devmem {BOOT_TIMERS[arch]:#x} 8 123")
    line = r"Guest-boot-time = +\d+ us \d+ ms, +\d+ CPU us \d+ CPU ms"
    squibvm.wait_until(lambda: re.search(line, vm.log()), "the boot timer's line in the log")


@squibvm.only_on("aarch64", "there is room for it")
@pytest.mark.skipif(squibvm.ENGINE != "qemu", reason="the KVM engine has room for it")
def test_the_boot_timer_is_refused_where_there_is_no_room_for_it(squib):
    vm = squib("aarch64", options=["--boot-timer"])
    vm.put("/boot-source", squibvm.boot_source("aarch64"))
    fault = vm.refused("PUT", "/actions", {"action_type": "InstanceStart"})
    assert "the qemu engine does not support the boot timer on aarch64" in fault
    assert vm.state() == "Not started"
    assert vm.engine_processes() == []
