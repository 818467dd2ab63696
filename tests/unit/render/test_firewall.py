"""The packet filter of a node opens what SECURITY.md promises, compared rule by rule."""

from __future__ import annotations

import shlex

import pytest

from lbstack.config.models import StackConfig
from lbstack.facts.kinds import KINDS
from lbstack.render.paths import IPV4_RULES
from tests.goldens.cases import CASES, cases, rendered

EVERYBODY, ANYWHERE = "everybody", "any address"
Opening = tuple[str, str, str]


def openings(rules: str) -> set[Opening]:
    """What the rules accept: (source, target address, protocol with port or type)."""
    found: set[Opening] = set()
    for line in rules.splitlines():
        words = shlex.split(line)
        if words[:2] != ["-A", "INPUT"] or words[-1] != "ACCEPT":
            continue
        # Every rule is a list of options with one value each.
        rule = dict(zip(words[2::2], words[3::2], strict=True))
        if rule.get("-i") == "lo" or "--ctstate" in rule:
            what = [rule.get("--ctstate", "of this node")]
        elif rule["-p"] == "tcp":
            what = [f"tcp {port}" for port in (rule.get("--dport") or rule["--dports"]).split(",")]
        elif rule["-p"] == "icmp":
            what = [f"icmp {rule['--icmp-type']}"]
        else:
            what = [f"protocol {rule['-p']} with ttl {rule['--ttl-eq']} on {rule['-i']}"]
        source, target = rule.get("-s", EVERYBODY), rule.get("-d", ANYWHERE)
        found |= {(source.removesuffix("/32"), target.removesuffix("/32"), each) for each in what}
    return found


def promised(config: StackConfig, index: int) -> set[Opening]:
    """The openings of a node that SECURITY.md lists."""
    node, peer = str(config.nodes[index].address), str(config.nodes[1 - index].address)
    found = {
        (EVERYBODY, ANYWHERE, "of this node"),
        (EVERYBODY, ANYWHERE, "RELATED,ESTABLISHED"),
        *((EVERYBODY, ANYWHERE, f"icmp {error}") for error in (3, 11, 12)),
        (peer, node, f"protocol 112 with ttl 255 on {config.network.interface}"),
        (peer, node, "tcp 8405"),
        (peer, node, "tcp 10000"),
    }
    for service in config.services.values():
        found |= {(EVERYBODY, str(service.vip), f"tcp {port}") for port in KINDS[service.kind].ports(service.port)}
    for network in map(str, config.management_networks):
        found |= {
            (network, node, "tcp 22"),
            (network, ANYWHERE, "tcp 8405"),
            (network, ANYWHERE, "icmp 8"),
            (network, str(config.stats.vip), f"tcp {config.stats.port}"),
        }
    return found


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_the_packet_filter_opens_what_was_promised_and_nothing_else(name: str, index: int) -> None:
    config = cases()[name].config
    rules = rendered(name).nodes[config.nodes[index].name][IPV4_RULES].content
    assert ":INPUT DROP [0:0]" in rules
    assert openings(rules) == promised(config, index)
