# SPDX-License-Identifier: Apache-2.0
"""A network without root or tap: passt plays it, and is squib's to start and to end."""

import os
import random
import shutil
import signal
import subprocess
import tempfile

import pytest

import squibvm
from test_network import check_idle, start_echo

# The host as the guest sees it: passt gives it the host's own address, and the gateway's stands for
# the host's loopback.
GUEST, GATEWAY = "192.0.2.2", "192.0.2.1"
HOST_PORT = 8007
BYTES = squibvm.size_in_lab(1 << 20, 64 << 10)

pytestmark = pytest.mark.skipif(
    squibvm.ENGINE == "kvm" and os.stat("/dev/kvm").st_mode & 0o060 != 0o060, reason="only root may use /dev/kvm here"
)
needs_passt = pytest.mark.skipif(
    not shutil.which("passt"), reason="passt is not installed: scripts/setup-packages.sh check"
)


@pytest.fixture
def uplink(network):
    """The namespace, with what passt takes the guest's configuration from: a default route."""
    network.add_tap("uplink", f"{GUEST}/24")
    network.ip(f"route add default via {GATEWAY} dev uplink")
    return network


@pytest.fixture
def images():
    """Copies of the guest's images that any user may read, wherever the tree is."""
    with tempfile.TemporaryDirectory(prefix="squib-") as directory:
        os.chmod(directory, 0o755)
        for name in squibvm.KERNEL, "initrd", "rootfs.ext4":
            copy = ["cp", "--sparse=always", squibvm.image(squibvm.ARCH, name), directory]
            subprocess.run(copy, check=True)
        yield lambda name: os.path.join(directory, name)


def configuration(images):
    return {
        "boot-source": {
            "kernel_image_path": images(squibvm.KERNEL),
            "initrd_path": images("initrd"),
            "boot_args": squibvm.BOOT_ARGS,
        },
        "drives": [
            {"drive_id": "rootfs", "path_on_host": images("rootfs.ext4"), "is_root_device": True, "is_read_only": True}
        ],
        "network-interfaces": [{"iface_id": "net", "host_dev_name": "unused"}],
        "squib": {
            "network": "userspace",
            "ports": [{"protocol": "tcp", "host_port": HOST_PORT, "guest_port": 7}],
        },
    }


def passts_of(vm):
    found = []
    for pid in squibvm.children_of(vm.process.pid):
        with open(f"/proc/{pid}/comm") as file:
            if file.read().startswith("passt"):
                found.append(pid)
    return found


def check_network(vm, network):
    """DHCP, and connections from either side."""
    vm.run("udhcpc -i eth0 -n -q")
    assert f"inet {GUEST}/24" in vm.run("ip address show dev eth0")
    rng = random.Random(1)
    data = rng.randbytes(BYTES)
    with network.listen("127.0.0.1") as server:
        vm.send(f"socat -u TCP:{GATEWAY}:{server.getsockname()[1]} OPEN:/tmp/data,creat,trunc")
        connection, _ = server.accept()
        with connection:
            connection.sendall(data)
    assert vm.run("sha256sum </tmp/data").split()[0] == squibvm.sha256(data)
    with network.connect("127.0.0.1", HOST_PORT) as sock:
        squibvm.exchange(sock, rng.randbytes(BYTES))


@needs_passt
def test_a_guest_of_a_user_without_rights_has_a_network(squib, uplink, images):
    vm = squib(uid=squibvm.NOBODY, network=uplink, config=configuration(images))
    vm.wait_for_guest()
    start_echo(vm)
    check_network(vm, uplink)

    # Who runs is left alone.
    [passt] = passts_of(vm)
    vm.patch("/network-interfaces/net", {"iface_id": "net"})
    assert passts_of(vm) == [passt]

    os.kill(passt, signal.SIGKILL)
    squibvm.wait_until(lambda: "network interface net is down until it is updated" in vm.log(), "a word in the log")
    assert passts_of(vm) == []
    vm.run(f"! ping -c 1 -W 1 {GATEWAY}")
    check_idle(vm)
    assert vm.state() == "Running"
    vm.patch("/network-interfaces/net", {"iface_id": "net"})
    check_network(vm, uplink)

    # Nothing is left of it, however squib ends.
    helpers = vm.helpers()
    assert passts_of(vm)
    vm.process.kill()
    vm.process.wait(squibvm.DEADLINE_S)
    vm.assert_gone(helpers)


@needs_passt
def test_passt_ends_with_the_guest(squib, uplink, images):
    vm = squib(uid=squibvm.NOBODY, network=uplink, config=configuration(images), api=False)
    vm.wait_for_guest()
    helpers = vm.helpers()
    assert passts_of(vm)
    vm.send("reboot -f")
    assert vm.wait_exit() == 0
    vm.assert_gone(helpers)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a host without passt")
def test_a_host_without_passt_is_told_the_package(squib):
    hide = '[ ! -e /usr/bin/passt ] || mount --bind /dev/null /usr/bin/passt; exec "$@"'
    vm = squib(options=["--network", "userspace"], under=["unshare", "--mount", "sh", "-euc", hide, "sh"])
    fault = vm.refused("PUT", "/network-interfaces/net", {"iface_id": "net", "host_dev_name": "unused"})
    assert "passt" in fault and "(Debian package: passt)" in fault
