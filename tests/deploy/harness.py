"""A private lab for the tests of this tier: the real engine, the real provider, a simulated vCenter of its own.

Everything that a test does to the lab goes through ``Harness``; everything it reads about vCenter comes from pyVmomi
or from vCenter's task log, so from somewhere else than Pulumi.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pyVmomi import vim

from lab.engine.checkpoint import Checkpoint
from lab.engine.workspace import NO_QUESTIONS, Workspace
from lab.home import stackfile, state
from lab.home.credentials import credentials_of
from lab.home.state import Paths, Record
from lab.running import lifecycle
from lab.system.cache import CHECKOUT
from lab.system.waiting import until
from lab.toolchain import tools
from lab.vcenter import client, control, library, server
from tests import guestinfo, tiers
from tests.deploy.engine import Result, run

EXTRA_CONFIG = "guestinfo."
TASK_LIMIT_S = 60.0

Config = dict[str, Any]


class Harness:
    """One lab, and what tests do with it.

    Args:
        root: Its state directory; short, because sockets live in it.
        program: The directory of the Pulumi program.
        guests: Whether guests boot behind its VMs, which the tier *rehearsal* is about.
    """

    def __init__(self, root: Path, program: Path = CHECKOUT, *, guests: bool = False) -> None:
        self.paths = Paths(root)
        self.program = program
        self.guests = guests
        self._baseline: dict[str, Any] | None = None
        self._converged: object = None
        self._events = 0

    # -- the lab ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Start vCenter, fill its library, make the stack; deploy nothing."""
        lifecycle.up(
            self.paths, port=None, progress=_quiet, show=_quiet, program=self.program, deploy=False, guests=self.guests
        )
        self._baseline = stackfile.read(self.paths.stack_file)

    def remove(self) -> None:
        """Throw the lab away, as `python -m lab down` does."""
        lifecycle.down(self.paths, progress=_quiet, show=_quiet, program=self.program)

    @property
    def record(self) -> Record:
        """What the lab remembers."""
        record = state.read_record(self.paths)
        assert record is not None, "there is no lab"
        return record

    @property
    def workspace(self) -> Workspace:
        """How the lab runs Pulumi."""
        return lifecycle.workspace_of(self.paths, tools.ensure_tools(_quiet), self.record, self.program)

    @property
    def checkpoint(self) -> Checkpoint:
        """What Pulumi has recorded."""
        return Checkpoint(self.paths)

    def cli(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
        """Run ``python -m lab COMMAND --state ...`` as a person does.

        Args:
            arguments: The command and its arguments; ``--state`` is added after the command.
            environment: Variables on top of the test's own.
        """
        return run(self._lab(*arguments), dict(os.environ) | dict(environment or {}), cwd=CHECKOUT)

    def start_cli(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, not waited for, in a process group of its own; its output is on ``stdout``."""
        return subprocess.Popen(
            self._lab(*arguments),
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _lab(self, action: str, *arguments: str) -> list[str]:
        """The command line of ``python -m lab``."""
        quick = ["--no-guests"] if action == "up" and not self.guests else []
        return [sys.executable, "-m", "lab", action, "--state", str(self.paths.root), *quick, *arguments]

    # -- the stack --------------------------------------------------------------------------------------------------

    def pulumi(self, *arguments: str, environment: Mapping[str, str] | None = None, given: str = "") -> Result:
        """Run Pulumi on the lab's stack and collect the engine's events.

        Args:
            arguments: After ``pulumi``; ``up`` and ``destroy`` get ``--yes --skip-preview``.
            environment: Variables on top of the lab's own.
            given: What it reads from standard input.
        """
        workspace = self.workspace
        command = [*workspace.station, str(workspace.pulumi), *arguments, "--non-interactive", "--color", "never"]
        log: Path | None = None
        if arguments[0] in ("up", "destroy", "preview", "refresh"):
            self._events += 1
            log = self.paths.logs / f"events-{self._events}.json"
            command += ["--event-log", str(log)]
        if arguments[0] in ("up", "destroy") and "--preview-only" not in arguments:
            command += ["--yes", "--skip-preview"]
        # `--event-log` is one of the options that the engine keeps for those who look into it.
        variables = (
            workspace.environment() | {"PULUMI_DEBUG_COMMANDS": "true"} | {NO_QUESTIONS: "1"} | dict(environment or {})
        )
        result = run(command, variables, cwd=self.program, given=given)
        if arguments[0] == "up":
            self._remember_deployment()
        events = [json.loads(line) for line in log.read_text().splitlines()] if log and log.exists() else []
        return Result(result.command, result.code, result.out, result.err, events)

    def _remember_deployment(self) -> None:
        """What `python -m lab up` would have written down: which vCenter holds the stack."""
        current = server.running(self.paths)
        if current is not None:
            record = self.record
            record.deployed_on = current.process.identity
            state.write_record(self.paths, record)

    def up(self, *arguments: str) -> Result:
        """``pulumi up``."""
        return self.pulumi("up", *arguments)

    def preview(self, *arguments: str) -> Result:
        """``pulumi preview``; with ``--expect-no-changes`` its exit code shows whether there is anything to do."""
        return self.pulumi("preview", *arguments)

    def drift(self, *arguments: str) -> Result:
        """``pulumi refresh --preview-only --expect-no-changes``: fails where vCenter is not what was deployed."""
        return self.pulumi("refresh", "--preview-only", "--expect-no-changes", *arguments)

    def destroy(self, *arguments: str) -> Result:
        """``pulumi destroy``."""
        return self.pulumi("destroy", *arguments)

    @property
    def config(self) -> Config:
        """The stack file's ``config`` section as it is now; changing the copy changes nothing."""
        return copy.deepcopy(dict(stackfile.read(self.paths.stack_file)["config"]))

    def edit(self, change: Callable[[Config], None]) -> None:
        """Change the stack file's ``config`` section in place, as with an editor.

        Args:
            change: Is given the section and modifies it; keys are ``lbstack:services`` and so on.
        """
        document = stackfile.read(self.paths.stack_file)
        change(document["config"])
        self.paths.stack_file.write_text(yaml.safe_dump(document, sort_keys=False))

    @contextmanager
    def edited(self, change: Callable[[Config], None]) -> Iterator[None]:
        """The same for the length of a block."""
        before = self.paths.stack_file.read_text()
        self.edit(change)
        try:
            yield
        finally:
            self.paths.stack_file.write_text(before)

    def converge(self) -> None:
        """Bring stack file, vCenter and deployment back to the post's environment, whatever a test did.

        Where nothing has left a trace since, nothing is done: half of the tests only look.
        """
        assert self._baseline is not None, "prepare() comes first"
        control.control(self.paths, "DELETE", "/faults")
        if self._converged == self._traces():
            return
        for name, machine in self.machines().items():
            if machine.power != "on":  # which a refresh does not see
                self.delete(name)
        self.paths.stack_file.write_text(yaml.safe_dump(self._baseline, sort_keys=False))
        # Without `--run-program` the refresh would use the address and the password that the state remembers.
        self.up("--refresh", "--run-program").ok()
        self._converged = self._traces()

    def _traces(self) -> object:
        """What is another after anybody did anything: stack file, Pulumi's record, and all that vCenter holds of it."""
        current = server.running(self.paths)
        return (
            self.paths.stack_file.read_text(),
            self.checkpoint.file.read_bytes() if self.checkpoint.file.exists() else b"",
            current and current.process.identity,
            self.last_task(),
            self.machines(),
            self.folders(),
            self.tags(),
        )

    def outputs(self) -> Config:
        """The stack's outputs as Pulumi prints them."""
        return dict(json.loads(self.pulumi("stack", "output", "--json").ok().out))

    # -- vCenter ----------------------------------------------------------------------------------------------------

    @contextmanager
    def vcenter(self) -> Iterator[Any]:
        """A pyVmomi service instance, certificate verified, logged in."""
        with client.connect(self.paths) as service:
            yield service

    def machines(self) -> dict[str, client.Machine]:
        """Every VM by name: UUID, power, address."""
        with self.vcenter() as service:
            return {machine.name: machine for machine in client.machines(service)}

    def guestinfo(self, name: str) -> dict[str, str]:
        """A VM's guestinfo, as vCenter holds it: key → raw value; emptied keys are left out."""
        with self.vcenter() as service:
            options = find(service, vim.VirtualMachine, name).config.extraConfig
            return {
                option.key: option.value for option in options if option.key.startswith(EXTRA_CONFIG) and option.value
            }

    def userdata(self, name: str) -> dict[str, Any]:
        """A VM's userdata, decoded: the JSON document after ``#cloud-config``."""
        return guestinfo.userdata(self.guestinfo(name))

    def set_files(self, name: str) -> dict[str, str]:
        """The files of the set in a VM's own keys: guest path → content."""
        return guestinfo.set_files(self.guestinfo(name))

    def reconfigure(self, name: str, **spec: Any) -> None:
        """Change a VM behind Pulumi's back, for example ``numCPUs=4`` or ``extraConfig={...}``."""
        if "extraConfig" in spec:
            spec["extraConfig"] = [
                vim.option.OptionValue(key=key, value=value) for key, value in spec["extraConfig"].items()
            ]
        with self.vcenter() as service:
            machine = find(service, vim.VirtualMachine, name)
            # Without hot add, CPUs and memory change only while there is no power.
            off = machine.runtime.powerState == "poweredOn" and bool({"numCPUs", "memoryMB"} & spec.keys())
            if off:
                wait(machine.PowerOffVM_Task())
            wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(**spec)))
            if off:
                wait(machine.PowerOnVM_Task())

    def power_off(self, name: str) -> None:
        """Switch a VM off behind Pulumi's back."""
        with self.vcenter() as service:
            wait(find(service, vim.VirtualMachine, name).PowerOffVM_Task())

    def delete(self, name: str) -> None:
        """Remove a VM behind Pulumi's back."""
        with self.vcenter() as service:
            machine = find(service, vim.VirtualMachine, name)
            if self.machines()[name].power == "on":
                wait(machine.PowerOffVM_Task())
            wait(machine.Destroy_Task())

    def rules(self) -> list[Any]:
        """The cluster's DRS rules, as pyVmomi objects that can still be read after the session has ended."""
        with self.vcenter() as service:
            cluster = find(service, vim.ClusterComputeResource, self.config["lbstack:placement"]["cluster"])
            return list(cluster.configurationEx.rule)

    def reconfigure_rule(self, operation: str, rule: Any) -> None:
        """``edit`` or ``remove`` a DRS rule behind Pulumi's back."""
        spec = vim.cluster.RuleSpec(operation=operation)
        if operation == "remove":
            spec.removeKey = rule.key
        else:
            spec.info = rule
        with self.vcenter() as service:
            cluster = find(service, vim.ClusterComputeResource, self.config["lbstack:placement"]["cluster"])
            wait(cluster.ReconfigureComputeResource_Task(vim.cluster.ConfigSpecEx(rulesSpec=[spec]), modify=True))

    def folders(self) -> list[str]:
        """The names of all VM folders."""
        with self.vcenter() as service:
            return sorted(str(folder.name) for folder in _all(service, vim.Folder))

    def tags(self) -> dict[str, list[str]]:
        """Tag category → its tags; read with govc, because tags are not part of pyVmomi's API."""
        categories = self.govc("tags.category.ls", "-json")
        return {
            entry["name"]: sorted(tag["name"] for tag in self.govc("tags.ls", "-json", "-c", entry["name"]) or [])
            for entry in categories or []
        }

    def govc(self, *arguments: str) -> Any:
        """Run govc; its JSON, or None where it prints none (ask for it with ``-json``)."""
        environment = self.workspace.environment(self.record)
        text = run([str(self.workspace.tools.govc), *arguments], environment, cwd=self.program).ok().out
        return json.loads(text) if "-json" in arguments and text.strip() else None

    def add_item(self, item: str) -> None:
        """Put another item into the content library that the stack takes its image from."""
        name = self.config[stackfile.IMAGE]["library"]
        library.ensure(self.workspace, self.record, name, item, _quiet)

    def tasks(self, after: int = 0) -> list[dict[str, Any]]:
        """The task log of vCenter since its start: sequence, time, operation, vm, uuid; only those after ``after``."""
        log = control.control(self.paths, "GET", "/tasks") or []
        return [entry for entry in log if entry["sequence"] > after]

    def last_task(self) -> int:
        """The number of the last task, for ``tasks(after=...)``."""
        return max((entry["sequence"] for entry in self.tasks()), default=0)

    def fail_next(self, method: str, vm: str, *, times: int = 1, message: str = "a fault made by a test") -> None:
        """Let vCenter refuse the next calls of a method for one VM, for example ``PowerOnVM_Task``."""
        body = {"method": method, "vm": vm, "times": times, "message": message}
        control.control(self.paths, "POST", "/faults", body)

    def slow_next(self, method: str, seconds: float) -> None:
        """Let vCenter answer the next call of a method that much later, for example ``Login``."""
        control.control(self.paths, "POST", "/faults", {"method": method, "delay": seconds})

    def forget_faults(self) -> None:
        """Let vCenter work as it should."""
        control.control(self.paths, "DELETE", "/faults")

    # -- what must not be seen --------------------------------------------------------------------------------------

    def plain_secrets(self) -> dict[str, str]:
        """Everything that may stand nowhere in clear: name → value (long values by a line of their middle)."""
        credentials = credentials_of(self.paths)
        found = dict(credentials.passwords())
        found |= stackfile.secret_values(self.config, credentials)
        found["passphrase"] = credentials.passphrase_file.read_text()
        return {name: _needle(value) for name, value in found.items()}

    def public_texts(self) -> dict[str, str]:
        """Everything that the lab leaves on disk outside of its secrets: state, stack file, logs, events."""
        private = (self.paths.secrets, self.paths.tls, self.paths.pulumi_home / "plugins", self.paths.vcenter)
        return {
            str(file.relative_to(self.paths.root)): file.read_text(errors="replace")
            for file in sorted(self.paths.root.rglob("*"))
            if file.is_file() and not any(file.is_relative_to(directory) for directory in private)
        }


