"""Pulumi as a lab runs it: its home, its backend, its stack.

The program is the checkout's own; the lab changes only its environment and its stack file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.engine.checkpoint import STACK, Checkpoint
from lab.errors import LabError
from lab.home import certificates, stackfile
from lab.home.credentials import Credentials, credentials_of
from lab.home.state import Paths, Record, write_private
from lab.system import processes
from lab.system.cache import CHECKOUT
from lab.toolchain.tools import Tools

NO_QUESTIONS = "LBSTACK_LAB_NO_QUESTIONS"
"""A variable that takes out the provider's 10 s after each reconfiguration, which the lab's plugin imitates."""
POLL_S = 0.1
INTERRUPTED_TIMEOUT_S = 300.0  # a Pulumi left alone by a killed run ends what it is doing, at most a VM's five minutes
TAIL_LINES = 40

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Workspace:
    """Pulumi as one lab uses it.

    Args:
        paths: The lab.
        tools: The programs.
        program: The directory of the Pulumi program.
        station: What to put before a command so that it runs where vCenter and the nodes can be reached.
    """

    paths: Paths
    tools: Tools
    program: Path = CHECKOUT
    station: tuple[str, ...] = ()

    @property
    def credentials(self) -> Credentials:
        """The lab's credentials."""
        return credentials_of(self.paths)

    @property
    def checkpoint(self) -> Checkpoint:
        """What Pulumi has recorded."""
        return Checkpoint(self.paths)

    @property
    def log(self) -> Path:
        """What Pulumi printed in this lab, all runs."""
        return self.paths.logs / "pulumi.log"

    def environment(self, record: Record | None = None) -> dict[str, str]:
        """The variables that make any program a member of this lab.

        Args:
            record: With it, ``govc`` is logged in too, as the administrator (whose password then stands in the
                environment).
        """
        # The language host takes the first python on PATH; the project's environment holds what the program imports.
        path = [str(self.bin), self.tools.path(), str(CHECKOUT / ".venv" / "bin"), os.environ.get("PATH", os.defpath)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "VSPHERE_"))}
        lab = {
            "PATH": os.pathsep.join(path),
            "PULUMI_HOME": str(self.paths.pulumi_home),
            "PULUMI_BACKEND_URL": self.paths.backend.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.credentials.passphrase_file),
            "PULUMI_STACK": STACK,
            "PULUMI_OPTION_CONFIG_FILE": str(self.paths.stack_file),
            # Language host and provider come from next to pulumi and from PULUMI_HOME, not from what is on PATH.
            "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "SSL_CERT_FILE": str(certificates.ca_file(self.paths)),
        }
        if record is not None:
            lab |= {
                "GOVC_URL": f"https://{stackfile.HOST}:{record.port}/sdk",
                "GOVC_USERNAME": stackfile.ADMINISTRATOR,
                "GOVC_PASSWORD": self.credentials.administrator_password,
                "GOVC_TLS_CA_CERTS": str(certificates.ca_file(self.paths)),
                "GOVC_PERSIST_SESSION": "false",
            }
        return inherited | lab

    def ensure(self, record: Record) -> None:
        """Make stack, stack file and secrets where they are missing.

        Raises:
            LabError: Pulumi refused; with its message.
        """
        self._gather_programs()
        stackfile.write(self.paths, record, self.credentials)
        if not self.checkpoint.file.exists():
            self._make_stack()
        stackfile.adopt_salt(self.paths, self._nursery / stackfile.SOURCE.name)
        config = stackfile.read(self.paths.stack_file)["config"]
        for key, value in stackfile.secret_values(config, self.credentials).items():
            if not stackfile.is_secret(config.get(key)):
                self.quietly(["config", "set", "--secret", key], given=value)

    @property
    def bin(self) -> Path:
        """Pulumi with its Python host next to it, where the engine looks without a warning."""
        return self.paths.root / "pulumi" / "bin"

    @property
    def pulumi(self) -> Path:
        """The Pulumi command of this lab."""
        return self.bin / self.tools.pulumi.name if self.tools.language_host else self.tools.pulumi

    def _gather_programs(self) -> None:
        """Put Pulumi and the host that was built for it into one directory, as an installed Pulumi has them.

        The engine follows symbolic links before it looks next to itself, so these are hard links, or copies where the
        cache is on another file system.
        """
        if self.tools.language_host is None:
            return
        # The host's scripts lie next to it.
        for program in (self.tools.pulumi, *sorted(self.tools.language_host.parent.iterdir())):
            place = self.bin / program.name
            if not place.exists() or not _same(program, place):
                place.parent.mkdir(parents=True, exist_ok=True)
                scratch = place.with_name(f".{place.name}")
                scratch.unlink(missing_ok=True)
                try:
                    scratch.hardlink_to(program)
                except OSError:
                    shutil.copy2(program, scratch)
                scratch.replace(place)

    @property
    def _nursery(self) -> Path:
        return self.paths.root / "pulumi" / "project"

    def _make_stack(self) -> None:
        """Make an empty stack.

        `pulumi stack init` knows no `--config-file`: it writes its salt next to Pulumi.yaml. So it runs next to one
        that has nothing but the project's name, and the committed stack file stays as it is.
        """
        write_private(self._nursery / "Pulumi.yaml", f"name: {stackfile.PROJECT}\nruntime: python\n")
        init = ["stack", "init", STACK, "--secrets-provider", "passphrase", "--no-select"]
        self.quietly(init, directory=self._nursery)

    def forget(self) -> None:
        """Drop everything that Pulumi has recorded about this stack's resources; its configuration stays.

        Raises:
            LabError: Pulumi refused; with its message.
        """
        if self.checkpoint.recorded():
            self.quietly(["state", "delete", "--all", "--force", "--yes"])
        if self.checkpoint.unfinished():
            self.quietly(["refresh", "--yes", "--skip-preview", "--clear-pending-creates"])

    def unlock(self, progress: Progress) -> None:
        """Clear away what a killed run left, its lock, its plugins, half a note; wait for one that still works.

        Raises:
            LabError: A Pulumi of this lab works longer than ``INTERRUPTED_TIMEOUT_S``.
        """
        deadline = time.monotonic() + INTERRUPTED_TIMEOUT_S
        announced = False
        while holder := self.checkpoint.living_holder():
            if not announced:
                announced = True
                progress(f"A Pulumi of this lab is still at work (pid {holder}); waiting for it")
            if time.monotonic() > deadline:
                raise LabError(
                    f"Pulumi (pid {holder}) has been at work on this lab for {INTERRUPTED_TIMEOUT_S:.0f} s. "
                    f"Wait for it, or end it (`kill {holder}`), and run this again."
                )
            time.sleep(POLL_S)
        # The engine starts its plugins in process groups of their own: they outlive it and go on with what they do.
        for process in processes.orphans(self.paths.root / "pulumi", "pulumi"):
            processes.stop(process)
        if self.checkpoint.note in self.checkpoint.drop_broken_notes():
            progress("A Pulumi run was killed while it recorded a step; its record is as it was before that step")
        if self.checkpoint.locks():
            progress("Taking away the lock of a Pulumi run that was killed")
            self.quietly(["cancel", "--yes", STACK])

    def quietly(self, arguments: Sequence[str], *, given: str = "", directory: Path | None = None) -> str:
        """Run a short Pulumi command.

        Args:
            arguments: After ``pulumi``.
            given: What it reads from its standard input; secrets go this way.
            directory: Where it runs, by default next to the program.

        Returns:
            Its standard output.

        Raises:
            LabError: It failed; with its message.
        """
        result = subprocess.run(
            [str(self.pulumi), *arguments, "--non-interactive"],
            cwd=directory or self.program,
            env=self.environment(),
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise LabError(f"`pulumi {' '.join(arguments)}` failed:\n{_indent(result.stderr or result.stdout)}")
        return result.stdout

    def run(self, arguments: Sequence[str], show: Progress) -> int:
        """Run a long Pulumi command and show what it prints while it works.

        Its output goes to the log file and is read from there: when this process is killed, Pulumi does not choke on
        a closed pipe, ends what it was doing and records it.

        Args:
            arguments: After ``pulumi``.
            show: Receives each line.

        Returns:
            Pulumi's exit code.
        """
        with self.log.open("ab") as log, self.log.open("r", encoding="utf-8", errors="replace") as reader:
            log.write(f"--- pulumi {' '.join(arguments)}\n".encode())
            log.flush()
            reader.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [*self.station, str(self.pulumi), *arguments, "--non-interactive", "--color", "never"],
                cwd=self.program,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            interrupted = False
            partial = ""
            while True:
                try:
                    code = process.poll()
                    partial = _feed(partial + reader.read(), show)
                    if code is not None:
                        break
                    time.sleep(POLL_S)
                except KeyboardInterrupt:
                    if interrupted:
                        process.terminate()
                    interrupted = True
                    show("Interrupted: Pulumi ends what it is doing and records it")
            if partial.strip():
                show(partial)
            if interrupted:
                raise KeyboardInterrupt
            return code


def _same(program: Path, place: Path) -> bool:
    wanted, found = program.stat(), place.stat()
    return (wanted.st_size, wanted.st_mtime_ns) == (found.st_size, found.st_mtime_ns)


def _feed(text: str, show: Progress) -> str:
    *lines, rest = text.split("\n")
    for line in lines:
        if line.strip():
            show(line.rstrip())
    return rest


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-TAIL_LINES:])
