"""Fill the content library of the lab's vCenter, with govc as for a real one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.engine.workspace import Workspace
from lab.errors import LabError
from lab.home.state import Record
from lab.system.cache import cache_directory
from lab.vcenter import ova

DATASTORE = "LocalDS_0"  # the simulator's name for its one datastore
SUFFIXES = {".ovf", ".vmdk"}  # what an import of the lab's OVA leaves in an item

Progress = Callable[[str], None]


def ensure(workspace: Workspace, record: Record, library: str, item: str, progress: Progress) -> None:
    """See to it that a library holds an item, whole.

    Args:
        workspace: The lab's environment.
        record: Its memory, for the address.
        library: The library's name.
        item: The item's name.
        progress: Receives a line when something is imported.

    Raises:
        LabError: govc refused; with its message.
    """
    if library not in _names(_govc(workspace, record, ["library.ls", "-json"])):
        _govc(workspace, record, ["library.create", "-ds", DATASTORE, library])
    if item in _names(_govc(workspace, record, ["library.ls", "-json", f"{library}/*"])):
        files = _govc(workspace, record, ["library.ls", "-json", f"{library}/{item}/*"])
        if {Path(name).suffix for name in _names(files)} == SUFFIXES and all(file.get("size") for file in files):
            return
        # A killed import leaves an item that lacks files.
        _govc(workspace, record, ["library.rm", f"{library}/{item}"])
    progress(f"Importing {item} into the content library {library}")
    image = ova.fixture(cache_directory(), item)
    _govc(workspace, record, ["library.import", "-n", item, library, str(image)])


def _names(entries: Any) -> list[str]:
    return [entry["name"] for entry in entries or []]


def _govc(workspace: Workspace, record: Record, arguments: Sequence[str]) -> Any:
    """Run govc and return its JSON, None where it prints none."""
    result = subprocess.run(
        [str(workspace.tools.govc), *arguments],
        env=workspace.environment(record),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise LabError(f"`govc {' '.join(arguments)}` failed: {result.stderr.strip() or result.stdout.strip()}")
    try:
        return json.loads(result.stdout)
    except ValueError:
        return None
