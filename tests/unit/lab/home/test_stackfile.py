"""The lab's copy of the stack file follows the committed one and keeps what only the lab knows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lab.errors import LabError
from lab.home import stackfile, state
from lab.home.credentials import Credentials, credentials_of
from lab.home.state import Paths, Record

SECRET_KEYS = [
    "vsphere:password",
    "lbstack:signingKey",
    "lbstack:rootPasswordHash",
    "lbstack:statsHash-admin",
    "lbstack:statsHash-stats",
]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A prepared lab."""
    paths = Paths(tmp_path / "lab")
    state.prepare(paths)
    return paths


@pytest.fixture
def credentials(paths: Paths) -> Credentials:
    """Its credentials."""
    credentials = credentials_of(paths)
    credentials.ensure(["admin", "stats"])
    return credentials


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A committed stack file that a test may change: this project's own."""
    source = tmp_path / "Pulumi.lab.yaml"
    source.write_text(stackfile.SOURCE.read_text())
    return source


def config(paths: Paths) -> dict[str, object]:
    """The lab's copy."""
    return dict(stackfile.read(paths.stack_file)["config"])


def test_the_copy_knows_address_and_key_and_no_secret_in_clear(
    paths: Paths, credentials: Credentials, source: Path
) -> None:
    before = source.read_bytes()
    stackfile.write(paths, Record(port=4711), credentials, source)
    assert list(stackfile.secret_values(config(paths), credentials)) == SECRET_KEYS
    assert config(paths)["vsphere:vsphereServer"] == "127.0.0.1:4711"
    assert config(paths)["lbstack:access"] == {"sshKeys": [credentials.ssh_public_key]}
    assert source.read_bytes() == before
    text = paths.stack_file.read_text()
    assert not [value for value in stackfile.secret_values(config(paths), credentials).values() if value in text]


def test_a_change_of_the_committed_file_arrives_and_secrets_stay(
    paths: Paths, credentials: Credentials, source: Path
) -> None:
    record = Record(port=4711)
    stackfile.write(paths, record, credentials, source)
    copy = yaml.safe_load(paths.stack_file.read_text())
    copy["encryptionsalt"] = "v1:salt"
    copy["config"] |= {key: {"secure": f"v1:{key}"} for key in SECRET_KEYS}
    paths.stack_file.write_text(yaml.safe_dump(copy))
    source.write_text(source.read_text().replace("routerId: 11", "routerId: 12"))
    stackfile.write(paths, record, credentials, source)
    assert config(paths)["lbstack:vrrp"] == {"routerId": 12}
    assert config(paths)["lbstack:signingKey"] == {"secure": "v1:lbstack:signingKey"}
    assert stackfile.read(paths.stack_file)["encryptionsalt"] == "v1:salt"


def test_an_edit_of_the_copy_stays_while_the_committed_file_does(
    paths: Paths, credentials: Credentials, source: Path
) -> None:
    record = Record(port=4711)
    stackfile.write(paths, record, credentials, source)
    copy = yaml.safe_load(paths.stack_file.read_text())
    copy["config"]["lbstack:vrrp"] = {"routerId": 99}
    paths.stack_file.write_text(yaml.safe_dump(copy))
    record.port = 4712
    stackfile.write(paths, record, credentials, source)
    assert config(paths)["lbstack:vrrp"] == {"routerId": 99}
    assert config(paths)["vsphere:vsphereServer"] == "127.0.0.1:4712"


def test_a_password_in_clear_is_not_taken_for_a_secret() -> None:
    assert not stackfile.is_secret("changeme")
    assert not stackfile.is_secret({"secure": "v1:x", "more": 1})
    assert stackfile.is_secret({"secure": "v1:x"})


@pytest.mark.parametrize("text", ["", "config: []", "name: x", "{", "- 1"])
def test_a_broken_stack_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "Pulumi.lab.yaml"
    file.write_text(text)
    with pytest.raises(LabError, match=str(file)):
        stackfile.read(file)


def test_the_port_is_that_of_the_committed_file(source: Path) -> None:
    assert stackfile.wanted_port(source) == 8989
    source.write_text("config:\n  vsphere:vsphereServer: vcenter.lab.example\n")
    assert stackfile.wanted_port(source) == stackfile.DEFAULT_PORT


def test_the_salt_is_taken_over_once(paths: Paths, credentials: Credentials, source: Path, tmp_path: Path) -> None:
    stackfile.write(paths, Record(port=4711), credentials, source)
    for salt in ("v1:first", "v1:second"):
        made = tmp_path / "made.yaml"
        made.write_text(f"encryptionsalt: {salt}\n")
        stackfile.adopt_salt(paths, made)
    assert stackfile.read(paths.stack_file)["encryptionsalt"] == "v1:first"


def test_the_committed_stack_file_holds_neither_salt_nor_secret() -> None:
    document = stackfile.read(stackfile.SOURCE)
    assert set(document) == {"config"}
    assert not [key for key, value in document["config"].items() if stackfile.is_secret(value)]
