"""The live status of a pair as tables for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lbstack.nodes.about import UNKNOWN
from lbstack.nodes.health import SHOWN_DIGITS
from lbstack.nodes.status import Server, Status

if TYPE_CHECKING:
    from rich.console import Console


def show(status: Status, console: Console) -> None:
    """Print a status for a person."""
    from rich.table import Table  # noqa: PLC0415 - of the extra `cli`

    host = ["host"] if status.hosts else []
    table = Table("node", "address", *host, "VRRP", "VIPs", "set", "last set", box=None, pad_edge=False)
    for node in status.nodes:
        reported = node.config_hash[:SHOWN_DIGITS] or "-"
        if status.wanted and node.config_hash:
            reported += " (deployed)" if node.config_hash == status.wanted else " (not the deployed one)"
        host = [status.hosts.get(node.name) or "unknown"] if status.hosts else []
        vips = ", ".join(node.vips) or "-"
        table.add_row(node.name, node.address, *host, node.vrrp, vips, reported, node.applied or "-")
    console.print(table)
    if status.hosts_unknown:
        console.print(f"The hosts are unknown: {status.hosts_unknown}", highlight=False, markup=False, soft_wrap=True)
    _show_about(status, console)
    views = [node for node in status.nodes if node.services]
    if views:
        console.print()
        servers = Table("service", "VIP", "server", *(f"by {node.name}" for node in views), box=None, pad_edge=False)
        for service, rows in views[0].services.items():
            for index, server in enumerate(rows):
                cells = [_cell(node.services[service][index]) for node in views]
                first = (service, status.vips[service]) if index == 0 else ("", "")
                servers.add_row(*first, server.name, *cells)
        console.print(servers)
    for finding in (*status.findings, *status.warnings):
        console.print(finding, style="yellow", highlight=False, markup=False, soft_wrap=True)


def _show_about(status: Status, console: Console) -> None:
    from rich.table import Table  # noqa: PLC0415 - of the extra `cli`

    table = Table("node", "applier", "HAProxy", "keepalived", "old workers", "edited files", box=None, pad_edge=False)
    for node in status.nodes:
        told = node.about
        workers = UNKNOWN if told.old_workers is None else f"{told.old_workers} of {told.most_workers}"
        edited = UNKNOWN if told.edits is None else str(told.edits.number)
        table.add_row(node.name, told.state.value, told.haproxy, told.keepalived, workers, edited)
    console.print()
    console.print(table)
    for node in status.nodes:
        if node.about.error:
            why = f"{node.name}, on its last set: {node.about.error}"
            console.print(why, highlight=False, markup=False, soft_wrap=True)


def _cell(server: Server) -> str:
    if server.connections is None:
        return server.state
    many = "" if server.connections == 1 else "s"
    return f"{server.state}, {server.connections} connection{many}"
