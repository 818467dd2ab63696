"""Pack a node's files into the guestinfo keys of its VM.

The cloud-config is built as data and written as JSON, which is also YAML. cloud-init reads it at the first boot, and
the applier reads the same document with the standard library at every later boot. cloud-init overwrites no live file:
it writes the set with its signed manifest to a staging directory, where the applier reads it.

The result is deterministic: RSA PKCS#1 v1.5 signatures and ``deflate.py`` give the same bytes on every machine. A set
that does not fit into a guestinfo value is refused, because VMware Tools would truncate it silently.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from lbstack.config.credentials import Secrets
from lbstack.config.models import Node, StackConfig
from lbstack.problems import ConfigError, Problem
from lbstack.render.deflate import gzip
from lbstack.render.files import File, RenderedPair
from lbstack.render.paths import APPLIER, HOSTNAME, MANIFEST, PUBLIC_KEY, ROOT, SET_FILES, SIGNATURE
from lbstack.render.values import release_of

FORMAT = 1
"""Format of the manifest; the applier refuses any other."""

GUESTINFO_LIMIT = 65_536
"""Most bytes of one encoded guestinfo value (guest_msg_def.h of open-vm-tools)."""

STAGED_MODE = "0600"

LAST_CHANGE_DATE = "2020-01-01"
"""Date of the last change of root's password. Day zero would mean that the password has to be changed now; any other
day is good. This one is in the past also for a VM whose clock is wrong at first boot."""

LARGEST_NAMED = 5
"""Number of files that the message about a set's size names."""

Document = dict[str, object]


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"


def manifest(config_hash: str, node_name: str, files: Mapping[str, File]) -> str:
    """Return the signed list of a node's files: one line of JSON with sorted keys.

    Args:
        config_hash: The set's hash.
        node_name: The node of the set; every other node refuses it.
        files: Guest path → file.
    """
    return _canonical(
        {
            "format": FORMAT,
            "hash": config_hash,
            "node": node_name,
            "files": [
                {
                    "path": path,
                    "owner": file.owner,
                    "mode": f"{file.mode:04o}",
                    "sha256": hashlib.sha256(file.content.encode()).hexdigest(),
                }
                for path, file in sorted(files.items())
            ],
        }
    )


def _load_key(pem: str) -> RSAPrivateKey:
    # config/credentials.py has checked the key; a second check takes 0.1 s for each node.
    key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the signing key is not an RSA key; stackfile.load refuses it beforehand")
    return key


def sign(text: str, key: RSAPrivateKey) -> str:
    """Return the RSA PKCS#1 v1.5 signature with SHA-256 of a text, in base64 on one line."""
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode() + "\n"


