"""Define the building blocks of forms: a form reads one value of a stack file and knows its JSON Schema.

A form returns the value, or raises an error with what is wrong and what to write instead. Forms refuse quotes, control
characters and every coercion (``"2048"`` is not a number), because the values are written into configuration files of
other programs. Rules that need a second value are in ``rules.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network, NetmaskValueError
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from lbstack.config.missing import MISSING
from lbstack.problems import nearest, quote, show

# RFC 1123, 2.1: letters, digits and inner hyphens, at most 63; a whole name at most 253 (RFC 1035, 2.3.4).
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label needs a letter, so that a mistyped address such as 192.168.6.999 is not accepted as a name.
DOMAIN = rf"(?=.{{1,253}}$)(?:{LABEL}\.)*(?=[0-9-]*[A-Za-z]){LABEL}"
LABEL_LIMIT = 63
VSPHERE_NAME_LIMIT = 80  # vSphere's limit for the names of virtual machines and of everything else in the inventory
FORBIDDEN = "\"'`\\"  # quotes and escapes of every language that the values are written into
WHOLE_NUMBER = re.compile(r"0|-?[1-9][0-9]*")


class FormError(ValueError):
    """A value does not have the required form.

    Args:
        what: What was found, without a full stop; it continues a sentence that begins with the value's path.
        remedy: What to write instead: a sentence.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)


@dataclass(frozen=True)
class Form:
    """A pydantic annotation that reads a value with a function of this package.

    Args:
        read: Takes the value in the stack file (or an already read value) and returns the value; raises FormError.
        schema: The JSON Schema of the value in the stack file.
    """

    read: Callable[[Any], object]
    schema: Mapping[str, object] = field(hash=False)

    def read_or_missing(self, value: object) -> object:
        """Read a value; MISSING is returned unchanged."""
        return value if value is MISSING else self.read(value)

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Make pydantic use this form only, regardless of the Python type."""
        return core_schema.no_info_plain_validator_function(self.read_or_missing)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the form's schema; pydantic cannot derive it from a function."""
        return dict(self.schema)


