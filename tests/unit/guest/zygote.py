"""Runs the guest program again and again without paying for Python's start: one fork for each run.

Started as ``python zygote.py PROGRAM`` with any Python the program supports; it reads one JSON request a line and
answers one. (``python zygote.py COMMAND WORDS`` is that command once, for a program that runs by itself.) A request
holds ``argv``, ``env``, the files for ``stdout`` and ``stderr``, and may hold ``kill_at``, ``power``, ``step``,
``answers``, ``python`` and ``file_limit``. In the forked child

- waiting is fast: who sleeps for a second finds twenty gone, and the limit of a command that the test lets hang
  is short;
- every call that changes the file system, and every start of a command, is counted; the child is gone, as by
  ``kill -9``, right before number ``kill_at``. With ``power`` the content of files that were not synced is lost
  too, as by a power failure;
- with ``step`` the run stops right before every ``step``-th of these calls, says its number and which files are not
  synced, and goes on when a line comes: whoever asked can look at what a kill would leave there;
- a command in ``answers`` is not started: it succeeds at once and prints what it has there. Nor are the two that a
  run asks again and again, systemd's and VMware's, unless they are to refuse or hang: ``node_answers`` says what they
  would;
- ``python`` stands for the interpreter where the program starts one, and no file grows over ``file_limit`` bytes.

The answer holds the exit ``code``, the number of ``calls``, and how many files were ``lost`` to the power failure.
Nothing of this is in the program under test.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the first connection imports it, and so would every child
import gc
import importlib.machinery
import importlib.util
import json
import os
import re
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
KNOWN: set[tuple[str, int]] = set()  # regular expressions that this process has compiled for its children
ANSWER = "answer"  # the attribute of a command that was not started
FILE_SYSTEM = (
    *("write", "fsync", "fchmod", "fchown", "chmod"),
    *("replace", "rename", "symlink", "unlink", "mkdir", "rmdir"),
)


def node_answers(argv: list[str]) -> tuple[int, str, str] | None:
    """What a command of the node would answer: exit code and both outputs; None for one that has to be started."""
    fakes, name = Path(os.environ["FAKES"]), argv[0]
    link = Path(os.environ["PATH"], name)
    if name not in WITHOUT_A_PROCESS or not link.is_symlink() or link.resolve().name != "fake":
        return None
    if (fakes / f"{name}.hang").exists() or (fakes / f"{name}.refuse").exists():
        return None
    with (fakes / "log").open("a") as log:
        log.write(" ".join(argv) + "\n")
    return WITHOUT_A_PROCESS[name](argv[1:], Path(os.environ["ROOT"]), fakes)


def be(argv: list[str]) -> int:
    """Is such a command; returns its exit code."""
    code, out, err = WITHOUT_A_PROCESS[argv[0]](argv[1:], Path(os.environ["ROOT"]), Path(os.environ["FAKES"]))
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code


def rpctool(words: list[str], root: Path, fakes: Path) -> tuple[int, str, str]:
    """VMware's ``vmware-rpctool 'info-get KEY'``."""
    del root
    value = fakes / words[0].replace("info-get ", "", 1)
    if (fakes / "guestinfo.denied").exists():
        return 1, "", "Permission denied\n"
    if not value.exists():
        return 1, "", "No value found\n"
    return 0, value.read_text() + "\n", ""


def systemctl(words: list[str], root: Path, fakes: Path) -> tuple[int, str, str]:
    """As much of systemd as the program can tell: it keeps what it knows in ``fakes``."""
    verb, units = words[0], words[1:]
    if verb == "is-active":
        state = fakes / f"unit.{units[0]}"
        said = state.read_text().strip() if state.exists() else "inactive"
        return (0 if said == "active" else 3), said + "\n", ""
    if verb in ("start", "restart", "reload"):
        for unit in units:
            if not begin(unit, root, fakes):
                return 1, "", f"Job for {unit} failed because the control process exited with error code.\n"
    elif verb == "stop":
        (fakes / f"unit.{units[0]}").write_text("inactive\n")
    elif verb == "enable":
        for unit in units:
            (fakes / f"enabled.{unit}").write_text("")
    elif verb == "daemon-reload":
        dropins = sorted((root / "etc/systemd/system").glob("*.d/*.conf"))
        (fakes / "loaded").write_text("".join(path.read_text() for path in dropins))
    return 0, "", ""