def public_pem(key: RSAPrivateKey) -> str:
    """Return the public key as PEM, which the applier passes to openssl."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _boot_commands(root_hash: str | None) -> list[str]:
    """Return the shell commands of ``bootcmd``: they set or lock root's password and switch off its ageing.

    The root password of an image has expired, and an expired password prevents even a login with a key. On Photon,
    passwords expire after 90 days. The hash is passed on standard input, so that no process list shows it.
    """
    return [
        f"chpasswd -e <<'LBSTACK'\nroot:{root_hash or '!'}\nLBSTACK\n",
        f"chage -d {LAST_CHANGE_DATE} -m 0 -M -1 -I -1 -E -1 root\n",
    ]


def _staged(path: str, content: str) -> Document:
    return {"path": path, "owner": ROOT, "permissions": STAGED_MODE, "content": content}


def cloud_config(config: StackConfig, pair: RenderedPair, node_name: str, secrets: Secrets) -> Document:
    """Return a node's cloud-config as data.

    Args:
        config: The validated configuration.
        pair: Its rendered files.
        node_name: Which node.
        secrets: The stack's secrets.
    """
    files = pair.nodes[node_name]
    key = _load_key(secrets.signing_key)
    signed = manifest(pair.config_hash, node_name, files)
    staged = {path: _staged(f"{SET_FILES}{path}", file.content) for path, file in sorted(files.items())}
    common = {path for path in files if all(each.get(path) == files[path] for each in pair.nodes.values())}
    return {
        "bootcmd": _boot_commands(secrets.root_hash),
        "disable_root": False,
        "preserve_hostname": False,
        "ssh_pwauth": False,
        "users": [
            {
                "name": "root",
                # Set explicitly: by default cloud-init would lock the password that bootcmd has just set.
                "lock_passwd": secrets.root_hash is None,
                "ssh_authorized_keys": list(config.access.ssh_keys),
            }
        ],
        "write_files": [
            {"path": PUBLIC_KEY, "owner": ROOT, "permissions": "0644", "content": public_pem(key)},
            *(entry for path, entry in staged.items() if path in common),
            # The nodes' documents are equal up to here (see _parts).
            # The host name that cloud-init itself sets (with hostnamectl, before D-Bus runs) may not outlive the boot.
            {"path": HOSTNAME, "owner": ROOT, "permissions": "0644", "content": f"{node_name}\n"},
            *(entry for path, entry in staged.items() if path not in common),
            _staged(MANIFEST, signed),
            _staged(SIGNATURE, sign(signed, key)),
        ],
        "runcmd": [["python3", f"{SET_FILES}{APPLIER}", "boot"]],
    }


def metadata(config: StackConfig, node: Node) -> Document:
    """Return the metadata, which cloud-init's data source reads first: identity, name and, by release, the network.

    The instance-id never changes during the life of a VM, so that cloud-init does not start over after a reboot.

    Args:
        config: The validated configuration.
        node: One of its nodes.
    """
    network = config.network
    data: Document = {"instance-id": f"lbstack-{node.name}", "local-hostname": node.name}
    if release_of(config).network_owner == "metadata":
        servers = {
            "addresses": [str(server) for server in network.dns],
            "search": list(network.search_domains),
        }
        data["network"] = {
            "version": 2,
            "ethernets": {
                network.interface: {
                    "match": {"name": network.interface},
                    "dhcp4": False,
                    "dhcp6": False,
                    "addresses": [f"{node.address}/{network.cidr.prefixlen}"],
                    # One route only: the networkd renderer of cloud-init 22.4 merges several into an invalid section.
                    "routes": [{"to": "0.0.0.0/0", "via": str(network.gateway)}],
                    "nameservers": {name: values for name, values in servers.items() if values},
                }
            },
        }
    return data


def _too_large(node_name: str, size: int, files: Mapping[str, File]) -> ConfigError:
    sizes = sorted(((len(gzip(file.content.encode())), path) for path, file in files.items()), reverse=True)
    largest = ", ".join(f"{path} {length} bytes" for length, path in sizes[:LARGEST_NAMED])
    return ConfigError(
        [
            Problem(
                "services",
                f"makes the set of node {node_name} {size} bytes, compressed and encoded, over the limit of "
                f"{GUESTINFO_LIMIT} for one guestinfo value; the largest files, compressed: {largest}",
                "Use fewer services or servers in one pair: move some to a second stack.",
            )
        ]
    )


def _parts(document: Document) -> tuple[bytes, bytes]:
    """Return the text of a cloud-config in two parts: the beginning that is equal on all nodes, and the rest."""
    text = "#cloud-config\n" + json.dumps(document, indent=1, ensure_ascii=True) + "\n"
    own = text.index(f'"path": "{HOSTNAME}"')  # found once: inside a value the quotes are escaped
    return text[:own].encode(), text[own:].encode()


def encode(node_name: str, parts: tuple[bytes, ...], files: Mapping[str, File]) -> tuple[str, str]:
    """Encode userdata with the simplest encoding that fits into a guestinfo value.

    Args:
        node_name: The node, for the error.
        parts: The parts of the userdata, each compressed as a block of its own.
        files: The node's files, guest path → file, for the error.

    Returns:
        The value and its encoding: ``base64`` or ``gzip+base64``.

    Raises:
        ConfigError: The userdata does not fit, even compressed.
    """
    plain = base64.b64encode(b"".join(parts)).decode()
    if len(plain) <= GUESTINFO_LIMIT:
        return plain, "base64"
    packed = base64.b64encode(gzip(*parts)).decode()
    if len(packed) <= GUESTINFO_LIMIT:
        return packed, "gzip+base64"
    raise _too_large(node_name, len(packed), files)


def guestinfo(config: StackConfig, pair: RenderedPair, node_name: str, secrets: Secrets) -> dict[str, str]:
    """Return the guestinfo keys and values of one node's VM.

    Args:
        config: The validated configuration.
        pair: Its rendered files.
        node_name: Which node.
        secrets: The stack's secrets.

    Raises:
        ConfigError: The node's set does not fit into one guestinfo value.
    """
    node = next(node for node in config.nodes if node.name == node_name)
    document = cloud_config(config, pair, node_name, secrets)
    userdata, encoding = encode(node_name, _parts(document), pair.nodes[node_name])
    about = json.dumps(metadata(config, node), indent=1, ensure_ascii=True) + "\n"
    return {
        "guestinfo.metadata": base64.b64encode(about.encode()).decode(),
        "guestinfo.metadata.encoding": "base64",
        "guestinfo.userdata": userdata,
        "guestinfo.userdata.encoding": encoding,
    }
