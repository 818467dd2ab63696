"""Where a new repository installs lbstack from: a wheel, a Git address, or this checkout."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lbstack import shipped
from lbstack.problems import LbstackError

NAME = "lbstack"
WHEEL = re.compile(r"lbstack-[A-Za-z0-9.+!]+-py3-none-any\.whl")
WHEELS = "wheels"  # directory in the new repository, so that every machine that clones it has the wheel
GIT = "git+"
HOST = r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
ADDRESS = re.compile(
    rf"git\+(?P<url>(?:https://{HOST}|ssh://(?:[A-Za-z0-9._-]+@)?{HOST}|file://)/[A-Za-z0-9._~%+/-]+)"
    r"(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/+-]*))?"
)
"""Positive list: every character of it can stand in TOML and in a Git command as it is."""
LOGIN = re.compile(r"git\+(?:https?://[^/]*@|[a-z]+://[^/@]*:[^/@]*@)")
"""A user name is part of an SSH address (``ssh://git@host``); in HTTPS it would be a token."""
REMEDY = (
    "Give `--from FILE.whl` (`uv build` in a checkout makes one) or `--from git+https://HOST/PATH@REVISION` (REVISION: "
    "a tag or a commit)."
)


@dataclass(frozen=True)
class Source:
    """Where lbstack is installed from.

    Args:
        line: The value of ``lbstack`` in ``[tool.uv.sources]``, as TOML.
        wheel: The wheel that is copied into the repository; None where there is none.
        note: What the user should know about this source; empty where there is nothing.
    """

    line: str
    wheel: Path | None = None
    note: str = ""


def version() -> str:
    """The version of this package."""
    try:
        return distribution(NAME).version
    except PackageNotFoundError:
        raise LbstackError("lbstack is not installed here, so its version is not known. Install it first.") from None


def named(text: str) -> Source:
    """The source that a user names.

    Args:
        text: The path of a wheel, or ``git+URL`` with an optional ``@REVISION``.

    Raises:
        LbstackError: It is neither, or the wheel does not exist or is of another version.
    """
    if text.startswith(GIT):
        return _git(text)
    wheel = Path(text)
    if not WHEEL.fullmatch(wheel.name):
        raise LbstackError(f"--from: {text} is neither a wheel of lbstack nor a Git address. {REMEDY}")
    if not wheel.is_file():
        raise LbstackError(f"--from: there is no file {text}. {REMEDY}")
    if wheel.name.split("-")[1] != version():
        raise LbstackError(
            f"--from: {wheel.name} is not version {version()}, which runs here and writes the repository. Use the "
            "`lbstack init` of that wheel, or give a wheel of this version."
        )
    _require_wheel(wheel)
    return _wheel(wheel)


def _require_wheel(wheel: Path) -> None:
    """Refuse a file that only has the name of a wheel."""
    wanted = f"lbstack-{version()}.dist-info/METADATA"
    try:
        with zipfile.ZipFile(wheel) as archive:
            complete = wanted in archive.namelist()
    except zipfile.BadZipFile:
        complete = False
    except OSError as error:
        raise LbstackError(f"--from: {wheel} cannot be read ({error.strerror}). {REMEDY}") from None
    if not complete:
        raise LbstackError(f"--from: {wheel} is not a wheel of lbstack: it has no {wanted}. {REMEDY}")


def _wheel(wheel: Path) -> Source:
    return Source(f'{{ path = "{WHEELS}/{wheel.name}" }}', wheel.absolute())


def _git(text: str) -> Source:
    """The source of a Git address. A text that is refused is not repeated: a token may be in it."""
    found = ADDRESS.fullmatch(text)
    if LOGIN.match(text):
        raise LbstackError("--from: the Git address has a login in it, which would be in the repository. Remove it.")
    if not found:
        raise LbstackError(f"--from: this is not a Git address as lbstack can write it. {REMEDY}")
    revision = found["revision"]
    at = f', rev = "{revision}"' if revision else ""
    note = "" if revision else "It follows the default branch; name a tag or a commit with @REVISION to pin it."
    return Source(f'{{ git = "{found["url"]}"{at} }}', note=note)


def own() -> Source:
    """The source that this package itself was installed from.

    Raises:
        LbstackError: It is not known, or the wheel is gone.
    """
    checkout = shipped.checkout()
    if checkout is not None:
        return Source(
            f"{{ path = {json.dumps(str(checkout), ensure_ascii=False)} }}",
            note=f"It installs lbstack from the checkout {checkout}, which other machines do not have. {REMEDY}",
        )
    try:
        origin = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
        url = str(origin.get("url", ""))
        commit = str(origin["vcs_info"]["commit_id"]) if "vcs_info" in origin else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        url = commit = ""
    if commit:
        return _git(f"{GIT}{url}@{commit}")
    parts = urlsplit(url)
    wheel = Path(unquote(parts.path))
    if parts.scheme == "file" and WHEEL.fullmatch(wheel.name) and wheel.is_file():
        return _wheel(wheel)
    raise LbstackError(f"It is not known where this lbstack was installed from. {REMEDY}")
