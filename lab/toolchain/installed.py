"""Find Pulumi and the vSphere plugin where they are installed, so that the lab need not build them.

Nothing is installed or changed here. ``LBSTACK_TOOLS`` (``tools.py``) decides whether they are used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from lab.toolchain.golang import ToolchainError
from lab.toolchain.programs import HOST, PLUGIN, PLUGIN_VERSION, PULUMI, program_named, tools_directory


def find_installed() -> dict[str, tuple[Path, str]]:
    """What is installed and fits: name to program and version.

    Raises:
        ToolchainError: ``LBSTACK_TOOLS`` has an unknown value, or asks for what there is not.
    """
    wanted = os.environ.get("LBSTACK_TOOLS") or "auto"
    if wanted not in ("auto", "build", "installed"):
        raise ToolchainError(
            f"LBSTACK_TOOLS is {wanted!r}", "the environment", "Set it to auto, build or installed, or not at all."
        )
    if wanted == "build":
        return {}
    found: dict[str, tuple[Path, str]] = {}
    pulumi, plugin = _installed_pulumi(), _installed_plugin()
    if isinstance(pulumi, tuple):
        found[PULUMI] = pulumi
    elif wanted == "installed":
        raise ToolchainError(pulumi, "PATH", "Install Pulumi with its Python host, or unset LBSTACK_TOOLS.")
    if plugin.exists():
        found[PLUGIN] = (plugin, PLUGIN_VERSION)
    elif wanted == "installed":
        remedy = f"Run `pulumi plugin install resource vsphere {PLUGIN_VERSION}`, or unset LBSTACK_TOOLS."
        raise ToolchainError(f"The vSphere plugin {PLUGIN_VERSION} is not installed", plugin, remedy)
    return found


def _installed_plugin() -> Path:
    """Where Pulumi keeps the plugin of this version, if it is installed (``pulumi plugin ls`` reads the same place)."""
    home = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")
    return home / "plugins" / f"resource-vsphere-v{PLUGIN_VERSION}" / PLUGIN


def _installed_pulumi() -> tuple[Path, str] | str:
    """The Pulumi on PATH and its version, or why it does not do."""
    # Inside the lab's own environment, the one that was built is first on PATH.
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(entry for entry in entries if not Path(entry).is_relative_to(tools_directory()))
    found = shutil.which(PULUMI, path=path)
    if found is None:
        return "Pulumi is not installed"
    neighbours = Path(found).resolve().parent
    if not shutil.which(HOST, path=f"{neighbours}{os.pathsep}{path}"):
        return f"The installed Pulumi ({found}) has no {HOST} next to it or on PATH"
    environment = dict(os.environ) | {"PULUMI_SKIP_UPDATE_CHECK": "1"}
    result = subprocess.run([found, "version"], env=environment, capture_output=True, text=True, check=False)
    version, tested = result.stdout.strip(), program_named(PULUMI).version
    if _numbers(version) < _numbers(tested):
        return f"The installed Pulumi ({found}) is {version or 'broken'}, and the lab was made with {tested}"
    return Path(found), version


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return tuple(map(int, found.groups())) if found else ()
