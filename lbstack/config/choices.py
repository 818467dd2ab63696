"""The words that a stack file may choose from."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Lifecycle(StrEnum):
    """What a stack is for: a ``lab`` may be destroyed by a robot, ``production`` never by mistake."""

    LAB = "lab"
    PRODUCTION = "production"


@unique
class AntiAffinity(StrEnum):
    """How strongly DRS keeps the two nodes on different hosts."""

    MANDATORY = "mandatory"
    PREFERRED = "preferred"
    OFF = "off"


@unique
class Firmware(StrEnum):
    """The VM's firmware; it must be that of the OVA, which then does not boot under the other one."""

    EFI = "efi"
    BIOS = "bios"


@unique
class Profile(StrEnum):
    """How quickly a dead node is replaced by its peer: advert interval 1 s (safe) or 0.25 s (fast)."""

    SAFE = "safe"
    FAST = "fast"


@unique
class ServerState(StrEnum):
    """What HAProxy does with a server: use it, keep only its sessions, or leave it alone."""

    READY = "ready"
    DRAIN = "drain"
    MAINTENANCE = "maintenance"


@unique
class Role(StrEnum):
    """What a stats user may do: look, or also change server states by the page's form."""

    VIEWER = "viewer"
    ADMIN = "admin"
