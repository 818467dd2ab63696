"""A lab stack is destroyed by a robot; every other is refused, with every reason, and nothing is touched."""

from __future__ import annotations

import json
import time

from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY, lbstack

MOST_S = 30.0
DAY_AND_MORE_S = 25 * 3600
OTHER_UUID = "11111111-2222-4333-8444-555555555555"


def make_production(config: Config) -> None:
    config["lbstack:lifecycle"] = "production"
    config.pop("lbstack:lab", None)  # only a lab has a time to live


def pin_another_vcenter(config: Config) -> None:
    config["lbstack:placement"]["vcenterUuid"] = OTHER_UUID


def live_a_day(config: Config) -> None:
    config["lbstack:lab"] = {"ttlHours": 24}


def refused(lab: Harness, *arguments: str) -> str:
    """Run ``lbstack destroy``, which has to refuse; its output."""
    mark, state, machines = lab.last_task(), lab.checkpoint.file.read_bytes(), lab.machines()
    result = lbstack(lab, "destroy", STACK, *arguments).refused(2)
    assert lab.machines() == machines
    assert lab.tasks(mark) == []
    assert lab.checkpoint.file.read_bytes() == state
    return result.err


def test_a_production_stack_is_refused(pair: Harness) -> None:
    with pair.edited(make_production):
        output = refused(pair, "--yes")
    assert "nothing was touched" in output
    assert "`lifecycle: production`" in output


def test_a_production_state_is_refused_although_a_labs_file_is_used_and_nothing_is_protected(pair: Harness) -> None:
    def unprotected_production(config: Config) -> None:
        make_production(config)
        config["lbstack:protect"] = False

    with pair.edited(unprotected_production):
        pair.up().ok()
        assert pair.outputs()["lifecycle"] == "production"
    output = refused(pair, "--yes")
    assert "its state has `lifecycle: production`" in output
    pair.up().ok()
    assert pair.outputs()["lifecycle"] == "lab"


def test_a_state_that_does_not_report_what_it_is_for_is_refused(pair: Harness) -> None:
    before = pair.checkpoint.file.read_text()
    assert before.count('"lifecycle":"lab"') > 1
    pair.checkpoint.file.write_text(before.replace('"lifecycle":"lab"', '"another":"lab"'))
    assert "does not show whether it is a lab's" in refused(pair, "--yes")


def test_a_lab_whose_first_deployment_failed_is_destroyed(pair: Harness) -> None:
    pair.destroy().ok()
    pair.fail_next("PowerOnVM_Task", MASTER)
    pair.up().refused()
    assert STANDBY in pair.machines()
    assert "lifecycle" not in pair.outputs()
    lbstack(pair, "destroy", STACK, "--yes").ok()
    assert pair.machines() == {}


def test_a_protected_lab_is_refused_and_both_reasons_are_named_at_once(pair: Harness) -> None:
    pair.edit(lambda config: config.update({"lbstack:protect": True}))
    pair.up().ok()
    output = refused(pair, "--yes")
    assert "pair-node1, pair-node2 is protected" in output
    with pair.edited(make_production):
        output = refused(pair, "--yes")
    assert "is protected" in output
    assert "`lifecycle: production`" in output


def test_another_vcenter_than_the_pinned_one_is_refused(pair: Harness) -> None:
    with pair.edited(pin_another_vcenter):
        output = refused(pair, "--yes")
    assert OTHER_UUID in output
    assert "placement.vcenterUuid" in output


def test_a_vm_without_the_stacks_marker_is_refused_by_name(pair: Harness) -> None:
    pair.reconfigure(STANDBY, annotation="somebody else's machine")
    output = refused(pair, "--yes")
    assert f"VM {STANDBY} does not carry this stack's marker" in output
    assert MASTER not in output.replace(f"VM {STANDBY}", "")


def test_without_a_terminal_it_wants_to_be_reported_that_it_is_meant(pair: Harness) -> None:
    output = refused(pair)
    assert "--yes" in output
    assert MASTER in output
    assert STANDBY in output


def test_a_locked_stack_is_refused(pair: Harness) -> None:
    lock = pair.paths.backend / ".pulumi" / "locks" / "organization" / "lbstack" / STACK / "held.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = {"pid": 1, "username": "root", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    lock.write_text(json.dumps(held))
    try:
        output = refused(pair, "--yes")
    finally:
        lock.unlink()
    assert "root@elsewhere" in output
    assert "pulumi cancel" in output


def test_a_lab_is_gone_in_time_and_a_second_run_is_no_error(pair: Harness) -> None:
    begin = time.monotonic()
    output = lbstack(pair, "destroy", STACK, "--yes").ok().out
    assert time.monotonic() - begin < MOST_S
    assert "destroyed" in output
    assert pair.machines() == {}
    assert pair.rules() == []
    assert "lbstack-lab" not in pair.folders()
    assert "lbstack-lab" not in pair.tags()
    again = lbstack(pair, "destroy", STACK, "--yes").ok().out
    assert again == "lab is empty already.\n"


def test_a_half_destroyed_lab_is_destroyed_too(pair: Harness) -> None:
    pair.pulumi("destroy", "--target", "**pair-rule").ok()
    lbstack(pair, "destroy", STACK, "--yes").ok()
    assert pair.machines() == {}


def age(lab: Harness, seconds: float) -> None:
    """Make the record of the last deployment older than it is."""
    record = json.loads(lab.checkpoint.file.read_text())
    then = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(time.time() - seconds))
    record["checkpoint"]["latest"]["manifest"]["time"] = then
    lab.checkpoint.file.write_text(json.dumps(record))


def test_a_lab_is_swept_when_its_time_is_up_and_not_before(pair: Harness) -> None:
    pair.edit(live_a_day)
    young = lbstack(pair, "sweep", STACK, "--destroy").ok().out
    assert young.startswith("lab: alive, 0.0 of 24 hours")
    assert set(pair.machines()) == {MASTER, STANDBY}
    age(pair, DAY_AND_MORE_S)
    listed = lbstack(pair, "sweep", STACK)
    assert (listed.code, listed.out.partition(",")[0]) == (1, "lab: expired")
    assert set(pair.machines()) == {MASTER, STANDBY}
    lbstack(pair, "sweep", STACK, "--destroy").ok()
    assert pair.machines() == {}
    assert lbstack(pair, "sweep", STACK, "--destroy").ok().out.startswith("lab: nothing deployed")


def test_the_sweeper_is_refused_what_destroy_is_refused(pair: Harness) -> None:
    pair.edit(live_a_day)
    age(pair, DAY_AND_MORE_S)
    pair.reconfigure(STANDBY, annotation="somebody else's machine")
    result = lbstack(pair, "sweep", STACK, "--destroy").refused(2)
    assert "marker" in result.err
    assert set(pair.machines()) == {MASTER, STANDBY}


def test_a_stack_without_a_time_to_live_is_never_swept(pair: Harness) -> None:
    pair.edit(lambda config: config.pop("lbstack:lab"))
    age(pair, 400 * DAY_AND_MORE_S)
    result = lbstack(pair, "sweep", STACK, "--destroy").refused(2)
    assert "ttlHours" in result.err
    assert set(pair.machines()) == {MASTER, STANDBY}
