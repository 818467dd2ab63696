"""What somebody did by hand in vCenter appears under Drift, with the right file and node; noise of the provider not."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from gzip import decompress as gunzip
from typing import Any

import pytest
from pyVmomi import vim

from lbstack.render import keys
from lbstack.render.deflate import gzip
from tests.deploy.harness import Harness, find
from tests.deploy.review import (
    MASTER,
    STACK,
    STANDBY,
    drift,
    lbstack,
    move_to_another_network,
    remove_machine,
    report,
    switch_rule,
)

RULE = f"anti-affinity rule lbstack {MASTER} {STANDBY}"
HAPROXY = "/etc/haproxy/haproxy.cfg"
Report = dict[str, Any]


def rewrite_timeout(lab: Harness, name: str) -> None:
    """Edit one line of one file in a VM's guestinfo, as somebody with vCenter's user interface could.

    Whoever does that well enough for it to be read as a set changes the digest in the head, too. The node refuses it:
    nobody signed that head.
    """
    values = lab.guestinfo(name)
    head = json.loads(base64.b64decode(values[keys.HEAD]))
    part = next(each for each in head["parts"] if HAPROXY in each["files"])
    assert part["count"] == 1
    key = keys.piece(part["name"], 0)
    text = gunzip(base64.b64decode(values[key])).decode()
    assert text.count("hard-stop-after 10h") == 1
    edited = gzip(text.replace("hard-stop-after 10h", "hard-stop-after 99h").encode())
    part["sha256"] = hashlib.sha256(edited).hexdigest()
    forged = {key: edited, keys.HEAD: json.dumps(head).encode()}
    lab.reconfigure(name, extraConfig={each: base64.b64encode(data).decode() for each, data in forged.items()})


@pytest.fixture(scope="module")
def drifted(tier_lab: Harness) -> Iterator[tuple[Harness, Report, str]]:
    """A deployed pair to which much was done by hand, what a preview reports about it, and the other network's id."""
    lab = tier_lab
    lab.converge()
    lab.reconfigure(MASTER, numCPUs=4)
    lab.reconfigure(MASTER, memoryMB=4096)
    rewrite_timeout(lab, STANDBY)
    network = move_to_another_network(lab, STANDBY)
    switch_rule(lab, on=False)
    lab.power_off(STANDBY)
    yield lab, report(lab), network
    lab.converge()


def test_the_verdict_names_where_the_drift_is_and_that_nothing_else_changes(
    drifted: tuple[Harness, Report, str],
) -> None:
    _, found, _ = drifted
    assert found["outcome"] == "drift"
    for name in (MASTER, STANDBY, RULE):
        assert name in found["verdict"]
    assert found["files"] == found["changes"] == found["nodes"] == found["services"] == []


@pytest.mark.parametrize(
    ("place", "what", "shown"),
    [
        (MASTER, "CPUs", "CPUs: 4 in vCenter; deployed: 2."),
        (MASTER, "memory (MiB)", "memory (MiB): 4096 in vCenter; deployed: 2048."),
        (STANDBY, "power", "The VM is powered off in vCenter; deployed: on."),
        (RULE, "rule", "The rule is switched off in vCenter; deployed: on."),
    ],
)
def test_each_change_made_by_hand_is_reported_with_both_values(
    drifted: tuple[Harness, Report, str], place: str, what: str, shown: str
) -> None:
    assert drift(drifted[1])[place, what]["text"] == shown


def test_a_moved_network_card_is_reported_with_the_name_of_the_deployed_network(
    drifted: tuple[Harness, Report, str],
) -> None:
    _, found, network = drifted
    assert drift(found)[STANDBY, "network"]["text"] == f"network: {network} in vCenter; deployed: VM Network."


def test_edited_guestinfo_is_decoded_to_the_one_line_of_the_one_file_on_the_one_node(
    drifted: tuple[Harness, Report, str],
) -> None:
    item = drift(drifted[1])[STANDBY, "guestinfo"]
    (file,) = item["files"]
    assert (file["path"], file["nodes"]) == (HAPROXY, [STANDBY])
    changed = [line for line in file["lines"] if line.startswith(("+", "-"))]
    assert changed == ["-    hard-stop-after 10h", "+    hard-stop-after 99h"]


def test_there_is_no_drift_but_what_was_made(drifted: tuple[Harness, Report, str]) -> None:
    assert set(drift(drifted[1])) == {
        (MASTER, "CPUs"),
        (MASTER, "memory (MiB)"),
        (STANDBY, "power"),
        (STANDBY, "network"),
        (STANDBY, "guestinfo"),
        (RULE, "rule"),
    }


def test_what_up_would_do_about_it_is_what_it_then_does(drifted: tuple[Harness, Report, str]) -> None:
    lab, found, _ = drifted
    remedies = {key: item["remedy"] for key, item in drift(found).items()}
    assert remedies[STANDBY, "power"] == "`pulumi up` does nothing about it: switch the VM on in vCenter."
    for key, remedy in remedies.items():
        if key != (STANDBY, "power"):
            assert remedy.startswith("`pulumi up --refresh` puts it back"), key
    # Plain `up` does not see it …
    lab.up().ok()
    assert set(drift(report(lab))) == set(drift(found))
    # … and with --refresh it is gone, each of them.
    lab.up("--refresh", "--run-program").ok()
    left = drift(report(lab))
    assert set(left) <= {(STANDBY, "power")}
    (rule,) = lab.rules()
    assert rule.enabled


def test_a_vm_that_is_gone_is_missing_and_made_again(pair: Harness) -> None:
    remove_machine(pair, STANDBY)
    found = report(pair)
    item = drift(found)[STANDBY, "missing"]
    assert "makes it again" in item["remedy"]
    text = lbstack(pair, "preview", STACK).ok().out
    assert f"- {STANDBY}: It was deployed and is not in vCenter any more." in text
    pair.up("--refresh", "--run-program").ok()
    assert STANDBY in pair.machines()
    assert report(pair)["outcome"] == "nothing"


def test_what_the_provider_is_known_to_report_of_itself_is_a_footnote_and_no_drift(pair: Harness) -> None:
    """Made true in vCenter, so that the real provider reads it there, as it does of VMs that nobody touched."""
    with pair.vcenter() as service:
        flags = find(service, vim.VirtualMachine, MASTER).config.flags  # the simulator takes them as a whole
    flags.virtualMmuUsage, flags.virtualExecUsage = "on", "hvOn"
    pair.reconfigure(MASTER, flags=flags)
    found = report(pair)
    assert (found["drift"], found["outcome"]) == ([], "nothing")
    assert [line.partition(" ")[0] for line in found["noise"]] == ["eptRviMode", "hvMode"]
    shown = lbstack(pair, "preview", STACK, "--fail-on-drift", "--fail-on-change").ok().out
    assert shown.startswith("lab: No change, no drift.")
    assert "left out as known noise of the provider: eptRviMode" in shown
    mark = pair.last_task()
    pair.up("--refresh", "--run-program").ok()
    assert pair.tasks(mark) == []
    remove_machine(pair, MASTER)  # nobody takes the flags away again


def test_where_nothing_was_done_nothing_is_reported(pair: Harness) -> None:
    result = lbstack(pair, "preview", STACK).ok()
    assert result.out.splitlines()[0] == "lab: No change, no drift."
    # The other stream shows a person who waits what is being done.
    assert {"changes: same pair-node1", "drift: refresh pair-node1"} <= set(result.err.splitlines())
    assert report(pair)["outcome"] == "nothing"
