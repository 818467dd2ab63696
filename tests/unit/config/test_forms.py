"""The forms of single values: accepted values, and the messages about refused ones."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lbstack.config import fields
from lbstack.config.forms import Form, FormError
from lbstack.config.missing import MISSING, known
from lbstack.config.sshkey import key_blob, key_type
from tests.keys import fido_key, signing_key, ssh_keys
from tests.unit.config.support import label


def form_of(field_type: object) -> Form:
    form = get_args(field_type)[1]
    assert isinstance(form, Form)
    return form


def refusal(field_type: object, value: object) -> str:
    with pytest.raises(FormError) as caught:
        form_of(field_type).read(value)
    assert caught.value.what
    assert not caught.value.what.endswith(".")
    assert caught.value.remedy.endswith(".")
    return f"{caught.value.what}. {caught.value.remedy}"


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        (fields.Address, "192.168.6.120"),
        (fields.Subnet, "192.168.6.0/24"),
        (fields.Subnet, "0.0.0.0/0"),  # a rule refuses it for management networks, with a reason
        (fields.HostName, "PhotonLB-01"),
        (fields.HostName, "a"),
        (fields.HostName, "x" * 63),
        (fields.DomainName, "lab"),
        (fields.DomainName, "corp.example.com"),
        (fields.FullName, "horizon.example.com"),
        (fields.TimeServer, "ntp1.example.com"),
        (fields.TimeServer, "192.168.6.100"),
        (fields.Interface, "eth0"),
        (fields.Interface, "x" * 15),
        (fields.VsphereName, "Producción (2)"),
        (fields.VsphereName, "x" * 80),
        (fields.VspherePath, "Load balancers/Lab"),
        (fields.ServerName, "Horizon_Connection_Server_01"),
        (fields.Duration, "30s"),
        (fields.Duration, "90m"),
        (fields.Duration, "24d"),
        (fields.HttpPath, "/favicon.ico"),
        (fields.HttpPath, "/a/b?c=d&e"),
        (fields.PackageVersion, "2.2.31-1.ph3"),
        (fields.Repository, "https://packages.broadcom.com/photon"),
        (fields.Repository, "https://10.0.0.5:8443/photon"),
        (fields.Kind, "appvolumes"),
        (fields.Release, "3.0-r3"),
    ],
    ids=label,
)
def test_a_value_of_the_right_form_is_accepted_unchanged(field_type: object, value: str) -> None:
    assert str(form_of(field_type).read(value)) == value


def test_a_uuid_is_returned_in_lower_case_and_a_repository_url_without_its_last_slash() -> None:
    upper = "8C1F0E2A-7D34-4C8E-9B1A-5F6E3D2C1B0A"
    assert form_of(fields.Uuid).read(upper) == upper.lower()
    assert form_of(fields.Repository).read("https://mirror.example.com/photon/") == "https://mirror.example.com/photon"


@pytest.mark.parametrize(
    ("field_type", "value", "message"),
    [
        (fields.Address, "192.168.006.1", "without leading zeros"),
        (fields.Address, "192.168.6.1/24", "with a prefix length"),
        (fields.Address, "fe80::1", "Only IPv4 is supported"),
        (fields.Address, "cs01.example.com", "names are not looked up"),
        (fields.Address, 3232237176, "Put it in quotes"),
        (fields.Address, "127.0.0.1", "a loopback address"),
        (fields.Address, "224.0.0.18", "a multicast address"),
        (fields.Address, "169.254.1.1", "a link-local address"),
        (fields.Address, "240.0.0.1", "a reserved address"),
        (fields.Address, "0.0.0.0", "a reserved address"),
        (fields.Address, None, "is empty"),
        (fields.Address, "192.168.6.1\n", "unprintable character U+000A at position 12"),
        (fields.Subnet, "192.168.6.5/24", "Write the network itself: 192.168.6.0/24."),
        (fields.Subnet, "192.168.6.0", "without a prefix length"),
        (fields.Subnet, "192.168.6.0/255.255.255.0", "without a prefix length from 0 to 32"),
        (fields.Subnet, "192.168.6.0/33", "without a prefix length from 0 to 32"),
        (fields.Subnet, "2001:db8::/32", "Only IPv4 is supported"),
        (fields.Subnet, "127.0.0.0/8", "a loopback address"),
        (fields.Subnet, "300.1.1.0/24", "not an IPv4 network"),
        (fields.HostName, "lb_01", "letters, digits and inner hyphens, at most 63"),
        (fields.HostName, "-lb", "which is not a host name"),
        (fields.HostName, "lb.example.com", "without dots"),
        (fields.HostName, "localhost", "which is not a host name"),
        (fields.HostName, "x" * 64, "has 64 characters, over the limit of 63 for a host name"),
        (fields.HostName, "x" * 81, "has 81 characters, over vSphere's limit of 80"),
        (fields.FullName, "horizon", "at least one dot"),
        (fields.FullName, "192.168.6.999", "Write a full DNS name"),
        (fields.FullName, f"{'x' * 64}.example.com", "Write a full DNS name"),
        (fields.FullName, f"{'x.' * 130}example", "over the limit of 253"),
        (fields.DomainName, "example..com", "Write a DNS name"),
        (fields.TimeServer, "192.168.6.999", "not an IPv4 address"),
        (fields.TimeServer, "fe80::1", "Only IPv4 is supported"),
        (fields.TimeServer, "ntp_1", "neither a host name nor an IPv4 address"),
        (fields.Interface, "eth0.100", "an interface name such as eth0"),
        (fields.Interface, "x" * 16, "over the limit of 15"),
        (fields.Interface, "lo", "an interface name such as eth0"),
        (fields.Interface, "all", "an interface name such as eth0"),
        (fields.VsphereName, "", "is an empty string"),
        (fields.VsphereName, "x" * 81, "over vSphere's limit of 80"),
        (fields.VsphereName, " DC0", "with a space at its beginning or end"),
        (fields.VsphereName, 'DC"0', 'has the character " at position 3'),
        (fields.VsphereName, "DC\\0", "has the character \\ at position 3"),
        (fields.VsphereName, "DC`0", "has the character ` at position 3"),
        (fields.VsphereName, "DC'0", "has the character ' at position 3"),
        (fields.VspherePath, "a//b", "empty name before, between or after its slashes"),
        (fields.VspherePath, "/a", "empty name before, between or after its slashes"),
        (fields.VspherePath, f"a/{'x' * 81}", "over vSphere's limit of 80"),
        (fields.ServerName, "cs 01", "letters, digits, _, - and ."),
        (fields.ServerName, "cs01;", "letters, digits, _, - and ."),
        (fields.ServerName, "", "is an empty string"),
        (fields.Duration, "30", "which is not a HAProxy duration"),
        (fields.Duration, "1.5h", "which is not a HAProxy duration"),
        (fields.Duration, "0s", "which is not a HAProxy duration"),
        (fields.Duration, "30 s", "which is not a HAProxy duration"),
        (fields.Duration, "25d", "longer than HAProxy's longest timer"),
        (fields.Duration, f"{'9' * 5000}s", "longer than HAProxy's longest timer"),
        (fields.Duration, 30, "Put it in quotes"),
        (fields.HttpPath, "favicon.ico", "a slash, then letters"),
        (fields.HttpPath, "/a b", "a slash, then letters"),
        (fields.HttpPath, "/a#b", "a slash, then letters"),
        (fields.HttpPath, "/$(id)", "a slash, then letters"),
        (fields.PackageVersion, "latest", "a package version such as 2.2.31-1.ph3"),
        (fields.PackageVersion, "2.2;id", "a package version such as 2.2.31-1.ph3"),
        (fields.PackageVersion, 2.2, "Put it in quotes"),
        (fields.Repository, "http://mirror.example.com/photon", "over http instead of https"),
        (fields.Repository, "https://mirror.example.com/photon?x=1", "without spaces, variables, ? or #"),
        (fields.Repository, "https://mirror.example.com/$releasever", "without spaces, variables, ? or #"),
        (fields.Repository, "mirror.example.com", "Write an https URL"),
        (fields.Kind, "uag", "is planned but not supported yet"),
        (fields.Kind, "Horizon", "Did you mean horizon?"),
        (fields.Kind, "smtp", "Choose one of: horizon, appvolumes, tcp."),
        (fields.Release, 4.0, "Put it in quotes"),
        (fields.Release, "3.0r3", "Did you mean 3.0-r3?"),
        (fields.Release, "6.0", "Choose one of: 3.0-r3, 3.0, 4.0, 5.0."),
        (fields.Uuid, "8c1f0e2a", "which is not a UUID"),
        (fields.Uuid, "8c1f0e2a7d344c8e9b1a5f6e3d2c1b0a", "which is not a UUID"),
        (fields.MemoryMib, "2048", 'is the string "2048", not a number. Write a whole number from 1024 to 262144 MiB'),
        (fields.MemoryMib, 2048.0, "is the number 2048.0"),
        (fields.MemoryMib, True, "is the Boolean true"),
        (fields.MemoryMib, 1020, "below the limit of 1024 MiB"),
        (fields.MemoryMib, 2**20, "above the limit of 262144 MiB"),
        (fields.MemoryMib, "02048", "without quotes"),
        (fields.DiskGib, 15, "below the limit of 16 GiB"),
        (fields.Cpus, 0, "below the limit of 1 vCPUs"),
        (fields.RouterId, 0, "from 1 to 255"),
        (fields.RouterId, 256, "from 1 to 255"),
        (fields.Port, 0, "from 1 to 65535"),
        (fields.Port, 65_536, "from 1 to 65535"),
        (fields.Port, 10**6000, "a number of more than 64 bits"),
        (fields.Flag, "true", "Write true or false, without quotes."),
        (fields.Flag, 1, "Write true or false, without quotes."),
        (fields.Protect, "yes", "Write true or false, without quotes, or lifecycle"),
    ],
    ids=label,
)
def test_a_value_of_a_wrong_form_is_refused_with_a_remedy(field_type: object, value: object, message: str) -> None:
    assert message in refusal(field_type, value)


def test_a_login_in_a_url_is_not_shown() -> None:
    message = refusal(fields.Repository, "https://robot:hunter2@mirror.example.com/photon")
    assert "login" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(("value", "read"), [(True, True), (False, False), (None, None), ("lifecycle", None)])
def test_protect_accepts_a_boolean_or_the_word_lifecycle(value: object, read: object) -> None:
    assert form_of(fields.Protect).read(value) is read


@pytest.mark.parametrize("number", range(len(ssh_keys())))
def test_public_keys_of_every_common_type_are_accepted_and_stripped(number: int) -> None:
    key = ssh_keys()[number]
    assert form_of(fields.SshKey).read(f" {key} operations \n") == f"{key} operations"
    assert key_blob(f"{key} operations") == key
    assert key_type(key) == key.split()[0]


def test_the_public_key_of_a_fido_token_is_accepted() -> None:
    assert form_of(fields.SshKey).read(fido_key()) == fido_key()


ED25519 = ssh_keys()[0].split()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (signing_key(), "is a private key (not shown here)"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA", "is a private key (not shown here)"),
        ("", "is an empty string"),
        (5, "is the number 5"),
        (f"{ssh_keys()[0]}\n{ssh_keys()[1]}", "has more than one line"),
        (f'from="10.0.0.1" {ssh_keys()[0]}', "quotes"),
        (f"no-pty {ssh_keys()[0]}", "options before a key are not supported"),
        (f"{ssh_keys()[0]} Jos\u00e9", "non-ASCII characters"),
        ("ssh-dss AAAAB3NzaC1kc3M", "is a DSA key"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "is a certificate"),
        (ED25519[1], "does not begin with a key type"),
        ("ssh-ed25519", "ends after the key type"),
        (f"ssh-ed25519 {ED25519[1][:-8]}", "is incomplete"),
        (f"ssh-rsa {ED25519[1]}", "begins with ssh-rsa, but the rest is not such a key"),
        ("ssh-ed25519 *", "begins with ssh-ed25519, but the rest is not such a key"),
    ],
    ids=label,
)
def test_an_unusable_public_key_is_refused_without_being_shown(value: Any, expected: str) -> None:
    message = refusal(fields.SshKey, value)
    assert expected in message
    assert not isinstance(value, str) or len(value) < 20 or value[-20:] not in message


def test_a_short_rsa_key_is_refused_with_its_length() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    line = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    assert "is an RSA key of 1024 bits, below the limit of 2048" in refusal(fields.SshKey, line)


def test_missing_is_accepted_by_every_form_and_all_its_parts_are_missing() -> None:
    section: Any = MISSING
    assert section.stats.users.items() == section
    assert form_of(fields.Port).read_or_missing(section) == section
    assert list(section) == []
    assert len(section) == 0
    assert repr(section) == "MISSING"
    assert known(1, None)
    assert not known(1, section)
    assert not hasattr(section, "__html__")
