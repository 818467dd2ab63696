"""A lab as `make lab` makes it: deployed by the real engine, booted from the guestinfo, serving clients."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.acts import faults
from lab.acts.scene import Scene
from lab.home import stackfile
from lab.network.record import Record
from lab.running import status, surroundings
from lab.system.cache import CHECKOUT
from lab.system.waiting import COSTLY_S, until_nothing_is_missing
from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.render.files import RenderedPair, render_pair
from lbstack.stackfile import load as product
from tests.deploy import harness
from tests.deploy.engine import Result
from tests.deploy.harness import Config, Harness
from tests.tiers import refuse, require

SERVING_S = 180.0  # a machine that does other things next to it; the figure itself is the bench's
HEALTHY_S = 90.0
PREFIX = f"{stackfile.PROJECT}:"


@dataclass(frozen=True)
class Rehearsal:
    """One lab with guests, as the tests of this tier share it.

    Args:
        lab: What is deployed, and how.
        scene: The guests and their network.
        deployed: How the first `pulumi up` went.
        first: What the capture shows from before the first guest until the pair served.
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
        return self.loaded()[0]

    @property
    def secrets(self) -> Secrets:
        """The stack's secrets."""
        return self.loaded()[1]

    @property
    def rendered(self) -> RenderedPair:
        """The files that the program renders from it."""
        return render_pair(*self.loaded())

    def loaded(self) -> tuple[StackConfig, Secrets]:
        """Configuration and secrets."""
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

    def wait_until_healthy(self) -> None:
        """Wait until the nodes see every server as up, too; after one was away that takes two checks of 30 s each."""
        until_nothing_is_missing(
            lambda: "; ".join(status.look(self.lab.paths).problems), HEALTHY_S, "the status to find nothing", COSTLY_S
        )

    def masters_since(self, at: float) -> list[str]:
        """Every time since then that two nodes were master at once, in words."""
        return [str(overlap) for overlap in self.scene.wire().since(at).two_masters()]


def changed_program(place: Path, file: str, what: str, by: str) -> Path:
    """A copy of the Pulumi program in which one text is another one; where it is."""
    place.mkdir()
    for part in ("lbstack", "cloudinit"):
        shutil.copytree(CHECKOUT / part, place / part)
    for part in ("__main__.py", "Pulumi.yaml"):
        shutil.copy(CHECKOUT / part, place / part)
    text = (place / file).read_text()
    assert text.count(what) == 1, f"{file} has changed; this has to follow"
    (place / file).write_text(text.replace(what, by))
    return place


@contextmanager
def deployed(
    change: Callable[[Config], None] | None = None,
    program: Callable[[Path], Path] = lambda _: CHECKOUT,
    serving_s: float = SERVING_S,
) -> Iterator[Rehearsal]:
    """A lab of its own, from nothing to serving; gone at the end.

    Args:
        change: Changes its stack file before the deployment.
        program: Makes the program that is deployed in a directory that does not exist yet.
        serving_s: How long the pair may take to be whole after the deployment.
    """
    harness.require_tools()
    require("root", "ssh")
    config = stackfile.read(stackfile.SOURCE)["config"]
    if change:
        change(config)
    if missing := surroundings.shortcomings(Path(tempfile.gettempdir()), config, print):
        refuse("; ".join(missing))
    with tempfile.TemporaryDirectory(prefix="lbs-") as directory:
        lab = Harness(Path(directory) / "lab", program(Path(directory) / "program"), guests=True)
        try:
            lab.prepare()
            if change:
                lab.edit(change)
            began = time.monotonic()
            result = lab.up()
            scene = Scene(lab.paths)
            if result.code == 0:
                scene.wait_until_whole(serving_s)
            yield Rehearsal(lab, scene, result, scene.wire(), time.monotonic() - began)
        finally:
            lab.remove()


@pytest.fixture(scope="package")
def rehearsed() -> Iterator[Rehearsal]:
    """The lab of this tier, for as long as a worker is at it: while the others run, its guests would cost them time."""
    with deployed() as lab:
        yield lab


@pytest.fixture
def pair(rehearsed: Rehearsal) -> Rehearsal:
    """The pair, whole: a test may do to it what it likes, and to its stack file too."""
    return whole(rehearsed)


def whole(rehearsed: Rehearsal) -> Rehearsal:
    """The same lab, once its pair is whole."""
    rehearsed.deployed.ok()
    if rehearsed.scene.whole():
        verdict = faults.heal(rehearsed.scene, print)
        assert verdict.passed, "\n".join(verdict.lines())
    return rehearsed
