"""The present state of a lab, as data and as tables. Changes nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from lab.engine.checkpoint import Checkpoint
from lab.errors import LabError
from lab.guests import agent, roster
from lab.home import stackfile
from lab.home.state import Paths, read_record
from lab.running import surroundings
from lab.vcenter import server
from lbstack.nodes import status as pair_status
from lbstack.nodes import tables
from lbstack.problems import LbstackError
from lbstack.stackfile.load import load_file

LIVE_OUTPUTS = ("vips", "stats_url", "service_urls", "nodes", "config_hash")


@dataclass
class Status:
    """A lab at one moment; its fields are the keys of ``status --json``.

    Args:
        state: The lab's directory.
        exists: Whether there is a lab.
        vcenter: ``running``, and while it runs ``server``, ``uuid``, ``pid`` and ``uptime_s``.
        machines: The VMs that vCenter has.
        resources: How many resources the state of Pulumi has.
        outputs: The stack's outputs; the rendered files are left out.
        guests: VM → its guest, its port of the switch; nothing where no guests boot.
        problems: What is not as it should be, with the remedy.
        live: What the pair reports about itself, ``pair`` in the data; None where no guests boot.
    """

    state: str
    exists: bool = False
    vcenter: dict[str, Any] = field(default_factory=lambda: {"running": False})
    machines: list[dict[str, str]] = field(default_factory=list)
    resources: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)
    guests: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    live: pair_status.Status | None = field(default=None, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """As data; its shape is what ``--json`` prints."""
        found = asdict(self)
        del found["live"]
        return found | {"pair": self.live.as_dict() if self.live else {}}

    @property
    def healthy(self) -> bool:
        """Whether the lab is up: vCenter runs and holds what was deployed."""
        return self.exists and not self.problems


def look(paths: Paths) -> Status:
    """Look at a lab.

    Raises:
        LabError: The directory is not a lab's.
    """
    status = Status(str(paths.root))
    record = read_record(paths)
    if record is None:
        status.problems.append(f"There is no lab at {paths.root}. `make lab` makes one.")
        return status
    status.exists = True
    checkpoint = Checkpoint(paths)
    status.resources = len(checkpoint.resources())
    status.outputs = {name: value for name, value in checkpoint.outputs().items() if name in LIVE_OUTPUTS}
    if unfinished := checkpoint.unfinished():
        status.problems.append(f"A run was ended while it made {', '.join(unfinished)}. `make lab` finishes it.")
    current = server.running(paths)
    if current is None:
        status.problems.append("The simulated vCenter does not run. `make lab` starts it.")
        return status
    status.vcenter = {
        "running": True,
        "server": current.server,
        "uuid": stackfile.vcenter_uuid(stackfile.read(stackfile.SOURCE)["config"]),
        "pid": current.process.pid,
        "uptime_s": round(current.process.age_s),
    }
    from lab.vcenter import client  # noqa: PLC0415 - what it needs takes a third of a second to import

    try:
        with client.connect(paths) as service:
            status.machines = [asdict(machine) for machine in client.machines(service)]
    except LabError as error:
        status.problems.append(str(error))
        return status
    if not checkpoint.readable():
        status.problems.append(
            "Pulumi's record of the stack is empty or cut. `make lab` puts its backup in its place, if there is one; "
            "`make lab-down` throws the lab away."
        )
    elif not status.resources:
        status.problems.append("Nothing is deployed. `make lab` deploys it.")
    elif record.deployed_on != current.process.identity:
        status.problems.append("vCenter was started after the last deployment and is empty. `make lab` deploys again.")
    elif record.guests:
        _look_at_guests(status, paths)
    return status


def _look_at_guests(status: Status, paths: Paths) -> None:
    """What boots behind the VMs, where it is plugged in, and what the pair reports about itself."""
    try:
        with surroundings.at_the_management_station(paths) as network:
            for name, guest in roster.guests(paths, network).items():
                state = "frozen" if guest.frozen else "running" if guest.running else "off"
                status.guests[name] = {"guest": state, "port": network.state(name)}
            wanted = str(status.outputs.get("config_hash") or "")
            status.live = pair_status.look(load_file(paths.stack_file), wanted)
    except LbstackError as error:
        status.problems.append(str(error))
        return
    status.problems += status.live.findings
    if not agent.running(paths.root):
        status.problems.append("The agent that boots guests does not run. `make lab` starts it.")


def show(status: Status, console: Console) -> None:
    """Print a status for a person."""
    vcenter = status.vcenter
    if vcenter["running"]:
        console.print(
            f"vCenter   https://{vcenter['server']}/sdk  (simulated, pid {vcenter['pid']}, up {vcenter['uptime_s']} s)",
            highlight=False,
        )
    if status.machines:
        more = ("guest", "port") if status.guests else ()
        table = Table("VM", "power", *more, "address", "BIOS UUID", box=None, pad_edge=False)
        for machine in status.machines:
            found = status.guests.get(machine["name"], {})
            table.add_row(
                machine["name"],
                machine["power"],
                *(found.get(name, "-") for name in more),
                machine["address"] or "-",
                machine["uuid"],
            )
        console.print(table)
    show_outputs(status.outputs, console)
    reported: tuple[str, ...] = ()
    if status.live is not None:
        console.print()
        tables.show(status.live, console)
        reported = status.live.findings
    for problem in (each for each in status.problems if each not in reported):
        console.print(problem, style="yellow", highlight=False, markup=False, soft_wrap=True)


def show_outputs(outputs: dict[str, Any], console: Console) -> None:
    """Print where the services and the statistics page are."""
    vips = outputs.get("vips") or {}
    if not vips:
        return
    urls = (outputs.get("service_urls") or {}) | {"stats": outputs.get("stats_url", "")}
    table = Table("service", "VIP", "address for users", box=None, pad_edge=False)
    for name, vip in vips.items():
        table.add_row(name, str(vip), str(urls.get(name, "")))
    console.print(table)
