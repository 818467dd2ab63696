"""The live status of a pair: each node's own report, the node that answers for each VIP, the state of the servers.

All health endpoints are queried by plain HTTP at the same time, so this has to run inside ``managementNetworks``.
Nothing is changed, no password is needed, and Pulumi is not used. On which hosts the VMs run only vCenter knows; who
asks it (``commands/status.py``) adds that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lbstack.config.choices import ServerState
from lbstack.config.models import StackConfig
from lbstack.facts.hosts import same_host
from lbstack.facts.kinds import KINDS
from lbstack.facts.releases import RELEASES
from lbstack.nodes import about, health
from lbstack.nodes.about import NODE_PATH, About, State, notices, read, state_of
from lbstack.nodes.health import SHOWN_DIGITS, Answer, Target

MAX_ANSWER = 1 << 20  # bytes; a service of 500 servers answers with 20 KB
WORKERS = 32  # questions at a time; each is bounded by ASK_TIMEOUT_S
UP, DOWN, QUIESCED, UNKNOWN = "up", "down", "quiesced", "unknown"

Get = Callable[[str, str], Any]


@dataclass(frozen=True)
class Server:
    """A back-end server as one node sees it.

    Args:
        name: As in the stack file.
        state: ``up``, ``down``, ``quiesced`` (it serves its clients and takes no new ones; HAProxy before 2.6 shows
            such a server as down), ``unknown`` where the node did not answer for it, or ``drain`` or ``maintenance`` as
            set in the stack file.
        connections: Open ones through this node; None where that is unknown.
    """

    name: str
    state: str
    connections: int | None


@dataclass(frozen=True)
class Node:
    """The answer of one node.

    Args:
        name: Its name.
        address: Its address.
        vrrp: ``master``, ``backup``, ``fault`` or ``unknown``.
        vips: The VIPs that it answers for.
        config_hash: The set that its HAProxy runs with.
        applied: What became of the last set that it was given.
        error: Why it does not serve; empty when it does.
        services: Service → its servers, as this node sees them.
        about: What it tells besides.
    """

    name: str
    address: str
    vrrp: str
    vips: tuple[str, ...]
    config_hash: str
    applied: str
    error: str
    services: Mapping[str, tuple[Server, ...]]
    about: About


@dataclass(frozen=True)
class Status:
    """A pair at one moment.

    Args:
        wanted: The set that the last deployment gave to both nodes; empty where that is not known.
        nodes: Both, the preferred master first.
        vips: Service, or ``stats`` → VIP.
        findings: What is not as it should be, each a sentence.
        hosts: Node → the host that its VM runs on, by vCenter; None where that is unknown.
        hosts_unknown: Why the hosts are unknown; empty where they are not.
        warnings: What works, and would not for long after a failure.
    """

    wanted: str
    nodes: tuple[Node, ...]
    vips: Mapping[str, str]
    findings: tuple[str, ...]
    hosts: Mapping[str, str | None] = field(default_factory=dict)
    hosts_unknown: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """As data; its shape is what ``--json`` prints."""
        return {"healthy": self.healthy} | asdict(self)


def get(address: str, path: str) -> Any:
    """The JSON that a health endpoint answers; None where it does not."""
    return about.get(address, path, at_most=MAX_ANSWER)


def look(config: StackConfig, wanted: str = "", *, ask: health.Ask | None = None, fetch: Get | None = None) -> Status:
    """Ask the nodes and the VIPs of a stack.

    Args:
        config: Its configuration.
        wanted: The set that both nodes should serve; empty where that is not known.
        ask: How a node is asked; ``health.ask`` unless given.
        fetch: How a path of an address's health endpoint is read; ``get`` unless given.
    """
    ask, fetch = ask or health.ask, fetch or get
    targets = health.targets_of(config)
    vips = {"stats": str(config.stats.vip)} | {name: str(each.vip) for name, each in config.services.items()}
    addresses = sorted(set(vips.values()))
    with ThreadPoolExecutor(WORKERS) as pool:
        asked = [pool.submit(ask, target) for target in targets]
        told = [pool.submit(fetch, target.address, NODE_PATH) for target in targets]
        held = {vip: pool.submit(fetch, vip, "/health") for vip in addresses}
        answers = [future.result() for future in asked]
        views = {
            (target.name, name): pool.submit(fetch, target.address, f"/services/{name}")
            for target, answer in zip(targets, answers, strict=True)
            if answer.config_hash
            for name in config.services
        }
        address_of = {target.name: target.address for target in targets}
        taking = {
            (node, name): pool.submit(fetch, address_of[node], f"/services/{name}/usable")
            for node, name in views
            if quiesces(config, name)
        }
        holders = {vip: _node_of(future.result()) for vip, future in held.items()}
        seen = {key: future.result() for key, future in views.items()}
        usable = {key: future.result() for key, future in taking.items()}
        words = [read(future.result(), answer.applied) for future, answer in zip(told, answers, strict=True)]
    nodes = tuple(
        Node(
            name=target.name,
            address=target.address,
            vrrp=answer.vrrp,
            vips=tuple(vip for vip in addresses if holders[vip] == target.name),
            config_hash=answer.config_hash,
            applied=answer.applied,
            error=answer.error,
            services={
                name: _servers(config, name, seen.get((target.name, name)), usable.get((target.name, name)))
                for name in config.services
                if (target.name, name) in seen
            },
            about=said,
        )
        for target, answer, said in zip(targets, answers, words, strict=True)
    )
    findings = (*_findings(nodes, targets, answers, holders, wanted), *_server_findings(config, nodes))
    return Status(wanted, nodes, vips, findings, warnings=tuple(notices([(node.name, node.about) for node in nodes])))


def with_hosts(seen: Status, hosts: Mapping[str, str], unknown: str) -> Status:
    """The same with what vCenter knows of the VMs' hosts.

    Args:
        seen: What the nodes answered.
        hosts: Node → its host, empty where it is unknown.
        unknown: Why they are unknown.
    """
    warning = same_host(hosts)
    return replace(
        seen,
        hosts={node.name: hosts.get(node.name) or None for node in seen.nodes},
        hosts_unknown=unknown,
        warnings=(*seen.warnings, *((warning,) if warning else ())),
    )


def _node_of(answer: Any) -> str:
    """The node that answered for a VIP; empty where none did."""
    return str(answer.get("node", "")) if isinstance(answer, dict) else ""


def _servers(config: StackConfig, name: str, answer: Any, usable: Any) -> tuple[Server, ...]:
    found = answer if isinstance(answer, dict) else {}
    takes = usable if isinstance(usable, dict) else {}
    servers = []
    for server in config.services[name].servers:
        value = found.get(server.name)
        if isinstance(value, list) and len(value) == len(("up", "connections")):
            connections = int(value[1])
            state = DOWN if not value[0] else QUIESCED if takes.get(server.name) == 0 else UP
        else:
            connections, state = None, UNKNOWN
        if server.state is not ServerState.READY:
            state = server.state.value
        servers.append(Server(server.name, state, connections))
    return tuple(servers)


def _findings(
    nodes: Sequence[Node],
    targets: Sequence[Target],
    answers: Sequence[Answer],
    holders: Mapping[str, str],
    wanted: str,
) -> Iterator[str]:
    for target, answer in zip(targets, answers, strict=True):
        if answer.error:
            yield f"{target.name} does not serve: {answer.error}; {target.reach()}."
        elif wanted and answer.config_hash != wanted:
            own = f" Its report: {answer.applied}." if answer.applied else ""
            yield (
                f"{target.name} serves set {answer.config_hash[:SHOWN_DIGITS]}, the deployed one is "
                f"{wanted[:SHOWN_DIGITS]}.{own} {_next(state_of(answer.applied))}"
            )
        elif answer.refusal:
            yield f"{target.name} did not take its last set: {answer.refusal}."
    serving = {answer.config_hash for answer in answers if answer.serves}
    if not wanted and len(serving) > 1:
        yield f"The nodes serve different sets: {' and '.join(sorted(each[:SHOWN_DIGITS] for each in serving))}."
    masters = [node.name for node in nodes if node.vrrp == "master"]
    if len(masters) != 1 and any(node.config_hash for node in nodes):
        yield "Both nodes report that they are master." if masters else "No node is master."
    for vip, holder in holders.items():
        if not holder:
            yield f"Nobody answers for {vip}."
    if len(owners := sorted(set(holders.values()) - {""})) > 1:
        yield f"The VIPs are on both nodes: {' and '.join(owners)}."


def _next(state: State) -> str:
    """When a node that serves another set than the deployed one takes that one in."""
    if state is State.APPLYING:
        return "It is taking a set in just now."
    if state is State.WAITING:
        return "It takes the deployed one in by itself."
    return "It tries the deployed one again when it is rebooted."


def _server_findings(config: StackConfig, nodes: Sequence[Node]) -> Iterator[str]:
    """Servers that are down or of which nothing is known, reported once where both nodes see it."""
    seen_by: dict[tuple[str, str, str], list[str]] = {}
    for node in nodes:
        for service, servers in node.services.items():
            for server in servers:
                if server.state in (DOWN, UNKNOWN):
                    seen_by.setdefault((service, server.name, server.state), []).append(node.name)
    for (service, name, state), names in seen_by.items():
        whom = "" if len(names) == len(nodes) else f" as {names[0]} sees it"
        if state == UNKNOWN:
            yield f"{service}: the state of {name} is unknown{whom}: the node did not answer for it."
        elif quiesces(config, service) and not RELEASES[config.image.release].has_conditional_check:
            yield f"{service}: {name} is down or quiesced{whom}; the HAProxy of this release shows both alike."
        else:
            yield f"{service}: {name} is down{whom}."


def quiesces(config: StackConfig, service: str) -> bool:
    """Whether a server of this service may answer that it takes no new clients."""
    return KINDS[config.services[service].kind].health.quiesced_status is not None
