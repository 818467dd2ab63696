"""The applier installs the renderer's sets: every golden configuration, both nodes, from guestinfo.

On an existing node a new set is judged by the applier that the set before brought. ``tests/fixtures/applier-before``
has the one of the release before; replace it when a release is made.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from lbstack.config.models import Node
from lbstack.render.pack import guestinfo
from tests.goldens.cases import CASES, cases, rendered
from tests.guestinfo import userdata, written_files
from tests.unit.guest.conftest import load_program
from tests.unit.guest.host import Host

BEFORE = Path(__file__).parents[2] / "fixtures" / "applier-before" / "lbstack-apply"
KEY = "/etc/lbstack/stack.pub"
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["first node", "second node"])


@pytest.fixture(scope="module")
def before() -> ModuleType:
    """The applier of the release before, as a module."""
    return load_program(BEFORE)


def become(host: Host, name: str, index: int) -> tuple[Node, dict[str, str]]:
    """Give the host the address and host name of a case's node; return the node and its guestinfo."""
    case = cases()[name]
    node = case.config.nodes[index]
    host.put("/etc/hostname", node.name)
    (host.fakes / "address").write_text(str(node.address))
    host.python = ""
    return node, guestinfo(case.config, rendered(name), node.name, case.secrets)


def require_installed(host: Host, name: str, node: Node) -> None:
    """Assert that the applier installs all files of the node without a warning."""
    assert host.run("prepare") == 0, host.output
    for path, file in rendered(name).nodes[node.name].items():
        live = host.at(path)
        assert live.read_text(encoding="utf-8") == file.content, path
        assert live.stat().st_mode & 0o7777 == file.mode, path
    assert host.status()["phase"] == "trial"
    # The temporary root has no kernel settings.
    assert [text for text in host.warnings() if not text.startswith("sysctl net.")] == []


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_a_rendered_set_is_installed_from_guestinfo(fresh: Host, name: str, index: int) -> None:
    node, values = become(fresh, name, index)
    fresh.put(KEY, written_files(userdata(values))[KEY])
    for key in ("userdata", "userdata.encoding"):
        (fresh.fakes / f"guestinfo.{key}").write_text(values[f"guestinfo.{key}"])
    require_installed(fresh, name, node)
    assert fresh.has_run("tdnf upgrade") == cases()[name].config.packages.upgrade


@BOTH
@pytest.mark.parametrize("name", CASES)
def test_the_applier_of_the_release_before_accepts_a_rendered_set(
    before: ModuleType, program: ModuleType, name: str, index: int
) -> None:
    assert program.FORMAT == before.FORMAT
    case = cases()[name]
    values = guestinfo(case.config, rendered(name), case.config.nodes[index].name, case.secrets)
    text = before.decode(values["guestinfo.userdata"], values["guestinfo.userdata.encoding"])
    found = before.FileSet(*before.parts_of(text))
    assert before.check_haproxy(found.texts[before.HAPROXY_CFG]) == []
    assert before.check_keepalived(found.texts[before.KEEPALIVED_CONF]) == []


@BOTH
def test_a_rendered_set_is_installed_from_cloud_inits_staging_directory(fresh: Host, index: int) -> None:
    node, values = become(fresh, "post-3.0-r3", index)
    for path, text in written_files(userdata(values)).items():
        fresh.put(path, text, 0o600)
    require_installed(fresh, "post-3.0-r3", node)
