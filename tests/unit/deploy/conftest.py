"""The whole program under Pulumi's mocks: no engine, no plugin, no vCenter; every resource and look-up recorded."""

from __future__ import annotations

import asyncio
import gc
import json
import runpy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import grpc  # type: ignore[import-untyped]
import pulumi
import pytest
import yaml
from google.protobuf import json_format  # type: ignore[import-untyped]
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks
from pulumi.runtime.mocks import MockMonitor

from lbstack.deploy import recorded
from lbstack.deploy.site import Site
from lbstack.vcenter import pin
from tests import keys
from tests.unit.deploy import sites

ROOT = Path(__file__).parents[3]
_LOOPS: list[asyncio.AbstractEventLoop] = []
SECRET_SIGNATURE = "4dabf18193072939515e22adb298388d"  # how the engine's wire format marks a secret value
# A well-formed SHA-512 crypt of no password that anybody uses: the form is all that is checked.
FAKE_HASH = "$6$rounds=100000$saltsaltsaltsalt$" + "a" * 86


@dataclass
class Recorded:
    """One resource as the engine would have got it: ``request`` holds the options."""

    type: str
    name: str
    inputs: Mapping[str, Any]
    request: Any


@dataclass
class Run:
    """What one run of the program did, in order."""

    resources: list[Recorded] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    exports: dict[str, Any] = field(default_factory=dict)  # what the stack puts out
    outputs: dict[str, Any] = field(default_factory=dict)  # what the component does
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)
    collecting: bool = False  # whether garbage is looked for again behind the program's imports

    def of_type(self, kind: str) -> list[Recorded]:
        return [resource for resource in self.resources if resource.type == kind]

    def one(self, kind: str, name: str) -> Recorded:
        (found,) = [resource for resource in self.of_type(kind) if resource.name == name]
        return found


def is_secret(value: Any) -> bool:
    return isinstance(value, dict) and SECRET_SIGNATURE in value


def plain(value: Any) -> Any:
    """A recorded input without its marks of secrecy."""
    if isinstance(value, dict):
        if SECRET_SIGNATURE in value:
            return plain(value["value"])
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return value


LOOK_UPS: dict[str, dict[str, Any]] = {
    "getContentLibrary": {"id": "library-1"},
    "getContentLibraryItem": {"id": "item-1", "type": "ovf"},
    "getNetwork": {"id": "network-1"},
    "getTagCategory": {"id": "category-9"},
    "getTag": {"id": "tag-9"},
}


class Refused(grpc.RpcError):  # type: ignore[misc]
    """A failed look-up, as the engine reports it."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        return str(self.args[0])


class RecordingMocks(Mocks):
    """Answers as a vCenter that has everything; names in ``missing`` are not there."""

    def __init__(self, run: Run, missing: Mapping[str, str], answers: Mapping[str, dict[str, Any]]) -> None:
        self.run = run
        self.missing = missing
        self.answers = {**LOOK_UPS, **answers}

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        function = args.token.rsplit(":", 1)[-1]
        self.run.calls.append((function, args.args))
        if function in self.missing:
            raise Refused(self.missing[function])
        return dict(self.answers[function]), []


class RecordingMonitor(MockMonitor):
    """Keeps each registration with its options, in the order in which the engine would get them."""

    def __init__(self, run: Run, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.run = run

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        inputs = json_format.MessageToDict(request.object)
        self.run.resources.append(Recorded(request.type, request.name, inputs, request))
        return super().RegisterResource(request)  # type: ignore[no-untyped-call]

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802 - the engine's name
        if "LoadBalancerPair" in request.urn:
            self.run.outputs = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


class Program(Protocol):
    """Runs ``__main__.py`` once."""

    def __call__(
        self,
        *,
        stack: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        missing: Mapping[str, str] | None = None,
        answers: Mapping[str, dict[str, Any]] | None = None,
        clear: tuple[str, ...] = (),
        vsphere: Mapping[str, str] | None = None,
        preview: bool = False,
        site: Site | None = None,
        state: recorded.Recorded | None = None,
        on: Mapping[str, str] | None = None,
    ) -> Run: ...


@pytest.fixture(scope="session")
def signing_key() -> str:
    return keys.signing_key()


@pytest.fixture(scope="session")
def lab_values() -> dict[str, Any]:
    """The ``lbstack:`` keys of the lab's stack file, as data, without what only a lab may have."""
    document = yaml.safe_load((ROOT / "Pulumi.lab.yaml").read_text())
    values = {
        key.removeprefix("lbstack:"): value for key, value in document["config"].items() if key.startswith("lbstack:")
    }
    values.pop("lab", None)
    return values


