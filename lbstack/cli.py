"""The command ``lbstack``: wrong usage or wrong input ends with a message and exit code 2, never with a traceback.

The commands are in ``commands/``, which needs the extra ``cli``. This module needs only Python, so that it can report a
missing extra.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from lbstack.problems import LbstackError

EXTRA = ("passlib", "rich", "typer")  # what the extra `cli` brings
EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; this process' own when left out.

    Returns:
        The exit code: 0, 1 for "no" where a command asks something, 2 for a wrong use or a wrong input.
    """
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        return _refuse(
            f"The command line needs {error.name}, which is not installed. Install the extra `cli`: `uv sync --extra "
            "cli` in a checkout, `lbstack[cli]` as the dependency of a repository of your own."
        )
    except LbstackError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _give_up_output()  # the reader went away (`| head`)
        return 1
    except OSError as error:
        # A terminal that is gone gives EIO; `_refuse` then leaves the exit code alone to tell with.
        return _refuse(
            f"{error.filename or 'The working directory or the output'}: {error.strerror}. Give another path."
        )


def _run(arguments: list[str]) -> int:
    from lbstack.commands import app  # noqa: PLC0415 - needs the extra

    code = app.run(arguments)
    if sys.stdout is not None:  # `>&-`
        sys.stdout.flush()
    return code


def _give_up_output() -> None:
    """Keep the interpreter from complaining at its end about output that nobody reads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _refuse(message: str) -> int:
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except OSError:
        _give_up_output()
    return EXIT_REFUSED
