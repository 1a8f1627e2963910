# SPDX-License-Identifier: Apache-2.0
"""What clients do step by step, up to a guest that answers them over vsock."""

import json
import os

import squibvm
from test_vsock import Vsock

AGENT_PORT = 1024
# A shell for whoever connects, as the agents of these clients run programs for them.
AGENT = f"(socat VSOCK-LISTEN:{AGENT_PORT},fork EXEC:/bin/sh &)"


def ask(vsock, command):
    """The agent's answer."""
    with vsock.connect(AGENT_PORT) as sock:
        sock.sendall(command.encode() + b"\nexit\n")
        return squibvm.receive_until_end(sock).decode()


def open_fifo(path):
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def test_kata_boots_from_a_file_and_fills_its_place_holders_over_the_socket(squib, network, tmp_path):
    network.add_tap("tap0_kata")
    log, metrics = open_fifo(tmp_path / "log.fifo"), open_fifo(tmp_path / "metrics.fifo")
    drives = [
        {
            "drive_id": "rootfs",
            "path_on_host": squibvm.image(squibvm.ARCH, "rootfs.ext4"),
            "is_root_device": False,
            "is_read_only": True,
        }
    ]
    for number in range(8):
        (tmp_path / f"drive_{number}").touch()
        drive = {"drive_id": f"drive_{number}", "path_on_host": str(tmp_path / f"drive_{number}")}
        drives.append({**drive, "is_root_device": False, "is_read_only": False})
    boot_source = squibvm.boot_source(squibvm.ARCH)
    boot_source["boot_args"] += " root=/dev/vda ro"
    config = {
        "boot-source": boot_source,
        "machine-config": {"vcpu_count": 1, "mem_size_mib": 256, "smt": False},
        "logger": {"log_path": str(tmp_path / "log.fifo"), "level": "Debug"},
        "metrics": {"metrics_path": str(tmp_path / "metrics.fifo")},
        "drives": drives,
        "vsock": {"guest_cid": 3, "uds_path": "v.sock", "vsock_id": "root"},
        "network-interfaces": [
            {
                "iface_id": "eth0",
                "guest_mac": "06:00:c0:00:02:02",
                "host_dev_name": "tap0_kata",
                "rx_rate_limiter": {},
                "tx_rate_limiter": {},
            }
        ],
    }
    vm = squib(config=config, network=network)
    squibvm.wait_until(lambda: vm.state() == "Running", "state Running")
    vsock = Vsock(vm)
    os.chmod(vsock.path, 0o666)  # it is there by now
    assert "Successfully started microvm" in os.read(log, 65536).decode()
    assert "utc_timestamp_ms" in json.loads(os.read(metrics, 65536).split(b"\n")[0])
    os.close(log)
    os.close(metrics)

    vm.wait_for_guest()
    vm.run(AGENT)
    assert ask(vsock, "cat /sys/class/net/eth0/address; cd /sys/block; echo vd*") == (
        "06:00:c0:00:02:02\n" + " ".join(f"vd{letter}" for letter in "abcdefghi") + "\n"
    )
    (tmp_path / "layer").write_bytes(b"a layer\n".ljust(1 << 20, b"\0"))
    vm.patch("/drives/drive_0", {"drive_id": "drive_0", "path_on_host": str(tmp_path / "layer")})
    grown = "until [ $(cat /sys/block/vdb/size) = 2048 ]; do sleep 0.1; done; head -n 1 /dev/vdb"
    assert ask(vsock, grown) == "a layer\n"


def test_containerd_swaps_a_stub_for_an_image_and_back(squib, disk, tmp_path):
    stub = tmp_path / "stub"
    stub.write_bytes(bytes(6 * 512))
    image = disk(squibvm.ARCH)
    drive_id = "MN2HE43UOVRDA"  # what base32 makes of a name
    vm = squib()
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    vm.add_programs()
    vm.add_drive(str(stub), drive_id, root=False)
    # One after the other; the last counts, and its path is relative to where squib was started.
    vm.put("/vsock", {"vsock_id": "agent_api", "guest_cid": 0, "uds_path": "first.sock"})
    vm.put("/vsock", {"vsock_id": "agent_api", "guest_cid": 0, "uds_path": "v.sock"})
    assert not os.path.exists(vm.path("first.sock"))
    vm.boot()
    vm.run(AGENT)
    vsock = Vsock(vm)

    resized = "until [ $(cat /sys/block/vdb/size) = %d ]; do sleep 0.1; done; "
    vm.patch(f"/drives/{drive_id}", {"drive_id": drive_id, "path_on_host": image})
    sectors = os.stat(image).st_size // 512
    mounted = "mount -t ext4 /dev/vdb /mnt && echo kept >/mnt/root/word && ls /mnt/bin/curl && umount /mnt"
    assert ask(vsock, resized % sectors + mounted) == "/mnt/bin/curl\n"
    vm.patch(f"/drives/{drive_id}", {"drive_id": drive_id, "path_on_host": str(stub)})
    assert ask(vsock, resized % 6 + "echo small") == "small\n"

    # The agent is asked to shut down, and the process waited for.
    ask(vsock, "reboot -f")
    assert vm.wait_exit() == 0
    with open(image, "rb") as file:
        assert b"kept\n" in file.read()
