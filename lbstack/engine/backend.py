"""Read what the backend records about a stack besides its resources: its lock, and the steps of a killed run.

The engine's preview reads neither. Where the backend is a directory, both are read from its files. Elsewhere the engine
is asked for its record, and its own `up` reports a locked stack. Nothing is changed here.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from lbstack.engine import run
from lbstack.engine.errors import explain
from lbstack.engine.stack import PROJECT_FILE, Stack

BACKEND_VARIABLE = "PULUMI_BACKEND_URL"  # goes before every other place in which a backend may be named
PROJECT_NAME = re.compile(r"^name:\s*['\"]?([A-Za-z0-9_.-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Pending:
    """A step that a killed run had begun and not ended.

    Args:
        urn: The engine's name of the resource.
        doing: ``creating``, ``updating``, ``deleting``, …
        name: Its name in vCenter; empty where it has none, or where that is not recorded.
    """

    urn: str
    doing: str
    name: str = ""

    @property
    def creates(self) -> bool:
        """Whether something may be in vCenter of which the state knows nothing."""
        return self.doing == "creating" and "::pulumi:" not in self.urn

    @property
    def logical_name(self) -> str:
        """What the program calls it."""
        return self.urn.rpartition("::")[2]

    def __str__(self) -> str:
        name = self.logical_name
        if self.doing == "creating":
            after = (
                "If it is in vCenter, the state knows nothing of it: delete it there (`govc vm.destroy`) before the "
                "next `up`."
            )
        else:
            after = "It may be half done; what vCenter has of it is under Drift, and the next `up` goes on from there."
        return f"A run was killed while it was {self.doing} {name}. {after}"


def require_unlocked(stack: Stack) -> None:
    """Refuse a stack whose state is locked, where its backend is a directory and the lock can be seen.

    A preview is wrong while another run changes the stack.

    Raises:
        EngineFailed: It is locked; the message names the holder.
    """
    home = directory_of(stack)
    if home is None:
        return  # the engine's own `up` will report it
    place = home / ".pulumi" / "locks"
    name = stack.name.rpartition("/")[2]
    # With projects, and as older backends without them have it.
    for directory in (place / "organization" / _project(stack) / name, place / name):
        for lock in sorted(directory.glob("*.json")):
            raise explain("preview", [f"the stack is currently locked: {_holder(lock)}"], "")


def pending(stack: Stack) -> Sequence[Pending]:
    """What a killed run was in the middle of, as recorded; nothing where no run was killed.

    Raises:
        EngineFailed: There is no such stack, or its state cannot be read.
    """
    home = directory_of(stack)
    if home is None:
        recorded = json.loads(run.quick(stack, "stack", "export", "--stack", stack.name)).get("deployment")
    else:
        recorded = _checkpoint(home / ".pulumi" / "stacks", _project(stack), stack.name.rpartition("/")[2])
    return pending_in(recorded)


def pending_in(deployment: object) -> Sequence[Pending]:
    """The same from a stack's record, as the engine exports it.

    Args:
        deployment: The record; nothing is found in one of an unknown form.
    """
    operations = deployment.get("pending_operations") if isinstance(deployment, Mapping) else None
    return [
        Pending(str(resource["urn"]), str(entry["type"]), _name_of(resource))
        for entry in operations or ()
        if isinstance(entry, Mapping) and isinstance(resource := entry.get("resource"), Mapping)
    ]


def _name_of(resource: Mapping[str, Any]) -> str:
    inputs = resource.get("inputs")
    name = (inputs.get("name") or inputs.get("path")) if isinstance(inputs, Mapping) else None
    return name if isinstance(name, str) else ""


def directory_of(stack: Stack) -> Path | None:
    """The directory that is the stack's backend; None for a backend that is none.

    Raises:
        EngineFailed: The engine does not know its backend.
    """
    url = os.environ.get(BACKEND_VARIABLE)
    if not url:
        url = str(json.loads(run.quick(stack, "whoami", "--verbose", "--json")).get("url", ""))
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    # `file://~` and `file:///absolute`; `file://./relative` is meant from the program.
    path = unquote(f"{parts.netloc}{parts.path}")
    return stack.program / Path(path).expanduser()


def _project(stack: Stack) -> str:
    try:
        found = PROJECT_NAME.search((stack.program / PROJECT_FILE).read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1] if found else ""


def _checkpoint(stacks: Path, project: str, name: str) -> Mapping[str, Any] | None:
    for path in (stacks / project / f"{name}.json", stacks / f"{name}.json"):
        for file, opener in ((path, open), (path.with_name(f"{path.name}.gz"), gzip.open)):
            try:
                with opener(file, "rb") as stream:
                    return dict(json.load(stream)["checkpoint"]["latest"] or {})
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not there, or in a form that only the engine knows
    return None


def _holder(lock: Path) -> str:
    try:
        held = json.loads(lock.read_text(encoding="utf-8"))
        return f"by {held['username']}@{held['hostname']} (pid {held['pid']}) since {held['timestamp']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"by {lock.name}"
