"""Userdata is encoded plain where it fits, else compressed, else refused with an error that names the large files."""

from __future__ import annotations

import base64
import hashlib
import zlib
from functools import cache

import pytest

from lbstack.problems import ConfigError
from lbstack.render.deflate import gzip
from lbstack.render.files import File
from lbstack.render.fitting import GUESTINFO_LIMIT, LARGEST_NAMED, encode

NODE = "PhotonLB-01"
FITS = GUESTINFO_LIMIT * 3 // 4  # base64 writes four characters for three bytes
# Magic number, deflate, no flags, no time, no level, unknown system: nothing that depends on machine or time.
HEADER = bytes.fromhex("1f8b 08 00 00000000 00 ff")


def noise(length: int) -> str:
    """Text that can hardly be compressed, the same in every run."""
    digests = (hashlib.sha512(b"%d" % number).digest() for number in range(length // 64 + 1))
    return base64.b64encode(b"".join(digests)).decode()[:length]


@cache
def text_compressed_to(size: int) -> str:
    """A text of more than FITS bytes that has ``size`` bytes when compressed."""
    length = size - 100
    while True:
        text = noise(length) + " " * 2000
        missing = size - len(gzip(text.encode()))
        if not missing:
            return text
        length += missing


def test_userdata_that_fits_is_not_compressed_up_to_the_last_byte() -> None:
    for text in ("#cloud-config\n{}\n", noise(FITS)):
        value, encoding = encode(NODE, (text.encode(),), {})
        assert encoding == "base64"
        assert base64.b64decode(value, validate=True).decode() == text
    assert len(value) == GUESTINFO_LIMIT == 65_536


def test_userdata_with_one_byte_more_is_compressed() -> None:
    text = "x" * (FITS + 1)
    value, encoding = encode(NODE, (text.encode(),), {})
    assert encoding == "gzip+base64"
    assert zlib.decompress(base64.b64decode(value, validate=True), 16 + zlib.MAX_WBITS).decode() == text


def test_compressed_userdata_does_not_depend_on_machine_and_time() -> None:
    text = "x" * (FITS + 1)
    packed = base64.b64decode(encode(NODE, (text.encode(),), {})[0])
    assert packed[:10] == HEADER
    assert packed == gzip(text.encode())


def test_userdata_that_fits_only_compressed_is_accepted_up_to_the_last_byte() -> None:
    value, encoding = encode(NODE, (text_compressed_to(FITS).encode(),), {})
    assert encoding == "gzip+base64"
    assert len(value) == GUESTINFO_LIMIT


def test_one_compressed_byte_more_is_an_error_that_names_the_largest_files() -> None:
    sizes = {"/etc/a": 100, "/etc/b": 900, "/etc/c": 300, "/etc/d": 700, "/etc/e": 500, "/etc/f": 40, "/etc/g": 20}
    files = {path: File(noise(size)) for path, size in sizes.items()}
    with pytest.raises(ConfigError) as refusal:
        encode(NODE, (text_compressed_to(FITS + 1).encode(),), files)
    (problem,) = refusal.value.problems
    assert problem.path == "services"
    assert NODE in problem.what
    assert f"{GUESTINFO_LIMIT + 4} bytes" in problem.what
    assert f"limit of {GUESTINFO_LIMIT}" in problem.what
    named = problem.what.rpartition("compressed: ")[2]
    largest = sorted(sizes, key=lambda path: -sizes[path])[:LARGEST_NAMED]
    assert named.split(", ") == [f"{path} {len(gzip(files[path].content.encode()))} bytes" for path in largest]
    assert "second stack" in problem.remedy
