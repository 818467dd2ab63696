"""The README's production steps, run as they stand there by a new user with an empty backend."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lab.home.stackfile import USER
from lab.system.cache import cache_directory
from lab.vcenter import ova
from tests.deploy.engine import Result, run
from tests.deploy.harness import Harness
from tests.tiers import refuse

ITEM = "photon-ova_uefi-4.0"
STACK_FILE = "Pulumi.prod.yaml"
PASSWORD = "chosen for a test"  # typed at every question for one
SALT = "encryptionsalt: "
STEPS = re.compile(r"<!-- steps: (?P<name>\w+) -->\n```console\n(?P<commands>.*?)```", re.DOTALL)


def steps(readme: str) -> dict[str, list[str]]:
    """The README's production steps: name → its commands, continued lines joined."""
    return {
        match["name"]: match["commands"].replace("\\\n", " ").strip().splitlines() for match in STEPS.finditer(readme)
    }


class NewUser:
    """A person with a fresh copy of the checkout, a terminal, and access to the lab's vCenter.

    Args:
        home: Where the copy and the backend are made.
        lab: A prepared lab; its vCenter stands in for production's.
        checkout: The project.
    """

    def __init__(self, home: Path, lab: Harness, checkout: Path) -> None:
        self.lab = lab
        self.program = home / "lbstack"
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (checkout / name).is_file():
                (self.program / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(checkout / name, self.program / name)
        shutil.copy2(ova.fixture(cache_directory(), ITEM), self.program / f"{ITEM}.ova")
        backend = home / "backend"
        backend.mkdir()
        self.environment = {
            name: value
            for name, value in lab.workspace.environment(lab.record).items()
            if name not in ("PULUMI_STACK", "PULUMI_OPTION_CONFIG_FILE", "PULUMI_CONFIG_PASSPHRASE_FILE", "VIRTUAL_ENV")
        } | {"PULUMI_BACKEND_URL": backend.as_uri(), "PULUMI_CONFIG_PASSPHRASE": PASSWORD}
        # uv is where `make` put it, if the machine has none of its own; the language host takes the first python.
        path = [
            str(self.program / ".venv" / "bin"),
            *(str(found.parent) for found in cache_directory().glob("uv-*/uv")),
        ]
        self.environment["PATH"] = os.pathsep.join([*path, self.environment["PATH"]])

    @property
    def stack_file(self) -> str:
        """The stack file's text as it is now."""
        return (self.program / STACK_FILE).read_text()

    def types(self, command: str, answer: str = "") -> Result:
        """Run one line of the README; what it asks for is answered."""
        return run(["bash", "-euo", "pipefail", "-c", command], self.environment, cwd=self.program, given=answer)

    def changes_every_value(self) -> None:
        """Fill the copied example with what this vCenter has, as step 4 describes; addresses and services stay."""
        place = self.program / STACK_FILE
        document = yaml.safe_load(place.read_text())
        config, theirs = document["config"], self.lab.config
        config["vsphere:vsphereServer"] = theirs["vsphere:vsphereServer"]
        config["lbstack:placement"] = {
            name: value for name, value in theirs["lbstack:placement"].items() if name not in ("folder", "createFolder")
        }
        # No guest of this vCenter can be asked.
        config["lbstack:rollout"] = {"gate": False}
        place.write_text(yaml.safe_dump(document, sort_keys=False))


def as_here(command: str, lab: Harness) -> str:
    """The README's line with what is different here: names of this vCenter, no one to answer yes, no download."""
    if command.startswith("pulumi plugin install"):
        return f"{command} --file {lab.workspace.tools.plugin} --reinstall"
    if command.startswith("pulumi up"):
        return f"{command} --yes --skip-preview"
    theirs = {"vsanDatastore": lab.config["lbstack:placement"]["datastore"], "lbstack@vsphere.local": lab.config[USER]}
    for name, here in theirs.items():
        command = command.replace(name, here)
    return command


@pytest.fixture
def new_user(new_lab: Callable[[], Harness], tmp_path: Path, checkout: Path) -> NewUser:
    lab = new_lab()
    lab.prepare()
    user = NewUser(tmp_path, lab, checkout)
    if shutil.which("uv", path=user.environment["PATH"]) is None:
        refuse("uv is neither installed nor where `make` puts it")
    return user


def test_the_production_steps_of_the_readme_lead_to_a_deployed_pair(new_user: NewUser, checkout: Path) -> None:
    found = steps((checkout / "README.md").read_text())
    assert list(found) == ["image", "role", "install", "stack", "secrets", "deploy"]
    for name, commands in found.items():
        for command in commands:
            answer = new_user.lab.workspace.credentials.vcenter_password if "vsphere:password" in command else PASSWORD
            new_user.types(as_here(command, new_user.lab), f"{answer}\n").ok()
        if name == "stack":
            assert SALT in new_user.stack_file, "the passphrase's salt is lost: no secret could be read again"
            new_user.changes_every_value()

    outputs = json.loads(new_user.types("pulumi stack output --json").ok().out)
    machines = new_user.lab.machines()
    assert set(outputs["nodes"]) == set(machines) == {"lb-horizon-01", "lb-horizon-02"}
    assert {name: machine.address for name, machine in machines.items()} == {
        name: node["address"] for name, node in outputs["nodes"].items()
    }
    new_user.types("pulumi preview --expect-no-changes").ok()
    assert PASSWORD not in new_user.stack_file
    assert "PRIVATE KEY" not in new_user.stack_file
    # Production is protected, whatever somebody types.
    assert "protect" in new_user.types("pulumi destroy --yes --skip-preview").refused().text
    assert set(new_user.lab.machines()) == set(machines)


def test_the_role_of_the_readme_names_privileges_that_a_vcenter_knows(tier_lab: Harness, checkout: Path) -> None:
    (command,) = steps((checkout / "README.md").read_text())["role"]
    names = set(command.split()[3:])
    environment = tier_lab.workspace.environment(tier_lab.record)
    known = set(run(["govc", "role.ls", "Admin"], environment, cwd=checkout).ok().out.split())
    assert len(names) > len(known) // 100
    assert names <= known
