"""Render the files of both nodes: pure and deterministic, the same input gives the same bytes.

The values of the templates are computed in ``values.py``, ``haproxy.py`` and ``node.py``. ``templates.py`` fills the
templates, and ``pack.py`` puts the files into guestinfo. This module also reads the guest programs in
``cloudinit/guest`` and the keys in ``data/``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.facts.releases import NEW_KEY, OLD_KEY, Release
from lbstack.render import paths
from lbstack.render.haproxy import haproxy_values
from lbstack.render.node import node_json, node_values
from lbstack.render.shorter import shorter
from lbstack.render.templates import DIRECTORY, fill
from lbstack.render.values import release_of

GUEST_PROGRAMS = DIRECTORY / "guest"
DATA = Path(__file__).parent / "data"

HASH_PLACEHOLDER = "0" * 64
"""Stands in place of the set's hash until that is known, and in texts that must not depend on it."""


@dataclass(frozen=True)
class File:
    """One file of a node.

    Args:
        content: Its text, in ASCII.
        owner: ``user:group`` in the guest.
        mode: Permission bits.
    """

    content: str
    owner: str = paths.ROOT
    mode: int = 0o644


@dataclass(frozen=True)
class RenderedPair:
    """The files of both nodes.

    Args:
        config_hash: The set's hash, which identifies it: SHA-256 over every file of both nodes, 64 hexadecimal digits.
        nodes: Node name → guest path → file, sorted by path.
    """

    config_hash: str
    nodes: Mapping[str, Mapping[str, File]]


@dataclass(frozen=True)
class _Entry:
    """One line of the table of files.

    Args:
        path: Guest path.
        template: Name of the template, without ``.j2``.
        owner: ``user:group`` in the guest.
        mode: Permission bits.
        wanted: Whether a node of this configuration and release has the file.
    """

    path: str
    template: str
    owner: str = paths.ROOT
    mode: int = 0o644
    wanted: Callable[[StackConfig, Release], bool] = lambda _config, _release: True


def _owns_network(_config: StackConfig, release: Release) -> bool:
    return release.network_owner == "set"


def _has_time_servers(config: StackConfig, _release: Release) -> bool:
    return bool(config.network.ntp)


FILES = (
    # Beside cloud-init's own file, which sorts before it: inert where cloud-init configures the network. Images of 4.0
    # before Revision 1, and of 3.0 until July 2021, are built to ignore the metadata's network.
    _Entry(paths.STATIC_NETWORK, "10-static-en.network", paths.NETWORKD),
    _Entry(paths.DHCP_NETWORK, "99-dhcp-en.network", paths.NETWORKD, wanted=_owns_network),
    _Entry(paths.SYSCTL_FILE, "55-keepalived.conf"),
    _Entry(paths.IPV4_RULES, "ip4save"),
    _Entry(paths.IPV6_RULES, "ip6save"),
    _Entry(paths.IPTABLES_UNIT, "iptables.service"),
    _Entry(paths.HAPROXY_DROPIN, "haproxy.service.conf"),
    _Entry(paths.KEEPALIVED_DROPIN, "keepalived.service.conf"),
    _Entry(paths.APPLY_UNIT, "lbstack-apply.service"),
    _Entry(paths.VERIFY_UNIT, "lbstack-verify.service"),
    _Entry(paths.WATCH_UNIT, "lbstack-watch.service"),
    _Entry(paths.LIVE_UNIT, "lbstack-live.service"),
    _Entry(paths.LOOK_UNIT, "lbstack-look.service"),
    _Entry(paths.KEEPALIVED_CONF, "keepalived.conf", mode=0o600),
    _Entry(paths.TMPFILES, "tmpfiles.conf"),
    _Entry(paths.TIMESYNCD_CONF, "timesyncd.conf", wanted=_has_time_servers),
    _Entry(paths.AUTHORIZED_KEYS, "authorized_keys", mode=0o600),
    _Entry(paths.ROOT_SHADOW, "root.shadow", mode=0o600),
)
"""Every file of one node that is made from a template of its own. haproxy.cfg is missing here because it is rendered
once for both nodes, and repository files because they share one template."""


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


@cache
def _program(name: str) -> str:
    return shorter(_read(GUEST_PROGRAMS / name))


