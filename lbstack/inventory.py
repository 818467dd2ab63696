"""What there is in a vCenter, for error messages: the names that a user could have meant.

Only read after something was not found, so that a good run never pays for it. Plain pyVmomi and the REST API for
content libraries; no Pulumi.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ANSWER_TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 4 << 20
MAX_NAMES = 12  # in one message; the rest is counted
HTTPS_PORT = 443


@dataclass(frozen=True)
class Login:
    """How to reach a vCenter; its repr shows no password."""

    server: str
    user: str
    password: str
    verify: bool = True

    def __repr__(self) -> str:
        return f"Login(server={self.server!r}, user={self.user!r})"

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS settings of this login: verified unless the stack says otherwise."""
        return ssl.create_default_context() if self.verify else ssl._create_unverified_context()  # noqa: S323, SLF001


class NotListed(Exception):
    """The list could not be had; the message says why."""


def names(login: Login, kind: str, datacenter: str | None = None, library: str | None = None) -> Sequence[str]:
    """List the names of one kind of thing.

    Args:
        login: The vCenter.
        kind: ``datacenter``, ``cluster``, ``datastore``, ``network``, ``resource pool``, ``folder``, ``library`` or
            ``library item``.
        datacenter: Only what is in this datacenter, for the kinds that live in one.
        library: The library whose items are meant.

    Returns:
        The names, sorted.

    Raises:
        NotListed: When the vCenter does not answer as it should.
    """
    try:
        if kind == "library":
            return sorted(entry["name"] for entry in _libraries(login))
        if kind == "library item":
            return sorted(f"{entry['name']} ({entry['type']})" for entry in _items(login, library or ""))
        return sorted(_inventory(login, kind, datacenter))
    except Exception as error:  # whatever went wrong, the message that needs the list must still come out
        raise NotListed(str(error)) from error


def listing(found: Sequence[str]) -> str:
    """Say the names in a sentence, such as: There is: a, b, c and 4 more."""
    if not found:
        return "There is none that this user may see."
    more = len(found) - MAX_NAMES
    return f"There is: {', '.join(found[:MAX_NAMES])}{f' and {more} more' if more > 0 else ''}."


def _inventory(login: Login, kind: str, datacenter: str | None) -> list[str]:
    from pyVim.connect import Disconnect, SmartConnect  # noqa: PLC0415 - costs half a second; only here on a miss
    from pyVmomi import vim  # noqa: PLC0415

    types = {
        "datacenter": vim.Datacenter,
        "cluster": vim.ClusterComputeResource,
        "datastore": vim.Datastore,
        "network": vim.Network,
        "resource pool": vim.ResourcePool,
        "folder": vim.Folder,
    }
    host, _, port = login.server.partition(":")
    session = SmartConnect(
        host=host,
        port=int(port or HTTPS_PORT),
        user=login.user,
        pwd=login.password,
        sslContext=login.tls,
        httpConnectionTimeout=ANSWER_TIMEOUT_S,
    )
    try:
        content = session.RetrieveContent()
        root: Any = content.rootFolder
        for child in content.rootFolder.childEntity if datacenter else ():
            if child.name == datacenter:
                root = child.vmFolder if kind == "folder" else child
        view = content.viewManager.CreateContainerView(root, [types[kind]], recursive=True)
        return [urllib.parse.unquote(entity.name) for entity in view.view]
    finally:
        Disconnect(session)


def _rest(login: Login) -> Callable[[str], Any]:
    """Log in to the REST API and return a function that reads one path of it."""

    def call(path: str, headers: dict[str, str], method: str = "GET") -> Any:
        request = urllib.request.Request(f"https://{login.server}/api/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=login.tls) as response:  # noqa: S310
            return json.loads(response.read(MAX_ANSWER_BYTES))

    basic = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    session = call("session", {"Authorization": f"Basic {basic}"}, "POST")
    return lambda path: call(path, {"vmware-api-session-id": session})


def _libraries(login: Login) -> list[dict[str, str]]:
    read = _rest(login)
    return [read(f"content/library/{key}") for key in read("content/library")]


def _items(login: Login, library: str) -> list[dict[str, str]]:
    read = _rest(login)
    for key in read("content/library"):
        if read(f"content/library/{key}")["name"] == library:
            return [read(f"content/library/item/{item}") for item in read(f"content/library/item?library_id={key}")]
    return []
