"""The base of every part of a recipe: strict and immutable, some of them a single word where defaults do."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Strict(BaseModel):
    """No unknown keys, no conversion between kinds of values, no NaN; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Worded(Strict):
    """A part for which one word can stand: the value of its key `WORD`, all else as by default."""

    WORD: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        return {cls.WORD: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Say that the word alone is enough."""
        mapping = handler.resolve_ref_schema(handler(core_schema))
        return {"oneOf": [{"type": "string", "enum": mapping["properties"][cls.WORD]["enum"]}, mapping]}
