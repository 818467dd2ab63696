"""Properties of every configuration: valid ones load, others are refused with located problems, secrets stay hidden."""

from __future__ import annotations

import json
import os
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from lbstack.config.credentials import is_secret_key
from lbstack.config.models import StackConfig
from lbstack.problems import ConfigError, Problem, path_of
from lbstack.stackfile import schema
from lbstack.stackfile.load import load, load_config
from tests.keys import signing_key
from tests.strategies import configurations, secrets_for
from tests.unit.config.support import (
    Location,
    leaves,
    paths,
    problems_of,
    put,
    valid_configuration,
    valid_secrets,
)
from tests.values import json_values

# Few, so that the unit tier takes half a minute; LBSTACK_EXAMPLES=1000 tries more. A deadline would only measure the
# machine.
EXAMPLES = int(os.environ.get("LBSTACK_EXAMPLES", "20"))
PROPERTY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SCHEMA = Draft7Validator(schema.stack_file_schema())
TOP_LEVEL_KEYS = {field.alias for field in StackConfig.model_fields.values()}


def require_located(problems: list[Problem], raw: Any) -> None:
    """Assert that each problem names a place that the user can find, and a remedy."""
    top = {path_of([key]) for key in raw} if isinstance(raw, dict) else set()
    assert problems
    for problem in problems:
        first = problem.path.split(".")[0].split("[")[0] if not problem.path.startswith("[") else problem.path
        known = TOP_LEVEL_KEYS | top | {"config"}
        assert first in known or is_secret_key(first) or any(problem.path.startswith(key) for key in top), problem
        assert problem.what
        assert problem.remedy.endswith((".", "?")), problem
        assert str(problem).isprintable(), problem


def stack_file(raw: dict[str, Any]) -> dict[str, Any]:
    return {"config": {f"lbstack:{key}": value for key, value in raw.items()}}


@PROPERTY
@given(st.data())
def test_every_valid_configuration_loads_and_is_valid_for_the_schema(data: st.DataObject) -> None:
    raw = data.draw(configurations())
    config, secrets = load(raw, data.draw(secrets_for(raw)))
    assert len(config.nodes) == 2
    assert set(secrets.stats_hashes) == set(config.stats.users)
    assert [error.message for error in SCHEMA.iter_errors(stack_file(raw))] == []


@PROPERTY
@given(configurations())
def test_the_engines_values_load_like_those_of_the_file(raw: dict[str, Any]) -> None:
    """The engine sorts keys and passes JSON; a file keeps its author's order."""
    assert load_config(json.loads(json.dumps(raw, sort_keys=True))) == load_config(yaml.safe_load(yaml.safe_dump(raw)))


@PROPERTY
@example({"\ud800": None}, {})
@given(json_values(), st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=3))
def test_arbitrary_json_is_refused_with_located_problems(raw: Any, secrets: dict[str, str]) -> None:
    try:
        load(raw, secrets)
    except ConfigError as error:
        problems = [problem for problem in error.problems if not _about_secrets(problem, secrets)]
        require_located(problems or list(error.problems), raw if problems else secrets)
    else:
        raise AssertionError("arbitrary JSON was accepted as a configuration")


def _about_secrets(problem: Problem, secrets: dict[str, str]) -> bool:
    return is_secret_key(problem.path) or problem.path in {path_of([name]) for name in secrets}


@PROPERTY
@given(st.data())
def test_a_valid_configuration_with_arbitrary_json_at_any_place_loads_or_is_refused_with_located_problems(
    data: st.DataObject,
) -> None:
    raw = data.draw(configurations())
    secrets = _secrets_of(raw)
    location = data.draw(st.sampled_from(_places(raw)))
    put(raw, location, data.draw(json_values()))
    problems = problems_of(raw, secrets)
    if problems:
        require_located(problems, raw)


