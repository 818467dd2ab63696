"""TCP ports of a pair: the one place where each is written.

A service's own port is configuration; these are the ports that are the same for every pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HTTP_PORT = 80
HTTPS_PORT = 443

HEALTH_PORT = 8405

SSH_PORT = 22
PEERS_PORT = 10000
"""Where the two HAProxys exchange their stick tables, on the nodes' own addresses."""

# Ports that are taken on every address of a node, its VIPs too → by whom. sshd's cannot be bound a second time;
# HAProxy's own could, and the VIP would tell nobody any more which node has it. The peers' port is not among them:
# they speak on the nodes' addresses alone.
RESERVED_PORTS: Mapping[int, str] = MappingProxyType({SSH_PORT: "SSH", HEALTH_PORT: "health endpoint"})
