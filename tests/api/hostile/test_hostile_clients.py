# SPDX-License-Identifier: Apache-2.0
"""Clients that break the rules or never finish.

After each test the fixture looks whether the program lives, answers, holds no more descriptors
than before, has not grown, and ends as asked.
"""
import array
import os
import random
import select
import socket

import pytest

GET = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
VERSION = (b"HTTP/1.1 200 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n"
           b"Content-Type: application/json\r\nContent-Length: 32\r\n\r\n"
           b'{"firecracker_version":"1.16.0"}')
NO_CONTENT = b"HTTP/1.1 204 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n"
CHUNKED_ERROR = (b"Invalid header. Reason: Unsupported value. "
                 b"Key:Transfer-Encoding; Value: chunked\n")


def put(path, body):
    return b"PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


def read_exactly(client, count):
    got = b""
    while len(got) < count:
        data = client.recv(count - len(got))
        assert data, f"the connection ended after {got!r}"
        got += data
    return got


def read_to_end(client):
    got = b""
    try:
        while data := client.recv(65536):
            got += data
    except ConnectionResetError:
        pass                # it left with bytes of ours unread
    return got


def send_all_it_takes(client, data):
    """Send until the peer closes; that it does is no failure here."""
    try:
        client.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def exchange(squib, data):
    """Send, say that this is all, and read everything."""
    client = squib.connect()
    try:
        send_all_it_takes(client, data)
        try:
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return read_to_end(client)
    finally:
        client.close()


def statuses(answers):
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


# Pieces and halves ---------------------------------------------------------------------------

def test_a_request_may_come_byte_by_byte(squib):
    client = squib.connect()
    for request, answer in ((GET, VERSION), (put(b"/mmds", b'{"a":[1,"\xc3\xa4"]}'), NO_CONTENT),
                            (GET, VERSION)):
        for byte in request:
            client.sendall(bytes([byte]))
        assert read_exactly(client, len(answer)) == answer
    client.close()


def test_a_chunked_request_may_come_byte_by_byte(squib):
    client = squib.connect()
    for byte in (b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"4;x=y\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\nT: t\r\n\r\n"):
        client.sendall(bytes([byte]))
    assert read_exactly(client, len(NO_CONTENT)) == NO_CONTENT
    client.close()
    assert squib.ask("GET", "/mmds") == (200, b'{"a":1}')


@pytest.mark.parametrize("ending", ["close", "shut"])
def test_a_request_may_be_cut_off_at_every_byte(squib, ending):
    request = (b"PUT /mmds HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n"
               b'{"a":1}')
    for length in range(len(request)):
        client = squib.connect()
        client.sendall(request[:length])
        if ending == "shut":
            client.shutdown(socket.SHUT_WR)
            answers = read_to_end(client)
            assert statuses(answers) in ([], [100]), (length, answers)
        client.close()
    assert squib.ask("GET", "/mmds") == (200, b"{}")


def test_a_chunked_request_may_be_cut_off_at_every_byte(squib):
    request = b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\nX: y\r\n\r\n"
    for length in range(len(request)):
        assert exchange(squib, request[:length]) == b"", length
    assert squib.ask("GET", "/mmds") == (200, b"{}")
    assert exchange(squib, request) == NO_CONTENT


def test_a_pipe_may_be_cut_in_two_at_every_byte(squib):
    requests = GET + put(b"/mmds", b'{"a":1}') + GET
    for length in range(len(requests)):
        client = squib.connect()
        client.sendall(requests[:length])
        squib.connect().close()         # something else to do in between
        client.sendall(requests[length:])
        want = VERSION + NO_CONTENT + VERSION
        assert read_exactly(client, len(want)) == want, length
        client.close()


def test_clients_may_leave_without_reading_their_answers(squib):
    for _ in range(2000):
        client = squib.connect()
        client.sendall(GET * 3)
        client.close()


# Clients that never read, never finish, never stop -----------------------------------------------

def fill(client, data):
    """Send as much as goes without waiting; True when the peer takes no more."""
    client.setblocking(False)
    view = memoryview(data)
    while view:
        try:
            view = view[client.send(view):]
        except BlockingIOError:
            if not select.select([], [client], [], 0.2)[1]:
                return True
        except (BrokenPipeError, ConnectionResetError):
            return False
    return False


