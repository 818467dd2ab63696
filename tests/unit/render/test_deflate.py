"""The compressor: zlib can read its output, and its bytes are the same on every machine."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbstack.render.deflate import CHAIN, MAX_MATCH, MIN_MATCH, WINDOW, block, deflate, gzip

EXAMPLES = int(os.environ.get("LBSTACK_EXAMPLES", "50"))
GZIP = 16 + zlib.MAX_WBITS  # zlib reads gzip's header and checks its trailer
RAW = -zlib.MAX_WBITS

# Few different pieces, often repeated: matches of every length next to literals of both widths.
PIECES = st.lists(st.sampled_from([b"server ", b"192.168.6.", b"a" * 300, b"\x8f\x90", b"\xff", b"\n"]), max_size=60)


def apart(distance: int) -> bytes:
    """Two equal pieces whose beginnings have this distance."""
    piece = hashlib.sha512(b"piece").digest()
    return piece + b"\x00" * (distance - len(piece)) + piece


def rivals(count: int) -> bytes:
    """A long match and, nearer, ``count`` short ones with the same first bytes: tests whether the long one is found."""
    return b"best of all" + b"".join(b"best%c" % (128 + number) for number in range(count)) + b"best of all"


def fixed_input() -> bytes:
    """Text like that of a set, bytes of every value, and a repetition from outside the window; it never changes."""
    lines = "".join(
        f"    server node-{number % 40} 192.168.6.{number % 250}:443 check id {number}\n" for number in range(500)
    )
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(600))
    limits = b"=" * (3 * MAX_MATCH) + rivals(CHAIN - 1) + noise[:200] + rivals(CHAIN)
    return lines.encode() + bytes(range(256)) + limits + noise + lines.encode()


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=600) | PIECES.map(b"".join))
@example(b"")
@example(b"x" * (MIN_MATCH + MAX_MATCH + 1))
@example(b"".join(bytes([number]) * 2**number for number in range(18)))  # a code with words of every length
@example(bytes(range(256)) * 3)
def test_zlib_can_read_the_output(data: bytes) -> None:
    assert zlib.decompress(gzip(data), GZIP) == data
    assert zlib.decompress(deflate(data), RAW) == data


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.binary(max_size=200) | PIECES.map(b"".join), min_size=1, max_size=4))
def test_parts_are_decompressed_one_after_the_other_from_a_single_member(parts: list[bytes]) -> None:
    """cloud-init 19.4 reads the first member of a gzip file and silently ignores the rest."""
    unpacker = zlib.decompressobj(GZIP)
    assert unpacker.decompress(gzip(*parts)) == b"".join(parts)
    assert unpacker.eof
    assert unpacker.unused_data == b""


def test_a_part_that_two_texts_share_is_compressed_once() -> None:
    block.cache_clear()
    for own in (b"node 1", b"node 2"):
        gzip(b"the same on both nodes\n" * 50, own)
    assert block.cache_info().hits == 1


def test_a_match_is_found_in_the_whole_window_and_none_outside() -> None:
    sizes = {}
    for distance in (WINDOW, WINDOW + 1):
        packed = deflate(apart(distance))
        sizes[distance] = len(packed)
        intact = zlib.decompress(packed, RAW) == apart(distance)
        assert intact, distance  # the texts themselves would be too long for a message
    assert sizes[WINDOW] < sizes[WINDOW + 1]


def test_the_output_is_hardly_larger_than_zlibs() -> None:
    text = Path(__file__).read_bytes()
    assert len(gzip(text)) < len(zlib.compress(text, 9, GZIP)) * 1.1


def test_repetition_is_compressed() -> None:
    text = b"    timeout server 1m\n" * 1000
    assert len(deflate(text)) < len(text) / 50


def test_one_input_gives_the_same_bytes_on_every_machine() -> None:
    """With other bytes, an upgrade of this program would change the guestinfo of every stack's nodes."""
    data = fixed_input()
    assert len(data) > 2 * WINDOW
    assert hashlib.sha256(gzip(data)).hexdigest() == "8badbea1aebf62e3be6a3c26baa298b657f9a4e900d54a6a0f8c97973c357117"
