"""Failures of the engine that a person can act on: a kind, the engine's message, a remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lbstack.problems import LbstackError

NO_STACK = "no-stack"
# These do not run the program, which would read the stack file, so they know only what the state has.
WITH_RECORDED_LOGIN = ("refresh", "destroy")
PROVIDER_NAME = "vcenter"  # of the program's provider, in its URN
SHOWN_LINES = 15  # of an engine whose message is not known here
# Lines of the engine that do not help a person: what it was about to do, and that it failed.
EMPTY_WORDS = re.compile(
    r"(?:^@ |^Previewing |an unhandled error occurred: program exited|^(?:error: )?(?:preview|update) failed$)"
)
PREFIX = re.compile(r"^(?:error: |Preview failed: |\d+ errors? occurred:\s*|\* )+", re.MULTILINE)
# What the provider's bridge puts around a vCenter's words: where in its sources it is, and its own version.
BRIDGE = re.compile(r"^(?:\S+\.go:\d+: )?sdk\.helper_schema: (?P<words>.*?)(?:: provider=vsphere@\S+)?$")


class EngineFailed(LbstackError):
    """The engine could not do what it was asked.

    Args:
        kind: A short name of what went wrong, for programs.
        message: What went wrong, as the engine's own message where that is clear.
        remedy: What to do about it.
    """

    def __init__(self, kind: str, message: str, remedy: str) -> None:
        super().__init__(f"{message}\n{remedy}".strip())
        self.kind = kind
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True)
class _Known:
    """A failure that is known: how to recognise it in the engine's messages, and the remedy.

    Args:
        kind: Its short name.
        sign: How to see it.
        remedy: What to do.
        vcenter: Whether it may happen in the middle, so that a reader asks what was done until then.
        login: Whether it is about the way to the vCenter, which some commands take from the state.
    """

    kind: str
    sign: re.Pattern[str]
    remedy: str
    vcenter: bool = False
    login: bool = False


KNOWN = (
    # First, because a stack file's problems may quote words of the others.
    _Known(
        "configuration",
        re.compile(r"^\d+ problems? in the configuration of stack"),
        "Correct the stack file; `lbstack check` shows the same without an engine and without a vCenter.",
    ),
    # `gate.py` makes these messages. Before all others, because a closed gate quotes how a node did not answer (a
    # refused connection, no route) and what the node itself reports about its set.
    _Known(
        "gate",
        re.compile(r"was left untouched: it"),
        "Repair what is reported about the nodes first; the one that was left untouched goes on serving.",
        vcenter=True,
    ),
    _Known(
        "gate",
        re.compile(r"does not serve set \w+ after \d+ s\.|has refused set \w+\.|are both master\."),
        "Repair that on the nodes or between them: both have received their set of this deployment.",
        vcenter=True,
    ),
    _Known(
        "gate",
        re.compile(r"Nothing was touched: neither node answers"),
        "No VM was made or changed; run it where the nodes can be asked.",
        vcenter=True,
    ),
    _Known(
        NO_STACK,
        re.compile(r"no stack named"),
        "Make it with `pulumi stack init`, or look at what there is: `pulumi stack ls`. "
        "Is PULUMI_BACKEND_URL the place where this stack's state is kept?",
    ),
    _Known(
        "locked",
        re.compile(r"the stack is currently locked|another update is currently in progress"),
        "Wait for the run that holds the lock. If it was killed: free the stack with `pulumi cancel`, look at what it "
        "left with `lbstack preview`, then run `pulumi up` again. Do not refresh before that: a node that it had "
        "switched off for its change would be taken for done, and stay off.",
    ),
    _Known(
        "passphrase",
        re.compile(r"incorrect passphrase|passphrase must be set|unable to decrypt|decrypting secret"),
        "Give the stack's passphrase in PULUMI_CONFIG_PASSPHRASE or, better, a file in PULUMI_CONFIG_PASSPHRASE_FILE.",
    ),
    _Known(
        "backend",
        re.compile(r"unable to open (?:state directory|bucket)|must be logged in|PULUMI_ACCESS_TOKEN must be set"),
        "Choose where the state is kept: `pulumi login`, or PULUMI_BACKEND_URL.",
    ),
    _Known(
        "certificate",
        re.compile(r"certificate of .* is not trusted|x509:|certificate has expired|CERTIFICATE_VERIFY_FAILED"),
        "A certificate that has expired is renewed in vCenter; one of a CA that is "
        "unknown here is trusted with SSL_CERT_FILE.",
        vcenter=True,
        login=True,
    ),
    _Known(
        "unreachable",
        re.compile(
            r"no vCenter answers at|connection refused|no such host|i/o timeout|no route to host", re.IGNORECASE
        ),
        "Run it where the vCenter can be reached, or look at vsphere:vsphereServer.",
        vcenter=True,
        login=True,
    ),
    _Known(
        "credentials",
        re.compile(r"Login failure|incorrect user name or password|InvalidLogin|NotAuthenticated"),
        "The vCenter refused the login. Set vsphere:user and the secret vsphere:password (or VSPHERE_USER and "
        "VSPHERE_PASSWORD) anew, and see that the account is not locked.",
        vcenter=True,
        login=True,
    ),
    _Known(
        "other-vcenter",
        re.compile(r"this stack was made for the vCenter"),
        "A preview, too, talks to no vCenter but the pinned one.",
    ),
    _Known(
        "protected",
        re.compile(r"marked for protection|cannot be deleted without"),
        "Set `lbstack:protect: false` in the same change, deploy, and take it out again.",
        vcenter=True,
    ),
    _Known(
        "exists",
        re.compile(r"FileAlreadyExists|DuplicateName|folder is not empty"),
        "In the stack's folder is something that the stack does not know: a VM that a killed run was making, or "
        "somebody else's. Look at it in vCenter, and delete it there (`govc vm.destroy NAME`) if it is of no use.",
        vcenter=True,
    ),
    _Known(
        "plugin",
        re.compile(r"failed to load plugin|no resource plugin|could not find plugin|language plugin"),
        "Install what the program needs: `pulumi install` in the program's directory.",
    ),
)


def explain(command: str, errors: Sequence[str], output: str) -> EngineFailed:
    """Turn the engine's messages into one message.

    Args:
        command: The arguments that it was run with.
        errors: Its error diagnostics.
        output: What it printed.
    """
    words = _words(errors) or _words([line for line in output.splitlines() if line.startswith("error:")])
    words = words or "\n".join(_interesting(output.splitlines())[-SHOWN_LINES:])
    words = words or f"`pulumi {command}` failed without a reason."
    # The line after the engine's message about a lock names the process that holds it.
    if "currently locked" in words:
        words = "\n".join([words, *(line for line in output.splitlines() if "created by" in line)])
    for known in KNOWN:
        if known.sign.search(words):
            remedy = known.remedy
            if known.login and command.partition(" ")[0] in WITH_RECORDED_LOGIN:
                remedy = f"{remedy} {of_the_state()}"
            return EngineFailed(known.kind, words, f"{remedy}{_done(command) if known.vcenter else ''}")
    return EngineFailed(
        "engine", words, f"That is the message of `pulumi {command.partition(' ')[0]}`.{_done(command)}"
    )


def of_the_state() -> str:
    """What to do where the way to the vCenter is the recorded one, and another one in the stack file does not help."""
    return (
        "This command reaches the vCenter as the last deployment recorded it. Where address, user or password have "
        f"changed since then, write them there first: `pulumi up --target '**{PROVIDER_NAME}'`."
    )


def too_slow(command: str, limit_s: float, last: str) -> EngineFailed:
    """The failure of an engine that was stopped because its time was up."""
    where = f" Its last step was: {last}." if last else ""
    return EngineFailed(
        "timeout",
        f"`pulumi {command}` did not end within {limit_s:.0f} s and was interrupted.{where}",
        f"If the vCenter is only slow, give it longer with --timeout SECONDS.{_done(command)}",
    )


def interrupted(command: str, last: str) -> EngineFailed:
    """The failure of an engine that was asked to end, by a person or by a runner that cancels its job."""
    where = f" Its last step was: {last}." if last else ""
    return EngineFailed("interrupted", f"`pulumi {command}` was interrupted.{where}", _done(command).strip())


def _done(command: str) -> str:
    """What became of the stack, as the end of a remedy."""
    if command.partition(" ")[0] in ("up", "destroy"):
        return (
            " What was done before that is recorded: look with `lbstack preview`; the same command goes on from there."
        )
    return " Nothing was changed."


def _words(errors: Sequence[str]) -> str:
    lines = [BRIDGE.sub(r"\g<words>", PREFIX.sub("", line.strip())) for text in errors for line in text.splitlines()]
    return "\n".join(dict.fromkeys(_interesting(lines)))


def _interesting(lines: Sequence[str]) -> list[str]:
    return [line for line in map(str.strip, lines) if line and not EMPTY_WORDS.search(line)]
