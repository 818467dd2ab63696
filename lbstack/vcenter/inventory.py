"""The login to a vCenter, and the names in its content libraries for error messages: those that could have been meant.

The libraries are asked, over the REST API, only after a name was not found, so that a good run does not pay for it.
What is in the inventory is in ``tree.py``. No Pulumi.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lbstack.vcenter import tls

# The variables that the provider itself reads, so that a runner can keep the login out of the stack file.
LOGIN_VARIABLES = {"vsphereServer": "VSPHERE_SERVER", "user": "VSPHERE_USER", "password": "VSPHERE_PASSWORD"}
ANSWER_TIMEOUT_S = 15.0
MAX_ANSWER_BYTES = 4 << 20
MAX_NAMES = 12  # in one message; the rest is counted


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
        """The TLS settings of this login: verified unless the stack sets it otherwise."""
        return tls.context(verify=self.verify)


class NotListed(Exception):
    """The list is not available; the message names the reason."""


def names(login: Login, kind: str, library: str = "") -> Sequence[str]:
    """List the names of one kind of thing.

    Args:
        login: The vCenter.
        kind: ``library`` or ``library item``.
        library: The library whose items are meant.

    Returns:
        The names, sorted.

    Raises:
        NotListed: When the vCenter does not answer as it should.
    """
    try:
        if kind == "library":
            return sorted(entry["name"] for entry in _libraries(login))
        return sorted(f"{entry['name']} ({entry['type']})" for entry in _items(login, library))
    except Exception as error:  # whatever went wrong, the message that needs the list must still come out
        raise NotListed(str(error)) from error


def listing(found: Sequence[str]) -> str:
    """The names in a sentence, such as: There is: a, b, c and 4 more."""
    if not found:
        return "There is none that this user may see."
    more = len(found) - MAX_NAMES
    return f"There is: {', '.join(found[:MAX_NAMES])}{f' and {more} more' if more > 0 else ''}."


@dataclass(frozen=True)
class _Dialect:
    """One of the two forms of vCenter's REST API.

    Args:
        base: What every path begins with.
        session: Where a session is made.
        key: What stands before an id in a path.
        wrapped: Whether an answer is inside ``{"value": ...}``.
    """

    base: str
    session: str
    key: str
    wrapped: bool

    def unwrap(self, answer: Any) -> Any:
        return answer["value"] if self.wrapped else answer


# The form since vSphere 7.0 U2, and the one before it, which is all that earlier ones have; 8.0 serves both.
_DIALECTS = (
    _Dialect(base="api/", session="session", key="", wrapped=False),
    _Dialect(base="rest/com/vmware/", session="cis/session", key="id:", wrapped=True),
)


@dataclass(frozen=True)
class _Rest:
    """A session of the REST API."""

    login: Login
    dialect: _Dialect
    headers: dict[str, str]

    def read(self, path: str) -> Any:
        return self.dialect.unwrap(_call(self.login, self.dialect.base + path, self.headers))

    def named(self, path: str, identity: str) -> dict[str, str]:
        entry: dict[str, str] = self.read(f"{path}/{self.dialect.key}{urllib.parse.quote(identity)}")
        return entry


def _call(login: Login, path: str, headers: dict[str, str], method: str = "GET") -> Any:
    request = urllib.request.Request(f"https://{login.server}/{path}", headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=login.tls) as response:  # noqa: S310
        return json.loads(response.read(MAX_ANSWER_BYTES))


def _rest(login: Login) -> _Rest:
    """Log in to the REST API, in the form that this vCenter has."""
    basic = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    failure: Exception = NotListed("no REST API")
    for dialect in _DIALECTS:
        try:
            answer = _call(login, dialect.base + dialect.session, {"Authorization": f"Basic {basic}"}, "POST")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            failure = error
            continue
        return _Rest(login, dialect, {"vmware-api-session-id": dialect.unwrap(answer)})
    raise failure


def _libraries(login: Login) -> list[dict[str, str]]:
    rest = _rest(login)
    return [rest.named("content/library", key) for key in rest.read("content/library")]


def _items(login: Login, library: str) -> list[dict[str, str]]:
    rest = _rest(login)
    for key in rest.read("content/library"):
        if rest.named("content/library", key)["name"] == library:
            found = rest.read(f"content/library/item?library_id={urllib.parse.quote(key)}")
            return [rest.named("content/library/item", item) for item in found]
    return []
