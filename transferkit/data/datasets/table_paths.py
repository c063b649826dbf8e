"""Where the files lie that a table names: other slashes, no extension, a folder that the table does not mention."""

from __future__ import annotations

import os
from pathlib import Path

from transferkit.data.image_files import EXTENSIONS

FOLDERS = ("", "train", "train_images", "images")  # beside the table, in this order
USUAL = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp")


class Places:
    """Looks for files as they are named, and where they are not there, where Kaggle and Windows mean them to be."""

    def __init__(self, table: Path) -> None:
        self._root = table.parent
        self._last = ("", "")  # the folder and extension that the file before had
        self._told: dict[str, None] = {}

    def resolve(self, path: str) -> str:
        """The path relative to the table's folder of the file that is meant; as it was where there is none."""
        if self._exists(path):
            return path
        slashed = path.replace("\\", "/")
        extensions = ("",) if os.path.splitext(slashed)[1].lower() in EXTENSIONS else ("", *USUAL)
        for folder, extension in (self._last, *((folder, end) for folder in FOLDERS for end in extensions)):
            place = (f"{folder}/" if folder else "") + slashed + extension
            if self._exists(place):
                self._last = folder, extension
                self._tell(path, slashed, folder, extension)
                return place
        return path

    def notes(self) -> list[str]:
        """How names were read otherwise than as they stand."""
        return list(self._told)

    def _exists(self, path: str) -> bool:
        try:
            return os.path.isfile(self._root / path)
        except (OSError, ValueError):  # a name that no file can have
            return False

    def _tell(self, path: str, slashed: str, folder: str, extension: str) -> None:
        if slashed != path:
            self._told["backslashes in paths were read as slashes"] = None
        if folder:
            self._told[f"files were found in the folder {folder}/"] = None
        if extension:
            self._told[f"names without extension were found with {extension}"] = None
