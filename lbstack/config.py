"""What a user says about one environment: frozen models, camelCase outside and snake_case inside.

This module knows nothing of Pulumi, templates or secrets. Each model checks what can be said about one field;
rules that compare fields live in ``rules.py``; reading a whole stack file is ``stackfile.py``.
"""

from __future__ import annotations

from enum import StrEnum, unique
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """Base of every part of the configuration: unknown keys refused, values immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


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


class Tags(Section):
    """A tag category and tags that this stack creates, puts on its VMs and removes with itself."""

    category: str
    names: tuple[str, ...]


class Placement(Section):
    """Where in which vCenter the pair lives, all by name."""

    vcenter_uuid: str
    datacenter: str
    cluster: str
    datastore: str
    network: str
    resource_pool: str | None = None
    folder: str | None = None
    create_folder: bool = False
    anti_affinity: AntiAffinity = AntiAffinity.MANDATORY
    tags: Tags | None = None


class Image(Section):
    """The content library item that the VMs are made from, and what is known about it."""

    library: str
    item: str
    release: str  # a key of releases.RELEASES: "3.0-r3", "3.0", "4.0", "5.0"
    firmware: Firmware
    secure_boot: bool


class Network(Section):
    """The one network that nodes, VIPs and usually the servers share."""

    cidr: IPv4Network
    gateway: IPv4Address
    dns: tuple[IPv4Address, ...]
    ntp: tuple[str, ...] = ()
    search_domains: tuple[str, ...] = ()
    interface: str = "eth0"


class Node(Section):
    """One of the two VMs; the first in the list is the preferred master."""

    name: str
    address: IPv4Address
    cpus: int = 2
    memory_mib: Annotated[int, Field(alias="memoryMiB")] = 2048
    disk_gib: Annotated[int, Field(alias="diskGiB")] = 16


class Vrrp(Section):
    """VRRP between the nodes."""

    router_id: int
    profile: Profile = Profile.SAFE
    preemption: bool = False


class Server(Section):
    """One back-end server of a service."""

    name: str
    address: IPv4Address
    state: ServerState = ServerState.READY


class Timeouts(Section):
    """Overrides of a service kind's timeouts, as HAProxy durations such as ``30s`` or ``1h``."""

    connect: str | None = None
    client: str | None = None
    server: str | None = None
    tunnel: str | None = None


class Service(Section):
    """One balanced service; what is not said comes from its kind in ``services.py``."""

    kind: str  # a key of services.KINDS: "horizon", "appvolumes", "tcp"
    vip: IPv4Address
    servers: tuple[Server, ...]
    port: int | None = None  # required for kind tcp; 443 for horizon and appvolumes
    fqdn: str | None = None  # the name that users type; feeds horizon_settings
    health_path: str | None = None
    health_interval: str | None = None
    persistence: str | None = None
    timeouts: Timeouts = Timeouts()


class StatsUser(Section):
    """A login of the statistics page; its hash is the secret ``statsHash-<name>``."""

    role: Role = Role.VIEWER


class Stats(Section):
    """HAProxy's statistics page."""

    vip: IPv4Address
    port: int = 8404
    users: dict[str, StatsUser]


class Haproxy(Section):
    """Process-wide settings of HAProxy; ``maxconn`` is derived from the node's memory unless given."""

    maxconn: int | None = None
    log_connections: bool = False


class Access(Section):
    """Who may log in to the nodes."""

    ssh_keys: tuple[str, ...]


class Packages(Section):
    """Where the nodes get their packages."""

    repository: str = "https://packages.broadcom.com/photon"
    versions: dict[str, str] = {}
    upgrade: bool = False


class Rollout(Section):
    """How a running pair is changed."""

    gate: bool = True  # ask the nodes before each is touched; off for runners that cannot reach them


class StackConfig(Section):
    """Everything that a stack file says, without its secrets."""

    lifecycle: Lifecycle
    placement: Placement
    image: Image
    network: Network
    nodes: tuple[Node, ...]
    vrrp: Vrrp
    services: dict[str, Service]
    stats: Stats
    management_networks: tuple[IPv4Network, ...]
    access: Access
    packages: Packages = Packages()
    haproxy: Haproxy = Haproxy()
    rollout: Rollout = Rollout()
    protect: bool | None = None  # default: protected when the lifecycle is production

    @property
    def protected(self) -> bool:
        """Whether Pulumi refuses to delete or replace the VMs."""
        return self.lifecycle is Lifecycle.PRODUCTION if self.protect is None else self.protect
