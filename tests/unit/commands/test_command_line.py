"""The command line as a person meets it: a process with its exit code, its output and its problems_of."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from passlib.hash import sha512_crypt  # type: ignore[import-untyped]

from lbstack import cli
from lbstack.commands.files import SCHEMA_FILE
from lbstack.commands.secrets import HASH_ROUNDS, MAX_PASSWORD_BYTES
from lbstack.config.credentials import MAX_STATS_ROUNDS, NEW_KEY_BITS
from lbstack.stackfile import schema
from tests.unit.config.support import ROOT, problems_of, valid_configuration, valid_secrets

PASSWORD = "correct horse battery staple ñ"
Run = Callable[..., "Done"]
PATIENCE_S = 30.0  # a loaded machine; nothing here takes a second


def process(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the command as a process of its own, in which warnings are errors."""
    command = [sys.executable, "-W", "error", "-m", "lbstack", *arguments]
    return subprocess.run(command, input=given, capture_output=True, timeout=PATIENCE_S, check=False, cwd=ROOT)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def lbstack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The command within this process, which is faster."""

    def run(*arguments: str, given: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = cli.main(arguments)
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return run


def typed(*lines: str) -> tuple[int, str]:
    """Run hash-password at a terminal and type these lines, each when it is asked for.

    Returns:
        The exit code and everything that the terminal showed.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", "lbstack", "hash-password"])
    shown, pending, deadline = b"", list(lines), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux: the other end was closed
            break
        if not part:
            break
        shown += part
        if pending and shown.rstrip().endswith(b":") and shown.count(b":") == len(lines) - len(pending) + 1:
            os.write(terminal, f"{pending.pop(0)}\n".encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_a_piped_password_becomes_a_hash_and_nothing_else_is_printed() -> None:
    done = process("hash-password", given=f"{PASSWORD}\n".encode())
    assert (done.returncode, done.stderr) == (0, b"")
    (line,) = done.stdout.decode().splitlines()
    assert sha512_crypt.verify(PASSWORD, line)
    assert problems_of(valid_configuration(), valid_secrets() | {"statsHash-admin": line}) == []


def test_a_password_typed_twice_becomes_a_hash_and_is_never_shown() -> None:
    code, shown = typed(PASSWORD, PASSWORD)
    assert code == 0
    assert "battery" not in shown
    assert sha512_crypt.verify(PASSWORD, shown.split()[-1])


def test_two_different_passwords_are_refused() -> None:
    code, shown = typed(PASSWORD, f"{PASSWORD}x")
    assert code == 2
    assert "The two passwords differ" in shown
    assert "$6$" not in shown
    assert "battery" not in shown


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "The password is empty"),
        (b"\n", "The password is empty"),
        (b"\r\n", "The password is empty"),
        (b"first\nsecond\n", "more than one line"),
        (b"a\0b\n", "NUL character"),
        (b"x" * (MAX_PASSWORD_BYTES + 1), "more than 4096 bytes"),
    ],
    ids=["nothing", "an empty line", "an empty line of Windows", "two lines", "NUL", "too long"],
)
def test_what_is_no_password_is_refused_unseen(lbstack: Run, given: bytes, message: str) -> None:
    done = lbstack("hash-password", given=given)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "second" not in done.stderr


@pytest.mark.parametrize("password", [b"p\xe4ssword", b"x" * MAX_PASSWORD_BYTES, b" blanks stay "], ids=len)
def test_a_password_is_bytes(lbstack: Run, password: bytes) -> None:
    done = lbstack("hash-password", given=password + b"\r\n")
    assert sha512_crypt.verify(password, done.stdout.strip())


def test_a_closed_standard_input_is_a_message() -> None:
    script = f'exec "{sys.executable}" -m lbstack hash-password <&-'
    done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=PATIENCE_S, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert b"Standard input is closed" in done.stderr


def test_the_rounds_are_no_burden_for_haproxy() -> None:
    assert HASH_ROUNDS <= MAX_STATS_ROUNDS