def test_a_client_that_never_reads_is_not_read_either(squib, growth_kib):
    before_kib = squib.resident_kib()
    clients = [squib.connect() for _ in range(5)]
    for client in clients:
        fill(client, GET * 100_000)     # 4 MB of requests, 15 MB of answers
    assert squib.ask("GET", "/version") == (200, b'{"firecracker_version":"1.16.0"}')
    if growth_kib is not None:
        assert squib.resident_kib() < before_kib + growth_kib
    for client in clients:
        client.close()


def test_a_client_that_reads_late_gets_every_answer_in_order(squib):
    client = squib.connect()
    count = 3000
    requests = b"".join(put(b"/mmds", b"%d" % n) + b"GET /mmds HTTP/1.1\r\n\r\n" for n in range(count))
    sender = os.fork()
    if sender == 0:
        try:
            client.sendall(requests)
        finally:
            os._exit(0)
    squib.ask("GET", "/version")
    for n in range(count):
        assert read_exactly(client, len(NO_CONTENT)) == NO_CONTENT
        body = b"%d" % n
        want = VERSION.replace(b"32\r\n\r\n", b"%d\r\n\r\n" % len(body))[:-32] + body
        assert read_exactly(client, len(want)) == want, n
    client.close()
    os.waitpid(sender, 0)


def test_slow_clients_in_the_middle_of_anything_stall_nobody(squib):
    pieces = [b"G", GET[:-1], b"PUT /mmds HTTP/1.1\r\nContent-Length: 5", b"PUT /mmds HTTP/1.1\r\n"
              b"Content-Length: 50000\r\n\r\n{", b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
              b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nff", b"PUT /mmds HTTP/1.1\r\n"
              b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"PUT /mmds HTTP/1.1\r\nExpect: 100-continue\r\n"
              b"Content-Length: 5\r\n\r\n", b"x" * 1023]
    clients = [squib.connect() for _ in pieces]
    for client, piece in zip(clients, pieces):
        client.sendall(piece)
        assert squib.ask("GET", "/version") == (200, b'{"firecracker_version":"1.16.0"}')
        assert squib.ask("PUT", "/mmds", '{"fine":true}')[0] == 204
    for client in clients:
        client.close()


def test_a_client_that_was_refused_may_go_on_talking(squib):
    client = squib.connect()
    send_all_it_takes(client, b"NONSENSE / HTTP/1.1\r\n\r\n" + GET * 20000)
    got = read_to_end(client)
    client.close()
    assert statuses(got) == [400]
    assert b"Unsupported HTTP method." in got


