"""Write the stack file: what was taken, and placeholders for everything that has to be decided."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, collapse_addresses
from typing import Any

import yaml

from lbstack.config.choices import Lifecycle
from lbstack.config.credentials import STATS_PREFIX
from lbstack.config.undecided import MARK, placeholder
from lbstack.facts.kinds import CONNECTIONS_PER_GIB, MAXCONN_CEILING, RESERVED_MIB, derived_maxconn
from lbstack.facts.releases import RELEASES
from lbstack.scaffold.handbuilt.machine import network_of
from lbstack.scaffold.handbuilt.services import Services
from lbstack.scaffold.handbuilt.statistics import Page
from lbstack.scaffold.handbuilt.today import RUNBOOK, Today, not_of_today
from lbstack.stackfile.load import NAMESPACE
from lbstack.stackfile.schema import FILE_NAME

MEMORY_STEP_MIB = 512
DEFAULT_MEMORY_MIB = 2048
HEAD = """# yaml-language-server: $schema={schema}
#
# Made by `lbstack import` of the files of a hand-built pair. Each value that begins with {mark} has to be decided:
# `lbstack check` refuses it with the sentence what. The new pair must not meet the one of today, so names, addresses
# and router id of the nodes are new, and the VIPs are free addresses for the tests; at the move they become the VIPs of
# today, which the comments name. {runbook} is the way. The secrets are not here:
#
#   lbstack signing-key | pulumi config set --secret signingKey
{secrets}"""


def stack(today: Today, services: Services, page: Page, maxconn: int | None) -> dict[str, Any]:
    """Return the keys of the stack file.

    Args:
        today: The pair of today.
        services: Its services.
        page: Its statistics page.
        maxconn: Its limit of connections, if a file says one that a node can carry.
    """
    raw: dict[str, Any] = {
        "lifecycle": Lifecycle.PRODUCTION.value,
        "placement": _placement(),
        "image": _image(),
        "network": network_of(
            today, placeholder("{}; the files do not say"), placeholder("the name servers' addresses")
        ),
        "nodes": _nodes(today, maxconn),
        "vrrp": _vrrp(today),
        "services": services.raw
        or placeholder("write the services: none of haproxy.cfg can be expressed, the report says why"),
        "stats": {"vip": _page_vip(today, page)} | page.raw(),
        "managementNetworks": [str(network) for network in collapse_addresses(map(IPv4Network, today.managers))]
        or [placeholder("the networks of the administrators, of monitoring and of the machine that runs Pulumi")],
        "access": {"sshKeys": [placeholder("a public SSH key of an administrator, such as ssh-ed25519 AAAA…")]},
    }
    if maxconn is not None:
        raw["haproxy"] = {"maxconn": maxconn}
    return raw


def _placement() -> dict[str, Any]:
    return {
        "vcenterUuid": placeholder("the instance UUID of vCenter, which `govc about` prints"),
        "datacenter": placeholder("the name of the datacenter"),
        "cluster": placeholder("the name of the cluster with DRS"),
        "datastore": placeholder("the name of the datastore for the VMs"),
        "network": placeholder("the name of the port group of nodes and VIPs: the one of the pair of today"),
        "antiAffinity": "preferred",
    }


def _image() -> dict[str, Any]:
    return {
        "library": placeholder("the name of the content library"),
        "item": placeholder("the name of the imported Photon OVA in the library"),
        "release": placeholder(f"the OVA's Photon release: {', '.join(RELEASES)}"),
        "firmware": placeholder("the OVA's firmware: efi or bios"),
        "secureBoot": placeholder("true where the OVA has secure boot, else false, without quotes"),
    }


def _nodes(today: Today, maxconn: int | None) -> list[dict[str, Any]]:
    found = []
    for rank, number in enumerate(today.order):
        node = today.nodes[number]
        role = "the preferred master" if rank == 0 else "the other node"
        name = placeholder(f"a name that no VM has, for {role}{not_of_today([node.name])}")
        taken = [each for each in (node.address,) if each]
        raw: dict[str, Any] = {"name": name, "address": today.free_address(role, *taken)}
        memory = memory_for(maxconn)
        if memory != DEFAULT_MEMORY_MIB:
            raw["memoryMiB"] = memory
        found.append(raw)
    return found


def memory_for(maxconn: int | None) -> int:
    """Return the memory that a node needs for so many connections, in MiB; the default where that is enough."""
    if maxconn is None or maxconn <= derived_maxconn(DEFAULT_MEMORY_MIB):
        return DEFAULT_MEMORY_MIB
    needed = RESERVED_MIB + min(maxconn, MAXCONN_CEILING) * 1024 / CONNECTIONS_PER_GIB
    return int(-(-needed // MEMORY_STEP_MIB)) * MEMORY_STEP_MIB


def _vrrp(today: Today) -> dict[str, Any]:
    sentence = "a number from 1 to 255, without quotes, that nothing else in this network uses as VRRP router id"
    raw: dict[str, Any] = {"routerId": placeholder(sentence + not_of_today(today.router_ids))}
    return raw | ({"profile": "fast"} if today.fast else {})


def page_vip_of_today(today: Today, services: Mapping[str, str], page: Page) -> str:
    """The page's VIP today: its own, else one that no service has, else the first; empty where there is no page."""
    if not page.found:
        return ""
    free = [vip for vip in today.vips if vip not in services.values()]
    return page.vip or next(iter([*free, *today.vips]), "")


