"""The own DEFLATE encoder: any inflate reads it, and a part's bits depend on the part alone."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from lbstack.deflate import deflate, gzip

RAW, GZIP = -15, 31  # zlib's ways to say: no header, and gzip's
# Repeats itself near and far, as configuration does, so that matches of all lengths come up.
TEXTS = st.lists(st.sampled_from([b"server a 10.0.0.1:443 check\n", b"a", b"\x00\xff", b"xyz" * 100]), max_size=30).map(
    b"".join
)


@given(st.lists(TEXTS | st.binary(max_size=400), min_size=1, max_size=4))
def test_any_inflate_reads_the_parts_one_after_the_other(parts: list[bytes]) -> None:
    assert zlib.decompress(deflate(*parts), RAW) == b"".join(parts)
    unpacker = zlib.decompressobj(GZIP)
    assert unpacker.decompress(gzip(*parts)) == b"".join(parts)
    assert unpacker.eof
    assert unpacker.unused_data == b""  # a single member: cloud-init 19.4 reads no second one


def test_what_texts_have_in_common_is_packed_once() -> None:
    from lbstack import deflate as module  # noqa: PLC0415 - its cache is looked at

    module._block.cache_clear()
    common = b"the same on both nodes\n" * 50
    for own in (b"node 1", b"node 2"):
        gzip(common, own)
    assert module._block.cache_info().hits == 1


def test_repetition_is_packed() -> None:
    text = b"server a 10.0.0.1:443 check\n" * 200
    assert len(deflate(text)) < len(text) / 20
