"""The configurations of the goldens: the source post's on every release, and a large one.

``tests/goldens/<case>/<node>/`` has the files of a node at their guest paths, with zeros in place of the set's hash.
The programs (``/usr/local/lib/lbstack``) and the packages' public key are equal in every set and not copied there;
``<node>.files`` lists them with owner and mode like all other files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lbstack.config.credentials import NEW_KEY_BITS, ROOT_HASH, SIGNING_KEY, STATS_PREFIX, Secrets
from lbstack.config.models import StackConfig
from lbstack.render.files import RenderedPair, render_pair
from lbstack.stackfile import load as stackfile
from tests.keys import signing_key

Raw = dict[str, Any]

CHECKOUT = Path(__file__).parents[2]
GOLDENS = Path(__file__).parent

# The post's own passwords and one for root, hashed with fixed salts. They protect nothing.
PASSWORDS: Mapping[str, str] = MappingProxyType({"admin": "LetMeIn", "stats": "ReadOnly"})
HASHES: Mapping[str, str] = MappingProxyType(
    {
        "admin": "$6$lbstackgoldens01$QxcHakiWiQnKbMtDPc5U08Eu951CCpKa7Hl/5M2zUruaw03hSPmSNZJokEIlbuyCO."
        "qDFFV0Qi.KvN9SNVmOt0",
        "stats": "$6$lbstackgoldens02$0sgTmtQylqot2XwOIlrLaplUlIHfTj4LL1383vXjV9RaDZeqCYug2vJsxAyd/SSy."
        "v6wbv61jd3gj6AGWuDin/",
        "root": "$6$lbstackgoldens03$Z1h2hDDybMKiH.BEpuAd442tjQykYemAaO3GwGmeayJ7i5PLQM7lX3GYMxP4ek9f44YfoX2Z7fQHE9"
        "V86X.R8/",
    }
)
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f operator"


@dataclass(frozen=True)
class Case:
    """One golden configuration.

    Args:
        name: Its directory.
        config: The validated configuration.
        secrets: Its secrets.
    """

    name: str
    config: StackConfig
    secrets: Secrets


def post() -> Raw:
    """The source post's environment; everything else has its default."""
    raw: Raw = stackfile.read_file(CHECKOUT / "Pulumi.lab.yaml")
    raw.pop("haproxy", None)
    raw.pop("lab", None)
    raw["access"] = {"sshKeys": [SSH_KEY]}
    return raw


def large() -> Raw:
    """All possible settings: kinds, states, overrides, several networks, the fast profile, preemption."""
    raw = post()
    horizon, appvol = raw["services"]["horizon"], raw["services"]["appvol"]
    horizon["servers"] = [
        {"name": "cs-01", "address": "192.168.6.113"},
        {"name": "cs-02", "address": "192.168.6.114", "state": "drain"},
        {"name": "cs-03", "address": "192.168.6.115", "state": "maintenance"},
    ]
    horizon |= {"persistence": "4h", "timeouts": {"tunnel": "12h"}}
    appvol["servers"].append({"name": "AppVolumes_Manager_03", "address": "192.168.6.117", "state": "drain"})
    appvol |= {"port": 3443, "healthPath": "/health_check", "healthInterval": "10s"}
    for number in range(1, 9):
        raw["services"][f"desktop-{number}"] = {
            "kind": "tcp",
            "vip": f"192.168.6.{129 + number}",
            "port": 8443,
            "timeouts": {"connect": "2s", "client": "90s", "server": "2m"},
            "servers": [
                {"name": "a", "address": f"192.168.6.{149 + number}"},
                {"name": "b", "address": f"192.168.6.{169 + number}", "state": "maintenance"},
            ],
        }
    # Several services may share a VIP, also that of the statistics page.
    raw["services"]["probe"] = {
        "kind": "tcp",
        "vip": "192.168.6.122",
        "port": 9443,
        "healthPath": "/ready?full=1",
        "servers": [{"name": "only", "address": "192.168.6.116"}],
    }
    raw["network"] |= {
        "dns": ["192.168.6.100", "192.168.6.101"],
        "ntp": ["192.168.6.100", "ntp.lab.example"],
        "searchDomains": ["lab.example", "example"],
        "interface": "ens192",
    }
    raw["nodes"][0] |= {"cpus": 4, "memoryMiB": 4096}
    raw["nodes"][1] |= {"cpus": 4, "memoryMiB": 3072}
    raw["vrrp"] = {"routerId": 77, "profile": "fast", "preemption": True}
    raw["haproxy"] = {"maxconn": 8000, "logConnections": True, "hardStopAfter": "12h"}
    raw["managementNetworks"] = ["192.168.6.240/28", "10.20.0.0/16"]
    raw["packages"] = {
        "repository": "https://mirror.lab.example/photon",
        "versions": {"haproxy": "2.2.31-1.ph3", "keepalived": "2.2.7-1.ph3"},
        "upgrade": True,
    }
    raw["stats"]["users"] = {"stats": {"role": "viewer"}}
    return raw


def load(raw: Raw, *, root_password: bool = False) -> tuple[StackConfig, Secrets]:
    """Check a configuration like the program, with the goldens' secrets."""
    secrets = {SIGNING_KEY: signing_key(NEW_KEY_BITS)}
    secrets |= {f"{STATS_PREFIX}{user}": HASHES[user] for user in raw["stats"]["users"]}
    if root_password:
        secrets[ROOT_HASH] = HASHES["root"]
    return stackfile.load(raw, secrets)


def _on(release: str, raw: Raw) -> Raw:
    return raw | {"image": raw["image"] | {"release": release}}


@cache
def cases() -> Mapping[str, Case]:
    """Name → case."""
    found = [Case(f"post-{release}", *load(_on(release, post()))) for release in ("3.0-r3", "3.0", "4.0", "5.0")]
    found += [
        Case(f"large-{release}", *load(_on(release, large()), root_password=True))
        for release in ("3.0-r3", "3.0", "5.0")
    ]
    return MappingProxyType({case.name: case for case in found})


@cache
def rendered(name: str, *, earlier: bool = False) -> RenderedPair:
    """The rendered files of a case; ``earlier``: for appliers of the release before."""
    case = cases()[name]
    return render_pair(case.config, case.secrets, earlier=earlier)


CASES = ("large-3.0", "large-3.0-r3", "large-5.0", "post-3.0", "post-3.0-r3", "post-4.0", "post-5.0")
"""The names in order, to parametrize tests without loading a configuration."""
