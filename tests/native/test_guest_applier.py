"""The applier with the real programs of a guest: openssl, both daemons and their checkers, the packet filter, chpasswd.

A sandbox has no systemd, so a stand-in starts and stops the daemons. All other programs are the guest's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.render.files import File, render_pair
from lbstack.render.pack import guestinfo
from lbstack.render.paths import APPLIER, HOSTNAME, PUBLIC_KEY, SET_FILES, TMPFILES
from tests.goldens.cases import load, post
from tests.guestinfo import decoded, document_of, written_files
from tests.native.sandbox import Sandbox, sandbox

# Image → the release whose set the image's HAProxy and keepalived can read.
RELEASES = {"bookworm": "3.0", "bullseye": "3.0-r3"}
MAXCONN = 2000  # a sandbox may not raise its limit of open files
STAGED = f"{SET_FILES}{APPLIER}"
GUESTINFO = "/run/guestinfo"

SYSTEMCTL = """#!/bin/sh
# Starts and stops the two daemons with their units' environment; any other command is only logged.
echo "$*" >>/run/systemctl.log
verb=$1 unit=$2
case $unit in
haproxy.service)
    set -a
    eval "$(sed -n 's/^Environment=//p' /etc/systemd/system/haproxy.service.d/lbstack.conf)"
    start='haproxy -D -f /etc/haproxy/haproxy.cfg -p /run/haproxy.pid' pid=/run/haproxy.pid ;;
keepalived.service) start='keepalived -p /run/keepalived.pid' pid=/run/keepalived.pid ;;
*) exit 0 ;;
esac
running() { [ -s $pid ] && kill -0 $(cat $pid) 2>/dev/null; }
case $verb in
is-active) if running; then echo active; else echo inactive; exit 3; fi ;;
stop | restart)
    if running; then
        kill $(cat $pid)
        while running; do sleep 0.05; done
    fi
    rm -f $pid
    if [ $verb = restart ]; then
        mkdir -p /run/haproxy
        $start || exit 1
        if [ $unit = haproxy.service ]; then echo 0 >/run/lbstack/haproxy.down; fi
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do running && exit 0; sleep 0.1; done
        exit 1
    fi ;;
reload)
    if [ $unit = haproxy.service ]; then
        haproxy -D -f /etc/haproxy/haproxy.cfg -p $pid -x /run/haproxy/admin.sock -sf $(cat $pid)
    else
        kill -HUP $(cat $pid)
    fi ;;
esac
"""
RPCTOOL = """#!/bin/sh
file=/run/guestinfo/${1#info-get guestinfo.}
if [ -e "$file" ]; then cat "$file"; else echo "No value found" >&2; exit 1; fi
"""


@dataclass(frozen=True)
class Guest:
    """A sandbox with the configuration of its node."""

    box: Sandbox
    config: StackConfig
    secrets: Secrets

    def status(self) -> dict[str, object]:
        """The node's status, as the applier wrote it."""
        return dict(json.loads(self.box.must("cat", "/run/lbstack/status.json")))

    def give(self, text: str) -> None:
        """Write a document into guestinfo."""
        self.box.must("mkdir", "-p", GUESTINFO)
        self.box.must("sh", "-c", f"cat >{GUESTINFO}/userdata", stdin=text)


def configured(release: str, **sections: object) -> tuple[StackConfig, Secrets]:
    """The source post's configuration for a release, with some sections replaced."""
    raw = post()
    return load(raw | {"image": raw["image"] | {"release": release}, "haproxy": {"maxconn": MAXCONN}} | sections)


def document(config: StackConfig, secrets: Secrets) -> str:
    """The text of the first node's cloud-config."""
    return decoded(guestinfo(config, render_pair(config, secrets), config.nodes[0].name, secrets))


@pytest.fixture(params=RELEASES)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest after cloud-init's write_files."""
    config, secrets = configured(RELEASES[request.param])
    node = config.nodes[0]
    staged = written_files(document_of(document(config, secrets)))
    files = {path: File(text, mode=0o644 if path.endswith(".pub") else 0o600) for path, text in staged.items()}
    files["/usr/local/bin/systemctl"] = File(SYSTEMCTL, mode=0o755)
    files["/usr/local/bin/vmware-rpctool"] = File(RPCTOOL, mode=0o755)
    files[HOSTNAME] = File(f"{node.name}\n")
    # The sandbox creates the runtime files for tests with an installed set; here the applier creates them.
    files[TMPFILES] = File("")
    with sandbox(request.param, files, addresses=[f"{node.address}/24"]) as box:
        yield Guest(box, config, secrets)


@pytest.fixture
def serving(guest: Guest) -> Guest:
    """The same guest after its first boot."""
    result = guest.box.run("python3", STAGED, "boot")
    assert result.returncode == 0, result.stderr
    return guest


def test_a_first_boot_ends_with_both_daemons_serving_the_set(serving: Guest) -> None:
    box, pair = serving.box, render_pair(serving.config, serving.secrets)
    assert serving.status()["phase"] == "ok"
    assert serving.status()["installed"] == pair.config_hash
    for path, file in pair.nodes[serving.config.nodes[0].name].items():
        assert box.must("cat", path) == file.content
        assert box.must("stat", "-c", "%U:%G %a", path).strip() == f"{file.owner} {file.mode:o}"
    assert "-A INPUT" in box.must("iptables-save")
    assert box.must("passwd", "-S", "root").split()[1] == "L"
    assert box.must("chage", "-l", "root").count("never") >= 3


def test_the_health_endpoint_reports_the_result_of_the_last_set(serving: Guest) -> None:
    where = f"http://{serving.config.nodes[0].address}:8405/health"
    ask = f"import urllib.request as u; print(u.urlopen('{where}').read().decode())"
    assert json.loads(serving.box.must("python3", "-c", ask))["apply"] == "ok"
    serving.give("#cloud-config\n{}")
    assert serving.box.run(APPLIER, "prepare").returncode == 1
    reported = json.loads(serving.box.must("python3", "-c", ask))["apply"]
    assert reported == "refused: guestinfo.userdata is no cloud-config of this project with a signed set"


def test_running_daemons_reload_a_changed_set(serving: Guest) -> None:
    release = serving.config.image.release
    config, secrets = configured(release, stats=post()["stats"] | {"port": 8444})
    serving.give(document(config, secrets))
    result = serving.box.run(APPLIER, "boot")
    assert result.returncode == 0, result.stderr
    assert serving.status()["installed"] == render_pair(config, secrets).config_hash


def test_a_signature_that_openssl_does_not_verify_is_refused(serving: Guest) -> None:
    text = document(serving.config, serving.secrets)
    assert text.count('\\"mode\\":\\"0600\\"') > 1
    serving.give(text.replace('\\"mode\\":\\"0600\\"', '\\"mode\\":\\"0644\\"', 1))
    result = serving.box.run(APPLIER, "prepare")
    assert result.returncode == 1, result.stderr
    assert f"the set's signature does not fit {PUBLIC_KEY}: " in str(serving.status()["error"])
    assert serving.status()["installed"] == render_pair(serving.config, serving.secrets).config_hash
