"""The text below a field of a model: its description in messages and in the JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from pydantic import BaseModel


@cache
def descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the descriptions of a model's fields, in order.

    Args:
        model: A class whose fields have texts below them (``use_attribute_docstrings``).

    Returns:
        The field's key in a stack file → its text, without the indentation of the source; empty where the source is
        not available.
    """
    return {field.alias or name: field.description for name, field in model.model_fields.items() if field.description}
