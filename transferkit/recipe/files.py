"""Reads recipes, studies and rankings from files, and writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from transferkit.recipe.experiment import Recipe, parse
from transferkit.recipe.overrides import overridden
from transferkit.recipe.ranking import RankingRecipe, parse_ranking
from transferkit.recipe.study import Study, parse_study
from transferkit.recipe.tuning import TuningRecipe, parse_tuning
from transferkit.recipe.yaml_text import LONGEST_TEXT, parse_keys
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.json_files import JsonObject

Document: TypeAlias = Recipe | Study | RankingRecipe | TuningRecipe
DOCUMENTS: dict[str, Callable[[Mapping[str, Any], str], Document]] = {  # by the key that only they have
    "backbones": parse_ranking,
    "arms": parse_study,
    "base": parse_tuning,
}


def load(path: Path, overrides: Sequence[str] = ()) -> Document:
    """The recipe, study or ranking in a YAML file, with `key.path=value` overrides applied.

    Raises:
        TransferkitError: All mistakes at once, each with file, key path and nearest key.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_TEXT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise TransferkitError(f"Cannot read the recipe {path}: {error}.") from error
    return parse_any(overridden(parse_keys(text, str(path)), overrides), str(path))


def parse_any(values: Mapping[str, Any], source: str) -> Document:
    """What its own key tells: see `DOCUMENTS`; a recipe where there is none of them."""
    own = next((key for key in DOCUMENTS if key in values), None)
    return parse(values, source) if own is None else DOCUMENTS[own](values, source)


def schema() -> JsonObject:
    """The JSON Schema of a recipe file, for editors."""
    return TypeAdapter(Document).json_schema()
