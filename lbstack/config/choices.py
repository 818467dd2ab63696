"""Define the fields of a stack file that take one of a few words."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Lifecycle(StrEnum):
    """Purpose of a stack: automation may destroy a ``lab``; ``production`` is protected against mistakes."""

    LAB = "lab"
    PRODUCTION = "production"


@unique
class AntiAffinity(StrEnum):
    """How strongly DRS keeps the two nodes on different hosts."""

    MANDATORY = "mandatory"
    PREFERRED = "preferred"
    OFF = "off"


@unique
class TagCreation(StrEnum):
    """What of ``placement.tags`` the stack makes and deletes with itself; the rest has to exist."""

    ALL = "all"
    TAGS = "tags"
    NONE = "none"


@unique
class Firmware(StrEnum):
    """The VM's firmware; it must be the OVA's, because the image does not boot with the other one."""

    EFI = "efi"
    BIOS = "bios"


@unique
class Profile(StrEnum):
    """How quickly the peer takes over from a failed node: advert interval of 1 s (safe) or 0.25 s (fast)."""

    SAFE = "safe"
    FAST = "fast"


@unique
class ServerState(StrEnum):
    """What HAProxy does with a server: use it, only keep its sessions, or not use it."""

    READY = "ready"
    DRAIN = "drain"
    MAINTENANCE = "maintenance"


@unique
class Role(StrEnum):
    """What a login of the statistics page may do: read it, or also change server states with the page's form."""

    VIEWER = "viewer"
    ADMIN = "admin"


@unique
class Mode(StrEnum):
    """How a changed set comes to a node that exists: while it runs (live), at a reboot, or with a new VM (replace)."""

    LIVE = "live"
    REBOOT = "reboot"
    REPLACE = "replace"


@unique
class GuestEdits(StrEnum):
    """What a node does with a file that somebody has edited on it: put its own back, or leave the edit in place."""

    RESTORE = "restore"
    KEEP = "keep"
