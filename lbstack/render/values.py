"""Compute the values that ``haproxy.py`` and ``node.py`` share.

All decisions about the content of a file are in these three modules; the templates in ``cloudinit/`` only loop. The
modules read no file.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from lbstack.config.models import Service, StackConfig
from lbstack.facts.kinds import (
    KindTimeouts,
    ServiceKind,
    derived_maxconn,
)
from lbstack.facts.releases import RELEASES, Release

Values = dict[str, object]


def release_of(config: StackConfig) -> Release:
    """Return the image's Photon release."""
    return RELEASES[config.image.release]


def maxconn(config: StackConfig) -> int:
    """Return the pair's connection limit: the configured one, or as many as the smaller node's memory carries."""
    return config.haproxy.maxconn or derived_maxconn(min(node.memory_mib for node in config.nodes))


def vips(config: StackConfig) -> tuple[IPv4Address, ...]:
    """Return every VIP once: the anchor VIP (the statistics page's) first, the others sorted."""
    others = {service.vip for service in config.services.values()} - {config.stats.vip}
    return (config.stats.vip, *sorted(others))


def timeouts_of(service: Service, kind: ServiceKind) -> KindTimeouts:
    """Return the kind's timeouts with the service's overrides."""
    given = {key: value for key, value in service.timeouts.model_dump().items() if value is not None}
    return replace(kind.timeouts, **given)
