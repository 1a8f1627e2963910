# SPDX-License-Identifier: Apache-2.0
"""Interfaces on taps of the host: what guest and host say to each other over them."""

import random
import shutil
import socket
import subprocess
import threading
import time

import pytest

import squibvm

HOST, GUEST = "192.0.2.1", "192.0.2.2"
HOST_2, GUEST_2 = "198.51.100.1", "198.51.100.2"
MAC = "06:00:c0:00:02:02"
WITH_METRICS = ["--metrics-path", "metrics"]

ECHO = 7  # a port
STREAM_BYTES = squibvm.size_in_lab(4 << 20, 256 << 10)


def configure(vm, device="eth0", address=GUEST):
    vm.run(f"ip address add {address}/24 dev {device} && ip link set {device} up")


def start_echo(vm, port=ECHO):
    """In the guest, whoever connects gets back what he says."""
    vm.run(f"(socat TCP-LISTEN:{port},reuseaddr,fork 'EXEC:/bin/busybox cat,nofork' &)")


def booted(squib, network, options=(), **interface):
    """A guest with one interface, on tap0."""
    network.add_tap("tap0", f"{HOST}/24")
    vm = squib(network=network, options=options)
    vm.add_programs()
    vm.add_interface("net", "tap0", guest_mac=MAC, **interface)
    vm.boot()
    configure(vm)
    return vm


def ping_from_host(network, address, size):
    argv = ["busybox", "ping", "-c", "1", "-W", "30", "-s", str(size), address]
    ping = network.popen(argv, stdout=subprocess.PIPE, text=True)
    said, _ = ping.communicate(timeout=squibvm.DEADLINE_S)
    assert ping.returncode == 0, said


def check_streams(vm, network):
    """Data of many sizes in connections that either side began; large ones are segmented late."""
    rng = random.Random(1)
    start_echo(vm)
    with network.connect(GUEST, ECHO) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for chunk in 1, 7, 53, 1447, 1448, 1449, 4097, 65536:
            squibvm.exchange(sock, rng.randbytes(min(chunk * 20, STREAM_BYTES)), chunk)
        squibvm.exchange(sock, rng.randbytes(STREAM_BYTES), 1 << 20)

    with network.listen() as server:
        port = server.getsockname()[1]
        sent = vm.run(f"head -c {STREAM_BYTES} /dev/urandom >/tmp/data; sha256sum </tmp/data").split()[0]
        vm.metrics()
        vm.send(f"socat -u OPEN:/tmp/data TCP:{HOST}:{port}")
        connection, _ = server.accept()
        with connection:
            assert squibvm.sha256(squibvm.receive(connection, STREAM_BYTES + 1)) == sent
        counted = vm.metrics()["net_first"]
        assert counted["tx_bytes_count"] >= STREAM_BYTES
        # Longer on average than an Ethernet frame can be: segmentation was left to the host.
        assert counted["tx_bytes_count"] > 1514 * counted["tx_packets_count"]

        data = rng.randbytes(STREAM_BYTES)
        vm.send(f"socat -u TCP:{HOST}:{port} OPEN:/tmp/data,creat,trunc")
        connection, _ = server.accept()
        with connection:
            connection.sendall(data)
        assert vm.run("sha256sum </tmp/data").split()[0] == squibvm.sha256(data)
        counted = vm.metrics()["net_first"]
        assert counted["rx_bytes_count"] > 1514 * counted["rx_packets_count"]


def check_iperf(vm, network):
    assert shutil.which("iperf3"), "iperf3 is not installed: scripts/setup-packages.sh check"
    for direction in "", "-R":
        argv = ["iperf3", "-s", "-1", "--forceflush"]
        with network.popen(argv, stdout=subprocess.PIPE, text=True) as server:
            try:
                while "listening" not in (line := server.stdout.readline()):
                    assert line, "iperf3 has ended"
                said = vm.run(f"iperf3 -c {HOST} -n {STREAM_BYTES} {direction} >/tmp/iperf && cat /tmp/iperf")
                assert "receiver" in said
                print(said)
            finally:
                server.kill()


