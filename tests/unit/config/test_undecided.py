"""A value that is still to be decided is refused at its place, whatever its type, and hides no other mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbstack.config.undecided import MARK, PLAIN_REMEDY, WHAT, placeholder
from lbstack.problems import ConfigError, path_of
from lbstack.stackfile.load import load_file
from tests.unit.config.support import HORIZON, Location, leaves, paths, problems_of, valid_configuration, with_changes


@pytest.mark.parametrize("location", list(leaves(valid_configuration())), ids=path_of)
def test_every_value_may_be_a_decision_and_is_refused_with_its_sentence(location: Location) -> None:
    problems = problems_of(with_changes((location, placeholder("a number that nobody has"))))
    refused = [problem for problem in problems if problem.path == path_of(location)]
    assert [(problem.what, problem.remedy) for problem in refused] == [(WHAT, "A number that nobody has.")]


@pytest.mark.parametrize("section", ["services", "managementNetworks", "nodes", "placement"])
def test_whole_sections_may_be_decisions(section: str) -> None:
    problems = problems_of(with_changes(((section,), placeholder("x"))))
    assert section in paths(problems)
    assert {problem.what for problem in problems if problem.path == section} == {WHAT}


def test_a_decision_hides_no_other_mistake() -> None:
    changes: list[tuple[Location, object]] = [((*HORIZON, "vip"), placeholder("x")), (("vrrp", "routerId"), 999)]
    assert {"services.horizon.vip", "vrrp.routerId"} <= set(paths(problems_of(with_changes(*changes))))


@pytest.mark.parametrize("text", [MARK, f"{MARK}:", f"{MARK}: $6$salt$hash", f"{MARK}: \x1b[2J", f"{MARK} {'x' * 500}"])
def test_what_is_no_sentence_is_not_shown(text: str) -> None:
    problems = problems_of(with_changes(((*HORIZON, "vip"), text)))
    assert [problem.remedy for problem in problems if problem.what == WHAT] == [PLAIN_REMEDY]


def test_keys_of_other_packages_may_be_decisions_too(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(f'config:\n  vsphere:vsphereServer: "{placeholder("its name")}"\n')
    with pytest.raises(ConfigError) as refused:
        load_file(path)
    assert ("vsphere:vsphereServer", WHAT) in {(each.path, each.what) for each in refused.value.problems}
