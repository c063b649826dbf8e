"""Folders of results other than runs: studies, rankings, limits reports; whose they are, and what may be replaced."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from transferkit import recipe as recipes
from transferkit.recipe import RecipePart
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json, write_json, write_text
from transferkit.runtime.json_files import JsonObject, JsonValue

Asked: TypeAlias = "recipes.Document | JsonObject"  # all that results depend on, as it was asked for


@dataclass(frozen=True)
class Kind:
    """What a folder of results holds.

    Attributes:
        name: In the manifest and on the screen.
        article: `this` where the folder also holds what was asked, as YAML, and the same command goes on with it.
        result: The JSON file that a finished one has; with `failures` in it, what failed is tried again.
        page: Written last.
    """

    name: str
    article: str
    result: str
    page: str = "report.html"

    def is_finished(self, folder: Path) -> bool:
        """Whether nothing is left to do there."""
        result = folder / self.result
        is_whole = result.exists() and (folder / self.page).exists()
        return is_whole and not read_json(result).get("failures")


STUDY = Kind("study", "this", "comparison.json")
COMPARISON = Kind("comparison", "a", "comparison.json")
FOLDS = Kind("cross-validation", "this", "folds.json")
RANKING = Kind("ranking", "this", "ranking.json")
TUNING = Kind("tuning", "this", "tuning.json")
LIMITS = Kind("limits report", "a", "limits.json", "limits.html")
LIMITS_COMPARISON = Kind("comparison of limits", "a", "limits-comparison.json", "limits-comparison.html")
GRADIENT_FLOW = Kind("measurement", "a", "gradient-flow.json")
SITE = Kind("site", "a", "index.json", "index.html")


@contextmanager
def claim(
    folder: Path,
    kind: Kind,
    *,
    overwrite: bool,
    content: Asked | None = None,
) -> Iterator[None]:
    """Check that results may be written to a folder; inside, this process alone works there. See `require_free`."""
    require_free(folder, kind, overwrite=overwrite, content=content)
    with hold_results(folder, kind):
        require_free(folder, kind, overwrite=overwrite, content=content)  # another process may have ended meanwhile
        yield


def hold_results(folder: Path, kind: Kind) -> AbstractContextManager[None]:
    """Inside, this process alone works in the folder; what it writes there is listed in the manifest.

    Raises:
        TransferkitError: If the folder holds something else, or another process works in it.
    """
    folders.require_kind(folder, kind.name)
    return folders.hold(folder, kind.name)


def require_free(
    folder: Path,
    kind: Kind,
    *,
    overwrite: bool,
    content: Asked | None = None,
) -> None:
    """Check that results may be written to a folder; nothing is changed yet.

    Args:
        folder: Where they shall be.
        kind: What they are.
        overwrite: Whether results there may be replaced.
        content: What is asked for, which an earlier call of the same command has left there.

    Raises:
        TransferkitError: If it holds something else, is finished, or another process works in it.
    """
    folders.require_kind(folder, kind.name)
    folders.require_idle(folder)
    if overwrite:
        return
    if content is not None and _asked_file(folder, kind, content).exists() and not was_asked(folder, kind, content):
        raise TransferkitError(
            f"{folder} holds another {kind.name}{_difference(folder, kind, content)}. Choose another folder with "
            "--out, or replace it with --overwrite."
        )
    if kind.is_finished(folder):
        raise TransferkitError(
            f"{folder} already holds {kind.article} {kind.name}. Look at {folder / kind.page}, choose another folder "
            f"with --out, or replace it with --overwrite."
        )


def is_done(folder: Path, kind: Kind, asked: Asked, *, overwrite: bool, console: Console) -> bool:
    """Whether a folder has what is asked for already, whole: that is said, and nothing is left to do.

    Args:
        folder: Where results shall be.
        kind: What they are.
        asked: All that they depend on.
        overwrite: Whether they are to be made anew.
        console: Is told.
    """
    if overwrite or folders.kind_of(folder) != kind.name or not was_asked(folder, kind, asked):
        return False
    if not kind.is_finished(folder):
        return False
    say_finished(folder, folder / kind.result, console)
    return True


def say_finished(folder: Path, result: Path, console: Console) -> None:
    """Say that what is asked for is there already, since when, and how to make it anew."""
    day = datetime.fromtimestamp(result.stat().st_mtime)
    console.line(
        f"{folder} has this already, finished on {day:%Y-%m-%d at %H:%M}; nothing is computed again. "
        "Add --overwrite to make it anew, as after a change of your images."
    )


def was_asked(folder: Path, kind: Kind, asked: Asked) -> bool:
    """Whether results of just this lie in a folder, or were begun there."""
    path = _asked_file(folder, kind, asked)
    return path.exists() and _asked_there(path) == _plain(asked)


def write_asked(folder: Path, kind: Kind, asked: Asked) -> None:
    """Leave in a held folder what is asked for, for the same command typed again."""
    path = _asked_file(folder, kind, asked)
    if isinstance(asked, RecipePart):
        write_text(path, asked.to_yaml())
    else:
        write_json(path, asked)


def _difference(folder: Path, kind: Kind, asked: Asked) -> str:
    """The first key of which something else was asked for, in words."""
    there, here = dict(_leaves(_asked_there(_asked_file(folder, kind, asked)))), dict(_leaves(_plain(asked)))
    key = next((key for key in (*here, *there) if here.get(key) != there.get(key)), None)
    return f", with {key}={there.get(key)} and not {here.get(key)}" if key else ""


def _leaves(value: JsonValue, place: str = "") -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}" if place else key)
    else:
        yield place, value


def _asked_there(path: Path) -> JsonValue:
    value: JsonValue = _plain(recipes.load(path)) if path.suffix == ".yaml" else read_json(path)
    return value


def _plain(asked: Asked) -> JsonValue:
    value: JsonValue = json.loads(json.dumps(asked.model_dump(mode="json") if isinstance(asked, RecipePart) else asked))
    return value


def _asked_file(folder: Path, kind: Kind, asked: Asked) -> Path:
    return folder / (f"{kind.name}.yaml" if isinstance(asked, RecipePart) else "asked.json")


def clear_results(folder: Path) -> None:
    """Remove earlier results from a held folder, so that a kill cannot leave old ones beside new ones."""
    folders.remove(folder, folders.files_of(folder))
