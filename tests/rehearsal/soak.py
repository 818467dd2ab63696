"""`python -m tests.rehearsal.soak`: random histories of a roll, then the fail-over tests many times in a row.

    --rounds N     how many rounds of the fail-over tests (20), against one lab for each
    --histories N  how many histories of the gate (100,000); 0 for none

Ends at the first failure, with its log; exit code 0 means that none failed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests import histories

CHECKOUT = Path(__file__).parents[2]
ROUNDS = 20
TESTS = ("tests/rehearsal/test_acts.py",)
ROUND_S = 900.0


def main(arguments: Sequence[str]) -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"how many ({ROUNDS})")
    parser.add_argument("--histories", type=int, default=histories.COUNT, help=f"how many ({histories.COUNT})")
    options = parser.parse_args(arguments)
    if options.histories and histories.main([f"--count={options.histories}"]):
        return 1
    for number in range(1, options.rounds + 1):
        began = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "--quiet", "--no-header", "-p", "no:cacheprovider", *TESTS],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=ROUND_S,
            check=False,
        )
        if result.returncode != 0:
            sys.stdout.write(result.stdout + result.stderr)
            sys.stdout.write(f"round {number} of {options.rounds} failed\n")
            return 1
        last = result.stdout.strip().splitlines()[-1]
        sys.stdout.write(f"round {number:2} of {options.rounds}: {last} ({time.monotonic() - began:.0f} s)\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
