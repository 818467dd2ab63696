"""vCenter's REST API, as far as it is needed: content libraries and tags, in the forms of 7.0 and of 8.0."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lbstack.vcenter.login import ANSWER_TIMEOUT_S, Login

MAX_ANSWER_BYTES = 4 << 20
TAG, CATEGORY, ASSOCIATION = "cis/tagging/tag", "cis/tagging/category", "cis/tagging/tag-association"


class NoRestApi(Exception):
    """This server has neither form of the REST API."""


@dataclass(frozen=True)
class _Dialect:
    """One of the two forms of vCenter's REST API.

    Args:
        base: What every path begins with.
        session: Where a session is made.
        key: What stands before an id in a path.
        action: The parameter that names what a POST does.
        wrapped: Whether an answer is inside ``{"value": ...}``.
    """

    base: str
    session: str
    key: str
    action: str
    wrapped: bool

    def unwrap(self, answer: Any) -> Any:
        return answer["value"] if self.wrapped else answer


# The form since vSphere 7.0 U2, and the one before it, which is all that earlier ones have; 8.0 serves both.
_DIALECTS = (
    _Dialect(base="api/", session="session", key="", action="action", wrapped=False),
    _Dialect(base="rest/com/vmware/", session="cis/session", key="id:", action="~action", wrapped=True),
)


@dataclass(frozen=True)
class Rest:
    """A session of the REST API; ``connect`` makes one."""

    login: Login
    dialect: _Dialect
    headers: dict[str, str]

    def read(self, path: str) -> Any:
        """What a path answers to a GET."""
        return self.dialect.unwrap(_call(self.login, self.dialect.base + path, self.headers))

    def act(self, path: str, action: str, body: object) -> Any:
        """What a path answers to a POST that reads, such as a list for one object."""
        where = f"{self.dialect.base}{path}?{self.dialect.action}={action}"
        return self.dialect.unwrap(_call(self.login, where, self.headers, "POST", body))

    def named(self, path: str, identity: str) -> dict[str, str]:
        """What a path answers for one id."""
        entry: dict[str, str] = self.read(self._path_of(path, identity))
        return entry

    def tags_of(self, category: str) -> list[str]:
        """The ids of a category's tags. Of the two forms, only the older one has the category's id in the path."""
        where = self._path_of(TAG, category) if self.dialect.key else TAG
        found: list[str] = self.act(where, "list-tags-for-category", {"category_id": category})
        return found

    def _path_of(self, path: str, identity: str) -> str:
        """The path of one id."""
        return f"{path}/{self.dialect.key}{urllib.parse.quote(identity)}"


def _call(login: Login, path: str, headers: dict[str, str], method: str = "GET", body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = headers if data is None else headers | {"Content-Type": "application/json"}
    request = urllib.request.Request(f"https://{login.server}/{path}", data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=login.tls) as response:  # noqa: S310
        return json.loads(response.read(MAX_ANSWER_BYTES))


def connect(login: Login) -> Rest:
    """Log in to the REST API, in the form that this vCenter has.

    Raises:
        OSError: It does not answer, or refuses the login.
        NoRestApi: It has neither form.
    """
    basic = base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
    for dialect in _DIALECTS:
        try:
            answer = _call(login, dialect.base + dialect.session, {"Authorization": f"Basic {basic}"}, "POST")
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:
                raise
            continue
        return Rest(login, dialect, {"vmware-api-session-id": dialect.unwrap(answer)})
    raise NoRestApi(f"{login.server} has no REST API")
