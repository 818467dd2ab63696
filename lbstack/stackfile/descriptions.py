"""Read the descriptions of a model's fields: the text below a field, used in messages and in the JSON Schema.

They are read from the model's source when they are needed. pydantic would read all of them on every import of the
models (``use_attribute_docstrings``). In every preview that took longer than validating a stack file fifteen times.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

from pydantic import BaseModel


@cache
def descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the descriptions of a model's own fields, in order.

    Args:
        model: A class whose fields have texts below them; fields of its base classes are not included.

    Returns:
        The field's key in a stack file → its text, without the indentation of the source; empty where the source is
        not available.
    """
    try:
        (definition,) = ast.parse(inspect.getsource(model)).body
    except OSError:
        return {}
    found: dict[str, str] = {}
    for field, below in pairwise(getattr(definition, "body", [])):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[model.model_fields[name].alias or name] = inspect.cleandoc(text)
    return found
