# SPDX-License-Identifier: Apache-2.0
"""What the hostile clients share: a monitor that must be as well after them as it was before."""
import os
import signal
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import monitor  # noqa: E402

GROWTH_KIB = 4096       # allocators keep something back; a leak of each client would be far more


def pytest_sessionstart(session):
    if not os.access(monitor.SQUIB, os.X_OK):
        pytest.exit(f"{monitor.SQUIB} is not there: build squib first (make), or set SQUIB", 3)


def is_sanitized():
    """Sanitizers keep freed memory and shadow what is used, so that size says nothing."""
    with open(monitor.SQUIB, "rb") as program:
        text = program.read()
    return b"__asan_" in text or b"__tsan_" in text


@pytest.fixture(scope="session")
def growth_kib():
    return None if is_sanitized() else GROWTH_KIB


@pytest.fixture
def squib(tmp_path, growth_kib):
    made = monitor.Monitor(tmp_path, "--level", "Error")
    try:
        made.is_well()
        fds, resident_kib = made.fd_count(), made.resident_kib()
        yield made
        made.is_well()
        made.wait_until(lambda: made.fd_count() <= fds, f"only the first {fds} descriptors were open")
        if growth_kib is not None:
            assert made.resident_kib() < resident_kib + growth_kib
        assert made.end() == -signal.SIGTERM
    finally:
        made.kill()
