"""Lines of the daemons' files that this project does not write: the applier refuses them, whatever they do.

``tests/native/test_random_lines.py`` compares what it accepts with what the real parsers make of it.
"""

from __future__ import annotations

from re import Pattern
from types import ModuleType

import pytest

from tests.goldens.cases import CASES, rendered
from tests.unit.guest.host import Host
from tests.unit.guest.refusal import require_refused
from tests.unit.guest.sets import Parts

CFG, VRRP = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"

HAPROXY = [
    "program evil\n    command /bin/sh",
    "    lua-load /tmp/x.lua",
    "    lua-load-per-thread /tmp/x.lua",
    "    lua-prepend-path /tmp/?.lua",
    "    tune.lua.openlibs all",
    "    external-check",
    "    option external-check",
    "    no option external-check",
    "    external-check command /bin/sh",
    "    insecure-fork-wanted",
    "    insecure-setuid-wanted",
    "    setenv LD_PRELOAD /tmp/x.so",
    "    presetenv A b",
    "    unsetenv NODE",
    "    resetenv",
    "    ssl-engine /tmp/x.so",
    "    ssl-provider x",
    "    ssl-provider-path /tmp",
    "    ssl-passphrase-cmd /bin/sh",
    "    backing-file /etc/passwd",
    "    pidfile /etc/passwd",
    "    shm-stats-file /etc/passwd",
    "    stats-file /etc/passwd",
    "    setcap cap_sys_admin",
    "    uid 0",
    "    gid 0",
    "global\n    user root",
    "global\nuser root",
    "global\n    group root",
    "acme x",
    "    'lua-load' /tmp/x.lua",
    '    lua-"load" /tmp/x.lua',
    "    lua\\-load /tmp/x.lua",
    "    \\x6cua-load /tmp/x.lua",
    '    "$WORD" /tmp/x.lua',
    '    option "external-check"',
    "    option\\ external-check",
    'global\n    user "root"',
    "    server a 10.0.0.1\r    lua-load /tmp/x.lua",
    "    server a 10.0.0.1\x0b",
    "    server a 10.0.0.1:443 ssl crt /etc/passwd",
    "    server program 10.0.0.1:443 check",
    "    bind unix@/run/x",
    "    log 10.0.0.1:514 local0",
    "    errorfile 503 /etc/shadow",
    "    http-request deny if { src -f /etc/passwd }",
    "    http-request return status 200 content-type text/plain file /etc/shadow",
    "    http-request redirect location https://%[env(HOME)]",
    "    http-request redirect location https://%[str(x),map(/etc/passwd)]",
    "    .if true",
    "    @something",
    "    maxconn 1 # a comment behind a directive",
    "    maxconn ${NODE}",
    "    maxconn\t1",
    "    description setenv",
    "    maxc\u00f6nn 1",
    "listen x",
    "frontend f g",
]


@pytest.mark.parametrize("lines", HAPROXY)
def test_a_dangerous_directive_in_haproxy_cfg_is_refused(program: ModuleType, lines: str) -> None:
    text = f"global\n    user haproxy\nuserlist u\n    user root password $6$x$y\nfrontend f\n{lines}\n"
    problems = program.check_haproxy(text)
    assert problems
    assert problems[0].startswith(f"{CFG} line ")
    assert problems[0].endswith(" is refused: this project writes no such line")


def test_a_directive_that_runs_code_is_refused_before_haproxy_reads_it(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={CFG: "    lua-load /tmp/x.lua\n    option external-check\n"}))
    sentence = f"{CFG} line 10: lua-load /tmp/x.lua is refused: this project writes no such line; {CFG} line 11: option"
    require_refused(node, served, sentence)
    assert node.ran("haproxy -c") == []


def test_haproxy_cfg_may_have_comments_of_any_length_and_words(node: Host) -> None:
    node.give(node.make("b", append={CFG: "# lua-load in a comment\n#" + "x" * 5000 + " lua-load /tmp/x\n"}))
    assert node.boot() == 0, node.output


