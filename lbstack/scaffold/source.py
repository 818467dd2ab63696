"""Where a new repository installs lbstack from: a wheel, a Git address, or this checkout."""

from __future__ import annotations

import json
import re
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
GIT_SCHEMES = ("https", "ssh", "file")
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
    return _wheel(wheel)


def _wheel(wheel: Path) -> Source:
    return Source(f'{{ path = "{WHEELS}/{wheel.name}" }}', wheel.absolute())


def _git(text: str) -> Source:
    url, _, revision = text.removeprefix(GIT).partition("@") if "://" not in text else _split(text.removeprefix(GIT))
    parts = urlsplit(url)
    if parts.scheme not in GIT_SCHEMES or not parts.path.strip("/") or re.search(r'["\\\s]', text):
        raise LbstackError(f"--from: {text} is no Git address. {REMEDY}")
    if parts.password:
        raise LbstackError(
            "--from: the Git address has a password in it, which would stand in the repository. Remove it."
        )
    at = f', rev = "{revision}"' if revision else ""
    note = "" if revision else "It follows the default branch; name a tag or a commit with @REVISION to pin it."
    return Source(f'{{ git = "{url}"{at} }}', note=note)


def _split(url: str) -> tuple[str, str, str]:
    """URL, separator and revision: an ``@`` counts only in the path, not in ``ssh://git@host``."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    path, at, revision = path.partition("@")
    return f"{scheme}://{host}{slash}{path}", at, revision


def own() -> Source:
    """The source that this package itself was installed from.

    Raises:
        LbstackError: It is not known, or the wheel is gone.
    """
    checkout = shipped.checkout()
    if checkout is not None:
        return Source(
            f'{{ path = "{checkout}" }}',
            note=f"It installs lbstack from the checkout {checkout}, which other machines do not have. {REMEDY}",
        )
    origin = json.loads(distribution(NAME).read_text("direct_url.json") or "{}")
    url = str(origin.get("url", ""))
    if "vcs_info" in origin:
        return _git(f"{GIT}{url}@{origin['vcs_info']['commit_id']}")
    parts = urlsplit(url)
    wheel = Path(unquote(parts.path))
    if parts.scheme == "file" and WHEEL.fullmatch(wheel.name) and wheel.is_file():
        return _wheel(wheel)
    raise LbstackError(f"It is not known where this lbstack was installed from. {REMEDY}")
