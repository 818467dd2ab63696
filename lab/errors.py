"""Errors of the lab that a person can act on."""

from __future__ import annotations

from lbstack.problems import LbstackError

RUN = ".venv/bin/python -m lab"
"""What a newcomer can type: the packages are in the checkout's environment alone."""


class LabError(LbstackError):
    """The lab cannot do what was asked; the message names the reason and the remedy. Exit code 2, never a traceback."""