def test_a_signing_key_is_one_that_the_configuration_takes(lbstack: Run) -> None:
    done = lbstack("signing-key")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("-----BEGIN PRIVATE KEY-----\n")
    key = load_pem_private_key(done.stdout.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    assert key.key_size == NEW_KEY_BITS
    assert problems_of(valid_configuration(), valid_secrets() | {"signingKey": done.stdout}) == []


def test_the_schema_is_printed_written_and_compared(lbstack: Run, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    assert lbstack("schema").stdout == schema.text()
    assert lbstack("schema", "--write", "--file", str(file)) == Done(0, "", "")
    assert file.read_text() == schema.text()
    assert lbstack("schema", "--check", "--file", str(file)) == Done(0, "", "")
    file.write_text("{}")
    old = lbstack("schema", "--check", "--file", str(file))
    assert old.returncode == 2
    assert "Run `lbstack schema --write`." in old.stderr
    assert SCHEMA_FILE.name == schema.FILE_NAME


def test_a_schema_that_cannot_be_read_or_written_is_a_message(lbstack: Run, tmp_path: Path) -> None:
    for action in ("--check", "--write"):
        done = lbstack("schema", action, "--file", str(tmp_path / "none" / "schema.json"))
        assert done.returncode == 2
        assert "schema.json" in done.stderr


def test_contradictory_options_are_refused(lbstack: Run) -> None:
    done = lbstack("schema", "--check", "--write")
    assert (done.returncode, done.stdout) == (2, "")
    assert "exclude each other" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["no-such-command"], ["schema", "--no-such-option"], ["hash-password", "secret"]]
)
def test_a_wrong_use_ends_with_exit_code_2(lbstack: Run, arguments: list[str]) -> None:
    done = lbstack(*arguments)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def test_a_wrong_use_of_the_process_shows_no_traceback() -> None:
    done = process("hash-password", "secret")
    assert done.returncode == 2
    assert b"Usage" in done.stderr
    assert b"Traceback" not in done.stderr


def test_help_lists_the_commands(lbstack: Run) -> None:
    done = lbstack("--help")
    assert done.returncode == 0
    for command in ("hash-password", "signing-key", "schema"):
        assert command in done.stdout


@pytest.mark.parametrize("missing", ["typer", "passlib"])
def test_without_the_extra_a_message_shows_what_to_install(missing: str) -> None:
    """The library is hidden from the import system before the command starts."""
    script = (
        f"import sys, runpy\nsys.modules[{missing!r}] = None\n"
        "sys.argv = ['lbstack', 'hash-password']\nrunpy.run_module('lbstack', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"x\n", capture_output=True, timeout=PATIENCE_S, check=False, cwd=ROOT
    )
    message = done.stderr.decode()
    assert done.returncode == 2
    assert f"needs {missing}" in message
    assert "uv sync --extra cli" in message
    assert "Traceback" not in message


def test_another_missing_module_is_a_defect_and_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_arguments: list[str]) -> int:
        raise ModuleNotFoundError("no yaml", name="yaml")

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(ModuleNotFoundError):
        cli.main([])


def test_an_interrupted_command_ends_with_the_shells_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    assert cli.main([]) == 130
    assert capsys.readouterr().err == "\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f'"{sys.executable}" -m lbstack schema | head -c 10'
    done = subprocess.run(["sh", "-c", script], capture_output=True, timeout=PATIENCE_S, check=False, cwd=ROOT)
    assert len(done.stdout) == 10
    assert done.stderr == b""


def test_a_terminal_that_is_gone_ends_the_command_without_a_traceback_and_with_its_exit_code() -> None:
    """As when an ssh session drops: writing fails, and there is nobody to tell."""
    for arguments, code in ((["schema"], 2), (["check", "there-is-no-such-stack"], 2)):
        master, slave = os.openpty()
        os.close(master)
        command = [sys.executable, "-m", "lbstack", *arguments]
        try:
            done = subprocess.run(command, stdout=slave, stderr=slave, timeout=PATIENCE_S, check=False, cwd=ROOT)
        finally:
            os.close(slave)
        assert done.returncode == code
