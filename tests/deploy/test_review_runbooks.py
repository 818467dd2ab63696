"""Each command of the runbooks is run in the lab, in the order in which it stands there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from lab.network.network import Network, lab_id
from lab.system.cache import CHECKOUT
from lab.vcenter.client import Machine
from tests.deploy.engine import Result, run
from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY, remove_machine
from tests.guestinfo import written_files
from tests.tiers import find as find_program
from tests.tiers import require

RUNBOOKS = CHECKOUT / "docs" / "runbooks"
BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NEW_IMAGE = "photon-new"
NEW_ROUTER_ID = 99
NEW_ADDRESS = "192.168.6.126"
NEW_NODES = {"lb-new-01": "192.168.6.220", "lb-new-02": "192.168.6.221"}
REAL_VIPS = {"stats": "192.168.6.122", "horizon": "192.168.6.123", "appvol": "192.168.6.124"}
TEST_VIPS = {"stats": "192.168.6.222", "horizon": "192.168.6.223", "appvol": "192.168.6.224"}
HAND_BUILT = ("HandLB-01", "HandLB-02")
HAND_BUILT_FILES = CHECKOUT / "tests" / "fixtures" / "handbuilt" / "how-to-1"

Deed = Callable[[Harness], None]


def blocks(name: str) -> list[str]:
    """The commands of a runbook, block by block."""
    found = BLOCK.findall((RUNBOOKS / f"{name}.md").read_text())
    assert found
    return [text for _, text in found]


def follow(lab: Harness, name: str, **variables: str) -> list[Result]:
    """Run the commands of a runbook; every command has to succeed."""
    return [typed(lab, block, variables).ok() for block in blocks(name)]


def typed(lab: Harness, block: str, variables: Mapping[str, str]) -> Result:
    """Run one block of commands; its result."""
    environment = lab.workspace.environment(lab.record) | {"STACK": STACK} | dict(variables)
    shell = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c"]
    return run([*shell, block], environment, cwd=lab.program)


def drift_by_hand(lab: Harness) -> None:
    lab.reconfigure(MASTER, numCPUs=4)


def longer_tunnels(lab: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}

    lab.edit(change)


def lose_standby(lab: Harness) -> None:
    remove_machine(lab, STANDBY)


def lose_both(lab: Harness) -> None:
    remove_machine(lab, MASTER)
    remove_machine(lab, STANDBY)


@pytest.mark.parametrize(
    ("name", "before", "expected"),
    [
        ("review-and-drift", drift_by_hand, "CPUs: 4 in vCenter; deployed: 2."),
        ("rolling-change", longer_tunnels, "timeout tunnel 3h"),
        ("lost-node", lose_standby, f"{STANDBY}: It was deployed and is not in vCenter any more."),
        ("both-nodes-lost", lose_both, f"{MASTER}: It was deployed and is not in vCenter any more."),
    ],
)
def test_the_runbook_leads_from_what_happened_to_a_pair_with_nothing_left_to_do(
    pair: Harness, name: str, before: Deed, expected: str
) -> None:
    before(pair)
    shown = "".join(result.text for result in follow(pair, name))
    assert expected in shown
    assert {machine.power for machine in pair.machines().values()} == {"on"}
    assert set(pair.machines()) == {MASTER, STANDBY}
    pair.preview("--expect-no-changes").ok()
    pair.drift().ok()


def test_an_image_is_updated_although_the_stack_is_protected(pair: Harness) -> None:
    pair.edit(lambda config: config.update({"lbstack:protect": True}))
    pair.up().ok()
    before = {machine.uuid for machine in pair.machines().values()}

    def change(config: Config) -> None:
        config["lbstack:image"]["item"] = NEW_IMAGE
        config["lbstack:protect"] = False

    pair.edit(change)
    ova = next(Path.home().glob(".cache/lbstack/ova/**/*.ova"))
    library = pair.config["lbstack:image"]["library"]
    typed_ones = follow(pair, "image-update", OVA=str(ova), ITEM=NEW_IMAGE, LIBRARY=library)
    shown = "".join(result.text for result in typed_ones)
    assert "replace" in shown
    assert {machine.uuid for machine in pair.machines().values()}.isdisjoint(before)
    pair.edit(lambda config: config.update({"lbstack:protect": True}))
    mark = pair.last_task()
    pair.up().ok()
    assert pair.tasks(mark) == []
    pair.edit(lambda config: config.update({"lbstack:protect": False}))
    pair.up().ok()


def test_the_router_id_changes_while_only_one_node_is_on(pair: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:vrrp"]["routerId"] = NEW_ROUTER_ID
        config["lbstack:rollout"] = {"gate": False}

    pair.edit(change)
    mark = pair.last_task()
    shown = "".join(result.text for result in follow(pair, "vrid", STANDBY=STANDBY, MASTER_RESOURCE="pair-node1"))
    assert "The VRRP identity changes" in shown
    tasks = [(task["vm"], task["operation"]) for task in pair.tasks(mark)]
    assert [vm for vm, operation in tasks if operation == "reconfigure"] == [MASTER, STANDBY]
    # While the master changes, whatever is done to it, the standby is off, and it comes on only with its own change.
    of_master = [number for number, (vm, _) in enumerate(tasks) if vm == MASTER]
    off, on = tasks.index((STANDBY, "power-off")), tasks.index((STANDBY, "power-on"))
    assert off < min(of_master) <= max(of_master) < on
    assert {machine.power for machine in pair.machines().values()} == {"on"}
    for node in (MASTER, STANDBY):
        assert any(f"virtual_router_id {NEW_ROUTER_ID}" in content for content in pair.set_files(node).values())


def test_a_node_gets_another_address_while_it_is_off(pair: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:nodes"][1]["address"] = NEW_ADDRESS
        config["lbstack:rollout"] = {"gate": False}

    before, mark = pair.machines(), pair.last_task()
    pair.edit(change)
    shown = "".join(result.text for result in follow(pair, "vrid", STANDBY=STANDBY, MASTER_RESOURCE="pair-node1"))
    assert f"→ {NEW_ADDRESS}" in shown
    tasks = [(task["vm"], task["operation"]) for task in pair.tasks(mark)]
    of_master = [number for number, (vm, _) in enumerate(tasks) if vm == MASTER]
    of_standby = [number for number, (vm, _) in enumerate(tasks) if vm == STANDBY]
    assert tasks[of_standby[0]] == (STANDBY, "power-off")
    # The master learns the address while its peer is off; only then the peer is made again, and serves under it.
    assert of_standby[0] < min(of_master) <= max(of_master) < of_standby[1]
    after = pair.machines()
    assert (after[MASTER].uuid, after[STANDBY].address) == (before[MASTER].uuid, NEW_ADDRESS)
    assert after[STANDBY].uuid != before[STANDBY].uuid
    assert {machine.power for machine in after.values()} == {"on"}


def test_the_signing_key_changes_without_new_vms_and_a_stolen_one_with_them(pair: Harness) -> None:
    def public() -> set[str]:
        return {written_files(pair.userdata(node))["/etc/lbstack/stack.pub"] for node in (MASTER, STANDBY)}

    def uuids() -> set[str]:
        return {machine.uuid for machine in pair.machines().values()}

    usual = pair.paths.stack_file.read_text()
    machines, (old,) = uuids(), public()
    bring, change_over, nothing_left, stolen = blocks("signing-key")
    try:
        assert "next_key" in typed(pair, bring, {}).ok().text
        assert (uuids(), public()) == (machines, {old})
        typed(pair, change_over, {}).ok()
        (new,) = public()
        assert new != old
        assert uuids() == machines
        typed(pair, nothing_left, {}).ok()

        # A key that no node was told is refused before anything is touched, in a preview too.
        mark = pair.last_task()
        set_key, *_ = stolen.splitlines()
        typed(pair, set_key, {}).ok()
        for refused in (pair.preview(), pair.up()):
            assert "signingKey: is not known to PhotonLB-01 and PhotonLB-02" in refused.refused().text
        assert pair.tasks(mark) == []
        typed(pair, stolen, {}).ok()
        assert uuids().isdisjoint(machines)
        assert public().isdisjoint({old, new})
    finally:  # other tests know the old key
        pair.paths.stack_file.write_text(usual)
        with pair.edited(lambda config: config.update({"lbstack:rollout": {"gate": False, "mode": "replace"}})):
            pair.up().ok()
    pair.up().ok()


LAB_BLOCKS = 2  # of the runbook about tearing down; the others are for a production stack


def test_a_lab_is_torn_down(pair: Harness) -> None:
    for block in blocks("teardown")[:LAB_BLOCKS]:
        typed(pair, block, {}).ok()
    assert pair.machines() == {}


def test_a_production_stack_is_torn_down_on_purpose_and_not_by_the_labs_command(pair: Harness) -> None:
    def production(config: Config) -> None:
        config["lbstack:lifecycle"] = "production"
        config.pop("lbstack:lab", None)

    pair.edit(production)
    pair.up().ok()
    destroy, _, deploy, look, by_hand = blocks("teardown")
    assert "production" in typed(pair, destroy, {}).refused(2).err
    for block in (look, by_hand):
        assert "protect" in typed(pair, block, {}).refused().text
    pair.edit(lambda config: config.update({"lbstack:protect": False}))
    typed(pair, deploy, {}).ok()
    assert MASTER in pair.machines()
    assert "pair-node1" in typed(pair, look, {}).ok().out
    typed(pair, by_hand, {}).ok()
    assert pair.machines() == {}


def test_a_check_that_nothing_is_left_is_a_command_that_fails_where_something_is() -> None:
    checks = [
        text
        for path in RUNBOOKS.glob("*.md")
        for text in re.findall(r"[Nn]othing is left.*?```sh\n(.*?)```", path.read_text(), re.DOTALL)
    ]
    assert len(checks) == 6
    assert all("--fail-on-change" in text for text in checks)


class Segment:
    """The VIPs' network: a workstation with `arping`, and one network card for each node that may hold VIPs.

    Args:
        directory: Where the workstation's `arping` is put.
        nodes: The names of the nodes.
    """

    INTERFACE = "segment0"

    def __init__(self, directory: Path, nodes: Sequence[str]) -> None:
        self.directory = directory
        prefix = Network(lab_id(directory), None).prefix  # names of its own, as every lab has them
        self.desk = f"{prefix}desk"
        self.nodes = {name: f"{prefix}node{number}" for number, name in enumerate(nodes)}

    def start(self) -> None:
        for space in (self.desk, *self.nodes.values()):
            ip("netns", "add", space)
        ip("-n", self.desk, "link", "add", self.INTERFACE, "type", "bridge")
        ip("-n", self.desk, "address", "add", "192.168.6.241/24", "dev", self.INTERFACE)
        ip("-n", self.desk, "link", "set", self.INTERFACE, "up")
        for number, space in enumerate(self.nodes.values()):
            port = f"port{number}"
            ip("-n", self.desk, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("-n", self.desk, "link", "set", port, "master", self.INTERFACE, "up")
            ip("-n", space, "link", "set", "eth0", "up")
        program = self.directory / "arping"
        program.write_text(f'#!/bin/sh\nexec ip netns exec {self.desk} {find_program("arping")} "$@"\n')
        program.chmod(0o755)

    def stop(self) -> None:
        for space in (self.desk, *self.nodes.values()):
            with suppress(AssertionError):
                ip("netns", "delete", space)

    def claim(self, node: str, vips: Iterable[str]) -> None:
        """A node holds these addresses from now on, and no others."""
        ip("-n", self.nodes[node], "address", "flush", "dev", "eth0")
        for vip in vips:
            ip("-n", self.nodes[node], "address", "add", f"{vip}/32", "dev", "eth0")


def ip(*arguments: str) -> None:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"ip {' '.join(arguments)}: {result.stderr}"


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Segment]:
    require("root", "ip", "arping")
    found = Segment(tmp_path, [*HAND_BUILT, *NEW_NODES])
    try:
        found.start()
        yield found
    finally:
        found.stop()


def with_vips(vips: Mapping[str, str]) -> Callable[[Config], None]:
    """The stack file of a new pair: nodes that nobody has, a router id of its own, and these VIPs."""

    def change(config: Config) -> None:
        config["lbstack:nodes"] = [{"name": name, "address": address} for name, address in NEW_NODES.items()]
        config["lbstack:vrrp"]["routerId"] = NEW_ROUTER_ID
        config["lbstack:stats"]["vip"] = vips["stats"]
        for service in ("horizon", "appvol"):
            config["lbstack:services"][service]["vip"] = vips[service]

    return change


def hand_built(lab: Harness) -> None:
    """The VMs of a pair that somebody else made."""
    place = lab.config["lbstack:placement"]
    for name in HAND_BUILT:
        where = ["-ds", place["datastore"], "-net", place["network"], "-pool", f"{place['cluster']}/Resources"]
        lab.govc("vm.create", *where, "-g", "other5xLinux64Guest", name)


def from_import(path: Path) -> Callable[[Config], None]:
    """What the hand-built pair's files say, with the names of its VIPs; placement, image and people are the lab's."""
    made: Config = yaml.safe_load(path.read_text())["config"]

    def change(config: Config) -> None:
        names = {name: service.get("fqdn") for name, service in config["lbstack:services"].items()}
        for section in ("network", "services", "stats"):
            config[f"lbstack:{section}"] = made[f"lbstack:{section}"]
        for name, service in config["lbstack:services"].items():
            service["fqdn"] = names[name]

    return change


class Move:
    """What is true of every address while the runbook is followed, looked at after each of its blocks."""

    def __init__(self, lab: Harness, segment: Segment) -> None:
        self.lab, self.segment = lab, segment
        self.variables = {
            "PATH": f"{segment.directory}:{lab.workspace.environment(lab.record)['PATH']}",
            "VIPS": " ".join(REAL_VIPS.values()),
            "INTERFACE": Segment.INTERFACE,
            **dict(zip(("NODE1", "NODE2"), NEW_NODES, strict=True)),
            **dict(zip(("OLD1", "OLD2"), HAND_BUILT, strict=True)),
            "FILES": str(segment.directory),
            "STACK_FILE": str(segment.directory / "Pulumi.imported.yaml"),
        }
        for number, name in enumerate(HAND_BUILT, start=1):
            shutil.copytree(HAND_BUILT_FILES / f"node{number}", segment.directory / name)
        self.old_serves = True
        self.blocks = iter(blocks("hand-built-pair"))
        self.now()

    def next(self) -> Result:
        """Type the next block."""
        self.block = next(self.blocks)
        return self.again()

    def again(self) -> Result:
        result = typed(self.lab, self.block, self.variables)
        self.now()
        return result

    def now(self) -> None:
        """Let the addresses be where the nodes that are on put them; never on both pairs at once."""
        on = [name for name in NEW_NODES if name in self.machines() and self.machines()[name].power == "on"]
        wanted = {vip for name in on for vip in self.vips_of(name)}
        assert not (self.old_serves and wanted & set(REAL_VIPS.values())), "both pairs hold the VIPs"
        for name in self.segment.nodes:
            self.segment.claim(name, [])
        if self.old_serves:
            self.segment.claim(HAND_BUILT[0], REAL_VIPS.values())
        if on:
            self.segment.claim(on[0], wanted)

    def machines(self) -> dict[str, Machine]:
        return self.lab.machines()

    def vips_of(self, name: str) -> list[str]:
        """The addresses that a node's guestinfo lists for it to claim."""
        files = self.lab.set_files(name)
        (text,) = [content for path, content in files.items() if path.endswith("/keepalived.conf")]
        return re.findall(r"^\s+([0-9.]+)/32 dev", text, re.MULTILINE)


