"""What the stack's own state holds before this run: which objects in vCenter are the stack's.

A folder that is there may be the stack's own, which has to stay a resource, or somebody else's, which must not become
one; vCenter cannot tell which. The `pulumi` command is asked, and only where such a folder or VM is there, or no VM at
all: the engine's own function for it (``pulumi:pulumi:readStackResourceOutputs``) would put a further provider into
every state.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from lbstack.facts.names import VIRTUAL_MACHINE

EXPORT_TIMEOUT_S = 60.0  # a state of a pair has some hundred kilobytes; a slow backend takes seconds
OWN_BACKEND = "organization"  # what the engine calls the organization of a backend that has none


@dataclass(frozen=True)
class Recorded:
    """The resources of the last deployment.

    Args:
        outputs: Type and name → the resource's outputs.
        known: Whether the state could be read.
        creating: Types of resources whose creation a killed run has not ended: what it made is in vCenter and not here.
    """

    outputs: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    known: bool = True
    creating: frozenset[str] = frozenset()

    def named(self, kind: str) -> Mapping[str, Mapping[str, Any]]:
        """The resources of a type: name → outputs."""
        return {name: outputs for (found, name), outputs in self.outputs.items() if found == kind}

    @property
    def without_machines(self) -> bool:
        """Whether the stack has certainly no VM: it is new, or everything was destroyed."""
        return self.known and VIRTUAL_MACHINE not in self.creating and not self.named(VIRTUAL_MACHINE)


def recorded() -> Recorded:
    """Read the state; where that fails, nothing is known."""
    organization = pulumi.get_organization()
    name = f"{pulumi.get_stack()}"
    if organization != OWN_BACKEND:
        name = f"{organization}/{pulumi.get_project()}/{name}"
    program = shutil.which("pulumi")
    if program is None:
        return Recorded(known=False)
    try:
        result = subprocess.run(
            [program, "stack", "export", "--stack", name, "--non-interactive"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=EXPORT_TIMEOUT_S,
        )
        deployment = json.loads(result.stdout)["deployment"]
        resources, pending = (deployment.get(key) or [] for key in ("resources", "pending_operations"))
        outputs = {_key(each["urn"]): each.get("outputs") or {} for each in resources if not each.get("delete")}
        creating = {_key(each["resource"]["urn"])[0] for each in pending if each.get("type") == "creating"}
        return Recorded(outputs, creating=frozenset(creating))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return Recorded(known=False)


def _key(urn: str) -> tuple[str, str]:
    """Type and name of a resource; the type in a URN begins with those of its parents."""
    _, _, kinds, name = urn.split("::", 3)
    return kinds.rpartition("$")[2], name
