# SPDX-License-Identifier: Apache-2.0
"""A lot of text over the console, in both directions."""

import hashlib
import random
import threading

import pytest

import squibvm

both = pytest.mark.parametrize("arch", squibvm.ARCHES)


def text_of(size):
    """Lines of letters and digits, `size` bytes in all."""
    digits = random.Random(size).randbytes(size // 2).hex()
    return "".join(digits[at : at + 63] + "\n" for at in range(0, len(digits), 63))[:size]


@both
def test_a_megabyte_from_the_guest_comes_out_whole(squib, tmp_path, arch):
    text = text_of(1 << 20)
    (tmp_path / "text").write_text(text)
    vm = squib(arch)
    vm.add_drive(str(tmp_path / "text"), drive_id="text", root=False, is_read_only=True)
    vm.boot()

    assert vm.run("cat /dev/vda") == text


@both
def test_a_megabyte_to_the_guest_goes_in_whole(squib, arch):
    text = text_of(1 << 20).encode()
    vm = squib(arch)
    vm.boot()

    vm.send("stty raw; echo begin; head -c 1048576 | sha256sum; stty cooked")
    vm.console.expect("begin\n")
    # A pipe takes less than that in one go, and the test must not wait where it also reads.
    typist = threading.Thread(target=vm.type, args=[text])
    typist.start()
    vm.console.expect(f"{hashlib.sha256(text).hexdigest()}  -")
    typist.join()
