"""Finds which files of a folder or CSV belong to train, val and test, and which class each shows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from transferkit.data.datasets import path_table
from transferkit.data.decoding import EXTENSIONS
from transferkit.runtime.errors import TransferkitError, did_you_mean, quoted

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
NEEDED = ("path", "label")  # columns of a CSV
LISTED = 10


class File(NamedTuple):
    """An image file: its path relative to the root, its class, and what tells that it has not changed."""

    path: str
    label: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Part:
    """The files of train, val or test with the classes that this part names, sorted."""

    files: tuple[File, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """What lies where; val and test are None where the user did not set them apart."""

    root: Path
    train: Part
    val: Part | None
    test: Part | None
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[File, ...]:
        """All files: train, val, test."""
        return tuple(file for part in (self.train, self.val, self.test) if part for file in part.files)


@dataclass
class _Ignored:
    """What a scan passes over, to be told in the notes."""

    hidden: int = 0
    beside: int = 0
    other: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.other.most_common(5))
        told = [
            (self.other.total(), f"{self.other.total()} files that are no images ({kinds})"),
            (self.hidden, f"{self.hidden} hidden files or folders"),
            (self.beside, f"{self.beside} images that lie beside the class folders"),
            (len(self.folders), f"folders beside train: {', '.join(self.folders)}"),
        ]
        return [f"ignored {text}" for count, text in told if count]


def escaped(name: str) -> str:
    """A name of a file or folder as reports can hold it: bytes that are no UTF-8 become `\\xe9`.

    Example:
        >>> escaped("caf\\udce9")
        'caf\\\\xe9'
    """
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def find(path: Path) -> Layout:
    """The layout of a folder or a CSV file.

    Raises:
        TransferkitError: If there is no such path, or it has no classes to tell apart.
    """
    if os.path.isdir(path):
        return _folder_layout(path)
    if os.path.isfile(path) and path.suffix.lower() == ".csv":
        return _csv_layout(path)
    if os.path.exists(path):
        raise TransferkitError(f"{path} is neither a folder nor a .csv file. {_expected(path.parent)}")
    raise TransferkitError(f"{quoted(str(path))[1:-1]} does not exist. {_expected(path)}")


def _expected(path: Path) -> str:
    return (
        f"Expected {path}/train/<class>/<image>.jpg and {path}/test/<class>/<image>.jpg, "
        f"{path}/<class>/<image>.jpg, or a CSV file with the columns path,label."
    )


# ------------------------------------------------------------------------------------------------- folders


def _folder_layout(root: Path) -> Layout:
    ignored = _Ignored()
    folders = _visible_folders(root, _Ignored())
    parts = _part_folders(root, folders)
    if not parts:
        train = _part(root, root, ignored)
        return Layout(root, train, None, None, tuple(ignored.notes()))
    ignored.folders = [f"{folder.name}/" for folder in folders if folder not in parts.values()]
    ignored.beside += len(_directly_inside(root))
    found = {name: _part(root, folder, ignored) for name, folder in parts.items()}
    return Layout(root, found["train"], found.get("val"), found.get("test"), tuple(ignored.notes()))


def _part_folders(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of train, val and test; none where `train` is a class among others, as in bus, car, train."""
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
        raise TransferkitError(f"{root} has {', '.join(sorted(parts))} but no train folder. {_expected(root)}")
    return {}


def _part(root: Path, folder: Path, ignored: _Ignored) -> Part:
    """The class folders of one part.

    Raises:
        TransferkitError: If there are fewer than two, or one is empty.
    """
    class_folders = sorted(_visible_folders(folder, ignored), key=lambda path: escaped(path.name))
    beside = len(_directly_inside(folder))
    if not class_folders:
        raise TransferkitError(
            f"{folder} has no class folders. Expected {folder}/<class>/<image>.jpg; "
            f"found {beside} images directly inside."
        )
    names = tuple(escaped(path.name) for path in class_folders)
    if len(set(names)) < len(names):
        raise TransferkitError(
            f"{folder} has two class folders that cannot be told apart: {', '.join(names)}. Rename one."
        )
    if len(names) == 1:
        raise TransferkitError(
            f"{folder} has one class folder, {names[0]!r}; a classifier needs at least two. "
            f"Expected {folder}/<class>/<image>.jpg."
        )
    ignored.beside += beside
    files = [_files_below(root, class_folder, ignored) for class_folder in class_folders]
    _require_filled(folder, names, files)
    return Part(tuple(file for of_class in files for file in of_class), names)


