"""What it means where both VMs of a pair run on one host, in words that the run, the preview and the status share."""

from __future__ import annotations

from collections.abc import Mapping


def same_host(hosts: Mapping[str, str]) -> str:
    """A warning where all nodes run on one host; empty where they do not, or where that is not known.

    Args:
        hosts: Node → the name of its host, empty where it is not known.
    """
    names = set(hosts.values())
    if len(hosts) < 2 or len(names) != 1 or not all(names):  # noqa: PLR2004 - one VM is on one host
        return ""
    return (
        f"{' and '.join(hosts)} run on the same host, {names.pop()}: if it fails, both do. "
        "The rule that keeps them apart works only with DRS, fully automated; without it, move one of them in vCenter."
    )
