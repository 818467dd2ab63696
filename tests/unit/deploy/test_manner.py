"""The table of forms and ways: what each node's VM gets, and whether it is changed live, with a reboot or anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from itertools import product
from typing import Any

import pytest

from lbstack.config.choices import Mode
from lbstack.deploy.manner import Known, Manner, Way, booted_from_parts, for_release_before, manner
from lbstack.nodes.health import Answer
from lbstack.problems import ConfigError
from lbstack.render.files import render_pair
from lbstack.render.pack import Packed, pack
from lbstack.vcenter.marks import Marks
from tests.goldens.cases import cases

NAME = "PhotonLB-01"
SILENT, EARLIER, ABLE = Answer(), Answer("a" * 64, "backup"), Answer("a" * 64, "backup", can="live")


@dataclass
class Forms:
    """A node's guestinfo in both forms, of which one may not fit."""

    staged: Mapping[str, str] | None
    in_parts: Mapping[str, str]


def forms(*, fits: bool = True, without: str = "") -> Forms:
    """The post's pair, or without one of its services."""
    case = cases()["post-5.0"]
    services = {name: service for name, service in case.config.services.items() if name != without}
    config = case.config.model_copy(update={"services": services})
    packed: Packed = pack(config, render_pair(config, case.secrets), NAME, case.secrets)
    return Forms(packed.staged if fits else None, packed.in_parts)


NODE = cases()["post-5.0"].config.nodes[0]
NOW, BEFORE = forms(), forms(without="appvol")
assert NOW.staged
assert BEFORE.staged


def machine(extra: Mapping[str, str], **other: Any) -> Marks:
    kept = {"guestinfo.metadata": NOW.in_parts["guestinfo.metadata"], **extra}
    return replace(Marks("", NODE.cpus, NODE.memory_mib, kept), **other)


RELEASE_BEFORE = {key: value for key, value in BEFORE.staged.items() if "lbstack" not in key and "metadata" not in key}
OF_STAGED = {key: value for key, value in BEFORE.staged.items() if "metadata" not in key}
OF_PARTS = {key: value for key, value in BEFORE.in_parts.items() if "metadata" not in key}


def decide(marks: Marks | None, own: Answer, mode: Mode = Mode.LIVE, wanted: Forms = NOW) -> Manner:
    return manner(NODE, Known(marks, own), wanted, mode)


@pytest.mark.parametrize(
    ("held", "own", "mode", "way", "in_parts"),
    [
        (held, own, mode, way, in_parts)
        for (held, own), (live, in_parts) in {
            (None, SILENT): (Way.NEW, True),
            (None, EARLIER): (Way.REBOOT, False),  # its VM is in another folder
            (None, ABLE): (Way.LIVE, True),
            ("release before", SILENT): (Way.REBOOT, False),
            ("release before", EARLIER): (Way.REBOOT, False),
            ("release before", ABLE): (Way.LIVE, True),
            ("staged", SILENT): (Way.REBOOT, False),
            ("staged", EARLIER): (Way.REBOOT, False),
            ("staged", ABLE): (Way.LIVE, True),
            ("parts", SILENT): (Way.LIVE, True),
            ("parts", EARLIER): (Way.LIVE, True),
            ("parts", ABLE): (Way.LIVE, True),
        }.items()
        for mode, way, in_parts in (
            (Mode.LIVE, live, in_parts),
            (Mode.REBOOT, Way.REBOOT if live is Way.LIVE else live, in_parts),
            (Mode.REPLACE, Way.NEW if live is Way.NEW else Way.REPLACE, True),
        )
    ],
)
def test_form_and_way_of_a_changed_set(held: str | None, own: Answer, mode: Mode, way: Way, *, in_parts: bool) -> None:
    extra = {"release before": RELEASE_BEFORE, "staged": OF_STAGED, "parts": OF_PARTS}
    found = decide(machine(extra[held]) if held else None, own, mode)
    assert found.way is way
    assert found.guestinfo == (NOW.in_parts if in_parts else NOW.staged)
    assert found.reboot is (way not in (Way.LIVE, Way.NEW))
    assert bool(found.reason) is (way in (Way.REBOOT, Way.REPLACE))


@pytest.mark.parametrize(("mode", "own"), list(product(Mode, (SILENT, ABLE))))
def test_a_vm_that_has_the_set_in_either_form_is_not_changed_by_the_next_run(mode: Mode, own: Answer) -> None:
    assert NOW.staged
    for held in (NOW.staged, NOW.in_parts):
        found = decide(machine(held), own, mode)
        assert found.way is Way.NOTHING
        assert found.guestinfo == held


def test_cpus_memory_and_a_log_that_is_off_are_changed_with_a_reboot_and_named() -> None:
    for other, word in (
        ({"cpus": NODE.cpus + 1}, "CPUs"),
        ({"memory_mib": NODE.memory_mib + 1024}, "memory"),
        ({"logging": False}, "log"),
        ({"runs": False}, "does not run"),
    ):
        found = decide(machine(OF_PARTS, **other), ABLE)
        assert found.way is Way.REBOOT
        assert found.guestinfo == NOW.in_parts
        assert word in found.reason


