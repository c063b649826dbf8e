"""A group of keys whose name chooses it from a menu: one dict, looked at whenever values are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Union

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from transferkit.recipe.settings import RecipePart


@dataclass(frozen=True, eq=False)
class ChosenFrom:
    """Marks a recipe's key that holds one of a menu's groups, as in `Annotated[MethodSettings, ChosenFrom(menu)]`.

    Whatever stands in the menu when values come can be chosen, so that an entry is added by one line of it.

    Attributes:
        menu: The groups by their `name`.
    """

    menu: Mapping[str, type[RecipePart]]

    @property
    def models(self) -> tuple[type[RecipePart], ...]:
        """All that can be chosen."""
        return tuple(self.menu.values())

    def checked(self, values: Any) -> Any:
        """The group that the name among the values chooses, with these values."""
        return _adapter(self.models).validate_python(values)

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.checked, core_schema.any_schema())

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(_adapter(self.models).core_schema)


@lru_cache(maxsize=16)
def _adapter(models: tuple[type[RecipePart], ...]) -> TypeAdapter[Any]:
    for model in models:
        model.model_rebuild()  # else what is chosen could not be written: building is put off until it is needed
    choice: Any = Annotated[Union[models], Field(discriminator="name")]  # noqa: UP007 - made from a tuple
    return TypeAdapter(choice)
