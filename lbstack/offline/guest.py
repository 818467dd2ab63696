"""Run the guest program's own checks on a rendered set: what the stack file accepts, the node has to accept.

The applier is loaded from the file that the set contains, and reads each node's guestinfo as it would in the guest. It
touches nothing: reading a value, comparing it with its manifest and judging its lines need no node.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from lbstack.offline.checkers import NOT_RUN, PASSED, REFUSED, Verdict
from lbstack.render.files import GUEST_PROGRAMS
from lbstack.render.paths import APPLIER, STAGING

PROGRAM = Path(APPLIER).name


@cache
def applier() -> ModuleType:
    """Return the applier as a module.

    Raises:
        ImportError: This machine's Python lacks what the applier needs.
    """
    loader = SourceFileLoader("lbstack_apply", str(GUEST_PROGRAMS / PROGRAM))
    spec = spec_from_loader(loader.name, loader)
    if spec is None:
        raise ImportError(loader.path)
    module = module_from_spec(spec)
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # no file beside the programs of a set
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = writes
    return module


def complaint(values: Mapping[str, str]) -> str:
    """Return why the applier would refuse a set; empty where it accepts it.

    Args:
        values: The node's guestinfo, as it is in its VM.

    Raises:
        ImportError: This machine's Python lacks what the applier needs.
    """
    program = applier()
    try:
        userdata = program.decode(values["guestinfo.userdata"], values["guestinfo.userdata.encoding"])
        program.refuse_directives(program.FileSet(*program.parts_of(userdata)))
    except program.Trouble as trouble:
        return str(trouble)
    return ""


def check_sets(values: Mapping[str, Mapping[str, str]]) -> list[Verdict]:
    """Return the applier's verdict on every node's set.

    Args:
        values: Node name → guestinfo.
    """
    verdicts = []
    for node, guestinfo in values.items():
        try:
            found = complaint(guestinfo)
        except ImportError as error:
            verdicts.append(Verdict(node, PROGRAM, STAGING, NOT_RUN, f"needs a Python for Linux or macOS ({error})"))
            continue
        verdicts.append(Verdict(node, PROGRAM, STAGING, REFUSED if found else PASSED, found))
    return verdicts
