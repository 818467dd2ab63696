"""DEFLATE with bytes that depend on the input alone.

Why not ``zlib``: its output differs between zlib, zlib-ng and their versions. The compressed userdata is an input of
a VM, so a colleague's machine with another zlib would show a change in every preview and reboot both load balancers
for nothing. Another library has versions too, and would have to stay at one of them for as long as there are stacks,
whose states hold these bytes. Another format is no way out: cloud-init reads gzip alone. This encoder is fixed: greedy
matches from hash chains, blocks of fixed Huffman codes (RFC 1951, 3.2.6). It gives up a fifth of zlib's compression for
that. Any inflate reads what it writes.

A text is given in parts, each of which becomes a block of its own. A block depends on its part alone and is
remembered, so that what two nodes have in common is packed once.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from functools import lru_cache

MIN_MATCH = 4  # DEFLATE allows 3, but three literals are no longer than a far match
MAX_MATCH = 258
WINDOW = 32_768
CHAIN = 32  # candidates looked at for one match; more costs time and saves little

_GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
"""RFC 1952: no name, no time, no compression level, unknown operating system."""

_MORE, _LAST = 0b010, 0b011  # a block's first three bits: fixed codes, and whether it is the last one (3.2.3)
_HEADER_BITS = 3
_END_OF_BLOCK = 256
_FIRST_LENGTH = 257

# RFC 1951, 3.2.5: the first length (and distance) of each code, with its number of extra bits.
_LENGTH_EXTRA = (0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5)
_DISTANCE_EXTRA = (0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13)


def _packed(value: int, width: int) -> str:
    """The last bits of a value, as a binary number is written: the stream's first bit is the rightmost."""
    return f"{value:0{width}b}" if width else ""


def _symbol(symbol: int) -> str:
    """The fixed code of a literal, a length or the end of the block (RFC 1951, 3.2.6).

    Huffman codes are packed from their most significant bit, everything else from the least significant one (3.1.1).
    """
    for last, width, base in ((143, 8, 0x30), (255, 9, 0x190 - 144), (279, 7, -256), (287, 8, 0xC0 - 280)):
        if symbol <= last:
            return _packed(symbol + base, width)[::-1]
    raise ValueError(symbol)


def _length_codes() -> list[str]:
    """Length → its code with the extra bits, for every length from 0 (unused) to the longest."""
    codes = [""] * (MAX_MATCH + 1)
    length = 3
    for index, extra in enumerate(_LENGTH_EXTRA):
        code = _symbol(_FIRST_LENGTH + index)
        for offset in range(1 << extra):
            codes[length + offset] = _packed(offset, extra) + code
        length += 1 << extra
    codes[MAX_MATCH] = _symbol(_FIRST_LENGTH + len(_LENGTH_EXTRA))  # the longest has a code of its own
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
    """For each position but the last ones the bytes that a match there begins with, as one number.

    Which number depends on the machine, and nothing that is written does: it is only looked at whether two are equal.
    """
    keys = [0] * max(len(data) - MIN_MATCH + 1, 0)
    for offset in range(MIN_MATCH):
        whole = (len(data) - offset) // MIN_MATCH * MIN_MATCH
        keys[offset::MIN_MATCH] = memoryview(data)[offset : offset + whole].cast("I")
    return keys


def _earlier(data: bytes) -> list[int]:
    """For each position the nearest earlier one that begins with the same bytes, or -1: the hash chains."""
    newest: dict[int, int] = {}
    chains = []
    for position, key in enumerate(_keys(data)):
        chains.append(newest.get(key, -1))
        newest[key] = position
    return chains + [-1] * (len(data) - len(chains))


def _longest(data: bytes, here: int, there: int, chains: list[int]) -> tuple[int, int]:
    """The longest match along a chain, the nearest of equals: (length, distance), or (0, 0)."""
    best, distance = MIN_MATCH - 1, 0
    limit = min(MAX_MATCH, len(data) - here)
    nearest = max(here - WINDOW, 0)
    looked_at = 0
    decisive = data[here + best]  # the byte that a better match needs; most candidates fail at it
    while there >= nearest and looked_at < CHAIN:
        if data[there + best] == decisive and data[there : there + best] == data[here : here + best]:
            best += 1
            while best < limit and data[here + best] == data[there + best]:
                best += 1
            distance = here - there
            if best == limit:
                break
            decisive = data[here + best]
        there = chains[there]
        looked_at += 1
    return (best, distance) if distance else (0, 0)


@lru_cache(maxsize=64)
def _block(data: bytes) -> tuple[int, int]:
    """All bits of a block behind its header, as one number, and how many they are."""
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
    """Return the parts, one after the other, as one raw DEFLATE stream; no match reaches into another part."""
    stream, width = 0, 0
    for number, part in enumerate(parts, 1):
        bits, length = _block(part)
        stream |= (bits << _HEADER_BITS | (_LAST if number == len(parts) else _MORE)) << width
        width += _HEADER_BITS + length
    return stream.to_bytes(-(-width // 8), "little")


def gzip(*parts: bytes) -> bytes:
    """Return the parts, one after the other, as a gzip file with a fixed header and a single member."""
    data = b"".join(parts)
    return _GZIP_HEADER + deflate(*parts) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
