"""Signed sets for the guest tests: their files, their keys, and ways to alter them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

STAGING = "/var/lib/lbstack/staging"
NODE = "PhotonLB-01"
SECRET_HASH = "$6$rounds=5000$saltsaltsalt$secretofroot"  # not a real hash, but in the form of one


@cache
def key(name: str = "stack") -> rsa.RSAPrivateKey:
    """A signing key; a small one, because only tests use it."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def public(of: str = "stack") -> bytes:
    """The public part of a signing key, as PEM."""
    return (
        key(of).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@dataclass(frozen=True)
class Item:
    """A file of a set."""

    content: str
    owner: str = "root:root"
    mode: str = "0644"


@dataclass
class Parts:
    """A signed set in its parts; a test may alter them before it puts the set into guestinfo."""

    hash: str
    manifest: bytes
    signature: bytes
    files: dict[str, str] = field(default_factory=dict)

    def sign(self, of: str = "stack") -> Parts:
        """Sign the manifest in its current state."""
        raw = key(of).sign(self.manifest, padding.PKCS1v15(), hashes.SHA256())
        self.signature = base64.b64encode(raw)
        return self

    def alter(self, **changes: object) -> Parts:
        """Change fields of the manifest and sign it again, which only the owner of the key can do."""
        document = json.loads(self.manifest) | changes
        self.manifest = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return self.sign()

    def userdata(self) -> str:
        """The cloud-config that contains the set."""
        contents = {"manifest.json": self.manifest.decode(), "manifest.sig": self.signature.decode()}
        contents |= {f"files{path}": text for path, text in self.files.items()}
        files = [
            {"path": f"{STAGING}/{path}", "owner": "root:root", "permissions": "0600", "content": text}
            for path, text in contents.items()
        ]
        other = {"path": "/etc/lbstack/stack.pub", "content": public().decode()}
        return "#cloud-config\n" + json.dumps({"write_files": [other, *files], "runcmd": []}, indent=1)


def items_of(mark: str, node: str, health_port: int, **about: object) -> dict[str, Item]:
    """The files of a set.

    Args:
        mark: Distinguishes this set from others.
        node: The name of its node.
        health_port: The port of the health endpoint on loopback.
        about: Values of ``node.json`` that replace the usual ones.
    """
    identity = hashlib.sha256(mark.encode()).hexdigest()
    data = {
        "format": 1,
        "hash": identity,
        "node": node,
        "address": "192.168.6.120",
        "interface": "eth0",
        "vips": ["192.168.6.122"],
        "network_owner": "set",
        "health": {"address": "127.0.0.1", "port": health_port},
        "packages": {"install": ["haproxy", "keepalived"], "versions": {}, "upgrade": False, "tdnf_keys": []},
        "binaries": ["/usr/sbin/haproxy", "/usr/sbin/keepalived", "/usr/sbin/iptables-restore"],
        "socket": "/run/lbstack/haproxy.sock",
    } | about
    network = "systemd-network:systemd-network"
    own = "/usr/local/lib/lbstack"
    firewall = (
        "#!/bin/sh\n"
        'if [ "$1" = --test ]; then\n'
        '    echo "lbstack-firewall $*" >>"$FAKES/log"\n'
        '    iptables-restore --test "$2/ip4save" && ip6tables-restore --test "$2/ip6save"\n'
        "else\n"
        '    echo "lbstack-firewall load" >>"$FAKES/log"\n'
        '    cd "${1:-$ROOT/etc/systemd/scripts}" || exit 1\n'
        "    ! /usr/bin/grep -q unloadable ip4save ip6save || exit 1\n"
        "    iptables-restore ip4save && ip6tables-restore ip6save\n"
        "fi\n"
    )
    keepalived = (
        "# keepalived\nglobal_defs {\n script_user root\n enable_script_security\n}\n"
        f'vrrp_script check {{\n script "{own}/lbstack-check 192.168.6.120 10000"\n}}\n'
        f"vrrp_instance pair {{\n notify {own}/lbstack-notify\n"
        " virtual_ipaddress {\n  192.168.6.122/32 dev eth0\n }\n}\n"
    )
    haproxy = (
        f"# set {identity}\nglobal\n    user haproxy\n    group haproxy\n"
        f'    localpeer "${{NODE}}"\nuserlist stats\n    user admin password {SECRET_HASH}\n'
        "frontend health\n    bind :8405\n"
    )
    dropin = f'[Service]\nEnvironment=NODE={node} "NODE_ADDRESS=192.168.6.120"\nLimitNOFILE=65536\n'
    return {
        "/etc/systemd/network/10-static-en.network": Item("[Match]\nName=eth0\n", network),
        "/etc/systemd/network/99-dhcp-en.network": Item("[Match]\nName=e*\n[Network]\nDHCP=no\n", network),
        "/etc/sysctl.d/55-keepalived.conf": Item("# bind VIPs\nnet.ipv4.ip_nonlocal_bind = 1\n"),
        "/etc/systemd/scripts/ip4save": Item("*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n"),
        "/etc/systemd/scripts/ip6save": Item("*filter\n:INPUT DROP [0:0]\nCOMMIT\n"),
        "/etc/systemd/system/iptables.service": Item("[Service]\n"),
        "/etc/systemd/system/haproxy.service.d/lbstack.conf": Item(dropin),
        "/etc/systemd/system/keepalived.service.d/lbstack.conf": Item("[Service]\nRestart=always\n"),
        "/etc/systemd/system/lbstack-apply.service": Item("[Service]\n"),
        "/etc/systemd/system/lbstack-verify.service": Item("[Service]\n"),
        "/etc/systemd/timesyncd.conf.d/lbstack.conf": Item("[Time]\nNTP=192.168.6.100\n"),
        "/etc/tmpfiles.d/lbstack.conf": Item("d /run/lbstack 0755 root root\n"),
        "/etc/yum.repos.d/photon.repo": Item("[photon]\nbaseurl=https://mirror.example/photon\ngpgcheck=1\n"),
        "/etc/keepalived/keepalived.conf": Item(keepalived, mode="0600"),
        "/etc/haproxy/haproxy.cfg": Item(haproxy, mode="0600"),
        "/etc/lbstack/node.json": Item(json.dumps(data)),
        "/etc/lbstack/root.shadow": Item(f"root:{SECRET_HASH}\n", mode="0600"),
        "/root/.ssh/authorized_keys": Item("ssh-ed25519 AAAA test\n", mode="0600"),
        f"{own}/lbstack-apply": Item("print('lbstack-apply, format 1')\n", mode="0755"),
        f"{own}/lbstack-firewall": Item(firewall, mode="0755"),
        f"{own}/lbstack-check": Item("#!/bin/sh\n", mode="0755"),
        f"{own}/lbstack-notify": Item("#!/bin/sh\n", mode="0755"),
    }


def signed_set(
    mark: str,
    changes: Mapping[str, Item | str | None] | None,
    node: str,
    append: Mapping[str, str] | None,
    health_port: int,
    **about: object,
) -> Parts:
    """Make a signed set.

    Args:
        mark: Distinguishes this set from others.
        changes: Path → the new file or its new content; None removes the file.
        node: The name of its node.
        append: Path → lines to add to the file.
        health_port: The port of the health endpoint on loopback.
        about: Values of ``node.json`` that replace the usual ones.
    """
    items = items_of(mark, node, health_port, **about)
    for path, item in (changes or {}).items():
        if item is None:
            del items[path]
        elif isinstance(item, str):
            items[path] = Item(item, items[path].owner, items[path].mode) if path in items else Item(item)
        else:
            items[path] = item
    for path, text in (append or {}).items():
        items[path] = Item(items[path].content + text, items[path].owner, items[path].mode)
    listed = [
        {"path": p, "owner": i.owner, "mode": i.mode, "sha256": hashlib.sha256(i.content.encode()).hexdigest()}
        for p, i in sorted(items.items())
    ]
    identity = hashlib.sha256(mark.encode()).hexdigest()
    document = {"format": 1, "hash": identity, "node": node, "files": listed}
    manifest = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return Parts(identity, manifest, b"", {path: item.content for path, item in items.items()}).sign()
