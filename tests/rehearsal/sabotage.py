"""`python -m tests.rehearsal.sabotage`: proof that the rehearsal's tests notice what they are there for.

Each sabotage takes one safeguard out of a copy of the checkout and runs the test that has to fail then; a test that
passes all the same is what this program reports. It takes about two minutes for each and is not part of `make test`.

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
    """

    name: str
    file: str
    what: str
    by: str
    test: str


SABOTAGES = (
    Sabotage(
        "vrrp-rule",
        "cloudinit/ip4save.j2",
        " -p 112 -m ttl --ttl-eq 255 -j ACCEPT",
        " -p 112 -m ttl --ttl-eq 1 -j ACCEPT",
        FIRST_BOOT + "test_pulumi_up_ends_with_a_pair_that_serves_and_one_master_from_the_first_packet",
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
        ROLLS + "test_a_vip_comes_and_goes",
    ),
    Sabotage(
        "gate",
        "lbstack/gate.py",
        "    if not own.serves:\n        return True\n    if wanted_of_peer is None:",
        "    if own or not own.serves:\n        return True\n    if wanted_of_peer is None:",
        ROLLS + "test_a_set_that_haproxy_refuses_stops_at_the_standby_which_goes_on",
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
        " expire {{ service.persistence }} peers pair\n",
        " expire {{ service.persistence }}\n",
        CLIENTS + "test_a_client_keeps_its_server_also_after_a_failover",
    ),
    Sabotage(
        "tunnel-timeout",
        "cloudinit/haproxy.cfg.j2",
        "    timeout tunnel {{ service.timeouts.tunnel }}\n",
        "",
        CLIENTS + "test_a_session_that_says_nothing_for_more_than_a_minute_is_still_there",
    ),
    Sabotage(
        "signature",
        "cloudinit/guest/lbstack-apply",
        "        authenticate(self.disk, parts[0], parts[1])\n        new = FileSet(*parts)\n",
        "        new = FileSet(*parts)\n",
        ROLLS + "test_a_set_that_somebody_else_signed_is_refused_and_the_node_goes_on",
    ),
)


def noticed(sabotage: Sabotage, copy: Path) -> bool:
    """Whether the test fails on a copy without the safeguard.

    Raises:
        SystemExit: The safeguard is not where it was; this list has to follow.
    """
    file = copy / sabotage.file
    before = file.read_text(encoding="utf-8")
    if sabotage.what not in before:
        raise SystemExit(f"{sabotage.name}: {sabotage.file} has changed; this program has to follow.")
    file.write_text(before.replace(sabotage.what, sabotage.by, 1), encoding="utf-8")
    try:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", sabotage.test],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    finally:
        file.write_text(before, encoding="utf-8")
    reasons = [line for line in result.stdout.splitlines() if line.startswith("E  ")]
    sys.stdout.write("".join(f"    {line[:160]}\n" for line in reasons[:3]))
    # 1: tests failed; anything else (nothing collected, an internal error) is no proof.
    if result.returncode != 1:
        sys.stdout.write(f"    exit code {result.returncode}: {(result.stdout + result.stderr).strip()[-400:]}\n")
    return result.returncode == 1


def main(arguments: Sequence[str]) -> int:
    """Try them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*(each.name for each in SABOTAGES), []], help="only these")
    chosen = parser.parse_args(arguments).names
    unnoticed = []
    with tempfile.TemporaryDirectory(prefix="sab-") as directory:
        copy = Path(directory) / "lbstack"
        shutil.copytree(CHECKOUT, copy, ignore=LEFT_OUT)
        (copy / ".venv").symlink_to(CHECKOUT / ".venv")
        for sabotage in SABOTAGES:
            if chosen and sabotage.name not in chosen:
                continue
            sys.stdout.write(f"{sabotage.name}: {sabotage.test.rpartition('::')[2]}\n")
            sys.stdout.flush()
            if noticed(sabotage, copy):
                sys.stdout.write("    noticed\n")
            else:
                unnoticed.append(sabotage.name)
                sys.stdout.write("    NOT NOTICED\n")
            sys.stdout.flush()
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
