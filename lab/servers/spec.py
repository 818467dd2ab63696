"""What one back-end server of the lab is, and which probes it has counted."""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

HORIZON, APP_VOLUMES = "horizon", "appvolumes"
# The documented one of Horizon; two that managers are known by (sources in lbstack/facts/kinds.py).
HEALTH_PATHS = {HORIZON: ("/favicon.ico",), APP_VOLUMES: ("/health_check", "/health-check")}
KEPT_PROBES = 500  # of each source: four hours at 30 s


@dataclass(frozen=True)
class Spec:
    """What a server is.

    Args:
        name: Its name in every answer.
        kind: What it stands for.
        address: Where it listens.
        ports: Where it listens.
        health_path: What its load balancer is configured to ask for.
        namespace: The network namespace that it lives in; None is this process's own.
        identity: Which one of that name.
    """

    name: str
    kind: str
    address: str
    ports: tuple[int, ...]
    health_path: str
    namespace: str | None = None
    identity: str = ""

    @property
    def place(self) -> tuple[object, ...]:
        """What makes a listening server another one."""
        return (self.address, self.ports, self.namespace, self.identity)

    @property
    def probed(self) -> set[str]:
        """The paths that count as probes."""
        return {*HEALTH_PATHS.get(self.kind, ()), self.health_path}

    @property
    def telling(self) -> set[str]:
        """The paths whose answer depends on the server's state. The start page's never does."""
        return self.probed - {"/", ""}


@dataclass
class Probes:
    """The probes of one source, by the monotonic clock."""

    count: int = 0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_PROBES))

    def as_dict(self) -> dict[str, Any]:
        """Count, seconds since the last one, shortest and middle interval in seconds."""
        times = list(self.times)
        gaps = [later - earlier for earlier, later in pairwise(times)]
        return {
            "count": self.count,
            "last": times[-1],
            "shortest_s": round(min(gaps), 3) if gaps else None,
            "median_s": round(statistics.median(gaps), 3) if gaps else None,
        }
