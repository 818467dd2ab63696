"""Runs the guest program again and again without paying for Python's start: one fork for each run.

Started as ``python zygote.py PROGRAM`` with any Python the program supports; it reads one JSON request a line and
answers one. A request holds ``argv``, ``env``, the files for ``stdout`` and ``stderr``, and may hold ``kill_at``,
``power``, ``python`` and ``file_limit``. In the forked child

- waiting is fast: who sleeps for a second finds twenty gone, and the limit of a command that the test lets hang
  is short;
- every call that changes the file system, and every start of a command, is counted; the child is gone, as by
  ``kill -9``, right before number ``kill_at``. With ``power`` the content of files that were not synced is lost
  too, as by a power failure;
- ``python`` stands for the interpreter where the program starts one, and no file grows over ``file_limit`` bytes.

The answer holds the exit ``code``, the number of ``calls``, and how many files were ``lost`` to the power failure.
Nothing of this is in the program under test.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Their attributes are replaced, which a type checker rightly forbids for modules and classes.
OS: Any = os
TIME: Any = time
POPEN: Any = subprocess.Popen
KILLED = 9
FASTER = 20
HANG_LIMIT = 0.3  # seconds granted to a command that never ends
FILE_SYSTEM = (
    *("write", "fsync", "fchmod", "fchown", "chmod"),
    *("replace", "rename", "symlink", "unlink", "mkdir", "rmdir"),
)


class Clock:
    """A clock whose seconds are short for who sleeps."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.sleep, self.monotonic = time.sleep, time.monotonic

    def install(self) -> None:
        """Takes the place of the real clock."""
        TIME.sleep = self.pass_time
        TIME.monotonic = lambda: self.monotonic() + self.ahead
        communicate = POPEN.communicate

        def hurried(child: Any, data: Any = None, timeout: float | None = None) -> Any:
            hangs = Path(os.environ["FAKES"], f"{child.args[0]}.hang").exists()
            return communicate(child, data, timeout=HANG_LIMIT if hangs and timeout else timeout)

        POPEN.communicate = hurried

    def pass_time(self, seconds: float) -> None:
        """Sleeps, shortly."""
        self.ahead += seconds * FASTER
        self.sleep(seconds / FASTER)


class Reaper:
    """Counts the calls that leave a mark, and ends the process before one of them."""

    def __init__(self, kill_at: int, *, power: bool) -> None:
        self.calls, self.kill_at, self.power = 0, kill_at, power
        self.open: dict[int, str] = {}  # by descriptor, files made and not yet synced
        self.unsynced: dict[tuple[int, int], str] = {}

    def strike(self) -> None:
        """One more call."""
        self.calls += 1
        if self.calls == self.kill_at:
            if self.power:
                self.lose()
            os._exit(KILLED)

    def lose(self) -> None:
        """Empties the files whose content was never synced, wherever they were renamed to; notes how many."""
        lost = 0
        for folder, _, names in os.walk(os.environ["ROOT"]):
            for path in (Path(folder, name) for name in names):
                info = path.lstat()
                if (info.st_dev, info.st_ino) in self.unsynced and not path.is_symlink():
                    lost += 1
                    os.truncate(path, 0)
        Path(os.environ["FAKES"], "lost").write_text(str(lost))

    def install(self) -> None:
        """Wraps the calls."""
        for name in FILE_SYSTEM:
            setattr(os, name, self.wrapped(getattr(os, name)))
        fsync, opened, started = os.fsync, os.open, POPEN.__init__

        def note_open(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self.strike()
            handle = opened(path, flags, *rest, **more)
            if flags & os.O_CREAT:
                info = os.fstat(handle)
                self.unsynced[info.st_dev, info.st_ino] = str(path)
            return handle

        def note_sync(handle: int) -> None:
            fsync(handle)
            info = os.fstat(handle)
            self.unsynced.pop((info.st_dev, info.st_ino), None)

        def note_start(child: Any, *words: Any, **more: Any) -> None:
            self.strike()
            started(child, *words, **more)

        OS.open, OS.fsync = note_open, note_sync
        POPEN.__init__ = note_start

    def wrapped(self, call: Any) -> Any:
        """The call, counted; a sync is only counted, since no power fails in a test."""

        def counted(*words: Any, **more: Any) -> Any:
            self.strike()
            return None if call.__name__ == "fsync" else call(*words, **more)

        return counted


def child(program: Any, request: dict[str, Any]) -> None:
    """One run; never returns."""
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    reaper = Reaper(request.get("kill_at", 0), power=request.get("power", False))
    if request.get("file_limit"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], request["file_limit"]))
    sys.executable = request.get("python") or sys.executable
    Clock().install()
    reaper.install()
    code = 70
    try:
        code = program.main(request["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        Path(request["stdout"] + ".calls").write_text(str(reaper.calls))
        os._exit(code)


def number_in(path: Path) -> int:
    """The number in a file, which is then gone; 0 when there is none."""
    if not path.exists():
        return 0
    number = int(path.read_text())
    path.unlink()
    return number


def serve(path: str) -> None:
    """Answers requests until the input ends."""
    loader = importlib.machinery.SourceFileLoader("lbstack_apply", path)
    spec = importlib.util.spec_from_loader("lbstack_apply", loader)
    assert spec is not None
    program = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(program)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(program, request)
        status = os.waitpid(pid, 0)[1]
        calls = number_in(Path(request["stdout"] + ".calls"))
        lost = number_in(Path(request["env"]["FAKES"], "lost"))
        code = status >> 8 if os.WIFEXITED(status) else -os.WTERMSIG(status)
        sys.stdout.write(json.dumps({"code": code, "calls": calls, "lost": lost}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
