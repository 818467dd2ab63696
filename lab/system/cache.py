"""The cache that all labs share, and facts about this computer. Standard library only."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON_MINIMUM = (3, 11)  # `requires-python` of pyproject.toml


def cache_directory() -> Path:
    """Where tools are kept between runs and checkouts, below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lbstack"


def distribution() -> str:
    """This machine's distribution as ``debian 12``; empty where it has no /etc/os-release."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    values = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', text, re.MULTILINE))
    return f"{values.get('ID', '')} {values.get('VERSION_ID', '')}".strip()


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Let a second run wait for the first at the same piece of work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
