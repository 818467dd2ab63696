"""Rules that need more than one value of the configuration, or a place to name: each says what breaks it.

A rule takes a configuration that may have MISSING parts, where a value was refused on its own; it says nothing
about those and everything about the rest. Addresses and ports have their rules in ``addressing.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lbstack.config import addressing
from lbstack.config.choices import Firmware, Lifecycle, ServerState
from lbstack.config.fields import MEMORY_STEP_MIB, PINNABLE, SERVICE_NAME, USER_NAME
from lbstack.config.forms import Form, FormError, known
from lbstack.config.models import Service, StackConfig
from lbstack.config.sshkey import FIDO_TYPES, key_blob, key_type
from lbstack.facts.kinds import KINDS, derived_maxconn, duration_ms
from lbstack.problems import Problem, nearest, path_of

NODE_COUNT = 2
# OpenSSH 7.8 of Photon 3.0 is older than 8.2, which brought keys on FIDO tokens.
RELEASES_WITHOUT_FIDO = ("3.0-r3", "3.0")
# Outputs hold the statistics page's VIP under this name beside the services' (outputs.py).
RESERVED_SERVICE_NAMES = ("stats",)

# Limits of durations: (least, most), inclusive.
CHECK_LIMITS = ("1s", "10m")
# Horizon Console Administration, "health": poll a Connection Server every 30 s; more often is load without use.
HORIZON_LEAST_CHECK = "30s"
PERSISTENCE_LIMITS = ("1m", "1d")
CONNECT_LIMITS = ("100ms", "1m")
SILENCE_LIMITS = ("1s", "1d")
TUNNEL_LIMITS = ("1m", "1d")
# A Horizon client may be silent for its heartbeat of 30 minutes (KB 56636); twice that survives a lost one.
HORIZON_LEAST_TUNNEL = "1h"


def only_a_lab_ends_by_itself(config: StackConfig) -> Iterator[Problem]:
    """A time to live belongs to a lab."""
    ttl = config.lab.ttl_hours if known(config.lab) else None
    if known(config.lifecycle) and config.lifecycle is Lifecycle.PRODUCTION and known(ttl) and ttl is not None:
        yield Problem(
            "lab.ttlHours",
            f"is {ttl}, but lifecycle is production",
            "Only a lab has a time to live: take it out, or set lifecycle to lab.",
        )


def two_nodes(config: StackConfig) -> Iterator[Problem]:
    """A pair is two, with different names; vSphere gives memory in steps."""
    nodes = config.nodes
    if known(nodes) and len(nodes) != NODE_COUNT:
        yield Problem("nodes", f"has {len(nodes)} entries", f"List exactly {NODE_COUNT} nodes: this is a pair.")
    names: dict[str, int] = {}
    for index, node in enumerate(nodes):
        if known(node.name):
            first = names.setdefault(node.name.lower(), index)
            if first != index:
                yield Problem(
                    path_of(["nodes", index, "name"]),
                    f"is {node.name}, as nodes[{first}] is called",
                    "Give each node its own name; capitals make no difference.",
                )
        if known(node.memory_mib) and node.memory_mib % MEMORY_STEP_MIB:
            lower = node.memory_mib // MEMORY_STEP_MIB * MEMORY_STEP_MIB
            yield Problem(
                path_of(["nodes", index, "memoryMiB"]),
                f"is {node.memory_mib}, no multiple of {MEMORY_STEP_MIB}",
                f"vSphere gives memory in steps of {MEMORY_STEP_MIB} MiB: write {lower} or {lower + MEMORY_STEP_MIB}.",
            )


def firmware(config: StackConfig) -> Iterator[Problem]:
    """Secure boot is a matter of EFI."""
    if config.image.secure_boot is True and config.image.firmware is Firmware.BIOS:
        yield Problem(
            "image.secureBoot",
            "is true, but image.firmware is bios, which has no secure boot",
            "Set it to false, or use an image that boots with efi.",
        )


def placement(config: StackConfig) -> Iterator[Problem]:
    """A folder to be made has a name; tags are there and differ."""
    if config.placement.create_folder is True and config.placement.folder is None:
        yield Problem(
            "placement.createFolder",
            "is true, but there is no placement.folder",
            "Name the folder, or set it to false.",
        )
    tags = config.placement.tags
    if not known(tags) or tags is None or not known(tags.names):
        return
    if not tags.names:
        yield Problem("placement.tags.names", "is an empty list", "Name at least one tag, or leave out placement.tags.")
    for index, name in enumerate(tags.names):
        if known(name) and name in tags.names[:index]:
            yield Problem(path_of(["placement", "tags", "names", index]), "repeats another tag", "List each tag once.")


def service_names(config: StackConfig) -> Iterator[Problem]:
    """There is a service, and its name can stand in HAProxy's configuration."""
    if known(config.services) and not config.services:
        yield Problem("services", "is an empty mapping", "Describe at least one service by its name.")
    seen: dict[str, str] = {}
    for name in config.services:
        path = path_of(["services", name])
        yield from _key_form(path, name, SERVICE_NAME)
        first = seen.setdefault(name.lower(), name)
        if first != name:
            remedy = "Give each service its own name; capitals make no difference."
            yield Problem(path, f"is called like {path_of(['services', first])}", remedy)
        if name.lower() in RESERVED_SERVICE_NAMES:
            yield Problem(path, "has the name that the statistics page has in the outputs", "Choose another name.")


