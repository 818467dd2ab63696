"""From models to the files of both nodes: pure and deterministic, the same input gives the same bytes.

Reads the templates in ``cloudinit/`` and the keys in ``data/``, and refuses a template that names a value
which does not exist. Writes nothing but compiled templates, where and when Python writes compiled modules. What the
files say is decided in ``values.py``, ``haproxy.py`` and ``node.py``; how they travel in ``pack.py``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

from lbstack import shipped
from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.facts.releases import NEW_KEY, OLD_KEY, Release
from lbstack.render import paths
from lbstack.render.haproxy import haproxy_values
from lbstack.render.node import node_json, node_values
from lbstack.render.values import release_of

TEMPLATES = shipped.path("cloudinit")
GUEST = TEMPLATES / "guest"
DATA = Path(__file__).parent / "data"

NETWORKD = "systemd-network:systemd-network"  # as in the source post; networkd reads no file that it may not
HASH_PLACEHOLDER = "0" * 64

UNITS = "/etc/systemd/system"
PROGRAMS = (
    "lbstack-apply",
    "lbstack-check",
    "lbstack-firewall",
    "lbstack-notify",
    "lbstack-vips",
)


@dataclass(frozen=True)
class File:
    """One file of a node.

    Args:
        content: Its text, ASCII.
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
        config_hash: The set's name: SHA-256 over every file of both nodes, 64 hexadecimal digits.
        nodes: Node name → guest path → file, sorted by path.
    """

    config_hash: str
    nodes: Mapping[str, Mapping[str, File]]


@dataclass(frozen=True)
class _Entry:
    """One line of the table of files: where it lands, from which template, whose it is, and when it exists."""

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
    _Entry("/etc/systemd/network/10-static-en.network", "10-static-en.network", NETWORKD, wanted=_owns_network),
    _Entry("/etc/systemd/network/99-dhcp-en.network", "99-dhcp-en.network", NETWORKD, wanted=_owns_network),
    _Entry(paths.SYSCTL_FILE, "55-keepalived.conf"),
    _Entry("/etc/systemd/scripts/ip4save", "ip4save"),
    _Entry("/etc/systemd/scripts/ip6save", "ip6save"),
    _Entry(f"{UNITS}/iptables.service", "iptables.service"),
    _Entry(f"{UNITS}/haproxy.service.d/lbstack.conf", "haproxy.service.conf"),
    _Entry(f"{UNITS}/keepalived.service.d/lbstack.conf", "keepalived.service.conf"),
    _Entry(f"{UNITS}/lbstack-apply.service", "lbstack-apply.service"),
    _Entry(f"{UNITS}/lbstack-verify.service", "lbstack-verify.service"),
    _Entry("/etc/keepalived/keepalived.conf", "keepalived.conf", mode=0o600),
    _Entry("/etc/tmpfiles.d/lbstack.conf", "tmpfiles.conf"),
    _Entry("/etc/systemd/timesyncd.conf.d/lbstack.conf", "timesyncd.conf", wanted=_has_time_servers),
    _Entry("/root/.ssh/authorized_keys", "authorized_keys", mode=0o600),
    _Entry("/etc/lbstack/root.shadow", "root.shadow", mode=0o600),
)
"""Every file that a template makes for one node, but haproxy.cfg, which is made once for both, and repositories."""


_OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "keep_trailing_newline": True,
        "autoescape": False,  # configuration files, not HTML; every value's form was checked (fields.py)
    }
)


class _CompiledTemplates(FileSystemBytecodeCache):
    """Templates as bytecode, like modules: compiling them anew took as long as filling them five times.

    Each is kept with a digest of all that it was made from, so that no old one is ever used.
    """

    def get_source_checksum(self, source: str) -> str:
        """Return the digest of a template and of what compiles it; that of Python Jinja2 looks at by itself."""
        made_from = (jinja2.__version__, repr(dict(_OPTIONS)), source)
        return hashlib.sha256("\0".join(made_from).encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take one up if it is there and whole; whatever is wrong with it, the template itself is."""
        try:
            super().load_bytecode(bucket)
        except Exception:  # noqa: BLE001 - what reading a damaged file raises is nowhere promised
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep one; a checkout that cannot be written to does without."""
        with suppress(OSError):
            Path(self.directory).mkdir(exist_ok=True)
            super().dump_bytecode(bucket)


@cache
def _environment() -> Environment:
    """The template engine: an unknown name is an error, blocks leave no blank lines behind."""
    kept = not (sys.dont_write_bytecode or sys.pycache_prefix)
    return Environment(  # noqa: S701 - see _OPTIONS
        bytecode_cache=_CompiledTemplates(str(TEMPLATES / "__pycache__")) if kept else None,
        loader=FileSystemLoader(TEMPLATES),
        **_OPTIONS,
    )


def _fill(template: str, values: Mapping[str, object]) -> str:
    return _environment().get_template(f"{template}.j2").render(values)


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


def _repositories(config: StackConfig, release: Release) -> Iterator[tuple[str, File]]:
    """One file for each repository of the image, so that none keeps an address that is gone."""
    keys = (OLD_KEY, NEW_KEY) if release.tdnf_many_keys else (NEW_KEY,)
    for repository in release.repositories:
        values = {
            "repository": repository,
            "address": config.packages.repository,
            "keys": [f"file://{key}" for key in keys],
        }
        yield f"/etc/yum.repos.d/{repository.id}.repo", File(_fill("photon.repo", values))
    if not release.ships_new_key:
        yield NEW_KEY, File(_read(DATA / Path(NEW_KEY).name))


def _node_files(config: StackConfig, secrets: Secrets, index: int, haproxy: File, config_hash: str) -> dict[str, File]:
    """Return every file of one node, sorted by path."""
    release = release_of(config)
    values = node_values(config, index) | {"root_hash": secrets.root_hash}
    files = {paths.HAPROXY_CFG: haproxy}
    for entry in FILES:
        if entry.wanted(config, release):
            files[entry.path] = File(_fill(entry.template, values), entry.owner, entry.mode)
    files.update(_repositories(config, release))
    for program in PROGRAMS:
        files[f"{paths.PROGRAM_DIRECTORY}/{program}"] = File(_read(GUEST / program), mode=0o755)
    about = node_json(config, config.nodes[index], config_hash)
    files["/etc/lbstack/node.json"] = File(json.dumps(about, indent=1, sort_keys=True) + "\n")
    return dict(sorted(files.items()))


def _render(config: StackConfig, secrets: Secrets, config_hash: str) -> dict[str, dict[str, File]]:
    text = _fill("haproxy.cfg", haproxy_values(config, secrets.stats_hashes, config_hash))
    haproxy = File(text, mode=0o600)
    return {
        node.name: _node_files(config, secrets, index, haproxy, config_hash) for index, node in enumerate(config.nodes)
    }


def _digest(nodes: Mapping[str, Mapping[str, File]]) -> str:
    """Return the SHA-256 of everything about every file; lengths keep neighbours apart."""
    digest = hashlib.sha256()
    for node, files in sorted(nodes.items()):
        for path, file in files.items():
            for part in (node, path, file.owner, f"{file.mode:04o}", file.content):
                data = part.encode()
                digest.update(b"%d:" % len(data))
                digest.update(data)
    return digest.hexdigest()


def render_pair(config: StackConfig, secrets: Secrets) -> RenderedPair:
    """Return the files of both nodes.

    The set's hash stands in two of the files, so it is taken over a first rendering with zeros in its place.

    Args:
        config: A configuration that ``stackfile.load`` accepted.
        secrets: Its secrets.
    """
    config_hash = _digest(_render(config, secrets, HASH_PLACEHOLDER))
    return RenderedPair(config_hash, _render(config, secrets, config_hash))
