# SPDX-License-Identifier: Apache-2.0
"""curl, as the getting-started guide and many scripts use it."""
import json
import os
import shutil
import subprocess

import pytest

from monitor import HANG_S

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

# Steps of the guide in its form: sh, bodies over several lines, a relative file name.
GUIDE = r"""
set -eu
curl -X PUT --unix-socket "${API_SOCKET}" \
    --data "{
        \"log_path\": \"${LOGFILE}\",
        \"level\": \"Debug\",
        \"show_level\": true,
        \"show_log_origin\": true
    }" \
    "http://localhost/logger"
curl -X PUT --unix-socket "${API_SOCKET}" \
    --data "{
        \"kernel_image_path\": \"./vmlinux\",
        \"boot_args\": \"console=ttyS0 reboot=k panic=1\"
    }" \
    "http://localhost/boot-source"
curl -X PUT --unix-socket "${API_SOCKET}" \
    --data "{
        \"drive_id\": \"rootfs\",
        \"path_on_host\": \"./rootfs.ext4\",
        \"is_root_device\": true,
        \"is_read_only\": false
    }" \
    "http://localhost/drives/rootfs"
curl -X PUT --unix-socket "${API_SOCKET}" \
    --data "{
        \"iface_id\": \"net1\",
        \"guest_mac\": \"06:00:AC:10:00:02\",
        \"host_dev_name\": \"tap0\"
    }" \
    "http://localhost/network-interfaces/net1"
curl -X PUT --unix-socket "${API_SOCKET}" \
    --data "{
        \"action_type\": \"InstanceStart\"
    }" \
    "http://localhost/actions"
"""


def curl(squib, *args):
    """Status, header lines and body of what curl got."""
    done = subprocess.run(["curl", "-sS", "-i", "--unix-socket", squib.socket_path, *args],
                          capture_output=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.rpartition(b"\r\n\r\n")
    if not head:
        head, body = done.stdout, b""
    return head, body


def test_the_steps_of_the_guide_start_a_machine_without_a_word(start):
    squib = start("--network", "userspace")
    squib.file("vmlinux", b"kernel")
    squib.file("rootfs.ext4", bytes(4096))
    log = os.path.join(squib.directory, "firecracker.log")
    env = dict(os.environ, API_SOCKET=squib.socket_path, LOGFILE=log)
    done = subprocess.run(["sh", "-c", GUIDE], cwd=squib.directory, env=env, timeout=HANG_S,
                          stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    assert done.stdout == b""
    assert b'"state":"Running"' in squib.ask("GET", "/")[1]
    with open(log, encoding="utf-8") as file:
        assert 'The API server received a Put request on "/actions"' in file.read()


def test_a_fault_is_what_curl_prints(squib):
    head, body = curl(squib, "-X", "PUT", "--data", "{}", "http://localhost/boot-source")
    assert head.startswith(b"HTTP/1.1 400 \r\n")
    assert json.loads(body) == {"fault_message": "An error occurred when deserializing the json body "
                                "of a request: missing field `kernel_image_path` at line 1 column 2."}


def test_several_urls_share_a_connection(squib):
    done = subprocess.run(["curl", "-sS", "-v", "--unix-socket", squib.socket_path,
                           "http://localhost/version", "http://localhost/version"],
                          capture_output=True, timeout=HANG_S, check=False)
    assert done.stdout == b'{"firecracker_version":"1.16.0"}' * 2
    assert b"Re-using existing connection" in done.stderr


def test_a_body_above_one_mebibyte_waits_for_the_100(start):
    squib = start("--http-api-max-payload-size", "4000000", "--mmds-size-limit", "4000000")
    data = squib.file("body", b'{"data":"' + b"x" * 2_000_000 + b'"}')
    done = subprocess.run(["curl", "-sS", "-v", "-X", "PUT", "--unix-socket", squib.socket_path,
                           "--data-binary", f"@{data}", "http://localhost/mmds"],
                          capture_output=True, timeout=HANG_S, check=False)
    assert b"> Expect: 100-continue" in done.stderr
    assert b"< HTTP/1.1 100 " in done.stderr
    assert b"< HTTP/1.1 204 " in done.stderr
    assert squib.ask("GET", "/mmds") == (200, b'{"data":"' + b"x" * 2_000_000 + b'"}')


def test_a_body_above_the_limit_is_refused_before_it_is_sent(squib):
    data = squib.file("body", b'{"data":"' + b"x" * 2_000_000 + b'"}')
    head, body = curl(squib, "-X", "PUT", "--data-binary", f"@{data}", "http://localhost/mmds")
    assert head.startswith(b"HTTP/1.1 400 \r\n")
    assert b"Request payload with size 2000011 is larger than the limit of 51200" in body


def test_an_upload_is_a_put(squib):
    data = squib.file("body", b'{"a":1}')
    head, _ = curl(squib, "-T", data, "http://localhost/mmds")
    assert b"HTTP/1.1 204 " in head
    assert squib.ask("GET", "/mmds") == (200, b'{"a":1}')


def test_an_upload_of_unknown_length_is_chunked_and_read(squib):
    done = subprocess.run(["curl", "-sS", "-i", "-T", "-", "--unix-socket", squib.socket_path,
                           "http://localhost/mmds"], input=b'{"b":2}', capture_output=True,
                          timeout=HANG_S, check=False)
    assert b"HTTP/1.1 204 " in done.stdout
    assert squib.ask("GET", "/mmds") == (200, b'{"b":2}')


def test_curl_reads_a_head_without_reason_phrase_as_its_own_version(squib):
    done = subprocess.run(["curl", "-sS", "-o", os.devnull, "-w", "%{http_code} %{http_version} "
                           "%{content_type}", "--unix-socket", squib.socket_path,
                           "http://localhost/machine-config"], capture_output=True, timeout=HANG_S,
                          check=False)
    assert done.stdout == b"200 1.1 application/json"


def test_http_1_0_is_answered(squib):
    head, body = curl(squib, "--http1.0", "http://localhost/version")
    assert head.startswith(b"HTTP/1.1 200 \r\n")
    assert body == b'{"firecracker_version":"1.16.0"}'


def test_compressed_answers_are_asked_for_in_vain(squib):
    head, body = curl(squib, "--compressed", "http://localhost/version")
    assert b"Content-Encoding" not in head
    assert body == b'{"firecracker_version":"1.16.0"}'
