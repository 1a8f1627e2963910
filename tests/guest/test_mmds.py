# SPDX-License-Identifier: Apache-2.0
"""The metadata service as programs in the guest use it: by curl."""

import json

import squibvm

ADDRESS = "169.254.169.254"
DOCUMENT = {
    "latest": {
        "meta-data": {
            "ami-id": "ami-12345678",
            "network": {"interfaces": {"mac": "06:00:c0:00:02:02"}},
            "count": 3,
            "list": ["one", {"two": 2}],
            "a/b~c": "escaped",
        },
        "user-data": "line 1\nline 2\n",
    }
}
NO_TOKEN = (
    "No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the session token."
)
NO_LIFETIME = (
    "Token time to live value not found. Use `X-metadata-token-ttl-seconds` or"
    " `X-aws-ec2-metadata-token-ttl-seconds` header to specify the token's lifetime."
)
JSON = "-H 'Accept: application/json'"
TOKEN_PATH = "/latest/api/token"
MANY = squibvm.size_in_lab(300, 20)


def booted(squib, network, version, options=()):
    """A guest with two interfaces, the first of which has the service."""
    network.add_tap("tap0")
    network.add_tap("tap1")
    vm = squib(network=network, options=options)
    vm.add_programs()
    vm.add_interface("with", "tap0")
    vm.add_interface("without", "tap1")
    vm.put("/mmds/config", {"version": version, "network_interfaces": ["with"]})
    vm.put("/mmds", DOCUMENT)
    vm.boot()
    vm.run("ip address add 169.254.0.2/16 dev eth0 && ip link set eth0 up")
    return vm


def curl(vm, path, options=""):
    """Asks the service; the status, the content's type, and the content."""
    said = vm.run(f"curl -s -m 60 -w '\\n%{{http_code}} %{{content_type}}' {options} http://{ADDRESS}{path}")
    body, _, about = said.rpartition("\n")
    status, _, content_type = about.partition(" ")
    return int(status), content_type, body


def text(vm, path, options=""):
    """The content of a good answer."""
    status, content_type, body = curl(vm, path, options)
    assert (status, content_type) == (200, "text/plain"), body
    return body


def test_the_first_version_answers_whoever_asks(squib, network):
    vm = booted(squib, network, "V1")
    meta = "/latest/meta-data"

    assert text(vm, "/") == "latest/"
    assert text(vm, "/latest//") == "meta-data/\nuser-data"
    assert text(vm, meta) == "a/b~c\nami-id\ncount\nlist\nnetwork/"
    assert text(vm, f"{meta}/ami-id") == "ami-12345678"
    assert text(vm, "/latest/user-data/") == "line 1\nline 2\n"
    assert text(vm, f"{meta}/a~1b~0c") == "escaped"
    assert curl(vm, f"{meta}/count") == (
        501, "text/plain", "Cannot retrieve value. The value has an unsupported type.")
    assert curl(vm, f"{meta}/nothing") == (404, "text/plain", f"Resource not found: {meta}/nothing.")
    status, content_type, body = curl(vm, "/", JSON)
    assert (status, content_type) == (200, "application/json")
    assert body == json.dumps(DOCUMENT, separators=(",", ":"), sort_keys=True)
    assert curl(vm, f"{meta}/list/1/two", JSON)[2] == "2"

    status, content_type, body = curl(vm, "/", "-X PATCH -D /tmp/head")
    assert (status, content_type, body) == (405, "text/plain", "Not allowed HTTP method.")
    assert "Allow: GET, PUT" in vm.run("cat /tmp/head")
    assert curl(vm, "/", "-X DELETE")[0] == 405
    assert curl(vm, "/", "-X POST")[::2] == (501, "Unsupported HTTP method.")

    # What the host changes is seen at once.
    vm.patch("/mmds", {"latest": {"meta-data": {"ami-id": "ami-other", "count": None}}})
    assert text(vm, f"{meta}/ami-id") == "ami-other"
    assert curl(vm, f"{meta}/count")[0] == 404
    large = "x" * 40_000
    vm.put("/mmds", {"large": large, "small": "value"})
    sum_of = f"curl -s -m 60 http://{ADDRESS}/large | sha256sum"
    assert vm.run(sum_of).split()[0] == squibvm.sha256(large.encode())

    # Many requests: in one connection, in connections one after the other, and at the same time.
    urls = f"$(for i in $(seq {MANY}); do echo http://{ADDRESS}/small; done)"
    for options in "", "-H 'Connection: close'", "-Z --parallel-max 20":
        assert vm.run(f"curl -s -m 60 {options} {urls}") == "value" * MANY

    # Not where it is not configured.
    vm.run("ip link set eth0 down; ip address add 169.254.0.3/16 dev eth1 && ip link set eth1 up")
    vm.run(f"! curl -s -m 2 http://{ADDRESS}/small")


def test_the_second_version_wants_tokens(squib, network):
    vm = booted(squib, network, "V2", ["--metrics-path", "metrics"])

    def refused(path, status, why, options=""):
        assert curl(vm, path, options) == (status, "text/plain", why)

    refused("/", 401, NO_TOKEN)
    refused("/", 401, "MMDS token not valid.", "-H 'X-metadata-token: made up'")
    put = "-X PUT -H 'X-metadata-token-ttl-seconds: {}'"
    refused(TOKEN_PATH, 400, NO_LIFETIME, "-X PUT")
    for lifetime in 0, 21601:
        why = f"Invalid time to live value provided for token: {lifetime}. Please provide a value between 1 and 21600."
        refused(TOKEN_PATH, 400, why, put.format(lifetime))
    why = "Invalid header. Reason: Unsupported header name. Key: X-Forwarded-For"
    refused(TOKEN_PATH, 400, why, put.format(60) + " -H 'X-Forwarded-For: 192.0.2.9'")
    refused("/latest", 404, "Resource not found: /latest.", put.format(60))

    assert text(vm, TOKEN_PATH, put.format(21600) + " -D /tmp/head -o /tmp/token") == ""
    assert "ttl-seconds: 21600" in vm.run("cat /tmp/head")
    assert 0 < int(vm.run("wc -c </tmp/token")) <= 70
    for header in "X-metadata-token", "x-AWS-ec2-metadata-token":
        assert text(vm, "/latest/user-data", f'-H "{header}: $(cat /tmp/token)"') == "line 1\nline 2\n"
    assert text(vm, "/", f'-H "X-metadata-token: $(cat /tmp/token)"') == "latest/"

    # A short life, which is over by the clock of the host.
    text(vm, TOKEN_PATH, put.format(1) + " -o /tmp/token")
    squibvm.wait_until(
        lambda: curl(vm, "/", '-H "X-metadata-token: $(cat /tmp/token)"')[::2] == (401, "MMDS token not valid."),
        "the token expires",
    )

    counted = vm.metrics()["mmds"]
    assert counted["rx_no_token"] == 1
    assert counted["rx_invalid_token"] >= 2
    assert counted["rx_accepted"] > 0 and counted["tx_frames"] > 0 and counted["tx_bytes"] > 0
    assert counted["connections_created"] >= counted["connections_destroyed"] > 0
