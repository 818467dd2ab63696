"""The table of changes: the applier, which is a program of its own, judges each file like this package."""

from __future__ import annotations

from types import ModuleType

import pytest

from lbstack.facts.changes import ACTIONS, AT_ONCE, FIXED, NODE_JSON, Kind, kind_of, worst
from lbstack.render.paths import HAPROXY_CFG, HAPROXY_DROPIN, KEEPALIVED_CONF
from tests.goldens.cases import CASES, cases, rendered
from tests.unit.guest.conftest import load_program
from tests.unit.guest.processes import PROGRAM


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The applier as a module."""
    return load_program(PROGRAM)


def test_the_appliers_table_is_this_one(program: ModuleType) -> None:
    assert tuple((pattern, kind.word) for pattern, kind in ACTIONS) == program.ACTIONS
    assert (program.FIXED, program.AT_ONCE) == (FIXED, AT_ONCE)
    assert tuple(kind.word for kind in Kind if kind is not Kind.NEW_VM) == program.KINDS


@pytest.mark.parametrize("name", CASES)
def test_both_judge_every_change_of_every_line_of_every_file_alike(program: ModuleType, name: str) -> None:
    for path, file in rendered(name).nodes[cases()[name].config.nodes[0].name].items():
        assert program.kind_of(path, file.content, file.content) == Kind.NOTHING.word
        lines = file.content.splitlines(keepends=True)
        # A program's lines are all alike to both, and there are thousands.
        without = ["".join(lines[:at] + lines[at + 1 :]) for at in range(min(len(lines), 200))]
        for old in ("", None, *without):
            assert program.kind_of(path, old, file.content) == kind_of(path, old, file.content).word, path
        assert program.kind_of(path, file.content, None) == kind_of(path, file.content, None).word


@pytest.mark.parametrize(
    ("path", "old", "new", "kind"),
    [
        (HAPROXY_CFG, "maxconn 1\n", "maxconn 2\n", Kind.RELOAD),
        (HAPROXY_DROPIN, "[Service]\nLimitNOFILE=1\n", "[Service]\nLimitNOFILE=2\n", Kind.HAND_OVER),
        (HAPROXY_DROPIN, "[Service]\n# a\nRestart=no\n", "[Service]\nRestart=always\n", Kind.NOTHING),
        (KEEPALIVED_CONF, "priority 1\n", "priority 2\n", Kind.RELOAD),
        (KEEPALIVED_CONF, "virtual_router_id 1\n", "virtual_router_id 2\n", Kind.HAND_OVER),
        (NODE_JSON, '"generation": 1,\n', '"generation": 2,\n', Kind.HAND_OVER),
        (NODE_JSON, "{}", '{"generation": 1}', Kind.HAND_OVER),
        (NODE_JSON, '"generation": 2', '"generation": 1', Kind.NOTHING),
        ("/etc/systemd/network/10-static-en.network", "a", "b", Kind.REBOOT),
        ("/usr/local/lib/lbstack/lbstack-watch", "a", "b", Kind.RESTART),
        ("/root/.ssh/authorized_keys", "a", "b", Kind.NOTHING),
    ],
)
def test_a_change_asks_for_no_more_than_it_needs(path: str, old: str, new: str, kind: Kind) -> None:
    assert kind_of(path, old, new) is kind


@pytest.mark.parametrize("old", ["", "{}", '{"generation": 3}', '{"generation":10}', None])
@pytest.mark.parametrize("new", ["{}", '{"generation": 4}', '{"generation":  12}', None])
def test_both_judge_every_generation_alike(program: ModuleType, old: str | None, new: str | None) -> None:
    assert program.kind_of(NODE_JSON, old, new) == kind_of(NODE_JSON, old, new).word


def test_the_worst_of_all_changes_counts() -> None:
    assert worst([Kind.RELOAD, Kind.HAND_OVER, Kind.NOTHING]) is Kind.HAND_OVER
    assert worst([]) is Kind.NOTHING
