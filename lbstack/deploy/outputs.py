"""The stack's outputs: VIPs, URLs, and the settings for the Horizon and App Volumes side.

Plain functions of the configuration. Every output is a promise: names and shapes stay (README, "What a stack exports").
"""

from __future__ import annotations

from collections.abc import Mapping

from lbstack.config.models import Service, StackConfig
from lbstack.facts.ports import HTTPS_PORT

STATS_VIP_NAME = "stats"


def lifecycle(config: StackConfig) -> str:
    """What the stack is for; `lbstack destroy` relies on it where a stack file has another value."""
    return config.lifecycle.value


def vips(config: StackConfig) -> dict[str, str]:
    """Service name → VIP, the statistics page's VIP under ``stats``."""
    return {STATS_VIP_NAME: str(config.stats.vip)} | {
        name: str(service.vip) for name, service in config.services.items()
    }


def stats_url(config: StackConfig) -> str:
    """The statistics page; reachable from ``managementNetworks`` only."""
    return f"http://{config.stats.vip}:{config.stats.port}/stats"


def service_urls(config: StackConfig) -> dict[str, str]:
    """Service name → what a user types: by name where the stack file gives one, else by VIP."""
    return {name: _url(service) for name, service in config.services.items()}


def horizon_settings(config: StackConfig) -> dict[str, dict[str, str]]:
    """What must be set behind the VIPs, else a login through them fails.

    Horizon: lines for ``locked.properties`` on every Connection Server (its origin check accepts only names that it
    knows: Horizon 8 administration, "Origin checking", and since 2306 also the Host header check). App Volumes: the
    agents' ``Manager1`` value (``svservice`` parameters in the registry).

    Returns:
        Service name → setting → value; services of other kinds are left out.
    """
    settings: dict[str, dict[str, str]] = {}
    for name, service in config.services.items():
        if service.kind == "horizon":
            settings[name] = {"locked.properties": "\n".join(_locked_properties(service)) + "\n"}
        elif service.kind == "appvolumes":
            settings[name] = {"Manager1": f"{_host(service)}:{service.port or HTTPS_PORT}"}
    return settings


def _locked_properties(service: Service) -> list[str]:
    """``balancedHost`` takes one name; every further name by which users or gateways come is a ``portalHost``.

    With another port than 443 a browser's Origin and Host name the port, too. The manual shows names alone, so both
    forms are listed.
    """
    names = [_host(service), *([str(service.vip)] if service.fqdn else []), *service.aliases]
    port = service.port or HTTPS_PORT
    if port != HTTPS_PORT:
        names += [f"{name}:{port}" for name in names]
    first, *others = names
    hosts = [f"portalHost.{number}={name}" for number, name in enumerate(others, start=1)]
    return ["checkOrigin=true", f"balancedHost={first}", *hosts]


def _host(service: Service) -> str:
    return service.fqdn or str(service.vip)


def _url(service: Service) -> str:
    port = service.port or HTTPS_PORT
    if service.kind == "tcp":
        return f"tcp://{_host(service)}:{port}"
    return f"https://{_host(service)}{'' if port == HTTPS_PORT else f':{port}'}/"


def nodes(config: StackConfig, uuids: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Node name → its address, its VM's BIOS UUID and its part in the pair.

    Args:
        config: The stack's configuration.
        uuids: Node name → UUID, which may be a value that is known only after deployment.
    """
    parts = ("preferred master", "preferred standby")
    return {
        node.name: {"address": str(node.address), "uuid": uuids[node.name], "part": part}
        for node, part in zip(config.nodes, parts, strict=True)
    }
