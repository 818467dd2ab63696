"""Run the guest program many times without starting Python each time: one fork for each run.

Started as ``python fork_server.py PROGRAM`` with any Python that it supports, it reads one JSON request per line and
answers with one line. (``python fork_server.py COMMAND ARGUMENTS`` runs a fake command once, for a program
that does not run in the fork server.) A request has ``argv``, ``env``, the files for ``stdout`` and ``stderr``, and may
have ``kill_at``, ``power``, ``step``, ``answers``, ``python`` and ``file_limit``. In the forked child

- time is accelerated: after a sleep of one second, twenty have passed, and the time limit of a command that the test
  lets hang is short;
- every call that changes the file system, and every start of a command, is counted. The child exits, like after
  ``kill -9``, immediately before call number ``kill_at``. With ``power`` the content of files that were not synced is
  lost too, like in a power failure;
- with ``step`` the run stops immediately before every ``step``-th of these calls, reports its number and the files that
  are not synced, and continues when it receives a line. Meanwhile a test can inspect what a kill would leave;
- a command in ``answers`` is not started: it succeeds at once with the output that is given there. ``systemctl``,
  ``vmware-rpctool`` and others, which each run calls, are not started either, unless they have to refuse or hang:
  ``node_answers`` computes their results;
- ``python`` replaces the interpreter that the program starts, and no file grows over ``file_limit`` bytes.

The answer has the exit ``code``, the number of ``calls``, and how many files were ``lost`` in the power failure.

The file has more than 300 lines because it has to be one file: it also runs as a script, without a package.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - the first connection imports it; otherwise every child would
import functools
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Attributes of these modules and classes are replaced, which a type checker does not allow without Any.
OS: Any = os
TIME: Any = time
POPEN: Any = subprocess.Popen
KILLED = 9
FASTER = 20
HANG_LIMIT = 0.3  # seconds until a command that hangs is ended
COMPILED: set[tuple[str, int]] = set()  # regular expressions that this process has compiled for its children
ANSWER = "answer"  # the attribute of a command that was not started
FILE_SYSTEM = (
    *("write", "fsync", "fchmod", "fchown", "chmod"),
    *("replace", "rename", "symlink", "unlink", "mkdir", "rmdir"),
)


def node_answers(argv: list[str]) -> tuple[int, str, str] | None:
    """The exit code and both outputs of a command of the node; None for a command that has to be started."""
    fakes, name = Path(os.environ["FAKES"]), argv[0]
    link = Path(os.environ["PATH"], name)
    told = any((fakes / f"{name}.{how}").exists() for how in ("hang", "refuse"))
    if told or name not in WITHOUT_A_PROCESS or not link.is_symlink() or link.resolve().name != "fake":
        return None
    with (fakes / "log").open("a") as log:
        log.write(" ".join(argv) + "\n")
    return WITHOUT_A_PROCESS[name](argv[1:], Path(os.environ["ROOT"]), fakes)


def run_command(argv: list[str]) -> int:
    """Run such a command in this process; return its exit code."""
    code, out, err = WITHOUT_A_PROCESS[argv[0]](argv[1:], Path(os.environ["ROOT"]), Path(os.environ["FAKES"]))
    sys.stdout.write(out)
    sys.stderr.write(err)
    return code


def rpctool(words: list[str], root: Path, fakes: Path) -> tuple[int, str, str]:
    """Stand-in of ``vmware-rpctool 'info-get KEY'``."""
    del root
    value = fakes / words[0].replace("info-get ", "", 1)
    if (fakes / "guestinfo.denied").exists():
        return 1, "", "Permission denied\n"
    if not value.exists():
        return 1, "", "No value found\n"
    return 0, value.read_text() + "\n", ""


def is_active(units: list[str], fakes: Path) -> tuple[int, str, str]:
    """``systemctl is-active UNIT``."""
    state = fakes / f"unit.{units[0]}"
    active_state = state.read_text().strip() if state.exists() else "inactive"
    return (0 if active_state == "active" else 3), active_state + "\n", ""


def show(_words: list[str], fakes: Path) -> tuple[int, str, str]:
    """``systemctl show -p MainPID haproxy.service``."""
    pid = fakes / "haproxy.pid"
    return 0, f"MainPID={pid.read_text() if pid.exists() else 0}\n", ""


TELLING = {"is-active": is_active, "show": show}


def systemctl(words: list[str], root: Path, fakes: Path) -> tuple[int, str, str]:
    """Stand-in of ``systemctl``, with as much of systemd as the program can observe; its state is in ``fakes``."""
    verb, units = words[0], words[1:]
    if verb in TELLING:
        return TELLING[verb](units, fakes)
    if verb in ("start", "restart", "reload"):
        for unit in units:
            if not start_unit(unit, root, fakes, verb):
                return 1, "", f"Job for {unit} failed because the control process exited with error code.\n"
    elif verb == "stop":
        (fakes / f"unit.{units[0]}").write_text("inactive\n")
        if units[0] == "keepalived.service":
            write_vrrp_state("unknown", root)
    elif verb == "enable":
        for unit in units:
            (fakes / f"enabled.{unit}").write_text("")
    elif verb == "daemon-reload":
        dropins = sorted((root / "etc/systemd/system").glob("*.d/*.conf"))
        (fakes / "loaded").write_text("".join(path.read_text() for path in dropins))
    return 0, "", ""


def keeps_vips(verb: str, text: str, root: Path, fakes: Path) -> bool:
    """Whether keepalived is a master that only reloads, and not one by its last file's doing (``vrrp-master``)."""
    path = root / "run/lbstack/state.map"
    master = path.exists() and "vrrp master" in path.read_text()
    return verb == "reload" and master and "vrrp-fault" not in text and not (fakes / "usurped").exists()


