"""The forms of single values: what a host name, an address, a duration … looks like in a stack file.

Each form reads one value, or says in a sentence what is wrong with it and what to write instead; it also knows its
JSON Schema. Forms refuse quotes, control characters and every coercion (``"2048"`` is no number), because the values
end up in configuration files of other programs. Rules that need a second value live in ``rules.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Network, NetmaskValueError
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from lbstack.problems import nearest, quote, show

# RFC 1123, 2.1: letters, digits and inner hyphens, at most 63; a whole name at most 253 (RFC 1035, 2.3.4).
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label needs a letter, so that a mistyped address such as 192.168.6.999 is not taken for a name.
DOMAIN = rf"(?=.{{1,253}}$)(?:{LABEL}\.)*(?=[0-9-]*[A-Za-z]){LABEL}"
LABEL_LIMIT = 63
VSPHERE_NAME_LIMIT = 80  # vSphere's limit for the names of virtual machines and of everything else in the inventory
FORBIDDEN = "\"'`\\"  # quotes and escapes of every language that the values are written into
SHORTEST_WHOLE_DIGITS = re.compile(r"0|-?[1-9][0-9]*")


class FormError(ValueError):
    """A value does not have its form.

    Args:
        what: What was found, without a full stop; continues a sentence that begins with the value's path.
        remedy: What to write instead, a sentence.
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what)


class _Missing:
    """Stands where a value was refused, so that rules about other values still run.

    Everything that is asked of it is missing too: attributes, calls; and it holds no items.
    """

    def __getattr__(self, name: str) -> _Missing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_args: object, **_keywords: object) -> _Missing:
        return self

    def __iter__(self) -> Iterator[NoReturn]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "MISSING"

    def __copy__(self) -> _Missing:
        return self

    def __deepcopy__(self, _memo: object) -> _Missing:
        return self


MISSING: Any = _Missing()


def known(*values: object) -> bool:
    """Whether all of these values passed their own checks, so that a rule may compare them."""
    return all(value is not MISSING for value in values)


@dataclass(frozen=True)
class Form:
    """A pydantic annotation that reads a value by a function of ours.

    Args:
        read: Takes what the stack file holds (or an already read value) and returns the value; raises FormError.
        schema: The JSON Schema of what the stack file may hold.
    """

    read: Callable[[Any], object]
    schema: Mapping[str, object] = field(hash=False)

    def _read(self, value: object) -> object:
        return value if value is MISSING else self.read(value)

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic use this form alone, whatever the Python type is."""
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema that was given, since a function says nothing about itself."""
        return dict(self.schema)


def plain_text(value: object, noun: str) -> str:
    """Read a text that is not empty and holds nothing that could end a line or a quotation.

    Args:
        value: What the stack file holds.
        noun: What belongs there, with an example: "a host name such as lb-01".

    Raises:
        FormError: It is no text, empty, or has such characters.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise FormError(f"is {show(value)}, not a text", f"Put it in quotes: write {noun}.")
    if not isinstance(value, str):
        raise FormError(f"is {show(value)}", f"Write {noun}.")
    if not value:
        raise FormError("is an empty text", f"Write {noun}.")
    for place, character in enumerate(value, start=1):
        if not character.isprintable():
            code = f"U+{ord(character):04X}"
            raise FormError(
                f"has the unprintable character {code} at place {place}",
                f"Write {noun}, on one line and without control characters.",
            )
        if character in FORBIDDEN:
            raise FormError(f"has the character {character} at place {place}", f"Leave it out: write {noun}.")
    if value != value.strip():
        raise FormError(f"is {quote(value)}, with a blank at its end or beginning", "Remove the blank.")
    return value


def matching(noun: str, pattern: str, maximum: int, allowed: str = "") -> Form:
    """A text of a regular form.

    Args:
        noun: What belongs there, with an example.
        pattern: A regular expression for the whole text; works in Python and in JSON Schema (ECMA 262).
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
    """One word out of a table.

    Args:
        noun: What is chosen: "a kind of service".
        known_words: The table; its keys are the words.
        planned: Words that people will try but that cannot be chosen yet, and a sentence about each.
    """
    listed = ", ".join(known_words)

    def read(value: object) -> str:
        text = plain_text(value, f"{noun}, one of: {listed}")
        if planned and text in planned:
            raise FormError(
                f"is {quote(text)}, which has its place but is not offered yet",
                f"{planned[text]}. Choose one of: {listed}.",
            )
        if text not in known_words:
            near = nearest(text, known_words)
            guess = f"Did you mean {near}? " if near else ""
            raise FormError(f"is {quote(text)}, which is not {noun} known here", f"{guess}Choose one of: {listed}.")
        return text

    return Form(read, {"type": "string", "enum": list(known_words)})


