"""Directives of the daemons' configuration that the applier refuses, because they could run code or write files."""

from __future__ import annotations

from types import ModuleType

import pytest

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
]


@pytest.mark.parametrize("lines", HAPROXY)
def test_a_dangerous_directive_in_haproxy_cfg_is_refused(program: ModuleType, lines: str) -> None:
    text = f"global\n    user haproxy\nuserlist u\n    user root password $6$x$y\nfrontend f\n{lines}\n"
    problems = program.check_haproxy(text)
    assert len(problems) == 1
    assert problems[0].startswith(f"{CFG} line ")
    assert problems[0].endswith(" is refused")


def test_a_directive_that_runs_code_is_refused_before_haproxy_reads_it(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={CFG: "    lua-load /tmp/x.lua\n    option external-check\n"}))
    sentence = f"{CFG} line 10: lua-load is refused; {CFG} line 11: option external-check is refused"
    require_refused(node, served, sentence)
    assert node.ran("haproxy -c") == []


def test_haproxy_cfg_may_contain_the_same_words_where_they_have_no_effect(node: Host) -> None:
    lines = (
        "# lua-load in a comment\n    server program 10.0.0.1:443 check\n    description setenv\n"
        "userlist more\n    user root password $6$x$y\n"
    )
    node.give(node.make("b", append={CFG: lines}))
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
]


@pytest.mark.parametrize("line", KEEPALIVED)
def test_a_dangerous_directive_in_keepalived_conf_is_refused(program: ModuleType, line: str) -> None:
    problems = program.check_keepalived(f"vrrp_instance pair {{\n  {line}\n}}\n")
    assert problems
    assert problems[0].startswith(f"{VRRP} line 2: ")
    assert problems[0].endswith(" is refused")


def test_a_foreign_script_is_refused_before_keepalived_reads_it(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={VRRP: "  notify_master /bin/evil\n"}))
    require_refused(node, served, f"{VRRP} line 15: notify_master /bin/evil is refused")
    assert node.ran("keepalived -t") == []


def test_keepalived_conf_may_name_programs_and_files_of_the_set(node: Host) -> None:
    line = (
        "! include in a comment\n vrrp_track_file t {\n  file /run/lbstack/haproxy.down\n }\n"
        " track_script {\n  check\n }\n notify_priority_changes true\n"
        " notify_fault /usr/local/lib/lbstack/lbstack-notify\n"
    )
    node.give(node.make("b", append={VRRP: line}))
    assert node.boot() == 0, node.output


@pytest.mark.parametrize(
    "output",
    [
        "[NOTICE] 327/132406 (56) : haproxy version is 2.2.9\n[ALERT] 327/132406 (56) : parsing [/a:7] : no such word",
        "[NOTICE]   (56) : haproxy version is 2.6.12\n[ALERT]    (56) : config : parsing [/a:7] : no such word\n",
    ],
)
def test_only_the_error_of_haproxys_output_is_reported(program: ModuleType, output: str) -> None:
    assert program.clean(output) == "[ALERT] parsing [/a:7] : no such word"
