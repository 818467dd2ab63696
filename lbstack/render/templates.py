"""Fill the templates of ``cloudinit/``: an unknown name in a template is an error.

Compiled templates are stored in ``cloudinit/__pycache__`` when Python stores compiled modules too. Nothing else is
written.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

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


class _CompiledTemplates(FileSystemBytecodeCache):
    """Stores compiled templates like compiled modules: compiling them took as long as filling them five times.

    Each has a digest of everything that it was compiled from, so an outdated one is never used.
    """

    def get_source_checksum(self, source: str) -> str:
        """Return the digest of a template and of what compiles it; Jinja2 itself checks the version of Python."""
        made_from = (jinja2.__version__, repr(dict(OPTIONS)), source)
        return hashlib.sha256("\0".join(made_from).encode()).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load a compiled template if there is an intact one; otherwise the template is compiled."""
        try:
            super().load_bytecode(bucket)
        except Exception:  # noqa: BLE001 - it is documented nowhere what reading a damaged file raises
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store a compiled template; a checkout that is not writable works without."""
        with suppress(OSError):
            Path(self.directory).mkdir(exist_ok=True)
            super().dump_bytecode(bucket)


@cache
def environment() -> Environment:
    """Return the template engine; it is created once."""
    stored = not (sys.dont_write_bytecode or sys.pycache_prefix)
    return Environment(  # noqa: S701 - see OPTIONS
        bytecode_cache=_CompiledTemplates(str(DIRECTORY / "__pycache__")) if stored else None,
        loader=FileSystemLoader(DIRECTORY),
        **OPTIONS,
    )


def fill(template: str, values: Mapping[str, object]) -> str:
    """Fill a template.

    Args:
        template: Its file name in ``cloudinit/``, without ``.j2``.
        values: Name → value; the template may use no other name.

    Raises:
        jinja2.UndefinedError: The template uses a name that is not in the values.
    """
    return environment().get_template(f"{template}.j2").render(values)
