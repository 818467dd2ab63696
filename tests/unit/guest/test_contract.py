"""The renderer's sets are taken in by the applier: every golden configuration, both nodes, as guestinfo carries it."""

from __future__ import annotations

import pytest

from lbstack.config.models import Node
from lbstack.render.pack import guestinfo
from tests.goldens.cases import CASES, cases, rendered
from tests.guestinfo import userdata, written_files
from tests.unit.guest.host import Host

KEY = "/etc/lbstack/stack.pub"
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["first node", "second node"])


def arrive(host: Host, name: str, index: int) -> tuple[Node, dict[str, str]]:
    """Makes the host the node of a case, with its address and host name; returns it and its guestinfo."""
    case = cases()[name]
    node = case.config.nodes[index]
    host.put("/etc/hostname", node.name)
    (host.fakes / "address").write_text(str(node.address))
    host.python = ""
    return node, guestinfo(case.config, rendered(name), node.name, case.secrets)


def taken_in(host: Host, name: str, node: Node) -> None:
    """The node's files are live, wholly, and nothing was found wanting."""
    assert host.run("prepare") == 0, host.said
    for path, file in rendered(name).nodes[node.name].items():
        place = host.at(path)
        assert place.read_text(encoding="utf-8") == file.content, path
        assert place.stat().st_mode & 0o7777 == file.mode, path
    assert host.status()["phase"] == "trial"
    # The kernel's settings are not there below a temporary root.
    assert [text for text in host.warnings() if not text.startswith("sysctl net.")] == []


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_a_rendered_set_is_taken_in_from_guestinfo(fresh: Host, name: str, index: int) -> None:
    node, values = arrive(fresh, name, index)
    fresh.put(KEY, written_files(userdata(values))[KEY])
    for key in ("userdata", "userdata.encoding"):
        (fresh.fakes / f"guestinfo.{key}").write_text(values[f"guestinfo.{key}"])
    taken_in(fresh, name, node)
    assert fresh.has_run("tdnf upgrade") == cases()[name].config.packages.upgrade


@BOTH
def test_a_rendered_set_is_taken_in_from_where_cloud_init_leaves_it(fresh: Host, index: int) -> None:
    node, values = arrive(fresh, "post-3.0-r3", index)
    for path, text in written_files(userdata(values)).items():
        fresh.put(path, text, 0o600)
    taken_in(fresh, "post-3.0-r3", node)
