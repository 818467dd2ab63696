"""A stack without the engine: read from its file and rendered with placeholders where its secrets stand encrypted.

What comes out has the shape of what a node gets, and every line but those with a password's hash is the same. It is
shown redacted; the set's hash, which depends on the secrets, is shown as zeros.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lbstack.config.credentials import ROOT_HASH, STATS_PREFIX, Secrets
from lbstack.config.models import StackConfig
from lbstack.problems import LbstackError
from lbstack.render.files import HASH_PLACEHOLDER, File, RenderedPair, render_pair
from lbstack.render.redact import redact
from lbstack.stackfile import yamlfile
from lbstack.stackfile.load import NAMESPACE, load_file

# The form of a SHA-512 crypt hash, so that the daemons' checkers take it. It is the hash of nothing.
PLACEHOLDER_HASH = "$6$placeholder$" + "." * 86
MADE_BY_RENDER = ".lbstack-render"  # stands in a directory that `render --out` may empty
NOT_DECRYPTED = (
    "Secrets were not decrypted: placeholders stand for the password hashes, which are shown as <redacted>, "
    "and zeros for the set's hash."
)

Nodes = Mapping[str, Mapping[str, File]]


@dataclass(frozen=True)
class Offline:
    """A stack file's configuration and what it renders to.

    Args:
        config: The validated configuration.
        secrets: Placeholders, except that root's hash is None where the stack file has none.
        pair: The rendered files, placeholders in them.
    """

    config: StackConfig
    secrets: Secrets
    pair: RenderedPair

    @property
    def shown(self) -> Nodes:
        """What may be shown of every file of every node."""
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
        signing_key: Whatever is to stand for the signing key; only the guestinfo needs one.

    Raises:
        ConfigError: With every problem of the file.
    """
    config = load_file(path)
    root = PLACEHOLDER_HASH if ROOT_HASH in yamlfile.encrypted(path, NAMESPACE) else None
    secrets = Secrets(signing_key, dict.fromkeys(config.stats.users, PLACEHOLDER_HASH), root)
    return Offline(config, secrets, render_pair(config, secrets))


def missing_secrets(path: Path, config: StackConfig) -> list[str]:
    """The names of the secrets that the program will ask for and that the stack file does not hold."""
    held = yamlfile.encrypted(path, NAMESPACE)
    needed = ["signingKey", *(f"{STATS_PREFIX}{user}" for user in config.stats.users)]
    if not config.access.ssh_keys:
        needed.append(ROOT_HASH)
    return [name for name in needed if name not in held]


def only_node(nodes: Nodes, name: str | None) -> Nodes:
    """All nodes, or the one with a name.

    Raises:
        LbstackError: There is no such node.
    """
    if name is None:
        return nodes
    if name not in nodes:
        raise LbstackError(f"There is no node {name!r} in this stack. Its nodes are {' and '.join(nodes)}.")
    return {name: nodes[name]}


def listing(nodes: Nodes) -> str:
    """Every file as text, a file that is the same on all the nodes once, each below a line with its name."""
    blocks: dict[tuple[str, str], list[str]] = {}
    for node, files in nodes.items():
        for path, file in files.items():
            head = f"{path}  ({file.owner} {file.mode:04o})"
            blocks.setdefault((head, file.content), []).append(node)
    order = sorted(blocks, key=lambda block: (block[0], blocks[block]))
    return "\n".join(f"==> {', '.join(blocks[block])}: {block[0]}\n{block[1]}" for block in order)


def write_files(nodes: Nodes, directory: Path) -> int:
    """Write every file below ``directory/<node>/``; modes and owners stand in ``<node>.files``.

    Args:
        nodes: What to write.
        directory: A new or empty directory, or one that this function made; what it wrote before is removed.

    Returns:
        How many files were written.

    Raises:
        LbstackError: The directory holds something else, or cannot be written.
    """
    try:
        if directory.exists() and any(directory.iterdir()):
            if not (directory / MADE_BY_RENDER).is_file():
                raise LbstackError(
                    f"{directory} is not empty and was not made by `lbstack render`. Nothing was written; "
                    "give a new directory."
                )
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MADE_BY_RENDER).touch()
        count = 0
        for node, files in nodes.items():
            lines = [f"{file.mode:04o} {file.owner} {path}\n" for path, file in files.items()]
            (directory / f"{node}.files").write_text("".join(lines), encoding="utf-8")
            for path, file in files.items():
                target = directory / node / path.removeprefix("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(file.content, encoding="utf-8")
                count += 1
    except OSError as error:
        reason = f"{error.strerror} ({error.filename})"
        raise LbstackError(f"The files could not be written to {directory}: {reason}. Give another --out.") from error
    return count
