"""The ways to say which image shows which class: folders of class folders, and a CSV."""

from __future__ import annotations

import os

from transferkit.data.datasets import folder_layout, table_layout
from transferkit.data.datasets.layout import Layout, expected
from transferkit.recipe import FolderData
from transferkit.runtime.errors import TransferkitError, quoted


def find(settings: FolderData) -> Layout:
    """The layout of a folder or a CSV file.

    Raises:
        TransferkitError: If there is no such path, or it has no classes to tell apart.
    """
    path = settings.path
    if os.path.isdir(path):
        return folder_layout.find(path, settings.group)
    if os.path.isfile(path) and path.suffix.lower() == ".csv":
        _require_no_folders(settings)
        return table_layout.find(path)
    if os.path.exists(path):
        raise TransferkitError(f"{path} is neither a folder nor a .csv file. {expected(path.parent)}")
    raise TransferkitError(f"{quoted(str(path))[1:-1]} does not exist. {expected(path)}")


def _require_no_folders(settings: FolderData) -> None:
    if settings.group is not None:
        raise TransferkitError(
            f"data.group is for folders; {settings.path} is a file, which names groups in a column called group. "
            "Leave --group out."
        )