def find(service: Any, kind: type[Any], name: str) -> Any:
    """The one managed object of a kind with a name."""
    matches = [entity for entity in _all(service, kind) if entity.name == name]
    assert len(matches) == 1, f"{len(matches)} objects of {kind.__name__} are called {name}"
    return matches[0]


def wait(task: Any) -> None:
    """Wait for a task of vCenter; a failed one fails the test."""
    # pyVim.task.WaitForTask stumbles over the simulator's running Destroy tasks, whose name has no description.
    state = until(lambda: task.info.state in ("success", "error") and task.info.state, TASK_LIMIT_S, "a task's end")
    assert state == "success", task.info.error


def _all(service: Any, kind: type[Any]) -> list[Any]:
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], recursive=True)
    try:
        return list(view.view)
    finally:
        view.Destroy()


def _needle(value: str) -> str:
    """A text that is in the value and in nothing else: a line from the middle of a key, the whole of the rest."""
    lines = value.strip().splitlines()
    return lines[len(lines) // 2]


def _quiet(_line: str) -> None:
    """Nobody watches a test."""


def require_tools() -> None:
    """Go on only where the engine and the simulated vCenter are built; a test never builds them itself."""
    tiers.require("qemu-img")
    missing = [tool.name for tool in tools.describe_tools() if tool.state == tools.TO_BUILD]
    if missing:
        tiers.refuse(f"not built: {', '.join(missing)}; `python -m lab build` builds them, `make test` does it first")
