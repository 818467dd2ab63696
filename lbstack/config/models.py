"""Define the models of a stack file: frozen, with keys in camelCase outside and snake_case inside.

This module does not depend on Pulumi, templates or secrets. Each field's type defines its form and limits
(``fields.py``). Rules that compare fields are in ``rules.py``, ``services.py`` and ``addressing.py``. The package
``stackfile`` reads a whole stack file. The text below a field is its description in the JSON Schema and in validation
errors (``stackfile/descriptions.py``). One module because whoever looks for a key of a stack file looks here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from lbstack.config.choices import (
    AntiAffinity,
    Firmware,
    GuestEdits,
    Lifecycle,
    Mode,
    Profile,
    Role,
    ServerState,
    TagCreation,
)
from lbstack.config.fields import (
    DEFAULT_HARD_STOP,
    PINNABLE,
    SERVICE_NAME,
    USER_NAME,
    Address,
    Certificates,
    Cpus,
    DiskGib,
    DomainName,
    Duration,
    Flag,
    FullName,
    Generation,
    HardStop,
    HostName,
    Hours,
    HttpPath,
    Interface,
    Kind,
    Maxconn,
    MemoryMib,
    PackageVersion,
    Port,
    Protect,
    Proxy,
    Release,
    Repository,
    RouterId,
    ServerName,
    SshKey,
    Subnet,
    TimeServer,
    Uuid,
    VsphereName,
    VspherePath,
)
from lbstack.config.section import Section

NOT_EMPTY: dict[str, Any] = {"minItems": 1}
BY_SERVICE_NAME: dict[str, Any] = {"minProperties": 1, "propertyNames": SERVICE_NAME.schema}
BY_USER_NAME: dict[str, Any] = {"minProperties": 1, "propertyNames": USER_NAME.schema}
BY_PACKAGE: dict[str, Any] = {"propertyNames": {"enum": list(PINNABLE)}}
EXACTLY_TWO: dict[str, Any] = {"minItems": 2, "maxItems": 2}


class Tags(Section):
    """Tags of one category that the VMs carry. Tags of all other categories belong to others and are left alone."""

    category: VsphereName
    """Name of the category; on these VMs it has the tags named here and no others."""
    names: Annotated[tuple[VsphereName, ...], Field(json_schema_extra=NOT_EMPTY)]
    """Names of the tags in the category."""
    create: TagCreation = TagCreation.ALL
    """What the stack makes and deletes with itself: all (category and tags), tags, or none; the rest has to exist."""


class Placement(Section):
    """The place of the pair in vCenter. All objects are referenced by name."""

    vcenter_uuid: Uuid
    """Instance UUID of the stack's vCenter (`govc about` prints it); any other vCenter is refused."""
    datacenter: VspherePath
    """Name of the datacenter, or its path (Site/DC1) where folders hold several of one name."""
    cluster: VspherePath
    """Name of the cluster with DRS."""
    datastore: VspherePath
    """Name of the datastore on which the VMs are made. Where they are moved later, there they stay."""
    network: VspherePath
    """Name of the port group of the nodes and VIPs."""
    network_switch: VspherePath | None = None
    """Name of the port group's distributed switch, or standard; needed where several have a port group of that name."""
    resource_pool: VspherePath | None = None
    """Name of a resource pool of the cluster, or its path (outer/inner); the default is the root pool."""
    folder: VspherePath | None = None
    """Path of the VM folder below the datacenter; the default is the top folder."""
    create_folder: Flag = False
    """Whether the stack creates what is missing of the folder and deletes that with itself; else it has to exist."""
    anti_affinity: AntiAffinity = AntiAffinity.PREFERRED
    """Rule that keeps the nodes on different hosts: preferred, mandatory or off; it needs DRS. With mandatory, a node
    stays off while only one host is usable, and of two hosts neither can be evacuated for maintenance."""
    tags: Tags | None = None
    """Tags for the VMs; without this key no tag of any VM is touched."""


class Image(Section):
    """The content library item that the VMs are cloned from, and its properties."""

    library: VsphereName
    """Name of the content library."""
    item: VsphereName
    """Name of the imported OVA in the library."""
    release: Release
    """Photon OS release of the image, in quotes."""
    firmware: Firmware
    """The OVA's firmware, efi or bios; the image does not boot with the other one."""
    secure_boot: Flag
    """Whether the firmware checks signatures; only with efi, and only for signed images."""


