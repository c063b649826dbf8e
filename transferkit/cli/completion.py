"""What the shell proposes while a command is typed; nothing here loads torch, and faults propose nothing."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

import typer

from transferkit.recipe import DATA_MODELS, book

TIMM = "timm/"
REGISTERED = re.compile(r"^@register_model\n(?:@[^\n]*\n)*def (\w+)", re.MULTILINE)


def is_at_work() -> bool:
    """Whether a shell asks for proposals, so that nothing else may be printed."""
    return "_TYPER_COMPLETE_ARGS" in os.environ


def backbones(incomplete: str) -> list[str]:
    """Names of backbones that begin so; timm's once its prefix is typed."""
    from transferkit.models.backbones.cards import CARDS

    known = [*CARDS, TIMM] if not incomplete.startswith(TIMM) else timm_names()
    return [name for name in sorted(known) if name.startswith(incomplete)]


def timm_names() -> list[str]:
    """`timm/<name>` of every model, read off timm's source: importing it takes seconds."""
    if (timm := find_spec("timm")) is None or not timm.submodule_search_locations:
        return []
    sources = (Path(timm.submodule_search_locations[0]) / "models").glob("*.py")
    return [TIMM + name for source in sources for name in REGISTERED.findall(source.read_text(encoding="utf-8"))]


def data_sets(incomplete: str) -> list[str]:
    """Names of data sets, and folders here, that begin so."""
    published = [name for name, model in DATA_MODELS.items() if not model.typed and name.startswith(incomplete)]
    return [*published, *folders(incomplete)]


def runs(incomplete: str) -> list[str]:
    """`@last`, `@2` and so on where there are so many finished runs, and folders here, that begin so."""
    from transferkit.recipe.references import HOME, finished_folders

    count = len(finished_folders(HOME))
    numbered = [f"@{number}" if number > 1 else "@last" for number in range(1, count + 1)]
    return [*(name for name in numbered if name.startswith(incomplete)), *folders(incomplete)]


def figures(context: typer.Context, incomplete: str) -> list[str]:
    """Names of the figures that the folder typed before has."""
    from transferkit.runtime.errors import TransferkitError
    from transferkit.studies.pages import figure_names

    try:
        names = figure_names(Path(context.params.get("folder") or "."))
    except (TransferkitError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def folders(incomplete: str) -> list[str]:
    """Folders that begin so."""
    parent, _, begun = incomplete.rpartition("/")
    place = f"{parent}/" if parent or incomplete.startswith("/") else ""
    if not os.path.isdir(place or "."):
        return []
    names = sorted(entry.name for entry in os.scandir(place or ".") if entry.is_dir() and entry.name.startswith(begun))
    return [f"{place}{name}" for name in names]


def recipes(incomplete: str) -> list[str]:
    """Names of shipped recipes, and YAML files here, that begin so."""
    files = sorted(entry.name for entry in os.scandir(".") if entry.name.endswith((".yaml", ".yml")))
    return [name for name in (*book.names(), *files) if name.startswith(incomplete)]
