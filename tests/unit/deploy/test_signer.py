"""A signing key that a node cannot know is refused before anything is made or changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest

from lbstack.config.choices import Mode
from lbstack.config.credentials import Secrets, new_signing_key
from lbstack.deploy.signer import require_known
from lbstack.problems import ConfigError
from lbstack.render.cloudconfig import Form
from lbstack.render.files import render_pair
from lbstack.render.pack import guestinfo
from lbstack.render.paths import NODE_JSON
from lbstack.render.rsakey import public_pem
from lbstack.vcenter.marks import Marks
from tests.goldens.cases import cases

CASE = cases()["post-5.0"]
NAMES = [node.name for node in CASE.config.nodes]
OLD = CASE.secrets


@cache
def next_key() -> str:
    return new_signing_key()


BOTH = replace(OLD, next_signing_key=next_key())
AFTER = replace(OLD, signing_key=next_key())


@cache
def _held(key: str, following: str | None, form: Form) -> Mapping[str, Mapping[str, str]]:
    secrets = replace(OLD, signing_key=key, next_signing_key=following)
    pair = render_pair(CASE.config, secrets)
    return {name: guestinfo(CASE.config, pair, name, secrets, form) for name in NAMES}


def held(secrets: Secrets, form: Form = Form.PARTS) -> Mapping[str, Mapping[str, str]]:
    """Node → its guestinfo with these secrets."""
    return _held(secrets.signing_key, secrets.next_signing_key, form)


def refusal(deployed: Secrets | None, wanted: Secrets, form: Form = Form.PARTS, mode: Mode = Mode.LIVE) -> str:
    """Why a change from one to the other is refused; empty where it is not."""
    marks = {name: Marks("", 2, 2048, values) for name, values in held(deployed, form).items()} if deployed else {}
    try:
        require_known(wanted, marks, held(wanted), mode)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("form", list(Form))
def test_a_key_that_the_deployed_set_did_not_bring_is_refused_with_both_ways_out(form: Form) -> None:
    told = refusal(OLD, AFTER, form)
    assert f"signingKey: is not known to {' and '.join(NAMES)}, which would refuse every set" in told
    assert "nextSigningKey" in told
    assert "docs/runbooks/signing-key.md" in told
    assert "{mode: replace}" in told
    assert "PRIVATE" not in told


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize(
    ("deployed", "wanted"),
    [(None, AFTER), (OLD, OLD), (OLD, BOTH), (BOTH, BOTH), (BOTH, AFTER), (BOTH, OLD), (AFTER, AFTER), (AFTER, BOTH)],
    ids=["new", "same", "step 1", "step 1 again", "step 2", "given up", "done", "step 2 was refused"],
)
def test_each_step_of_a_change_of_the_key_is_let_through(deployed: Secrets | None, wanted: Secrets, form: Form) -> None:
    assert refusal(deployed, wanted, form) == ""


def test_new_vms_may_have_any_key() -> None:
    assert refusal(OLD, AFTER, mode=Mode.REPLACE) == ""
    wanted = {name: dict(values) | {"guestinfo.metadata": "another name"} for name, values in held(AFTER).items()}
    require_known(AFTER, {name: Marks("", 2, 2048, values) for name, values in held(OLD).items()}, wanted, Mode.LIVE)


def test_what_is_no_set_of_ours_tells_nothing() -> None:
    marks = {name: Marks("", 2, 2048, {"guestinfo.metadata": "", "guestinfo.userdata": "x"}) for name in NAMES}
    require_known(AFTER, marks, {name: {"guestinfo.metadata": ""} for name in NAMES}, Mode.LIVE)


def test_the_public_part_alone_is_in_the_set_and_only_while_it_is_needed() -> None:
    text = render_pair(CASE.config, BOTH).nodes[NAMES[0]][NODE_JSON].content
    assert json.loads(text)["next_key"] == public_pem(next_key())
    assert "PRIVATE" not in text
    assert "next_key" not in json.loads(render_pair(CASE.config, OLD).nodes[NAMES[0]][NODE_JSON].content)
