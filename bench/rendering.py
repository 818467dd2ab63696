"""The cost of the part that is plain Python: `lbstack render` as a process, and the size of the sets."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Kind, Progress, by_turns
from lab.home import stackfile as lab_stackfile
from lab.home.credentials import Credentials
from lab.system.cache import CHECKOUT
from lbstack.facts.releases import RELEASES
from lbstack.render.files import render_pair
from lbstack.render.fitting import GUESTINFO_LIMIT
from lbstack.render.pack import guestinfo
from lbstack.stackfile import load

BAR_S = 0.5
STACK_FILE = CHECKOUT / "Pulumi.lab.yaml"
PREFIX = f"{lab_stackfile.PROJECT}:"
COMMAND_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Size:
    """How large one node's set is.

    Args:
        release: The Photon release that it is rendered for.
        encoding: How guestinfo carries it.
        encoded: Bytes of the guestinfo value.
        limit: The most that a guestinfo value holds.
    """

    release: str
    encoding: str
    encoded: int
    limit: int = GUESTINFO_LIMIT


def measure(runs: int, progress: Progress) -> Figure:
    """Time `lbstack render` of the lab's stack file, next to a Python that does nothing.

    Args:
        runs: How often each is timed.
        progress: Receives what happens.
    """
    with tempfile.TemporaryDirectory(prefix="lbstack-bench-") as directory:
        render = ["-m", "lbstack", "render", str(STACK_FILE), "--out", directory]
        series = by_turns(
            {"lbstack render": lambda: _python(render), "python that ends at once": lambda: _python(["-c", ""])},
            runs,
            progress,
        )
    # The bar is in seconds; the bare interpreter says how much of it is not ours.
    measured, baseline = series.values()
    return Figure("lbstack render of the lab's stack file", measured, baseline, BAR_S, Kind.AMOUNT)


def _python(arguments: list[str]) -> None:
    subprocess.run(
        [sys.executable, *arguments], cwd=CHECKOUT, check=True, capture_output=True, timeout=COMMAND_TIMEOUT_S
    )


def sizes() -> list[Size]:
    """The size of the first node's set of the lab's stack file, for every release."""
    config = lab_stackfile.read(STACK_FILE)["config"]
    found = []
    with tempfile.TemporaryDirectory(prefix="lbstack-bench-") as directory:
        credentials = Credentials(Path(directory))
        credentials.ensure(lab_stackfile.stats_users(config))
        values = lab_stackfile.secret_values(config, credentials)
        secrets = {key.removeprefix(PREFIX): value for key, value in values.items() if key.startswith(PREFIX)}
        raw = {key.removeprefix(PREFIX): value for key, value in config.items() if key.startswith(PREFIX)}
        for release in RELEASES:
            stack, checked = load.load(raw | {"image": raw["image"] | {"release": release}}, secrets)
            carried = guestinfo(stack, render_pair(stack, checked), stack.nodes[0].name, checked)
            found.append(Size(release, carried["guestinfo.userdata.encoding"], len(carried["guestinfo.userdata"])))
    return found