class Network(Section):
    """The network of the nodes, the VIPs and usually the servers."""

    cidr: Subnet
    """The network with its prefix length."""
    gateway: Address
    """The default gateway in the network."""
    dns: Annotated[tuple[Address, ...], Field(json_schema_extra=NOT_EMPTY)]
    """Name servers, by address."""
    ntp: tuple[TimeServer, ...] = ()
    """Time servers, by name or address; the default is the image's own, or VMware Tools."""
    search_domains: tuple[DomainName, ...] = ()
    """Search domains for short names."""
    interface: Interface = "eth0"
    """Name of the network interface in the guest."""


class Node(Section):
    """One of the two VMs; the first in the list is the preferred master."""

    name: HostName
    """Name of the VM, and host name of the guest."""
    address: Address
    """The node's own address in the network."""
    cpus: Cpus = 2
    """Number of virtual CPUs."""
    memory_mib: Annotated[MemoryMib, Field(alias="memoryMiB")] = 2048
    """Memory in MiB, a multiple of 4; it limits how many connections the pair carries."""
    disk_gib: Annotated[DiskGib, Field(alias="diskGiB")] = 16
    """Size of the disk in GiB."""


class Vrrp(Section):
    """VRRP between the nodes."""

    router_id: RouterId
    """Virtual router id, 1 to 255; nothing else on this network may use it."""
    profile: Profile = Profile.SAFE
    """How quickly the peer takes over from a failed node: safe (advert every second) or fast (every quarter second)."""
    preemption: Flag = False
    """Whether the preferred master takes the VIPs back when it returns; that breaks sessions once more."""


class Server(Section):
    """One back-end server of a service."""

    name: ServerName
    """Name of the server in HAProxy, its log and its statistics."""
    address: Address
    """The server's address."""
    state: ServerState = ServerState.READY
    """ready (used), drain (keeps its clients, gets no new ones) or maintenance (not used)."""


class Timeouts(Section):
    """Overrides of a service kind's timeouts, as HAProxy durations such as ``30s`` or ``1h``."""

    connect: Duration | None = None
    """Time to establish a connection to a server."""
    client: Duration | None = None
    """Inactivity of the client before both sides have sent data."""
    server: Duration | None = None
    """Inactivity of the server before both sides have sent data."""
    tunnel: Duration | None = None
    """Inactivity of both sides of an established connection."""


class Service(Section):
    """One balanced service; defaults come from its kind (``facts/kinds.py``)."""

    kind: Kind
    """Kind of the service: horizon, appvolumes or tcp."""
    vip: Address
    """Virtual address that the users connect to."""
    servers: Annotated[tuple[Server, ...], Field(json_schema_extra=NOT_EMPTY)]
    """The servers behind the VIP."""
    port: Port | None = None
    """Port on the VIP and on the servers; 443 for horizon and appvolumes, required for tcp."""
    fqdn: FullName | None = None
    """DNS name of the VIP, as users type it; checks of the servers send it too."""
    aliases: tuple[FullName, ...] = ()
    """Further DNS names by which users come, and those of gateways (UAG) before the service; only for horizon."""
    health_path: HttpPath | None = None
    """Path that the health check of a server requests over HTTPS."""
    health_interval: Duration | None = None
    """Time between two checks of a server."""
    persistence: Duration | None = None
    """How long a client keeps its server after its last connection."""
    timeouts: Timeouts = Timeouts()
    """Timeouts that differ from the kind's."""


class StatsUser(Section):
    """A login of the statistics page; its hash is the secret ``statsHash-<name>``."""

    role: Role = Role.VIEWER
    """viewer (reads the page) or admin (also changes server states)."""


class Stats(Section):
    """HAProxy's statistics page."""

    vip: Address
    """Virtual address of the page; it may be the VIP of a service."""
    port: Port = 8404
    """Port of the page."""
    users: Annotated[dict[str, StatsUser], Field(json_schema_extra=BY_USER_NAME)]
    """Logins by name; each needs the secret statsHash-<name>."""


