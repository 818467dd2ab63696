"""TCP ports that are the same for every pair. A service's own port is configuration."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HTTP_PORT = 80
HTTPS_PORT = 443

HEALTH_PORT = 8405

SSH_PORT = 22
PEERS_PORT = 10000
"""The two HAProxy processes exchange their stick tables on this port of the nodes' own addresses."""

# Ports that are in use on every address of a node, its VIPs included → their owner. sshd's port cannot be bound a
# second time. HAProxy's health port could be, but then a request to the VIP would no longer show which node holds it.
# The peers' port is not listed, because the peers listen on the nodes' own addresses only.
RESERVED_PORTS: Mapping[int, str] = MappingProxyType({SSH_PORT: "SSH", HEALTH_PORT: "health endpoint"})