def whole(minimum: int, maximum: int, unit: str = "", remedy: str = "") -> Form:
    """A whole number within limits; never a truth value, a text or a number with a fraction.

    Args:
        minimum: The least.
        maximum: The most.
        unit: What is counted: "MiB".
        remedy: The reason for a limit, one sentence.
    """
    unit_text = f" {unit}" if unit else ""
    hint = f"Write a whole number from {minimum} to {maximum}{unit_text}, without quotes."
    if remedy:
        hint += f" {remedy}"

    def read(value: object) -> int:
        if isinstance(value, str) and SHORTEST_WHOLE_DIGITS.fullmatch(value):
            raise FormError(f"is the text {quote(value)}, not a number", hint)
        if isinstance(value, bool) or not isinstance(value, int):
            raise FormError(f"is {show(value)}", hint)
        if value < minimum:
            raise FormError(f"is {show(value)}, below the limit of {minimum}{unit_text}", hint)
        if value > maximum:
            raise FormError(f"is {show(value)}, above the limit of {maximum}{unit_text}", hint)
        return value

    return Form(read, {"type": "integer", "minimum": minimum, "maximum": maximum})


def read_flag(value: object) -> bool:
    """Read a truth value; texts and numbers that look like one are refused."""
    if not isinstance(value, bool):
        raise FormError(f"is {show(value)}, not a truth value", "Write true or false, without quotes.")
    return value


# IANA's special-purpose registry (RFC 6890), as far as no machine of a pair, no server and no administrator is there.
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
    """Read the IPv4 address of one machine; names and IPv6 are refused, they are not supported."""
    if isinstance(value, IPv4Address):
        return value
    text = plain_text(value, ADDRESS_NOUN)
    if "/" in text:
        raise FormError(f"is {quote(text)}, with a prefix length", f"Write {ADDRESS_NOUN}, without what follows the /.")
    try:
        address = IPv4Address(text)
    except AddressValueError:
        _refuse_ipv6(text, ADDRESS_NOUN)
        zeros = ", without leading zeros" if re.fullmatch(r"[0-9.]+", text) else "; names are not looked up"
        raise FormError(f"is {quote(text)}, which is no IPv4 address", f"Write {ADDRESS_NOUN}{zeros}.") from None
    _refuse_special(IPv4Network(address), text, ADDRESS_NOUN)
    return address


def read_network(value: object) -> IPv4Network:
    """Read an IPv4 network with its prefix length; netmasks and host bits are refused."""
    if isinstance(value, IPv4Network):
        return value
    text = plain_text(value, NETWORK_NOUN)
    base, slash, prefix = text.partition("/")
    _refuse_ipv6(text, NETWORK_NOUN)
    if not slash:
        raise FormError(f"is {quote(text)}, without a prefix length", f"Write {NETWORK_NOUN}; one machine is /32.")
    if not re.fullmatch("[0-9]|[12][0-9]|3[0-2]", prefix):
        raise FormError(f"is {quote(text)}: no prefix length from 0 to 32 follows the /", f"Write {NETWORK_NOUN}.")
    try:
        network = IPv4Network(text, strict=False)
    except (AddressValueError, NetmaskValueError):
        raise FormError(f"is {quote(text)}, which is no IPv4 network", f"Write {NETWORK_NOUN}.") from None
    if str(network.network_address) != base:
        raise FormError(f"is {quote(text)}, an address within a network", f"Write the network itself: {network}.")
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
                f"is {quote(text)}, {name} address", f"No machine can be reached there from outside: write {noun}."
            )
