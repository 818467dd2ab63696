"""See whether guestinfo fits: into one value, and into the VM's configuration file. What does not is refused.

VMware Tools would truncate it silently.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from lbstack.problems import ConfigError, Problem
from lbstack.render import keys
from lbstack.render.deflate import gzip
from lbstack.render.files import File

GUESTINFO_LIMIT = keys.VALUE_LIMIT

LARGEST_NAMED = 5
"""Number of files that the message about a set's size names."""


def size_of(values: Mapping[str, str]) -> int:
    """Return how many bytes guestinfo takes in the VM's configuration file."""
    return sum(len(key) + len(value) + keys.LINE for key, value in values.items())


def _largest(files: Mapping[str, File]) -> str:
    sizes = sorted(((len(gzip(file.content.encode())), path) for path, file in files.items()), reverse=True)
    return ", ".join(f"{path} {length} bytes" for length, path in sizes[:LARGEST_NAMED])


REMEDY = "Use fewer services or servers in one pair: move some to a second stack."


def too_large(node_name: str, size: int, files: Mapping[str, File]) -> ConfigError:
    """Return the problem of a value over its limit."""
    what = (
        f"makes the set of node {node_name} {size} bytes, compressed and encoded, over the limit of "
        f"{GUESTINFO_LIMIT} for one guestinfo value; the largest files, compressed: {_largest(files)}"
    )
    return ConfigError([Problem("services", what, REMEDY)])


def too_large_in_all(node_name: str, size: int, files: Mapping[str, File]) -> ConfigError:
    """Return the problem of all values together over the limit of the VM's configuration file."""
    what = (
        f"makes the guestinfo of node {node_name} {size} bytes, over the limit of {keys.VMX_LIMIT - keys.VMX_OWN}: a "
        f"VM's configuration file has at most {keys.VMX_LIMIT} bytes, of which {keys.VMX_OWN} are left to its own "
        f"lines; the largest files, compressed: {_largest(files)}"
    )
    return ConfigError([Problem("services", what, REMEDY)])


def encode(node_name: str, parts: tuple[bytes, ...], files: Mapping[str, File]) -> tuple[str, str]:
    """Encode userdata with the simplest encoding that fits into a guestinfo value.

    Args:
        node_name: The node, for the error.
        parts: The parts of the userdata, each compressed as a block of its own.
        files: The node's files, guest path → file, for the error.

    Returns:
        The value and its encoding: ``base64`` or ``gzip+base64``.

    Raises:
        ConfigError: The userdata does not fit, even compressed.
    """
    plain = base64.b64encode(b"".join(parts)).decode()
    if len(plain) <= GUESTINFO_LIMIT:
        return plain, "base64"
    packed = base64.b64encode(gzip(*parts)).decode()
    if len(packed) <= GUESTINFO_LIMIT:
        return packed, "gzip+base64"
    raise too_large(node_name, len(packed), files)
