"""Define the guestinfo keys of a VM and their limits. Imports nothing: a report that reads keys need not render.

A guest reads one key with one question to the hypervisor, and writes keys too where its VM lets it. So nothing here is
trusted before the signature in ``SIGNATURE`` over the manifest in ``HEAD`` is verified; the manifest has the digest of
every part and of every file.
"""

from __future__ import annotations

import re

METADATA, USERDATA = "guestinfo.metadata", "guestinfo.userdata"
ENCODING = ".encoding"

PREFIX = "guestinfo.lbstack."
HASH = f"{PREFIX}hash"
"""The set's hash in plain text: the one key that is read all the time."""
HEAD = f"{PREFIX}head"
"""The manifest in base64: the signed text."""
SIGNATURE = f"{PREFIX}signature"
"""Its signature in base64."""

CONFIG, PROGRAMS = "config", "programs"
PARTS = (CONFIG, PROGRAMS)
"""What depends on the stack file, and what does not: a changed timeout does not send the guest programs again."""

VALUE_LIMIT = 65_536
"""Most bytes of one guestinfo value (guest_msg_def.h of open-vm-tools)."""
PIECE = 61_440
"""Characters of one piece of a part: below ``VALUE_LIMIT`` by what a question carries besides, and a multiple of four,
so that every piece is base64 on its own."""
VMX_LIMIT = 1 << 20
"""Most bytes of a VM's configuration file, where guestinfo is kept (vSphere Security, "Limiting Informational Messages
from Virtual Machines to VMX Files": 1 MB, ``tools.setInfo.sizeLimit``)."""
VMX_OWN = 1 << 16
"""Of these, what is left to the VM's own lines and to other products; such a file has some 5,000 bytes."""
LINE = len(' = ""\n')
"""Bytes of a line of that file besides key and value."""

_PIECE = re.compile(rf"{re.escape(PREFIX)}({'|'.join(PARTS)})\.(?:0|[1-9][0-9]*)")


def piece(part: str, number: int) -> str:
    """Return the key of one piece of a part, counted from 0."""
    return f"{PREFIX}{part}.{number}"


def is_of_set(key: str) -> bool:
    """Whether a key belongs to the set in parts."""
    return key in (HASH, HEAD, SIGNATURE) or bool(_PIECE.fullmatch(key))
