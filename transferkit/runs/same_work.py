"""Whether a finished run is what a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transferkit.recipe import Recipe, RecipePart
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError

NOT_ASKED = ("name", "device", "devices", "threads", "track")  # of the recipe itself: what it is called, where it works


def require_same_work(run: Run, recipe: Recipe) -> None:
    """Refuse to take a finished run for the answer to a recipe that asks for something else.

    Keys that a recipe leaves at their defaults ask for nothing: in the run they may have been settled.

    Raises:
        TransferkitError: Names the first key that differs.
    """
    stored = {key: value for key, value, _ in keys_of(run.recipe)}
    for key, value in asked(recipe):
        if key not in NOT_ASKED and stored.get(key, value) != value:
            raise TransferkitError(
                f"{run.path} holds a finished run with {key}={stored[key]}, and {key}={value} is asked for. "
                "Choose another folder with --out, or replace that run with --overwrite."
            )


def asked(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The keys of a recipe that are not at their defaults, and every name of what was chosen from a menu."""
    for key, value, default in keys_of(recipe):
        if value != default or key.endswith(".name"):
            yield key, value


def keys_of(part: RecipePart, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each key of a recipe as a path, with its value and its default."""
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, RecipePart):
            yield from keys_of(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value, field.get_default(call_default_factory=True)
