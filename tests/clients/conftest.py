# SPDX-License-Identifier: Apache-2.0
"""What the client tests share: a monitor with the mock engine, ended after each test."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "api"))
import monitor  # noqa: E402


def pytest_sessionstart(session):
    if not os.access(monitor.SQUIB, os.X_OK):
        pytest.exit(f"{monitor.SQUIB} is not there: build squib first (make), or set SQUIB", 3)


@pytest.fixture
def start(tmp_path):
    """Makes monitors, which have to be alive and well at the end of the test."""
    made = []

    def make(*args):
        made.append(monitor.Monitor(tmp_path, *args))
        return made[-1]

    yield make
    try:
        for each in made:
            if each.process.poll() is None:
                each.is_well()
                assert each.end() == -signal.SIGTERM
    finally:
        for each in made:
            each.kill()


@pytest.fixture
def squib(start):
    return start()
