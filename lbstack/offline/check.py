"""Run ``lbstack check``: the rules, the checks of the daemons and of the applier, and the limit of guestinfo."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lbstack.config.advice import advice
from lbstack.config.credentials import new_signing_key
from lbstack.offline import checkers, guest
from lbstack.offline.checkers import NOT_RUN, REFUSED, Verdict
from lbstack.offline.stack import load_offline, missing_secrets
from lbstack.problems import Problem
from lbstack.render import keys
from lbstack.render.cloudconfig import Form
from lbstack.render.fitting import GUESTINFO_LIMIT, size_of
from lbstack.render.pack import Packed, pack
from lbstack.render.redact import redact

ENCODING = f"{keys.USERDATA}{keys.ENCODING}"


@dataclass(frozen=True)
class Size:
    """The size of a node's guestinfo.

    Args:
        node: The node's name.
        encoded: Encoded size of its userdata in bytes.
        encoding: ``base64`` or ``gzip+base64``.
        limit: The most bytes of one guestinfo value.
        parts: Name of a part of the set → its size in bytes, encoded; it has as many values as it needs.
        whole: Size of all keys and values in bytes.
        whole_limit: The most bytes of them.
        staged: Size of userdata with the whole set, which a pair of an earlier release needs once; None: it does not
            fit.
    """

    node: str
    encoded: int
    encoding: str
    limit: int = GUESTINFO_LIMIT
    parts: dict[str, int] = field(default_factory=dict)
    whole: int = 0
    whole_limit: int = keys.VMX_LIMIT - keys.VMX_OWN
    staged: int | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of ``lbstack check`` for a valid stack file.

    Args:
        sizes: One for each node.
        verdicts: One for each node and checker.
        missing_secrets: Secrets that the program needs and the stack file does not have.
        advice: What the stack file makes go wrong although it is valid.
    """

    sizes: list[Size]
    verdicts: list[Verdict]
    missing_secrets: list[str]
    advice: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no checker refused a file."""
        return not any(verdict.outcome == REFUSED for verdict in self.verdicts)

    def as_data(self) -> dict[str, object]:
        """Return the result for ``--json``; a verdict's ``detail`` has the key ``said`` there."""
        verdicts = [asdict(verdict) for verdict in self.verdicts]
        for verdict in verdicts:
            verdict["said"] = verdict.pop("detail")
        return {
            "ok": self.ok,
            "problems": [],
            "sizes": [asdict(size) for size in self.sizes],
            "verdicts": verdicts,
            "missing_secrets": self.missing_secrets,
            "advice": [str(problem) for problem in self.advice],
        }

    def text(self) -> str:
        """Return the result for a person."""
        lines = ["The stack file is valid: no rule is broken."]
        for size in self.sizes:
            share = 100 * size.encoded / size.limit
            lines.append(f"{size.node}: userdata {size.encoded} of {size.limit} bytes ({size.encoding}, {share:.0f} %)")
            parts = ", ".join(f"{name} {length} bytes" for name, length in size.parts.items())
            share = 100 * size.whole / size.whole_limit
            lines.append(f"{size.node}: guestinfo {size.whole} of {size.whole_limit} bytes ({share:.0f} %): {parts}")
            if size.staged is None:
                lines.append(f"{size.node}: a pair of an earlier release cannot be changed to this set in one step")
        lines += [
            f"{verdict.node}: {verdict.checker} {verdict.outcome} {verdict.path}{_detail(verdict)}"
            for verdict in self.verdicts
        ]
        skipped = sorted({verdict.checker for verdict in self.verdicts if verdict.outcome == NOT_RUN})
        if skipped:
            lines.append(f"NOT CHECKED on this machine: {', '.join(skipped)}.")
        lines += [f"Mind: {problem}" for problem in self.advice]
        if self.missing_secrets:
            lines.append(f"Not in the stack file yet: {', '.join(self.missing_secrets)}; `pulumi up` requires them.")
        return "\n".join(lines)


def _detail(verdict: Verdict) -> str:
    if not verdict.detail:
        return ""
    if verdict.outcome == REFUSED:
        return ":\n" + "\n".join(f"    {line}" for line in verdict.detail.splitlines())
    return f" ({verdict.detail})"


def _size(node: str, packed: Packed) -> Size:
    values = packed.in_parts
    parts = {part.name: sum(map(len, part.values.values())) for part in packed.parts}
    staged = None if packed.staged is None else len(packed.staged[keys.USERDATA])
    return Size(node, len(values[keys.USERDATA]), values[ENCODING], parts=parts, whole=size_of(values), staged=staged)


def check_stack(path: Path) -> Outcome:
    """Check a stack file with everything that is available on this machine.

    Args:
        path: The stack file.

    Raises:
        ConfigError: The stack file is not valid, or a node's set is too large.
    """
    # The stack's own key is encrypted; a new one of the same length gives the same sizes.
    stack = load_offline(path, new_signing_key())
    packed = {node: pack(stack.config, stack.pair, node, stack.secrets) for node in stack.pair.nodes}
    sizes = [_size(node, each) for node, each in packed.items()]
    userdata = {node: b"".join(each.blocks(Form.PARTS)).decode() for node, each in packed.items()}
    # The applier judges the set itself, so it is given it whole, whether or not that would fit into one value.
    whole = {node: base64.b64encode(b"".join(each.blocks(Form.STAGED))).decode() for node, each in packed.items()}
    values = {node: {keys.USERDATA: value, ENCODING: "base64"} for node, value in whole.items()}
    found = [*guest.check_sets(values), *checkers.check_nodes(stack.config, stack.pair.nodes, userdata)]
    verdicts = [replace(verdict, detail=redact(verdict.detail)) for verdict in found]
    return Outcome(sizes, verdicts, missing_secrets(path, stack.config), advice(stack.config))
