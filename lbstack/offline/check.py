"""``lbstack check``: is a stack file right, do the daemons take what it renders to, and does it fit into guestinfo?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from lbstack.config.credentials import new_signing_key
from lbstack.offline import checkers
from lbstack.offline.checkers import NOT_RUN, REFUSED, Verdict
from lbstack.offline.stack import load_offline, missing_secrets
from lbstack.render.pack import GUESTINFO_LIMIT, guestinfo
from lbstack.render.redact import redact
from lbstack.render.unpack import decode


@dataclass(frozen=True)
class Size:
    """How much of the guestinfo limit a node's userdata takes.

    Args:
        node: The node's name.
        encoded: Bytes as encoded.
        encoding: ``base64`` or ``gzip+base64``.
        limit: The most that one guestinfo value may have.
    """

    node: str
    encoded: int
    encoding: str
    limit: int = GUESTINFO_LIMIT


@dataclass(frozen=True)
class Outcome:
    """Everything that ``lbstack check`` found; the stack file itself was accepted.

    Args:
        sizes: One for each node.
        verdicts: One for each node and checker.
        missing_secrets: Secrets that the program will ask for and that the stack file does not hold.
    """

    sizes: list[Size]
    verdicts: list[Verdict]
    missing_secrets: list[str]

    @property
    def ok(self) -> bool:
        """Whether no checker refused anything."""
        return not any(verdict.outcome == REFUSED for verdict in self.verdicts)

    def as_data(self) -> dict[str, object]:
        """The outcome as data."""
        return {"ok": self.ok, "problems": []} | asdict(self)

    def text(self) -> str:
        """The outcome for a person."""
        lines = ["The stack file is right: every rule of the models holds."]
        for size in self.sizes:
            share = 100 * size.encoded / size.limit
            lines.append(f"{size.node}: userdata {size.encoded} of {size.limit} bytes ({size.encoding}, {share:.0f} %)")
        lines += [
            f"{verdict.node}: {verdict.checker} {verdict.outcome} {verdict.path}{_detail(verdict)}"
            for verdict in self.verdicts
        ]
        skipped = sorted({verdict.checker for verdict in self.verdicts if verdict.outcome == NOT_RUN})
        if skipped:
            lines.append(f"NOT CHECKED on this machine: {', '.join(skipped)}.")
        if self.missing_secrets:
            lines.append(
                f"Not in the stack file yet: {', '.join(self.missing_secrets)}; `pulumi up` will ask for them."
            )
        return "\n".join(lines)


def _detail(verdict: Verdict) -> str:
    if not verdict.said:
        return ""
    if verdict.outcome == REFUSED:
        return ":\n" + "\n".join(f"    {line}" for line in verdict.said.splitlines())
    return f" ({verdict.said})"


def check_stack(path: Path) -> Outcome:
    """Check a stack file in every way that this machine can.

    Args:
        path: The stack file.

    Raises:
        ConfigError: The models refuse it, or a node's set is too large.
    """
    # Only to see how long the signed set is: the stack's own key is encrypted.
    stack = load_offline(path, new_signing_key())
    values = {node: guestinfo(stack.config, stack.pair, node, stack.secrets) for node in stack.pair.nodes}
    sizes = [
        Size(node, len(value["guestinfo.userdata"]), value["guestinfo.userdata.encoding"])
        for node, value in values.items()
    ]
    userdata = {
        node: decode(value["guestinfo.userdata"], value["guestinfo.userdata.encoding"]) or ""
        for node, value in values.items()
    }
    verdicts = [
        Verdict(found.node, found.checker, found.path, found.outcome, redact(found.said))
        for found in checkers.check_nodes(stack.config, stack.pair.nodes, userdata)
    ]
    return Outcome(sizes, verdicts, missing_secrets(path, stack.config))
