"""A session of vCenter's SOAP API that reads, in plain Python: log in, retrieve properties, log out.

pyVmomi could do the same. Its import alone takes a fifth of a second of processor time, and each preview of the pair,
which takes one second, would pay for it: what is needed here are five calls that read. Nothing is changed. The
certificate is verified as everywhere (``tls.py``).
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from lbstack.facts.ports import HTTPS_PORT
from lbstack.vcenter.login import Login
from lbstack.vcenter.pin import VcenterError

ANSWER_TIMEOUT_S = 30.0  # an inventory of some thousand objects takes a loaded vCenter seconds
NAMESPACE = "{urn:vim25}"
TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    '<Body><{method} xmlns="urn:vim25">{body}</{method}></Body></Envelope>'
)

Reference = tuple[str, str]  # type and value of a managed object


@dataclass(frozen=True)
class Found:
    """One managed object with the properties that were asked for; unset ones are left out.

    Args:
        reference: Which it is.
        properties: Name → text, reference, a mapping of parts, or a list of them.
    """

    reference: Reference
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """A way from an object to further ones.

    Args:
        name: By which others lead to it.
        kind: The type of the object.
        path: The property that holds the further objects.
        then: The steps from each of these.
    """

    name: str
    kind: str
    path: str
    then: tuple[str, ...] = ()


@dataclass
class Session:
    """A session, logged in.

    Args:
        login: Whose it is.
        content: Of the service: name → reference.
    """

    login: Login
    connection: http.client.HTTPSConnection
    content: dict[str, Reference] = field(default_factory=dict)
    cookie: str = ""

    def call(self, method: str, this: Reference, body: str = "") -> ET.Element:
        """Call a method.

        Raises:
            VcenterError: vCenter refuses, or does not answer.
        """
        text = ENVELOPE.format(method=method, body=reference("_this", this) + body)
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:vim25/6.7"'}
        if self.cookie:
            headers["Cookie"] = self.cookie
        try:
            self.connection.request("POST", "/sdk", text.encode(), headers)
            response = self.connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise VcenterError(
                f"vsphere:vsphereServer: {self.login.server} does not answer {method} ({error}). Check the address and "
                "the way from this machine to it."
            ) from error
        self.cookie = (response.getheader("Set-Cookie") or self.cookie).partition(";")[0]
        try:
            found = ET.fromstring(answer)  # noqa: S314 - of the vCenter that was verified and pinned
        except ET.ParseError:
            found = ET.Element("none")
        if response.status != http.client.OK:
            reason = next((each.text for each in found.iter("faultstring") if each.text), f"HTTP {response.status}")
            raise VcenterError(f"{self.login.server} refuses {method} for {self.login.user}: {reason.strip()}")
        return found

    def retrieve(
        self, wanted: Mapping[str, Sequence[str]], start: Sequence[Reference], steps: Sequence[Step] = ()
    ) -> list[Found]:
        """Properties of objects.

        Args:
            wanted: Type → names of properties; objects of other types are passed and not returned.
            start: Where the search begins.
            steps: The ways on; without any, the objects themselves are meant.
        """
        if not start:
            return []
        properties = "".join(
            f"<propSet><type>{kind}</type>{''.join(f'<pathSet>{path}</pathSet>' for path in paths)}</propSet>"
            for kind, paths in wanted.items()
        )
        ways = "".join(map(_traversal, steps))
        objects = "".join(f"<objectSet>{reference('obj', each)}<skip>false</skip>{ways}</objectSet>" for each in start)
        collector = self.content["propertyCollector"]
        body = f"<specSet>{properties}{objects}</specSet><options/>"
        answer = self.call("RetrievePropertiesEx", collector, body)
        found = list(_objects(answer))
        while token := next((each.text for each in answer.iter(f"{NAMESPACE}token")), None):
            answer = self.call("ContinueRetrievePropertiesEx", collector, f"<token>{escape(token)}</token>")
            found += _objects(answer)
        return found

    def with_uuid(self, uuid: str) -> Reference | None:
        """The VM with a BIOS UUID; None where there is none."""
        wanted = f"<uuid>{escape(uuid)}</uuid><vmSearch>true</vmSearch><instanceUuid>false</instanceUuid>"
        answer = self.call("FindByUuid", self.content["searchIndex"], wanted)
        return next((_reference(each) for each in answer.iter(f"{NAMESPACE}returnval")), None)

    def at(self, path: str) -> Reference | None:
        """The object at an inventory path, such as ``/DC0/vm/balancers``; None where there is none."""
        wanted = f"<inventoryPath>{escape(path.strip('/'))}</inventoryPath>"
        answer = self.call("FindByInventoryPath", self.content["searchIndex"], wanted)
        return next((_reference(each) for each in answer.iter(f"{NAMESPACE}returnval")), None)


@contextmanager
def session(login: Login) -> Iterator[Session]:
    """Log in for the length of a block.

    Raises:
        VcenterError: vCenter refuses, or does not answer.
    """
    host, _, port = login.server.partition(":")
    connection = http.client.HTTPSConnection(host, int(port or HTTPS_PORT), timeout=ANSWER_TIMEOUT_S, context=login.tls)
    found = Session(login, connection)
    try:
        answer = found.call("RetrieveServiceContent", ("ServiceInstance", "ServiceInstance"))
        content = next(answer.iter(f"{NAMESPACE}returnval"), ET.Element("none"))
        found.content = {_name(each): _reference(each) for each in content if each.get("type")}
        credentials = f"<userName>{escape(login.user)}</userName><password>{escape(login.password)}</password>"
        try:
            found.call("Login", found.content["sessionManager"], credentials)
        except KeyError as error:
            raise VcenterError(f"vsphere:vsphereServer: what answers at {login.server} is no vCenter.") from error
        yield found
    finally:
        with suppress(VcenterError, KeyError):
            if found.cookie:
                found.call("Logout", found.content["sessionManager"])
        connection.close()


def reference(name: str, target: Reference) -> str:
    """A reference to a managed object, as an element."""
    kind, value = target
    return f"<{name} type={quoteattr(kind)}>{escape(value)}</{name}>"


def _traversal(step: Step) -> str:
    then = "".join(f'<selectSet xsi:type="SelectionSpec"><name>{each}</name></selectSet>' for each in step.then)
    return (
        f'<selectSet xsi:type="TraversalSpec"><name>{step.name}</name><type>{step.kind}</type><path>{step.path}</path>'
        f"<skip>false</skip>{then}</selectSet>"
    )


def _objects(answer: ET.Element) -> Iterator[Found]:
    for each in answer.iter(f"{NAMESPACE}objects"):
        obj = each.find(f"{NAMESPACE}obj")
        if obj is not None:
            properties = {
                entry.findtext(f"{NAMESPACE}name", ""): _value(entry.find(f"{NAMESPACE}val"))
                for entry in each.findall(f"{NAMESPACE}propSet")
            }
            yield Found(_reference(obj), properties)


def _value(element: ET.Element | None) -> Any:
    if element is None:
        return ""
    if element.get("type"):
        return _reference(element)
    if (element.get(TYPE) or "").rpartition(":")[2].startswith("ArrayOf"):
        return [_value(each) for each in element]
    if len(element):
        return {_name(each): _value(each) for each in element}
    return element.text or ""


def _reference(element: ET.Element) -> Reference:
    return element.get("type", ""), element.text or ""


def _name(element: ET.Element) -> str:
    return element.tag.removeprefix(NAMESPACE)
