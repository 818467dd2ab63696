"""The report in the README is what the engine and the browser make of it today."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

from bench import picture
from lbstack.review.markdown import markdown_of
from tests import tiers
from tests.deploy.harness import Config, Harness
from tests.deploy.review import STANDBY, report


def longer_tunnels(config: Config) -> None:
    config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}


def test_the_lab_gives_the_report_that_the_readme_shows(pair: Harness, tmp_path: Path) -> None:
    pair.reconfigure(STANDBY, annotation="moved by hand")
    with pair.edited(longer_tunnels):
        found = report(pair)
    fresh = tmp_path / "report.json"
    fresh.write_text(json.dumps(found))
    shown, now = (
        json.dumps(data, indent=1, sort_keys=True).splitlines()
        for data in (picture.sample().as_data(), found | {"seconds": 0.0})
    )
    other = "\n".join(unified_diff(shown, now, "in the README", "now", n=1, lineterm=""))
    assert not other, f"the lab prints something else; take it over: python -m bench.picture --report {fresh}\n{other}"


def test_the_browser_takes_a_picture_that_holds_the_digest_of_its_page() -> None:
    tiers.require("chromium")
    chromium = tiers.find("chromium")
    assert chromium
    page = picture.page(markdown_of(replace(picture.sample(), stack="another")))
    png = picture.take(page, chromium)
    assert struct.unpack(">I", png[16:20]) == (picture.WIDTH,)
    assert picture.mark_of(png) == picture.digest(page) != picture.mark_of(picture.PICTURE.read_bytes())
    assert len(png) < picture.LIMIT_BYTES
