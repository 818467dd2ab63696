"""No line is dropped without a word, no password is shown, and whatever is made is a valid stack file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from lbstack.problems import ConfigError
from lbstack.scaffold.handbuilt.build import Imported, build
from lbstack.scaffold.handbuilt.nodetables import NETWORK, VRRP
from lbstack.scaffold.handbuilt.sources import Kind, Source, Sources
from lbstack.scaffold.handbuilt.tables import GLOBAL, PROXY, SERVER
from lbstack.stackfile.load import load_config
from tests.unit.scaffold.handbuilt.support import FIXTURES, HOW_TOS, OTHERS, PASSWORDS, decided, imported

EXAMPLES = 60
# A failing example has dozens of lines: shrinking it takes minutes and is done by hand (add Phase.shrink).
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
SECRET = "Zq7XsecretX9z"
COMMENTS = {Kind.KEEPALIVED: "#!", Kind.NETWORK: "#;", Kind.KERNEL: "#;"}

names = st.sampled_from(("horizon", "cs-443", "avm", "uag_8443", "web", "1st", "a:b", "x.y", "stats", "Statistics"))
addresses = st.sampled_from(
    (
        "10.1.0.5",
        "10.1.0.6",
        "10.1.0.11",
        "10.1.0.12",
        "127.0.0.1",
        "*",
        "",
        "host.example.com",
        "2001:db8::1",
        "224.0.0.1",
    )
)
ports = st.sampled_from(("443", "80", "8443", "22", "8405", "8404", "0", "70000", "443-445", "http"))
times = st.sampled_from(("0", "1", "30s", "91s", "50000", "3h", "9d", "30d", "x", "1500us"))


def line(*parts: Any) -> st.SearchStrategy[str]:
    """A line of these parts with blanks between."""
    return st.tuples(*(part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts)).map(" ".join)


endpoint = st.tuples(addresses, ports).map(":".join)
server_options = st.lists(
    st.one_of(
        st.sampled_from([name if not row.values else f"{name} 3" for name, row in SERVER.items()]),
        st.sampled_from(
            ("inter 5s", "inter 2000", "downinter 1h", "rise 2", "fall x", "weight 0", "weight 7", "disabled")
        ),
        st.just(f"unheard-of {SECRET}"),
        st.just(f"{SECRET}"),
    ),
    max_size=3,
).map(" ".join)
proxy_lines = st.one_of(
    st.sampled_from([" ".join(words) for words in PROXY]),
    st.sampled_from([f"{' '.join(words)} {SECRET} if x" for words in PROXY if words[0] != "stats"]),
    line("server", names, endpoint, server_options),
    line("server", names),
    line("default-server", server_options),
    line("bind", endpoint, st.sampled_from(("", "ssl crt /x", "accept-proxy", "name y"))),
    line("bind", endpoint.map(lambda text: f"{text},10.1.0.7:444")),
    line("mode", st.sampled_from(("tcp", "http", "health"))),
    line("balance", st.sampled_from(("source", "leastconn", "roundrobin", "hdr(x)"))),
    line("timeout", st.sampled_from(("connect", "client", "server", "tunnel", "queue", "odd")), times),
    line("stick-table type ip size 1k expire", times),
    st.sampled_from(
        ("stick on src", "stick on src table web", "stick match hdr(x)", "no option tcpka", "use_backend web")
    ),
    line("default_backend", names),
    line("use_backend", names, "if { x }"),
    st.sampled_from(
        ("redirect scheme https if !{ ssl_fc }", "monitor-uri /x", "option httpchk", "http-check expect status 200")
    ),
    line("option httpchk", st.sampled_from(("GET /favicon.ico", "HEAD /a/b HTTP/1.0", "/x?y", "GET /ä$"))),
    st.sampled_from(
        (f"stats auth admin:{SECRET}", f"stats auth {SECRET}", "stats enable", "stats admin if TRUE", "stats uri /x")
    ),
    st.just(f"http-check send hdr Authorization {SECRET}"),
    st.just(f"unheard-of {SECRET}"),
)
sections = st.one_of(
    st.tuples(
        st.one_of(line(st.sampled_from(("frontend", "backend", "listen")), names), st.just("defaults")),
        st.lists(proxy_lines, max_size=8),
    ),
    st.tuples(
        st.just("global"),
        st.lists(
            st.one_of(
                st.sampled_from([f"{' '.join(words)} 1" for words in GLOBAL]),
                line("maxconn", st.sampled_from(("4000", "100", "999999", "x"))),
                st.just(f"setenv PASSWORD {SECRET}"),
            ),
            max_size=5,
        ),
    ),
    st.tuples(
        line("userlist", names),
        st.lists(
            st.sampled_from(
                (
                    f"user ann insecure-password {SECRET}",
                    f"user bob password {SECRET} groups admin",
                    "group admin users ann",
                )
            ),
            max_size=3,
        ),
    ),
    st.tuples(line("peers", names), st.lists(st.just("peer a 10.1.0.1:1024"), max_size=2)),
).map(lambda section: "\n  ".join((section[0], *section[1])))
haproxy = st.lists(sections, min_size=1, max_size=8).map("\n\n# a comment\n".join)
statements = st.one_of(
    st.sampled_from([f"{name} 1" for name in VRRP]),
    st.sampled_from(
        ("interface eth0", "state MASTER", "priority 101", "virtual_router_id 11", "advert_int 0.3", "nopreempt")
    ),
    line("unicast_src_ip", addresses.filter(bool)),
    line("unicast_peer {\n", addresses, "\n}"),
    line("virtual_ipaddress {\n", addresses, "dev eth0\n", addresses, "\n}"),
    st.just(f"auth_pass {SECRET}"),
    st.just(f"authentication {{ auth_type PASS auth_pass {SECRET} }}"),
    st.just(f'notify "/x --token {SECRET}"'),
    st.just(f"unheard_of {SECRET}"),
)
keepalived = st.lists(
    st.tuples(
        st.sampled_from(("vrrp_instance A", "global_defs", "vrrp_script x", "virtual_server 10.1.0.5 80", "odd")),
        st.lists(statements, max_size=6),
    ).map(lambda block: "\n".join((f"{block[0]} {{", *block[1], "}"))),
    max_size=4,
).map("\n! a comment\n".join)
rules = st.one_of(
    st.sampled_from(
        ("*filter", "*nat", "COMMIT", ":INPUT DROP [0:0]", "-A INPUT -i lo -j ACCEPT", "-A OUTPUT -j ACCEPT")
    ),
    line("-A INPUT -p tcp --dport", ports, "-j ACCEPT"),
    line("-A INPUT -s", st.sampled_from(("10.0.0.0/8", "0.0.0.0/0", "10.1.0.9", "x")), "-p tcp --dport 22 -j ACCEPT"),
    st.just(f"-A INPUT -m comment --comment password={SECRET} -j ACCEPT"),
    st.just(f"-X {SECRET}"),
)
network = st.one_of(
    st.sampled_from([name if name.startswith("[") else f"{name}=x" for name in NETWORK]),
    st.sampled_from(
        ("[Route]", "Destination=10.0.0.0/8", "Name=eth0", "Name=e*", "Gateway=10.1.0.1", "DNS=10.1.0.2 x")
    ),
    line(
        st.just("Address=").flatmap(
            lambda key: st.sampled_from(("10.1.0.2/24", "10.2.0.2/24", "x", "10.1.0.3")).map(lambda v: key + v)
        )
    ),
    st.just(f"PrivateKey={SECRET}"),
)


def made_of(*files: tuple[Kind, int, str]) -> Imported:
    return build(Sources(tuple(Source(kind, node, f"{node}/{kind}", text) for kind, node, text in files), ()))


def lines_of(kind: Kind, text: str) -> set[int]:
    """The numbers of the lines that are neither blank nor comments, counted without the program's own reader."""
    marks = tuple(COMMENTS.get(kind, "#"))
    return {
        number
        for number, each in enumerate(text.splitlines(), 1)
        if each.strip() and not each.strip().startswith(marks)
    }