@pytest.fixture(scope="session")
def one_loop() -> asyncio.AbstractEventLoop:
    """The event loop of all these tests: Pulumi's runtime keeps the first that it has seen.

    It stays open: closing it ends the threads of its executor, and each of them holds a loop that Pulumi's mocks have
    made there and that nobody can close.
    """
    _LOOPS.append(asyncio.new_event_loop())
    # Of a program that fails, futures are left whose exception nobody asks for. Reporting them would format a
    # traceback whenever they are collected, for which CPython parses source: inside another parse that is an error.
    _LOOPS[0].set_exception_handler(lambda _loop, _context: None)
    return _LOOPS[0]


@pytest.fixture(autouse=True)
def event_loop(one_loop: asyncio.AbstractEventLoop) -> None:
    """Pulumi's test runner expects a current loop; other tests' ``asyncio.run`` leave this thread without one."""
    asyncio.set_event_loop(one_loop)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, signing_key: str, lab_values: dict[str, Any]) -> Program:
    """The lab's stack, changed as a test asks, run once through the mocks."""
    monkeypatch.setattr(pin, "instance_uuid", lambda _server, **_: lab_values["placement"]["vcenterUuid"])

    def run_program(
        *,
        stack: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
        missing: Mapping[str, str] | None = None,
        answers: Mapping[str, dict[str, Any]] | None = None,
        clear: tuple[str, ...] = (),
        vsphere: Mapping[str, str] | None = None,
        preview: bool = False,
        site: Site | None = None,
        state: recorded.Recorded | None = None,
        on: Mapping[str, str] | None = None,
    ) -> Run:
        run = Run()
        monkeypatch.setattr("lbstack.deploy.placement.look", lambda *_: site or Site(sites.tree()))
        monkeypatch.setattr(recorded, "recorded", lambda: state or recorded.Recorded())
        monkeypatch.setattr(
            "lbstack.vcenter.hosts.hosts_of", lambda _, uuids: dict.fromkeys(uuids, "") | dict(on or {})
        )
        values = {**lab_values, "rollout": {"gate": False}, **(stack or {})}
        kept = {
            "signingKey": signing_key,
            "rootPasswordHash": FAKE_HASH,
            **{f"statsHash-{user}": FAKE_HASH for user in values["stats"]["users"]},
            **(secrets or {}),
        }
        config = {
            f"lbstack:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
        }
        config |= {f"lbstack:{key}": value for key, value in kept.items()}
        config |= {
            "vsphere:vsphereServer": "vcenter.lab.example",
            "vsphere:user": "lbstack@vsphere.local",
            "vsphere:password": "fake-password",
            **{f"vsphere:{key}": value for key, value in (vsphere or {}).items()},
        }
        secret_keys = {f"lbstack:{key}" for key in kept} | {"vsphere:password"}
        mocks = RecordingMocks(run, missing or {}, answers or {})
        pulumi.runtime.set_mocks(
            mocks, project="lbstack", stack="lab", preview=preview, monitor=RecordingMonitor(run, mocks)
        )
        pulumi.runtime.set_all_config(config, sorted(secret_keys - set(clear)))
        monkeypatch.setattr(gc, "freeze", lambda: None)  # what the program leaves is garbage here
        monkeypatch.setattr(pulumi.log, "info", lambda message, *_, **__: run.infos.append(message))
        monkeypatch.setattr(pulumi.log, "warn", lambda message, *_, **__: run.warnings.append(message))

        exported: dict[str, pulumi.Output[Any]] = {}
        monkeypatch.setattr(pulumi, "export", exported.__setitem__)

        @pulumi.runtime.test  # type: ignore[untyped-decorator]
        def whole_program() -> None:
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
            pulumi.Output.all(**exported).apply(run.exports.update)

        try:
            whole_program()
        finally:
            run.collecting = gc.isenabled()
            gc.enable()  # a program that fails ends with its process, which here goes on
        return run

    return run_program
