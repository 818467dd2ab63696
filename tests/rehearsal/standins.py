"""Plain keepalived and HAProxy in a lab's network: nodes without a guest, to try the lab's instruments on."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from lab.errors import LabError
from lab.guests.image import ensure_image
from lab.network import netns
from lab.network.network import Network
from lab.system.waiting import until
from tests.tiers import refuse, require

LIMIT_S = 20.0
ADVERT_S = 0.5  # short enough for tests, long enough for a machine that is busy
VRID = 11
VIP = IPv4Address("192.168.6.123")
PRIORITIES = (254, 246)
TOOLS = ("root", "ip", "bridge", "unshare", "mount", "chroot")
IMAGE = "bookworm"
# The programs are those of the guests' image, so that none has to be installed on the machine. Each run sees it with
# mounts of its own, which end with it.
IN_THE_IMAGE = """
image=$1 work=$2 config=$3
shift 3
mount -t tmpfs -o mode=0755 standin "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$image,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
mount -t proc proc "$work/root/proc"
mount --rbind /dev "$work/root/dev"
mount -t tmpfs -o mode=0755 run "$work/root/run"
cp "$config" "$work/root/run/standin.conf"
exec chroot "$work/root" "$@" /run/standin.conf
"""


def image() -> Path:
    """The guests' image; skips the test (fails under CI) where it cannot be had."""
    require(*TOOLS)
    try:
        return ensure_image(IMAGE, print)
    except LabError as error:
        refuse(str(error))


def plug_in(network: Network, node: str) -> str:
    """Give a node a port and its address, as a booted guest would; its namespace."""
    network.node_port(node)
    namespace = network.namespace(node)
    address = network.topology.nodes[node]
    netns.ip(namespace=namespace, batch=["link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up"])
    with netns.inside(namespace):
        Path("/proc/sys/net/ipv4/ip_nonlocal_bind").write_text("1")
    return namespace


@dataclass
class StandIn:
    """One node.

    Args:
        network: It is up.
        number: 0 or 1.
        directory: For configuration and logs.
        multicast: Adverts go to the group and not to the peer, so that they are on the wire without a peer too.
    """

    network: Network
    number: int
    directory: Path
    multicast: bool = False
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return list(self.network.topology.nodes)[self.number]

    @property
    def address(self) -> IPv4Address:
        return self.network.topology.nodes[self.name]

    @property
    def sender(self) -> str:
        """How a watch calls it."""
        return f"{self.network.node_role(self.name)}/{self.address}"

    @property
    def mac(self) -> str:
        return netns.ip("-br", "link", "show", "eth0", namespace=self.network.namespace(self.name)).split()[2]

    def start_keepalived(self) -> None:
        peer = next(address for name, address in self.network.topology.nodes.items() if name != self.name)
        unicast = "" if self.multicast else f"unicast_src_ip {self.address}\nunicast_peer {{\n{peer}\n}}"
        text = f"""
            global_defs {{
                vrrp_version 3
                vrrp_garp_master_refresh 1
                vrrp_rt_priority 50
            }}
            vrrp_instance pair {{
                state BACKUP
                interface eth0
                virtual_router_id {VRID}
                priority {PRIORITIES[self.number]}
                advert_int {ADVERT_S}
                nopreempt
                {unicast}
                virtual_ipaddress {{
                    {VIP}/24
                }}
            }}
        """
        self._run("keepalived", text, ["--dont-fork", "--log-console", "--vrrp", "--use-file"])

    def start_haproxy(self) -> None:
        servers = "\n".join(
            f"server {each.name} {each.address}:443 check inter 200ms check-ssl verify none"
            for each in self.network.topology.backends
            if each.kind == "horizon"
        )
        text = f"""
            defaults
                timeout connect 2s
                timeout client 1h
                timeout server 1h
            listen horizon
                mode tcp
                bind {VIP}:443
                option httpchk HEAD /favicon.ico
                default-server on-marked-down shutdown-sessions
                stick-table type ip size 1k expire 90m
                stick on src
                balance roundrobin
                {servers}
            frontend redirect
                mode http
                bind {VIP}:80
                http-request redirect scheme https code 301
        """
        self._run("haproxy", text, ["-db", "-f"])

    def _run(self, program: str, text: str, arguments: list[str]) -> None:
        config = self.directory / f"{self.name}.{program}.conf"
        config.write_text("\n".join(line.strip() for line in text.splitlines()) + "\n")
        work = self.directory / f"{self.name}.{program}"
        work.mkdir(exist_ok=True)
        alone = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", IN_THE_IMAGE, "sh"]
        command = [*alone, str(image()), str(work), str(config), f"/usr/sbin/{program}", *arguments]
        with (self.directory / f"{self.name}.{program}.log").open("ab") as log:
            self.processes[program] = subprocess.Popen(self.network.command(self.name, command), stdout=log, stderr=log)

    def kill(self, program: str, *, gently: bool = False) -> None:
        """End a program: as a stop would, or at once."""
        process = self.processes.pop(program)
        process.terminate() if gently else process.kill()
        process.wait(LIMIT_S)

    def kill_keepalived_without_a_word(self) -> None:
        """Kill parent and child so that neither cleans up after the other, nor starts it again."""
        parent = self.processes["keepalived"].pid
        inside = netns.processes_in([self.network.namespace(self.name)])
        children = [each.pid for each in inside if Path(each.command[0]).name == "keepalived" and each.pid != parent]
        os.kill(parent, signal.SIGSTOP)
        for pid in (*children, parent):
            os.kill(pid, signal.SIGKILL)


def stop(nodes: Sequence[StandIn]) -> None:
    """End everything of these nodes; asked first, because a killed keepalived would leave its child."""
    for node in nodes:
        for process in node.processes.values():
            process.terminate()
    for node in nodes:
        for process in node.processes.values():
            process.wait(LIMIT_S)
        netns.end_processes([node.network.namespace(node.name)])


def start_pair(network: Network, directory: Path, *, multicast: bool = False) -> tuple[StandIn, StandIn]:
    """Both nodes with both programs; returns when the first one has the VIP."""
    pair = StandIn(network, 0, directory, multicast), StandIn(network, 1, directory, multicast)
    try:
        for node in pair:
            plug_in(network, node.name)
            node.start_haproxy()
            node.start_keepalived()
            # The second one starts later, so that the first one is master however busy the machine is.
            until(lambda: network.holders(VIP) == {pair[0].mac}, LIMIT_S, f"{pair[0].name} to hold {VIP}")
    except BaseException:
        stop(pair)
        raise
    return pair