KEEPALIVED = [
    "include /etc/keepalived/more.conf",
    '"include" /run/lbstack/x',
    "includea /run/lbstack/x",
    "notify /bin/sh",
    "notify_master /bin/sh",
    "notify_master_rx_lower_pri /bin/sh",
    "notify_stop '/bin/sh -c x'",
    "notify_fifo /run/lbstack/fifo",
    "vrrp_notify_fifo_script /bin/sh",
    "lvs_notify_fifo_script relative",
    "startup_script /bin/sh",
    "shutdown_script relative",
    'script "/bin/sh"',
    "script relative",
    "script",
    "vrrp_script x { script relative }",
    "misc_path relative",
    "quorum_up relative",
    "quorum_down relative",
    "notify_up relative",
    "notify_down relative",
    "notify /usr/local/lib/lbstack/lbstack-vips",
    "notify /usr/local/lib/lbstack/../../../../bin/sh",
    "state_dump_file /etc/passwd",
    "config_save_dir /etc",
    "file /run/lbstack/../../etc/passwd",
    "$X=notify",
    "${X} /bin/sh",
    "scr\\x69pt relative",
    "a \\",
    "weight 0\r notify relative",
    "!" + "x" * 1022 + "notify /bin/sh",
    "#" + " " * 1100 + "include /etc/passwd",
    "! a comment that ends in \\",
    "! a comment with $VARIABLE",
    '! a comment with a "quote',
    "! a comment with include",
    "~SEQ(a,1,3)",
    "@node notify /bin/sh",
    "priority 1 { notify /bin/sh",
    "} vrrp_script x {",
    "}}",
    "global_defs {",
    "priority 1 ! a comment",
    "state\tBACKUP",
    "virtual_server 10.0.0.1 80 {",
]


@pytest.mark.parametrize("line", KEEPALIVED)
def test_a_dangerous_directive_in_keepalived_conf_is_refused(program: ModuleType, line: str) -> None:
    problems = program.check_keepalived(f"vrrp_instance pair {{\n  {line}\n}}\n")
    assert problems
    assert problems[0].startswith(f"{VRRP} line 2: ")
    assert problems[0].endswith(" is refused: this project writes no such line")


@pytest.mark.parametrize("text", ["vrrp_instance pair {\n", "}\n", "state BACKUP\n"])
def test_keepalived_conf_with_blocks_that_do_not_match_is_refused(program: ModuleType, text: str) -> None:
    assert program.check_keepalived(text)


def test_both_lists_accept_every_golden_and_have_no_form_without_one(program: ModuleType) -> None:
    """So the lists stay those of what is rendered: a form whose last line goes has to go too."""
    haproxy, keepalived = set(), set()
    for case in CASES:
        for files in rendered(case).nodes.values():
            for path, check in ((CFG, program.check_haproxy), (VRRP, program.check_keepalived)):
                assert check(files[path].content) == [], (case, path)
            here: list[Pattern[str]] = []
            for line in files[CFG].content.splitlines():
                for header, forms in program.haproxy_sections():
                    if header.match(line):
                        here = forms
                        haproxy.add(header.pattern)
                haproxy |= {(id(here), form.pattern) for form in here if form.match(line.strip())}
            around: list[str] = []
            for line in (line.strip() for line in files[VRRP].content.splitlines()):
                whole = "\n".join([*around, line])
                keepalived |= {form.pattern for form in program.keepalived_forms() if form.match(whole)}
                around = around[:-1] if line == "}" else [*around, line.split()[0]] if line.endswith("{") else around
    unused = [
        *(header.pattern for header, _ in program.haproxy_sections() if header.pattern not in haproxy),
        *(
            form.pattern
            for _, forms in program.haproxy_sections()
            for form in forms
            if (id(forms), form.pattern) not in haproxy
        ),
        *(form.pattern for form in program.keepalived_forms() if form.pattern not in keepalived),
    ]
    assert unused == []


def test_a_foreign_script_is_refused_before_keepalived_reads_it(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={VRRP: "  notify_master /bin/evil\n"}))
    require_refused(
        node, served, f"{VRRP} line 15: notify_master /bin/evil is refused: this project writes no such line"
    )
    assert node.ran("keepalived -t") == []


def test_keepalived_conf_may_have_comments_up_to_its_parsers_limit(program: ModuleType) -> None:
    assert program.check_keepalived("!" + "x" * 1022 + "\n") == []
    assert program.check_keepalived("  ! HAProxy's own unit, (2.0.18) and later: 1/2 [x]\n") == []


@pytest.mark.parametrize(
    "output",
    [
        "[NOTICE] 327/132406 (56) : haproxy version is 2.2.9\n[ALERT] 327/132406 (56) : parsing [/a:7] : no such word",
        "[NOTICE]   (56) : haproxy version is 2.6.12\n[ALERT]    (56) : config : parsing [/a:7] : no such word\n",
    ],
)
def test_only_the_error_of_haproxys_output_is_reported(program: ModuleType, output: str) -> None:
    assert program.clean(output) == "[ALERT] parsing [/a:7] : no such word"
