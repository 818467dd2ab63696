"""What becomes of lines that need no further thought: one row for each directive and option.

A row is the verdict, the reason, and the number of the correction. A directive that the new pair learns to express
changes its row, or moves from here to a function. Directives of HAProxy are looked up by their first words, the longest
match first. The rows of the other files are in ``nodetables.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from lbstack.scaffold.handbuilt.ledger import Ledger, Verdict
from lbstack.scaffold.handbuilt.lines import Line

OURS, TAKEN, CORRECTED, NOT = Verdict.OURS, Verdict.TAKEN, Verdict.CORRECTED, Verdict.NOT_EXPRESSED


@dataclass(frozen=True)
class Row:
    """What becomes of a directive.

    Args:
        verdict: The verdict.
        why: The reason, without a full stop.
        number: The number of the correction, if any.
        blocks: Whether the whole service would be wrong without it, so that it is left out of the stack file.
        values: How many words follow an option of a `server` line.
    """

    verdict: Verdict
    why: str
    number: str = ""
    blocks: bool = False
    values: int = 0


def _server(verdict: Verdict, why: str, values: int = 0, *, blocks: bool = False) -> Row:
    return Row(verdict, why, blocks=blocks, values=values)


_TLS = "TLS between the pair and its servers cannot be expressed: connections are passed through as they are"
_PROXY = "the PROXY protocol cannot be expressed, and a server that expects it refuses everything else"
_CHECK_ELSEWHERE = "checks go to the server's own address and port"
_CHECK_TLS = "a check with a path is TLS, and believes every certificate"
_KIND_STATE = "what happens to connections of a server that is down cannot be chosen: they stay until they end"

SERVER: Mapping[str, Row] = MappingProxyType(
    {
        "check": _server(TAKEN, ""),
        "ssl": _server(NOT, _TLS, blocks=True),
        "send-proxy": _server(NOT, _PROXY, blocks=True),
        "send-proxy-v2": _server(NOT, _PROXY, blocks=True),
        "check-send-proxy": _server(NOT, _PROXY, blocks=True),
        "check-ssl": _server(OURS, _CHECK_TLS),
        "check-sni": _server(OURS, "checks send the service's fqdn", 1),
        "check-alpn": _server(OURS, "checks speak HTTP/1", 1),
        "verify": _server(OURS, _CHECK_TLS, 1),
        "verifyhost": _server(OURS, _CHECK_TLS, 1),
        "ca-file": _server(OURS, _CHECK_TLS, 1),
        "sni": _server(OURS, "without TLS on the pair there is nothing to name", 1),
        "alpn": _server(OURS, "without TLS on the pair there is nothing to agree on", 1),
        "backup": _server(NOT, "a backup server cannot be expressed; it is in maintenance until you decide"),
        "maxconn": _server(NOT, "a server's own limit of connections cannot be expressed", 1),
        "minconn": _server(NOT, "a server's own limit of connections cannot be expressed", 1),
        "maxqueue": _server(NOT, "there is no queue before a server", 1),
        "slowstart": _server(NOT, "a server that is up again gets its full share at once", 1),
        "port": _server(NOT, _CHECK_ELSEWHERE, 1),
        "addr": _server(NOT, _CHECK_ELSEWHERE, 1),
        "agent-check": _server(NOT, "an agent on the server is not asked"),
        "agent-port": _server(NOT, "an agent on the server is not asked", 1),
        "agent-addr": _server(NOT, "an agent on the server is not asked", 1),
        "agent-inter": _server(NOT, "an agent on the server is not asked", 1),
        "track": _server(NOT, "each service checks its servers itself", 1),
        "cookie": _server(OURS, "connections are passed through: a client is known by its address", 1),
        "id": _server(OURS, "servers are numbered by the program", 1),
        "on-marked-down": _server(NOT, _KIND_STATE, 1),
        "on-marked-up": _server(NOT, _KIND_STATE, 1),
        "on-error": _server(NOT, "only checks decide whether a server is up", 1),
        "observe": _server(NOT, "only checks decide whether a server is up", 1),
        "error-limit": _server(NOT, "only checks decide whether a server is up", 1),
        "resolvers": _server(NOT, "names are not looked up", 1),
        "resolve-prefer": _server(NOT, "names are not looked up", 1),
        "init-addr": _server(NOT, "names are not looked up", 1),
        "source": _server(NOT, "the node's own address is what servers see", 1),
        "usesrc": _server(NOT, "the node's own address is what servers see", 1),
        "non-stick": _server(NOT, "every server of a service keeps its clients"),
        "redir": _server(NOT, "connections are passed through", 1),
        "proto": _server(OURS, "connections are passed through", 1),
        "check-proto": _server(OURS, "checks speak HTTP/1", 1),
        "no-ssl-reuse": _server(OURS, "there is no TLS on the pair"),
        "no-sslv3": _server(OURS, "there is no TLS on the pair"),
        "no-tlsv10": _server(OURS, "there is no TLS on the pair"),
        "ssl-min-ver": _server(OURS, "there is no TLS on the pair", 1),
        "init-state": _server(OURS, "a server is up until a check says otherwise", 1),
    }
)
"""Options of `server` and `default-server` lines that no function handles."""

_JOURNAL = "checks, errors and changes of state go to the journal; haproxy.logConnections adds every connection"
_NO_REQUESTS = "connections are passed through: no request is read, changed or answered"
_KEEP_ALIVE = "the tunnel time-out decides about silent connections; no keep-alive packets are sent"
_WHO = "who may connect cannot be expressed, and the service must not be open to more than today"
_CHECK = "the check cannot be expressed; it would be a plain TCP connection"

PROXY: Mapping[tuple[str, ...], Row] = MappingProxyType(
    {
        ("log",): Row(OURS, _JOURNAL),
        ("log-format",): Row(OURS, _JOURNAL),
        ("log-tag",): Row(OURS, _JOURNAL),
        ("option", "tcplog"): Row(OURS, _JOURNAL),
        ("option", "httplog"): Row(OURS, _JOURNAL),
        ("option", "dontlognull"): Row(OURS, _JOURNAL),
        ("option", "dontlog-normal"): Row(OURS, _JOURNAL),
        ("option", "log-health-checks"): Row(OURS, _JOURNAL),
        ("option", "log-separate-errors"): Row(OURS, _JOURNAL),
        ("option", "logasap"): Row(OURS, _JOURNAL),
        ("option", "contstats"): Row(OURS, "the statistics page counts by itself"),
        ("option", "redispatch"): Row(OURS, "every service has it: after a failed try another server is asked"),
        ("retries",): Row(OURS, "three for every service"),
        ("option", "http-server-close"): Row(OURS, _NO_REQUESTS),
        ("option", "http-keep-alive"): Row(OURS, _NO_REQUESTS),
        ("option", "httpclose"): Row(OURS, _NO_REQUESTS),
        ("option", "forceclose"): Row(OURS, _NO_REQUESTS),
        ("option", "http-use-htx"): Row(OURS, _NO_REQUESTS),
        ("option", "forwardfor"): Row(NOT, f"{_NO_REQUESTS}; servers see the node's address as the client's"),
        ("option", "tcpka"): Row(NOT, _KEEP_ALIVE),
        ("option", "clitcpka"): Row(NOT, _KEEP_ALIVE),
        ("option", "srvtcpka"): Row(NOT, _KEEP_ALIVE),
        ("option", "tcp-smart-connect"): Row(OURS, "no advantage for connections that are passed through"),
        ("option", "tcp-smart-accept"): Row(OURS, "no advantage for connections that are passed through"),
        ("option", "splice-auto"): Row(OURS, "HAProxy decides by itself how it copies data"),
        ("option", "persist"): Row(OURS, "where a release needs it, the kind has it"),
        ("option", "allbackups"): Row(NOT, "backup servers cannot be expressed"),
        ("option", "transparent"): Row(NOT, "connections go to listed servers only", blocks=True),
        ("option", "tcp-check"): Row(OURS, "the default check of kind tcp: a connection is opened"),
        ("option", "smtpchk"): Row(NOT, _CHECK),
        ("option", "mysql-check"): Row(NOT, _CHECK),
        ("option", "pgsql-check"): Row(NOT, _CHECK),
        ("option", "redis-check"): Row(NOT, _CHECK),
        ("option", "ldap-check"): Row(NOT, _CHECK),
        ("option", "external-check"): Row(NOT, _CHECK),
        ("external-check",): Row(NOT, _CHECK),
        ("tcp-check", "connect"): Row(OURS, "the default check of kind tcp: a connection is opened"),
        ("tcp-check",): Row(NOT, _CHECK),
        ("http-check", "disable-on-404"): Row(NOT, "only the kind horizon knows 'no new clients', by status 503"),
        ("http-check",): Row(NOT, _CHECK),
        ("errorfile",): Row(NOT, _NO_REQUESTS),
        ("errorfiles",): Row(NOT, _NO_REQUESTS),
        ("errorloc",): Row(NOT, _NO_REQUESTS),
        ("http-reuse",): Row(OURS, _NO_REQUESTS),
        ("compression",): Row(NOT, _NO_REQUESTS),
        ("capture",): Row(NOT, _NO_REQUESTS),
        ("unique-id-format",): Row(NOT, _NO_REQUESTS),
        ("unique-id-header",): Row(NOT, _NO_REQUESTS),
        ("reqadd",): Row(NOT, _NO_REQUESTS),
        ("rspadd",): Row(NOT, _NO_REQUESTS),
        ("http-response",): Row(NOT, _NO_REQUESTS),
        ("http-after-response",): Row(NOT, _NO_REQUESTS),
        ("http-request", "deny"): Row(NOT, _WHO, blocks=True),
        ("http-request", "reject"): Row(NOT, _WHO, blocks=True),
        ("http-request", "auth"): Row(NOT, "a login before the service cannot be expressed", blocks=True),
        ("http-request", "redirect"): Row(NOT, _NO_REQUESTS, blocks=True),
        ("http-request", "set-path"): Row(NOT, _NO_REQUESTS, blocks=True),
        ("http-request", "replace-path"): Row(NOT, _NO_REQUESTS, blocks=True),
        ("http-request",): Row(NOT, _NO_REQUESTS),
        ("redirect",): Row(NOT, _NO_REQUESTS, blocks=True),
        ("monitor-uri",): Row(OURS, "port 8405 says how the node is, to the managers"),
        ("monitor",): Row(OURS, "port 8405 says how the node is, to the managers"),
        ("monitor-net",): Row(OURS, "port 8405 says how the node is, to the managers"),
        ("cookie",): Row(OURS, "a client is known by its address, not by a cookie", "A12"),
        ("appsession",): Row(OURS, "a client is known by its address, not by a cookie"),
        ("persist",): Row(NOT, "a client is known by its address alone"),
        ("filter",): Row(NOT, _NO_REQUESTS),
        ("acl",): Row(NOT, "nothing is decided by conditions"),
        ("use-server",): Row(NOT, "which server gets a client cannot be decided by conditions", blocks=True),
        ("dispatch",): Row(NOT, "a service has servers", blocks=True),
        ("tcp-request", "inspect-delay"): Row(OURS, "nothing waits for a client's first bytes"),
        ("tcp-request", "content", "accept"): Row(OURS, "nothing waits for a client's first bytes"),
        ("tcp-request", "connection", "reject"): Row(NOT, _WHO, blocks=True),
        ("tcp-request", "content", "reject"): Row(NOT, _WHO, blocks=True),
        ("tcp-request", "session", "reject"): Row(NOT, _WHO, blocks=True),
        ("tcp-request", "connection", "accept"): Row(NOT, "who may connect cannot be expressed"),
        ("tcp-request",): Row(NOT, "counting and limiting a client's connections cannot be expressed"),
        ("tcp-response",): Row(NOT, "what servers send is not read"),
        ("maxconn",): Row(OURS, "a service may use all connections of its node but a hundred"),
        ("fullconn",): Row(OURS, "servers have no limits of their own"),
        ("rate-limit",): Row(NOT, "a limit of new connections cannot be expressed"),
        ("hash-type",): Row(OURS, "no hash decides: the stick table remembers a client's server", "A12"),
        ("source",): Row(NOT, "the node's own address is what servers see"),
        ("email-alert",): Row(NOT, "the pair sends no mail; `lbstack status` and the drift workflow tell"),
        ("description",): Row(OURS, "a remark"),
        ("id",): Row(OURS, "numbers are the program's"),
        ("bind-process",): Row(OURS, "one process with as many threads as CPUs"),
        ("enabled",): Row(OURS, "a service that is listed is on"),
        ("disabled",): Row(NOT, "the section was switched off", blocks=True),
        ("unique-id",): Row(NOT, _NO_REQUESTS),
        ("load-server-state-from-file",): Row(OURS, "every service has it"),
        ("server-template",): Row(NOT, "names are not looked up: list each server", blocks=True),
        ("timeout", "queue"): Row(OURS, "there is no queue before a server"),
        ("timeout", "http-request"): Row(OURS, "ten seconds, for port 80 and the statistics page"),
        ("timeout", "http-keep-alive"): Row(OURS, "ten seconds, for port 80 and the statistics page"),
        ("timeout", "check"): Row(OURS, "ten seconds"),
        ("timeout", "tarpit"): Row(OURS, _NO_REQUESTS),
        ("timeout", "client-fin"): Row(OURS, "half a minute"),
        ("timeout", "server-fin"): Row(OURS, "half a minute"),
    }
)
"""Directives of `defaults`, `frontend`, `backend` and `listen` that no function handles."""

_NO_TLS = "there is no TLS on the pair"
_THREADS = "one process with as many threads as the node has CPUs"
GLOBAL: Mapping[tuple[str, ...], Row] = MappingProxyType(
    {
        ("daemon",): Row(OURS, "HAProxy runs under systemd"),
        ("chroot",): Row(OURS, "/var/lib/haproxy, empty and writable by nobody"),
        ("pidfile",): Row(OURS, "systemd knows the process"),
        ("user",): Row(OURS, "haproxy, made by the applier"),
        ("group",): Row(OURS, "haproxy, made by the applier"),
        ("uid",): Row(OURS, "haproxy, made by the applier"),
        ("gid",): Row(OURS, "haproxy, made by the applier"),
        ("log",): Row(OURS, "the journal, which the node forwards if you let it"),
        ("log-send-hostname",): Row(OURS, "the journal knows the host"),
        ("log-tag",): Row(OURS, "the journal knows the unit"),
        ("stats", "timeout"): Row(OURS, "thirty seconds"),
        ("stats", "socket"): Row(OURS, "/run/haproxy/admin.sock, for root"),
        ("node",): Row(OURS, "the node's name"),
        ("localpeer",): Row(OURS, "the node's name"),
        ("description",): Row(OURS, "a remark"),
        ("nbproc",): Row(OURS, _THREADS),
        ("nbthread",): Row(OURS, _THREADS),
        ("cpu-map",): Row(OURS, _THREADS),
        ("maxpipes",): Row(OURS, "HAProxy derives it"),
        ("ulimit-n",): Row(OURS, "LimitNOFILE of the unit, derived from the connections", "A13"),
        ("hard-stop-after",): Row(OURS, "ten hours"),
        ("server-state-file",): Row(OURS, "kept over a reload"),
        ("server-state-base",): Row(OURS, "kept over a reload"),
        ("spread-checks",): Row(NOT, "checks are not spread by hand"),
        ("quiet",): Row(OURS, "HAProxy runs under systemd"),
        ("debug",): Row(OURS, "HAProxy runs under systemd"),
        ("master-worker",): Row(OURS, "HAProxy runs under systemd"),
        ("external-check",): Row(NOT, _CHECK),
        ("insecure-fork-wanted",): Row(NOT, _CHECK),
        ("ca-base",): Row(OURS, _NO_TLS),
        ("crt-base",): Row(OURS, _NO_TLS),
        ("ssl-default-bind-ciphers",): Row(OURS, _NO_TLS),
        ("ssl-default-bind-ciphersuites",): Row(OURS, _NO_TLS),
        ("ssl-default-bind-options",): Row(OURS, _NO_TLS),
        ("ssl-default-bind-curves",): Row(OURS, _NO_TLS),
        ("ssl-default-server-ciphers",): Row(OURS, _NO_TLS),
        ("ssl-default-server-ciphersuites",): Row(OURS, _NO_TLS),
        ("ssl-default-server-options",): Row(OURS, _NO_TLS),
        ("ssl-dh-param-file",): Row(OURS, _NO_TLS),
        ("ssl-server-verify",): Row(OURS, _CHECK_TLS),
        ("tune.ssl.default-dh-param",): Row(OURS, _NO_TLS),
        ("lua-load",): Row(NOT, "programs inside HAProxy cannot be expressed"),
    }
)
"""Directives of `global` that no function handles."""


def look_up(table: Mapping[tuple[str, ...], Row], words: Sequence[str]) -> Row | None:
    """Find the row of a directive: the one that shares most words with it.

    Args:
        table: Words → row.
        words: The words of the line; `no option …` is looked up as `option …`.
    """
    known = tuple(words[1:] if words and words[0] == "no" else words)
    return next((table[known[:count]] for count in (3, 2, 1) if known[:count] in table), None)


def apply(ledger: Ledger, line: Line, row: Row | None) -> bool:
    """Note what a row says about a line.

    Args:
        ledger: The ledger.
        line: The line.
        row: The row; None where the directive is not in the table.

    Returns:
        Whether there was a row.
    """
    if row is None:
        return False
    verdict = CORRECTED if row.number else row.verdict
    ledger.note(line, verdict, row.why, number=row.number)
    return True
