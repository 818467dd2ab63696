"""DEFLATE with bytes that depend on the input alone.

Why not ``zlib``: its output differs between zlib, zlib-ng and their versions. The compressed userdata is an input of
a VM, so a colleague's machine with another zlib would show a change in every preview and reboot both load balancers
for nothing. This encoder is fixed: greedy matches from hash chains, blocks of fixed Huffman codes (RFC 1951, 3.2.6).
It gives up a fifth of zlib's compression for that. Any inflate reads what it writes.

A text is given in parts, each of which becomes a block of its own. A block depends on its part alone and is
remembered, so that what two nodes have in common is packed once.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator
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

Bits = tuple[int, int]
"""A value and its number of bits, as they are packed: least significant bit first."""


def _reversed(code: int, width: int) -> int:
    """Huffman codes are packed from their most significant bit."""
    return int(f"{code:0{width}b}"[::-1], 2)


def _symbol(symbol: int) -> Bits:
    """The fixed code of a literal, a length or the end of the block (RFC 1951, 3.2.6)."""
    for last, width, base in ((143, 8, 0x30), (255, 9, 0x190 - 144), (279, 7, -256), (287, 8, 0xC0 - 280)):
        if symbol <= last:
            return _reversed(symbol + base, width), width
    raise ValueError(symbol)


def _length_codes() -> list[Bits]:
    """Length → its code with the extra bits, for every length from 0 (unused) to the longest."""
    codes: list[Bits] = [(0, 0)] * (MAX_MATCH + 1)
    length = 3
    for index, extra in enumerate(_LENGTH_EXTRA):
        code, width = _symbol(_FIRST_LENGTH + index)
        for offset in range(1 << extra):
            codes[length + offset] = (code | offset << width, width + extra)
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


def _distance(distance: int) -> Bits:
    index = bisect_right(_DISTANCES, distance) - 1
    return _reversed(index, 5) | (distance - _DISTANCES[index]) << 5, 5 + _DISTANCE_EXTRA[index]


def _match_length(data: bytes, here: int, there: int, limit: int) -> int:
    """How many bytes from ``there`` equal those from ``here``, at most ``limit``."""
    length = MIN_MATCH
    while length < limit and data[here + length] == data[there + length]:
        length += 1
    return length


def _longest(data: bytes, here: int, candidates: list[int]) -> tuple[int, int]:
    """The longest match among the candidates, the nearest of equals: (length, distance), or (0, 0)."""
    best, distance = 0, 0
    limit = min(MAX_MATCH, len(data) - here)
    for there in reversed(candidates[-CHAIN:]):
        if here - there > WINDOW:
            break
        # A longer match must agree at the byte where the best one ends.
        if best and (best >= limit or data[here + best] != data[there + best]):
            continue
        length = _match_length(data, here, there, limit)
        if length > best:
            best, distance = length, here - there
    return best, distance


def _symbols(data: bytes) -> Iterator[Bits]:
    """A whole block but for its header: literals and matches, its end."""
    seen: dict[bytes, list[int]] = {}
    nothing: list[int] = []
    here = 0
    while here < len(data):
        key = data[here : here + MIN_MATCH]
        candidates = seen.get(key, nothing) if len(key) == MIN_MATCH else nothing
        length, distance = _longest(data, here, candidates) if candidates else (0, 0)
        if length:
            yield _LENGTHS[length]
            yield _distance(distance)
        else:
            yield _LITERALS[data[here]]
        for position in range(here, here + max(length, 1)):
            seen.setdefault(data[position : position + MIN_MATCH], []).append(position)
        here += max(length, 1)
    yield _symbol(_END_OF_BLOCK)


@lru_cache(maxsize=8)
def _block(data: bytes) -> Bits:
    """All bits of a block behind its header, as one number."""
    packed = bytearray()
    pending, width = 0, 0
    for value, bits in _symbols(data):
        pending |= value << width
        width += bits
        while width >= 8:  # noqa: PLR2004 - bits of a byte
            packed.append(pending & 0xFF)
            pending >>= 8
            width -= 8
    return int.from_bytes(packed, "little") | pending << 8 * len(packed), 8 * len(packed) + width


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
