"""What goes wrong with a configuration although it is valid: `lbstack check` and each run warn of it."""

from __future__ import annotations

from collections.abc import Iterator

from lbstack.config.models import StackConfig
from lbstack.problems import Problem, path_of


def services_that_share_servers(config: StackConfig) -> Iterator[Problem]:
    """Two ``tcp`` services on one VIP with servers in common: each chooses a client's server for itself."""
    services = [(name, service) for name, service in config.services.items() if service.kind == "tcp"]
    for index, (name, service) in enumerate(services):
        own = {server.address for server in service.servers}
        for first, other in services[:index]:
            if other.vip == service.vip and len(own & {server.address for server in other.servers}) > 1:
                yield Problem(
                    path_of(["services", name]),
                    f"and {path_of(['services', first])} are on the VIP {service.vip} with the same servers, but each "
                    "chooses a client's server for itself",
                    "Where a client needs both on one server (a gateway's secondary protocols), give each server a VIP "
                    "of its own; other uses are not affected.",
                )
                break


RULES = (services_that_share_servers,)


def advice(config: StackConfig) -> list[Problem]:
    """Find everything that a valid configuration still makes go wrong.

    Args:
        config: A valid configuration.
    """
    return [problem for rule in RULES for problem in rule(config)]
