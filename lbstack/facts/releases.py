"""What each supported Photon OS release ships and how it behaves: one table, and nothing else.

Every value was read from the distribution's package sources (branches 3.0, 4.0 and 5.0, and the commit that the
3.0 Revision 3 image was built from, of August 2020), from the daemons' own sources at the packaged version, or was
measured with the nearest Debian package. Package versions are those that the repositories serve last: HAProxy and
keepalived are on no image, they come from a repository or are baked into the image by its owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

NetworkOwner = Literal["set", "metadata"]
Version = tuple[int, ...]

OLD_KEY = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY"
"""The RSA-1024 key of 2008 that every image carries; packages up to early 2022 were signed with it."""

NEW_KEY = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-4096"
"""The RSA-4096 key that later packages are signed with; see ``lbstack/render/data/README.md`` for its fingerprint."""


@dataclass(frozen=True)
class Repository:
    """One package repository that a release's images define, as a file of its own in /etc/yum.repos.d.

    Args:
        id: The section name; the file is called like it.
        name: The path element before the release and the architecture below the repository address.
        enabled: Whether tdnf may use it: only those that HAProxy, keepalived and what they need come from.
    """

    id: str
    name: str
    enabled: bool


@dataclass(frozen=True)
class Binaries:
    """Where the programs that a node cannot serve without are found in the guest."""

    haproxy: str = "/usr/sbin/haproxy"
    keepalived: str = "/usr/sbin/keepalived"
    iptables_restore: str = "/usr/sbin/iptables-restore"

    def all(self) -> tuple[str, ...]:
        """Return every path, sorted."""
        return tuple(sorted((self.haproxy, self.keepalived, self.iptables_restore)))


@dataclass(frozen=True)
class Release:
    """One Photon OS release, by what the rest of the project must know of it.

    Args:
        name: How a stack file calls it.
        title: How people call it.
        haproxy: Version of the newest HAProxy package.
        keepalived: Version of the *oldest* keepalived package that the release may install: the configuration
            must be valid for it and for every later one.
        cloud_init: Version on the image.
        systemd: Version on the image; unit directives newer than it are ignored there.
        python: Version that guest programs run on.
        network_owner: Who writes the interface's address: ``set`` (a file of ours, because the image tells
            cloud-init to leave the network alone) or ``metadata`` (cloud-init, from guestinfo).
        has_prometheus: Whether HAProxy was built with the Prometheus exporter.
        has_conditional_check: Whether a health check may say "no new clients" (``error-status L7OKC`` on a negated
            ``http-check expect``); without it a quiesced server has to be taken as down.
        iptables_wait: Whether the image's own iptables script waits for the xtables lock; before it did, two
            loaders at once could fail, so ours takes a lock of its own everywhere.
        repositories: The repository files to write. Those that the images have and that are off there (debuginfo,
            srpms, the installation medium) are left as they are.
        tdnf_many_keys: Whether tdnf accepts several keys in one ``gpgkey=`` line (2.1.1 takes the line for the
            name of a single file).
        ships_new_key: Whether every image of the release has ``NEW_KEY``; where not (the first images of 4.0 are
            older than it), it is delivered with the set.
        binaries: Where the daemons' programs are.
    """

    name: str
    title: str
    haproxy: Version
    keepalived: Version
    cloud_init: Version
    systemd: int
    python: Version
    network_owner: NetworkOwner
    has_prometheus: bool
    has_conditional_check: bool
    iptables_wait: bool
    repositories: tuple[Repository, ...]
    tdnf_many_keys: bool
    ships_new_key: bool
    binaries: Binaries = Binaries()


_REPOSITORIES_3 = (
    Repository("photon", "photon_release", enabled=True),
    Repository("photon-extras", "photon_extras", enabled=False),
    Repository("photon-updates", "photon_updates", enabled=True),
)
"""Release and updates hold what the pair needs; extras does not, but the image has it switched on."""

_REPOSITORIES_4 = (
    Repository("photon", "photon", enabled=False),
    Repository("photon-extras", "photon_extras", enabled=False),
    Repository("photon-release", "photon_release", enabled=True),
    Repository("photon-updates", "photon_updates", enabled=True),
)
"""The same for 4.0 and 5.0, where ``photon`` is the union of the two and off on the images."""

RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        release.name: release
        for release in (
            Release(
                name="3.0-r3",
                title="Photon OS 3.0 Revision 3",
                haproxy=(2, 2, 2),
                keepalived=(2, 0, 18),
                cloud_init=(19, 4),
                systemd=239,
                python=(3, 7),
                network_owner="set",
                has_prometheus=True,
                has_conditional_check=False,
                iptables_wait=False,
                repositories=_REPOSITORIES_3,
                tdnf_many_keys=False,
                ships_new_key=False,
            ),
            Release(
                name="3.0",
                title="Photon OS 3.0, last update",
                haproxy=(2, 2, 31),
                keepalived=(2, 0, 18),
                cloud_init=(22, 4, 2),
                systemd=239,
                python=(3, 7),
                network_owner="metadata",
                has_prometheus=True,
                has_conditional_check=False,
                iptables_wait=True,
                repositories=_REPOSITORIES_3,
                tdnf_many_keys=True,
                ships_new_key=True,
            ),
            Release(
                name="4.0",
                title="Photon OS 4.0",
                haproxy=(2, 6, 15),
                keepalived=(2, 1, 3),
                cloud_init=(25, 1),
                systemd=247,
                python=(3, 10),
                network_owner="metadata",
                has_prometheus=False,
                has_conditional_check=True,
                iptables_wait=True,
                repositories=_REPOSITORIES_4,
                tdnf_many_keys=True,
                ships_new_key=False,
            ),
            Release(
                name="5.0",
                title="Photon OS 5.0",
                haproxy=(2, 8, 2),
                keepalived=(2, 2, 2),
                cloud_init=(25, 1),
                systemd=253,
                python=(3, 11),
                network_owner="metadata",
                has_prometheus=False,
                has_conditional_check=True,
                iptables_wait=True,
                repositories=_REPOSITORIES_4,
                tdnf_many_keys=True,
                ships_new_key=True,
            ),
        )
    }
)
"""Every supported release by its name in a stack file."""
