"""`python -m tests.rehearsal.soak`: the whole random campaigns, then the fail-over tests many times in a row.

    --rounds N     how many rounds of the fail-over tests (20), against one lab for each
    --histories N  how many histories of the gate (100,000); 0 for none

Ends at the first failure, with its log; exit code 0 means that none failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests import histories
from tests.campaign import VARIABLE, WHOLE

CHECKOUT = Path(__file__).parents[2]
ROUNDS = 20
TESTS = ("tests/rehearsal/test_acts.py",)
ROUND_S = 900.0
CAMPAIGNS = (
    "tests/native/test_random_lines.py",
    "tests/native/test_random_stacks.py",
    "tests/rehearsal/test_adversity.py",  # 100 power failures and 200 kills while a set is taken in, 1000 changes
    "tests/rehearsal/test_many_changes.py",
)
CAMPAIGNS_S = 8 * 3600.0


def main(arguments: Sequence[str]) -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how many ({ROUNDS})")
    parser.add_argument("--histories", type=int, default=histories.COUNT, help=f"how many ({histories.COUNT})")
    options = parser.parse_args(arguments)
    if options.histories and histories.main([f"--count={options.histories}"]):
        return 1
    for number in range(options.rounds + 1):
        began = time.monotonic()
        name = f"round {number:2} of {options.rounds}" if number else "random campaigns"
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "--no-header",
                "-p",
                "no:cacheprovider",
                *(TESTS if number else CAMPAIGNS),
            ],
            cwd=CHECKOUT,
            env=os.environ | {VARIABLE: WHOLE},
            capture_output=True,
            text=True,
            timeout=ROUND_S if number else CAMPAIGNS_S,
            check=False,
        )
        if result.returncode != 0:
            sys.stdout.write(result.stdout + result.stderr)
            sys.stdout.write(f"{name} failed\n")
            return 1
        last = result.stdout.strip().splitlines()[-1]
        sys.stdout.write(f"{name}: {last} ({time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
