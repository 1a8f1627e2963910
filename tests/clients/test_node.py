# SPDX-License-Identifier: Apache-2.0
"""Node's http module and fetch; the checks themselves are in node/client.mjs."""
import os
import shutil
import subprocess

import pytest

from monitor import HANG_S

CLIENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "node", "client.mjs")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_configures_and_starts_a_machine(squib):
    done = subprocess.run(["node", "--no-warnings", CLIENT, squib.socket_path, squib.directory],
                          capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok ") >= 9
    if "skip fetch" in done.stdout:
        pytest.skip(done.stdout[done.stdout.index("skip fetch"):].split("\n")[0])
