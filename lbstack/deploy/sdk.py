"""The SDKs of the engine and of the vSphere provider, without what every preview would wait for and nobody looks at.

The provider's: only those modules are imported that are used. ``import pulumi_vsphere`` imports the classes of all its
resources, ten times what a pair is made of, and every preview waits a quarter of a second for that. Here the package is
there at once, and ``vsphere.VirtualMachine`` imports ``pulumi_vsphere.virtual_machine``. Whatever is not found that way
is found by importing the package as a whole, so nothing is missing. What the whole import does besides is to register
classes for resources that come back from the engine by reference; this program never asks for one.

The engine's: its debug messages stay here (``quiet``).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pulumi

__all__ = ["DEBUG_VARIABLE", "lazily", "module_name", "quiet", "vsphere"]

DEBUG_VARIABLE = "LBSTACK_SDK_DEBUG"
"""Environment variable; with any value in it the SDK's debug messages reach the engine, for ``pulumi up --debug``."""

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


def quiet() -> None:
    """Let the engine's SDK keep its debug messages to itself, unless ``DEBUG_VARIABLE`` is set.

    They tell of each step that the SDK takes. Each is a call that the whole program waits for, and the engine throws
    it away unless it was started with ``--debug``: eighty of them were a twentieth of a preview.
    """
    if not os.environ.get(DEBUG_VARIABLE):
        pulumi.log.debug = _unheard


def _unheard(*_arguments: object, **_options: object) -> None:
    """``pulumi.log.debug`` without the engine."""


def module_name(name: str) -> str:
    """The module in which the SDK's generator puts a class: ``VirtualMachine`` is in ``virtual_machine``."""
    return _WORD.sub("_", name).lower()


def lazily(name: str) -> ModuleType:
    """Return a package whose members are imported when they are first asked for.

    Args:
        name: The package; where it has been imported already, it is returned as it is.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    loader, package = spec.loader, importlib.util.module_from_spec(spec)

    def member(wanted: str) -> object:
        """What Python asks for when the package does not have it yet (PEP 562)."""
        if wanted.startswith("__"):  # which every tool that inspects modules asks for
            raise AttributeError(wanted)
        module = module_name(wanted)
        try:
            found: object = importlib.import_module(f"{name}.{module}")
        except ModuleNotFoundError:
            found = None
        found = getattr(found, wanted, found if wanted == module else None)
        if found is None:
            del package.__dict__["__getattr__"]
            loader.exec_module(package)
            return getattr(package, wanted)
        package.__dict__[wanted] = found  # over the module of that name, where it is a function's
        return found

    package.__dict__["__getattr__"] = member
    sys.modules[name] = package
    return package


if TYPE_CHECKING:
    import pulumi_vsphere as vsphere
else:
    vsphere = lazily("pulumi_vsphere")
