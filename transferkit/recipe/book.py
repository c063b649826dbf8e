"""The recipes that ship with transferkit: listed, found by name, copied."""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted


def folder() -> Path:
    """Where the shipped recipes lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def names() -> list[str]:
    """The shipped recipes, sorted."""
    return sorted(path.stem for path in folder().glob("*.yaml"))


def find(name_or_path: str) -> Path:
    """The file of a shipped recipe or of the user's own.

    Raises:
        TransferkitError: Names the nearest recipe.
    """
    path = Path(name_or_path)
    if os.path.isfile(path):  # False too where a name is too long or holds signs that no path has
        return path
    if path.suffix in (".yaml", ".yml"):
        raise TransferkitError(
            f"There is no recipe file {quoted(name_or_path)}. `transferkit recipes list` shows the shipped ones."
        )
    if name_or_path not in names():
        raise TransferkitError(f"Unknown recipe {quoted(name_or_path)}. {did_you_mean(name_or_path, names())}")
    return folder() / f"{name_or_path}.yaml"


def about(path: Path) -> str:
    """What a recipe shows: the first line of its header comment."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def text_of(name_or_path: str) -> str:
    """A recipe as it is written.

    Raises:
        TransferkitError: If there is none, or it is no text.
    """
    path = find(name_or_path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TransferkitError(f"Cannot read the recipe {path}: {error}.") from error


def copy(name: str, to: Path) -> Path:
    """Copy a recipe to a new file.

    Raises:
        TransferkitError: If the file exists.
    """
    if to.exists():
        raise TransferkitError(f"{to} exists. Choose another file name; nothing is overwritten.")
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text_of(name), encoding="utf-8")
    return to
