"""Send one request through every VIP of a running pair; the table at the end of ``up`` shows the answers."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from rich.console import Console
from rich.table import Table

from lab.acts.scene import Scene
from lab.network.network import MANAGEMENT
from lab.traffic.request import Failed, request

STATS_PATH = "/stats"
UNAUTHORIZED = 401


@dataclass(frozen=True)
class Line:
    """What came back through one VIP.

    Args:
        service: The service's name, or ``stats``.
        vip: Its address.
        url: What users type.
        node: The node that has the VIP; several, or none, in words.
        answer: What was answered, by whom, how fast; or why nothing was.
        good: Whether that is as it should be.
    """

    service: str
    vip: IPv4Address
    url: str
    node: str
    answer: str
    good: bool


def ask_all(scene: Scene) -> list[Line]:
    """Ask once through every VIP: services as a client, the statistics page as the management station."""
    network = scene.network
    topology = network.topology
    holders = {vip: " and ".join(nodes) or "no node" for vip, nodes in scene.holders().items()}
    lines = []
    for service in topology.services:
        try:
            answer = scene.ask(service)
            reported, good = (
                f"{answer.status} from {answer.server} in {answer.total_s * 1000:.0f} ms",
                bool(answer.server),
            )
        except Failed as error:
            reported, good = f"{error.outcome} ({error.stage})", False
        url = f"https://{service.hostname}/"
        lines.append(Line(service.name, service.vip, url, holders[service.vip], reported, good))
    if topology.stats:
        vip, port = topology.stats
        try:
            status = request(network.namespace(MANAGEMENT), vip, port, STATS_PATH).status
            reported, good = f"{status} (it asks for a password)", status == UNAUTHORIZED
        except Failed as error:
            reported, good = f"{error.outcome} ({error.stage})", False
        lines.append(Line("stats", vip, f"http://{vip}:{port}{STATS_PATH}", holders[vip], reported, good))
    return lines


def show(lines: list[Line], console: Console) -> None:
    """Print them for a person."""
    table = Table("service", "VIP", "on", "address for users", "a request through it", box=None, pad_edge=False)
    for line in lines:
        reported = line.answer if line.good else f"[red]{line.answer}[/]"
        table.add_row(line.service, str(line.vip), line.node, line.url, reported)
    console.print(table)
