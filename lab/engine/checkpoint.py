"""Read what Pulumi has recorded about the lab's stack, from its local backend and without running Pulumi."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.home.stackfile import PROJECT
from lab.home.state import Paths, write_private
from lab.system import processes
from lbstack.engine.values import SECRET_MARK

STACK = "lab"
STACK_TYPE = "pulumi:pulumi:Stack"
NOTE = ".attrs"  # what the local backend appends to a file's name (gocloud.dev/blob/fileblob)


@dataclass(frozen=True)
class Checkpoint:
    """The stack as its last run left it.

    Args:
        paths: The lab.
    """

    paths: Paths

    @property
    def file(self) -> Path:
        """Where the local backend keeps it."""
        return self.paths.backend / ".pulumi" / "stacks" / PROJECT / f"{STACK}.json"

    def _latest(self) -> Mapping[str, Any]:
        latest = (_record(self.file) or {}).get("latest")
        return latest if isinstance(latest, dict) else {}

    @property
    def backup(self) -> Path:
        """Where the local backend keeps the record as it was one step before."""
        return self.file.with_name(f"{self.file.name}.bak")

    def readable(self) -> bool:
        """Whether Pulumi can read it; a stack that was never made has nothing to be read."""
        return not self.file.exists() or _record(self.file) is not None

    def restorable(self) -> bool:
        """Whether there is a backup that Pulumi can read."""
        return _record(self.backup) is not None

    def restore(self) -> None:
        """Put the backup in the record's place, in one moment."""
        self.note.unlink(missing_ok=True)  # of the record that goes
        write_private(self.file, self.backup.read_text(encoding="utf-8"))

    def drop_broken_notes(self) -> list[Path]:
        """Remove the notes (media type, checksum) next to the backend's files that a killed run left empty or cut.

        The backend writes a file's new note in place and only then renames the new file, so a kill in between leaves
        the old file whole, with half a note: every later run fails with ``failed to load checkpoint: EOF``. Without a
        note it takes the file as it is.
        """
        notes = (self.paths.backend / ".pulumi").rglob(f"*{NOTE}")
        broken = [note for note in notes if note.exists() and not isinstance(_parsed(note), dict)]
        for note in broken:
            note.unlink(missing_ok=True)  # a Pulumi that ends takes its lock's away itself
        return broken

    @property
    def note(self) -> Path:
        """The backend's note next to the record."""
        return self.file.with_name(f"{self.file.name}{NOTE}")

    def recorded(self) -> bool:
        """Whether anything at all is recorded, the stack itself included."""
        return bool(self._latest().get("resources"))

    def resources(self) -> list[str]:
        """The types of what is recorded to exist in vCenter; providers and components are not counted."""
        return [
            resource["type"]
            for resource in self._latest().get("resources") or []
            if resource.get("custom") and not resource["type"].startswith("pulumi:")
        ]

    def unfinished(self) -> list[str]:
        """What a killed run was just making, so that nobody knows whether it exists."""
        return self._pending(making=True)

    def half_changed(self) -> list[str]:
        """What a killed run was just changing or deleting; it is known, so a refresh shows how far that went."""
        return self._pending(making=False)

    def _pending(self, *, making: bool) -> list[str]:
        return [
            str(operation["resource"]["urn"]).rpartition("::")[2]
            for operation in self._latest().get("pending_operations") or []
            if (operation.get("type") == "creating") is making
        ]

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets hidden."""
        for resource in self._latest().get("resources") or []:
            if resource.get("type") == STACK_TYPE:
                outputs = _hide(resource.get("outputs"))
                return outputs if isinstance(outputs, dict) else {}
        return {}

    def locks(self) -> list[Path]:
        """The lock files of runs that have not ended, or were killed."""
        return sorted((self.paths.backend / ".pulumi" / "locks").rglob("*.json"))

    def living_holder(self) -> int:
        """The number of a Pulumi process that holds a lock and still runs; 0 where there is none."""
        for lock in self.locks():
            try:
                pid = int(json.loads(lock.read_text(encoding="utf-8"))["pid"])
            except (OSError, ValueError, KeyError, TypeError):
                continue
            process = processes.inspect(pid)
            if process and process.command and Path(process.command[0]).name == "pulumi":
                return pid
        return 0


def _parsed(file: Path) -> Any:
    """The JSON of a file; None where it is missing, empty or cut."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _record(file: Path) -> Mapping[str, Any] | None:
    """What a stack's record holds; None where the file is not one from its first to its last byte."""
    parsed = _parsed(file)
    checkpoint = parsed.get("checkpoint") if isinstance(parsed, dict) else None
    return checkpoint if isinstance(checkpoint, dict) else None


def _hide(value: object) -> object:
    """A value of the state with every encrypted part replaced by a placeholder."""
    if isinstance(value, dict):
        if value.get(SECRET_MARK) is not None:
            return "[secret]"
        return {key: _hide(item) for key, item in value.items()}
    return [_hide(item) for item in value] if isinstance(value, list) else value
