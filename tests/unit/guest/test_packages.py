"""Packages at the first boot: the node installs what its image lacks, or reports why it cannot."""

from __future__ import annotations

import pytest

from tests.unit.guest.host import Host
from tests.unit.guest.sets import Item


def test_packages_in_the_image_need_no_tdnf(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 0
    assert fresh.ran("tdnf") == fresh.ran("rpm") == []


KEY = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-4096"


def packages(**changes: object) -> dict[str, object]:
    """The section ``packages`` of ``node.json``."""
    return {"install": ["haproxy", "keepalived"], "versions": {}, "upgrade": False, "tdnf_keys": [KEY]} | changes


@pytest.fixture
def bare(fresh: Host) -> Host:
    """A node whose image has neither daemon."""
    for name in ("haproxy", "keepalived"):
        fresh.at(f"/usr/sbin/{name}").unlink()
    return fresh


def test_missing_packages_are_installed_after_network_repository_and_key_are_configured(bare: Host) -> None:
    parts = bare.make("a", {KEY: Item("a key\n")}, packages=packages(versions={"haproxy": "2.2.31-1.ph3"}))
    bare.give(parts)
    assert bare.run("boot") == 0, bare.output
    assert bare.ran("tdnf") == ["tdnf makecache", "tdnf install -y haproxy-2.2.31-1.ph3 keepalived"]
    places = bare.positions("systemctl restart systemd-networkd", "ip ", "rpm --import", "tdnf install", "haproxy -c")
    assert places == sorted(places)
    assert bare.ran("rpm --import") == [f"rpm --import {bare.root}{KEY}"]
    assert "--nogpgcheck" not in " ".join(bare.log())


def test_an_installed_package_is_not_installed_again(bare: Host) -> None:
    (bare.fakes / "rpm.keepalived").touch()
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages()))
    assert bare.run("boot") == 0, bare.output
    assert bare.ran("tdnf install") == ["tdnf install -y haproxy"]


def test_the_sets_configuration_replaces_that_of_packages(bare: Host) -> None:
    parts = bare.make("a", {KEY: Item("a key\n")}, packages=packages())
    bare.give(parts)
    bare.run("boot")
    assert bare.differing(parts) == []


def test_a_dead_repository_is_named_with_the_missing_programs(bare: Host) -> None:
    repo = "[photon]\nbaseurl=https://dead.example/photon\n"
    bare.give(bare.make("a", {KEY: Item("a key\n"), "/etc/yum.repos.d/photon.repo": repo}, packages=packages()))
    assert bare.run("boot") == 2
    assert "after tdnf install there is no /usr/sbin/haproxy, /usr/sbin/keepalived" in bare.error()
    assert "https://dead.example/photon" in bare.error()
    assert "No matching packages" in bare.error()


def test_a_first_boot_that_failed_without_packages_succeeds_at_the_next_boot(bare: Host) -> None:
    (bare.fakes / "tdnf.refuse").write_text("Error(1200) : connection timed out")
    parts = bare.make("a", {KEY: Item("a key\n")}, packages=packages())
    bare.give(parts)
    assert bare.run("boot") == 2
    enabled = bare.ran("systemctl enable")
    assert enabled == ["systemctl enable lbstack-apply.service lbstack-verify.service"]
    (bare.fakes / "tdnf.refuse").unlink()
    assert bare.boot() == 0, bare.output
    assert bare.has(parts)
    assert bare.status()["phase"] == "ok"


def test_a_repository_that_never_answers_ends_with_the_time_limit(bare: Host) -> None:
    (bare.fakes / "tdnf.hang").touch()
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages(), binaries=["/usr/sbin/haproxy"]))
    assert bare.run("boot") == 2
    assert "tdnf: no end within 900 s" in bare.error()


def test_an_unusable_key_is_refused_before_tdnf_is_called(bare: Host) -> None:
    (bare.fakes / "rpm.refuse").write_text("error: key 1 import failed.")
    bare.give(bare.make("a", {KEY: Item("no key\n")}, packages=packages()))
    assert bare.run("boot") == 2
    assert "import failed" in bare.error()
    assert bare.ran("tdnf") == []


def test_without_an_address_no_package_is_downloaded_and_the_wait_ends(bare: Host) -> None:
    (bare.fakes / "address").unlink()
    bare.give(bare.make("a", packages=packages(tdnf_keys=[])))
    assert bare.run("boot") == 2
    expected = "eth0 has not got the address 192.168.6.120, so no package can be fetched (waited 60 s)"
    assert bare.error() == expected


def test_packages_are_upgraded_only_when_configured_and_only_at_the_first_boot(fresh: Host) -> None:
    fresh.give(fresh.make("a", packages=packages(upgrade=True, tdnf_keys=[])))
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.ran("tdnf") == ["tdnf makecache", "tdnf upgrade -y"]
    fresh.forget()
    fresh.give(fresh.make("b", packages=packages(upgrade=True, tdnf_keys=[])))
    assert fresh.boot() == 0
    assert fresh.ran("tdnf") == []


def test_packages_are_not_upgraded_while_keepalived_runs(fresh: Host) -> None:
    (fresh.fakes / "unit.keepalived.service").write_text("active\n")
    fresh.give(fresh.make("a", packages=packages(upgrade=True, tdnf_keys=[])))
    fresh.run("boot")
    assert fresh.ran("tdnf upgrade") == []
    assert "no upgrade: keepalived runs" in str(fresh.status()["warnings"])


def test_packages_come_through_the_proxy_and_from_a_mirror_with_a_ca_of_its_own(bare: Host) -> None:
    source = {"proxy": "http://proxy.example:3128", "ca": "-----BEGIN CERTIFICATE-----\n"}
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages(**source)))
    assert bare.run("boot") == 0, bare.output
    both = " ".join([source["proxy"]] * 2)
    assert (bare.fakes / "tdnf.proxies").read_text().splitlines() == [both, both]
    authority = bare.at("/var/lib/lbstack/packages.pem")
    assert (authority.read_text(), authority.stat().st_mode & 0o777) == (source["ca"], 0o644)


def test_without_a_proxy_none_is_used(bare: Host) -> None:
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages()))
    assert bare.run("boot") == 0, bare.output
    assert (bare.fakes / "tdnf.proxies").read_text().split() == []
    assert not bare.at("/var/lib/lbstack/packages.pem").exists()


def test_what_is_no_proxy_is_refused(bare: Host) -> None:
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages(proxy="http://a b")))
    assert bare.run("boot") != 0
    assert bare.ran("tdnf") == []


def test_an_image_whose_sshd_lets_no_root_in_is_named(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    (fresh.fakes / "sshd").write_text("port 22\npermitrootlogin no\n")
    assert fresh.run("boot") == 0, fresh.output
    assert "sshd lets no root in" in str(fresh.status()["warnings"])
    (fresh.fakes / "sshd").write_text("port 22\npermitrootlogin prohibit-password\n")
    assert fresh.run("boot") == 0, fresh.output
    assert "sshd" not in str(fresh.status()["warnings"])
