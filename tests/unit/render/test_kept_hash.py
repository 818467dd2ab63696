"""The stack file of the kept state renders to the set that an earlier commit deployed: the nodes keep their hash."""

from __future__ import annotations

from lbstack.render.files import render_pair
from lbstack.render.redact import redact_pair
from lbstack.stackfile.load import load
from tests import kept_state


def test_the_kept_stack_file_renders_to_the_recorded_files_and_hash() -> None:
    pair = render_pair(*load(kept_state.values(), kept_state.program_secrets()))
    recorded = kept_state.stack_outputs(kept_state.recorded())
    for node, files in redact_pair(pair).items():
        assert sorted(files) == sorted(recorded["files"][node])
        for path, content in files.items():
            assert content == recorded["files"][node][path], f"{path} of {node} has changed"
    assert sorted(pair.nodes) == sorted(recorded["files"])
    assert pair.config_hash == recorded["config_hash"]
