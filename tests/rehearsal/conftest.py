"""A lab as `make lab` makes it: deployed by the real engine, booted from the guestinfo, serving clients."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import acts, rehearsal, stackfile
from lab.scene import Scene
from lab.wire import Record
from lbstack import stackfile as product
from lbstack.config import StackConfig
from lbstack.render import RenderedPair, render_pair
from tests.deploy import harness
from tests.deploy.engine import Result
from tests.deploy.harness import Harness
from tests.tiers import refuse, require

SERVING_S = 180.0  # a machine that does other things beside it; the figure itself is the bench's
PREFIX = f"{stackfile.PROJECT}:"


@dataclass(frozen=True)
class Rehearsal:
    """One lab with guests, as the tests of this tier share it.

    Args:
        lab: What is deployed, and how.
        scene: The guests and their network.
        deployed: How the first `pulumi up` went.
        first: What the wire saw from before the first guest until the pair served.
        serving_s: Seconds from the first power-on until the pair was whole.
    """

    lab: Harness
    scene: Scene
    deployed: Result
    first: Record
    serving_s: float

    @property
    def config(self) -> StackConfig:
        """The validated configuration of the stack as its file is now."""
        return self._loaded()[0]

    @property
    def rendered(self) -> RenderedPair:
        """The files that the program renders from it."""
        return render_pair(*self._loaded())

    def _loaded(self) -> tuple[StackConfig, product.Secrets]:
        values = self.lab.config
        secrets = stackfile.secret_values(values, self.lab.workspace.credentials)
        mine = {key.removeprefix(PREFIX): value for key, value in values.items() if key.startswith(PREFIX)}
        own = {key.removeprefix(PREFIX): value for key, value in secrets.items() if key.startswith(PREFIX)}
        return product.load({key: value for key, value in mine.items() if key not in own}, own)

    @property
    def master(self) -> str:
        """The node that has the VIPs."""
        return self.scene.named("master")

    @property
    def standby(self) -> str:
        """The other one."""
        return self.scene.named("standby")

    def masters_since(self, at: float) -> list[str]:
        """Every time since then that two nodes were master at once, in words."""
        return [str(overlap) for overlap in self.scene.wire().since(at).two_masters()]


@pytest.fixture(scope="session")
def rehearsed() -> Iterator[Rehearsal]:
    """The lab of this session, from nothing to serving."""
    harness.require_tools()
    require("root", "ssh")
    if missing := rehearsal.shortcomings(Path(tempfile.gettempdir()), stackfile.read(stackfile.SOURCE)["config"]):
        refuse("; ".join(missing))
    with tempfile.TemporaryDirectory(prefix="lbs-") as directory:
        lab = Harness(Path(directory) / "lab", guests=True)
        try:
            lab.prepare()
            began = time.monotonic()
            deployed = lab.up()
            scene = Scene(lab.paths)
            if deployed.code == 0:
                scene.wait_until_whole(SERVING_S)
            yield Rehearsal(lab, scene, deployed, scene.wire(), time.monotonic() - began)
        finally:
            lab.remove()


@pytest.fixture
def pair(rehearsed: Rehearsal) -> Rehearsal:
    """The pair, whole: a test may do to it what it likes, and to its stack file too."""
    return whole(rehearsed)


def whole(rehearsed: Rehearsal) -> Rehearsal:
    """The same lab, once its pair is whole."""
    rehearsed.deployed.ok()
    if rehearsed.scene.whole():
        verdict = acts.heal(rehearsed.scene, print)
        assert verdict.passed, "\n".join(verdict.lines())
    return rehearsed
