"""List what each supported Photon OS release contains and how it behaves.

Every value was read from the distribution's package sources (branches 3.0, 4.0 and 5.0, and the commit of August 2020
that the 3.0 Revision 3 image was built from), from the daemons' own sources at the packaged version, or was measured
with the nearest Debian package. Package versions are the newest in the repositories: no image contains HAProxy and
keepalived; they come from a repository, or the image's owner has installed them in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

NetworkOwner = Literal["set", "metadata"]
Version = tuple[int, ...]

OLD_KEY = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY"
"""Guest path of the RSA-1024 key of 2008 that every image has; packages until early 2022 were signed with it."""

NEW_KEY = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-4096"
"""Guest path of the RSA-4096 key that signs later packages; ``lbstack/render/data/README.md`` has its fingerprint."""


@dataclass(frozen=True)
class Repository:
    """One package repository that a release's images define, in a file of its own.

    Args:
        id: The section name, which is also the file's name.
        name: The path element before the release and the architecture below the repository address.
        enabled: Whether tdnf may use it: only the repositories of HAProxy, keepalived and their dependencies.
    """

    id: str
    name: str
    enabled: bool


@dataclass(frozen=True)
class Binaries:
    """Guest paths of the programs that a node needs to serve."""

    haproxy: str = "/usr/sbin/haproxy"
    keepalived: str = "/usr/sbin/keepalived"
    iptables_restore: str = "/usr/sbin/iptables-restore"

    def all(self) -> tuple[str, ...]:
        """Return every path, sorted."""
        return tuple(sorted((self.haproxy, self.keepalived, self.iptables_restore)))


@dataclass(frozen=True)
class Release:
    """What the project needs to know of one Photon OS release.

    Args:
        name: Its name in a stack file.
        title: Its name in texts for people.
        haproxy: Version of the newest HAProxy package.
        keepalived: Version of the *oldest* keepalived package that the release may install: the configuration
            must be valid for it and for every later one.
        cloud_init: Oldest version on an image of the release; the repository's newest is on none.
        systemd: Version on the image; it ignores unit directives that are newer.
        python: Version that runs the guest programs.
        network_owner: What configures the interface's address: ``set`` (a file of the set, because the image
            configures cloud-init not to manage the network) or ``metadata`` (cloud-init, from guestinfo). Some images
            of these releases ignore the metadata's network all the same (the GA of 4.0, 3.0 until July 2021); there
            the set's file takes over at first boot.
        has_prometheus: Whether HAProxy was built with the Prometheus exporter.
        has_conditional_check: Whether a health check can report "no new clients" (``error-status L7OKC`` on a negated
            ``http-check expect``). Without it, a quiesced server has to be treated as down.
        iptables_wait: Whether the image's own iptables script waits for the xtables lock. Without that, two programs
            that load rules at the same time can fail; ``lbstack-firewall`` waits on every release.
        repositories: The repository files to write. Others that the images have but do not enable (debuginfo,
            srpms, the installation medium) are not changed.
        tdnf_many_keys: Whether tdnf accepts several keys in one ``gpgkey=`` line (2.1.1 treats the line as the
            name of a single file).
        ships_new_key: Whether every image of the release has ``NEW_KEY``. Where not (the first images of 4.0 are
            older than the key), the set delivers it.
        binaries: Guest paths of the daemons' programs.
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
"""The pair needs packages of release and updates only; extras is listed because the images enable it."""

_REPOSITORIES_4 = (
    Repository("photon", "photon", enabled=False),
    Repository("photon-extras", "photon_extras", enabled=False),
    Repository("photon-release", "photon_release", enabled=True),
    Repository("photon-updates", "photon_updates", enabled=True),
)
"""The same for 4.0 and 5.0, where ``photon`` is the union of the two and not enabled on the images."""

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
                cloud_init=(20, 4, 1),  # 4.0 GA; 22.x on Revision 2
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
                cloud_init=(23, 1, 1),  # 5.0 GA
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
"""Name in a stack file → release, for every supported release."""
