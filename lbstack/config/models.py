"""What a user says about one environment: frozen models, camelCase outside and snake_case inside.

This module knows nothing of Pulumi, templates or secrets. Each field's type says what can be said about it alone
(``fields.py``); rules that compare fields live in ``rules.py``; reading a whole stack file is ``stackfile.py``.
The text below a field is its description in the JSON Schema and in error messages (``descriptions.py``).
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from lbstack.config.choices import AntiAffinity, Firmware, Lifecycle, Profile, Role, ServerState
from lbstack.config.fields import (
    PINNABLE,
    SERVICE_NAME,
    USER_NAME,
    Address,
    Cpus,
    DiskGib,
    DomainName,
    Duration,
    Flag,
    FullName,
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
from lbstack.config.forms import MISSING

NOT_EMPTY: dict[str, Any] = {"minItems": 1}
BY_SERVICE_NAME: dict[str, Any] = {"minProperties": 1, "propertyNames": SERVICE_NAME.schema}
BY_USER_NAME: dict[str, Any] = {"minProperties": 1, "propertyNames": USER_NAME.schema}
BY_PACKAGE: dict[str, Any] = {"propertyNames": {"enum": list(PINNABLE)}}
EXACTLY_TWO: dict[str, Any] = {"minItems": 2, "maxItems": 2}


class Section(BaseModel):
    """Base of every part of the configuration: unknown keys refused, values immutable.

    Where ``stackfile.load`` has put MISSING in the place of a refused value, it passes, so that the rules can look
    at the rest. Nothing else makes an object with MISSING in it.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _missing_section(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        missing: Self = MISSING
        return missing if value is MISSING else handler(value)

    @field_validator("*", mode="wrap")
    @classmethod
    def _missing_field(cls, value: object, handler: ValidatorFunctionWrapHandler) -> object:
        return value if value is MISSING else handler(value)


class Tags(Section):
    """A tag category and tags that this stack creates, puts on its VMs and removes with itself."""

    category: VsphereName
    """Name of the category; it must not exist yet."""
    names: Annotated[tuple[VsphereName, ...], Field(json_schema_extra=NOT_EMPTY)]
    """Names of the tags in it."""


class Placement(Section):
    """Where in which vCenter the pair lives, all by name."""

    vcenter_uuid: Uuid
    """Instance UUID of the vCenter that the stack is made for (`govc about` prints it); any other is refused."""
    datacenter: VspherePath
    """Name of the datacenter."""
    cluster: VspherePath
    """Name of the cluster with DRS."""
    datastore: VspherePath
    """Name of the datastore for the VMs' disks."""
    network: VspherePath
    """Name of the port group that nodes and VIPs are in."""
    resource_pool: VspherePath | None = None
    """Name of a resource pool; without it the cluster's own root pool."""
    folder: VspherePath | None = None
    """Path of the VM folder below the datacenter; without it the top folder."""
    create_folder: Flag = False
    """Whether the stack makes the folder and removes it with itself; else it has to exist."""
    anti_affinity: AntiAffinity = AntiAffinity.MANDATORY
    """Rule that keeps the nodes on different hosts: mandatory, preferred or off."""
    tags: Tags | None = None
    """A tag category of the stack's own for its VMs."""


class Image(Section):
    """The content library item that the VMs are made from, and what is known about it."""

    library: VsphereName
    """Name of the content library."""
    item: VsphereName
    """Name of the imported OVA in it."""
    release: Release
    """Photon OS release of the image, in quotes."""
    firmware: Firmware
    """The OVA's firmware, efi or bios; with the other one it does not boot."""
    secure_boot: Flag
    """Whether the firmware checks signatures; only with efi, and only for images that are signed."""


class Network(Section):
    """The one network that nodes, VIPs and usually the servers share."""

    cidr: Subnet
    """The network with its prefix length."""
    gateway: Address
    """The default gateway in it."""
    dns: Annotated[tuple[Address, ...], Field(json_schema_extra=NOT_EMPTY)]
    """Name servers, by address."""
    ntp: tuple[TimeServer, ...] = ()
    """Time servers, by name or address; without them the image's own, or VMware Tools."""
    search_domains: tuple[DomainName, ...] = ()
    """Domains that short names are looked up in."""
    interface: Interface = "eth0"
    """Name of the network interface in the guest."""


class Node(Section):
    """One of the two VMs; the first in the list is the preferred master."""

    name: HostName
    """Name of the VM and of its host."""
    address: Address
    """The node's own address in the network."""
    cpus: Cpus = 2
    """Virtual CPUs."""
    memory_mib: Annotated[MemoryMib, Field(alias="memoryMiB")] = 2048
    """Memory in MiB, a multiple of 4; it decides how many connections the pair carries."""
    disk_gib: Annotated[DiskGib, Field(alias="diskGiB")] = 16
    """Size of the disk in GiB."""


class Vrrp(Section):
    """VRRP between the nodes."""

    router_id: RouterId
    """Virtual router id, 1 to 255, that no one else uses on this network."""
    profile: Profile = Profile.SAFE
    """How quickly a dead node is replaced: safe (advert every second) or fast (every quarter)."""
    preemption: Flag = False
    """Whether the preferred master takes the VIPs back when it returns; that cuts sessions once more."""


class Server(Section):
    """One back-end server of a service."""

    name: ServerName
    """Name of the server in HAProxy, its log and its statistics."""
    address: Address
    """Its address."""
    state: ServerState = ServerState.READY
    """ready (used), drain (keeps its clients, gets no new ones) or maintenance (not used)."""


class Timeouts(Section):
    """Overrides of a service kind's timeouts, as HAProxy durations such as ``30s`` or ``1h``."""

    connect: Duration | None = None
    """For a connection to a server to be established."""
    client: Duration | None = None
    """Silence of the client before both sides have spoken."""
    server: Duration | None = None
    """Silence of the server before both sides have spoken."""
    tunnel: Duration | None = None
    """Silence of both sides of an established connection."""


class Service(Section):
    """One balanced service; what is not said comes from its kind in ``services.py``."""

    kind: Kind
    """Kind of the service: horizon, appvolumes or tcp."""
    vip: Address
    """Virtual address that the users connect to."""
    servers: Annotated[tuple[Server, ...], Field(json_schema_extra=NOT_EMPTY)]
    """The servers behind it."""
    port: Port | None = None
    """Port on the VIP and on the servers; 443 for horizon and appvolumes, required for tcp."""
    fqdn: FullName | None = None
    """DNS name of the VIP that users type."""
    health_path: HttpPath | None = None
    """Path that is asked over HTTPS to see whether a server works."""
    health_interval: Duration | None = None
    """Time between two checks of a server."""
    persistence: Duration | None = None
    """How long a client keeps its server after its last connection."""
    timeouts: Timeouts = Timeouts()
    """Time limits that differ from the kind's."""


class StatsUser(Section):
    """A login of the statistics page; its hash is the secret ``statsHash-<name>``."""

    role: Role = Role.VIEWER
    """viewer (looks) or admin (also changes server states)."""


class Stats(Section):
    """HAProxy's statistics page."""

    vip: Address
    """Virtual address of the page; it may be a service's."""
    port: Port = 8404
    """Its port."""
    users: Annotated[dict[str, StatsUser], Field(json_schema_extra=BY_USER_NAME)]
    """Logins by name; each needs the secret statsHash-<name>."""


class Haproxy(Section):
    """Process-wide settings of HAProxy; ``maxconn`` is derived from the node's memory unless given."""

    maxconn: Maxconn | None = None
    """Most connections at a time; without it as many as the smaller node's memory carries."""
    log_connections: Flag = False
    """Whether every connection is logged, and not only checks, errors and changes of state."""


class Access(Section):
    """Who may log in to the nodes."""

    ssh_keys: tuple[SshKey, ...]
    """Public keys that may log in as root."""


class Packages(Section):
    """Where the nodes get their packages."""

    repository: Repository = "https://packages.broadcom.com/photon"
    """Address of the Photon repositories or of a mirror of them."""
    versions: Annotated[dict[str, PackageVersion], Field(json_schema_extra=BY_PACKAGE)] = {}
    """Versions of haproxy and keepalived to install; without them the newest there is."""
    upgrade: Flag = False
    """Whether all other packages are brought up to date at first boot."""


class Rollout(Section):
    """How a running pair is changed."""

    gate: Flag = True
    """Whether the nodes are asked before each is touched; off for runners that cannot reach them."""


class Lab(Section):
    """What holds for a stack whose lifecycle is lab, and for no other."""

    ttl_hours: Hours | None = None
    """Hours after its last deployment when `lbstack sweep` may destroy it; without it never."""


class StackConfig(Section):
    """Everything that a stack file says, without its secrets."""

    lifecycle: Lifecycle
    """What the stack is for: lab (may be destroyed) or production (protected)."""
    placement: Placement
    """Where in which vCenter the pair lives, by name."""
    image: Image
    """The content library item that the VMs are made from."""
    network: Network
    """The network of nodes and VIPs."""
    nodes: Annotated[tuple[Node, ...], Field(json_schema_extra=EXACTLY_TWO)]
    """The two VMs, the preferred master first."""
    vrrp: Vrrp
    """How the nodes agree on who holds the VIPs."""
    services: Annotated[dict[str, Service], Field(json_schema_extra=BY_SERVICE_NAME)]
    """The balanced services by name."""
    stats: Stats
    """HAProxy's statistics page."""
    management_networks: Annotated[tuple[Subnet, ...], Field(json_schema_extra=NOT_EMPTY)]
    """Networks that may reach SSH, the statistics page, metrics and the health endpoint; never 0.0.0.0/0."""
    access: Access
    """Who may log in to the nodes."""
    packages: Packages = Packages()
    """Where the nodes get their packages from."""
    haproxy: Haproxy = Haproxy()
    """Process-wide settings of HAProxy."""
    rollout: Rollout = Rollout()
    """How a running pair is changed."""
    lab: Lab = Lab()
    """What holds for a lab alone."""
    protect: Protect = None
    """Whether Pulumi refuses to delete or replace the VMs: true, false or lifecycle (true for production)."""

    @property
    def protected(self) -> bool:
        """Whether Pulumi refuses to delete or replace the VMs."""
        return self.lifecycle is Lifecycle.PRODUCTION if self.protect is None else self.protect
