"""Where an export goes: one file, or a folder of transferkit's that has a manifest."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transferkit.deploy.formats import FORMATS
from transferkit.runs import result_folders
from transferkit.runtime import files
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_atomically

EXPORTED = result_folders.Kind("exported model", "an", "classes.json", "MODEL_CARD.md")


@dataclass(frozen=True)
class Target:
    """Where an export goes.

    Attributes:
        file: Of the model.
        is_folder: Whether the folder around it is the export's.
    """

    file: Path
    is_folder: bool


def target_of(run: Path, to: str, out: Path | None, file_name: str) -> Target:
    """What --out means: a file by its suffix; for formats that are written as folders, any other name is a folder.

    Raises:
        TransferkitError: If the suffix is that of another format.
    """
    is_folder = FORMATS[to].is_folder
    suffix = Path(file_name).suffix
    if out is None:
        return Target(run / "export" / to / file_name if is_folder else run / "export" / file_name, is_folder)
    if out.suffix == suffix and not out.is_dir():
        return Target(out, is_folder=False)
    if is_folder and (out.is_dir() or not out.suffix[1:2].isalpha()):
        return Target(out / file_name, is_folder=True)
    folder = ", and it is no folder" if is_folder else ""
    raise TransferkitError(f"{out} does not end in {suffix}, which is what --to {to} writes{folder}.")


def claim(target: Target, *, overwrite: bool) -> AbstractContextManager[None]:
    """Refuse to replace what is there, before any work; inside, no other process writes there.

    Raises:
        TransferkitError: If the file exists, the folder holds an export or something else, or another process exports.
    """
    if target.is_folder:
        return result_folders.claim(target.file.parent, EXPORTED, overwrite=overwrite)
    return files.claim(target.file, overwrite)


def publish(workshop: Path, target: Target) -> None:
    """Put finished files where they belong, which is claimed; of an earlier export in a folder, all listed files go.

    Raises:
        MachineError: If the disk is full or refuses.
    """
    if target.is_folder:
        publish_files(workshop, target.file.parent)
    else:
        write_atomically(target.file, partial(shutil.copyfile, workshop / target.file.name))


def publish_files(workshop: Path, folder: Path) -> None:
    """All files of a workshop into a claimed folder, in place of what is listed there."""
    result_folders.clear_results(folder)
    for path in sorted(workshop.iterdir()):
        write_atomically(folder / path.name, partial(shutil.copyfile, path))
