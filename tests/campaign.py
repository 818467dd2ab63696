"""The size of a random campaign: all of it in `make soak`, a seeded two per cent of it in `make test`."""

from __future__ import annotations

import os

VARIABLE, WHOLE = "LBSTACK_CAMPAIGN", "whole"
SHARE = 50  # one of so many in `make test`
SEED = 20261128  # any number; the same lines and stack files in every run


def size(whole: int) -> int:
    """Return how many of ``whole`` tries this run makes."""
    return whole if os.environ.get(VARIABLE) == WHOLE else whole // SHARE
