"""Compress with DEFLATE; the output depends on the input only.

Why not ``zlib``: its output differs between zlib, zlib-ng and their versions. The compressed userdata is an input of a
VM: on a colleague's machine with another zlib, every preview would show a change, and ``up`` would reboot both nodes
needlessly. Another library has versions too, and would have to stay at one of them as long as there are stacks, whose
states hold these bytes. Another format is not possible: cloud-init reads only gzip. This encoder is fixed: greedy
matches from hash chains, each block with the Huffman codes that suit it (RFC 1951, 3.2.7) or the fixed ones (3.2.6),
whichever is shorter. Its output is hardly larger than zlib's. Every inflate implementation can read it.

The input consists of parts, each of which becomes a block of its own. A block depends on its part only and is cached,
so that a part which both nodes share is compressed once.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

MIN_MATCH = 4  # DEFLATE allows 3, but three literals are not longer than a distant match
MAX_MATCH = 258
WINDOW = 32_768
CHAIN = 32  # candidates that are compared for one match; more take time and save little

_GZIP_HEADER = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255])
"""RFC 1952: no name, no time, no compression level, unknown operating system."""

_FIXED, _OWN = "01", "10"  # a block's type: with fixed codes, or with codes of its own (3.2.3)
_CODE_LIMIT, _LENGTH_LIMIT = 15, 7  # bits of the longest word: of a code, and of the code of its lengths
_REPEATS, _ZEROS = ((16, 3, 2),), ((18, 11, 7), (17, 3, 3))  # of code lengths: symbol, least, extra bits (3.2.7)
_LEAST_ORDER = 4
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
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


Code = tuple[int, str]  # a symbol, and its extra bits


def _length_codes() -> list[Code]:
    """Return the symbol with extra bits of every length from 0 (unused) to the longest."""
    codes = [(0, "")] * (MAX_MATCH + 1)
    length = 3
    for index, extra in enumerate(_LENGTH_EXTRA):
        for offset in range(1 << extra):
            codes[length + offset] = (_FIRST_LENGTH + index, _packed(offset, extra))
        length += 1 << extra
    codes[MAX_MATCH] = (_FIRST_LENGTH + len(_LENGTH_EXTRA), "")  # the longest length has its own code
    return codes


def _distance_starts() -> list[int]:
    starts, distance = [], 1
    for extra in _DISTANCE_EXTRA:
        starts.append(distance)
        distance += 1 << extra
    return starts


_LENGTHS = _length_codes()
_DISTANCES = _distance_starts()


@lru_cache(maxsize=WINDOW)
def _distance(distance: int) -> Code:
    index = bisect_right(_DISTANCES, distance) - 1
    return index, _packed(distance - _DISTANCES[index], _DISTANCE_EXTRA[index])


@dataclass(frozen=True)
class _Codes:
    """Both codes of a block: symbol → bits, for literals with lengths and for distances."""

    literals: Mapping[int, str]
    distances: Mapping[int, str]

    def bits(self, tokens: Sequence[tuple[Code, Code | None]]) -> list[str]:
        """Return the bits of a block's content, from first to last."""
        result = []
        for (symbol, extra), distance in tokens:
            result.append(extra + self.literals[symbol])
            if distance:
                result.append(distance[1] + self.distances[distance[0]])
        return result


_FIXED_CODES = _Codes(
    {symbol: _symbol(symbol) for symbol in range(288)}, {index: _packed(index, 5)[::-1] for index in range(30)}
)