@pytest.mark.parametrize("arch", squibvm.ARCHES)
def test_frames_of_every_size_go_both_ways(squib, network, arch):
    network.add_tap("tap0", f"{HOST}/24")
    network.add_tap("tap1", f"{HOST_2}/24")
    network.ip("link set tap1 mtu 9000")
    vm = squib(arch, network=network, options=WITH_METRICS)
    vm.add_programs()
    vm.add_interface("first", "tap0", guest_mac=MAC)
    vm.add_interface("second", "tap1", mtu=9000)
    vm.boot()

    # In the order of the requests, with the addresses and sizes asked for.
    first, second = vm.run("cat /sys/class/net/eth0/address /sys/class/net/eth1/address").split()
    assert first == MAC
    assert int(second[:2], 16) & 3 == 2  # made up: neither anybody's nor for many
    assert vm.run("cat /sys/class/net/eth0/mtu /sys/class/net/eth1/mtu") == "1500\n9000\n"
    configure(vm)
    configure(vm, "eth1", GUEST_2)

    for host, guest, sizes in (HOST, GUEST, [0, 1, 1472, 1473]), (HOST_2, GUEST_2, [56, 8972, 20000]):
        for size in sizes:
            vm.run(f"ping -c 1 -W 30 -s {size} {host}")
            ping_from_host(network, guest, size)
    check_streams(vm, network)
    if arch == squibvm.ARCH:
        check_iperf(vm, network)

    # The second has been heard of too, and the sum is a sum.
    vm.run(f"ping -c 1 -W 30 {HOST_2}")
    counted = vm.metrics()
    for name in "tx_packets_count", "rx_packets_count", "tx_bytes_count", "rx_bytes_count":
        assert counted["net_second"][name] > 0
        assert counted["net"][name] == counted["net_first"][name] + counted["net_second"][name]
    for name in "activate_fails", "cfg_fails", "event_fails", "rx_fails", "tx_malformed_frames", "tap_write_fails":
        assert counted["net"][name] == 0, name


def test_a_connection_outlives_pauses_and_a_wrong_address_is_counted(squib, network):
    vm = booted(squib, network, WITH_METRICS)
    start_echo(vm)
    rng = random.Random(2)
    with network.connect(GUEST, ECHO) as sock:
        exchanging = threading.Thread(target=squibvm.exchange, args=[sock, rng.randbytes(STREAM_BYTES)])
        exchanging.start()
        while exchanging.is_alive():
            vm.patch("/vm", {"state": "Paused"})
            assert vm.state() == "Paused"
            vm.patch("/vm", {"state": "Resumed"})
            exchanging.join(0.1)
        squibvm.exchange(sock, rng.randbytes(65536))

    assert vm.metrics()["net_net"]["tx_spoofed_mac_count"] == 0
    vm.run(f"ip link set eth0 down; ip link set eth0 address 06:00:c0:00:02:03; ip link set eth0 up")
    vm.run(f"ping -c 1 -W 30 {HOST}")
    assert vm.metrics()["net_net"]["tx_spoofed_mac_count"] > 0


def drain(sock):
    """What has come up to now."""
    sock.setblocking(False)
    try:
        while sock.recv(1 << 20):
            pass
    except BlockingIOError:
        pass
    sock.settimeout(squibvm.DEADLINE_S)


def check_idle(vm):
    """squib does not use its CPU for nothing: not half of it."""
    used, start = vm.cpu_seconds(), time.monotonic()
    time.sleep(1)
    assert vm.cpu_seconds() - used < 0.5 * (time.monotonic() - start)


def test_a_tap_that_goes_down_comes_up_and_is_removed_under_load(squib, network):
    vm = booted(squib, network)
    with network.listen() as server:
        vm.run(f"(cat /dev/zero | socat -u STDIN TCP:{HOST}:{server.getsockname()[1]} &)")
        connection, _ = server.accept()
    with connection:
        connection.settimeout(squibvm.DEADLINE_S)
        assert squibvm.receive(connection, STREAM_BYTES)
        network.ip("link set tap0 down")
        check_idle(vm)
        drain(connection)
        assert vm.state() == "Running"
        network.ip("link set tap0 up")
        assert len(squibvm.receive(connection, STREAM_BYTES)) == STREAM_BYTES

        network.ip("link delete tap0")
        check_idle(vm)
        assert vm.state() == "Running"
        vm.run(f"! ping -c 1 -W 1 {HOST}")