def require_complete(made: Imported, files: list[tuple[Kind, int, str]]) -> None:
    judged = [(entry.line.file, entry.line.number) for entry in made.report.entries]
    assert len(judged) == len(set(judged))
    assert set(judged) == {(f"{node}/{kind}", number) for kind, node, text in files for number in lines_of(kind, text)}
    assert all(entry.why or entry.paths for entry in made.report.entries)


def require_located(error: ConfigError) -> None:
    assert all(problem.path and problem.remedy for problem in error.problems)


def require_secret(made: Imported) -> None:
    for text in (made.stack_file, made.report.text(), json.dumps(made.report.as_data())):
        assert SECRET not in text


def config_of(made: Imported) -> dict[str, Any]:
    section = yaml.safe_load(made.stack_file)["config"]
    raw = {key.removeprefix("lbstack:"): value for key, value in section.items() if key.startswith("lbstack:")}
    return decided(raw)


nodes = st.fixed_dictionaries(
    {
        (Kind.HAPROXY, 0): haproxy,
        (Kind.HAPROXY, 1): haproxy,
        (Kind.KEEPALIVED, 0): keepalived,
        (Kind.KEEPALIVED, 1): keepalived,
        (Kind.FIREWALL, 0): st.lists(rules, min_size=1, max_size=6).map("\n".join),
        (Kind.FIREWALL6, 1): st.lists(rules, min_size=1, max_size=3).map("\n".join),
        (Kind.NETWORK, 1): st.lists(network, min_size=1, max_size=6).map("\n".join),
    }
)


