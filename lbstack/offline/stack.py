"""Load and render a stack without the engine, with placeholders for the encrypted secrets.

The files have every line of the deployed ones, except that lines with the hash of a password differ. They are shown
redacted. The set's hash depends on the secrets, so zeros are shown in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lbstack.config.credentials import ROOT_HASH, SIGNING_KEY, STATS_PREFIX, Secrets
from lbstack.config.models import StackConfig
from lbstack.problems import LbstackError
from lbstack.render.files import HASH_PLACEHOLDER, File, RenderedPair, render_pair
from lbstack.render.redact import redact
from lbstack.stackfile import yamlfile
from lbstack.stackfile.load import NAMESPACE, load_file

# It has the form of a SHA-512 crypt hash, so that the daemons' checkers accept it, but it is the hash of no password.
PLACEHOLDER_HASH = "$6$placeholder$" + "." * 86
NOT_DECRYPTED = "Secrets were not decrypted: password hashes are shown as <redacted>, and the set's hash as zeros."

Nodes = Mapping[str, Mapping[str, File]]


@dataclass(frozen=True)
class Offline:
    """A stack file's configuration and its rendered files.

    Args:
        config: The validated configuration.
        secrets: Placeholders; root's hash is None where the stack file has none.
        pair: The files, rendered with the placeholders.
    """

    config: StackConfig
    secrets: Secrets
    pair: RenderedPair

    @property
    def shown(self) -> Nodes:
        """Every file of every node in a form that may be shown."""
        return {
            node: {
                path: replace(file, content=_neutral(file.content, self.pair.config_hash))
                for path, file in files.items()
            }
            for node, files in self.pair.nodes.items()
        }


def _neutral(content: str, config_hash: str) -> str:
    return redact(content.replace(config_hash, HASH_PLACEHOLDER))


def load_offline(path: Path, signing_key: str = "") -> Offline:
    """Read, check and render a stack file.

    Args:
        path: The stack file.
        signing_key: PEM of the key that replaces the encrypted signing key; only guestinfo needs one.

    Raises:
        ConfigError: There are problems; it holds all problems of the file.
    """
    config = load_file(path)
    root = PLACEHOLDER_HASH if ROOT_HASH in yamlfile.encrypted(path, NAMESPACE) else None
    secrets = Secrets(signing_key, dict.fromkeys(config.stats.users, PLACEHOLDER_HASH), root)
    return Offline(config, secrets, render_pair(config, secrets))


def missing_secrets(path: Path, config: StackConfig) -> list[str]:
    """Return the names of the secrets that the program needs and the stack file does not have.

    Args:
        path: The stack file.
        config: Its configuration.

    Raises:
        ConfigError: The file cannot be read.
    """
    present = yamlfile.encrypted(path, NAMESPACE)
    needed = [SIGNING_KEY, *(f"{STATS_PREFIX}{user}" for user in config.stats.users)]
    if not config.access.ssh_keys:
        needed.append(ROOT_HASH)
    return [name for name in needed if name not in present]


def only_node(nodes: Nodes, name: str | None) -> Nodes:
    """Return all nodes, or only the named one.

    Args:
        nodes: Node name → guest path → file.
        name: The node's name; None for all nodes.

    Raises:
        LbstackError: The stack has no node of this name.
    """
    if name is None:
        return nodes
    if name not in nodes:
        raise LbstackError(f"There is no node {name!r} in this stack. Its nodes are {' and '.join(nodes)}.")
    return {name: nodes[name]}


def listing(nodes: Nodes) -> str:
    """Return every file as text below a line with its name; a file that is equal on several nodes is listed once.

    Args:
        nodes: Node name → guest path → file.
    """
    blocks: dict[tuple[str, str], list[str]] = {}
    for node, files in nodes.items():
        for path, file in files.items():
            head = f"{path}  ({file.owner} {file.mode:04o})"
            blocks.setdefault((head, file.content), []).append(node)
    order = sorted(blocks, key=lambda block: (block[0], blocks[block]))
    return "\n".join(f"==> {', '.join(blocks[block])}: {block[0]}\n{block[1]}" for block in order)
