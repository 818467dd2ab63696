"""Killed at any point, by ``kill -9`` or a power failure: the next boot ends with exactly one whole set.

Each scenario runs a command once. It stops before each call that leaves a mark on the disk (and before each command it
starts), and what the next boot makes of a copy of the disk at that moment is what it would make of a kill's rest: a
killed process leaves nothing else. A power failure loses the content of unsynced files too. A disk on which everything
is as on one before is not tried twice: many calls change nothing, such as a sync. ``step`` is for a quick look: every
call is what counts.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from tests.unit.guest.host import Endpoint, Host, Item, Parts, Zygote, scratch

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
STARTED_AT_BOOT = {"haproxy.service", "keepalived.service", "iptables.service"} | {
    f"lbstack-{name}.service" for name in ("apply", "verify")
}


def lean(host: Host, mark: str, bad: str = "") -> Parts:
    """A small set, so that there are not too many points to be killed at; ``b`` has a file more and one fewer."""
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


def hasten(host: Host) -> Host:
    """Has most commands of a node do nothing, and that without a process."""
    quiet = ("systemd-tmpfiles", "haproxy", "keepalived", "chpasswd", "chage", "journalctl", host.python)
    host.answers = dict.fromkeys(quiet, "") | {"openssl": "Verified OK\n"}
    for table, row in (("passwd", "haproxy:x:990:990::/:/bin/false\n"), ("group", "haproxy:x:990:\n")):
        host.put(f"/etc/{table}", host.read(f"/etc/{table}") + row)
    return host


@contextmanager
def place(zygote: Zygote, endpoint: Endpoint) -> Iterator[Host]:
    """A hastened node."""
    with scratch() as base:
        (base / "node").mkdir()
        yield hasten(Host(base / "node", zygote, endpoint).build())


def disk(host: Host, unsynced: frozenset[tuple[int, int]]) -> list[bytes]:
    """Digests of all that is on the disk: as it is, and with the files of these numbers empty if there are any.

    The log of the commands is left out, and the moment that a status was written at: nothing reads them but tests.
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
            kept = b"" if (info.st_dev, info.st_ino) in unsynced else content
            for digest, left in zip(digests, (content, kept), strict=True):
                about = (entry.path[start:], info.st_mode, info.st_uid, info.st_gid, len(left))
                digest.update(repr(about).encode() + left)
    return [digest.digest() for digest in digests[: 2 if unsynced else 1]]


def lose(host: Host, copy: Host, numbers: frozenset[tuple[int, int]]) -> None:
    """Empties those files of a copy that have these numbers on the host."""
    for path in host.root.rglob("*"):
        info = path.lstat()
        if path.is_file() and not path.is_symlink() and (info.st_dev, info.st_ino) in numbers:
            os.truncate(copy.root / path.relative_to(host.root), 0)


def points(host: Host, command: str, step: int) -> Iterator[tuple[str, Host]]:
    """Copies of the host as they are when a command ends before its first, second, ... call."""
    running, seen, stops = host.clone(host.base.parent / "running"), set(), 0
    with closing(Zygote()) as zygote:  # the host's own runs what is done with the copies meanwhile
        for call, unsynced in running.walk(zygote, command, step=step):
            stops += 1
            for lost, now in zip((frozenset[tuple[int, int]](), unsynced), disk(running, unsynced), strict=False):
                if now in seen:
                    continue
                seen.add(now)
                copy = running.clone(host.base.parent / "killed")
                lose(running, copy, lost)
                yield f"{'power failure' if lost else 'kill -9'} before call {call} of {command}", copy
                shutil.rmtree(copy.base)
    assert running.calls > KILLED, running.said
    assert stops == len(range(0, running.calls, step)), "not every call was looked at"
    shutil.rmtree(running.base)


def live(host: Host, has: Parts, other: Parts | None = None) -> list[str]:
    """What is wrong when the live files should be those of one set, with nothing of the other left."""
    left = set(other.files) - set(has.files) if other else set()
    return [*host.differing(has), *(path for path in left if host.at(path).exists())]


def whole(host: Host, has: Parts, other: Parts | None = None) -> list[str]:
    """What is wrong when that should be so and nothing else be left lying about either."""
    wrong = live(host, has, other) + host.leftovers()
    return [*wrong, host.said] if wrong else []


def at_work(host: Host) -> list[str]:
    """What is wrong when systemd should know the live units and start them at the next boot."""
    off = sorted(STARTED_AT_BOOT - host.enabled())
    return [f"{unit} is not enabled" for unit in off] + ([] if host.loaded() else ["systemd has other drop-ins"])


def expect(where: str, wrong: list[str]) -> None:
    """Fails with all that is wrong."""
    assert not wrong, f"{where}: {wrong}"


