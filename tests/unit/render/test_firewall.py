"""Who may reach what on a node, as its packet filter says it: SECURITY.md's promise, rule by rule."""

from __future__ import annotations

import shlex

import pytest

from lbstack.config.models import StackConfig
from lbstack.facts.kinds import KINDS
from tests.goldens.cases import CASES, cases, rendered

EVERYBODY, ANYWHERE = "everybody", "any address"
Opening = tuple[str, str, str]


def openings(rules: str) -> set[Opening]:
    """What the rules accept: (from whom, on which address, protocol with port or type)."""
    found: set[Opening] = set()
    for line in rules.splitlines():
        words = shlex.split(line)
        if words[:2] != ["-A", "INPUT"] or words[-1] != "ACCEPT":
            continue
        # Every rule here is a list of options with one value each.
        said = dict(zip(words[2::2], words[3::2], strict=True))
        if said.get("-i") == "lo" or "--ctstate" in said:
            what = [said.get("--ctstate", "of this node")]
        elif said["-p"] == "tcp":
            what = [f"tcp {port}" for port in (said.get("--dport") or said["--dports"]).split(",")]
        elif said["-p"] == "icmp":
            what = [f"icmp {said['--icmp-type']}"]
        else:
            what = [f"protocol {said['-p']} with ttl {said['--ttl-eq']} on {said['-i']}"]
        source, target = said.get("-s", EVERYBODY), said.get("-d", ANYWHERE)
        found |= {(source.removesuffix("/32"), target.removesuffix("/32"), each) for each in what}
    return found


def promised(config: StackConfig, index: int) -> set[Opening]:
    """What SECURITY.md says of a node."""
    node, peer = str(config.nodes[index].address), str(config.nodes[1 - index].address)
    wanted = {
        (EVERYBODY, ANYWHERE, "of this node"),
        (EVERYBODY, ANYWHERE, "RELATED,ESTABLISHED"),
        *((EVERYBODY, ANYWHERE, f"icmp {error}") for error in (3, 11, 12)),
        (peer, node, f"protocol 112 with ttl 255 on {config.network.interface}"),
        (peer, node, "tcp 8405"),
        (peer, node, "tcp 10000"),
    }
    for service in config.services.values():
        wanted |= {(EVERYBODY, str(service.vip), f"tcp {port}") for port in KINDS[service.kind].ports(service.port)}
    for network in map(str, config.management_networks):
        wanted |= {
            (network, node, "tcp 22"),
            (network, ANYWHERE, "tcp 8405"),
            (network, ANYWHERE, "icmp 8"),
            (network, str(config.stats.vip), f"tcp {config.stats.port}"),
        }
    return wanted


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_the_packet_filter_opens_what_was_promised_and_nothing_else(name: str, index: int) -> None:
    config = cases()[name].config
    rules = rendered(name).nodes[config.nodes[index].name]["/etc/systemd/scripts/ip4save"].content
    assert ":INPUT DROP [0:0]" in rules
    assert openings(rules) == promised(config, index)
