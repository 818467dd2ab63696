"""Compress with DEFLATE; the output depends on the input only.

Why not ``zlib``: its output differs between zlib, zlib-ng and their versions. The compressed userdata is an input of a
VM: on a colleague's machine with another zlib, every preview would show a change, and ``up`` would reboot both nodes
needlessly. Another library has versions too, and would have to stay at one of them as long as there are stacks, whose
states hold these bytes. Another format is not possible: cloud-init reads only gzip. This encoder is fixed: greedy
matches from hash chains, blocks with fixed Huffman codes (RFC 1951, 3.2.6). Its output is a fifth larger than zlib's.
Every inflate implementation can read it.

The input consists of parts, each of which becomes a block of its own. A block depends on its part only and is cached,
so that a part which both nodes share is compressed once.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from functools import lru_cache

MIN_MATCH = 4  # DEFLATE allows 3, but three literals are not longer than a distant match
MAX_MATCH = 258
WINDOW = 32_768
CHAIN = 32  # candidates that are compared for one match; more take time and save little

_GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
"""RFC 1952: no name, no time, no compression level, unknown operating system."""

_MORE, _LAST = 0b010, 0b011  # a block's first three bits: fixed codes, and whether it is the last block (3.2.3)
_HEADER_BITS = 3
_END_OF_BLOCK = 256
_FIRST_LENGTH = 257

# RFC 1951, 3.2.5: the first length (and distance) of each code, with its number of extra bits.
_LENGTH_EXTRA = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5)
_DISTANCE_EXTRA = (0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13)


def _packed(value: int, width: int) -> str:
    """Return a value as a binary number of this width; the stream's first bit is the rightmost."""
    return f"{value:0{width}b}" if width else ""


def _symbol(symbol: int) -> str:
    """Return the fixed code of a literal, a length or the end of the block (RFC 1951, 3.2.6).

    Huffman codes are packed starting with the most significant bit, all else with the least significant bit (3.1.1).
    """
    for last, width, base in ((143, 8, 0x30), (255, 9, 0x190 - 144), (279, 7, -256), (287, 8, 0xC0 - 280)):
        if symbol <= last:
            return _packed(symbol + base, width)[::-1]
    raise ValueError(symbol)


def _length_codes() -> list[str]:
    """Return the code with extra bits of every length from 0 (unused) to the longest."""
    codes = [""] * (MAX_MATCH + 1)
    length = 3
    for index, extra in enumerate(_LENGTH_EXTRA):
        code = _symbol(_FIRST_LENGTH + index)
        for offset in range(1 << extra):
            codes[length + offset] = _packed(offset, extra) + code
        length += 1 << extra
    codes[MAX_MATCH] = _symbol(_FIRST_LENGTH + len(_LENGTH_EXTRA))  # the longest length has its own code
    return codes


def _distance_starts() -> list[int]:
    starts, distance = [], 1
    for extra in _DISTANCE_EXTRA:
        starts.append(distance)
        distance += 1 << extra
    return starts


_LITERALS = [_symbol(byte) for byte in range(256)]
_LENGTHS = _length_codes()
_DISTANCES = _distance_starts()
_DISTANCE_CODES = [_packed(index, 5)[::-1] for index in range(len(_DISTANCES))]


@lru_cache(maxsize=WINDOW)
def _distance(distance: int) -> str:
    index = bisect_right(_DISTANCES, distance) - 1
    return _packed(distance - _DISTANCES[index], _DISTANCE_EXTRA[index]) + _DISTANCE_CODES[index]


def _keys(data: bytes) -> list[int]:
    """Return for each position except the last ones the first bytes of a match there, as one number.

    The numbers depend on the machine's byte order. The output does not: the numbers are only compared for equality.
    """
    keys = [0] * max(len(data) - MIN_MATCH + 1, 0)
    for offset in range(MIN_MATCH):
        whole = (len(data) - offset) // MIN_MATCH * MIN_MATCH
        keys[offset::MIN_MATCH] = memoryview(data)[offset : offset + whole].cast("I")
    return keys


def _earlier(data: bytes) -> list[int]:
    """Return the hash chains: for each position the nearest earlier one with the same first bytes, or -1."""
    newest: dict[int, int] = {}
    chains = []
    for position, key in enumerate(_keys(data)):
        chains.append(newest.get(key, -1))
        newest[key] = position
    return chains + [-1] * (len(data) - len(chains))


def _longest(data: bytes, here: int, there: int, chains: list[int]) -> tuple[int, int]:
    """Return (length, distance) of the longest match along a chain, (0, 0) for none; of equal ones the nearest."""
    best, distance = MIN_MATCH - 1, 0
    limit = min(MAX_MATCH, len(data) - here)
    nearest = max(here - WINDOW, 0)
    compared = 0
    decisive = data[here + best]  # a better match needs this byte; most candidates do not have it
    while there >= nearest and compared < CHAIN:
        if data[there + best] == decisive and data[there : there + best] == data[here : here + best]:
            best += 1
            while best < limit and data[here + best] == data[there + best]:
                best += 1
            distance = here - there
            if best == limit:
                break
            decisive = data[here + best]
        there = chains[there]
        compared += 1
    return (best, distance) if distance else (0, 0)


@lru_cache(maxsize=64)
def block(data: bytes) -> tuple[int, int]:
    """Compress one part; the result is cached.

    Args:
        data: The part.

    Returns:
        The bits of its block after the header, as one number, and their count.
    """
    chains = _earlier(data)
    bits = []
    here = 0
    while here < len(data):
        length, distance = _longest(data, here, chains[here], chains) if chains[here] >= 0 else (0, 0)
        if length:
            bits.append(_LENGTHS[length])
            bits.append(_distance(distance))
            here += length
        else:
            bits.append(_LITERALS[data[here]])
            here += 1
    bits.append(_symbol(_END_OF_BLOCK))
    text = "".join(reversed(bits))
    return int(text, 2), len(text)


def deflate(*parts: bytes) -> bytes:
    """Compress the parts, one after the other, into one raw DEFLATE stream; no match refers to another part."""
    stream, width = 0, 0
    for number, part in enumerate(parts, 1):
        bits, length = block(part)
        stream |= (bits << _HEADER_BITS | (_LAST if number == len(parts) else _MORE)) << width
        width += _HEADER_BITS + length
    return stream.to_bytes(-(-width // 8), "little")


def gzip(*parts: bytes) -> bytes:
    """Compress the parts, one after the other, into a gzip file with a fixed header and a single member."""
    data = b"".join(parts)
    return _GZIP_HEADER + deflate(*parts) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
