"""Properties of the files of every configuration: they can be rendered, always equally, and show no secret."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.problems import ConfigError
from lbstack.render.files import RenderedPair, render_pair
from lbstack.render.fitting import GUESTINFO_LIMIT
from lbstack.render.pack import guestinfo
from lbstack.render.paths import HAPROXY_CFG
from lbstack.render.redact import redact_pair
from tests.strategies import stacks

# Few, so that the unit tier takes half a minute; LBSTACK_EXAMPLES=1000 tries more. A deadline would only measure the
# machine.
EXAMPLES = int(os.environ.get("LBSTACK_EXAMPLES", "20"))
PROPERTY = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def contents(pair: RenderedPair) -> list[str]:
    return [file.content for files in pair.nodes.values() for file in files.values()]


@PROPERTY
@given(stacks())
def test_every_valid_configuration_is_rendered_in_ascii_and_twice_equally(stack: tuple[StackConfig, Secrets]) -> None:
    config, secrets = stack
    pair = render_pair(config, secrets)
    assert list(pair.nodes) == [node.name for node in config.nodes]
    assert all(content.isascii() and content.endswith("\n") for content in contents(pair))
    assert render_pair(config, secrets) == pair


@PROPERTY
@given(stacks())
def test_both_nodes_of_a_pair_have_the_same_haproxy_cfg_and_no_hash_is_shown(
    stack: tuple[StackConfig, Secrets],
) -> None:
    config, secrets = stack
    pair = render_pair(config, secrets)
    first, second = (files[HAPROXY_CFG] for files in pair.nodes.values())
    assert first == second
    # The files do contain hashes, so their absence below means something: every stack has a statistics login.
    hashes = {*secrets.stats_hashes.values(), *([secrets.root_hash] if secrets.root_hash else [])}
    assert all(any(found in content for content in contents(pair)) for found in hashes)
    for files in redact_pair(pair).values():
        for path, shown in files.items():
            assert "$6$" not in shown, path


@settings(PROPERTY, max_examples=max(1, EXAMPLES // 2))  # signing and compressing take longer
@given(stacks(), st.sampled_from([0, 1]))
def test_every_set_fits_into_guestinfo_or_is_refused_with_a_place(
    stack: tuple[StackConfig, Secrets], index: int
) -> None:
    config, secrets = stack
    try:
        values = guestinfo(config, render_pair(config, secrets), config.nodes[index].name, secrets)
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.path == "services"
        assert problem.remedy
    else:
        assert max(map(len, values.values())) <= GUESTINFO_LIMIT