@settings(max_examples=EXAMPLES, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
@given(nodes)
def test_every_line_of_every_file_has_exactly_one_verdict_and_no_password_is_shown(
    texts: dict[tuple[Kind, int], str],
) -> None:
    files = [(kind, node, text) for (kind, node), text in texts.items()]
    made = made_of(*files)
    require_complete(made, files)
    require_secret(made)
    load_config(config_of(made))


@settings(max_examples=EXAMPLES, deadline=None, phases=PHASES)
@given(st.sampled_from(Kind), st.text(max_size=200))
@example(Kind.HAPROXY, "global\n stats socket \\")
@example(Kind.KEEPALIVED, "a { } } {")
def test_any_text_ends_with_problems_or_with_a_verdict_for_each_line(kind: Kind, text: str) -> None:
    files = [(Kind.HAPROXY, 0, "global\n  daemon"), (kind, 1, text)]
    try:
        made = made_of(*files)
    except ConfigError as error:
        require_located(error)
        return
    load_config(config_of(made))
    judged = {(entry.line.file, entry.line.number) for entry in made.report.entries}
    assert {number for file, number in judged if file == f"1/{kind}"} <= set(range(1, len(text.splitlines()) + 1))


@pytest.mark.parametrize("name", [*HOW_TOS, *OTHERS])
def test_every_line_of_the_fixtures_is_in_the_report(name: str) -> None:
    made = imported(name)
    judged = {(entry.line.file, entry.line.number) for entry in made.report.entries}
    expected = set()
    for file in sorted((FIXTURES / name).rglob("*")):
        if file.is_file():
            kind = next(kind for kind in Kind if _is(file, kind))
            shown = str(file.relative_to(FIXTURES / name))
            expected |= {(shown, number) for number in lines_of(kind, file.read_text())}
    assert judged == expected
    text = made.report.text()
    assert all(entry.line.file in text for entry in made.report.entries)


def _is(file: Path, kind: Kind) -> bool:
    forms = {
        Kind.HAPROXY: r"haproxy\.cfg",
        Kind.KEEPALIVED: r"keepalived\.conf",
        Kind.FIREWALL: "ip4save|iptables",
        Kind.FIREWALL6: "ip6save",
        Kind.NETWORK: r".*\.network",
        Kind.KERNEL: r"sysctl\.conf|55-.*\.conf",
    }
    return re.fullmatch(forms[kind], file.name) is not None


@pytest.mark.parametrize("name", [*HOW_TOS, *OTHERS])
def test_no_password_of_the_fixtures_is_written_or_printed(name: str) -> None:
    made = imported(name)
    source = "".join(file.read_text() for file in (FIXTURES / name).rglob("*") if file.is_file())
    for text in (made.stack_file, made.report.text(), json.dumps(made.report.as_data())):
        words = set(re.findall(r"[A-Za-z0-9]+", text))
        assert not [password for password in PASSWORDS if password in source and password in words]


def test_the_fixtures_have_passwords_to_find() -> None:
    source = "".join(file.read_text() for file in FIXTURES.rglob("*") if file.is_file())
    assert [password for password in PASSWORDS if password not in source] == []