def start_unit(unit: str, root: Path, fakes: Path, verb: str = "start") -> bool:
    """Start a unit, after which HAProxy serves the hash in its file; return whether it started."""
    files = {"haproxy.service": "etc/haproxy/haproxy.cfg", "keepalived.service": "etc/keepalived/keepalived.conf"}
    text = (root / files[unit]).read_text() if unit in files and (root / files[unit]).exists() else ""
    active = "crash-on-start" not in text
    if active and unit == "haproxy.service":
        served = [line[len("# set ") :] + "\n" for line in text.splitlines() if line.startswith("# set ")]
        (fakes / "serving").write_text("".join(served))
    if active and unit == "keepalived.service" and not keeps_vips(verb, text, root, fakes):
        if "vrrp-master" in text:
            (fakes / "usurped").touch()
        fault = "vrrp-fault" in text or (fakes / "vrrp-fault").exists()
        write_vrrp_state("fault" if fault else "master" if "vrrp-master" in text else "backup", root)
    (fakes / f"unit.{unit}").write_text("active\n" if active else "failed\n")
    return active


def write_vrrp_state(state: str, root: Path) -> None:
    """Tell VRRP's state as keepalived does, through ``lbstack-notify``."""
    path = root / "run/lbstack/state.map"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("\n".join([f"vrrp {state}", *(line for line in lines if not line.startswith("vrrp ")), ""]))


def filter_in_force(tool: str, _words: list[str], _root: Path, fakes: Path) -> tuple[int, str, str]:
    """Stand-in of ``iptables-save`` and ``ip6tables-save``: what was loaded; without that everything is open."""
    loaded = fakes / f"filter.{tool}-restore"
    return 0, loaded.read_text() if loaded.exists() else ":INPUT ACCEPT [0:0]\n", ""


Answer = Callable[[list[str], Path, Path], tuple[int, str, str]]
WITHOUT_A_PROCESS: dict[str, Answer] = {"systemctl": systemctl, "vmware-rpctool": rpctool}
WITHOUT_A_PROCESS |= {f"{tool}-save": functools.partial(filter_in_force, tool) for tool in ("iptables", "ip6tables")}
WITHOUT_A_PROCESS["systemd-tmpfiles"] = lambda *_: (0, "", "")


