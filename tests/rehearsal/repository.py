"""A package repository in a lab's network, and the image that needs it: one without HAProxy and keepalived.

Photon's plain OVA has neither. The image is a layer over the guests' own in which their files are gone; the repository
hands out those very files, over TLS with a certificate of a CA that no image knows.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import stat
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import trustme

from lab.network import netns

PORT = 8443
NETWORK_OFF = "etc/cloud/cloud.cfg.d/99-disable-networking-config.cfg"
# Without a DHCP server the image waits two minutes for its network before cloud-init goes on. That wait is what
# test_old_guest.py is about; here it would only be slept through.
WAIT_ONLINE = "etc/systemd/system/systemd-networkd-wait-online.service.d/short.conf"
WAIT_ONLINE_S = 5
KEY = "etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-4096"
DATABASE = "var/lib/rpm/packages"
INDEX = "repodata/packages"
# What a package holds; /etc/init.d too, because systemd would make a unit of a script there.
FILES: Mapping[str, tuple[str, ...]] = {
    name: (f"usr/sbin/{name}", f"usr/lib/systemd/system/{name}.service", f"etc/init.d/{name}")
    for name in ("haproxy", "keepalived")
}


def _below(layers: Sequence[Path], file: str) -> Path:
    """A file of an image, in the uppermost of its layers that has it."""
    return next(layer / file for layer in layers if (layer / file).exists())


def plain_image(layers: Sequence[Path], place: Path) -> tuple[Path, ...]:
    """The layers of an image without the packages, uppermost first; it keeps cloud-init from the network.

    It gives the wait for a network up soon.

    Args:
        layers: Those of the guests' image.
        place: Where the new one is made; it does not exist yet.
    """

    def put(file: str) -> Path:
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        return place / file

    for name, files in FILES.items():
        for file in (*files, f"{DATABASE}/{name}"):
            os.mknod(put(file), stat.S_IFCHR, os.makedev(0, 0))  # an overlay's word for "not there"
    put(NETWORK_OFF).write_text("network: {config: disabled}\n")  # as on 4.0 GA, and on 3.0 until July 2021
    program = f"/usr/lib/systemd/systemd-networkd-wait-online --timeout={WAIT_ONLINE_S}"
    put(WAIT_ONLINE).write_text(f"[Service]\nExecStart=\nExecStart={program}\n")
    return place, *layers


class Repository:
    """What is served: the packages of FILES, and another that is signed by nobody whom a node knows.

    Args:
        layers: The guests' image.
        place: Where the packages are put; it does not exist yet.
        paths: Below the server's root, as the node asks for them: the first has the packages, the others have none.
        authority: Whose certificate it shows.
        newer: Package → another version that it hands out, with the same files; one without files is new.
        signed: Whether these are signed by the key that the nodes know.
    """

    def __init__(
        self,
        layers: Sequence[Path],
        place: Path,
        paths: Sequence[str],
        authority: trustme.CA,
        newer: Mapping[str, str] = MappingProxyType({}),
        *,
        signed: bool = True,
    ) -> None:
        self._place, self._authority = place, authority
        for path in paths:
            (place / path / INDEX).parent.mkdir(parents=True)
            (place / path / INDEX).touch()
        root = place / paths[0]
        key = hashlib.sha256(_below(layers, KEY).read_bytes()).hexdigest()
        stranger = hashlib.sha256(b"somebody else's key").hexdigest()
        lines = []
        for name in {**FILES, **newer}:
            files = FILES.get(name, ())
            version = newer.get(name) or _below(layers, f"{DATABASE}/{name}").read_text().strip()
            with tarfile.open(root / f"{name}.tar", "w") as archive:
                for file in files:
                    archive.add(_below(layers, file), arcname=file)
            lines.append(f"{name} {version} {name}.tar {key if signed or name not in newer else stranger}")
        (root / "stranger.tar").touch()
        lines.append(f"stranger 1.0 stranger.tar {stranger}")
        (root / INDEX).write_text("\n".join(lines) + "\n")

    @contextmanager
    def served(self, namespace: str, address: str) -> Iterator[None]:
        """Answer at an address of a namespace for the length of a block."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(address).configure_cert(context)
        handler = partial(_Quiet, directory=str(self._place))
        with netns.inside(namespace):
            server = ThreadingHTTPServer((address, PORT), handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""
