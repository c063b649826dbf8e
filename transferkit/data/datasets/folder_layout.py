"""Finds which files of a folder of class folders belong to train, val and test, and which class each shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transferkit.data.datasets.layout import (
    ACTIVITIES,
    LISTED,
    PARTS,
    File,
    Layout,
    Part,
    class_name,
    escaped,
    expected,
    file_at,
    in_natural_order,
    natural_key,
)
from transferkit.data.image_files import EXTENSIONS
from transferkit.recipe.data import Group
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

SHARDS, FILES = (".parquet", ".tar"), (".csv", ".tsv", ".jsonl", ".npz")  # data of other kinds


@dataclass
class _Ignored:
    """What a scan passes over, to be told in the notes."""

    hidden: int = 0
    beside: int = 0
    other: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.other.most_common(5))
        counts = [
            (
                self.other.total(),
                f"{counted(self.other.total(), 'file that is no image', 'files that are no images')} ({kinds})",
            ),
            (self.hidden, counted(self.hidden, "hidden file or folder", "hidden files or folders")),
            (self.beside, f"{counted(self.beside, 'image that lies', 'images that lie')} beside the class folders"),
            (len(self.folders), f"folders beside train: {', '.join(self.folders)}"),
        ]
        return [f"ignored {text}" for count, text in counts if count]


def find(root: Path, group: Group | None) -> Layout:
    """The layout of a folder of class folders, with or without train, val and test above them.

    Args:
        root: The folder.
        group: `parent`: folders inside a class folder are groups; `grandparent`: class folders lie inside groups.

    Raises:
        TransferkitError: If it has no classes to tell apart.
    """
    ignored = _Ignored()
    folders = _visible_folders(root, _Ignored())
    part_folders = _part_folders(root, folders)
    if not part_folders:
        parts = {"train": _part(root, root, group, ignored)}
    else:
        ignored.folders = [f"{folder.name}/" for folder in folders if folder not in part_folders.values()]
        ignored.beside += len(_directly_inside(root))
        parts = {
            name: _part(root, part_folders[name], group, ignored)
            for name in ("train", "val", "test")
            if name in part_folders
        }
        parts |= {name: _with_classes_of(part, parts["train"]) for name, part in parts.items()}
    _require_filled(root / part_folders["train"].name if part_folders else root, parts["train"])
    notes = tuple(ignored.notes())
    return Layout(
        root,
        parts["train"],
        parts.get("val"),
        parts.get("test"),
        notes,
        group is not None,
        by_folders=True,
    )


def _part_folders(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of train, val and test; none where they are classes among others, as in bus, car, train."""
    names = {folder.name.lower() for folder in folders}
    if names & ACTIVITIES.keys() and not names <= PARTS.keys():
        return {}
    named = [(PARTS[folder.name.lower()], folder) for folder in folders if folder.name.lower() in PARTS]
    parts = dict(named)
    if not parts or (set(parts) == {"train"} and len(folders) > 1):
        return {}
    if len(parts) < len(named):
        twice = ", ".join(f"{folder.name}/" for _, folder in named)
        raise TransferkitError(f"{root} has several folders for the same part: {twice}. Keep one of each kind.")
    if "train" in parts:
        return parts
    if len(parts) == len(folders):
        raise TransferkitError(f"{root} has {', '.join(sorted(parts))} but no train folder. {expected(root)}")
    return {}


def _part(root: Path, folder: Path, group: Group | None, ignored: _Ignored) -> Part:
    """The class folders of one part.

    Raises:
        TransferkitError: If there are fewer than two.
    """
    if group == "grandparent":
        return _grouped_part(root, folder, ignored)
    class_folders = _class_folders(root, folder, ignored)
    ignored.beside += len(_directly_inside(folder))
    files = [_files_below(root, class_folder, group, ignored) for class_folder in class_folders]
    names = in_natural_order({class_name(path.name) for path in class_folders})
    return Part(tuple(file for of_class in files for file in of_class), names)


def _class_folders(root: Path, folder: Path, ignored: _Ignored) -> list[Path]:
    """The class folders of one part, in natural order.

    Raises:
        TransferkitError: If there are fewer than two, or two cannot be told apart.
    """
    class_folders = {path.name: path for path in _visible_folders(folder, ignored)}
    if not class_folders:
        inside = counted(len(_directly_inside(folder)), "image")
        raise TransferkitError(
            f"{folder} has no class folders. Expected {folder}/<class>/<image>.jpg; "
            f"found {inside} directly inside. {_folder_above(root, folder) or _other_data(folder)}".rstrip()
        )
    names = [escaped(name) for name in class_folders]
    if len(set(names)) < len(names):
        raise TransferkitError(
            f"{folder} has two class folders that cannot be told apart: {', '.join(names)}. Rename one."
        )
    if len({class_name(name) for name in class_folders}) == 1:
        raise TransferkitError(
            f"{folder} has one class folder, {names[0]!r}; a classifier needs at least two. "
            f"Expected {folder}/<class>/<image>.jpg. {_folder_below(class_folders.values())}".rstrip()
        )
    return sorted(class_folders.values(), key=lambda path: natural_key(class_name(path.name)))