def plain_text(value: object, noun: str) -> str:
    """Read a string that is not empty and has no character that could end a line or a quoted string.

    Args:
        value: The value in the stack file.
        noun: What is expected, with an example: "a host name such as lb-01".

    Raises:
        FormError: The value is not a string, is empty, or has such characters.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise FormError(f"is {show(value)}, not a string", f"Put it in quotes: write {noun}.")
    if not isinstance(value, str):
        raise FormError(f"is {show(value)}", f"Write {noun}.")
    if not value:
        raise FormError(f"is {show(value)}", f"Write {noun}.")
    for position, character in enumerate(value, start=1):
        if not character.isprintable():
            code = f"U+{ord(character):04X}"
            raise FormError(
                f"has the unprintable character {code} at position {position}",
                f"Write {noun}, on one line and without control characters.",
            )
        if character in FORBIDDEN:
            raise FormError(f"has the character {character} at position {position}", f"Remove it: write {noun}.")
    if value != value.strip():
        raise FormError(f"is {quote(value)}, with a space at its beginning or end", "Remove the space.")
    return value


def matching(noun: str, pattern: str, maximum: int, allowed: str = "") -> Form:
    """Make the form of a string that matches a regular expression.

    Args:
        noun: What is expected, with an example.
        pattern: A regular expression for the whole string, valid in Python and in JSON Schema (ECMA 262).
        maximum: The most characters.
        allowed: The pattern in words, for the message.
    """
    compiled = re.compile(pattern)
    hint = f"Write {noun}: {allowed}, at most {maximum} characters." if allowed else f"Write {noun}."

    def read(value: object) -> str:
        text = plain_text(value, noun)
        if len(text) > maximum:
            raise FormError(f"has {len(text)} characters, over the limit of {maximum}", hint)
        if not compiled.fullmatch(text):
            raise FormError(f"is {quote(text)}", hint)
        return text

    return Form(read, {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": maximum})


def one_of(noun: str, known_words: Mapping[str, object], planned: Mapping[str, str] | None = None) -> Form:
    """Make the form of one word out of a table.

    Args:
        noun: What is chosen: "a kind of service".
        known_words: The table; its keys are the words.
        planned: Words that are not supported yet → the reason and an alternative, without a full stop.
    """
    listed = ", ".join(known_words)

    def read(value: object) -> str:
        text = plain_text(value, f"{noun}, one of: {listed}")
        if planned and text in planned:
            raise FormError(
                f"is {quote(text)}, which is planned but not supported yet",
                f"{planned[text]}. Choose one of: {listed}.",
            )
        if text not in known_words:
            near = nearest(text, known_words)
            guess = f"Did you mean {near}? " if near else ""
            raise FormError(f"is {quote(text)}, which is not {noun}", f"{guess}Choose one of: {listed}.")
        return text

    return Form(read, {"type": "string", "enum": list(known_words)})


def whole(minimum: int, maximum: int, unit: str = "", remedy: str = "") -> Form:
    """Make the form of a whole number within limits; it refuses Booleans, strings and numbers with a fraction.

    Args:
        minimum: The smallest accepted number.
        maximum: The largest accepted number.
        unit: The unit of the number: "MiB".
        remedy: The reason for a limit, as one sentence.
    """
    unit_text = f" {unit}" if unit else ""
    hint = f"Write a whole number from {minimum} to {maximum}{unit_text}, without quotes."
    if remedy:
        hint += f" {remedy}"

    def read(value: object) -> int:
        if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
            raise FormError(f"is the string {quote(value)}, not a number", hint)
        if isinstance(value, bool) or not isinstance(value, int):
            raise FormError(f"is {show(value)}", hint)
        if value < minimum:
            raise FormError(f"is {show(value)}, below the limit of {minimum}{unit_text}", hint)
        if value > maximum:
            raise FormError(f"is {show(value)}, above the limit of {maximum}{unit_text}", hint)
        return value

    return Form(read, {"type": "integer", "minimum": minimum, "maximum": maximum})


def read_flag(value: object) -> bool:
    """Read a Boolean; strings and numbers that look like one are refused.

    Raises:
        FormError: The value is not a Boolean.
    """
    if not isinstance(value, bool):
        raise FormError(f"is {show(value)}, not a Boolean", "Write true or false, without quotes.")
    return value


# From IANA's special-purpose registry (RFC 6890): the networks that can contain no node, server or administrator.
SPECIAL_NETWORKS = (
    ("a loopback", IPv4Network("127.0.0.0/8")),
    ("a link-local", IPv4Network("169.254.0.0/16")),
    ("a multicast", IPv4Network("224.0.0.0/4")),
    ("a reserved", IPv4Network("0.0.0.0/8")),
    ("a reserved", IPv4Network("240.0.0.0/4")),
)
ADDRESS_NOUN = "an IPv4 address such as 192.0.2.10"
NETWORK_NOUN = "an IPv4 network such as 192.0.2.0/24"


def read_address(value: object) -> IPv4Address:
    """Read the IPv4 address of one machine; names and IPv6 addresses are not supported.

    Raises:
        FormError: The value is not such an address, or an address that no machine can have.
    """
    if isinstance(value, IPv4Address):
        return value
    text = plain_text(value, ADDRESS_NOUN)
    if "/" in text:
        raise FormError(
            f"is {quote(text)}, with a prefix length", f"Write {ADDRESS_NOUN}, without / and prefix length."
        )
    try:
        address = IPv4Address(text)
    except AddressValueError:
        _refuse_ipv6(text, ADDRESS_NOUN)
        zeros = ", without leading zeros" if re.fullmatch(r"[0-9.]+", text) else "; names are not looked up"
        raise FormError(f"is {quote(text)}, which is not an IPv4 address", f"Write {ADDRESS_NOUN}{zeros}.") from None
    _refuse_special(IPv4Network(address), text, ADDRESS_NOUN)
    return address


def read_network(value: object) -> IPv4Network:
    """Read an IPv4 network with its prefix length; netmasks and host bits are refused.

    Raises:
        FormError: The value is not such a network, or lies in one that no machine can be in.
    """
    if isinstance(value, IPv4Network):
        return value
    text = plain_text(value, NETWORK_NOUN)
    base, slash, prefix = text.partition("/")
    _refuse_ipv6(text, NETWORK_NOUN)
    if not slash:
        raise FormError(f"is {quote(text)}, without a prefix length", f"Write {NETWORK_NOUN}; one machine is /32.")
    if not re.fullmatch("[0-9]|[12][0-9]|3[0-2]", prefix):
        raise FormError(f"is {quote(text)}, without a prefix length from 0 to 32 after the /", f"Write {NETWORK_NOUN}.")
    try:
        network = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError):
        raise FormError(f"is {quote(text)}, which is not an IPv4 network", f"Write {NETWORK_NOUN}.") from None
    if str(network.network_address) != base:
        raise FormError(f"is {quote(text)}, an address inside a network", f"Write the network itself: {network}.")
    _refuse_special(network, text, NETWORK_NOUN)
    return network


def _refuse_ipv6(text: str, noun: str) -> None:
    try:
        IPv6Network(text, strict=False)
    except ValueError:
        return
    raise FormError(f"is {quote(text)}, which is IPv6", f"Only IPv4 is supported: write {noun}.")


def _refuse_special(network: IPv4Network, text: str, noun: str) -> None:
    for name, special in SPECIAL_NETWORKS:
        if network.subnet_of(special):
            raise FormError(
                f"is {quote(text)}, {name} address",
                f"Such an address cannot belong to a machine of a network: write {noun}.",
            )
