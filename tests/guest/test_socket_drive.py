# SPDX-License-Identifier: Apache-2.0
"""Drives that another process serves over vhost-user: a real qemu-storage-daemon."""

import os
import shutil
import subprocess

import pytest

import squibvm
from test_drive_io import Copying

pytestmark = pytest.mark.skipif(
    not shutil.which("qemu-storage-daemon"),
    reason="qemu-storage-daemon is not installed: scripts/setup-packages.sh check",
)


@pytest.fixture
def serve(tmp_path):
    """Serves a file; returns the socket's path and the daemon."""
    daemons = []

    def start(path, writable=True):
        sock = str(tmp_path / f"{os.path.basename(path)}.sock")
        daemon = subprocess.Popen(
            [
                "qemu-storage-daemon",
                *("--blockdev", f"driver=file,node-name=file,filename={path}"),
                "--export",
                "type=vhost-user-blk,id=export,node-name=file,addr.type=unix,"
                f"addr.path={sock},writable={'on' if writable else 'off'}",
            ]
        )
        daemons.append(daemon)
        squibvm.wait_until(lambda: os.path.exists(sock), "the daemon's socket")
        return sock, daemon

    yield start
    for daemon in daemons:
        daemon.kill()
        daemon.wait()


def test_a_drive_of_another_process_holds_what_the_guest_writes(squib, serve, tmp_path):
    copying = Copying(squib, tmp_path, 1, serve=lambda path, read_only: serve(path, not read_only)[0])
    said = copying.vm.run("sh /tmp/script").splitlines()
    assert said[-1] == "plan is done"
    copying.vm.run("sync")
    copying.check()
    assert copying.vm.get("/vm/config")["drives"][0]["socket"]
    # Nothing of it is squib's to change; a request without fields asks how it is now.
    copying.vm.patch("/drives/target", {"drive_id": "target"})
    fault = copying.vm.refused("PATCH", "/drives/target", {"drive_id": "target", "path_on_host": "/dev/null"})
    assert "Running method expected different backend." in fault


def test_a_daemon_that_is_gone_is_the_end_of_the_drive_and_of_nothing_else(squib, serve, tmp_path):
    path = tmp_path / "drive"
    path.write_bytes(b"there\n".ljust(1 << 20, b"\0"))
    sock, daemon = serve(str(path))
    vm = squib()
    vm.put("/drives/d", {"drive_id": "d", "is_root_device": False, "socket": sock})
    vm.boot()
    assert vm.run("head -n 1 /dev/vda") == "there\n"
    daemon.kill()
    daemon.wait()
    assert vm.state() == "Running"
    assert vm.run("echo alive") == "alive\n"


def test_nobody_at_the_socket_is_a_fault_of_the_request(squib, tmp_path):
    vm = squib()
    body = {"drive_id": "d", "is_root_device": False, "socket": str(tmp_path / "nobody")}
    assert vm.refused("PUT", "/drives/d", body)