def _folder_above(root: Path, folder: Path) -> str:
    """Whether the folder above was meant, in which this one is a class folder among others: a question, or nothing."""
    if folder != root or not folder.name or not _holds_images(folder):
        return ""
    try:
        beside = _visible_folders(folder.parent, _Ignored())
    except OSError:
        return ""
    classes = [path for path in beside if path.name.lower() not in PARTS and _holds_images(path)]
    if folder.name.lower() in PARTS or len(classes) < 2:
        return ""
    return (
        f"Did you mean {folder.parent}{os.sep}, which has {counted(len(classes), 'folder')} of images, "
        f"{folder.name} among them?"
    )


def _other_data(folder: Path) -> str:
    """What to type where shards, a table or arrays lie in a folder: a sentence, or nothing."""
    names = sorted(entry.name for entry in os.scandir(folder) if not _is_hidden(entry.name))
    for endings, place in ((SHARDS, f"shards:{folder}"), (FILES, f"{folder}{os.sep}{{}}")):
        if name := next((name for name in names if name.lower().endswith(endings)), ""):
            return f"It holds {escaped(name)}: type --data {place.format(name)}."
    return ""


def _folder_below(folders: Iterable[Path]) -> str:
    """Whether one of these was meant, that holds class folders and no images itself: a question, or nothing."""
    for folder in folders:
        if not _holds_images(folder):
            below = _visible_folders(folder, _Ignored())
            parted = [path for path in below if path.name.lower() in PARTS]
            classes = [path for path in below if _holds_images(path)]
            if parted or len(classes) > 1:
                what = "train and the like" if parted else f"{counted(len(classes), 'folder')} of images"
                return f"Did you mean {folder}{os.sep}, which has {what}?"
    return ""


def _holds_images(folder: Path) -> bool:
    """Whether images lie directly inside; False where nobody may look."""
    try:
        return bool(_directly_inside(folder))
    except OSError:
        return False


def _grouped_part(root: Path, folder: Path, ignored: _Ignored) -> Part:
    """One part whose class folders lie inside folders of groups.

    Raises:
        TransferkitError: If there are fewer than two classes.
    """
    ignored.beside += len(_directly_inside(folder))
    files: list[File] = []
    for group_folder in sorted(_visible_folders(folder, ignored)):
        ignored.beside += len(_directly_inside(group_folder))
        for class_folder in _visible_folders(group_folder, ignored):
            class_files = _files_below(root, class_folder, None, ignored)
            files += [file._replace(group=escaped(group_folder.name)) for file in class_files]
    names = in_natural_order({file.label for file in files})
    if len(names) < 2:
        classes = counted(len(names), "class", "classes")
        raise TransferkitError(
            f"{folder} has {classes} inside its folders; a classifier needs at least two. "
            f"With data.group=grandparent expected {folder}/<patient>/<class>/<image>.jpg."
        )
    return Part(tuple(sorted(files, key=lambda file: (natural_key(file.label), file.path))), names)


def _with_classes_of(part: Part, train: Part) -> Part:
    """The part without class folders that hold no image, where train has the class: as if they were missing."""
    filled = {file.label for file in part.files}
    empty = [name for name in part.class_names if name not in filled]
    if part is train or not empty or not set(empty) <= set(train.class_names):
        return part
    return Part(part.files, tuple(name for name in part.class_names if name in filled))


def _require_filled(folder: Path, part: Part) -> None:
    filled = {file.label for file in part.files}
    empty = [f"{folder / name}" for name in part.class_names if name not in filled]
    if empty:
        more = f" and {len(empty) - LISTED} more" if len(empty) > LISTED else ""
        below = _folder_below([folder / name for name in filled]) if len(filled) == 1 else ""
        raise TransferkitError(
            f"{len(empty)} of {len(part.class_names)} class folders hold no image: {', '.join(empty[:LISTED])}{more}. "
            f"Add images ({' '.join(sorted(EXTENSIONS))}) or remove these folders. {below}".rstrip()
        )


def _visible_folders(folder: Path, ignored: _Ignored) -> list[Path]:
    folders = []
    for entry in os.scandir(folder):
        if _is_hidden(entry.name):
            ignored.hidden += 1
        elif entry.is_dir():
            folders.append(Path(entry.path))
    return folders


def _directly_inside(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if not _is_hidden(entry.name) and _is_image(entry.name)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in EXTENSIONS  # a third of os.path.splitext's time


def _files_below(root: Path, class_folder: Path, group: Group | None, ignored: _Ignored) -> list[File]:
    """Image files of a class, at any depth, in the order of their paths; links are followed, once each."""
    prefix, inside = len(str(root)) + 1, len(str(class_folder)) + 1
    label = class_name(class_folder.name)
    files, waiting, visited = [], [str(class_folder)], set[str]()
    while waiting:
        folder = waiting.pop()
        if os.path.realpath(folder) in visited:
            continue
        visited.add(os.path.realpath(folder))
        for entry in os.scandir(folder):
            if _is_hidden(entry.name):
                ignored.hidden += 1
            elif entry.is_dir():
                waiting.append(entry.path)
            elif _is_image(entry.name):
                below = entry.path[inside:].split(os.sep) if group == "parent" else ()
                name = escaped(below[0]) if len(below) > 1 else ""
                files.append(file_at(entry.path, entry.path[prefix:].replace(os.sep, "/"), label, name))
            else:
                ignored.other[os.path.splitext(entry.name)[1].lower() or "without extension"] += 1
    return sorted(files)
