"""Rules about services: their names, servers, kinds and durations. See ``rules.py`` for how rules work."""

from __future__ import annotations

from collections.abc import Iterator

from lbstack.config.choices import ServerState
from lbstack.config.fields import SERVICE_NAME
from lbstack.config.forms import Form, FormError
from lbstack.config.missing import known
from lbstack.config.models import Service, StackConfig
from lbstack.facts.kinds import KINDS, duration_ms
from lbstack.problems import Problem, path_of

# The stack's outputs have the statistics page's VIP under this name, next to those of the services (deploy/outputs.py).
RESERVED_SERVICE_NAMES = ("stats",)


# Limits of durations: (least, most), inclusive.
CHECK_LIMITS = ("1s", "10m")
# Horizon Console Administration, "health": poll a Connection Server every 30 s; more polls are needless load.
HORIZON_LEAST_CHECK = "30s"
PERSISTENCE_LIMITS = ("1m", "1d")
CONNECT_LIMITS = ("100ms", "1m")
INACTIVITY_LIMITS = ("1s", "1d")
TUNNEL_LIMITS = ("1m", "1d")
# A Horizon client sends a heartbeat every 30 minutes (KB 56636) and may be inactive between; twice that tolerates a
# lost heartbeat.
HORIZON_LEAST_TUNNEL = "1h"


def service_names(config: StackConfig) -> Iterator[Problem]:
    """There is at least one service, and HAProxy's configuration can contain the names."""
    if known(config.services) and not config.services:
        yield Problem("services", "is an empty mapping", "Write at least one service below its name.")
    seen: dict[str, str] = {}
    for name in config.services:
        path = path_of(["services", name])
        yield from key_form(path, name, SERVICE_NAME)
        first = seen.setdefault(name.lower(), name)
        if first != name:
            remedy = "Give each service its own name; upper and lower case are the same."
            yield Problem(path, f"has the same name as {path_of(['services', first])}", remedy)
        if name.lower() in RESERVED_SERVICE_NAMES:
            yield Problem(path, "has the name of the statistics page in the outputs", "Choose another name.")


def service_servers(config: StackConfig) -> Iterator[Problem]:
    """Each service has servers, and at least one that takes new clients."""
    for name, service in config.services.items():
        path = path_of(["services", name, "servers"])
        if not known(service, service.servers):
            continue
        if not service.servers:
            yield Problem(path, "is an empty list", "List at least one server, or remove the service.")
        elif all(
            known(server) and server.state in (ServerState.DRAIN, ServerState.MAINTENANCE) for server in service.servers
        ):
            yield Problem(
                path,
                "has no server in state ready, so every new client would be refused",
                "Set at least one server to ready, or remove the service.",
            )


def service_kinds(config: StackConfig) -> Iterator[Problem]:
    """A service has what its kind needs, and nothing that the kind excludes."""
    for name, service in config.services.items():
        if not known(service, service.kind):
            continue
        kind = KINDS[service.kind]
        if kind.default_port is None and service.port is None:
            yield Problem(
                path_of(["services", name, "port"]),
                "is missing",
                f"A service of kind {service.kind} has no default port: write one from 1 to 65535.",
            )
        fixed = KINDS["horizon"].health.path
        if service.kind == "horizon" and known(service.health_path) and service.health_path not in (None, fixed):
            yield Problem(
                path_of(["services", name, "healthPath"]),
                f"is {service.health_path}, but a Connection Server supports no other probe than {fixed}",
                f"Remove it: {fixed} is the default.",
            )


def service_durations(config: StackConfig) -> Iterator[Problem]:
    """Durations are within their limits: too short ones break sessions, too long ones never end."""
    for name, service in config.services.items():
        if not known(service):
            continue
        for keys, value, (least, most), reason in _durations(service):
            if value is None or not known(value):
                continue
            if not duration_ms(least) <= duration_ms(value) <= duration_ms(most):
                yield Problem(
                    path_of(["services", name, *keys]),
                    f"is {value}, outside {least} to {most}",
                    f"Write a duration within these limits{reason}.",
                )


def _durations(service: Service) -> Iterator[tuple[list[str], str | None, tuple[str, str], str]]:
    horizon = service.kind == "horizon"
    check, tunnel, check_reason, tunnel_reason = CHECK_LIMITS, TUNNEL_LIMITS, "", ""
    if horizon:
        check, tunnel = (HORIZON_LEAST_CHECK, CHECK_LIMITS[1]), (HORIZON_LEAST_TUNNEL, TUNNEL_LIMITS[1])
        check_reason = "; a Connection Server may be probed every 30 s"
        tunnel_reason = "; a Horizon client sends data at least every half hour, and one heartbeat may be lost"
    yield ["healthInterval"], service.health_interval, check, check_reason
    yield ["persistence"], service.persistence, PERSISTENCE_LIMITS, ""
    timeouts = service.timeouts
    yield ["timeouts", "connect"], timeouts.connect, CONNECT_LIMITS, ""
    yield ["timeouts", "client"], timeouts.client, INACTIVITY_LIMITS, ""
    yield ["timeouts", "server"], timeouts.server, INACTIVITY_LIMITS, ""
    yield ["timeouts", "tunnel"], timeouts.tunnel, tunnel, tunnel_reason


def service_aliases(config: StackConfig) -> Iterator[Problem]:
    """Only Connection Servers have to know further names, and each is listed once."""
    for name, service in config.services.items():
        if not known(service, service.aliases) or not service.aliases:
            continue
        path = ["services", name, "aliases"]
        if known(service.kind) and service.kind != "horizon":
            remedy = f"Remove it: only Connection Servers check names, and a service of kind {service.kind} has none."
            yield Problem(path_of(path), "is given, but nothing uses it", remedy)
        seen = {service.fqdn.lower(): "fqdn"} if known(service.fqdn) and service.fqdn else {}
        for index, alias in enumerate(service.aliases):
            if not known(alias):
                continue
            first = seen.setdefault(alias.lower(), f"aliases[{index}]")
            if first != f"aliases[{index}]":
                yield Problem(path_of([*path, index]), f"is {alias}, which {first} is too", "List each name once.")


def one_name_one_vip(config: StackConfig) -> Iterator[Problem]:
    """A DNS name belongs to one VIP."""
    seen: dict[str, tuple[str, object]] = {}
    for name, service in config.services.items():
        if not known(service, service.vip):
            continue
        names = [(["fqdn"], service.fqdn)]
        if known(service.aliases):
            names += [(["aliases", index], alias) for index, alias in enumerate(service.aliases)]  # type: ignore[list-item]
        for keys, each in names:
            if not known(each) or each is None:
                continue
            path = path_of(["services", name, *keys])
            first, vip = seen.setdefault(each.lower(), (path, service.vip))
            if vip != service.vip:
                yield Problem(
                    path, f"is {each}, which {first} is too, but the VIPs differ", "Give each VIP its own name."
                )


def key_form(path: str, key: str, form: Form) -> Iterator[Problem]:
    """A key of a mapping has a form that the daemons take."""
    try:
        form.read(key)
    except FormError as error:
        yield Problem(path, f"has a name that {error.what}", error.remedy)


RULES = (
    service_names,
    service_servers,
    service_kinds,
    service_durations,
    service_aliases,
    one_name_one_vip,
)