# Rates: what both sides could do without a limit is several times as much.
BYTES_S, FRAMES_S = 500_000, 300
PAYLOAD = 1000
MEASURE_S = 3


class Flood(threading.Thread):
    """Datagrams to the guest, more than the limits and less than what keeps a CPU busy."""

    def __init__(self, network):
        super().__init__(daemon=True)
        with network.entered():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.ended = threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(0.01):
            for _ in range(20):
                try:
                    self.sock.sendto(bytes(PAYLOAD), (GUEST, 9))
                except OSError:  # the tap's queue is full
                    break

    def end(self):
        self.ended.set()
        self.join()
        self.sock.close()


def guest_rates(vm):
    """Frames and bytes a second that the guest receives and sends, by its own counters and clock."""
    said = vm.run(
        "sleep 1; for i in 1 2; do cut -d ' ' -f 1 /proc/uptime;"
        " (cd /sys/class/net/eth0/statistics; cat rx_packets rx_bytes tx_packets tx_bytes);"
        f" [ $i = 2 ] || sleep {MEASURE_S}; done"
    )
    numbers = [float(number) for number in said.split()]
    start, *before = numbers[:5]
    end, *after = numbers[5:]
    names = ["rx_frames", "rx_bytes", "tx_frames", "tx_bytes"]
    return {name: (b - a) / (end - start) for name, a, b in zip(names, before, after)}


def near(rate, limit):
    return abs(rate / limit - 1) < 0.1


@squibvm.too_long_for_lab
def test_limits_hold_within_a_tenth_and_change_while_the_guest_runs(squib, network):
    bandwidth = {"bandwidth": {"size": BYTES_S // 10, "refill_time": 100}}
    vm = booted(squib, network, rx_rate_limiter=bandwidth, tx_rate_limiter=bandwidth)
    with network.entered():
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # so that nothing is answered
    sink.bind((HOST, 9))
    vm.run(f"(cat /dev/zero | socat -u -b {PAYLOAD} STDIN UDP:{HOST}:9 &)")
    flood = Flood(network)
    try:
        rates = guest_rates(vm)
        assert near(rates["rx_bytes"], BYTES_S) and near(rates["tx_bytes"], BYTES_S), rates

        none = {"size": 0, "refill_time": 0}
        ops = {"bandwidth": none, "ops": {"size": FRAMES_S // 10, "refill_time": 100}}
        vm.patch("/network-interfaces/net", {"iface_id": "net", "rx_rate_limiter": ops, "tx_rate_limiter": ops})
        rates = guest_rates(vm)
        assert near(rates["rx_frames"], FRAMES_S) and near(rates["tx_frames"], FRAMES_S), rates

        vm.patch("/network-interfaces/net", {"iface_id": "net", "rx_rate_limiter": {"ops": none}})
        rates = guest_rates(vm)
        assert rates["rx_frames"] > 2 * FRAMES_S and near(rates["tx_frames"], FRAMES_S), rates
    finally:
        flood.end()
        sink.close()


def test_taps_that_cannot_be_had_are_told_at_once(squib, network):
    refused = "Network config error: Could not create the network device: Open tap device failed: "
    not_allowed = (
        "Error while creating ifreq structure: {}. Invalid TUN/TAP Backend provided by {}. Check our"
        " documentation on setting up the network devices."
    )

    def fault(vm, iface_id, tap):
        body = {"iface_id": iface_id, "host_dev_name": tap}
        return vm.refused("PUT", f"/network-interfaces/{iface_id}", body)

    network.add_tap("tap0")
    network.add_tap("foreign", more=f"user {squibvm.NOBODY}")
    # Root, but not over networks.
    vm = squib(network=network, under=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    for tap in "unknown", "foreign":
        why = not_allowed.format("Operation not permitted (os error 1)", tap)
        assert fault(vm, "net", tap) == refused + why
    assert fault(vm, "net", "a" * 16) == refused + "Invalid interface name"


    vm.add_interface("net", "tap0")
    assert fault(vm, "other", "tap0") == refused + not_allowed.format("Resource busy (os error 16)", "tap0")
    vm.add_interface("net", "tap0", mtu=1400)  # takes the place of the one before, which lets go of the tap
    assert [net["iface_id"] for net in vm.get("/vm/config")["network-interfaces"]] == ["net"]