class Clock:
    """A clock that runs faster while the program sleeps."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.sleep, self.monotonic = time.sleep, time.monotonic

    def install(self) -> None:
        """Replace the real clock."""
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
        """Sleep for a fraction of the time."""
        self.ahead += seconds * FASTER
        self.sleep(seconds / FASTER)


class CallCounter:
    """Counts the calls that change the disk or start a command, and ends the process before one of them."""

    def __init__(self, request: dict[str, Any], pipes: tuple[int, int]) -> None:
        self.calls, self.kill_at, self.power = 0, request.get("kill_at", 0), request.get("power", False)
        self.step, self.answers = request.get("step", 0), request.get("answers", {})
        self.input, self.output = pipes
        self.unsynced: dict[tuple[int, int], str] = {}  # created files that are not synced yet
        self.write = os.write

    def count(self) -> None:
        """Count a call; kill or stop the process if it is the requested one."""
        self.calls += 1
        if self.calls == self.kill_at:
            if self.power:
                self.empty_unsynced()
            os._exit(KILLED)
        if self.step and self.calls % self.step == 1 % self.step:
            about = {"call": self.calls, "unsynced": list(self.unsynced)}
            self.write(self.output, json.dumps(about).encode() + b"\n")
            if not os.read(self.input, 1):  # the test has closed its end
                os._exit(KILLED)

    def empty_unsynced(self) -> None:
        """Empty the files whose content was never synced, also renamed ones; record how many."""
        lost = 0
        for folder, _, names in os.walk(os.environ["ROOT"]):
            for path in (Path(folder, name) for name in names):
                info = path.lstat()
                if (info.st_dev, info.st_ino) in self.unsynced and not path.is_symlink():
                    lost += 1
                    os.truncate(path, 0)
        Path(os.environ["FAKES"], "lost").write_text(str(lost))

    def install(self) -> None:
        """Replace the counted functions by wrappers."""
        for name in FILE_SYSTEM:
            setattr(os, name, self.wrapped(getattr(os, name)))
        fsync, opened, started = os.fsync, os.open, POPEN.__init__

        def note_open(path: Any, flags: int, *rest: Any, **more: Any) -> int:
            if flags & os.O_CREAT:
                self.count()
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
            self.count()
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
        """Return the function with its calls counted; a sync is only counted, because no power fails in a test."""

        def counted(*words: Any, **more: Any) -> Any:
            self.count()
            return None if call.__name__ == "fsync" else call(*words, **more)

        return counted


def child(program: Any, request: dict[str, Any], pipes: tuple[int, int]) -> None:
    """Run the program once and exit; ``pipes`` are the ends to read from and to write to."""
    os.environ.clear()
    os.environ.update(request["env"])
    for number, path in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    counter = CallCounter(request, pipes)
    if request.get("file_limit"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], request["file_limit"]))
    sys.executable = request.get("python") or sys.executable
    Clock().install()
    counter.install()
    code = 70
    try:
        code = program.main(request["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        Path(request["stdout"] + ".calls").write_text(str(counter.calls))
        store_patterns(Path(request["stdout"] + ".patterns"))
        os._exit(code)


def patterns() -> set[tuple[str, int]]:
    """The regular expressions that this process has compiled; none where Python stores them in another way."""
    cached = [key for key in getattr(re, "_cache", {}) if len(key) == 3 and key[0] is str]
    return {(pattern, int(flags)) for _, pattern, flags in cached}


def store_patterns(path: Path) -> None:
    """Store the regular expressions that this child had to compile."""
    new = patterns() - COMPILED
    if new:
        path.write_text(json.dumps(sorted(new)))


def compile_patterns(path: Path) -> None:
    """Compile what a child had to compile, so that the next child need not: it takes a quarter of a run's time."""
    if path.exists():
        for pattern, flags in json.loads(path.read_text()):
            re.compile(pattern, flags)
            COMPILED.add((pattern, flags))
        path.unlink()


def relay(from_child: int, to_child: int) -> None:
    """Forward the stops of a run to the test, and the test's lines to the run, until it ends."""
    with open(from_child, "rb") as lines:
        for line in lines:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
            if not sys.stdin.readline():
                break
            os.write(to_child, b"\n")
    os.close(to_child)


def take_number(path: Path) -> int:
    """Read the number in a file and delete the file; 0 where there is no file."""
    if not path.exists():
        return 0
    number = int(path.read_text())
    path.unlink()
    return number


def serve(path: str) -> None:
    """Answer requests until the input ends."""
    loader = importlib.machinery.SourceFileLoader("lbstack_apply", path)
    spec = importlib.util.spec_from_loader("lbstack_apply", loader)
    assert spec is not None
    program = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(program)
    gc.disable()  # it would write to the pages that parent and child share, and every run is short
    for line in iter(sys.stdin.readline, ""):  # iterating over the file cannot be mixed with readline
        request = json.loads(line)
        (from_child, child_output), (child_input, to_child) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(from_child)
            os.close(to_child)
            child(program, request, (child_input, child_output))
        os.close(child_output)
        os.close(child_input)
        relay(from_child, to_child)
        status = os.waitpid(pid, 0)[1]
        calls = take_number(Path(request["stdout"] + ".calls"))
        compile_patterns(Path(request["stdout"] + ".patterns"))
        lost = take_number(Path(request["env"]["FAKES"], "lost"))
        code = status >> 8 if os.WIFEXITED(status) else -os.WTERMSIG(status)
        sys.stdout.write(json.dumps({"code": code, "calls": calls, "lost": lost}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[2:]:
        sys.exit(run_command(sys.argv[1:]))
    serve(sys.argv[1])
