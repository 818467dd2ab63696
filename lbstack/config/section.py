"""Section, the base class of every part of the configuration."""

from __future__ import annotations

from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from lbstack.config.missing import MISSING


class Section(BaseModel):
    """Base of every part of the configuration: it refuses unknown keys, and its values are immutable.

    It accepts MISSING in place of itself and of any field: ``stackfile.load`` puts MISSING where it refused a value, so
    that the rules can check the rest. Nothing else creates an object with MISSING in it.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _accept_missing_section(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        missing: Self = MISSING
        return missing if value is MISSING else handler(value)

    @field_validator("*", mode="wrap")
    @classmethod
    def _accept_missing_field(cls, value: object, handler: ValidatorFunctionWrapHandler) -> object:
        return value if value is MISSING else handler(value)
