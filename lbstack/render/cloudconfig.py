"""Write what cloud-init reads: userdata (a cloud-config) and metadata, as data and as text.

Userdata has one of two forms. ``Form.PARTS`` has only what a first boot needs, the applier included, which reads the
set from keys of its own. ``Form.STAGED`` carries the whole set: the only form that an applier of an earlier release
can read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum, unique

from lbstack.config.credentials import Secrets
from lbstack.config.models import Node, StackConfig
from lbstack.render.files import RenderedPair
from lbstack.render.parts import common_of
from lbstack.render.paths import APPLIER, BOOTSTRAP, HOSTNAME, MANIFEST, PUBLIC_KEY, ROOT, SET_FILES, SIGNATURE
from lbstack.render.values import release_of

STAGED_MODE = "0600"

LAST_CHANGE_DATE = "2020-01-01"
"""Date of the last change of root's password. Day zero would mean that the password has to be changed now; any other
day is good. This one is in the past also for a VM whose clock is wrong at first boot."""

Document = dict[str, object]


@unique
class Form(StrEnum):
    """What userdata carries."""

    STAGED = "staged"  # the whole set; for VMs whose applier knows no other form
    PARTS = "parts"  # what a first boot needs; the set is in keys of its own


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


def write_files(pair: RenderedPair, node_name: str, form: Form, public: str, stamp: tuple[str, str]) -> list[Document]:
    """Return what cloud-init writes at the first boot.

    Args:
        pair: The rendered files of both nodes.
        node_name: Which node.
        form: What userdata carries.
        public: The public key.
        stamp: The manifest and its signature.
    """
    files = pair.nodes[node_name]
    key: Document = {"path": PUBLIC_KEY, "owner": ROOT, "permissions": "0644", "content": public}
    # The host name that cloud-init itself sets (with hostnamectl, before D-Bus runs) may not outlive the boot.
    name: Document = {"path": HOSTNAME, "owner": ROOT, "permissions": "0644", "content": f"{node_name}\n"}
    # The nodes' documents are equal up to the host name (see blocks_of).
    if form is Form.PARTS:
        return [key, _staged(BOOTSTRAP, files[APPLIER].content), name]
    common = common_of(pair, node_name)
    staged = {path: _staged(f"{SET_FILES}{path}", file.content) for path, file in sorted(files.items())}
    return [
        key,
        *(entry for path, entry in staged.items() if path in common),
        name,
        *(entry for path, entry in staged.items() if path not in common),
        _staged(MANIFEST, stamp[0]),
        _staged(SIGNATURE, stamp[1]),
    ]


def cloud_config(config: StackConfig, secrets: Secrets, form: Form, files: list[Document]) -> Document:
    """Return a node's cloud-config as data.

    Args:
        config: The validated configuration.
        secrets: The stack's secrets.
        form: What userdata carries.
        files: What it writes (``write_files``).
    """
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
        "write_files": files,
        "runcmd": [["python3", BOOTSTRAP if form is Form.PARTS else f"{SET_FILES}{APPLIER}", "boot"]],
    }


def blocks_of(document: Document, applier: str) -> Iterator[bytes]:
    """Yield the text of a cloud-config in blocks: what is equal on all nodes, with the applier apart, and the rest."""
    text = "#cloud-config\n" + json.dumps(document, indent=1, ensure_ascii=True) + "\n"
    own = text.index(f'"path": "{HOSTNAME}"')  # found once: inside a value the quotes are escaped
    before, found, after = text[:own].partition(applier)
    yield from (block.encode() for block in (before, found, after, text[own:]) if block)


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