def begin(unit: str, root: Path, fakes: Path) -> bool:
    """Starts a unit: HAProxy then serves the hash that is in its file. Whether it could."""
    files = {"haproxy.service": "etc/haproxy/haproxy.cfg", "keepalived.service": "etc/keepalived/keepalived.conf"}
    file = root / files[unit] if unit in files else None
    text = file.read_text() if file and file.exists() else ""
    active = "crash-on-start" not in text
    if active and unit == "haproxy.service":
        served = [line[len("# set ") :] + "\n" for line in text.splitlines() if line.startswith("# set ")]
        (fakes / "serving").write_text("".join(served))
    (fakes / f"unit.{unit}").write_text("active\n" if active else "failed\n")
    return active


WITHOUT_A_PROCESS = {"systemctl": systemctl, "vmware-rpctool": rpctool}


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
            if hasattr(child, ANSWER):
                return getattr(child, ANSWER)
            hangs = Path(os.environ["FAKES"], f"{child.args[0]}.hang").exists()
            return communicate(child, data, timeout=HANG_LIMIT if hangs and timeout else timeout)

        POPEN.communicate = hurried

    def pass_time(self, seconds: float) -> None:
        """Sleeps, shortly."""
        self.ahead += seconds * FASTER
        self.sleep(seconds / FASTER)


class Reaper:
    """Counts the calls that leave a mark, and ends the process before one of them."""

    def __init__(self, request: dict[str, Any], talk: tuple[int, int]) -> None:
        self.calls, self.kill_at, self.power = 0, request.get("kill_at", 0), request.get("power", False)
        self.step, self.answers, self.talk = request.get("step", 0), request.get("answers", {}), talk
        self.unsynced: dict[tuple[int, int], str] = {}  # files made and not yet synced
        self.write = os.write

    def strike(self) -> None:
        """One more call."""
        self.calls += 1
        if self.calls == self.kill_at:
            if self.power:
                self.lose()
            os._exit(KILLED)
        if self.step and self.calls % self.step == 1 % self.step:
            about = {"call": self.calls, "unsynced": list(self.unsynced)}
            self.write(self.talk[1], json.dumps(about).encode() + b"\n")
            if not os.read(self.talk[0], 1):  # nobody looks any more
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
            argv = words[0]
            answer = (0, self.answers[argv[0]], "") if argv[0] in self.answers else node_answers(argv)
            if answer:
                child.args, child.returncode = argv, answer[0]
                setattr(child, ANSWER, (answer[1].encode(), answer[2].encode()))
            else:
                started(child, *words, **more)

        OS.open, OS.fsync = note_open, note_sync
        POPEN.__init__ = note_start

    def wrapped(self, call: Any) -> Any:
        """The call, counted; a sync is only counted, since no power fails in a test."""

        def counted(*words: Any, **more: Any) -> Any:
            self.strike()
            return None if call.__name__ == "fsync" else call(*words, **more)

        return counted


def child(program: Any, request: dict[str, Any], talk: tuple[int, int]) -> None:
    """One run; never returns."""
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    reaper = Reaper(request, talk)
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
        teach(Path(request["stdout"] + ".patterns"))
        os._exit(code)


def patterns() -> set[tuple[str, int]]:
    """The regular expressions that this process has compiled; none where Python keeps them in another way."""
    kept = [key for key in getattr(re, "_cache", {}) if len(key) == 3 and key[0] is str]
    return {(pattern, int(flags)) for _, pattern, flags in kept}


def teach(path: Path) -> None:
    """Notes what this child had to compile."""
    new = patterns() - KNOWN
    if new:
        path.write_text(json.dumps(sorted(new)))


def learn(path: Path) -> None:
    """Compiles what a child had to, so that the next one need not: that is a quarter of a run's time."""
    if path.exists():
        for pattern, flags in json.loads(path.read_text()):
            re.compile(pattern, flags)
            KNOWN.add((pattern, flags))
        path.unlink()


def relay(heard: int, told: int) -> None:
    """Passes on where a run stopped and the word to go on, until it ends."""
    with open(heard, "rb") as lines:
        for line in lines:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            if not sys.stdin.readline():
                break
            os.write(told, b"\n")
    os.close(told)


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
    gc.disable()  # it would write to the pages that parent and child share, and no run is long
    for line in iter(sys.stdin.readline, ""):  # the loop over a file may not be mixed with readline
        request = json.loads(line)
        (heard, say), (listen, told) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(heard)
            os.close(told)
            child(program, request, (listen, say))
        os.close(say)
        os.close(listen)
        relay(heard, told)
        status = os.waitpid(pid, 0)[1]
        calls = number_in(Path(request["stdout"] + ".calls"))
        learn(Path(request["stdout"] + ".patterns"))
        lost = number_in(Path(request["env"]["FAKES"], "lost"))
        code = status >> 8 if os.WIFEXITED(status) else -os.WTERMSIG(status)
        sys.stdout.write(json.dumps({"code": code, "calls": calls, "lost": lost}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(be(sys.argv[1:]))
    serve(sys.argv[1])
