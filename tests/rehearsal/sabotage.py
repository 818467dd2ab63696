"""`python -m tests.rehearsal.sabotage`: proof that the rehearsal's tests notice what they are there for.

Each sabotage takes one safeguard out of a copy of the checkout and runs the test that has to fail then. What counts is
a test that passes in the untouched copy and fails in its own body afterwards; where the safeguard is one without which
no pair comes up at all, its preparation may fail too, with the words that are expected. A test that passes all the
same, or fails for another reason, is what this program reports. It takes about two minutes for each one that needs a
lab, and a few for the untouched copy, and is not part of `make test`.

    NAME...        only these (all)
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.rehearsal.safeguards import SAFEGUARDS

CHECKOUT = Path(__file__).parents[2]
LIMIT_S = 1200.0
LEFT_OUT = shutil.ignore_patterns(".git", ".lab", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".hypothesis")
FIRST_BOOT = "tests/rehearsal/test_first_boot.py::"
ACTS = "tests/rehearsal/test_acts.py::"
CLIENTS = "tests/rehearsal/test_clients.py::"
ROLLS = "tests/rehearsal/test_rolls.py::"


@dataclass(frozen=True)
class Sabotage:
    """One safeguard, taken out.

    Args:
        name: What it is called here.
        file: Where it stands.
        what: The text that is replaced.
        by: What it is replaced by.
        test: The test that has to fail.
        unprepared: What the test's preparation reports where it is that which fails; empty where it must not.
    """

    name: str
    file: str
    what: str
    by: str
    test: str
    unprepared: str = ""


SABOTAGES = (
    Sabotage(
        "vrrp-rule",
        "cloudinit/ip4save.j2",
        " -p 112 -m ttl --ttl-eq 255 -j ACCEPT",
        " -p 112 -m ttl --ttl-eq 1 -j ACCEPT",
        FIRST_BOOT + "test_pulumi_up_ends_with_a_pair_that_serves_and_one_master_from_the_first_packet",
        unprepared="the VIPs are not on exactly one node",
    ),
    Sabotage(
        "track-file",
        "cloudinit/keepalived.conf.j2",
        "    track_file {\n        haproxy_stopped\n    }\n",
        "",
        ACTS + "test_what_befalls_the_master_moves_every_vip_to_the_peer_and_healing_moves_none_back[haproxy]",
    ),
    Sabotage(
        "anchor-vip",
        "cloudinit/keepalived.conf.j2",
        "    }\n{% if other_vips %}\n    virtual_ipaddress_excluded {\n",
        "{% if other_vips %}\n",
        ROLLS + "test_a_vip_comes_and_goes_the_latter_with_a_changed_timeout_and_other_servers",
    ),
    Sabotage(
        "gate",
        "lbstack/nodes/gate.py",
        "    if says_no(own):\n        return True\n    if own_lived",
        "    if own or says_no(own):\n        return True\n    if own_lived",
        ROLLS + "test_a_set_that_haproxy_refuses_stops_at_the_standby_which_goes_on",
    ),
    Sabotage(
        "gate-memory",
        "lbstack/nodes/gate.py",
        "        own_lived, peer_lived = not seen.taken_for_dead(node), seen.was_alive(peer)\n",
        "        own_lived = peer_lived = False\n",
        "tests/rehearsal/test_gate.py::"
        "test_questions_that_are_lost_for_twelve_seconds_cost_no_request[as vCenter is done with the standby]",
    ),
    Sabotage(
        "keepalived-restart",
        "cloudinit/keepalived.service.conf.j2",
        "Restart=always\n",
        "Restart=no\n",
        ACTS + "test_a_killed_keepalived_leaves_no_stray_vip",
    ),
    Sabotage(
        "peers",
        "cloudinit/haproxy.cfg.j2",
        " expire {{ service.persistence }} peers pair\n{% if service.left_alone %}",
        " expire {{ service.persistence }}\n{% if service.left_alone %}",
        CLIENTS + "test_a_client_keeps_its_server_also_after_a_failover",
    ),
    Sabotage(
        "tunnel-timeout",
        "cloudinit/haproxy.cfg.j2",
        "    timeout tunnel {{ service.timeouts.tunnel }}\n",
        "",
        CLIENTS + "test_a_session_that_is_silent_for_more_than_a_minute_is_still_there",
    ),
    Sabotage(
        "signature",
        "cloudinit/guest/lbstack-apply",
        "        authenticate(self.store, parts[0], parts[1])\n        new = FileSet(*parts)\n",
        "        new = FileSet(*parts)\n",
        ROLLS + "test_a_set_that_somebody_else_signed_is_refused_and_the_node_goes_on",
    ),
    *(Sabotage(*each) for each in SAFEGUARDS),
)


@dataclass(frozen=True)
class Run:
    """How one test went.

    Args:
        passed: It ran and passed.
        failed: It failed in its own body: its message; empty where it did not.
        unprepared: It was not reached, because its preparation failed: its message.
    """

    passed: bool
    failed: str = ""
    unprepared: str = ""


def outcomes(report: str) -> dict[str, Run]:
    """How the tests of a report in JUnit's format went, by the name that pytest knows each by.

    Args:
        report: The text of the report.
    """
    found = {}
    for case in ET.fromstring(report).iter("testcase"):
        output = {child.tag: f"{child.get('message')}\n{child.text}" for child in case}
        unprepared = output.get("error") or output.get("skipped", "")
        name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
        found[name] = Run(not (output.get("failure") or unprepared), output.get("failure", ""), unprepared)
    return found


def run(tests: Sequence[str], copy: Path) -> dict[str, Run]:
    """Run tests in a copy of the checkout; how each of them went."""
    report = copy / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    output = f"exit code {result.returncode}: {(result.stdout + result.stderr).strip()[-400:]}"
    found = outcomes(report.read_text(encoding="utf-8")) if report.exists() else {}
    return {test: found.get(test, Run(passed=False, unprepared=output)) for test in tests}


def taken_out(sabotage: Sabotage, text: str) -> str:
    """A file's text without its safeguard.

    Raises:
        ValueError: The safeguard does not stand there just once.
    """
    if text.count(sabotage.what) != 1:
        raise ValueError(f"{sabotage.name}: {sabotage.file} has changed; this list has to follow")
    return text.replace(sabotage.what, sabotage.by)


def verdict(sabotage: Sabotage, after: Run) -> str:
    """What is wrong with how the test went without the safeguard; empty where it noticed."""
    if after.passed:
        return "it passes all the same"
    if after.failed:
        return ""
    if sabotage.unprepared and sabotage.unprepared in after.unprepared:
        return ""
    return f"it did not get as far as the test: {_last(after.unprepared)}"


def _last(text: str) -> str:
    """The most useful line of a traceback."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("E  ")), lines[-1] if lines else "no message")[:200]