def test_a_set_with_a_file_that_only_a_boot_takes_up_is_taken_in_with_a_reboot_that_names_it() -> None:
    """Where the image keeps cloud-init off the network, another DNS server is in the set, not in metadata."""
    case = cases()["post-3.0-r3"]
    network = case.config.network.model_copy(update={"dns": (IPv4Address("192.168.6.101"),)})
    other = case.config.model_copy(update={"network": network})
    before, now = (
        pack(config, render_pair(config, case.secrets), NAME, case.secrets).in_parts for config in (case.config, other)
    )
    assert before["guestinfo.metadata"] == now["guestinfo.metadata"]
    found = decide(machine(before), ABLE, wanted=Forms(None, now))
    assert (found.way, found.guestinfo) == (Way.REBOOT, now)
    assert found.reason == "/etc/systemd/network/10-static-en.network takes effect at a boot alone"
    bare = {key: value for key, value in before.items() if "lbstack" not in key}
    assert decide(machine(bare), ABLE, wanted=Forms(None, now)).way is Way.LIVE  # what it has is not known


def test_a_set_too_large_for_a_node_of_an_earlier_release_is_refused_with_the_way_there() -> None:
    for own in (SILENT, EARLIER):
        with pytest.raises(ConfigError) as refusal:
            decide(machine(RELEASE_BEFORE), own, wanted=forms(fits=False))
        (problem,) = refusal.value.problems
        assert NAME in problem.what
        assert "present services with this release first" in problem.remedy
    assert decide(machine(RELEASE_BEFORE), ABLE, wanted=forms(fits=False)).way is Way.LIVE
    assert decide(None, SILENT, wanted=forms(fits=False)).way is Way.NEW


def test_only_userdata_that_boots_from_the_parts_counts_as_that() -> None:
    assert booted_from_parts(NOW.in_parts)
    assert NOW.staged
    assert not booted_from_parts(NOW.staged)
    assert not booted_from_parts(RELEASE_BEFORE)
    assert not booted_from_parts({})
    assert not booted_from_parts({key: value for key, value in NOW.in_parts.items() if key != "guestinfo.lbstack.hash"})


def test_a_set_that_a_killed_engine_has_given_already_is_given_again_without_a_reboot() -> None:
    """Where vCenter has it and the state does not know, the engine sends it once more, with this flag."""
    assert NOW.staged
    for held, own, mode, reboot in (
        (NOW.in_parts, SILENT, Mode.LIVE, False),
        (NOW.in_parts, ABLE, Mode.LIVE, False),
        (NOW.staged, ABLE, Mode.LIVE, False),
        (NOW.in_parts, ABLE, Mode.REBOOT, True),
        (NOW.staged, EARLIER, Mode.LIVE, True),
    ):
        assert decide(machine(held), own, mode).reboot is reboot
    assert decide(machine(NOW.in_parts, cpus=NODE.cpus + 1), ABLE).reboot


def test_a_vm_that_a_killed_run_has_left_without_power_is_switched_on_with_what_it_has() -> None:
    off = replace(machine(NOW.in_parts), runs=False)
    found = decide(off, SILENT)
    assert (found.way, found.reboot, found.guestinfo) == (Way.REBOOT, True, NOW.in_parts)


EARLIER_SET = "e" * 64


def held_by(extra: Mapping[str, str], config_hash: str) -> Marks:
    return machine({**extra, "guestinfo.lbstack.hash": config_hash})


OLD_PAIR = Known(machine(RELEASE_BEFORE), EARLIER)
MOVED = Known(held_by(OF_STAGED, EARLIER_SET), ABLE)
MOVED_AND_SILENT = Known(held_by(OF_STAGED, EARLIER_SET), SILENT)
MOVED_AND_CHANGED = Known(held_by(OF_STAGED, "c" * 64), ABLE)
IN_PARTS = Known(machine(OF_PARTS), ABLE)
NEW, ELSEWHERE = Known(), Known(None, EARLIER)


@pytest.mark.parametrize(
    ("nodes", "mode", "earlier"),
    [
        ((NEW, NEW), Mode.LIVE, False),
        ((IN_PARTS, IN_PARTS), Mode.LIVE, False),
        ((IN_PARTS, NEW), Mode.LIVE, False),  # a node that was lost
        ((OLD_PAIR, OLD_PAIR), Mode.LIVE, True),
        ((OLD_PAIR, OLD_PAIR), Mode.REBOOT, True),
        ((OLD_PAIR, OLD_PAIR), Mode.REPLACE, False),  # new VMs have the new applier
        ((OLD_PAIR, NEW), Mode.LIVE, True),
        ((MOVED, OLD_PAIR), Mode.LIVE, True),  # a roll that was cut short
        ((MOVED, MOVED), Mode.LIVE, True),  # the run after it
        ((MOVED, MOVED), Mode.REPLACE, True),
        ((MOVED, MOVED_AND_SILENT), Mode.LIVE, True),
        ((MOVED_AND_CHANGED, MOVED_AND_CHANGED), Mode.LIVE, False),
        ((MOVED_AND_CHANGED, MOVED), Mode.LIVE, False),  # the next change, cut short
        ((ELSEWHERE, ELSEWHERE), Mode.LIVE, True),
    ],
)
def test_which_pairs_get_the_set_that_the_applier_of_the_release_before_takes(
    nodes: tuple[Known, Known], mode: Mode, *, earlier: bool
) -> None:
    for each in (nodes, tuple(reversed(nodes))):
        assert for_release_before(each, mode, lambda: EARLIER_SET) is earlier


def test_a_pair_that_has_left_that_set_behind_costs_no_second_rendering() -> None:
    def never() -> str:
        raise AssertionError

    assert not for_release_before((IN_PARTS, IN_PARTS), Mode.LIVE, never)
    assert not for_release_before((NEW, NEW), Mode.LIVE, never)


def test_a_node_elsewhere_is_known_by_its_answer() -> None:
    assert decide(None, EARLIER).guestinfo == NOW.staged
