"""A pair of guests that booted from what the product renders, in a network of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from passlib.hash import sha512_crypt  # type: ignore[import-untyped]

from lab import backends, machines
from lab.errors import LabError
from lab.guest_image import ensure_layers
from lab.machines import Machine
from lab.network import Network, lab_id
from lab.request import Answer, request
from lab.state import CHECKOUT
from lab.topology import Topology
from lab.waiting import until
from lab.wire import Record
from lbstack import stackfile
from lbstack.config import StackConfig
from lbstack.render import RenderedPair, render_pair
from lbstack.userdata import guestinfo
from tests.goldens.cases import signing_key
from tests.tiers import refuse

IMAGE = "bookworm"
RELEASE = "3.0"  # the version of keepalived and of cloud-init that the image has
SERVING_S = 60.0
FILES_PER_CONNECTION = 2
SPARE_FILES = 200  # listeners, checks, sockets


@dataclass(frozen=True)
class BootedPair:
    """Two guests that serve.

    Args:
        network: The lab's network with its back-end servers.
        machines: The guests by name, the preferred master first.
        config: What they were rendered from.
        rendered: Their files.
        wire: What the switch has seen since before they were powered on.
        state: The lab's directory.
    """

    network: Network
    machines: dict[str, Machine]
    config: StackConfig
    rendered: RenderedPair
    wire: Any
    state: Path

    @property
    def vips(self) -> list[IPv4Address]:
        """Every VIP."""
        return [service.vip for service in self.config.services.values()] + [self.config.stats.vip]

    def record(self) -> Record:
        """The wire until now."""
        record: Record = self.wire.record()
        return record

    def holder(self, vip: IPv4Address) -> str | None:
        """The one node that has a VIP on its interface; None while none or both have it."""
        found = [
            name
            for name, machine in self.machines.items()
            if machine.running and f" {vip}/" in machine.run("ip", "-4", "-o", "address").stdout
        ]
        return found[0] if len(found) == 1 else None

    def get(self, address: IPv4Address, port: int, path: str = "/", *, limit_s: float = 3.0) -> Answer:
        """A plain HTTP request from the client."""
        return request(self.network.namespace("cl"), address, port=port, path=path, limit_s=limit_s)

    def serves(self) -> bool:
        """Whether every service's VIP answers the client."""
        return all(self.get(service.vip, 80).status // 100 == 3 for service in self.config.services.values())


def configuration(directory: Path) -> tuple[StackConfig, stackfile.Secrets, dict[str, Any]]:
    """The lab's stack, for the image's release and with a key to log in by; `maxconn` as this machine allows."""
    document = yaml.safe_load((CHECKOUT / "Pulumi.lab.yaml").read_text())
    raw: Any = stackfile.read_file(CHECKOUT / "Pulumi.lab.yaml")
    raw["image"]["release"] = RELEASE
    most = (machines.open_files() - SPARE_FILES) // FILES_PER_CONNECTION
    raw["haproxy"] = {"maxconn": min(most, 20_000)}
    key = make_key(directory)
    raw["access"] = {"sshKeys": [key]}
    hashed = sha512_crypt.using(rounds=1000).hash("only for this test")
    secrets = {"signingKey": signing_key()} | {f"statsHash-{user}": hashed for user in raw["stats"]["users"]}
    config, checked = stackfile.load(raw, secrets)
    return config, checked, document["config"]


def make_key(directory: Path) -> str:
    """A new SSH key; its private half lies in the directory."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = directory / "id_ed25519"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    private.chmod(0o600)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " test"


@pytest.fixture(scope="session")
def booted() -> Iterator[BootedPair]:
    """Two guests, powered on at the same moment; the watch on the wire began before them."""
    problems = list(machines.preflight())
    if problems:
        refuse("; ".join(problems))
    state = Path(tempfile.mkdtemp(prefix="lbs-"))
    config, secrets, values = configuration(state)
    rendered = render_pair(config, secrets)
    network = Network(lab_id(state), Topology.of(values))
    try:
        try:
            lower = ensure_layers(IMAGE, print)
        except LabError as error:
            refuse(str(error))
        network.up()
        with network.capture() as wire:
            backends.start(network, state, state, tied=True)
            nodes = machines.machines(network, state, lower)
            for name, machine in nodes.items():
                machine.give(guestinfo(config, rendered, name, secrets))
            for machine in nodes.values():
                machine.power_on()
            pair = BootedPair(network, nodes, config, rendered, wire, state)
            yield pair
    finally:
        machines.end_all(network)
        backends.stop(state)
        network.down()
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def pair(booted: BootedPair) -> BootedPair:
    """The pair, both nodes up and serving; a test may do to it what it likes."""
    for machine in booted.machines.values():
        if not machine.running:
            machine.power_on()
        machine.thaw()
    until(booted.serves, SERVING_S, "both services to answer through their VIPs")
    until(
        lambda: all(
            "apply ok" in machine.run("cat", "/run/lbstack/state.map").stdout for machine in booted.machines.values()
        ),
        SERVING_S,
        "both nodes to have taken their set in",
    )
    return booted
