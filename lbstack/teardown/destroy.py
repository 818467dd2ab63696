"""``lbstack destroy``: destroy a lab stack, and refuse every other one.

Before the engine is asked to destroy anything, five conditions are checked, and each one that fails is named: the stack
file and the state both have ``lifecycle: lab`` (a state can be read with another stack's file); nothing in the state is
protected; no creation was killed, of which the state does not know what it left; the state's own provider uses the
pinned vCenter; and every VM carries this stack's marker *in vCenter*, read by the engine. A condition that cannot be
checked is a refusal too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lbstack.config.choices import Lifecycle
from lbstack.config.models import StackConfig
from lbstack.engine import run as engine
from lbstack.engine.backend import require_unlocked
from lbstack.engine.errors import NO_STACK, EngineFailed, of_the_state
from lbstack.engine.events import Progress
from lbstack.engine.record import State, project_of, read_state, stack_of
from lbstack.engine.stack import Stack
from lbstack.facts.names import PROVIDER, marker
from lbstack.problems import LbstackError
from lbstack.review.resources import annotations_of
from lbstack.stackfile.load import load_file
from lbstack.vcenter.pin import OtherVcenter, VcenterError, require_vcenter


class Refused(LbstackError):
    """Why a stack is not destroyed: every reason, each with what to do about it."""

    def __init__(self, stack: str, reasons: Sequence[str]) -> None:
        lines = [f"Stack {stack} is not destroyed; nothing was touched:", *(f"  - {reason}" for reason in reasons)]
        super().__init__("\n".join(lines))
        self.reasons = reasons


def require_destroyable(stack: Stack, config: StackConfig, state: State, progress: Progress) -> None:
    """Refuse every stack that is not a lab of its own on the right vCenter.

    Raises:
        Refused: With every reason.
        EngineFailed: The engine cannot answer, or the state is locked.
    """
    reasons = []
    if config.lifecycle is not Lifecycle.LAB:
        reasons.append(
            f"its stack file has `lifecycle: {config.lifecycle.value}`. Only a lab is destroyed by this command; "
            "docs/runbooks/teardown.md describes how a production stack is taken down on purpose"
        )
    reasons += _lifecycle_reasons(state)
    protected = sorted(str(item["urn"]).rpartition("::")[2] for item in state.resources if item.get("protect"))
    if protected:
        reasons.append(
            f"{', '.join(protected)} is protected in the state. A lab has `lbstack:protect: false` or none at all; "
            "deploy that first"
        )
    if state.unknown:
        require_unlocked(stack)  # else it was not killed, but is at work
    reasons += _unknown_reasons(stack, state)
    if reasons or not state.deployed:
        _raise_if(stack, reasons)  # no question is put to a vCenter for a stack that is refused anyway
        return
    reasons += _vcenter_reasons(config, state)
    _raise_if(stack, reasons)
    require_unlocked(stack)
    reasons += _marker_reasons(stack, state, progress)
    _raise_if(stack, reasons)


def _lifecycle_reasons(state: State) -> list[str]:
    """Why the state is not that of a lab, whatever the stack file has."""
    if not state.deployed:
        return []
    others = sorted(state.lifecycles - {Lifecycle.LAB.value})
    if others:
        output = f"its state has `lifecycle: {', '.join(others)}`, so it was deployed with another stack file than this"
        return [f"{output}. Deploy this one first, if it is the right one"]
    if not state.lifecycles:
        return [
            "its state does not show whether it is a lab's, so an older version deployed it. Deploy it once more first"
        ]
    return []


def _unknown_reasons(stack: Stack, state: State) -> list[str]:
    """What would be left in vCenter without a record: what a killed run was creating."""
    return [
        f"a run was killed while it was creating {step.logical_name}{f' ({step.name})' if step.name else ''}. If that "
        "is in vCenter, the state knows nothing of it, and nothing would find it again: delete it there (a VM with "
        f"`govc vm.destroy {step.name or 'NAME'}`). Then strike it off the record: "
        f"`pulumi refresh --yes --clear-pending-creates --stack {stack.name}`"
        for step in state.unknown
    ]


def _raise_if(stack: Stack, reasons: Sequence[str]) -> None:
    if reasons:
        raise Refused(stack.name, reasons)


def _vcenter_reasons(config: StackConfig, state: State) -> list[str]:
    providers = [item for item in state.resources if item["type"] == PROVIDER]
    reasons = []
    for provider in providers:
        inputs = provider.get("inputs") or {}
        verify = str(inputs.get("allowUnverifiedSsl", "false")).lower() != "true"
        try:
            require_vcenter(str(inputs.get("vsphereServer", "")), config.placement.vcenter_uuid, verify=verify)
        except OtherVcenter as error:
            reasons.append(str(error))
        except VcenterError as error:
            reasons.append(f"{error} {of_the_state()}")
    return reasons or (
        [] if providers else ["its state has no vSphere provider, so nobody knows which vCenter it means"]
    )


def _marker_reasons(stack: Stack, state: State, progress: Progress) -> list[str]:
    """Every VM that is there and does not carry the marker of the stack that would destroy it."""
    run = engine.run(stack, "refresh", "--preview-only", progress=progress).require_success()
    found = annotations_of(run)
    reasons = []
    for machine in state.machines:
        urn = str(machine["urn"])
        name = str((machine.get("outputs") or {}).get("name") or urn.rpartition("::")[2])
        wanted = marker(project_of(urn), stack_of(urn))
        if urn not in found:
            reasons.append(f"the engine did not report what VM {name} is marked with, so it may be anybody's")
        elif found[urn] is not None and found[urn] != wanted:
            reasons.append(
                f"VM {name} does not carry this stack's marker in vCenter (its annotation is not {wanted!r}). If it is "
                "this stack's, `pulumi up --refresh` puts the marker back; if not, `pulumi state delete` it"
            )
    return reasons


@dataclass(frozen=True)
class Destroyed:
    """What was destroyed.

    Args:
        resources: How many resources, VMs among them.
        machines: The VMs' names.
    """

    resources: int
    machines: Sequence[str]


def inspect(stack: Stack, progress: Progress) -> State | None:
    """Read a stack's state and refuse it unless it may be destroyed.

    Returns:
        Its state; None where the backend answers and has no such stack, so nothing is left to destroy.

    Raises:
        ConfigError: Its stack file is wrong.
        Refused: It may not be destroyed.
        EngineFailed: The engine cannot answer.
    """
    config = load_file(stack.file)
    try:
        state = read_state(stack)
    except EngineFailed as error:
        if error.kind != NO_STACK:
            raise
        return None
    require_destroyable(stack, config, state, progress)
    return state


def destroy(stack: Stack, state: State, progress: Progress, timeout_s: float) -> Destroyed:
    """Destroy a stack that ``inspect`` let pass.

    Args:
        stack: Which stack.
        state: What ``inspect`` found.
        progress: Receives a line for a person who waits.
        timeout_s: How long the engine may take, in seconds.

    Raises:
        EngineFailed: The engine failed; what is left is recorded, and a second run goes on with it.
    """
    names = [str((item.get("outputs") or {}).get("name", "")) for item in state.machines]
    if state.resources:
        run = engine.run(
            stack,
            *("destroy", "--yes", "--skip-preview"),
            progress=progress,
            timeout_s=timeout_s,
            listen=False,
        )
        run.require_success()
    return Destroyed(len(state.deployed), names)


def remove(stack: Stack) -> None:
    """Drop the record of an empty stack; its stack file stays.

    Raises:
        EngineFailed: It is not empty, or there is none.
    """
    engine.quick(stack, "stack", "rm", stack.name, "--yes", "--preserve-config")
