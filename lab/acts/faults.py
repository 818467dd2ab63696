"""Inject a fault into a node under traffic, and judge the result.

An act begins with a whole pair. It ends when the pair has settled, or when the time is up. ``stage.py`` records and
judges it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from lab.acts.scene import Scene
from lab.acts.stage import HEARD_S, WHOLE_S, Progress, Stage, Verdict, advert_s
from lab.errors import LabError
from lab.guests.machine import Machine
from lab.system.waiting import until

REST_S = 60.0  # three adverts, a restart, the checks of two servers; a busy machine needs more
GUEST_KILL = "kill"  # util-linux's: it is there without procps


@dataclass(frozen=True)
class Act:
    """Something that is injected into a node.

    Args:
        name: As it is called on the command line.
        description: What happens, as a sentence with ``{node}``.
        do: Does it.
        rest: What the pair looks like when it has settled, given the node: empty when it does, else what is
            missing.
        splits: Whether it leaves two masters until it is undone, as it does with every pair that speaks VRRP.
    """

    name: str
    description: str
    do: Callable[[Scene, str], None]
    rest: Callable[[Scene, str], str]
    splits: bool = False


# --- the faults ---------------------------------------------------------------------------------------------------


def _in(machine: Machine, *command: str) -> str:
    result = machine.run(*command)
    if result.returncode != 0:
        raise LabError(f"{machine.name}: `{' '.join(command)}` failed: {(result.stderr or result.stdout).strip()}")
    return result.stdout.strip()


def _unit_group(machine: Machine, unit: str) -> str:
    """Where the guest has a unit's control group."""
    group = _in(machine, "systemctl", "show", "--property=ControlGroup", "--value", unit)
    if not group:
        raise LabError(f"{machine.name}: {unit} does not run.")
    return f"/sys/fs/cgroup{group}"


def _unit_processes(machine: Machine, unit: str) -> list[str]:
    found = machine.run("cat", f"{_unit_group(machine, unit)}/cgroup.procs").stdout.split()
    if not found:
        raise LabError(f"{machine.name}: {unit} does not run.")
    return found


def _kill_at_once(machine: Machine, unit: str) -> None:
    """All processes of a unit in one moment.

    One after the other they would notice: HAProxy's worker ends with its master, before its own turn has come, and a
    keepalived that sees its parent die takes the VIPs off in good order.
    """
    _in(machine, "sh", "-c", f"echo 1 >{_unit_group(machine, unit)}/cgroup.kill")


def _kill_haproxy(scene: Scene, node: str) -> None:
    _kill_at_once(scene.guest(node), "haproxy.service")


def _hang_haproxy(scene: Scene, node: str) -> None:
    machine = scene.guest(node)
    _in(machine, GUEST_KILL, "-STOP", *_unit_processes(machine, "haproxy.service"))


def _kill_keepalived(scene: Scene, node: str) -> None:
    _kill_at_once(scene.guest(node), "keepalived.service")


def _power_failure(scene: Scene, node: str) -> None:
    scene.guest(node).power_off()


def _freeze(scene: Scene, node: str) -> None:
    scene.guest(node).freeze()


def _pull_cable(scene: Scene, node: str) -> None:
    scene.network.cut(node)


def _separate(scene: Scene, node: str) -> None:
    scene.network.partition(node, scene.peer(node))


# --- when the pair has settled ------------------------------------------------------------------------------


def _both_ready(scene: Scene, _node: str) -> str:
    return scene.whole()


def _peer_serves(scene: Scene, node: str) -> str:
    """The peer has every VIP, alone, and every service answers."""
    peer = scene.peer(node)
    if scene.master() != peer:
        return f"{peer} does not hold every VIP alone: {scene.holders_text()}"
    return "; ".join(scene.unserved())


def _peer_is_master(scene: Scene, node: str) -> str:
    """While a frozen kernel goes on answering for the VIPs, being master is all that the peer can do."""
    answer = scene.health(scene.peer(node))
    return "" if answer.vrrp == "master" else f"{scene.peer(node)}: {answer}"


def _both_are_masters(scene: Scene, _node: str) -> str:
    answers = scene.healths()
    return "" if all(answer.vrrp == "master" for answer in answers.values()) else str(answers)


ACTS: Mapping[str, Act] = MappingProxyType(
    {
        act.name: act
        for act in (
            Act("haproxy", "HAProxy of {node} is killed", _kill_haproxy, _both_ready),
            Act("hang", "HAProxy of {node} hangs (SIGSTOP)", _hang_haproxy, _peer_serves),
            Act("keepalived", "keepalived of {node} is killed without notice", _kill_keepalived, _both_ready),
            Act("node", "{node} loses its power", _power_failure, _peer_serves),
            Act("freeze", "{node} is frozen, its kernel is not", _freeze, _peer_is_master, splits=True),
            Act("link", "the cable of {node} is pulled", _pull_cable, _peer_serves),
            Act("partition", "nothing passes between {node} and its peer", _separate, _both_are_masters, splits=True),
        )
    }
)
"""Every act by its name."""


