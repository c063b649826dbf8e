"""Images sorted into folders by what the model says of them: copied, never moved, and nothing is overwritten."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from glob import has_magic
from itertools import count
from pathlib import Path

from transferkit.deploy.answer_rows import UNKNOWN, AnswerRow
from transferkit.features.extraction.sources import fixed_root
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.folders import ensure_folder

NO_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')  # what some file system takes for more than a letter
LONGEST = 100  # characters of a folder's name
ADVICE = "Choose another folder with --sort-into."


def require_apart(folder: Path, words: Sequence[str]) -> None:
    """Refuse to copy images into a folder that they come from: the next look would find them twice.

    Raises:
        TransferkitError: If the folder lies in one of the sources, or is a file.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise TransferkitError(f"{folder} is a file. {ADVICE}")
    place = Path(os.path.realpath(folder))
    for word in words:
        source = fixed_root(Path(word)) if has_magic(word) else Path(word)
        if os.path.isdir(source) and place.is_relative_to(os.path.realpath(source)):
            raise TransferkitError(f"{folder} lies in {source}, whose images are to be sorted. {ADVICE}")


def folder_names(class_names: Sequence[str]) -> dict[str, str]:
    """The folder of each answer: the class in letters that every file system takes, each its own.

    Example:
        >>> folder_names(["cat", "a/b", "a_b", "../../etc", "CAT"])
        {'unknown': 'unknown', 'cat': 'cat', 'a/b': 'a_b', 'a_b': 'a_b-2', '../../etc': '_.._etc', 'CAT': 'CAT-2'}
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for answer in dict.fromkeys((UNKNOWN, *class_names)):
        plain = NO_NAME.sub("_", answer).strip(" .")[:LONGEST] or "_"
        names[answer] = next(name for name in _numbered(plain, "") if name.casefold() not in taken)
        taken.add(names[answer].casefold())
    return names


def _numbered(stem: str, suffix: str) -> Iterator[str]:
    """name.png, name-2.png, name-3.png ..."""
    yield stem + suffix
    yield from (f"{stem}-{number}{suffix}" for number in count(2))


def copy_into(folder: Path, rows: Iterable[AnswerRow], class_names: Sequence[str]) -> int:
    """Copy each image that has an answer into the answer's folder; how many are there now.

    A copy that is there already is left, so that the same command may be repeated; another file of that name stays and
    the image gets a number.

    Raises:
        MachineError: If a file cannot be copied.
    """
    names = folder_names(class_names)
    copied = 0
    for row in rows:
        if not row.error:
            _copy(Path(row.path), ensure_folder(folder / names[row.answer], ADVICE))
            copied += 1
    return copied


def _copy(image: Path, folder: Path) -> None:
    try:
        for name in _numbered(image.stem, image.suffix):
            if _is_placed(image, folder / name):
                return
    except OSError as error:
        raise MachineError(f"Cannot copy {image} into {folder}: {error.strerror or error}.") from error


def _is_placed(image: Path, target: Path) -> bool:
    """Whether the image lies at the target now: copied, or there already; False where another file does."""
    if os.path.lexists(target):
        return target.is_file() and filecmp.cmp(image, target, shallow=False)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".partial")
    os.close(handle)
    try:
        shutil.copy2(image, name)
        _place(name, target)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)
    return True


def _place(name: str, target: Path) -> None:
    """Give a file its name; fails where a file has come to lie there meanwhile, as a renaming alone would not."""
    try:
        os.link(name, target)
    except FileExistsError:
        raise
    except OSError as error:  # a file system without links
        if os.path.lexists(target):
            raise FileExistsError(target) from error
        os.rename(name, target)
