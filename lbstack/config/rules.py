"""Rules between values of the configuration; each yields the problems that break it.

A rule needs more than one value, or the place of a value. The configuration has MISSING where a value was refused by
its own form: a rule ignores these parts and checks all others. The rules about addresses and ports are in
``addressing.py``, those about services in ``services.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lbstack.config import addressing, services
from lbstack.config.choices import Firmware, Lifecycle
from lbstack.config.fields import MEMORY_STEP_MIB, PINNABLE, USER_NAME
from lbstack.config.missing import known
from lbstack.config.models import StackConfig
from lbstack.config.sshkey import FIDO_TYPES, key_blob, key_type
from lbstack.facts.kinds import derived_maxconn
from lbstack.facts.releases import RELEASES
from lbstack.problems import Problem, nearest, path_of

NODE_COUNT = 2
# Photon 3.0 has OpenSSH 7.8; keys on FIDO tokens need 8.2.
RELEASES_WITHOUT_FIDO = ("3.0-r3", "3.0")


def only_a_lab_has_a_time_to_live(config: StackConfig) -> Iterator[Problem]:
    """Only a lab has a time to live."""
    ttl = config.lab.ttl_hours if known(config.lab) else None
    if known(config.lifecycle) and config.lifecycle is Lifecycle.PRODUCTION and known(ttl) and ttl is not None:
        yield Problem(
            "lab.ttlHours",
            f"is {ttl}, but lifecycle is production",
            "Only a lab has a time to live: remove it, or set lifecycle to lab.",
        )


def two_nodes(config: StackConfig) -> Iterator[Problem]:
    """There are two nodes with different names, and their memory is a size that vSphere accepts."""
    nodes = config.nodes
    if known(nodes) and len(nodes) != NODE_COUNT:
        yield Problem("nodes", f"has {len(nodes)} entries", f"List exactly {NODE_COUNT} nodes.")
    names: dict[str, int] = {}
    for index, node in enumerate(nodes):
        if known(node.name):
            first = names.setdefault(node.name.lower(), index)
            if first != index:
                yield Problem(
                    path_of(["nodes", index, "name"]),
                    f"is {node.name}, which is the name of nodes[{first}]",
                    "Give each node its own name; upper and lower case are the same.",
                )
        if known(node.memory_mib) and node.memory_mib % MEMORY_STEP_MIB:
            lower = node.memory_mib // MEMORY_STEP_MIB * MEMORY_STEP_MIB
            yield Problem(
                path_of(["nodes", index, "memoryMiB"]),
                f"is {node.memory_mib}, which is not a multiple of {MEMORY_STEP_MIB}",
                f"vSphere needs a multiple of {MEMORY_STEP_MIB} MiB: write {lower} or {lower + MEMORY_STEP_MIB}.",
            )


def firmware(config: StackConfig) -> Iterator[Problem]:
    """Secure boot needs EFI firmware."""
    if config.image.secure_boot is True and config.image.firmware is Firmware.BIOS:
        yield Problem(
            "image.secureBoot",
            "is true, but image.firmware is bios, which has no secure boot",
            "Set it to false, or use an image that boots with efi.",
        )


def placement(config: StackConfig) -> Iterator[Problem]:
    """A folder that the stack creates has a name; a tag category has tags, and they differ."""
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
        yield Problem("placement.tags.names", "is an empty list", "Name at least one tag, or remove placement.tags.")
    for index, name in enumerate(tags.names):
        if known(name) and name in tags.names[:index]:
            yield Problem(path_of(["placement", "tags", "names", index]), "repeats another tag", "List each tag once.")


def statistics_users(config: StackConfig) -> Iterator[Problem]:
    """The statistics page has at least one login, and HTTP and HAProxy can carry its name."""
    users = config.stats.users
    if known(users) and not users:
        yield Problem("stats.users", "is an empty mapping", "Name at least one login, such as `stats: {role: viewer}`.")
    for user in users:
        yield from services.key_form(path_of(["stats", "users", user]), user, USER_NAME)


def connections(config: StackConfig) -> Iterator[Problem]:
    """The smaller node's memory is enough for the configured number of connections."""
    maxconn = config.haproxy.maxconn
    sizes = [node.memory_mib for node in config.nodes if known(node.memory_mib)]
    if not known(maxconn) or maxconn is None or not sizes:
        return
    smallest = min(sizes)
    limit = derived_maxconn(smallest)
    if maxconn > limit:
        yield Problem(
            "haproxy.maxconn",
            f"is {maxconn}, above the limit of {limit} that a node with {smallest} MiB of memory carries",
            f"Write at most {limit}, remove it to get that value, or raise nodes[].memoryMiB.",
        )


def ssh_keys(config: StackConfig) -> Iterator[Problem]:
    """Each key is listed once, and its type is supported by the image's OpenSSH."""
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
                f"is a key on a FIDO token ({key_type(key)}), which OpenSSH 7.8 of Photon {release} does not support",
                "Use an ed25519 or RSA key, or a newer release.",
            )


def package_source(config: StackConfig) -> Iterator[Problem]:
    """The image's tdnf can be given a CA; the oldest cannot."""
    release, authority = config.image.release, config.packages.ca
    if known(release, authority) and authority is not None and not RELEASES[release].tdnf_many_keys:
        yield Problem(
            "packages.ca",
            f"is given, but tdnf of Photon {release} takes no CA for a repository",
            "Put the CA into the image's trust store, or use a newer release, or a mirror with a public certificate.",
        )


def package_pins(config: StackConfig) -> Iterator[Problem]:
    """Only packages that a node installs by name can be pinned."""
    for package in config.packages.versions:
        if package not in PINNABLE:
            near = nearest(package, PINNABLE)
            guess = f"Did you mean {near}? " if near else ""
            yield Problem(
                path_of(["packages", "versions", package]),
                "is not a package that a node installs by name",
                f"{guess}Versions can be given for: {', '.join(PINNABLE)}.",
            )


RULES: tuple[Callable[[StackConfig], Iterator[Problem]], ...] = (
    only_a_lab_has_a_time_to_live,
    two_nodes,
    firmware,
    placement,
    *services.RULES,
    statistics_users,
    connections,
    ssh_keys,
    package_source,
    package_pins,
    *addressing.RULES,
)


def check(config: StackConfig) -> list[Problem]:
    """Find every problem between values.

    Args:
        config: A configuration whose values passed their own checks or are MISSING.

    Returns:
        The problems, in the order of the rules.
    """
    return [problem for rule in RULES for problem in rule(config)]
