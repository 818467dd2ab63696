"""A pair of the release before gets guestinfo that its appliers read, also where somebody has moved one of its VMs.

Nobody answers here, so what the nodes can read is known from vCenter and from the state alone.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.system.cache import CHECKOUT
from lbstack.deploy.manner import booted_from_parts
from lbstack.render.keys import HASH, is_of_set
from tests import release_before
from tests.deploy.harness import Harness

NODES = ("PhotonLB-01", "PhotonLB-02")
FOLDER = "/DC0/vm/elsewhere"


def test_both_nodes_get_the_whole_set_in_userdata_and_keep_it_and_the_release_before_takes_the_keys_away(
    new_lab: Callable[[], Harness],
) -> None:
    lab = new_lab()
    lab.prepare()
    earlier = lab.program = release_before.unpacked(lab.paths.root / "release-before")
    lab.up().ok()
    uuids = {name: machine.uuid for name, machine in lab.machines().items()}
    assert not any(is_of_set(key) for node in NODES for key in lab.guestinfo(node))
    lab.govc("folder.create", FOLDER)
    lab.govc("object.mv", f"/DC0/vm/lbstack-lab/{NODES[1]}", FOLDER)

    lab.program = CHECKOUT
    lab.up().ok()
    held = {node: lab.guestinfo(node) for node in NODES}
    for node in NODES:
        assert not booted_from_parts(held[node]), node
        files = {file["path"] for file in lab.userdata(node)["write_files"]}
        assert "/var/lib/lbstack/staging/manifest.json" in files, node
    assert held[NODES[0]][HASH] == held[NODES[1]][HASH] == lab.outputs()["config_hash"]
    lab.preview("--expect-no-changes").ok()

    lab.program = earlier
    lab.up().ok()
    assert not any(is_of_set(key) for node in NODES for key in lab.guestinfo(node))
    assert {name: machine.uuid for name, machine in lab.machines().items()} == uuids
