"""The programs that the lab can build: their sources, and their places in the cache.

A package that is built here is one directory of sources without packages below it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from lab.system.cache import cache_directory
from lab.toolchain.golang import GO_ENVIRONMENT, Go, ToolchainError

LAB = Path(__file__).resolve().parents[1]

PULUMI, HOST, PLUGIN = "pulumi", "pulumi-language-python", "pulumi-resource-vsphere"
VCENTER, GOVC = "vcenter", "govc"
# Lies next to the host, which starts it; see lab/toolchain/pulumi/language-python
HOST_SCRIPT = "pulumi-language-python-exec"
PLUGIN_VERSION = "4.18.2"  # what the locked Python package pulumi-vsphere asks for

SDK = "github.com/pulumi/pulumi/sdk/v3"
KEY_LENGTH = 16  # 64 bits of the digest: enough to distinguish some dozens of builds apart
STRIP = "-s -w"  # no symbol tables: half the size


def tools_directory() -> Path:
    """Where built programs are kept."""
    return cache_directory() / "tools"


@dataclass(frozen=True)
class Program:
    """A program that can be built here.

    Args:
        name: Its file name.
        title: What people call it.
        module: The directory of its go.mod below ``lab/``.
        package: What is built.
        pins: The module of go.mod whose version is the program's.
        minutes: How long it builds on 2 cores with nothing in Go's caches.
        ldflags: The linker's options besides ``STRIP``; ``{version}`` stands for the pinned version.
        extras: Files of modules that belong next to it: (module, path inside it, name next to it).
        scripts: Files of its own directory that belong next to it.
    """

    name: str
    title: str
    module: str
    package: str
    pins: str
    minutes: float
    ldflags: str = ""
    extras: tuple[tuple[str, str, str], ...] = ()
    scripts: tuple[str, ...] = ()

    @property
    def directory(self) -> Path:
        """The directory of its go.mod."""
        return LAB / self.module

    @property
    def version(self) -> str:
        """The pinned version, as in go.mod."""
        text = (self.directory / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^(?:require )?\s*{re.escape(self.pins)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise ToolchainError(
                f"go.mod does not pin {self.pins}", self.directory / "go.mod", "Restore it from the repository."
            )
        return found.group(1)

    def linker_flags(self) -> str:
        """Everything that the linker is reported."""
        return f"{STRIP} {self.ldflags.format(version=self.version)}".strip()

    def key(self, go: Go) -> str:
        """A digest of everything that decides the result."""
        digest = hashlib.sha256()
        recipe = (
            go.version,
            self.package,
            self.linker_flags(),
            repr(self.extras),
            repr(sorted(GO_ENVIRONMENT.items())),
        )
        digest.update(repr(recipe).encode())
        for path in self.sources():
            content = path.read_bytes()
            digest.update(f"{path.relative_to(self.directory).as_posix()} {len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()[:KEY_LENGTH]

    def sources(self) -> list[Path]:
        """go.mod, go.sum, the package's own sources and scripts, in a fixed order; tests do not count."""
        own: list[Path] = []
        if self.package.startswith("."):
            found = (self.directory / self.package).glob("*.go")
            own = sorted(path for path in found if not path.name.endswith("_test.go"))
        own += [self.directory / script for script in self.scripts]
        return [self.directory / "go.mod", self.directory / "go.sum", *own]

    def place(self, go: Go) -> Path:
        """Its directory in the cache."""
        return tools_directory() / f"{self.name}-{self.key(go)}"


# In the order of building: what fails early fails soon.
PROGRAMS: tuple[Program, ...] = (
    Program(VCENTER, "the simulated vCenter", "vcenter/simulator", ".", "github.com/vmware/govmomi", 1),
    Program(GOVC, "govc", "vcenter/simulator", "./govc", "github.com/vmware/govmomi", 0.5),
    Program(
        HOST,
        "Pulumi's Python host",
        "toolchain/pulumi/language-python",
        f"{SDK}/python/cmd/pulumi-language-python",
        SDK,
        0.5,
        extras=((SDK, f"python/cmd/{HOST_SCRIPT}", f"{HOST_SCRIPT}.py"),),
        scripts=(HOST_SCRIPT,),
    ),
    Program(
        PLUGIN, "the vSphere plugin", "toolchain/plugin", ".", "github.com/hashicorp/terraform-provider-vsphere", 2
    ),
    Program(
        PULUMI,
        "the Pulumi command",
        "toolchain/pulumi",
        "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        "github.com/pulumi/pulumi/pkg/v3",
        8,
        # Without it `pulumi version` is empty, and the engine refuses what asks for a version.
        ldflags=f"-X {SDK}/go/common/version.Version={{version}}",
    ),
)


def program_named(name: str) -> Program:
    """One of ``PROGRAMS``."""
    return next(program for program in PROGRAMS if program.name == name)