def while_taking_in(host: Host, step: int) -> None:
    """The next boot has the new set; or the old one, when guestinfo does not ask for the new one any more."""
    old, new = lean(host, "a"), lean(host, "b")
    host.give(old)
    assert host.run("boot") == 0, host.said
    host.give(new)
    for where, copy in points(host, "prepare", step):
        other = copy.clone(host.base.parent / "other")
        other.give(None)
        assert other.run("prepare") == 0, (where, other.said)
        expect(where, whole(other, old, new))
        assert (other.journal()["installed"], other.journal()["phase"]) == (old.hash, ""), where
        shutil.rmtree(other.base)
        expect(where, without_a_reboot(copy, old, new))
        assert copy.run("prepare") == 0, (where, copy.said)
        expect(where, whole(copy, new, old))
        assert (copy.journal()["trial"], copy.journal()["phase"]) == (new.hash, "trial"), where


def without_a_reboot(host: Host, old: Parts, new: Parts) -> list[str]:
    """What is wrong when ``prepare`` ended early and the same boot goes on: one whole set is installed and at work."""
    copy = host.clone(host.base.parent / "goes-on")
    copy.start_services()
    copy.run("verify")
    serves, other = (new, old) if copy.journal()["installed"] == new.hash else (old, new)
    wrong = live(copy, serves, other) + at_work(copy)
    if (copy.journal()["trial"], copy.journal()["phase"]) != ("", ""):
        wrong.append("the trial is not over")
    if (copy.fakes / "serving").read_text().strip() != serves.hash:
        wrong.append("HAProxy serves the other set")
    shutil.rmtree(copy.base)
    return wrong


def while_restoring(host: Host, step: int) -> None:
    """The power failed before the confirmation, and the run that puts the old set back is ended in its turn."""
    old, new = lean(host, "a"), lean(host, "b")
    host.give(old)
    assert host.run("boot") == 0, host.said
    host.give(new)
    assert host.run("prepare") == 0
    host.give(None)
    host.go_down()
    for where, copy in points(host, "prepare", step):
        expect(where, without_a_reboot(copy, old, new))
        assert copy.boot() == 0, (where, copy.said)
        expect(where, whole(copy, old, new) + at_work(copy))
        assert (copy.journal()["installed"], copy.journal()["phase"]) == (old.hash, ""), where


def during_a_first_boot(host: Host, step: int) -> None:
    """The next boot finishes it, and so does a run by hand."""
    new = lean(host, "b")
    host.stage(new)
    for where, copy in points(host, "boot", step):
        other = copy.clone(host.base.parent / "other")
        for again, end in ((other, other.boot()), (copy, copy.run("boot"))):
            assert end == 0, (where, again.said)
            expect(where, whole(again, new) + at_work(again))
            assert again.status()["phase"] == "ok", where
            assert again.at("/etc/cloud/cloud-init.disabled").exists(), where
            assert not again.at("/var/lib/lbstack/staging").exists(), where
        shutil.rmtree(other.base)


def after_a_failed_first_boot(host: Host, step: int) -> None:
    """The next boot finishes the corrected set's, and nothing is left of the first set."""
    bad, new = lean(host, "a", bad="# crash-on-start\n"), lean(host, "b")
    host.give(bad)
    assert host.run("boot") == 2, host.said
    host.give(new)
    host.go_down()
    for where, copy in points(host, "prepare", step):
        assert copy.boot() == 0, (where, copy.said)
        expect(where, whole(copy, new, bad) + at_work(copy))
        assert copy.journal()["installed"] == new.hash, where


def while_confirming(host: Host, step: int) -> None:
    """The next boot has the new set and can fall back to the old one."""
    old, new = lean(host, "a"), lean(host, "b")
    host.give(old)
    assert host.run("boot") == 0, host.said
    host.give(new)
    assert host.run("prepare") == 0
    host.start_services()
    for where, copy in points(host, "verify", step):
        assert copy.boot() == 0, (where, copy.said)
        expect(where, whole(copy, new, old) + at_work(copy))
        assert (copy.journal()["installed"], copy.journal()["previous"]) == (new.hash, old.hash), where
        assert {path.name for path in copy.at("/var/lib/lbstack/sets").iterdir()} == {old.hash, new.hash}, where


def while_falling_back(host: Host, step: int) -> None:
    """The next boot has the old set, wherever the run that was putting it back ended."""
    old, bad = lean(host, "a"), lean(host, "b", bad="# crash-on-start\n")
    host.give(old)
    assert host.run("boot") == 0, host.said
    host.give(bad)
    assert host.run("prepare") == 0
    host.start_services()
    for where, copy in points(host, "verify", step):
        copy.give(None)
        assert copy.run("prepare") == 0, (where, copy.said)
        expect(where, whole(copy, old, bad) + at_work(copy))
        assert (copy.journal()["installed"], copy.journal()["phase"]) == (old.hash, ""), where


SCENARIOS: dict[str, Callable[[Host, int], None]] = {
    "while taking in": while_taking_in,
    "while restoring": while_restoring,
    "during a first boot": during_a_first_boot,
    "after a failed first boot": after_a_failed_first_boot,
    "while confirming": while_confirming,
    "while falling back": while_falling_back,
}
