"""Define the types of the configuration's fields: a Python type with its form, its limits and their reasons.

``models.py`` uses them; this module does not know the place of a field.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated

from lbstack.config.forms import (
    DOMAIN,
    LABEL,
    LABEL_LIMIT,
    VSPHERE_NAME_LIMIT,
    Form,
    FormError,
    matching,
    one_of,
    plain_text,
    read_address,
    read_flag,
    read_network,
    whole,
)
from lbstack.config.sshkey import KEY_TYPES, read_ssh_key
from lbstack.facts.kinds import KINDS, PLANNED_KINDS, duration_ms
from lbstack.facts.releases import RELEASES
from lbstack.problems import quote

IPV4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"

MIN_MEMORY_MIB = 1024  # half of it is kinds.RESERVED_MIB, the other half carries connections
MAX_MEMORY_MIB = 262_144  # 256 GiB: far more than connections can use (kinds.MAXCONN_CEILING), so a typing error
MEMORY_STEP_MIB = 4  # the memory of a vSphere VM is a multiple of 4 MB
MAX_CPUS = 64  # HAProxy runs at most 64 threads in 2.2 to 2.6 (its manual, "nbthread")
MIN_DISK_GIB = 16  # the disk of every Photon OVA; a clone's disk can be larger, but not smaller
MAX_DISK_GIB = 63_488  # 62 TiB, vSphere's largest virtual disk
MAX_HOURS = 8760  # a year; a lab that has to exist longer gets no time to live
DEFAULT_HARD_STOP = "10h"  # by default Horizon has its clients log in again after ten hours: no session is older
MIN_HARD_STOP = "1m"  # the other node's turn comes within a minute: shorter, and no session outlives a roll
MAX_HARD_STOP = "7d"  # with 8 old workers (OLD_WORKERS of lbstack-apply) the next change waits until one has ended
MAX_GENERATION = 999_999_999  # nine digits: what the applier reads; room for dates such as 20261128
PINNABLE = ("haproxy", "keepalived")  # the packages that a node installs by name
MIN_MAXCONN = 500  # kinds.derived_maxconn returns at least that


def _read_vsphere_name(value: object) -> str:
    text = plain_text(value, "the name that vCenter shows")
    if len(text) > VSPHERE_NAME_LIMIT:
        raise FormError(
            f"has {len(text)} characters, over vSphere's limit of {VSPHERE_NAME_LIMIT} for a name",
            "Write the name that vCenter shows.",
        )
    return text


def _read_vsphere_path(value: object) -> str:
    text = plain_text(value, "a name or a path such as Load balancers/Lab")
    for part in text.split("/"):
        if not part:
            raise FormError(
                f"is {quote(text)}, with an empty name before, between or after its slashes",
                "Write the names with one slash between them; write a slash inside a name as %2f.",
            )
        _read_vsphere_name(part)
    return text


def _read_host_name(value: object) -> str:
    noun = "a host name such as PhotonLB-01"
    hint = f"Write {noun}: letters, digits and inner hyphens, at most {LABEL_LIMIT} characters, without dots."
    text = plain_text(value, noun)
    if len(text) > VSPHERE_NAME_LIMIT:
        raise FormError(
            f"has {len(text)} characters, over vSphere's limit of {VSPHERE_NAME_LIMIT} for a VM's name and the limit "
            f"of {LABEL_LIMIT} for a host name",
            hint,
        )
    if len(text) > LABEL_LIMIT:
        raise FormError(f"has {len(text)} characters, over the limit of {LABEL_LIMIT} for a host name", hint)
    if not re.fullmatch(LABEL, text) or text.lower() == "localhost":
        raise FormError(f"is {quote(text)}, which is not a host name", hint)
    return text


def _read_uuid(value: object) -> str:
    noun = "vCenter's instance UUID such as 4c4c4544-0038-4d10-8052-b4c04f583332"
    text = plain_text(value, noun)
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise FormError(f"is {quote(text)}, which is not a UUID", f"Write {noun}; `govc about` prints it.")
    return text.lower()


def _read_duration(value: object) -> str:
    noun = "a duration such as 30s, 90m or 1h"
    hint = f"Write {noun}: a whole number and one of the units ms, s, m, h, d."
    text = plain_text(value, noun)
    try:
        duration_ms(text)
    except ValueError:
        long = re.fullmatch("[1-9][0-9]*(?:ms|s|m|h|d)", text)
        reason = "which is longer than HAProxy's longest timer (24 days)" if long else "which is not a HAProxy duration"
        raise FormError(f"is {quote(text)}, {reason}", hint) from None
    return text


def _read_hard_stop(value: object) -> str:
    text = _read_duration(value)
    limits = f"{MIN_HARD_STOP} to {MAX_HARD_STOP}"
    if duration_ms(text) < duration_ms(MIN_HARD_STOP):
        raise FormError(
            f"is {text}, below the limit of {MIN_HARD_STOP}: every change would cut the sessions that it is to spare",
            f"Write a duration from {limits}; a login to Horizon lasts {DEFAULT_HARD_STOP} by default.",
        )
    if duration_ms(text) > duration_ms(MAX_HARD_STOP):
        raise FormError(
            f"is {text}, above the limit of {MAX_HARD_STOP}: old workers of HAProxy would keep later changes waiting",
            f"Write a duration from {limits}; a login to Horizon lasts {DEFAULT_HARD_STOP} by default.",
        )
    return text


def _read_time_server(value: object) -> str:
    noun = "a host name or an IPv4 address such as ntp.example.com"
    text = plain_text(value, noun)
    if re.fullmatch(r"[0-9.]+", text) or ":" in text:
        return str(read_address(text))
    if not re.fullmatch(DOMAIN, text):
        raise FormError(f"is {quote(text)}, which is neither a host name nor an IPv4 address", f"Write {noun}.")
    return text


URL_HOST = rf"(?:{IPV4}|{DOMAIN.replace('$)', '(?=[:/]|$))', 1)})(?::[1-9][0-9]{{0,4}})?"
"""Host and port of a URL, as a pattern."""


def _refuse_login(url: str, remedy: str) -> None:
    """Refuse a URL with a login; it is not quoted, because the part before the @ is one."""
    if "@" in url:
        raise FormError("has an @ and so perhaps a login, which every node would store in plain text", remedy)


def _read_repository(value: object) -> str:
    noun = "an https URL such as https://packages.broadcom.com/photon"
    text = plain_text(value, noun)
    _refuse_login(text, f"Write {noun}, of a mirror that needs no login.")
    if not re.fullmatch(rf"https://{URL_HOST}(?:/[A-Za-z0-9._~%+-]+)*/?", text):
        scheme, separator, _ = text.partition("://")
        reason = f", over {scheme} instead of https" if separator and scheme.lower() != "https" else ""
        raise FormError(
            f"is {quote(text)}{reason}",
            f"Write {noun}, without spaces, variables, ? or #; packages are installed as root.",
        )
    return text.rstrip("/")


def _read_proxy(value: object) -> str:
    noun = "an http URL such as http://proxy.example.com:3128"
    text = plain_text(value, noun)
    _refuse_login(text, f"Write {noun}, of a proxy that needs no login.")
    if not re.fullmatch(rf"http://{URL_HOST}/?", text):
        raise FormError(f"is {quote(text)}", f"Write {noun}, without a path.")
    return text.rstrip("/")


def _read_certificates(value: object) -> str:
    noun = "one or more CA certificates in PEM form"
    if not isinstance(value, str):
        raise FormError("is not text", f"Write {noun}, as a block (|).")
    text = "\n".join(line.strip() for line in value.strip().splitlines())
    body = r"-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]{1,76}\n)+-----END CERTIFICATE-----"
    if not re.fullmatch(rf"{body}(?:\n+{body})*", text):
        raise FormError(
            "has other lines than those of certificates", f"Write {noun}, as a block (|), and nothing else."
        )
    return re.sub(r"\n+", "\n", text) + "\n"


def _read_protect(value: object) -> bool | None:
    """Read ``protect``; ``lifecycle`` names the default, because the engine needs a default for each declared key."""
    if value is None or value == "lifecycle":
        return None
    if not isinstance(value, bool):
        raise FormError(
            "is not true, false or lifecycle",
            "Write true or false, without quotes, or lifecycle (protected when the lifecycle is production).",
        )
    return value


Flag = Annotated[bool, Form(read_flag, {"type": "boolean"})]
Protect = Annotated[
    bool | None, Form(_read_protect, {"anyOf": [{"type": "boolean"}, {"const": "lifecycle"}, {"type": "null"}]})
]
Address = Annotated[IPv4Address, Form(read_address, {"type": "string", "pattern": f"^{IPV4}$"})]
Subnet = Annotated[
    IPv4Network, Form(read_network, {"type": "string", "pattern": f"^{IPV4}/(?:[0-9]|[12][0-9]|3[0-2])$"})
]
Release = Annotated[str, one_of("a Photon release", RELEASES)]
Kind = Annotated[str, one_of("a kind of service", KINDS, PLANNED_KINDS)]
VsphereName = Annotated[
    str, Form(_read_vsphere_name, {"type": "string", "minLength": 1, "maxLength": VSPHERE_NAME_LIMIT})
]
VspherePath = Annotated[str, Form(_read_vsphere_path, {"type": "string", "minLength": 1})]
Uuid = Annotated[
    str, Form(_read_uuid, {"type": "string", "pattern": "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"})
]
HostName = Annotated[str, Form(_read_host_name, {"type": "string", "pattern": f"^{LABEL}$", "maxLength": LABEL_LIMIT})]
DomainName = Annotated[
    str, matching("a DNS name such as corp.example.com", DOMAIN, 253, "letters, digits, hyphens and dots")
]
FullName = Annotated[
    str,
    matching(
        "a full DNS name such as horizon.example.com",
        rf"(?=[^.]+\.){DOMAIN}",
        253,
        "letters, digits, hyphens and at least one dot",
    ),
]
TimeServer = Annotated[str, Form(_read_time_server, {"type": "string", "pattern": f"^(?:{IPV4}|{DOMAIN})$"})]
# 15 is the kernel's IFNAMSIZ without its final NUL; "all" and "default" are sysctl's names for every interface.
Interface = Annotated[
    str,
    matching(
        "an interface name such as eth0",
        r"(?!(?:lo|all|default)$)[A-Za-z][A-Za-z0-9_-]*",
        15,
        "a letter, then letters, digits, _ and -",
    ),
]
# haproxy.cfg contains server names unquoted. The form is a subset of what HAProxy accepts (A-Z a-z 0-9 _ - . :), and it
# is also safe in the runtime socket's commands. HAProxy distinguishes upper and lower case.
ServerName = Annotated[
    str,
    matching(
        "a server's name such as Connection_Server_01",
        r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        64,
        "letters, digits, _, - and .",
    ),
]
VERSION_FORM = matching(
    "a package version such as 2.2.31-1.ph3",
    r"[0-9][A-Za-z0-9._+~^-]*",
    64,
    "a digit, then letters, digits and . _ + ~ ^ -",
)
PackageVersion = Annotated[str, VERSION_FORM]
Generation = Annotated[
    int, whole(1, MAX_GENERATION, remedy="Count from 1; each number above those before upgrades the nodes once.")
]
Port = Annotated[int, whole(1, 65_535)]
RouterId = Annotated[
    int, whole(1, 255, remedy="Nothing else on this network may use this VRRP router id (RFC 5798, 5.2.3).")
]
Hours = Annotated[int, whole(1, MAX_HOURS, "hours")]
Cpus = Annotated[int, whole(1, MAX_CPUS, "vCPUs")]
MemoryMib = Annotated[int, whole(MIN_MEMORY_MIB, MAX_MEMORY_MIB, "MiB")]
DiskGib = Annotated[
    int,
    whole(MIN_DISK_GIB, MAX_DISK_GIB, "GiB", f"The image's disk has {MIN_DISK_GIB} GiB and cannot be made smaller."),
]
Maxconn = Annotated[int, whole(MIN_MAXCONN, 2**31 - 1, "connections")]
Duration = Annotated[str, Form(_read_duration, {"type": "string", "pattern": "^[1-9][0-9]{0,8}(?:ms|s|m|h|d)$"})]
HardStop = Annotated[str, Form(_read_hard_stop, {"type": "string", "pattern": "^[1-9][0-9]{0,8}(?:ms|s|m|h|d)$"})]
# The other characters (space, #, $, quotes and more) have a meaning in haproxy.cfg.
HttpPath = Annotated[
    str,
    matching(
        "a path such as /favicon.ico",
        r"/[A-Za-z0-9._~+,=:@/?&-]*",
        255,
        "a slash, then letters, digits and . _ ~ + , = : @ / ? & -",
    ),
]
Repository = Annotated[str, Form(_read_repository, {"type": "string", "pattern": "^https://[^\\s@?#]+$"})]
Proxy = Annotated[str, Form(_read_proxy, {"type": "string", "pattern": "^http://[^\\s@?#/]+/?$"})]
Certificates = Annotated[str, Form(_read_certificates, {"type": "string", "pattern": "BEGIN CERTIFICATE"})]
SshKey = Annotated[str, Form(read_ssh_key, {"type": "string", "pattern": f"^(?:{'|'.join(KEY_TYPES)}) "})]

# Keys of mappings. rules.py checks them, because it knows their place.
SERVICE_NAME = matching(
    "a service's name such as horizon", r"[A-Za-z][A-Za-z0-9_-]*", 40, "a letter, then letters, digits, _ and -"
)
USER_NAME = matching(
    "a login such as admin", r"[A-Za-z0-9][A-Za-z0-9_.-]*", 32, "letters, digits and _ . - (no colon, no space)"
)
