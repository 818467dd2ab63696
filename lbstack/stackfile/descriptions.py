"""The text below a field of a model: its description in messages and in the JSON Schema.

Read from the model's source when it is shown. pydantic would read all of them whenever the models are imported
(``use_attribute_docstrings``), which took longer than validating a stack file fifteen times, in every preview.
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
    """Every described field of a model, in order.

    Args:
        model: A class whose fields have texts below them; those of its base classes are not looked at.

    Returns:
        The field's key in a stack file → its text, without the indentation of the source; nothing where there is no
        source to be read.
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
