"""Whether a finished run is what a recipe asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transferkit.recipe import Recipe
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.json_files import JsonObject

NOT_ASKED = ("name", "device", "devices", "threads", "track")  # of the recipe itself: what it is called, where it works


def require_same_work(run: Run, recipe: Recipe, besides: Mapping[str, str]) -> None:
    """Refuse to take a finished run for the answer to a recipe that asks for something else.

    Keys that a recipe leaves at their defaults are open, now and when the run was made: in the run they were settled.

    Args:
        run: Finished.
        recipe: What is asked for.
        besides: What else decides the result.

    Raises:
        TransferkitError: Names the first key that differs.
    """
    then, now = run.facts.asked, asked_in_words(recipe, besides)
    if then == now:
        return
    for key, value in besides.items():
        if then is not None and then.get(key, value) != value:
            raise _otherwise(run, f"{key}={then[key]}", f"{key}={value} is")
    stored = {key: value for key, value, _ in run.recipe.each_key()}
    wanted = {key: value for key, value in asked(recipe) if key not in NOT_ASKED}
    for key in dict.fromkeys((*wanted, *(then or {}))):
        if key in stored and (key not in wanted or stored[key] != wanted[key]):
            value = f"{key}={wanted[key]} is" if key in wanted else f"no {key} is"
            raise _otherwise(run, f"{key}={stored[key]}", value)


def _otherwise(run: Run, then: str, now: str) -> TransferkitError:
    return TransferkitError(
        f"{run.path} holds a finished run with {then}, and {now} asked for. "
        "Choose another folder with --out, or replace that run with --overwrite."
    )


def asked_in_words(recipe: Recipe, besides: Mapping[str, str]) -> dict[str, str]:
    """The keys that a recipe asks for, with their values, and what else decides the result."""
    return {key: str(value) for key, value in asked(recipe) if key not in NOT_ASKED} | dict(besides)


def mark_of(run: Run) -> JsonObject:
    """What tells a run from one that took its place, wherever its folder is moved."""
    return {"run": run.path.resolve().name, "started": run.facts.started}


def asked(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """The keys of a recipe that are not at their defaults, and every name of what was chosen from a menu."""
    for key, value, default in recipe.each_key():
        if value != default or key.endswith(".name"):
            yield key, value