def _key_form(path: str, key: str, form: Form) -> Iterator[Problem]:
    try:
        form.read(key)
    except FormError as error:
        yield Problem(path, f"has a name that {error.what}", error.remedy)


def service_servers(config: StackConfig) -> Iterator[Problem]:
    """Each service has servers, and at least one that takes new clients."""
    for name, service in config.services.items():
        path = path_of(["services", name, "servers"])
        if not known(service, service.servers):
            continue
        if not service.servers:
            yield Problem(path, "is an empty list", "List at least one server, or remove the service.")
        elif all(
            known(server) and server.state in (ServerState.DRAIN, ServerState.MAINTENANCE) for server in service.servers
        ):
            yield Problem(
                path,
                "has no server in state ready, so that every new client would be refused",
                "Leave at least one ready, or remove the service.",
            )


def service_kinds(config: StackConfig) -> Iterator[Problem]:
    """What a kind needs is there, and nothing that contradicts it."""
    for name, service in config.services.items():
        if not known(service, service.kind):
            continue
        kind = KINDS[service.kind]
        if kind.default_port is None and service.port is None:
            yield Problem(
                path_of(["services", name, "port"]),
                "is missing",
                f"A service of kind {service.kind} has no port of its own: write one from 1 to 65535.",
            )
        fixed = KINDS["horizon"].health.path
        if service.kind == "horizon" and known(service.health_path) and service.health_path not in (None, fixed):
            yield Problem(
                path_of(["services", name, "healthPath"]),
                f"is {service.health_path}, but a Connection Server supports no other probe than {fixed}",
                f"Leave it out: {fixed} is asked.",
            )


def service_durations(config: StackConfig) -> Iterator[Problem]:
    """Durations are neither so short that a blink ends a session nor so long that they never end."""
    for name, service in config.services.items():
        if not known(service):
            continue
        for keys, value, (least, most), because in _durations(service):
            if value is None or not known(value):
                continue
            if not duration_ms(least) <= duration_ms(value) <= duration_ms(most):
                yield Problem(
                    path_of(["services", name, *keys]),
                    f"is {value}, outside {least} to {most}",
                    f"Write a duration within these limits{because}.",
                )


def _durations(service: Service) -> Iterator[tuple[list[str], str | None, tuple[str, str], str]]:
    horizon = service.kind == "horizon"
    check, tunnel, check_because, tunnel_because = CHECK_LIMITS, TUNNEL_LIMITS, "", ""
    if horizon:
        check, tunnel = (HORIZON_LEAST_CHECK, CHECK_LIMITS[1]), (HORIZON_LEAST_TUNNEL, TUNNEL_LIMITS[1])
        check_because = "; a Connection Server may be probed every 30 s"
        tunnel_because = "; a Horizon client may be silent for half an hour, and one heartbeat may be lost"
    yield ["healthInterval"], service.health_interval, check, check_because
    yield ["persistence"], service.persistence, PERSISTENCE_LIMITS, ""
    timeouts = service.timeouts
    yield ["timeouts", "connect"], timeouts.connect, CONNECT_LIMITS, ""
    yield ["timeouts", "client"], timeouts.client, SILENCE_LIMITS, ""
    yield ["timeouts", "server"], timeouts.server, SILENCE_LIMITS, ""
    yield ["timeouts", "tunnel"], timeouts.tunnel, tunnel, tunnel_because


