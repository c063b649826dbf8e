"""What the feature store holds and may hold: listed, counted, removed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from transferkit.features.segments import INDEX_FILE, About, StoredKey, read_index
from transferkit.runtime import cached_files, folders
from transferkit.runtime.cache_place import cache_folder
from transferkit.runtime.errors import TransferkitError

if TYPE_CHECKING:
    from transferkit.models.classifier import Classifier

DEFAULT_BUDGET = 20 * 10**9  # bytes
BUDGET_VARIABLE = "TRANSFERKIT_FEATURE_BUDGET"
SEGMENT_FILES = (INDEX_FILE, "features.npy", "digests.npy")
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True)
class Entry:
    """One segment of the store, for listings.

    Attributes:
        path: Its folder.
        key: What decided the features.
        about: Of which network and images it is; empty in stores of earlier versions.
        rows: How many images.
        width: D, features per image.
        bytes: On disk.
        last_used: Seconds since the epoch.
    """

    path: Path
    key: StoredKey
    about: About
    rows: int
    width: int
    bytes: int
    last_used: float


class Named(Protocol):
    """Images, or files of images, by their ids."""

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""

    def __len__(self) -> int: ...


def described(classifier: Classifier, pictures: Named | None = None) -> About:
    """What an entry says of its network and images, for people; no part of the key, so features are found as ever."""
    network = f"{classifier.backbone} ({classifier.weights.tag})"
    return About(network, "" if pictures is None else origin(pictures))


def origin(pictures: Named) -> str:
    """The data set or folder that images are of; empty where nothing tells, as of arrays."""
    named: str = getattr(pictures, "origin", "")
    if named or not len(pictures) or not os.path.exists(pictures.ids[0]):
        return named
    return os.path.commonpath([os.path.abspath(os.path.dirname(path)) for path in pictures.ids])


def store_folder() -> Path:
    """Where the store lies."""
    return cache_folder() / "features"


def budget_bytes() -> int:
    """How large the store may grow: $TRANSFERKIT_FEATURE_BUDGET, such as `5GB`, else 20 GB.

    Raises:
        TransferkitError: If the variable holds no size.
    """
    text = os.environ.get(BUDGET_VARIABLE)
    if not text:
        return DEFAULT_BUDGET
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)?\s*", text, flags=re.IGNORECASE)
    if not match:
        raise TransferkitError(f"{BUDGET_VARIABLE}={text!r} is no size. Expected such as 500MB, 20GB or 0.")
    return int(float(match[1]) * UNITS[(match[2] or "").upper()])


def entries(folder: Path | None = None) -> list[Entry]:
    """Every segment of the store, the one used longest ago first."""
    segments = [entry for place in _segment_folders(folder or store_folder()) if (entry := _entry(place)) is not None]
    return sorted(segments, key=lambda entry: entry.last_used)


def total_bytes(folder: Path | None = None) -> int:
    """Bytes of the whole store on disk, unfinished segments included."""
    return cached_files.num_bytes(folder or store_folder())


def clear_store(folder: Path | None = None) -> int:
    """Remove the store, and nothing of others in its folder; what is being read stays readable until it is closed.

    Returns:
        Bytes freed.
    """
    folder = folder or store_folder()
    older = [entry.path / name for entry in entries(folder) for name in SEGMENT_FILES]
    return cached_files.clear_folder(folder, [*older, *_format_file(folder)])


def _format_file(folder: Path) -> list[Path]:
    path = folder / "FORMAT"
    with contextlib.suppress(OSError, ValueError):
        int(path.read_text(encoding="utf-8"))
        return [path]
    return []


def _segment_folders(folder: Path) -> Iterator[Path]:
    yield from (index.parent for index in folder.glob("[0-9a-f]*/[0-9a-f]*/index.json"))


def _entry(path: Path) -> Entry | None:
    """None where the segment is damaged or was removed meanwhile."""
    try:
        index = read_index(path)
        size = sum(_bytes(file) for file in path.iterdir())
        used = (path / INDEX_FILE).stat().st_mtime
        return Entry(path, index.key, index.about, index.rows, index.width, size, used)
    except (OSError, TransferkitError):
        return None


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size if path.is_file() else 0
    return 0


def remove_entry(segment: Path) -> None:
    """Remove a segment; first the file without which it is none. Another process may be quicker."""
    if _entry(segment) is None and not cached_files.is_listed(segment / SEGMENT_FILES[0]):
        return
    for name in SEGMENT_FILES:
        folders.remove_file(segment / name, segment.parent.parent)
