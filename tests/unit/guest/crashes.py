"""Scenarios of crashes at any point, by ``kill -9`` or a power failure: the next boot has exactly one complete set.

Each scenario runs a command once. The command stops before each call that changes the disk, and before each command
that it starts. The next boot then runs on a copy of the disk. This is the same as after a kill at this point, because a
killed process leaves nothing but the disk. In a power failure, the content of unsynced files is lost too. A disk that
equals an earlier one is not tried twice; many calls, such as a sync, change nothing. With a ``step`` over 1, only
every ``step``-th call is tried, which is faster; the full test tries every call.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.unit.guest.host import Host, scratch
from tests.unit.guest.keys import give, keys_of
from tests.unit.guest.processes import Endpoint, ForkServer
from tests.unit.guest.sets import NODE, Item, Parts, items_of

MOMENT = re.compile(rb'"time": "[^"]*"')

OPTIONAL = (
    "/etc/systemd/network/10-static-en.network",
    "/etc/systemd/network/99-dhcp-en.network",
    "/etc/systemd/system/iptables.service",
    "/etc/yum.repos.d/photon.repo",
    "/root/.ssh/authorized_keys",
    "/usr/local/lib/lbstack/lbstack-check",
    "/usr/local/lib/lbstack/lbstack-notify",
)
CFG, VRRP = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
DROPIN = "/etc/systemd/system/keepalived.service.d/lbstack.conf"
TIME = "/etc/systemd/timesyncd.conf.d/lbstack.conf"
LIVE = "/usr/local/lib/lbstack/lbstack-live"
KILLED = 9
KILL, POWER = "kill -9", "power failure"
STARTED_AT_BOOT = {"haproxy.service", "keepalived.service", "iptables.service"} | {
    f"lbstack-{name}.service" for name in ("apply", "verify")
}


def small_set(host: Host, mark: str, bad: str = "") -> Parts:
    """A small set, which keeps the number of crash points low; ``b`` has one additional file and lacks one."""
    changes: dict[str, Item | str | None] = dict.fromkeys(OPTIONAL)
    changes |= {
        "/usr/local/lib/lbstack/lbstack-firewall": "#!/bin/sh\nexit 0\n",
        VRRP: f"# {mark}\n",
        DROPIN: f"# {mark}\n",
        "/usr/local/lib/lbstack/lbstack-apply": f"# {mark}\n",
    }
    if mark == "b":
        changes |= {TIME: None, LIVE: Item("#!/bin/sh\n", mode="0755")}
    return host.make(mark, changes, append={CFG: bad} if bad else None, network_owner="metadata")


def speed_up(host: Host) -> Host:
    """Make most commands of a node do nothing, without a process."""
    quiet = ("systemd-tmpfiles", "haproxy", "keepalived", "chpasswd", "chage", "journalctl", host.python)
    rules = items_of("", NODE, 1)
    host.answers = dict.fromkeys(quiet, "") | {"openssl": "Verified OK\n"}
    host.answers |= {f"ip{v}tables-save": rules[f"/etc/systemd/scripts/ip{v or 4}save"].content for v in ("", "6")}
    for table, row in (("passwd", "haproxy:x:990:990::/:/bin/false\n"), ("group", "haproxy:x:990:\n")):
        host.put(f"/etc/{table}", host.read(f"/etc/{table}") + row)
    return host


@contextmanager
def fast_node(fork_server: ForkServer, endpoint: Endpoint) -> Iterator[Host]:
    """A node whose commands need no process."""
    with scratch() as base:
        (base / "node").mkdir()
        yield speed_up(Host(base / "node", fork_server, endpoint).build())


def disk(host: Host, unsynced: frozenset[tuple[int, int]]) -> list[bytes]:
    """Digests of everything on the disk: in its state, and with the unsynced files empty if there are any.

    The log of the commands and the time in a status are left out: only tests read them.
    """
    digests, skip = [hashlib.sha256(), hashlib.sha256()], str(host.fakes / "log")
    folders, start = [str(host.fakes), str(host.root)], len(str(host.base))
    while folders:
        with os.scandir(folders.pop()) as scan:
            found = sorted(scan, key=lambda entry: entry.name)
        for entry in found:
            info = entry.stat(follow_symlinks=False)
            content = b""
            if entry.is_symlink():
                content = os.readlink(entry.path).encode()  # noqa: PTH115 - thousands of files
            elif entry.is_dir():
                folders.append(entry.path)
            elif entry.path != skip:
                with open(entry.path, "rb", buffering=0) as file:  # noqa: PTH123
                    content = MOMENT.sub(b"", file.read())
            synced = b"" if (info.st_dev, info.st_ino) in unsynced else content
            for digest, data in zip(digests, (content, synced), strict=True):
                about = (entry.path[start:], info.st_mode, info.st_uid, info.st_gid, len(data))
                digest.update(repr(about).encode() + data)
    return [digest.digest() for digest in digests[: 2 if unsynced else 1]]


def empty_files(host: Host, copy: Host, numbers: frozenset[tuple[int, int]]) -> None:
    """Empty the files of a copy that have these numbers on the host."""
    for path in host.root.rglob("*"):
        info = path.lstat()
        if path.is_file() and not path.is_symlink() and (info.st_dev, info.st_ino) in numbers:
            os.truncate(copy.root / path.relative_to(host.root), 0)


def crash_points(host: Host, command: str, step: int) -> Iterator[tuple[str, Host]]:
    """Copies of the host in the state in which a command is killed before its first, second, ... call."""
    running, seen, stops = host.clone(host.base.parent / "running"), set(), 0
    with closing(ForkServer()) as fork_server:  # the host's own runs the copies meanwhile
        for call, unsynced in running.walk(fork_server, command, step=step):
            stops += 1
            for lost, now in zip((frozenset[tuple[int, int]](), unsynced), disk(running, unsynced), strict=False):
                if now in seen:
                    continue
                seen.add(now)
                copy = running.clone(host.base.parent / "killed")
                empty_files(running, copy, lost)
                yield f"{POWER if lost else KILL} before call {call} of {command}", copy
                shutil.rmtree(copy.base)
    assert running.calls > KILLED, running.output
    assert stops == len(range(0, running.calls, step)), "not every call was tried"
    shutil.rmtree(running.base)


def wrong_files(host: Host, has: Parts, other: Parts | None = None) -> list[str]:
    """The live files that differ from those of one set, and those that only the other set has."""
    left = set(other.files) - set(has.files) if other else set()
    return [*host.differing(has), *(path for path in left if host.at(path).exists())]


def remaining_faults(host: Host, has: Parts, other: Parts | None = None) -> list[str]:
    """The wrong live files, and temporary files that remain; with the output of the run if there are any."""
    wrong = wrong_files(host, has, other) + host.leftovers()
    return [*wrong, host.output] if wrong else []


def inactive_units(host: Host) -> list[str]:
    """The units that systemd would not start at the next boot, and drop-ins that it has not loaded."""
    off = sorted(STARTED_AT_BOOT - host.enabled())
    return [f"{unit} is not enabled" for unit in off] + ([] if host.loaded() else ["systemd has loaded other drop-ins"])


def require_none(where: str, wrong: list[str]) -> None:
    """Assert that nothing is wrong."""
    assert not wrong, f"{where}: {wrong}"


def while_taking_in(host: Host, step: int) -> None:
    """The next boot has the new set, or the old one where the new one is no longer in guestinfo."""
    old, new = small_set(host, "a"), small_set(host, "b")
    host.give(old)
    assert host.run("boot") == 0, host.output
    host.give(new)
    for where, copy in crash_points(host, "prepare", step):
        other = copy.clone(host.base.parent / "other")
        other.give(None)
        assert other.run("prepare") == 0, (where, other.output)
        require_none(where, remaining_faults(other, old, new))
        assert (other.journal()["installed"], other.journal()["phase"]) == (old.hash, ""), where
        shutil.rmtree(other.base)
        require_none(where, without_a_reboot(copy, old, new))
        assert copy.run("prepare") == 0, (where, copy.output)
        require_none(where, remaining_faults(copy, new, old))
        assert (copy.journal()["trial"], copy.journal()["phase"]) == (new.hash, "trial"), where


def without_a_reboot(host: Host, old: Parts, new: Parts) -> list[str]:
    """What is wrong after ``prepare`` was killed and the same boot went on: one complete set has to be active."""
    copy = host.clone(host.base.parent / "goes-on")
    copy.start_services()
    copy.run("verify")
    serves, other = (new, old) if copy.journal()["installed"] == new.hash else (old, new)
    wrong = wrong_files(copy, serves, other) + inactive_units(copy)
    if (copy.journal()["trial"], copy.journal()["phase"]) != ("", ""):
        wrong.append("the trial is not over")
    if (copy.fakes / "serving").read_text().strip() != serves.hash:
        wrong.append("HAProxy serves the other set")
    shutil.rmtree(copy.base)
    return wrong


def while_restoring(host: Host, step: int) -> None:
    """The power failed before the confirmation, and the run that restores the old set is killed too."""
    old, new = small_set(host, "a"), small_set(host, "b")
    host.give(old)
    assert host.run("boot") == 0, host.output
    host.give(new)
    assert host.run("prepare") == 0
    host.give(None)
    host.go_down()
    for where, copy in crash_points(host, "prepare", step):
        require_none(where, without_a_reboot(copy, old, new))
        assert copy.boot() == 0, (where, copy.output)
        require_none(where, remaining_faults(copy, old, new) + inactive_units(copy))
        assert (copy.journal()["installed"], copy.journal()["phase"]) == (old.hash, ""), where


def during_a_first_boot(host: Host, step: int) -> None:
    """The next boot completes the first boot, and so does a manual run."""
    new = small_set(host, "b")
    host.stage(new)
    for where, copy in crash_points(host, "boot", step):
        other = copy.clone(host.base.parent / "other")
        for again, end in ((other, other.boot()), (copy, copy.run("boot"))):
            assert end == 0, (where, again.output)
            require_none(where, remaining_faults(again, new) + inactive_units(again))
            assert again.status()["phase"] == "ok", where
            assert again.at("/etc/cloud/cloud-init.disabled").exists(), where
            assert not again.at("/var/lib/lbstack/staging").exists(), where
        shutil.rmtree(other.base)


def after_a_failed_first_boot(host: Host, step: int) -> None:
    """The next boot completes the first boot with the corrected set, and nothing of the first set remains."""
    bad, new = small_set(host, "a", bad="# crash-on-start\n"), small_set(host, "b")
    host.give(bad)
    assert host.run("boot") == 2, host.output
    host.give(new)
    host.go_down()
    for where, copy in crash_points(host, "prepare", step):
        assert copy.boot() == 0, (where, copy.output)
        require_none(where, remaining_faults(copy, new, bad) + inactive_units(copy))
        assert copy.journal()["installed"] == new.hash, where


def while_confirming(host: Host, step: int) -> None:
    """The next boot has the new set and can fall back to the old one."""
    old, new = small_set(host, "a"), small_set(host, "b")
    host.give(old)
    assert host.run("boot") == 0, host.output
    host.give(new)
    assert host.run("prepare") == 0
    host.start_services()
    for where, copy in crash_points(host, "verify", step):
        assert copy.boot() == 0, (where, copy.output)
        require_none(where, remaining_faults(copy, new, old) + inactive_units(copy))
        assert (copy.journal()["installed"], copy.journal()["previous"]) == (new.hash, old.hash), where
        assert {path.name for path in copy.at("/var/lib/lbstack/sets").iterdir()} == {old.hash, new.hash}, where


def while_falling_back(host: Host, step: int) -> None:
    """The next boot has the old set, wherever the run that was restoring it was killed."""
    old, bad = small_set(host, "a"), small_set(host, "b", bad="# crash-on-start\n")
    host.give(old)
    assert host.run("boot") == 0, host.output
    host.give(bad)
    assert host.run("prepare") == 0
    host.start_services()
    for where, copy in crash_points(host, "verify", step):
        copy.give(None)
        assert copy.run("prepare") == 0, (where, copy.output)
        require_none(where, remaining_faults(copy, old, bad) + inactive_units(copy))
        assert (copy.journal()["installed"], copy.journal()["phase"]) == (old.hash, ""), where


def while_taking_in_live(host: Host, step: int) -> None:
    """The node goes on and the watcher starts the applier again, or it boots: it has the set in guestinfo, whole."""
    old, new = small_set(host, "a"), small_set(host, "b")
    old_keys, new_keys = keys_of(old), keys_of(new)
    give(host, old_keys)
    assert host.run("boot") == 0, host.output
    give(host, new_keys)
    for where, copy in crash_points(host, "live", step):
        if where.startswith(KILL):
            for keys, serves, other in ((new_keys, new, old), (old_keys, old, new)):
                again = copy.clone(host.base.parent / "again")
                give(again, keys)
                assert again.run("live") == 0, (where, again.output)
                require_none(where, live_faults(again, serves, other))
                shutil.rmtree(again.base)
        assert copy.boot() == 0, (where, copy.output)
        require_none(where, live_faults(copy, new, old))


def while_falling_back_live(host: Host, step: int) -> None:
    """The same with a set that does not serve, wherever the run that falls back from it is killed."""
    old, bad, good = small_set(host, "a"), small_set(host, "b", bad="# crash-on-start\n"), small_set(host, "c")
    old_keys, bad_keys, good_keys = keys_of(old), keys_of(bad), keys_of(good)
    give(host, old_keys)
    assert host.run("boot") == 0, host.output
    give(host, bad_keys)
    for where, copy in crash_points(host, "live", step):
        if where.startswith(KILL):
            again = copy.clone(host.base.parent / "again")
            assert again.run("live") == 1, (where, again.output)
            require_none(where, live_faults(again, old, bad))
            assert again.error(), where
            shutil.rmtree(again.base)
        give(copy, good_keys)
        assert copy.boot() == 0, (where, copy.output)
        require_none(where, live_faults(copy, good, bad))


def live_faults(host: Host, has: Parts, other: Parts) -> list[str]:
    """What is wrong on a node that has to serve one of two sets now, and to know it."""
    wrong = remaining_faults(host, has, other) + inactive_units(host)
    journal = host.journal()
    if (journal["installed"], journal["trial"], journal["phase"]) != (has.hash, "", ""):
        wrong.append(f"the journal says {journal}")
    if (host.fakes / "serving").read_text().strip() != has.hash:
        wrong.append("HAProxy serves another set")
    if host.status()["installed"] != has.hash:
        wrong.append(f"the status says {host.status()}")
    return wrong


SCENARIOS: dict[str, Callable[[Host, int], None]] = {
    "while taking in": while_taking_in,
    "while restoring": while_restoring,
    "during a first boot": during_a_first_boot,
    "after a failed first boot": after_a_failed_first_boot,
    "while confirming": while_confirming,
    "while falling back": while_falling_back,
    "while taking in live": while_taking_in_live,
    "while falling back live": while_falling_back_live,
}