# --- doing it ------------------------------------------------------------------------------------------------------


def fail(scene: Scene, name: str, node: str, progress: Progress, *, seconds: float = 0.0) -> Verdict:
    """Let something happen to a node, under traffic.

    Args:
        scene: The lab; its pair is whole.
        name: A key of ``ACTS``.
        node: The node's name, or ``master`` or ``standby``.
        progress: Receives what happens.
        seconds: Undo the fault after this many seconds; 0 leaves it as it is.

    Raises:
        LabError: There is no such act or node, or the pair is not whole.
    """
    if name not in ACTS:
        raise LabError(f"Nothing called {name!r} can be injected into a node; there is: {', '.join(ACTS)}.")
    scene.require_whole()
    act, node = ACTS[name], scene.named(node)
    with Stage(scene, act.description.format(node=node), progress) as stage:
        stage.mark(act.description.format(node=node))
        happened = undone = agreed = time.monotonic()
        act.do(scene, node)
        rests = stage.rests(lambda: act.rest(scene, node), REST_S)
        stage.verdict.figures["rest_s"] = round(time.monotonic() - happened, 3)
        if rests:
            stage.mark(f"the pair has settled: {scene.holders_text()}")
        if seconds:
            until(lambda: time.monotonic() - happened >= seconds, seconds, "the time to undo the fault")
            for event in _heal_node(scene, node):
                undone = time.monotonic()
                stage.mark(event)
            rests = stage.rests(scene.whole, WHOLE_S) and rests
            # A pair may look whole before its masters have agreed; what is judged is what the wire carries then.
            agreed = undone + advert_s(scene)
            rests = stage.rests(lambda: _no_advert_since(scene, agreed + advert_s(scene)), HEARD_S) and rests
    stage.check_clients()
    stage.check_watch()
    if act.splits and not seconds:
        stage.check("the peer is master too; both are until `heal`, as with every VRRP pair", true=rests)
        return stage.verdict
    stage.check(f"the pair settled within {REST_S:.0f} s", true=rests)
    stage.check(f"the VIPs are on exactly one node: {scene.holders_text()}", true=bool(scene.master()))
    stage.check("every service answers", true=not scene.unserved())
    # Two masters that see each other again have one advert's time to agree.
    calm = stage.evidence.wire.since(agreed) if act.splits else stage.evidence.record
    overlaps = calm.two_masters()
    when = " since the network was whole again" if act.splits else ""
    stage.check(
        f"the capture shows no two masters{when}" + "".join(f"; {each}" for each in overlaps), true=not overlaps
    )
    return stage.verdict


def _no_advert_since(scene: Scene, at: float) -> str:
    """Empty as soon as the wire has carried an advert after a moment."""
    return "" if scene.wire().since(at).adverts else "no advert was seen since then"


def heal(scene: Scene, progress: Progress) -> Verdict:
    """Undo every injected fault and wait until the pair is whole."""
    verdict = Verdict("every fault is undone")
    began = time.monotonic()
    for node in scene.nodes:
        for event in _heal_node(scene, node):
            verdict.timeline.append((time.monotonic() - began, event))
            progress(event)
    try:
        scene.wait_until_whole(WHOLE_S)
        reason = ""
    except LabError as error:
        reason = str(error)
    verdict.timeline.append((time.monotonic() - began, reason or f"the pair is whole: {scene.holders_text()}"))
    verdict.checks.append(("one node has every VIP, every service answers, both nodes are ready", not reason))
    return verdict


def _heal_node(scene: Scene, node: str) -> Iterator[str]:
    """Undo the faults of one node; gives each step in words at the moment in which it is done."""
    power = scene.power()
    if node not in power:
        yield f"{node}: vCenter has no such VM; `pulumi up` makes it"
        return
    machine, network = scene.guest(node), scene.network
    if power[node] != "on" or not machine.running:
        with suppress(LabError):  # the agent may not have informed vCenter yet; then it is off soon
            until(lambda: scene.power()[node] != "on", REST_S, f"vCenter to know that {node} is off")
        scene.vcenter(node, "PowerOnVM_Task")
        yield f"{node}: powered on by vCenter"
        return
    if machine.frozen:
        machine.thaw()
        yield f"{node}: thawed"
    state = network.state(node)
    if state not in ("connected", "absent"):
        network.heal(node)
        yield f"{node}: its port was {state}, now it is connected"
    stopped = [pid for pid in _haproxy_or_none(machine) if _is_stopped(machine, pid)]
    if stopped:
        _in(machine, GUEST_KILL, "-CONT", *stopped)
        yield f"{node}: HAProxy goes on"


def _haproxy_or_none(machine: Machine) -> list[str]:
    try:
        return _unit_processes(machine, "haproxy.service")
    except LabError:
        return []


def _is_stopped(machine: Machine, pid: str) -> bool:
    status = machine.run("cat", f"/proc/{pid}/status").stdout
    return "State:\tT" in status