def _repositories(config: StackConfig, release: Release) -> Iterator[tuple[str, File]]:
    """Yield one file for each repository of the image, so that no file keeps an address that no longer exists."""
    keys = (OLD_KEY, NEW_KEY) if release.tdnf_many_keys else (NEW_KEY,)
    for repository in release.repositories:
        values = {
            "repository": repository,
            "address": config.packages.repository,
            "keys": [f"file://{key}" for key in keys],
            "authority": paths.PACKAGES_CA if config.packages.ca else None,
        }
        yield f"{paths.REPOSITORY_DIRECTORY}/{repository.id}.repo", File(fill("photon.repo", values))
    if not release.ships_new_key:
        yield NEW_KEY, File(_read(DATA / Path(NEW_KEY).name))


# A change of these asks for more than nothing, also where it is one of a comment.
KEEP_COMMENTS = ("/etc/systemd/network/", paths.KEEPALIVED_CONF)


def without_comments(path: str, file: File) -> File:
    """Return a file without the lines that are comments."""
    if path.startswith(KEEP_COMMENTS):
        return file
    lines = file.content.splitlines(keepends=True)
    return replace(file, content="".join(line for line in lines if not line.lstrip().startswith("#")))


def _node_files(
    config: StackConfig, secrets: Secrets, index: int, haproxy: File, config_hash: str, *, earlier: bool
) -> dict[str, File]:
    """Return every file of one node, sorted by path."""
    release = release_of(config)
    values = node_values(config, index) | {"root_hash": secrets.root_hash}
    files = {paths.HAPROXY_CFG: haproxy}
    for entry in FILES:
        if entry.wanted(config, release):
            files[entry.path] = File(fill(entry.template, values), entry.owner, entry.mode)
    if earlier:
        files = {path: without_comments(path, file) for path, file in files.items()}
    files.update(_repositories(config, release))
    for program in paths.PROGRAMS:
        files[program] = File(_program(Path(program).name), mode=0o755)
    about = node_json(config, config.nodes[index], config_hash, _next_key(secrets))
    files[paths.NODE_JSON] = File(json.dumps(about, indent=1, sort_keys=True) + "\n")
    return dict(sorted(files.items()))


def _render(config: StackConfig, secrets: Secrets, config_hash: str, *, earlier: bool) -> dict[str, dict[str, File]]:
    text = fill("haproxy.cfg", haproxy_values(config, secrets.stats_hashes, config_hash, earlier=earlier))
    haproxy = File(text, mode=0o600)
    return {
        node.name: _node_files(config, secrets, index, haproxy, config_hash, earlier=earlier)
        for index, node in enumerate(config.nodes)
    }


def _next_key(secrets: Secrets) -> str:
    """PEM of the public key that is to follow the one that signs; empty where none is."""
    if not secrets.next_signing_key:
        return ""  # without the library: to show files no key is needed
    from lbstack.render.rsakey import public_pem  # noqa: PLC0415 - few stacks are changing their key

    return public_pem(secrets.next_signing_key)


def _digest(nodes: Mapping[str, Mapping[str, File]]) -> str:
    """Return the SHA-256 over node, path, owner, mode and content of every file, each with its length before it."""
    digest = hashlib.sha256()
    for node, files in sorted(nodes.items()):
        for path, file in files.items():
            for part in (node, path, file.owner, f"{file.mode:04o}", file.content):
                data = part.encode()
                digest.update(b"%d:" % len(data))
                digest.update(data)
    return digest.hexdigest()


def render_pair(config: StackConfig, secrets: Secrets, *, earlier: bool = False) -> RenderedPair:
    """Render the files of both nodes.

    Two of the files contain the set's hash, so it is computed over a first rendering with zeros in its place.

    Args:
        config: The validated configuration.
        secrets: Its secrets.
        earlier: Whether the appliers of the pair are those of the release before, which take no line of
            haproxy.cfg whose form they do not know: the set by which such a pair moves to this release. All of it has
            to fit into one guestinfo value, so it has no comments either.
    """
    config_hash = _digest(_render(config, secrets, HASH_PLACEHOLDER, earlier=earlier))
    return RenderedPair(config_hash, _render(config, secrets, config_hash, earlier=earlier))