@PROPERTY
@given(st.data())
def test_two_wrong_types_at_any_two_leaves_are_both_reported_there(data: st.DataObject) -> None:
    raw = data.draw(configurations())
    secrets = _secrets_of(raw)
    places = sorted(leaves(raw), key=str)
    first, second = data.draw(st.lists(st.sampled_from(places), min_size=2, max_size=2, unique=True))
    put(raw, first, {"wrong": "type"})
    put(raw, second, [["wrong", "type"]])
    found = paths(problems_of(raw, secrets))
    for place in (first, second):
        assert any(path == path_of(place) or path.startswith(path_of(place)) for path in found), (place, found)


@PROPERTY
@given(st.data())
def test_an_unknown_key_in_any_section_is_reported_there(data: st.DataObject) -> None:
    raw = data.draw(configurations())
    secrets = _secrets_of(raw)
    free_keys = {("services",), ("stats", "users"), ("packages", "versions")}
    sections = [place for place in _places(raw, mappings=True) if place not in free_keys]
    location = (*data.draw(st.sampled_from(sections)), "surely-unknown")
    put(raw, location, "hunter2hunter2")
    problems = problems_of(raw, secrets)
    assert paths(problems) == [path_of(location)]
    assert "hunter2" not in str(problems)


@PROPERTY
@given(st.data())
def test_two_nodes_with_one_address_are_reported_whatever_else_is_wrong(data: st.DataObject) -> None:
    raw = data.draw(configurations())
    secrets = _secrets_of(raw)
    raw["nodes"][1]["address"] = raw["nodes"][0]["address"]
    location = data.draw(st.sampled_from(_places(raw)))
    assume(location[:1] != ("nodes",) or len(location) > 2)
    assume(location[-1:] != ("address",) or location[0] != "nodes")
    put(raw, location, data.draw(json_values()))
    assert "nodes[1].address" in paths(problems_of(raw, secrets))


@PROPERTY
@given(st.data())
def test_a_secret_at_any_place_of_the_configuration_is_never_shown(data: st.DataObject) -> None:
    raw = valid_configuration()
    secret = data.draw(st.sampled_from([signing_key(), f"$6$zzqqxxww${'Zq9' * 28}Zq", f"$2b$12${'Zq9' * 17}Zq"]))
    location = data.draw(st.sampled_from(_places(raw)))
    put(raw, location, data.draw(st.sampled_from([secret, [secret], {"key": secret}, f"x {secret}"])))
    text = "".join(map(str, problems_of(raw))) + repr(problems_of(raw))
    for start in range(0, len(secret) - 8, 4):
        assert secret[start : start + 8] not in text or secret[start : start + 8] in "PRIVATE KEY-----BEGIN "


@PROPERTY
@given(st.data())
def test_no_secret_is_ever_shown(data: st.DataObject) -> None:
    """Any string as any secret: only its length is reported."""
    token = "".join(data.draw(st.lists(st.sampled_from("zqXW#%"), min_size=8, max_size=40)))
    names = st.sampled_from(["signingKey", "rootPasswordHash", "statsHash-admin", "statsHash-stats", "statsHash-x"])
    wrapped = data.draw(st.sampled_from(["{}", "$6${}", "$6$salt${}", "-----BEGIN PRIVATE KEY-----\n{}", "{}\n"]))
    secrets = valid_secrets() | {data.draw(names): wrapped.format(token)}
    try:
        load(valid_configuration(), secrets)
    except ConfigError as error:
        for text in (str(error), repr(error), repr(error.args), repr(error.problems)):
            assert token not in text
    else:
        raise AssertionError("a string of these characters was accepted as a secret")


def _places(value: Any, location: Location = (), *, mappings: bool = False) -> list[Location]:
    """Every place below the top, or the place of every mapping."""
    found: list[Location] = [] if mappings or not location else [location]
    if isinstance(value, dict):
        found += [location] if mappings else []
        for key, item in value.items():
            found += _places(item, (*location, key), mappings=mappings)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += _places(item, (*location, index), mappings=mappings)
    return found


def _secrets_of(raw: dict[str, Any]) -> dict[str, str]:
    """Valid secrets of a configuration that is still valid."""
    some_hash = valid_secrets()["statsHash-admin"]
    hashes = {f"statsHash-{user}": some_hash for user in raw["stats"]["users"]}
    return {"signingKey": signing_key(), "rootPasswordHash": some_hash} | hashes
