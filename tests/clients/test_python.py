# SPDX-License-Identifier: Apache-2.0
"""Python's stacks: requests with requests_unixsocket, and http.client."""
import json
import socket
import urllib.parse

import pytest

from monitor import HANG_S, UnixHTTPConnection

requests = pytest.importorskip("requests")
requests_unixsocket = pytest.importorskip("requests_unixsocket")

FULL = (b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
        b'{ "error": "Too many open connections" }')


@pytest.fixture
def session():
    with requests_unixsocket.Session() as made:
        yield made


def url(squib, path):
    return "http+unix://" + urllib.parse.quote(squib.socket_path, safe="") + path


def test_requests_configures_and_starts_a_machine(squib, session):
    kernel = squib.file("kernel", b"kernel")
    disk = squib.file("disk", bytes(4096))
    bodies = [("/serial", {"serial_out_path": squib.directory + "/serial"}),
              ("/machine-config", {"vcpu_count": 2, "mem_size_mib": 256}),
              ("/boot-source", {"kernel_image_path": kernel, "boot_args": "console=ttyS0"}),
              ("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": disk}),
              ("/entropy", {}),
              ("/actions", {"action_type": "InstanceStart"})]
    for path, body in bodies:
        answer = session.put(url(squib, path), json=body, timeout=HANG_S)
        assert (answer.status_code, answer.content) == (204, b""), (path, answer.text)
    assert session.get(url(squib, "/"), timeout=HANG_S).json()["state"] == "Running"
    assert session.patch(url(squib, "/vm"), json={"state": "Paused"}, timeout=HANG_S).status_code == 204
    assert session.get(url(squib, "/"), timeout=HANG_S).json()["state"] == "Paused"


def test_requests_finds_the_fault_message(squib, session):
    answer = session.put(url(squib, "/actions"), json={"action_type": "FlushMetrics"}, timeout=HANG_S)
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["fault_message"] == \
        "The requested operation is not supported before starting the microVM."


def test_nine_kept_connections_and_an_idle_one_leave_no_room_for_an_eleventh(squib, session):
    paths = ["/", "/version", "/vm/config", "/machine-config", "/mmds", "/balloon", "/a", "/b", "/c"]
    for path in paths:              # a pool of its own, kept open, for each URL
        assert session.get(url(squib, path), timeout=HANG_S).status_code in (200, 400)
    idle = squib.connect()
    eleventh = squib.connect()
    refused = b""
    while data := eleventh.recv(4096):
        refused += data
    eleventh.close()
    assert refused == FULL
    for path in paths:
        assert session.get(url(squib, path), timeout=HANG_S).status_code in (200, 400)
    idle.sendall(b"GET /version HTTP/1.1\r\n\r\n")
    assert idle.recv(4096).startswith(b"HTTP/1.1 200 \r\n")
    idle.close()
    session.close()


def test_requests_understands_the_503_of_a_full_server(squib, session):
    held = [squib.connect() for _ in range(10)]
    answer = session.get(url(squib, "/version"), timeout=HANG_S)
    assert answer.status_code == 503
    assert answer.json()["error"] == "Too many open connections"
    for each in held:
        each.close()


def test_http_client_sends_head_and_body_apart(squib):
    connection = UnixHTTPConnection(squib.socket_path)
    body = b'{"vcpu_count":2,"mem_size_mib":256}'
    connection.putrequest("PUT", "/machine-config")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()         # this write is the head alone
    connection.send(body[:10])
    connection.send(body[10:])
    answer = connection.getresponse()
    assert (answer.status, answer.reason, answer.read()) == (204, "", b"")
    connection.request("GET", "/machine-config")
    assert json.loads(connection.getresponse().read())["vcpu_count"] == 2
    connection.close()


def test_http_client_keeps_one_connection_for_many_requests(squib):
    connection = UnixHTTPConnection(squib.socket_path)
    connection.connect()
    first = connection.sock
    for number in range(200):
        connection.request("PUT", "/mmds", json.dumps({"n": number}))
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (204, b"")
        connection.request("GET", "/mmds")
        assert json.loads(connection.getresponse().read()) == {"n": number}
        assert connection.sock is first
    connection.close()


def test_http_client_sends_chunks(squib):
    connection = UnixHTTPConnection(squib.socket_path)
    connection.request("PUT", "/mmds", body=iter([b'{"a"', b":", b"1}"]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 204
    connection.close()
    assert squib.ask("GET", "/mmds") == (200, b'{"a":1}')


def test_an_idle_connection_is_kept_and_closed_at_the_end(squib):
    idle = squib.connect()
    for _ in range(50):
        assert squib.ask("GET", "/version")[0] == 200
    squib.end()
    assert idle.recv(1) == b""
    idle.close()


def test_a_connection_in_the_middle_of_a_request_is_closed_at_the_end(squib):
    half = squib.connect()
    half.sendall(b"PUT /mmds HTTP/1.1\r\nContent-Length: 10\r\n\r\n{")
    assert squib.ask("GET", "/version")[0] == 200
    squib.end()
    try:
        assert half.recv(1) == b""
    except ConnectionResetError:
        pass                        # also an end
    half.close()


def test_the_address_family_is_the_only_thing_special_about_the_socket(squib):
    client = squib.connect()
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    client.sendall(b"GET /version HTTP/1.1\r\nHost: 2f746d702f782e736f636b\r\n\r\n")
    assert client.recv(4096).endswith(b'{"firecracker_version":"1.16.0"}')
    client.close()
