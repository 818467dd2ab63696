"""Killed at any point, by ``kill -9`` or a power failure: the next boot ends with exactly one whole set.

Each scenario runs a command once to count the calls that leave a mark on the disk (and the commands it starts), then
again for each of them, ended right before it, and looks at what the next boot makes of the rest. A power failure
loses the content of unsynced files too; where there is none at that moment, it is the same as a kill and not tried
twice. ``step`` is for a quick look: every call is what counts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.unit.guest.host import HERE, Endpoint, Host, Item, Parts, Zygote, scratch

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
    """Makes most commands of a node do nothing, and that quickly."""
    for name in ("systemd-tmpfiles", "haproxy", "keepalived", "chpasswd", "chage", "journalctl"):
        link = host.base / "bin" / name
        link.unlink()
        link.symlink_to("/bin/true")
    (host.base / "bin" / "openssl").unlink()
    (host.base / "bin" / "openssl").symlink_to(HERE / "fakes" / "verified")
    for table, row in (("passwd", "haproxy:x:990:990::/:/bin/false\n"), ("group", "haproxy:x:990:\n")):
        host.put(f"/etc/{table}", host.read(f"/etc/{table}") + row)
    return host


@contextmanager
def place(zygote: Zygote, endpoint: Endpoint) -> Iterator[Host]:
    """A hastened node."""
    with scratch() as base:
        (base / "node").mkdir()
        yield hasten(Host(base / "node", zygote, endpoint).build())


def points(host: Host, command: str, step: int) -> Iterator[tuple[str, Host]]:
    """Copies of the host on which a command was ended before its first, second, ... call."""
    aside = host.base.parent / "killed"
    counted = host.clone(aside)
    counted.run(command)
    assert counted.calls > KILLED, counted.said
    shutil.rmtree(aside)
    for number in range(1, counted.calls + 1, step):
        for power in (True, False):
            copy = host.clone(aside)
            assert copy.run(command, kill_at=number, power=power) == KILLED, copy.said
            yield f"{'power failure' if power else 'kill -9'} before call {number} of {counted.calls}", copy
            lost = copy.lost
            shutil.rmtree(aside)
            if power and not lost:
                break


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
