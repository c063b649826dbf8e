"""What the shell proposes while a command is typed; nothing here loads torch."""

from __future__ import annotations

import os

from transferkit.recipe import DATA_MODELS, book


def backbones(incomplete: str) -> list[str]:
    """Names of backbones that begin so."""
    from transferkit.models.backbones.cards import CARDS

    return [name for name in sorted(CARDS) if name.startswith(incomplete)]


def data_sets(incomplete: str) -> list[str]:
    """Names of data sets, and folders here, that begin so."""
    parent, _, begun = incomplete.rpartition("/")
    place = f"{parent}/" if parent or incomplete.startswith("/") else ""
    if not os.path.isdir(place or "."):
        return []
    folders = sorted(
        entry.name for entry in os.scandir(place or ".") if entry.is_dir() and entry.name.startswith(begun)
    )
    published = [name for name, model in DATA_MODELS.items() if not model.typed and name.startswith(incomplete)]
    return [*published, *(f"{place}{folder}" for folder in folders)]


def recipes(incomplete: str) -> list[str]:
    """Names of shipped recipes, and YAML files here, that begin so."""
    files = sorted(entry.name for entry in os.scandir(".") if entry.name.endswith((".yaml", ".yml")))
    return [name for name in (*book.names(), *files) if name.startswith(incomplete)]
