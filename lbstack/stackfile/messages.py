"""Translate pydantic's errors about a stack file into problems for its author.

pydantic checks only the structure: sections, lists, required and unknown keys, choices. The forms of single values
bring their own texts (``forms.FormError``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lbstack.config.forms import FormError
from lbstack.problems import Problem, nearest, path_of, quote, show
from lbstack.stackfile.descriptions import descriptions

Location = tuple[int | str, ...]


def problem_of(error: ErrorDetails, root: type[BaseModel]) -> Problem:
    """Translate one error.

    Args:
        error: An element of ``ValidationError.errors()``.
        root: The model that was validated; it defines the keys and their descriptions.
    """
    location: Location = error["loc"]
    what, remedy = _sentences(error, root, location)
    return Problem(path_of(location), what, remedy)


def _sentences(error: ErrorDetails, root: type[BaseModel], location: Location) -> tuple[str, str]:
    reason = error.get("ctx", {}).get("error")
    if isinstance(reason, FormError):
        return reason.what, reason.remedy
    found = show(error["input"])
    match error["type"]:
        case "missing":
            sentences = "is missing", f"Add it: {_description(root, location)}"
        case "extra_forbidden":
            # The value is not quoted: it may be a secret below a mistyped key.
            sentences = "is not a known key", _known_keys(root, location)
        case "model_type" | "model_attributes_type" | "dict_type":
            sentences = f"is {found}, but has to be a section with keys", _section_remedy(root, location)
        case "tuple_type" | "list_type":
            remedy = "Write one entry on each line, after a hyphen; an empty list is []."
            sentences = f"is {found}, but has to be a list", remedy
        case "enum":
            sentences = _choice(error["input"], found, _annotation(root, location))
        case _:
            sentences = f"is {found}, which is not accepted", f"Expected: {_description(root, location)}"
    return sentences


def _choice(value: object, found: str, choices: object) -> tuple[str, str]:
    words = [str(choice.value) for choice in choices] if isinstance(choices, type(StrEnum)) else []
    near = nearest(value, words) if isinstance(value, str) else None
    guess = f"Did you mean {near}? " if near else ""
    quotes = ", in quotes" if isinstance(value, bool | int | float) else ""
    return f"is {found}", f"{guess}Choose one of: {', '.join(words)}{quotes}."


def _known_keys(root: type[BaseModel], location: Location) -> str:
    section = section_at(root, location[:-1])
    keys = _keys(section) if section else []
    key = str(location[-1])
    near = nearest(key, keys)
    if near:
        return f"Did you mean {near}? Known keys: {', '.join(keys)}."
    return f"Remove it. Known keys: {', '.join(keys)}."


def _section_remedy(root: type[BaseModel], location: Location) -> str:
    section = section_at(root, location)
    if section is None:
        return "Write one name on each line, with a colon and its value."
    required = [_key(name, field) for name, field in section.model_fields.items() if field.is_required()]
    if required:
        return f"Write its keys below it, at least: {', '.join(required)}."
    return f"Write its keys below it, or {{}} for the defaults. Known keys: {', '.join(_keys(section))}."


def section_at(root: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """Return the model of the section at a place; None where the place holds no section.

    Args:
        root: The model of the whole configuration.
        location: Keys and list indexes from the top.
    """
    annotation: object = _annotation(root, location)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _annotation(root: type[BaseModel], location: Sequence[int | str]) -> object:
    current: object = root
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = _fields(current).get(str(part))
            current = _plain(field.annotation) if field else None
        else:
            arguments = get_args(current)
            # The type of the items is the first argument of tuple[Node, ...] and the last of dict[str, Service].
            current = _plain(arguments[-1 if get_origin(current) is dict else 0]) if arguments else None
    return current


def _plain(annotation: Any) -> object:
    """Return X for ``Annotated[X, …]`` and ``X | None``."""
    if hasattr(annotation, "__metadata__"):
        return _plain(annotation.__origin__)
    if get_origin(annotation) in (Union, UnionType):
        return _plain(next(part for part in get_args(annotation) if part is not type(None)))
    return annotation


def _fields(section: type[BaseModel]) -> Mapping[str, FieldInfo]:
    return {_key(name, field): field for name, field in section.model_fields.items()}


def _keys(section: type[BaseModel]) -> list[str]:
    return list(_fields(section))


def _key(name: str, field: FieldInfo) -> str:
    return field.alias or name


def _description(root: type[BaseModel], location: Location) -> str:
    section = section_at(root, location[:-1])
    text = descriptions(section).get(str(location[-1])) if section and location else None
    return text or f"see the description of {quote(path_of(location))} in stack.schema.json."
