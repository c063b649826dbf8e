"""Folders whose classes a table inside says: Hugging Face's imagefolder with metadata, and Kaggle's train.csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from transferkit.data.datasets import path_table, table_layout
from transferkit.data.datasets.layout import PARTS, Layout, Part
from transferkit.recipe import FolderData

METADATA = ("metadata.jsonl", "metadata.csv")
KAGGLE = ("train.csv",)


def tables_in(root: Path) -> dict[str, Path]:
    """The table of each part, `train` alone where one table is for all; {} where folders say the classes.

    A table beside class folders counts only if it names paths and labels.
    """
    for name in (*METADATA, *KAGGLE):
        if (root / name).is_file() and _says_classes(root / name) and (name in METADATA or _is_flat(root)):
            return {"train": root / name}
    folders = {PARTS[name]: root / name for name in PARTS if (root / name).is_dir()}
    tables = {part: folder / name for part, folder in folders.items() for name in METADATA if (folder / name).is_file()}
    return tables if "train" in tables and all(map(_says_classes, tables.values())) else {}


def _is_flat(root: Path) -> bool:
    """Whether the training images lie in one folder, without class folders that would say the same."""
    folders = [root / name for name in ("train", "train_images", "images") if (root / name).is_dir()]
    return any(not any(entry.is_dir() for entry in folder.iterdir()) for folder in folders)


def _says_classes(table: Path) -> bool:
    header = {column.lower() for column in path_table.header(table) if column}
    return bool(header & set(table_layout.PATH_NAMES) and header & set(table_layout.LABEL_NAMES))


def find(tables: Mapping[str, Path], settings: FolderData) -> Layout:
    """The layout that the tables describe together.

    Raises:
        TransferkitError: As for a table.
    """
    if len(tables) == 1 and tables["train"].parent == settings.path:
        return _noted(table_layout.find(tables["train"], settings), tables)
    layouts = {part: table_layout.find(table, settings) for part, table in tables.items()}
    parts = {part: _below(layout.train, tables[part].parent.name) for part, layout in layouts.items()}
    notes = tuple(dict.fromkeys(note for layout in layouts.values() for note in layout.notes))
    has_groups = any(layout.has_groups for layout in layouts.values())
    whole = Layout(settings.path, parts["train"], parts.get("val"), parts.get("test"), notes, has_groups)
    return _noted(whole, tables)


def _noted(layout: Layout, tables: Mapping[str, Path]) -> Layout:
    names = ", ".join(str(table.relative_to(layout.root)) for table in tables.values())
    return replace(layout, notes=(f"classes are as {names} says", *layout.notes))


def _below(part: Part, folder: str) -> Part:
    """The same files, named from the folder above."""
    return Part(tuple(file._replace(path=f"{folder}/{file.path}") for file in part.files), part.class_names)