class Haproxy(Section):
    """Process-wide settings of HAProxy; ``maxconn`` is derived from the smaller node's memory unless set."""

    maxconn: Maxconn | None = None
    """Most concurrent connections; the default is as many as the smaller node's memory carries."""
    log_connections: Flag = False
    """Whether every connection is logged, in addition to checks, errors and changes of state."""
    hard_stop_after: HardStop = DEFAULT_HARD_STOP
    """How long sessions from before a change go on at most, on an old worker of HAProxy; then they are cut."""


class Access(Section):
    """Who may log in to the nodes."""

    ssh_keys: tuple[SshKey, ...]
    """Public keys that may log in as root."""


class Packages(Section):
    """The nodes' package repository and package versions."""

    repository: Repository = "https://packages.broadcom.com/photon"
    """URL of the Photon repositories or of a mirror of them."""
    ca: Certificates | None = None
    """CA certificates in PEM form, for a mirror whose certificate is signed by a CA of your own."""
    proxy: Proxy | None = None
    """URL of the HTTP proxy between the nodes and the repository."""
    versions: Annotated[dict[str, PackageVersion], Field(json_schema_extra=BY_PACKAGE)] = {}  # noqa: RUF012 - pydantic copies it
    """Versions of haproxy and keepalived to install; the default is the newest in the repository."""
    upgrade: Flag = False
    """Whether all other packages are upgraded at first boot, and with each generation where versions are given."""
    generation: Generation | None = None
    """Raise it to have each node in turn bring the versions, or upgrade all packages where none are given."""

    @property
    def upgrades(self) -> bool:
        """Whether a node may be upgrading packages when a set is waited for."""
        return self.upgrade or self.generation is not None


class Rollout(Section):
    """How a running pair is changed."""

    gate: Flag = True
    """Whether the nodes' state is checked before each is changed; false for runners that cannot reach the nodes."""

    mode: Mode = Mode.LIVE
    """How a changed set comes to a node; a node that cannot take it in while it runs is rebooted in any case."""
    guest_edits: GuestEdits = GuestEdits.RESTORE
    """What becomes of a file that was edited on a node: restore (at the next change or boot) or keep (until a change of
    the stack file changes that file)."""


class Lab(Section):
    """Settings of a stack whose lifecycle is lab, and of no other."""

    ttl_hours: Hours | None = None
    """Hours after the last deployment until `lbstack sweep` may destroy the stack; by default it never does."""


class StackConfig(Section):
    """A whole stack file without its secrets."""

    lifecycle: Lifecycle
    """Purpose of the stack: lab (may be destroyed) or production (protected)."""
    placement: Placement
    """The place of the pair in vCenter, by name."""
    image: Image
    """The content library item that the VMs are cloned from."""
    network: Network
    """The network of nodes and VIPs."""
    nodes: Annotated[tuple[Node, ...], Field(json_schema_extra=EXACTLY_TWO)]
    """The two VMs, the preferred master first."""
    vrrp: Vrrp
    """Settings of VRRP, which decides which node holds the VIPs."""
    services: Annotated[dict[str, Service], Field(json_schema_extra=BY_SERVICE_NAME)]
    """The balanced services by name."""
    stats: Stats
    """HAProxy's statistics page."""
    management_networks: Annotated[tuple[Subnet, ...], Field(json_schema_extra=NOT_EMPTY)]
    """Networks that may reach SSH, the statistics page, metrics and the health endpoint; never 0.0.0.0/0."""
    access: Access
    """Who may log in to the nodes."""
    packages: Packages = Packages()
    """The nodes' package repository and package versions."""
    haproxy: Haproxy = Haproxy()
    """Process-wide settings of HAProxy."""
    rollout: Rollout = Rollout()
    """How a running pair is changed."""
    lab: Lab = Lab()
    """Settings of a lab stack only."""
    protect: Protect = None
    """Whether Pulumi refuses to delete or replace the VMs: true, false or lifecycle (true for production)."""

    @property
    def protected(self) -> bool:
        """Whether Pulumi refuses to delete or replace the VMs, with ``lifecycle`` as the default."""
        return self.lifecycle is Lifecycle.PRODUCTION if self.protect is None else self.protect
