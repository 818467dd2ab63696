"""Start and stop what surrounds the guests of a lab: network, servers behind the VIPs, capture, agent.

The order of the start makes sure that nothing is missed (the capture runs before the first guest); the order of the
stop leaves no process in a namespace. Each part can be started twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from lab.errors import LabError
from lab.guests import agent, image, machine, preflight
from lab.guests import layers as layers_module
from lab.guests.layers import ensure_layers
from lab.home import stackfile
from lab.home.state import Paths
from lab.network import capture, forward, netns, switch
from lab.network.network import MANAGEMENT, SWITCH, Network, lab_id
from lab.network.topology import Topology
from lab.servers import farm
from lab.system.debian import search_path
from lab.vcenter import server

Progress = Callable[[str], None]


def shortcomings(place: Path, config: Mapping[str, Any], progress: Progress) -> list[str]:
    """Why guests cannot boot on this machine, in words, each with its remedy; nothing where they can.

    What can be seen at a glance is reported together. Where that is nothing, the guests' image is made and a program is
    started over it as a guest would be, since only that shows what this machine really lets root do.

    Args:
        place: The lab's directory, which carries the guests' roots; it need not exist yet.
        config: The ``config`` section of its stack file.
        progress: Receives a line now and then while the image is made.
    """
    found = [*preflight.preflight(), *switch.preflight()]
    if _on_overlay(place):
        found.append(
            f"{place} lies on an overlay file system, which cannot carry the guests' roots. Put the lab elsewhere "
            "with --state."
        )
    name = layers_module.image_of(config)
    missing = [tool for tool in image.TOOLS if shutil.which(tool, path=search_path()) is None]
    if missing and not image.path_of(name).is_dir():
        found.append(
            f"{', '.join(missing)} not found, to make the guests' image. On Debian: `apt-get install mmdebstrap`."
        )
    if found:
        return found[:1] if os.geteuid() != 0 else found  # without root nothing else can be known for certain
    try:
        layers = ensure_layers(name, progress)
        complaint = preflight.trial(layers, _existing(place))
    except (LabError, OSError) as error:  # no mirror, a full disk
        complaint = str(error)
    return [complaint] if complaint else []


def _existing(wanted: Path) -> Path:
    """The lab's directory, or the one nearest above it that exists."""
    return next(parent for parent in (wanted, *wanted.parents) if parent.exists()).resolve()


def _on_overlay(wanted: Path) -> bool:
    """Whether the lab's directory is on an overlay."""
    place = _existing(wanted)
    kinds = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    found = next(str(parent) for parent in (place, *place.parents) if str(parent) in kinds)
    return kinds[found] == "overlay"


def network_of(paths: Paths) -> Network:
    """The network that the lab's stack file asks for.

    Raises:
        LabError: It cannot be laid out.
    """
    return Network(lab_id(paths.root), Topology.of(stackfile.read(paths.stack_file)["config"]))


def start(paths: Paths, vcenter: server.VCenter, progress: Progress) -> Network:
    """Bring everything up around the guests, which the agent boots as vCenter has them.

    Args:
        paths: The lab.
        vcenter: Its running vCenter.
        progress: Receives a line now and then.

    Raises:
        LabError: This machine cannot do it, or the stack file's addresses clash.
    """
    network = network_of(paths)
    ensure_layers(layers_module.image_of(stackfile.read(paths.stack_file)["config"]), progress)
    network.up()
    capture.start(network.namespace(SWITCH), paths.root, paths.logs)
    farm.start(network, paths.root, paths.logs)
    forward.start(network.namespace(MANAGEMENT), [vcenter.port], paths.root, paths.logs)
    agent.start(paths, vcenter)
    progress(
        f"The network {network.topology.subnet} is up, with {len(network.topology.backends)} servers, a client at "
        f"{network.topology.client} and a management station at {network.topology.management}"
    )
    return network


def stop(paths: Paths, progress: Progress) -> None:
    """End every guest and everything around them; works on half of it, and where there is nothing.

    Args:
        paths: The lab.
        progress: Receives a line where something was ended.

    Raises:
        LabError: Something does not end.
    """
    agent.stop(paths.root)
    forward.stop(paths.root)
    capture.stop(paths.root)
    farm.stop(paths.root)
    network = Network(lab_id(paths.root), None)
    ended: list[str] = []
    with suppress(LabError):  # no control groups: then no guests either
        ended = machine.end_all(network)
    if ended:
        progress(f"{len(ended)} guest{'s' if len(ended) > 1 else ''} ended")
    if network.exists():
        network.down()
        progress("The lab's network is removed")


@contextmanager
def at_the_management_station(paths: Paths) -> Iterator[Network]:
    """This thread, and those that it starts, are on the management station; the nodes answer them."""
    network = network_of(paths)
    with netns.inside(network.namespace(MANAGEMENT)):
        yield network