def _page_vip(today: Today, page: Page) -> str:
    return today.free_address("the statistics page", page.vip)


def text(raw: Mapping[str, Any], today: Today, services: Services, page: Page) -> str:
    """Return the stack file's text.

    Args:
        raw: What `stack` returned.
        today: The pair of today.
        services: The services, for the comments about their VIPs.
        page: The statistics page.
    """
    page_vip = page.vip
    logins = "\n".join(
        f"#   lbstack hash-password | pulumi config set --secret {STATS_PREFIX}{login}"
        for login in raw["stats"]["users"]
    )
    lines = [HEAD.format(schema=FILE_NAME, mark=MARK, runbook=RUNBOOK, secrets=logins), "config:"]
    lines.append(f"  vsphere:vsphereServer: {_quoted(placeholder('the name of the vCenter server'))}")
    for key, value in raw.items():
        lines += [f"  {NAMESPACE}:{line}" if not line[0].isspace() else f"  {line}" for line in _yaml(key, value)]
    shared = _shared(today, services, page_vip)
    vips = [*services.vips.values(), page_vip if page_vip or page.found else "no such page"]
    return "\n".join(_with_comments(lines, vips, shared)) + "\n"


def _yaml(key: str, value: Any) -> list[str]:
    dumped = yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return [line for line in dumped.splitlines() if line]


class _Dumper(yaml.SafeDumper):
    """Indents lists below their keys, and puts every string into quotes that would else be something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's
        super().increase_indent(flow, False)


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if value.startswith(MARK) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)


def _quoted(value: str) -> str:
    return f'"{value}"'


def _shared(today: Today, services: Services, page_vip: str) -> dict[str, list[str]]:
    """VIP of today → the places that have it, where several do."""
    places: dict[str, list[str]] = {}
    for name, vip in services.vips.items():
        if vip:
            places.setdefault(vip, []).append(f"services.{name}")
    if page_vip in today.vips:
        places.setdefault(page_vip, []).append("stats")
    return {vip: names for vip, names in places.items() if len(names) > 1}


def _with_comments(lines: list[str], vips: list[str], shared: Mapping[str, list[str]]) -> list[str]:
    """Write the VIP of today above each placeholder of a VIP."""
    commented = []
    for line in lines:
        if line.strip().startswith("vip:"):
            vip = vips.pop(0)
            indent = line[: len(line) - len(line.lstrip())]
            others = f"; one address for {', '.join(shared[vip])}" if vip in shared else ""
            commented.append(f"{indent}# today: {vip or 'every address'}{others}")
        commented.append(line)
    return commented