def _require_filled(folder: Path, names: Sequence[str], files: Sequence[Sequence[File]]) -> None:
    empty = [f"{folder / name}" for name, of_class in zip(names, files, strict=True) if not of_class]
    if empty:
        more = f" and {len(empty) - LISTED} more" if len(empty) > LISTED else ""
        raise TransferkitError(
            f"{len(empty)} of {len(names)} class folders hold no image: {', '.join(empty[:LISTED])}{more}. "
            f"Add images ({' '.join(sorted(EXTENSIONS))}) or remove these folders."
        )


def _visible_folders(folder: Path, ignored: _Ignored) -> list[Path]:
    found = []
    for entry in os.scandir(folder):
        if _is_hidden(entry.name):
            ignored.hidden += 1
        elif entry.is_dir():
            found.append(Path(entry.path))
    return found


def _directly_inside(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if not _is_hidden(entry.name) and _is_image(entry.name)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in EXTENSIONS  # a third of os.path.splitext's time


def _files_below(root: Path, class_folder: Path, ignored: _Ignored) -> list[File]:
    """Image files of a class, at any depth, in the order of their paths; links are followed, once each."""
    prefix = len(str(root)) + 1
    label = escaped(class_folder.name)
    found, waiting, visited = [], [str(class_folder)], set[str]()
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
                found.append(_file(entry.path, entry.path[prefix:].replace(os.sep, "/"), label))
            else:
                ignored.other[os.path.splitext(entry.name)[1].lower() or "without extension"] += 1
    return sorted(found)


def _file(path: str, relative: str, label: str) -> File:
    """A file that is missing (a broken link, a wrong line of a CSV) is reported with the unreadable ones."""
    try:
        status = os.stat(path)
    except OSError:
        return File(relative, label, -1, -1)
    return File(relative, label, status.st_size, status.st_mtime_ns)


# ----------------------------------------------------------------------------------------------------- CSV


def _csv_layout(path: Path) -> Layout:
    rows = _rows(path)
    files: dict[str, list[File]] = {}
    for part, relative, label in rows:
        files.setdefault(part, []).append(_file(str(path.parent / relative), relative, label))
    if "train" not in files:
        raise TransferkitError(f"{path} has no row with split train. Expected train, val or test in the column split.")
    parts = {name: Part(tuple(of_part), _sorted_labels(of_part)) for name, of_part in files.items()}
    names = parts["train"].class_names
    if len(names) < 2:
        raise TransferkitError(f"{path} has one class, {names[0]!r}; a classifier needs at least two.")
    return Layout(path.parent, parts["train"], parts.get("val"), parts.get("test"), ())


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """Part, path and label of each row; every row is train where there is no column split."""
    found = [_row(path, line, row) for line, row in path_table.rows(path, NEEDED)]
    if not found:
        raise TransferkitError(f"{path} has no rows below its header {','.join(NEEDED)}.")
    _require_once(path, [relative for _, relative, _ in found])
    return found


def _row(path: Path, line: int, row: dict[str, str]) -> tuple[str, str, str]:
    part = (row.get("split") or "train").lower()
    if not row["path"] or not row["label"]:
        raise TransferkitError(f"{path}, line {line}: path or label is missing. Expected path,label in every line.")
    if part not in PARTS:
        raise TransferkitError(f"{path}, line {line}: unknown split {quoted(part)}. {did_you_mean(part, PARTS)}")
    return PARTS[part], row["path"], row["label"]


def _require_once(path: Path, relatives: Sequence[str]) -> None:
    twice = [relative for relative, count in Counter(relatives).items() if count > 1]
    if twice:
        more = f" and {len(twice) - LISTED} more" if len(twice) > LISTED else ""
        raise TransferkitError(
            f"{path} names {len(twice)} files more than once: {', '.join(twice[:LISTED])}{more}. "
            "Keep one line per file, so that no image is in train and in test."
        )


def _sorted_labels(files: Iterable[File]) -> tuple[str, ...]:
    return tuple(sorted({file.label for file in files}))
