"""Helpers of the tests of `lbstack import`: the fixtures, and a stack file whose decisions are taken."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lbstack.config.undecided import MARK
from lbstack.scaffold.handbuilt.build import Imported, build
from lbstack.scaffold.handbuilt.ledger import Entry
from lbstack.scaffold.handbuilt.sources import read
from lbstack.stackfile import yamlfile
from lbstack.stackfile.load import NAMESPACE
from tests.keys import ssh_keys

FIXTURES = Path(__file__).parents[3] / "fixtures" / "handbuilt"
HOW_TOS = ("how-to-1", "how-to-2", "how-to-3")
OTHERS = tuple(sorted(path.name for path in FIXTURES.iterdir() if path.name not in HOW_TOS))
PASSWORDS = (
    *("LetMeIn", "ReadOnly", "Pass1234", "1111", "Gal3raSecret", "w3bPass", "1111aaaa", "r3disPass", "hopHOP77"),
    *("kernelPw", "hunter2hunter2", "t0ps3cret"),
)


def imported(name: str) -> Imported:
    """The result for a fixture."""
    return build(read(sorted((FIXTURES / name).iterdir())))


def of(directory: Path, **files: str) -> Imported:
    """The result for files of one node; a name's ``__`` stands for a dot."""
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return build(read([directory]))


def raw_of(made: Imported, directory: Path) -> dict[str, Any]:
    """What the stack file says, placeholders included."""
    path = directory / "Pulumi.raw.yaml"
    path.write_text(made.stack_file)
    values, problems = yamlfile.configuration(path, NAMESPACE)
    assert [problem.path for problem in problems] == ["vsphere:vsphereServer"]
    return values


def entry(made: Imported, file: str, beginning: str) -> Entry:
    """The entry of the one line of a file that begins so."""
    found = [
        each
        for each in made.report.entries
        if each.line.file.endswith(file) and " ".join(each.line.words).startswith(beginning)
    ]
    assert len(found) == 1, found
    return found[0]


class Decisions:
    """Takes every decision of a stack file, with addresses of 198.18.0.0/24 where the file names no network."""

    def __init__(self, raw: dict[str, Any]) -> None:
        known = [str(raw["network"][key]) for key in ("cidr", "gateway")]
        chosen = next((text for text in known if not text.startswith(MARK)), "198.18.0.0/24")
        self._prefix = chosen.rpartition(".")[0]
        self._last = 200

    def address(self) -> str:
        self._last += 1
        return f"{self._prefix}.{self._last}"

    def taken(self, value: Any, path: Sequence[str | int] = ()) -> Any:
        """The value with every placeholder replaced."""
        if isinstance(value, dict):
            return {key: self.taken(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.taken(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and value.startswith(MARK):
            return self._decide(path)
        return value

    def _decide(self, path: Sequence[str | int]) -> Any:
        known = {
            "vcenterUuid": "8c1f0e2a-7d34-4c8e-9b1a-5f6e3d2c1b0a",
            "release": "4.0",
            "firmware": "efi",
            "secureBoot": True,
            "cidr": f"{self._prefix}.0/24",
            "gateway": f"{self._prefix}.1",
            "routerId": 77,
            "fqdn": f"{path[1]}.example.com" if len(path) > 1 else "",
        }
        last = path[-1]
        if last in known:
            return known[str(last)]
        if path[0] == "nodes" and last == "name":
            return f"lb-new-{path[1]}"
        if last in ("vip", "address") or path[:2] == ("network", "dns"):
            return self.address()
        if path[0] == "managementNetworks":
            return "198.18.1.0/24"
        return ssh_keys()[0] if path[0] == "access" else "Something"


def decided(raw: dict[str, Any]) -> dict[str, Any]:
    """The stack file with every decision taken."""
    services = (
        raw["services"]
        if isinstance(raw["services"], dict)
        else {"one": {"kind": "tcp", "vip": MARK, "port": 1, "servers": [{"name": "a", "address": "198.18.2.1"}]}}
    )
    return dict(Decisions(raw).taken(raw | {"services": services}))
