# SPDX-License-Identifier: Apache-2.0
"""An idle connection as exit notice, the way microvm.nix waits for a machine to end."""
import shutil
import subprocess

import pytest

from monitor import HANG_S


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_socat_ends_when_the_monitor_does(squib):
    waiter = subprocess.Popen(["socat", "-d", "-d", "-u", f"UNIX-CONNECT:{squib.socket_path}", "STDOUT"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    while "starting data transfer loop" not in (line := waiter.stderr.readline()):
        assert line, "socat did not connect"
    for _ in range(20):
        assert squib.ask("GET", "/version")[0] == 200
    assert waiter.poll() is None
    squib.end()
    assert waiter.communicate(timeout=HANG_S)[0] == ""
    assert waiter.returncode == 0
