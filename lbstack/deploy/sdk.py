"""The SDK of the vSphere provider, of which only the modules that are used are imported.

``import pulumi_vsphere`` imports the classes of all its resources, ten times what a pair is made of, and every preview
would wait for that. Here the package is available at once, and ``vsphere.VirtualMachine`` imports
``pulumi_vsphere.virtual_machine``. A name that is not found in this way is found by importing the whole package, so
nothing is missing. The whole import also registers classes for resources that the engine returns by reference; this
program never needs one.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["lazily", "module_name", "vsphere"]

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


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
