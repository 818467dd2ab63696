"""Runs that cannot end well: each fails with a message that states why, and the next one converges."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from lab.home.stackfile import SERVER
from lab.system.waiting import until
from tests.deploy.harness import Config, Harness
from tests.vcenters import SERVICE_CONTENT, answering

PAIR = {"PhotonLB-01", "PhotonLB-02"}
OTHER_VCENTER = "11111111-2222-4333-8444-555555555555"
CHANGE_LIMIT_S = 60.0
FAULT = "the host ran out of a thing that this test made up"


def whole(lab: Harness) -> None:
    """Two VMs, one rule, nothing to change and nothing left over."""
    machines = lab.machines()
    assert set(machines) == PAIR
    assert {machine.power for machine in machines.values()} == {"on"}
    (rule,) = lab.rules()
    assert len(rule.vm) == len(PAIR)
    lab.preview("--expect-no-changes").ok()
    lab.drift().ok()


def test_a_vm_that_cannot_be_powered_on_fails_the_run_and_the_next_one_converges(
    new_lab: Callable[[], Harness],
) -> None:
    lab = new_lab()
    lab.prepare()
    lab.fail_next("PowerOnVM_Task", "PhotonLB-02", message=FAULT)
    failed = lab.up().refused()
    assert FAULT in failed.text
    # The standby comes first; where it fails, the master is not touched.
    assert "PhotonLB-01" not in lab.machines()
    lab.up().ok()
    machines = lab.machines()
    assert set(machines) == PAIR
    assert {machine.power for machine in machines.values()} == {"on"}
    lab.preview("--expect-no-changes").ok()
    # The provider gives a VM its tags after the power-on and has recorded them before: a refresh notices.
    lab.up("--refresh", "--run-program").ok()
    whole(lab)
    assert {name: machine.uuid for name, machine in lab.machines().items()} == {
        name: machine.uuid for name, machine in machines.items()
    }


def test_a_run_killed_between_the_nodes_is_explained_and_finished_by_the_next(new_lab: Callable[[], Harness]) -> None:
    lab = new_lab()
    lab.prepare()
    command = [str(lab.workspace.pulumi), "up", "--yes", "--skip-preview", "--non-interactive"]
    process = subprocess.Popen(
        command,
        cwd=lab.program,
        env=lab.workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: "PhotonLB-02" in lab.machines() or None, CHANGE_LIMIT_S, "the standby to be created")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    locked = lab.up().refused()
    assert "pulumi cancel" in locked.text
    lab.cli("up").ok()
    whole(lab)


def test_another_vcenter_is_refused_before_anything_is_read(pair: Harness) -> None:
    mark = pair.last_task()
    pinned = pair.config["lbstack:placement"]["vcenterUuid"]
    with pair.edited(lambda config: config["lbstack:placement"].update(vcenterUuid=OTHER_VCENTER)):
        for command in ("preview", "up"):
            refused = pair.pulumi(command).refused()
            assert OTHER_VCENTER in refused.text
            assert pinned in refused.text
            assert "placement.vcenterUuid" in refused.text
            assert refused.changes().get("same", 0) <= 1  # the stack itself
    assert pair.tasks(mark) == []
    whole(pair)


def test_a_stack_that_is_pointed_at_another_vcenter_reads_and_changes_nothing_there(
    pair: Harness, tmp_path: Path
) -> None:
    mark, authority = pair.last_task(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trusting = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}
    commands = (("up",), ("up", "--refresh", "--run-program"))
    with (
        answering(lambda _: SERVICE_CONTENT.format(uuid=OTHER_VCENTER), authority) as elsewhere,
        pair.edited(lambda config: config.update({SERVER: elsewhere.server})),
    ):
        for command in commands:
            refused = pair.pulumi(*command, environment=trusting).refused()
            assert f"but {elsewhere.server} is {OTHER_VCENTER}. Nothing was read or changed there." in refused.text
            assert refused.changes().get("same", 0) <= 1  # the stack itself
    # Each run has asked there who it is, without a login, and no more.
    assert [(request.path, request.login) for request in elsewhere.requests] == [("/sdk", None)] * len(commands)
    assert all("RetrieveServiceContent" in request.body for request in elsewhere.requests)
    assert pair.tasks(mark) == []


def wrong_names(config: Config) -> None:
    """Every name that is looked for below a datacenter and a library that exist."""
    config["lbstack:placement"].update(
        cluster="no-such-cluster",
        datastore="no-such-datastore",
        network="no-such-network",
        resourcePool="no-such-pool",
        folder="no-such-folder",
        createFolder=False,
    )
    config["lbstack:image"].update(item="no-such-item")


def test_all_misses_come_at_once_each_with_what_there_is(pair: Harness) -> None:
    with pair.edited(wrong_names):
        refused = pair.preview().refused()
    for path, name, there in [
        ("placement.cluster", "no-such-cluster", "DC0_C0"),
        ("placement.datastore", "no-such-datastore", "LocalDS_0"),
        ("placement.network", "no-such-network", "VM Network"),
        ("placement.resourcePool", "no-such-pool", "Resources"),
        ("placement.folder", "no-such-folder", "lbstack-lab"),
        ("image.item", "no-such-item", "photon-hw13_uefi-3.0"),
    ]:
        (line,) = [line for line in refused.text.splitlines() if path in line]
        assert name in line
        assert there in line


def test_a_missing_datacenter_and_library_come_at_once(pair: Harness) -> None:
    def wrong(config: Config) -> None:
        config["lbstack:placement"].update(datacenter="no-such-datacenter")
        config["lbstack:image"].update(library="no-such-library")

    with pair.edited(wrong):
        refused = pair.preview().refused()
    (line,) = [line for line in refused.text.splitlines() if "placement.datacenter" in line]
    assert "no-such-datacenter" in line
    assert "DC0" in line
    (line,) = [line for line in refused.text.splitlines() if "image.library" in line]
    assert "no-such-library" in line
    assert "photon" in line


def test_a_library_item_of_another_type_is_refused(pair: Harness) -> None:
    file = pair.paths.root / "notes.iso"
    file.write_bytes(b"no disk image")
    pair.govc("library.import", "-n", "notes", pair.config["lbstack:image"]["library"], str(file))
    with pair.edited(lambda config: config["lbstack:image"].update(item="notes")):
        refused = pair.preview().refused()
    (line,) = [line for line in refused.text.splitlines() if "image.item" in line]
    assert "notes" in line
    assert "type 'iso'" in line
    assert "govc library.import" in line


def test_a_wrong_stack_file_reports_every_problem_at_once_through_the_engine(pair: Harness) -> None:
    def wrong(config: Config) -> None:
        config["lbstack:nodes"][0]["diskGiB"] = 8
        config["lbstack:services"]["horizon"]["vip"] = "10.0.0.1"
        config["lbstack:vrrp"]["routerId"] = 300
        config["lbstack:managementNetworks"] = ["0.0.0.0/0"]

    with pair.edited(wrong):
        refused = pair.preview().refused()
    for path in ("nodes[0].diskGiB", "services.horizon.vip", "vrrp.routerId", "managementNetworks[0]"):
        assert path in refused.text, refused.text


@pytest.fixture
def thrown_away(new_lab: Callable[[], Harness]) -> Harness:
    lab = new_lab()
    lab.prepare()
    lab.up().ok()
    return lab


def test_destroy_leaves_nothing_and_a_second_one_is_no_error(thrown_away: Harness) -> None:
    assert set(thrown_away.machines()) == PAIR
    thrown_away.destroy().ok()
    assert thrown_away.machines() == {}
    assert thrown_away.rules() == []
    assert "lbstack-lab" not in thrown_away.folders()
    assert thrown_away.tags() == {}
    thrown_away.destroy().ok()