def missed(sabotage: Sabotage, copy: Path, before: Run) -> str:
    """Try one sabotage; why it proves nothing, empty where the test noticed.

    Args:
        sabotage: What is taken out.
        copy: The copy of the checkout; whole again afterwards.
        before: How the test went in the untouched copy.
    """
    if not before.passed:
        return f"it fails with the safeguard in place too: {_last(before.failed or before.unprepared)}"
    file = copy / sabotage.file
    text = file.read_text(encoding="utf-8")
    file.write_text(taken_out(sabotage, text), encoding="utf-8")
    try:
        after = run([sabotage.test], copy)[sabotage.test]
    finally:
        file.write_text(text, encoding="utf-8")
    sys.stdout.write(f"    {_last(after.failed or after.unprepared)}\n")
    return verdict(sabotage, after)


def main(arguments: Sequence[str]) -> int:
    """Try them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*(each.name for each in SABOTAGES), []], help="only these")
    names = parser.parse_args(arguments).names
    chosen = [sabotage for sabotage in SABOTAGES if sabotage.name in names or not names]
    unnoticed = []
    with tempfile.TemporaryDirectory(prefix="sab-") as directory:
        copy = Path(directory) / "lbstack"
        shutil.copytree(CHECKOUT, copy, ignore=LEFT_OUT)
        (copy / ".venv").symlink_to(CHECKOUT / ".venv")
        sys.stdout.write("with every safeguard in place\n")
        sys.stdout.flush()
        whole = run([sabotage.test for sabotage in chosen], copy)
        for sabotage in chosen:
            sys.stdout.write(f"{sabotage.name}: {sabotage.test.rpartition('::')[2]}\n")
            sys.stdout.flush()
            if reason := missed(sabotage, copy, whole[sabotage.test]):
                unnoticed.append(sabotage.name)
                sys.stdout.write(f"    NOT NOTICED: {reason}\n")
            else:
                sys.stdout.write("    noticed\n")
            sys.stdout.flush()
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
