"""A stack that an earlier commit deployed belongs to the present program: a preview of its state shows no change.

The state is the fixture ``tests/fixtures/kept-state``, whose README names the commit. The present program deploys the
fixture's stack file to a lab first, so that every id in the state is that of a real object in the lab's vCenter; then
the state of the earlier commit replaces the one of that deployment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.system.cache import CHECKOUT
from tests import kept_state
from tests.deploy.engine import Result
from tests.deploy.harness import Harness
from tests.deploy.make_kept_state import exported, ids, prepare
from tests.kept_state import URNS, Deployment

# One text of the program, changed, and what a preview of the kept state has to report: (operation, resource).
NODES = ("pair-node1", "pair-node2")
CHANGES = {
    "a resource's name": (
        "lbstack",
        '"node1", "node2"',
        '"node1", "node-2"',
        {("create", "pair-node-2"), ("delete", "pair-node2")},
    ),
    "a byte of a template": (
        "cloudinit",
        "# HAProxy of the pair.",
        "# HAProxy of the  pair.",
        {("update", node) for node in NODES},
    ),
    "the annotation": (
        "lbstack",
        "changes made by hand are drift",
        "changes made by hand are drift.",
        {("update", node) for node in NODES},
    ),
    "the component's type": (
        "lbstack",
        '"lbstack:index:LoadBalancerPair"',
        '"lbstack:index:Pair"',
        {("create", "pair"), ("delete", "pair"), *((verb, node) for verb in ("create", "delete") for node in NODES)},
    ),
}
# What the present release changes of a stack of the release before.
MIGRATION = {("update", "pair-node2"), ("update", "pair-node1"), ("update", "pair-rule"), ("update", "lbstack-lab")}


@pytest.fixture(scope="module")
def deployed(tools: None, short_directory: Callable[[], Path]) -> Iterator[tuple[Harness, Deployment]]:
    """A lab to which the present program has deployed the kept stack file, and the state of that deployment."""
    lab = Harness(short_directory() / "lab")
    try:
        prepare(lab)
        lab.up().ok()
        yield lab, exported(lab)
    finally:
        lab.remove()


@pytest.fixture(scope="module")
def kept(deployed: tuple[Harness, Deployment]) -> Deployment:
    """The kept state with the ids of the lab's vCenter."""
    lab, _ = deployed
    return kept_state.with_user(kept_state.filled(ids(lab)), str(lab.config["vsphere:user"]))


@pytest.fixture(scope="module")
def lab(deployed: tuple[Harness, Deployment], kept: Deployment) -> Harness:
    """The lab with the kept state in the place of its own."""
    found, _ = deployed
    found.pulumi("stack", "import", given=json.dumps(kept)).ok()
    return found


def exported_by(preview: Result) -> dict[str, Any]:
    """The stack's outputs as a preview would export them, from the engine's events."""
    outputs: dict[str, Any] = {}
    for event in preview.events:
        metadata = (event.get("resOutputsEvent") or {}).get("metadata")
        if metadata and metadata["urn"] == URNS[0]:
            outputs = metadata["new"].get("outputs") or outputs
    return outputs


def changed_copy(directory: Path, folder: str, before: str, after: str) -> Path:
    """A copy of the program in which one text differs, wherever it stands in a folder."""
    for name in ("__main__.py", "Pulumi.yaml"):
        shutil.copy2(CHECKOUT / name, directory / name)
    for name in ("lbstack", "cloudinit"):
        shutil.copytree(CHECKOUT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / ".venv").symlink_to(CHECKOUT / ".venv")  # an installed language host takes it from here
    files = [path for path in (directory / folder).rglob("*") if path.is_file()]
    changed = [path for path in files if before in path.read_text(errors="replace")]
    assert changed, f"{before} stands nowhere in {folder}: follow the program"
    for path in changed:
        path.write_text(path.read_text().replace(before, after))
    return directory


def test_the_imported_state_is_encrypted(lab: Harness, kept: Deployment) -> None:
    inputs = kept_state.given(kept_state.resources(kept)[f"{kept_state.PAIR}${kept_state.VIRTUAL_MACHINE}::pair-node1"])
    needles = {kept_state.secrets()["vsphere:password"], inputs["inputs"]["extraConfig"]["guestinfo.userdata"]}
    clear, recorded = json.dumps(kept), lab.checkpoint.file.read_text()
    assert all(needle in clear for needle in needles)
    assert not any(needle in recorded for needle in needles)


def test_a_preview_of_the_kept_state_shows_no_change_and_the_recorded_outputs(lab: Harness, kept: Deployment) -> None:
    result = lab.preview("--expect-no-changes", "--diff").ok()
    assert result.changes() == {"same": len(URNS)}, result.text
    assert result.steps() == []
    assert exported_by(result) == kept_state.stack_outputs(kept)


def test_a_refresh_of_the_kept_state_shows_no_drift(lab: Harness) -> None:
    result = lab.drift().ok()
    assert result.changes() == {"same": len(URNS)}, result.text


def test_the_present_program_makes_the_resources_and_outputs_of_the_kept_state(
    deployed: tuple[Harness, Deployment], kept: Deployment
) -> None:
    _, present = deployed
    assert sorted(kept_state.resources(kept)) == sorted(URNS)
    assert sorted(kept_state.resources(present)) == sorted(URNS)
    assert kept_state.stack_outputs(present) == kept_state.stack_outputs(kept)
    pair = f"{kept_state.PAIR}::pair"
    assert kept_state.resources(present)[pair]["outputs"] == kept_state.resources(kept)[pair]["outputs"]


def test_a_stack_of_the_release_before_is_changed_in_place_node_by_node_and_nothing_else(
    deployed: tuple[Harness, Deployment], lab: Harness, kept: Deployment
) -> None:
    """What a new release costs an existing pair: one roll, the standby first, no new VM, no new name."""
    before = kept_state.filled(ids(deployed[0]), kept_state.BEFORE)
    before = kept_state.with_user(before, str(lab.config["vsphere:user"]))
    try:
        lab.pulumi("stack", "import", given=json.dumps(before)).ok()
        result = lab.preview("--diff").ok()
        assert set(result.steps()) <= MIGRATION, result.text
        assert {("update", node) for node in NODES} <= set(result.steps())
        assert sorted(exported_by(result)) == sorted(kept_state.stack_outputs(before))
        for key in ("nodes", "vips", "stats_url", "service_urls", "lifecycle", "horizon_settings"):
            assert exported_by(result)[key] == kept_state.stack_outputs(before)[key]
    finally:
        lab.pulumi("stack", "import", given=json.dumps(kept)).ok()


@pytest.mark.parametrize("change", CHANGES)
def test_a_program_that_differs_in_one_text_is_noticed(
    lab: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder, before, after, steps = CHANGES[change]
    monkeypatch.setattr(lab, "program", changed_copy(tmp_path, folder, before, after))
    result = lab.preview("--expect-no-changes").refused()
    assert steps <= set(result.steps()), result.text