def _widths(counts: Mapping[int, int], limit: int) -> dict[int, int]:
    """Return the number of bits of every symbol in a Huffman code of which no word is longer than the limit.

    Where one would be, the counts are halved until none is: that costs next to nothing, and the result is the same
    everywhere, as equal counts are taken in the order of their symbols.
    """
    while True:
        heap: list[tuple[int, int, tuple[int, ...]]] = [(count, symbol, (symbol,)) for symbol, count in counts.items()]
        heapq.heapify(heap)
        widths = dict.fromkeys(counts, 1 if len(heap) == 1 else 0)
        while len(heap) > 1:
            first, second = heapq.heappop(heap), heapq.heappop(heap)
            symbols = first[2] + second[2]
            for symbol in symbols:
                widths[symbol] += 1
            heapq.heappush(heap, (first[0] + second[0], min(first[1], second[1]), symbols))
        if max(widths.values(), default=0) <= limit:
            return widths
        counts = {symbol: (count + 1) // 2 for symbol, count in counts.items()}


def _words(widths: Mapping[int, int]) -> dict[int, str]:
    """Return the code's words (3.2.2), the first bit rightmost."""
    words, code, before = {}, 0, 0
    for width, symbol in sorted((width, symbol) for symbol, width in widths.items()):
        code <<= width - before
        words[symbol] = _packed(code, width)[::-1]
        code, before = code + 1, width
    return words


def _runs(widths: Sequence[int]) -> Iterator[Code]:
    """Yield a list of code lengths in the alphabet of 3.2.7, where runs have symbols of their own."""
    place = 0
    while place < len(widths):
        width, length = widths[place], 1
        while place + length < len(widths) and widths[place + length] == width:
            length += 1
        place += length
        if width:
            yield width, ""
            length -= 1
        for symbol, least, extra in _REPEATS if width else _ZEROS:
            while length >= least:
                now = min(length, least + (1 << extra) - 1)
                yield symbol, _packed(now - least, extra)
                length -= now
        yield from ((width, ""),) * length


def _with_own_codes(tokens: Sequence[tuple[Code, Code | None]]) -> list[str]:
    """Return the bits of a block with the codes that suit it, from first to last."""
    literals = _widths(Counter(token[0] for token, _ in tokens), _CODE_LIMIT)
    distances = _widths(Counter(distance[0] for _, distance in tokens if distance), _CODE_LIMIT)
    counts = max(literals) + 1, max(distances, default=0) + 1
    lists = [
        codes.get(symbol, 0)
        for codes, count in zip((literals, distances), counts, strict=True)
        for symbol in range(count)
    ]
    runs = list(_runs(lists))
    lengths = _widths(Counter(symbol for symbol, _ in runs), _LENGTH_LIMIT)
    order = [lengths.get(symbol, 0) for symbol in _ORDER]
    while len(order) > _LEAST_ORDER and not order[-1]:
        order.pop()
    words = _words(lengths)
    header = [
        _OWN,
        _packed(counts[0] - _FIRST_LENGTH, 5),
        _packed(counts[1] - 1, 5),
        _packed(len(order) - _LEAST_ORDER, 4),
    ]
    header += [_packed(width, 3) for width in order]
    header += [extra + words[symbol] for symbol, extra in runs]
    return header + _Codes(_words(literals), _words(distances)).bits(tokens)


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
        The bits of its block after the first one, as one number, and their count.
    """
    chains = _earlier(data)
    tokens: list[tuple[Code, Code | None]] = []
    here = 0
    while here < len(data):
        length, distance = _longest(data, here, chains[here], chains) if chains[here] >= 0 else (0, 0)
        if length:
            tokens.append((_LENGTHS[length], _distance(distance)))
            here += length
        else:
            tokens.append(((data[here], ""), None))
            here += 1
    tokens.append(((_END_OF_BLOCK, ""), None))
    texts = ("".join(reversed(bits)) for bits in ([_FIXED, *_FIXED_CODES.bits(tokens)], _with_own_codes(tokens)))
    text = min(texts, key=len)
    return int(text, 2), len(text)


def deflate(*parts: bytes) -> bytes:
    """Compress the parts, one after the other, into one raw DEFLATE stream; no match refers to another part."""
    stream, width = 0, 0
    for number, part in enumerate(parts, 1):
        bits, length = block(part)
        stream |= (bits << 1 | (number == len(parts))) << width  # the first bit: whether it is the last block (3.2.3)
        width += 1 + length
    return stream.to_bytes(-(-width // 8), "little")


def gzip(*parts: bytes) -> bytes:
    """Compress the parts, one after the other, into a gzip file with a fixed header and a single member."""
    data = b"".join(parts)
    return _GZIP_HEADER + deflate(*parts) + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
