# SPDX-License-Identifier: Apache-2.0
"""What the guest tests have in common: see squibvm.py for the process they drive."""

import os
import shutil
import subprocess

import pytest

import squibvm


def pytest_sessionstart(session):
    if not os.access(squibvm.SQUIB, os.X_OK):
        pytest.exit(f"{squibvm.SQUIB} is not there: build squib first (make)", 3)


def pytest_addoption(parser):
    parser.addoption("--smp", action="store_true", help="only tests of guests with several CPUs")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--smp"):
        items[:] = [item for item in items if getattr(item, "callspec", None)
                    and item.callspec.params.get("cpus", 1) > 1]


@pytest.fixture
def squib():
    """Makes squib processes; each is ended and checked for leftovers after the test."""
    made = []

    def make(*args, **kwargs):
        process = squibvm.Squib(*args, **kwargs)
        made.append(process)
        return process

    yield make
    for process in reversed(made):
        process.close()


@pytest.fixture
def network():
    """A network namespace of the test's own, where it may have taps."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a network namespace with taps")
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    try:
        made = squibvm.Network()
    except PermissionError as error:
        pytest.skip(f"needs a network namespace: {error}")
    yield made
    made.close()


@pytest.fixture
def disk(tmp_path):
    """Makes a private copy of a guest image, holes and all, that a guest may write to."""

    def make(arch, name="rootfs.ext4"):
        copy = tmp_path / f"{arch}-{name}"
        subprocess.run(["cp", "--sparse=always", squibvm.image(arch, name), copy], check=True)
        return str(copy)

    return make


@pytest.fixture(scope="session")
def compressed(tmp_path_factory):
    """Compresses a kernel, once a session: ("x86_64", "vmlinux", "gzip") to a path."""
    directory = tmp_path_factory.mktemp("kernels")

    def make(arch, name, how):
        path = directory / f"{arch}-{name}.{how}"
        if not path.exists():
            assert shutil.which(how), f"{how} is not installed: scripts/setup-packages.sh guest"
            with open(path, "wb") as file:
                subprocess.run([how, "-1", "-c", squibvm.image(arch, name)], stdout=file, check=True)
        return str(path)

    yield make
    shutil.rmtree(directory)
