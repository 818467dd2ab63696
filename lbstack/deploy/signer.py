"""Refuse a signing key that a node cannot know: one that neither its first boot nor its deployed set brought.

Such a node refuses every set of that key; where nothing else changes, not even that would show, since it goes on to
serve the set that it has. What a node was told is read from its VM's guestinfo in vCenter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from lbstack.config.choices import Mode
from lbstack.config.credentials import NEXT_SIGNING_KEY, SIGNING_KEY, Secrets
from lbstack.problems import ConfigError, Problem
from lbstack.render.keys import METADATA
from lbstack.render.redact import Redactor
from lbstack.render.rsakey import public_pem
from lbstack.render.unpack import open_guestinfo, userdata_of
from lbstack.vcenter.marks import Marks


def require_known(
    secrets: Secrets, marks: Mapping[str, Marks], wanted: Mapping[str, Mapping[str, str]], mode: Mode
) -> None:
    """Refuse the signing key where a node that stays does not know it.

    Args:
        secrets: The stack's secrets.
        marks: Node name → what stands on its VM in vCenter; nothing where there is none.
        wanted: Node name → the guestinfo that its VM is to have.
        mode: The stack file's ``rollout.mode``.

    Raises:
        ConfigError: A node does not know it.
    """
    if mode is Mode.REPLACE:
        return
    own = public_pem(secrets.signing_key)
    others = {name for name, each in marks.items() if not _has(each.extra, own)}
    if not others:
        return
    following = public_pem(secrets.next_signing_key)
    strangers = [
        name
        for name in sorted(others)
        if marks[name].extra.get(METADATA) == wanted[name][METADATA]  # else its VM is made anew
        and not _knows(marks[name].extra, own, following)
    ]
    if strangers:
        what = f"is not known to {' and '.join(strangers)}, which would refuse every set"
        remedy = (
            f"Set the key of the last deployment again and this one as {NEXT_SIGNING_KEY}, deploy, and change over in "
            "a second deployment (docs/runbooks/signing-key.md). Where the old key is lost or stolen, make new VMs "
            "with `lbstack:rollout: {mode: replace}` for one run."
        )
        raise ConfigError([Problem(SIGNING_KEY, what, remedy)])


def _has(extra: Mapping[str, str], key: str) -> bool:
    """Whether a VM's userdata holds this public key; most do, and need no second look."""
    return json.dumps(key)[1:-1] in userdata_of(extra)


def _knows(extra: Mapping[str, str], own: str, following: str) -> bool:
    """Whether a node may know a key by what its VM was given."""
    held = open_guestinfo(dict(extra), Redactor())
    # Where there is no set of ours, nobody knows. ``following``: going back, after a second step that was refused.
    return held.public_key in ("", own, following) or held.next_key == own
