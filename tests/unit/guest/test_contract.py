"""The applier installs the renderer's sets: every golden configuration, both nodes, from guestinfo.

On an existing node a new set is judged by the applier that the set before brought. ``tests/fixtures/applier-before``
has the one of the release before, commit d2f6ef1, and one of an earlier commit; replace it when a release is made.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from lbstack.config.credentials import NEW_KEY_BITS
from lbstack.config.models import Node
from lbstack.render.files import render_pair
from lbstack.render.pack import guestinfo
from lbstack.render.rsakey import public_pem
from tests.goldens.cases import CASES, cases, rendered
from tests.guestinfo import userdata, written_files
from tests.keys import signing_key
from tests.unit.guest.conftest import load_program
from tests.unit.guest.host import Host

BEFORE = Path(__file__).parents[2] / "fixtures" / "applier-before"
KEY = "/etc/lbstack/stack.pub"
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["first node", "second node"])


@pytest.fixture(scope="module", params=["lbstack-apply", "lbstack-apply-949cd54"])
def before(request: pytest.FixtureRequest) -> ModuleType:
    """The applier of a release before, as a module."""
    return load_program(BEFORE / request.param)


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
def test_the_applier_of_the_release_before_accepts_the_set_that_is_rendered_for_it(
    before: ModuleType, program: ModuleType, name: str, index: int
) -> None:
    assert program.FORMAT == before.FORMAT
    case = cases()[name]
    values = guestinfo(case.config, rendered(name, earlier=True), case.config.nodes[index].name, case.secrets)
    text = before.decode(values["guestinfo.userdata"], values["guestinfo.userdata.encoding"])
    found = before.FileSet(*before.parts_of(text))
    assert before.check_haproxy(found.texts[before.HAPROXY_CFG]) == []
    assert before.check_keepalived(found.texts[before.KEEPALIVED_CONF]) == []


UNKNOWN_BEFORE = r"server-state-file .*|load-server-state-from-file .*|default-server slowstart \S+"


@pytest.mark.parametrize("name", CASES)
def test_the_set_for_the_release_before_lacks_nothing_but_comments_and_what_its_applier_refuses(name: str) -> None:
    applier = load_program(BEFORE / "lbstack-apply")
    present, earlier = rendered(name), rendered(name, earlier=True)
    for node, files in present.nodes.items():
        for path, file in files.items():
            kept = lines_of(earlier.nodes[node][path].content.replace(earlier.config_hash, ""))
            expected = lines_of(file.content.replace(present.config_hash, ""))
            if path == applier.HAPROXY_CFG:
                assert kept != expected
                expected = [line for line in (re.sub(UNKNOWN_BEFORE, "", each).rstrip() for each in expected) if line]
                assert applier.check_haproxy(file.content)
            assert kept == expected, path
        assert earlier.nodes[node].keys() == files.keys()


def lines_of(text: str) -> list[str]:
    """The lines of a text that are no comments and not empty."""
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_the_applier_of_the_release_before_accepts_a_generation_and_a_next_key(
    before: ModuleType, program: ModuleType
) -> None:
    case = cases()["post-5.0"]
    packages = case.config.packages.model_copy(update={"generation": 2})
    config = case.config.model_copy(update={"packages": packages})
    secrets = replace(case.secrets, next_signing_key=signing_key(NEW_KEY_BITS))
    values = guestinfo(config, render_pair(config, secrets), config.nodes[0].name, secrets)
    text = before.decode(values["guestinfo.userdata"], values["guestinfo.userdata.encoding"])
    parts = before.parts_of(text)
    assert before.FileSet(*parts).hash == program.FileSet(*parts).hash
    about = program.FileSet(*parts).about
    assert (about.generation, about.next_key) == (2, public_pem(secrets.next_signing_key))


@BOTH
def test_a_rendered_set_is_installed_from_cloud_inits_staging_directory(fresh: Host, index: int) -> None:
    node, values = become(fresh, "post-3.0-r3", index)
    for path, text in written_files(userdata(values)).items():
        fresh.put(path, text, 0o600)
    require_installed(fresh, "post-3.0-r3", node)
