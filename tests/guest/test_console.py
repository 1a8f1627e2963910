# SPDX-License-Identifier: Apache-2.0
"""A lot of text over the console, in both directions."""

import hashlib
import os
import random
import re
import threading

import pytest

import squibvm

both = pytest.mark.parametrize("arch", squibvm.ARCHES)

# Each byte leaves the guest at least once, which takes a minute a megabyte in the lab.
SIZE = int(os.environ.get("SQUIB_CONSOLE_KIB", "1024")) << 10
PIECE = 1 << 14  # what is waited for at once


def pieces_of(size):
    """Lines of letters and digits, `size` bytes in all, in pieces."""
    digits = random.Random(size).randbytes(size // 2).hex()
    text = "".join(digits[at : at + 63] + "\n" for at in range(0, len(digits), 63))
    return [text[at : at + PIECE] for at in range(0, size, PIECE)]


@both
def test_what_the_guest_says_comes_out_whole(squib, tmp_path, arch):
    pieces = pieces_of(SIZE)
    (tmp_path / "text").write_text("".join(pieces))
    vm = squib(arch)
    vm.add_drive(str(tmp_path / "text"), drive_id="text", root=False, is_read_only=True)
    vm.boot()

    vm.send("echo begin; cat /dev/vda")
    vm.console.expect("begin\n")
    for piece in pieces:
        match = vm.console.expect(re.escape(piece[-40:]))
        assert vm.console.skipped + match[0] == piece


def test_what_is_typed_goes_in_whole(squib):
    pieces = [piece.encode() for piece in pieces_of(SIZE)]
    vm = squib()
    vm.boot()

    vm.send(
        "stty raw; echo begin;"
        f" for n in $(seq {len(pieces)}); do dd bs={PIECE} count=1 iflag=fullblock status=none | sha256sum; done;"
        " stty cooked"
    )
    vm.console.expect("begin\n")
    # A pipe takes less than that in one go, and the test must not wait where it also reads.
    typist = threading.Thread(target=vm.type, args=[b"".join(pieces)], daemon=True)
    typist.start()
    for piece in pieces:
        vm.console.expect(f"{hashlib.sha256(piece).hexdigest()}  -")
    typist.join()
