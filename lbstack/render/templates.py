"""Fill the templates of ``cloudinit/``: an unknown name in a template is an error. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lbstack import shipped

DIRECTORY = shipped.path("cloudinit")

OPTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "undefined": StrictUndefined,
        "trim_blocks": True,
        "lstrip_blocks": True,
        "keep_trailing_newline": True,
        "autoescape": False,  # configuration files, not HTML; config/fields.py has checked the form of every value
    }
)
"""Options of the template engine: an unknown name is an error, blocks leave no blank lines."""


@cache
def environment() -> Environment:
    """Return the template engine; it is created once."""
    return Environment(loader=FileSystemLoader(DIRECTORY), **OPTIONS)  # noqa: S701 - see OPTIONS


def fill(template: str, values: Mapping[str, object]) -> str:
    """Fill a template.

    Args:
        template: Its file name in ``cloudinit/``, without ``.j2``.
        values: Name → value; the template may use no other name.

    Raises:
        jinja2.UndefinedError: The template uses a name that is not in the values.
    """
    return environment().get_template(f"{template}.j2").render(values)
