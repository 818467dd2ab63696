"""Roll a change over the pair with `pulumi up`, under traffic, and judge what the clients observed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lab.acts import seen
from lab.acts.scene import Scene
from lab.acts.stage import RATE, SESSIONS, WHOLE_S, Progress, Stage, Verdict
from lab.engine.workspace import Workspace
from lab.errors import LabError
from lab.home.state import read_record
from lab.running import lifecycle
from lab.toolchain import tools
from lab.traffic.traffic import targets_of
from lab.vcenter import control
from lbstack.config.choices import Mode

TOUCHES = ("reconfigure", "create", "destroy")  # vCenter's tasks that take a node out of service
TUNNELS = ("2h", "3h")  # two values of one timeout, so that there is always one to change to


def workspace_of(scene: Scene) -> Workspace:
    """How Pulumi is run in this lab.

    Raises:
        LabError: There is no lab any more.
    """
    record = read_record(scene.paths)
    if record is None:
        raise LabError(f"There is no lab at {scene.paths.root}. `make lab` makes one.")
    return lifecycle.workspace_of(scene.paths, tools.ensure_tools(lambda _line: None), record)


def usual_change(config: Mapping[str, Any]) -> tuple[str, str]:
    """A change of one timeout of one service: configuration path and value."""
    services = config["lbstack:services"]
    name = next(iter(services))
    now = (services[name].get("timeouts") or {}).get("tunnel")
    return f"lbstack:services.{name}.timeouts.tunnel", next(value for value in TUNNELS if value != now)


def configure(workspace: Workspace, changes: Sequence[tuple[str, str]]) -> None:
    """Write changes into the lab's stack file.

    Args:
        workspace: How Pulumi is run.
        changes: Path (``lbstack:services.horizon.port``) and value.

    Raises:
        LabError: Pulumi refused one; with its message.
    """
    for path, value in changes:
        workspace.quietly(["config", "set", "--path", path, value])


def roll(
    scene: Scene,
    progress: Progress,
    show: Progress,
    *,
    changes: Sequence[tuple[str, str]] = (),
    edit: Callable[[], None] | None = None,
    rate: float = RATE,
    sessions: int = SESSIONS,
    touches: bool = True,
) -> Verdict:
    """Change the configuration and run `pulumi up` while clients ask.

    Args:
        scene: The lab; its pair is whole.
        progress: Receives what happens.
        show: Receives Pulumi's lines.
        changes: Configuration paths and values; without any, and without ``edit``, one timeout changes.
        edit: Changes the stack file in another way.
        rate: Requests in a second.
        sessions: Established sessions that are held meanwhile, through every service that is there before.
        touches: Whether the change takes nodes out of service; False for one that leaves all of them alone.

    Raises:
        LabError: The pair is not whole, or Pulumi refuses a value.
    """
    scene.require_whole()
    workspace = workspace_of(scene)
    if edit is None and not changes:
        changes = [usual_change(scene.config)]
    standby = scene.named("standby")
    last = max((task["sequence"] for task in control.control(scene.paths, "GET", "/tasks") or []), default=0)
    what = ", ".join(f"{path} = {value}" for path, value in changes) or "the stack file is edited"
    before, through = set(scene.network.topology.services), targets_of(scene.network.topology)
    moment = seen.look(scene)
    configure(workspace, changes)
    if edit is not None:
        edit()
    # A service that comes is not there yet, and a service that is removed is not promised any more.
    stay = {service.name for service in before & set(scene.network.topology.services)}
    with Stage(
        scene,
        f"pulumi up: {what}",
        progress,
        rate=rate,
        services=stay,
        sessions=sessions,
        session_targets=through,
    ) as stage:
        stage.mark(f"pulumi up begins ({what}); standby is {standby}")
        stage.mark(moment.text)
        began = time.monotonic()
        code = workspace.run(["up", "--yes", "--skip-preview", "--suppress-outputs"], show)
        stage.verdict.figures["up_s"] = round(time.monotonic() - began, 3)
        stage.mark(f"pulumi up ended with exit code {code}")
        rests = stage.rests(scene.whole, WHOLE_S)
        after = seen.look(scene)
        stage.mark(after.text)
    touched = _touched(scene, last)
    stage.verdict.timeline += [(at - stage.began, f"vCenter: {what} {node}") for at, what, node in touched]
    order = list(dict.fromkeys(node for _, _, node in touched))
    report = stage.evidence.report
    broken, overlaps = report.refused_or_timed_out(), stage.evidence.record.two_masters()
    stage.check("`pulumi up` ended well", true=code == 0)
    stage.check("the pair is whole afterwards", true=rests)
    stage.check_clients()
    stage.check_watch()
    came = " then ".join(order) or "no node was touched"
    if touches:
        stage.check(f"the standby came first: {came}", true=order[:1] == [standby])
    else:
        stage.check(f"no node was to be touched: {came}", true=not order)
    stage.check(f"no connection attempt of {len(report.attempts)} was refused or timed out", true=not broken)
    stage.check("the capture shows no two masters" + "".join(f"; {each}" for each in overlaps), true=not overlaps)
    promised = [session for session in report.established() if session.service in stay]
    if sessions:
        stage.check(
            f"{sessions} sessions stood before: {len(report.established())}", true=len(report.established()) == sessions
        )
    cut = sum(not session.alive for session in promised)
    for sentence, true in seen.checks(moment, after, mode_of(scene), cut, len(promised)):
        stage.check(sentence, true=true)
    return stage.verdict


def mode_of(scene: Scene) -> Mode:
    """How the stack file has nodes changed."""
    return Mode((scene.config.get("lbstack:rollout") or {}).get("mode", Mode.LIVE))


def _touched(scene: Scene, after: int) -> list[tuple[float, str, str]]:
    """When vCenter did what to which node, on the clock of everything else."""
    now, clock = time.time(), time.monotonic()
    found = []
    for task in control.control(scene.paths, "GET", "/tasks") or []:
        if task["sequence"] > after and task["operation"] in TOUCHES and task["vm"] in scene.nodes:
            at = datetime.fromisoformat(task["time"]).timestamp()
            found.append((clock - (now - at), task["operation"], task["vm"]))
    return found
