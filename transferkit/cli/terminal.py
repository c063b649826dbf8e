"""What commands share at the terminal: how their work begins and is stopped, and what they print."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transferkit.errors import Stopped
from transferkit.recipe import Ranking, Study, dump

if TYPE_CHECKING:
    from transferkit.screen import Screen

NOTHING_KEPT = "Stopped. Nothing was written; the same command starts again."


@contextmanager
def working(kept: str | Callable[[], str] = NOTHING_KEPT) -> Iterator[Screen]:
    """The part of a command that takes its time; torch is imported inside it.

    Args:
        kept: What Ctrl-C leaves, and how to go on from there; a function where only the moment tells.

    Raises:
        Stopped: With these words, at Ctrl-C.
    """
    from transferkit.screen import Screen

    screen = Screen()
    try:
        screen.line("Starting (loading torch takes a few seconds) ...")
        yield screen
    except KeyboardInterrupt:
        raise Stopped(kept if isinstance(kept, str) else kept()) from None


def command_line() -> str:
    """What was typed, for the report."""
    return shlex.join(["transferkit", *sys.argv[1:]])


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_recipe(recipe: Ranking | Study, as_json: bool) -> None:
    """What would be run and what each arm would cost, for --dry-run; the recipe alone on stdout."""
    from transferkit.cli import estimate
    from transferkit.screen import Screen

    arms = estimate.of_study(recipe) if isinstance(recipe, Study) else estimate.estimates(recipe.recipes())
    if as_json:
        print_json({"recipe": recipe.model_dump(mode="json"), "estimates": arms})
        return
    print(dump(recipe), end="")
    for arm, text in arms.items():
        Screen().line(f"{arm}: {text}")
