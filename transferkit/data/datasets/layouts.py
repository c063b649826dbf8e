"""The ways to say which image shows which class: folders of class folders, and tables."""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.data.datasets import folder_layout, folder_tables, table_layout
from transferkit.data.datasets.layout import Layout, expected
from transferkit.recipe import FolderData
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.missing_paths import missing_in_words


def find(settings: FolderData) -> Layout:
    """The layout of a folder or a CSV file.

    Raises:
        TransferkitError: If there is no such path, or it has no classes to tell apart.
    """
    path = settings.path
    if os.path.isdir(path):
        tables = folder_tables.tables_in(path)
        if not tables:
            return folder_layout.find(path, settings.group)
        _require_no_folders(settings, next(iter(tables.values())))
        return folder_tables.find(tables, settings)
    if os.path.isfile(path) and path.suffix.lower() in table_layout.SUFFIXES:
        _require_no_folders(settings, path)
        return table_layout.find(path, settings)
    if os.path.exists(path):
        raise TransferkitError(f"{path} is neither a folder nor a .csv file. {expected(path.parent)}")
    raise TransferkitError(f"{missing_in_words(path)} {expected(path)}")


def _require_no_folders(settings: FolderData, table: Path) -> None:
    if settings.group is not None:
        raise TransferkitError(
            f"data.group is for folders; {table} is a table, which names groups in a column called group. "
            "Leave --group out."
        )