def one_name_one_vip(config: StackConfig) -> Iterator[Problem]:
    """A DNS name leads to one VIP."""
    seen: dict[str, tuple[str, object]] = {}
    for name, service in config.services.items():
        if not known(service, service.fqdn, service.vip) or service.fqdn is None:
            continue
        first, vip = seen.setdefault(service.fqdn.lower(), (name, service.vip))
        if vip != service.vip:
            yield Problem(
                path_of(["services", name, "fqdn"]),
                f"is {service.fqdn}, as {path_of(['services', first, 'fqdn'])} is, but the VIPs differ",
                "Give each VIP its own name.",
            )


def statistics_users(config: StackConfig) -> Iterator[Problem]:
    """Somebody may see the statistics, under a name that HTTP and HAProxy can carry."""
    users = config.stats.users
    if known(users) and not users:
        yield Problem("stats.users", "is an empty mapping", "Name at least one login, such as `stats: {role: viewer}`.")
    for user in users:
        yield from _key_form(path_of(["stats", "users", user]), user, USER_NAME)


def connections(config: StackConfig) -> Iterator[Problem]:
    """The smaller node's memory carries the connections that are asked for."""
    wanted = config.haproxy.maxconn
    sizes = [node.memory_mib for node in config.nodes if known(node.memory_mib)]
    if not known(wanted) or wanted is None or not sizes:
        return
    smallest = min(sizes)
    limit = derived_maxconn(smallest)
    if wanted > limit:
        yield Problem(
            "haproxy.maxconn",
            f"is {wanted}, above the limit of {limit} that a node with {smallest} MiB of memory carries",
            f"Write at most {limit}, leave it out to get that, or raise nodes[].memoryMiB.",
        )


def ssh_keys(config: StackConfig) -> Iterator[Problem]:
    """Each key once, and of a type that the image's OpenSSH knows."""
    seen: dict[str, int] = {}
    release = config.image.release
    for index, key in enumerate(config.access.ssh_keys):
        if not known(key):
            continue
        path = path_of(["access", "sshKeys", index])
        first = seen.setdefault(key_blob(key), index)
        if first != index:
            yield Problem(path, f"is the same key as access.sshKeys[{first}]", "List each key once.")
        if known(release) and release in RELEASES_WITHOUT_FIDO and key_type(key) in FIDO_TYPES:
            yield Problem(
                path,
                f"is a key on a FIDO token ({key_type(key)}), which OpenSSH 7.8 of Photon {release} does not know",
                "Use an ed25519 or RSA key, or a newer release.",
            )


def package_pins(config: StackConfig) -> Iterator[Problem]:
    """Only packages that a node installs by name can be pinned."""
    for package in config.packages.versions:
        if package not in PINNABLE:
            near = nearest(package, PINNABLE)
            guess = f"Did you mean {near}? " if near else ""
            yield Problem(
                path_of(["packages", "versions", package]),
                "is no package that a node installs by name",
                f"{guess}Versions can be given for: {', '.join(PINNABLE)}.",
            )


RULES: tuple[Callable[[StackConfig], Iterator[Problem]], ...] = (
    only_a_lab_ends_by_itself,
    two_nodes,
    firmware,
    placement,
    service_names,
    service_servers,
    service_kinds,
    service_durations,
    one_name_one_vip,
    statistics_users,
    connections,
    ssh_keys,
    package_pins,
    *addressing.RULES,
)


def check(config: StackConfig) -> list[Problem]:
    """Every problem that shows only when values are seen together.

    Args:
        config: A configuration whose values passed their own checks or are MISSING.
    """
    return [problem for rule in RULES for problem in rule(config)]
