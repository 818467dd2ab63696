"""The check that a node refuses a set, for the tests of refusals."""

from __future__ import annotations

import re

from tests.unit.guest.host import Host
from tests.unit.guest.sets import Parts


def require_refused(node: Host, served: Parts, sentence: str) -> None:
    """Assert that the node refuses the set in guestinfo, reports that everywhere, and serves the previous set."""
    live = {path: (path.lstat().st_ino, path.lstat().st_mode) for path in (node.root / "etc").rglob("*")}
    assert node.run("prepare") == 1, node.output
    assert sentence in node.error()
    assert sentence[:60] in node.output
    assert node.status()["phase"] == "refused"
    last = node.read("/run/lbstack/state.map").splitlines()[-1]
    assert re.match(r"apply refused( [0-9a-f]{12})?: ", last), last  # without a hash where none could be read
    assert node.has(served)
    assert {path: (path.lstat().st_ino, path.lstat().st_mode) for path in (node.root / "etc").rglob("*")} == live
    assert node.journal()["trial"] == ""
    assert node.leftovers() == []
