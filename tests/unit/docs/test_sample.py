"""The report that the README shows as text and as a picture is one report, and the picture is of it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from bench import picture
from lbstack.review.markdown import markdown_of
from lbstack.review.text import text_of

README = Path(__file__).parents[3] / "README.md"
SHOWN = re.compile(r"<!-- output: report -->\n```text\n(.*?)```\n(.*?)\n\n`lbstack up", re.DOTALL)


def test_the_readme_shows_the_sample_as_text_and_its_picture_right_after_it() -> None:
    (shown,) = SHOWN.finditer(README.read_text())
    assert shown[1] == text_of(picture.sample())
    assert f"]({picture.PICTURE.relative_to(README.parent)})" in shown[2]


def test_the_picture_was_taken_of_the_sample_as_it_is_now() -> None:
    png = picture.PICTURE.read_bytes()
    page = picture.page(markdown_of(picture.sample()))
    assert picture.mark_of(png) == picture.digest(page), "take it again: python -m bench.picture"
    assert len(png) < picture.LIMIT_BYTES


def test_the_page_shows_the_markdown_of_the_report_and_asks_no_network() -> None:
    page = picture.page(markdown_of(picture.sample()))
    assert '<span class="added">+    timeout tunnel 3h</span>' in page
    assert "<h3>Disruption</h3>" in page
    assert not re.search(r"(?:src|href|url\()", page)


def test_a_mark_is_found_again_and_a_picture_without_one_has_none() -> None:
    chunk = struct.pack(">I", 0) + b"IEND" + b"\0" * 4
    bare = picture.SIGNATURE + struct.pack(">I", 13) + b"IHDR" + b"\0" * 17 + chunk
    assert picture.mark_of(bare) == ""
    assert picture.mark_of(picture.marked(bare, "abc")) == "abc"


def test_another_report_becomes_the_sample_in_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, place in (("README", README), ("SAMPLE", picture.SAMPLE)):
        copy = tmp_path / place.name
        copy.write_text(place.read_text())
        monkeypatch.setattr(picture, name, copy)
    fresh = tmp_path / "fresh.json"
    fresh.write_text(picture.SAMPLE.read_text().replace("timeout tunnel 3h", "timeout tunnel 5h"))
    picture.take_over(fresh)
    (shown,) = SHOWN.finditer((tmp_path / README.name).read_text())
    assert shown[1] == text_of(picture.sample())
    assert "timeout tunnel 5h" in shown[1]
