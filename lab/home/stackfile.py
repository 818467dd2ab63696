"""The lab's own copy of the committed stack file: with its address, its SSH key and its secrets.

The committed ``Pulumi.lab.yaml`` is only read. The copy is made again when the committed file changes; until then it
may be edited (``python -m lab exec -- pulumi config set ...``) and keeps the edits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError
from lab.home import limits
from lab.home.credentials import Credentials
from lab.home.state import Paths, Record, write_private
from lab.system.cache import CHECKOUT

PROJECT = "lbstack"
SOURCE = CHECKOUT / "Pulumi.lab.yaml"
SERVER = "vsphere:vsphereServer"
USER = "vsphere:user"
ACCESS = f"{PROJECT}:access"
STATS = f"{PROJECT}:stats"
ROLLOUT = f"{PROJECT}:rollout"
IMAGE = f"{PROJECT}:image"
PLACEMENT = f"{PROJECT}:placement"
HAPROXY = f"{PROJECT}:haproxy"
SALT = "encryptionsalt"  # the passphrase provider's own key in a stack file
DEFAULT_PORT = 8989
ADMINISTRATOR = "administrator@vsphere.local"  # the lab itself: it fills the library and does what people do by hand
HOST = "127.0.0.1"

Document = dict[str, Any]


def read(path: Path) -> Document:
    """A stack file as data.

    Raises:
        LabError: It is missing or not a stack file.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = document["config"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise LabError(f"{path} cannot be read as a stack file ({reason}). It needs a `config:` section.") from error
    if not isinstance(config, dict):
        raise LabError(f"{path}: `config` is no mapping. Restore it from the repository.")
    return dict(document)


def wanted_port(source: Path = SOURCE) -> int:
    """The port that the committed stack file names for the lab's vCenter."""
    port = str(read(source)["config"].get(SERVER, "")).rpartition(":")[2]
    return int(port) if port.isdigit() else DEFAULT_PORT


def secret_values(config: Mapping[str, Any], credentials: Credentials) -> dict[str, str]:
    """Every secret that the stack needs, by its key.

    Args:
        config: The ``config`` section of a stack file.
        credentials: The lab's credentials, already made.
    """
    values = {
        "vsphere:password": credentials.vcenter_password,
        f"{PROJECT}:signingKey": credentials.signing_key,
        f"{PROJECT}:rootPasswordHash": credentials.password_hash("root"),
    }
    return values | {f"{PROJECT}:statsHash-{user}": credentials.password_hash(user) for user in stats_users(config)}


def stats_users(config: Mapping[str, Any]) -> list[str]:
    """The users of the statistics page that a stack file names."""
    try:
        return sorted(config[STATS]["users"])
    except (KeyError, TypeError):
        return []  # the program reports what is wrong with it


def write(paths: Paths, record: Record, credentials: Credentials, source: Path = SOURCE) -> None:
    """Bring the lab's copy up to date; its secrets are set with Pulumi afterwards.

    Args:
        paths: The lab.
        record: Its memory; ``port`` is set, ``source`` is updated.
        credentials: The lab's credentials, already made.
        source: The committed stack file.

    Raises:
        LabError: The committed file, or the copy, cannot be read.
    """
    mode = b"guests" if record.guests else b""
    digest = hashlib.sha256(source.read_bytes() + mode).hexdigest() if source.exists() else ""
    copy = read(paths.stack_file) if paths.stack_file.exists() else None
    if copy is None or digest != record.source:
        document = _from_source(source, copy, credentials, guests=record.guests)
    else:
        document = copy | {"config": dict(copy["config"])}
    document["config"][SERVER] = f"{HOST}:{record.port}"
    if document != copy:
        write_private(paths.stack_file, yaml.safe_dump(document, sort_keys=False))
    record.source = digest


def adopt_salt(paths: Paths, made: Path) -> None:
    """Take over the salt that Pulumi made for the stack, unless the copy has it.

    Args:
        paths: The lab.
        made: The stack file that Pulumi wrote when it made the stack.
    """
    document = read(paths.stack_file)
    if SALT not in document:
        salt = yaml.safe_load(made.read_text(encoding="utf-8"))[SALT]
        write_private(paths.stack_file, yaml.safe_dump(document | {SALT: salt}, sort_keys=False))


def is_secret(value: object) -> bool:
    """Whether a value of a stack file is an encrypted one."""
    return isinstance(value, dict) and set(value) == {"secure"}


def _from_source(source: Path, copy: Document | None, credentials: Credentials, *, guests: bool) -> Document:
    """The committed file with what only the lab knows; secrets that an earlier copy holds stay as they are."""
    document = read(source)
    config: MutableMapping[str, Any] = document["config"]
    access = dict(config.get(ACCESS) or {})
    config[ACCESS] = access | {"sshKeys": [*access.get("sshKeys", ()), credentials.ssh_public_key]}
    if guests:
        _fit(config)
    else:
        # No guest boots behind the simulated vCenter: there is nobody to ask.
        config.setdefault(ROLLOUT, {"gate": False})
    if copy is not None:
        if SALT in copy:
            document[SALT] = copy[SALT]
        needed = secret_values(config, credentials)
        config.update({key: value for key, value in copy["config"].items() if key in needed and is_secret(value)})
    return document


def _fit(config: MutableMapping[str, Any]) -> None:
    """Let HAProxy ask for no more open files than this machine grants a guest; else it refuses to start."""
    if limits.open_files() >= limits.OPEN_FILES:
        return
    most = limits.connections()
    section = dict(config.get(HAPROXY) or {})
    config[HAPROXY] = section | {"maxconn": min(most, int(section.get("maxconn", most)))}


def vcenter_uuid(config: Mapping[str, Any]) -> str:
    """The UUID that a stack file pins; the simulated vCenter is given just that.

    Raises:
        LabError: It pins none.
    """
    return str(_value(config, PLACEMENT, "vcenterUuid"))


def image(config: Mapping[str, Any]) -> tuple[str, str]:
    """Library and item that the VMs are made from.

    Raises:
        LabError: The stack file names none.
    """
    return str(_value(config, IMAGE, "library")), str(_value(config, IMAGE, "item"))


def _value(config: Mapping[str, Any], section: str, key: str) -> object:
    found = config.get(section)
    if not isinstance(found, dict) or not found.get(key):
        name = section.partition(":")[2]
        raise LabError(f"{name}.{key} is missing in the lab's stack file; it is what the lab's vCenter is made from.")
    return found[key]
