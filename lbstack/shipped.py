"""Find the files that come with the package and are not Python modules: templates, guest programs, examples.

In a checkout they are where people edit them, at its top. In an installed package they are in ``_shipped``, where the
wheel puts them (``pyproject.toml``, force-include). This is the one place that knows both.
"""

from __future__ import annotations

from pathlib import Path

from lbstack.problems import LbstackError

PACKAGE = Path(__file__).parent
INSTALLED = PACKAGE / "_shipped"
PROOF = "cloudinit"  # what every checkout has at its top


def checkout() -> Path | None:
    """The checkout that this package is part of; None for an installed package."""
    top = PACKAGE.parent
    return top if not INSTALLED.is_dir() and (top / PROOF).is_dir() else None


def path(name: str) -> Path:
    """The path of a file or a directory that comes with the package.

    Args:
        name: As it is called at the top of a checkout, such as ``cloudinit`` or ``.ci/publish``.

    Raises:
        LbstackError: The package was installed without it.
    """
    found = (checkout() or INSTALLED) / name
    if not found.exists():
        raise LbstackError(
            f"This installation of lbstack is incomplete: {found} is missing. Install lbstack again, from a wheel that "
            "`uv build` made or from its Git address."
        )
    return found
