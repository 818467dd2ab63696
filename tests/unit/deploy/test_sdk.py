"""The provider's SDK without the most of it: quicker to import, and nothing missing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from lbstack.deploy.sdk import DEBUG_VARIABLE, lazily, module_name
from tests.tiers import TESTS


def told(program: str) -> Any:
    """What a Python of its own prints as JSON."""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_only_the_modules_of_what_is_used_are_imported() -> None:
    program = """
import json, sys
from lbstack.deploy.sdk import vsphere
before = [name for name in sys.modules if name.startswith("pulumi_vsphere.")]
vsphere.VirtualMachine, vsphere.ComputeClusterVmAntiAffinityRule
print(json.dumps([before, "pulumi_vsphere.virtual_machine" in sys.modules, "pulumi_vsphere.vnic" in sys.modules]))
"""
    assert told(program) == [[], True, False]


NAMES = """
import json
names = "Provider", "Folder", "TagCategory", "VirtualMachine", "get_datacenter", "GetNetworkResult"
kinds = {name: (type(getattr(vsphere, name)).__name__, getattr(vsphere, name).__module__) for name in names}
print(json.dumps([kinds, all(getattr(vsphere, name) is getattr(vsphere, name) for name in names)]))
"""


def test_every_name_is_what_the_whole_package_has_under_it() -> None:
    """A class, a function that is called like its module, and what only the package as a whole knows."""
    lazy = told(f"from lbstack.deploy.sdk import vsphere{NAMES}")
    assert lazy == told(f"import pulumi_vsphere as vsphere{NAMES}")
    assert lazy[1]


def test_what_does_not_exist_is_an_attribute_error_as_ever() -> None:
    program = """
import json
from lbstack.deploy.sdk import vsphere
try:
    vsphere.NoSuchThing
except AttributeError as error:
    print(json.dumps(str(error)))
"""
    assert "NoSuchThing" in told(program)


@pytest.mark.parametrize(
    ("name", "module"),
    [("VirtualMachine", "virtual_machine"), ("Tag", "tag"), ("get_network", "get_network"), ("_inputs", "_inputs")],
)
def test_a_class_is_in_the_module_of_its_name(name: str, module: str) -> None:
    assert module_name(name) == module


def test_a_package_that_is_not_installed_is_reported_as_python_reports_it() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'pulumi_nowhere'"):
        lazily("pulumi_nowhere")


def test_a_package_that_is_there_already_is_taken_as_it_is() -> None:
    assert lazily("json") is json


HEARD = """
import json, pulumi
from pulumi.runtime import Settings, configure
from lbstack.deploy.sdk import quiet
class Engine:
    heard = []
    def Log(self, request):
        self.heard.append(request.message)
configure(Settings("project", "stack", engine=Engine()))
quiet()
pulumi.log.debug("a detail")
pulumi.log.info("a fact")
print(json.dumps(Engine.heard))
"""


def test_the_engine_is_not_asked_to_wait_for_debug_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEBUG_VARIABLE, raising=False)
    assert told(HEARD) == ["a fact"]


def test_whoever_asks_for_debug_messages_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEBUG_VARIABLE, "true")
    assert told(HEARD) == ["a detail", "a fact"]