def test_a_client_that_was_refused_and_stays_holds_nobody_up(squib):
    clients = []
    for _ in range(9):
        client = squib.connect()
        client.sendall(b"NONSENSE\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 400"
        clients.append(client)
    assert squib.ask("GET", "/version")[0] == 200
    for client in clients:
        client.close()


# Many ----------------------------------------------------------------------------------------

def test_thousands_of_connections_leave_nothing_behind(squib):
    for _ in range(5000):
        squib.connect().close()


def test_more_connections_than_places_are_turned_away_and_leave_nothing_behind(squib):
    for _ in range(200):
        clients = [squib.connect() for _ in range(25)]
        refused = 0
        for client in clients[10:]:
            refused += b"Too many open connections" in read_to_end(client)
        assert refused == 15
        for client in clients:
            client.close()
        # The places are free once the ends of the ten were seen.
        squib.wait_until(lambda: squib.ask("GET", "/version")[0] == 200, "a place was free")


def test_thousands_of_requests_on_one_connection_leave_nothing_behind(squib):
    client = squib.connect()
    for _ in range(100):
        client.sendall(GET * 100)
        assert read_exactly(client, len(VERSION) * 100) == VERSION * 100
    client.close()


# Descriptors ---------------------------------------------------------------------------------

def send_descriptors(client, data, descriptors):
    client.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def test_descriptors_passed_along_are_closed(squib):
    null = os.open("/dev/null", os.O_RDONLY)
    client = squib.connect()
    send_descriptors(client, GET, [null])
    assert read_exactly(client, len(VERSION)) == VERSION
    before = squib.fd_count()
    for _ in range(2000):
        send_descriptors(client, GET, [null, null, null])
        assert read_exactly(client, len(VERSION)) == VERSION
    assert squib.fd_count() == before
    client.close()
    os.close(null)


def test_as_many_descriptors_as_a_message_carries_are_closed(squib):
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(100):
        client = squib.connect()
        send_descriptors(client, b"G", [null] * 253)
        send_descriptors(client, GET[1:], [null] * 253)
        assert read_exactly(client, len(VERSION)) == VERSION
        client.close()
    os.close(null)


def test_descriptors_with_nonsense_and_with_a_body_are_closed(squib):
    null = os.open("/dev/null", os.O_RDONLY)
    for data in (b"x", b"NONSENSE\r\n\r\n", put(b"/mmds", b"{}"), put(b"/mmds", b"{}")[:-1]):
        for _ in range(50):
            client = squib.connect()
            send_descriptors(client, data, [null] * 10)
            client.shutdown(socket.SHUT_WR)
            read_to_end(client)
            client.close()
    os.close(null)


# Bodies --------------------------------------------------------------------------------------

def test_bodies_around_the_limit(squib):
    def text(length):
        return b'"' + b"x" * (length - 2) + b'"'
    assert exchange(squib, put(b"/mmds", text(51199))) == NO_CONTENT
    assert exchange(squib, put(b"/mmds", text(51200))) == NO_CONTENT
    over = exchange(squib, put(b"/mmds", text(51201)))
    assert statuses(over) == [400]
    assert b"size 51201 is larger than the limit of 51200" in over
    assert squib.ask("GET", "/mmds") == (200, text(51200))


def test_a_body_that_is_announced_and_never_sent_takes_no_room(squib, growth_kib):
    before_kib = squib.resident_kib()
    clients = [squib.connect() for _ in range(9)]
    for client in clients:
        client.sendall(b"PUT /mmds HTTP/1.1\r\nContent-Length: 51200\r\n\r\n")
    assert squib.ask("GET", "/version")[0] == 200
    if growth_kib is not None:
        assert squib.resident_kib() < before_kib + growth_kib
    for client in clients:
        client.close()


def test_endless_chunks_end_at_the_limit(squib):
    client = squib.connect()
    send_all_it_takes(client, b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                      + b"1\r\nx\r\n" * 60000)
    got = read_to_end(client)
    client.close()
    assert statuses(got) == [400]
    assert b"is larger than the limit of 51200" in got


ENDLESS = {
    "extension": b"1;" + b"x" * 3_000_000,
    "trailer": b"0\r\n" + b"X: y\r\n" * 500_000,
    "size": b"0" * 3_000_000,
}


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_decoration_of_chunks_takes_no_room(squib, name, growth_kib):
    before_kib = squib.resident_kib()
    client = squib.connect()
    fill(client, b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + ENDLESS[name])
    assert squib.ask("GET", "/version")[0] == 200
    if growth_kib is not None:
        assert squib.resident_kib() < before_kib + growth_kib
    client.close()


def test_endless_header_lines_take_no_room(squib, growth_kib):
    before_kib = squib.resident_kib()
    client = squib.connect()
    fill(client, b"GET /version HTTP/1.1\r\n" + b"X-Header: value\r\n" * 200_000)
    assert squib.ask("GET", "/version")[0] == 200
    if growth_kib is not None:
        assert squib.resident_kib() < before_kib + growth_kib
    client.close()


BODIES = {
    "open arrays": b"[" * 51200,
    "open objects": b'{"a":' * 10000,
    "open arrays in objects": b'{"a":[' * 8000,
    "backslashes": b'"' + b"\\" * 51199,
    "half escapes": b'"' + b"\\u" * 25000,
    "digits": b"1" * 51200,
    "signs": b"-" * 51200,
    "exponent": b"1e" + b"9" * 50000,
    "fraction": b"0." + b"0" * 50000 + b"1",
    "blanks": b" " * 51200,
    "lines": b"\n" * 51200,
    "zero bytes": b"\x00" * 51200,
    "bytes of ones": b"\xff" * 51200,
    "surrogates": b'"' + b"\xed\xa0\x80" * 17000 + b'"',
    "beyond Unicode": b'"' + b"\xf4\x90\x80\x80" * 12000 + b'"',
    "overlong": b'"' + b"\xc0\x80" * 25000 + b'"',
    "one key again and again": b"{" + b'"a":1,' * 8500 + b'"a":1}',
    "numbers": b"[" + b"1," * 25000 + b"1]",
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("path", ["/mmds", "/machine-config", "/cpu-config", "/mmds/config"])
def test_bodies_that_no_decoder_likes_get_one_answer(squib, path, name):
    got = exchange(squib, put(path.encode(), BODIES[name]))
    assert len(statuses(got)) == 1 and statuses(got)[0] in (204, 400, 413), got[:300]
    # The message quotes what the client sent, but the answer stays UTF-8.
    got.decode()


STRINGS = {
    "zero": b"\\u0000",
    "zero inside": b"/a\\u0000b",
    "way up": b"../../../../no/such/file",
    "format": b"%s%n%p%x",
    "faces": b"\\ud83d\\ude00" * 1000,
    "long": b"x" * 40000,
    "control": b"\\n\\r\\t",
    "delete": b"\x7f",
}


@pytest.mark.parametrize("name", STRINGS)
def test_strings_that_no_file_is_called_are_refused_or_taken(squib, name):
    for path, body in ((b"/boot-source", b'{"kernel_image_path":"%s"}'),
                       (b"/vsock", b'{"guest_cid":3,"uds_path":"/nowhere/%s"}'),
                       (b"/drives/d", b'{"drive_id":"d","is_root_device":false,"path_on_host":"%s"}'),
                       (b"/logger", b'{"log_path":"/nowhere/%s"}'),
                       (b"/metrics", b'{"metrics_path":"/nowhere/%s"}'),
                       (b"/pmem/p", b'{"id":"p","path_on_host":"%s"}'),
                       (b"/serial", b'{"serial_out_path":"%s"}'),
                       (b"/actions", b'{"action_type":"%s"}')):
        got = exchange(squib, put(path, body.replace(b"%s", STRINGS[name])))
        assert len(statuses(got)) == 1 and statuses(got)[0] in (204, 400), got[:300]
        got.decode()


# Smuggling: what one server takes for a body another takes for a request ---------------------

@pytest.mark.parametrize("head", [
    b"Content-Length: 6\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 6",
    b"Content-Length: 0\r\nTransfer-Encoding: chunked", b"Content-Length: 6\r\ntransfer-encoding:chunked",
    b"Content-Length: 6\r\nTransfer-Encoding:\tchunked"])
def test_a_length_beside_chunks_is_refused(squib, head):
    got = exchange(squib, b"PUT /mmds HTTP/1.1\r\n" + head + b"\r\n\r\n0\r\n\r\nX" + GET)
    assert statuses(got) == [400]
    assert CHUNKED_ERROR in got


@pytest.mark.parametrize("value", [b"gzip, chunked", b"chunked, identity", b"chunked, chunked", b"chunked;q=1",
                                   b'"chunked"', b"xchunked", b"chunked\x0b", b"\x00chunked",
                                   b"identity, chunked"])
def test_an_odd_transfer_encoding_never_makes_two_answers_of_one_request(squib, value):
    got = exchange(squib, b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: " + value
                   + b"\r\n\r\n1c\r\nDELETE /drives/x HTTP/1.1\r\n\r\n0\r\n\r\n")
    # Either the encoding is not looked at (no body, then nonsense) or it is refused or decoded.
    assert statuses(got) in ([400], [400, 400]), got
    assert b"supported before starting" not in got      # what DELETE would get


def test_the_last_of_two_lengths_counts(squib):
    request = b"PUT /mmds HTTP/1.1\r\nContent-Length: 60\r\nContent-Length: 7\r\n\r\n" + b'{"a":1}'
    assert exchange(squib, request + GET) == NO_CONTENT + VERSION


@pytest.mark.parametrize("line", [b"Content-Length: 7, 7", b"Content-Length: 7;", b"Content-Length: 0x7",
                                  b"Content-Length: 7\x00", b"Content-Length: 1e1", b"Content-Length: 7 7",
                                  b"Content-Length: --7", b"Content-Length: 99999999999999999999",
                                  b"Content-Length: \xc2\xa0x", b"Content-Length: \xd9\xa7"])
def test_an_odd_length_is_refused(squib, line):
    got = exchange(squib, b"PUT /mmds HTTP/1.1\r\n" + line + b'\r\n\r\n{"a":1}' + GET)
    assert statuses(got) == [400]
    assert b"Invalid header. Reason: Invalid value. Key:Content-Length; Value:" in got


def test_a_folded_line_does_not_go_on_with_the_one_before(squib):
    got = exchange(squib, b"PUT /mmds HTTP/1.1\r\nX: y\r\n Content-Length: 7\r\n\r\n" + b'{"a":1}')
    assert got == NO_CONTENT            # a header of its own, as upstream takes it
    got = exchange(squib, b"GET /version HTTP/1.1\r\nX: y\r\n folded\r\n\r\n")
    assert statuses(got) == [400]


def test_a_bare_line_feed_ends_neither_head_nor_line(squib):
    assert exchange(squib, b"GET /version HTTP/1.1\n\n") == b""
    got = exchange(squib, b"GET /version HTTP/1.1\nHost: a\n\nGET /version HTTP/1.1\r\n\r\n")
    assert statuses(got) == [400]
    got = exchange(squib, b"PUT /mmds HTTP/1.1\r\nX: y\nContent-Length: 7\r\n\r\n" + b'{"a":1}')
    assert statuses(got)[0] == 400 and b"Empty PUT request." in got


def test_a_bare_carriage_return_ends_nothing(squib):
    assert exchange(squib, b"GET /version HTTP/1.1\r\r") == b""
    got = exchange(squib, b"GET /version HTTP/1.1\r\nX: a\rContent-Length: 5\r\n\r\n")
    assert got == VERSION
    got = exchange(squib, b"GET /version\r HTTP/1.1\r\n\r\n")
    assert statuses(got) == [400]


def test_a_refusal_drops_the_answers_that_were_still_due_and_says_so(squib):
    got = exchange(squib, GET + b"NONSENSE\r\n\r\n" + GET)
    assert got.endswith(b'All previous unanswered requests will be dropped." }')
    assert statuses(got) in ([200, 400], [400])


# Chance --------------------------------------------------------------------------------------

WORDS = [b"GET", b"PUT", b"PATCH", b"DELETE", b"POST", b" ", b" ", b"/", b"/mmds", b"/drives/a", b"/version",
         b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"\r\n", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b":", b": ",
         b"Content-Length", b"Transfer-Encoding", b"chunked", b"Expect", b"100-continue", b"Connection",
         b"close", b"Accept-Encoding", b"identity;q=0", b"0", b"1", b"7", b"51200", b"51201", b"{}", b'{"a":1}',
         b"\x00", b"\xff", b"\xc3\xa4", b"a" * 1024]


@pytest.mark.parametrize("seed", range(8))
def test_random_words_are_answered_or_refused(squib, seed):
    chance = random.Random(seed)
    for _ in range(300):
        data = b"".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 60)))
        got = exchange(squib, data)
        assert got == b"" or got.startswith(b"HTTP/1.")
        assert set(statuses(got)) <= {100, 200, 204, 400, 413}, (data, got)


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_are_refused(squib, seed):
    chance = random.Random(seed)
    for _ in range(300):
        got = exchange(squib, chance.randbytes(chance.randrange(1, 4000)))
        assert set(statuses(got)) <= {400}


@pytest.mark.parametrize("seed", range(4))
def test_good_requests_with_bytes_changed_are_answered_or_refused(squib, seed):
    chance = random.Random(seed)
    good = [GET, put(b"/mmds", b'{"a":[1,2,{"b":null}]}'), put(b"/balloon", b'{"amount_mib":1,"deflate_on_oom":true}'),
            put(b"/machine-config", b'{"vcpu_count":1,"mem_size_mib":128,"huge_pages":"2M"}'),
            b"PUT /mmds HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n"]
    for _ in range(400):
        data = bytearray(chance.choice(good) + GET)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        got = exchange(squib, bytes(data))
        assert set(statuses(got)) <= {200, 204, 400, 413}, (data, got)
