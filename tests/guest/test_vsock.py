# SPDX-License-Identifier: Apache-2.0
"""Connections between host and guest over vsock, in either direction, by socat in the guest.

Many at once are vsock_peer.c's, in guests of the host's architecture.
"""

import contextlib
import os
import random
import resource
import selectors
import socket
import threading

import pytest

import squibvm

CID = 3
ECHO, MANY_ECHO, NOBODY_THERE, HOST_PORT = 7, 8, 999, 52
STREAM_BYTES = squibvm.size_in_lab(16 << 20, 256 << 10)
MANY, BYTES_EACH = squibvm.size_in_lab(1000, 40), 10_000


class Vsock:
    """The host's side of a guest's vsock, whose socket is squib's `v.sock`."""

    def __init__(self, vm):
        self.vm = vm
        self.path = vm.path("v.sock")

    def try_to_connect(self, port):
        """A connection to a port of the guest; None when it is refused."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(squibvm.DEADLINE_S)
        sock.connect(self.path)
        sock.sendall(b"CONNECT %d\n" % port)
        answer = b""
        while not answer.endswith(b"\n"):
            piece = sock.recv(1)  # what follows is the guest's
            if not piece:
                sock.close()
                assert answer == b""
                return None
            answer += piece
        word, number = answer.split()
        assert word == b"OK" and int(number) >= 1 << 30
        return sock

    def connect(self, port):
        """A connection to a port of the guest, as soon as somebody listens there."""
        connected = []

        def try_to():
            connected[:] = [self.try_to_connect(port)]
            return connected[0]

        squibvm.wait_until(try_to, f"somebody listens at port {port} of the guest")
        return connected[0]

    def listen(self, port):
        """Where connections to a port of the host arrive."""
        path = f"{self.path}_{port}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = socket.socket(socket.AF_UNIX)
        server.bind(path)
        server.listen(1024)
        server.settimeout(squibvm.DEADLINE_S)
        return server


def accept(server):
    connection, _ = server.accept()
    connection.settimeout(squibvm.DEADLINE_S)
    return connection


def booted(squib, arch=squibvm.ARCH, options=(), drive=None):
    """A guest that echoes what comes to a port."""
    vm = squib(arch, options=options)
    vm.add_programs()
    if drive:
        vm.add_drive(str(drive), "drive", root=False, is_read_only=True)
    vm.put("/vsock", {"guest_cid": CID, "uds_path": vm.path("v.sock")})
    vm.boot()
    vm.run(f"(socat VSOCK-LISTEN:{ECHO},fork 'EXEC:/bin/busybox cat,nofork' &)")
    return vm, Vsock(vm)


@pytest.mark.parametrize("arch", squibvm.ARCHES)
def test_data_goes_both_ways_in_connections_of_either_side(squib, arch):
    vm, vsock = booted(squib, arch, ["--metrics-path", "metrics"])
    rng = random.Random(1)

    # Host to guest: writes of every size, then much, then an end that is answered by one.
    with vsock.connect(ECHO) as sock:
        for chunk in 1, 2, 4095, 4096, 4097, 65535, 65536, 65537:
            squibvm.exchange(sock, rng.randbytes(min(chunk * 20, STREAM_BYTES)), chunk)
        squibvm.exchange(sock, rng.randbytes(STREAM_BYTES), 1 << 20)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""

    # Guest to host. It ends its half first, and hears the answer.
    with vsock.listen(HOST_PORT) as server:
        vm.send(f"echo question | socat -t 60 - VSOCK-CONNECT:2:{HOST_PORT}")
        with accept(server) as connection:
            assert squibvm.receive(connection, 100) == b"question\n"
            connection.sendall(b"the answer\n")
        vm.console.expect("the answer\n")

        data = rng.randbytes(min(STREAM_BYTES, 4 << 20))
        vm.send(f"socat -u VSOCK-CONNECT:2:{HOST_PORT} OPEN:/tmp/data,creat")
        with accept(server) as connection:
            connection.sendall(data)
        assert vm.run("sha256sum </tmp/data").split()[0] == squibvm.sha256(data)
        vm.send(f"socat -u OPEN:/tmp/data VSOCK-CONNECT:2:{HOST_PORT}")
        with accept(server) as connection:
            assert squibvm.receive(connection, len(data) + 1) == data

    counted = vm.metrics()["vsock"]
    assert counted["rx_bytes_count"] > STREAM_BYTES and counted["tx_bytes_count"] > STREAM_BYTES
    assert counted["conns_added"] >= 4
    for name in "activate_fails", "cfg_fails", "muxer_event_fails", "tx_write_fails", "rx_read_fails":
        assert counted[name] == 0, name


def test_ends_of_every_kind_are_told_to_the_other_side(squib):
    vm, vsock = booted(squib)
    vsock.connect(ECHO).close()

    # Nobody listens, on either side; what is no request.
    assert vsock.try_to_connect(NOBODY_THERE) is None
    vm.run(f"! socat -u STDIN VSOCK-CONNECT:2:{NOBODY_THERE} </dev/null")
    for nonsense in b"CONNECT seven and more\n", b"HELLO 1234567890\n", b"CONNECT " + b"7" * 40 + b"\n":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(squibvm.DEADLINE_S)
            sock.connect(vsock.path)
            sock.sendall(nonsense)
            assert squibvm.receive_until_end(sock) == b""

    # A listener that goes, and comes again.
    for word in "first", "second":
        with vsock.listen(HOST_PORT) as server:
            vm.send(f"echo {word} | socat -u STDIN VSOCK-CONNECT:2:{HOST_PORT}")
            with accept(server) as connection:
                assert squibvm.receive(connection, 100) == word.encode() + b"\n"
        os.unlink(f"{vsock.path}_{HOST_PORT}")
        vm.run(f"! socat -u STDIN VSOCK-CONNECT:2:{HOST_PORT} </dev/null")

    # The host closes while much is under way: an error in the guest.
    with vsock.listen(HOST_PORT) as server:
        vm.send(f"cat /dev/zero | socat -u STDIN VSOCK-CONNECT:2:{HOST_PORT}; echo it ended with $?")
        with accept(server) as connection:
            assert squibvm.receive(connection, 100_000)
        vm.console.expect("it ended with 1\n")

        # The guest's process is killed: an end for the host.
        vm.run(f"(cat /dev/zero | socat -u STDIN VSOCK-CONNECT:2:{HOST_PORT} & )")
        with accept(server) as connection:
            assert squibvm.receive(connection, 100_000)
            vm.run("killall -9 socat")
            squibvm.receive_until_end(connection)


def own_kib(vm):
    """squib's own memory; in the QEMU engine the guest's is a file."""
    with open(f"/proc/{vm.process.pid}/status") as file:
        [line] = [line for line in file if line.startswith("RssAnon:")]
    return int(line.split()[1])


def test_slow_readers_and_pauses_cost_nobody_a_byte(squib):
    vm, vsock = booted(squib)
    rng = random.Random(2)
    vm.run(f"head -c {STREAM_BYTES} /dev/urandom >/tmp/data")
    sent = vm.run("sha256sum </tmp/data").split()[0]
    before = own_kib(vm)
    with vsock.listen(HOST_PORT) as server:
        vm.run(f"(socat -u OPEN:/tmp/data VSOCK-CONNECT:2:{HOST_PORT} &)")
        slow = accept(server)

    # Others are not in its way, and a guest that is paused again and again loses nothing.
    with slow, vsock.connect(ECHO) as sock:
        data = rng.randbytes(STREAM_BYTES // 4)
        exchanging = threading.Thread(target=squibvm.exchange, args=[sock, data])
        exchanging.start()
        while exchanging.is_alive():
            vm.patch("/vm", {"state": "Paused"})
            assert vm.state() == "Paused"
            vm.patch("/vm", {"state": "Resumed"})
            exchanging.join(0.1)
        squibvm.exchange(sock, b"and then")
        if squibvm.ENGINE == "qemu":
            assert own_kib(vm) < before + 2048
        assert squibvm.sha256(squibvm.receive(slow, STREAM_BYTES + 1)) == sent


@pytest.fixture
def peer(tmp_path):
    """The program as a drive, which holds whole sectors only."""
    path = tmp_path / "peer"
    with open(squibvm.image(squibvm.ARCH, "vsock-peer"), "rb") as file:
        program = file.read()
    path.write_bytes(program + bytes(-len(program) % 512))
    return path


@pytest.fixture
def many_files():
    """This process, and those it starts, may have as many connections as the test has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * MANY + 100
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} open files, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class EchoServer(threading.Thread):
    """Sends back what comes, to everybody at once, each end included."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.ended = 0
        self.start()

    def run(self):
        with selectors.DefaultSelector() as selector:
            selector.register(self.server, selectors.EVENT_READ)
            while self.ended < MANY:
                for key, _ in selector.select():
                    if key.fileobj is self.server:
                        selector.register(accept(self.server), selectors.EVENT_READ)
                    elif data := key.fileobj.recv(65536):
                        key.fileobj.sendall(data)
                    else:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                        self.ended += 1


def test_many_connections_at_once_each_with_data_of_its_own(squib, peer, many_files):
    vm, vsock = booted(squib, drive=peer)
    vm.run("cat /dev/vdb >/tmp/peer && chmod +x /tmp/peer")

    with contextlib.ExitStack() as stack, vsock.listen(HOST_PORT) as server:
        vm.run(f"(/tmp/peer echo {MANY_ECHO} &)")
        socks = [stack.enter_context(vsock.connect(MANY_ECHO)) for _ in range(MANY)]
        data = [random.Random(n).randbytes(BYTES_EACH) for n in range(MANY)]
        for n, sock in enumerate(socks):
            sock.sendall(data[n])
        for n, sock in enumerate(socks):
            sock.shutdown(socket.SHUT_WR)
            assert squibvm.receive_until_end(sock) == data[n], f"connection {n}"

        echo = EchoServer(server)
        assert f"ok {MANY}" in vm.run(f"/tmp/peer connect 2 {HOST_PORT} {MANY} {BYTES_EACH}")
        echo.join(squibvm.DEADLINE_S)
        assert echo.ended == MANY
    # And there is room again.
    with vsock.connect(ECHO) as sock:
        squibvm.exchange(sock, b"one more")
