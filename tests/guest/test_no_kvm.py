# SPDX-License-Identifier: Apache-2.0
"""Hosts without a KVM of use: --engine kvm says why it does not start, auto says why it takes QEMU."""

import json
import os
import subprocess

import pytest

import squibvm

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make hosts of these kinds")

# What /dev/kvm is, as shell commands in a mount namespace of their own, and what is said then.
ACL = " Make sure the user launching the firecracker process is configured on the /dev/kvm file's ACL."
HOSTS = {
    "missing": ("rm /dev/kvm", "Error creating KVM object: No such file or directory (os error 2)" + ACL),
    "forbidden": (
        "rm /dev/kvm; mknod -m 000 /dev/kvm c 10 232",
        "Error creating KVM object: Permission denied (os error 13)" + ACL,
    ),
    "something else": (
        "rm /dev/kvm; mknod -m 666 /dev/kvm c 1 3",
        "The host kernel reports an invalid KVM API version: -1",
    ),
}


def run(tmp_path, change, engine):
    """squib with a kernel that no engine takes, so that it ends soon in any case; standard error."""
    (tmp_path / "kernel").write_bytes(b"no kernel")
    config = {"boot-source": {"kernel_image_path": str(tmp_path / "kernel")}, "drives": []}
    (tmp_path / "config").write_text(json.dumps(config))
    # A /dev of our own, with what squib may want of it. Root heeds its modes without a capability.
    script = f"""
        mkdir {tmp_path}/dev && mount -t tmpfs dev {tmp_path}/dev
        for node in null zero urandom; do cp -a /dev/$node {tmp_path}/dev/; done
        touch {tmp_path}/dev/kvm; mount --move {tmp_path}/dev /dev; {change}
        exec setpriv --bounding-set=-dac_override,-dac_read_search "$@"
    """
    command = [os.path.abspath(squibvm.SQUIB), "--no-api", "--config-file", str(tmp_path / "config"), "--engine", engine]
    process = subprocess.run(
        ["unshare", "--mount", "sh", "-euc", script, "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=squibvm.DEADLINE_S,
        cwd="/",
        env={key: value for key, value in os.environ.items() if key != "SQUIB_ENGINE"},
    )
    assert process.returncode == 1, process.stderr
    return process.stderr


@pytest.mark.parametrize("host", HOSTS)
def test_the_kvm_engine_says_why_it_cannot_start(tmp_path, host):
    change, reason = HOSTS[host]
    said = run(tmp_path, change, "kvm")
    assert f"Kvm error: {reason}" in said
    assert "--engine qemu" in said


@pytest.mark.parametrize("host", HOSTS)
def test_auto_says_why_it_takes_qemu(tmp_path, host):
    change, reason = HOSTS[host]
    assert f"squib: KVM cannot be used: {reason}; guests run by the qemu engine" in run(tmp_path, change, "auto")
