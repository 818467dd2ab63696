"""A session of vCenter's SOAP API, with pyVmomi."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lbstack.facts.ports import HTTPS_PORT
from lbstack.vcenter.login import ANSWER_TIMEOUT_S, Login


@contextmanager
def session(login: Login) -> Iterator[Any]:
    """Log in, and out again at the end.

    Yields:
        pyVmomi's ``ServiceInstance``. pyVmomi is imported here, because it costs a fifth of a second.

    Raises:
        Exception: Whatever pyVmomi raises where the vCenter does not answer, is not trusted, or refuses the login.
    """
    from pyVim.connect import Disconnect, SmartConnect  # noqa: PLC0415

    host, _, port = login.server.partition(":")
    service = SmartConnect(
        host=host,
        port=int(port or HTTPS_PORT),
        user=login.user,
        pwd=login.password,
        sslContext=login.tls,
        httpConnectionTimeout=ANSWER_TIMEOUT_S,
    )
    try:
        yield service
    finally:
        Disconnect(service)