def test_a_hand_built_pair_hands_over_and_takes_back_without_a_second_of_two_masters(
    tier_lab: Harness, segment: Segment
) -> None:
    lab = tier_lab
    lab.converge()
    lab.destroy().ok()
    hand_built(lab)
    try:
        move = Move(lab, segment)
        move.next().ok()
        imported = Path(move.variables["STACK_FILE"])
        assert "CHANGE-ME" in imported.read_text()
        lab.edit(from_import(imported))
        assert move.next().ok().out.count("reply from") >= len(REAL_VIPS)

        lab.edit(with_vips(TEST_VIPS))
        move.next().ok()
        assert set(move.vips_of("lb-new-01")) == set(TEST_VIPS.values())
        lab.edit(with_vips(REAL_VIPS))
        assert "anchor VIP" in move.next().ok().out
        assert {move.machines()[name].power for name in NEW_NODES} == {"off"}

        # Somebody forgot a node: the runbook's own check stops the move.
        assert "somebody still holds 192.168.6.122" in move.next().refused().err
        move.old_serves = False  # step 5, typed on the nodes
        move.now()
        move.again().ok()
        move.next().ok()
        assert {move.machines()[name].power for name in NEW_NODES} == {"on"}
        assert set(move.vips_of("lb-new-02")) == set(REAL_VIPS.values())

        # A second holder is seen, too.
        segment.claim(HAND_BUILT[1], [REAL_VIPS["horizon"]])
        assert "2 network cards answer for 192.168.6.123" in move.next().refused().err
        move.again().ok()

        move.next().ok()  # the way back
        assert {move.machines()[name].power for name in NEW_NODES} == {"off"}
        move.next().ok()
        move.old_serves = True
        move.now()
        lab.edit(with_vips(TEST_VIPS))
        move.next().ok()
        assert {move.machines()[name].power for name in NEW_NODES} == {"on"}
        assert set(HAND_BUILT) <= set(move.machines())
        move.next().ok()
        assert set(move.machines()) == set(NEW_NODES)
        assert next(move.blocks, None) is None
    finally:
        # Other tests know other names, and vCenter refuses to rename the rule of VMs that it has just lost.
        lab.pulumi("destroy", "--refresh", "--run-program").ok()
        for name in HAND_BUILT:
            if name in lab.machines():
                lab.delete(name)


def test_every_runbook_is_listed_and_every_one_is_followed_here() -> None:
    names = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    listed = set(re.findall(r"\(([a-z-]+)\.md\)", (RUNBOOKS / "README.md").read_text()))
    assert names == listed
    source = Path(__file__).read_text()
    assert all(f'"{name}"' in source for name in names)
