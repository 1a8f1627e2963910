# SPDX-License-Identifier: Apache-2.0
"""Go clients: the stack of firecracker-go-sdk from Debian's packages, then the SDK and firectl.

The latter two come through Go's module proxy; without it those tests are skipped ($FIRECTL may
name a firectl that is there). What boots a
real guest needs its images in build/guest/x86_64 (guest/make-guest.sh).
"""
import os
import platform
import shutil
import subprocess
import threading

import pytest

from monitor import HANG_S, SQUIB, TOP

HERE = os.path.dirname(os.path.abspath(__file__))
GOPATH = "/usr/share/gocode"
DEBIAN_GO = "/usr/bin/go"
GUEST = os.path.join(os.environ.get("SQUIB_GUEST", os.path.join(TOP, "build", "guest")), "x86_64")
BUILD_S = 900
BOOT_S = 300
FIRECTL = "github.com/firecracker-microvm/firectl@v0.2.0"


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return str(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def firecracker(work):
    """Squib under the name that Go clients look for."""
    path = os.path.join(work, "firecracker")
    shutil.copy(SQUIB, path)
    return path


def build_or_skip(argv, cwd, env, what):
    """Build with modules, or skip when they cannot be had here."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    done = subprocess.run([go, *argv], cwd=cwd, env=dict(os.environ, **env), capture_output=True,
                          text=True, timeout=BUILD_S, check=False)
    if done.returncode == 0:
        return
    unreachable = ("dial tcp", "no such host", "i/o timeout", "connection refused", "TLS handshake",
                   "module lookup disabled", "Client.Timeout", "403 Forbidden", "404 Not Found",
                   "410 Gone")
    if any(sign in done.stderr for sign in unreachable):
        pytest.skip(f"{what} cannot be fetched here: {done.stderr.strip().splitlines()[-1]}")
    pytest.fail(f"{what} does not build:\n{done.stderr}")


@pytest.fixture(scope="module")
def sdk(work):
    source = os.path.join(work, "go-sdk")
    shutil.copytree(os.path.join(HERE, "go-sdk"), source)
    build_or_skip(["build", "-o", "sdk", "."], source, {"GOFLAGS": "-mod=mod"}, "firecracker-go-sdk")
    return os.path.join(source, "sdk")


@pytest.fixture(scope="module")
def firectl(work):
    if "FIRECTL" in os.environ:
        return os.environ["FIRECTL"]
    build_or_skip(["install", FIRECTL], work, {"GOBIN": work, "GOFLAGS": "-mod=mod"}, "firectl")
    return os.path.join(work, "firectl")


@pytest.fixture
def images(tmp_path):
    """Kernel, initrd and a private root file system of a guest that can boot."""
    if shutil.which("qemu-system-x86_64") is None or platform.machine() != "x86_64":
        pytest.skip("no engine for an x86_64 guest here")
    for name in ("kernel", "initrd", "rootfs.ext4"):
        if not os.path.exists(os.path.join(GUEST, name)):
            pytest.skip(f"{os.path.join(GUEST, name)} is missing: guest/make-guest.sh x86_64")
    disk = str(tmp_path / "rootfs.ext4")
    subprocess.run(["cp", "--sparse=always", os.path.join(GUEST, "rootfs.ext4"), disk], check=True)
    return os.path.join(GUEST, "kernel"), os.path.join(GUEST, "initrd"), disk


def run(argv, timeout, **env):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, **env))
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.skipif(not os.path.isdir(f"{GOPATH}/src/github.com/go-openapi/runtime"),
                    reason="golang-github-go-openapi-runtime-dev is not installed")
def test_the_openapi_runtime_configures_and_starts_a_machine(squib, work):
    program = os.path.join(work, "client")
    go = DEBIAN_GO if os.path.exists(DEBIAN_GO) else "go"
    env = dict(os.environ, GO111MODULE="off", GOPATH=GOPATH, GOFLAGS="")
    built = subprocess.run([go, "build", "-o", program, "main.go"], cwd=os.path.join(HERE, "go"),
                           env=env, capture_output=True, text=True, timeout=BUILD_S, check=False)
    assert built.returncode == 0, built.stderr
    said = run([program, squib.socket_path, squib.directory], HANG_S)
    assert "ok metadata without an interface" in said


def test_the_sdk_drives_a_machine_without_a_guest(sdk, firecracker, tmp_path):
    kernel, disk = tmp_path / "kernel", tmp_path / "disk"
    kernel.write_bytes(b"kernel")
    disk.write_bytes(bytes(4096))
    said = run([sdk, firecracker, str(kernel), str(disk), str(tmp_path)], HANG_S, SQUIB_ENGINE="mock")
    assert "ok wait" in said


def test_the_sdk_boots_a_guest(sdk, firecracker, images, tmp_path):
    kernel, initrd, disk = images
    said = run([sdk, firecracker, kernel, disk, str(tmp_path)], BOOT_S, SQUIB_ENGINE="qemu",
               INITRD=initrd, EXPECT="squib-guest: ready")
    assert "ok console says" in said
    assert "ok vsock" in said
    assert "ok wait" in said


def talk(argv, conversation, timeout, **env):
    """Run a program, answer what it says; its exit code and all it said."""
    said = b""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=dict(os.environ, **env)) as process:
        hang = threading.Timer(timeout, process.kill)
        hang.start()
        try:
            for wanted, answer in conversation:
                while wanted not in said and (data := os.read(process.stdout.fileno(), 65536)):
                    said += data
                assert wanted in said, said.decode(errors="replace")
                process.stdin.write(answer)
                process.stdin.flush()
            said += process.stdout.read()
            return process.wait(), said.decode(errors="replace")
        finally:
            hang.cancel()
            process.kill()


def test_firectl_boots_a_guest_that_reboots(firectl, firecracker, images, tmp_path):
    kernel, initrd, disk = images
    code, said = talk([firectl, f"--firecracker-binary={firecracker}", f"--socket-path={tmp_path}/fc.sock",
                       f"--kernel={kernel}", f"--initrd-path={initrd}", f"--root-drive={disk}",
                       "--memory=256", "--ncpus=1", "--kernel-opts=console=ttyS0 reboot=k panic=1 quiet"],
                      [(b"squib-guest# ", b"reboot\n")], BOOT_S, SQUIB_ENGINE="qemu")
    assert "squib-guest: ready" in said
    assert code == 0, said
