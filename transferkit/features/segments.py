"""Segments of the feature store: rows that were computed at one time, with checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Labels, Pixels
from transferkit.features.keys import Key
from transferkit.runtime.array_types import Features
from transferkit.runtime.records import as_json, from_json, read_record

INDEX_FILE = "index.json"
CHUNK_ROWS = 4096  # rows under one checksum


@dataclass(frozen=True)
class About:
    """Of which network and images a segment is, for people; empty where that is not known."""

    network: str = ""
    images: str = ""


NOTHING_SAID = About()


@dataclass(frozen=True)
class StoredPreparation:
    """What listings show of it: the side in px that the network sees."""

    size: int


@dataclass(frozen=True)
class StoredKey:
    """What listings show of a `Key`, which versions of transferkit have written with more and fewer fields."""

    weights: str
    layer: str
    preparation: StoredPreparation
    precision: str


@dataclass(frozen=True)
class SegmentIndex:
    """What index.json of a segment holds.

    Attributes:
        key: What decided the features; written whole.
        rows: How many images.
        width: D, features per image.
        digests: Checksum of digests.npy.
        checksums: One per chunk of features.npy.
        about: Of which network and images it is.
    """

    key: StoredKey
    rows: int
    width: int
    digests: str
    checksums: tuple[str, ...]
    about: About = NOTHING_SAID


@dataclass(frozen=True)
class Segment:
    """Rows that were computed at one time: features (N, D) memory-mapped, digests (N, 16)."""

    path: Path
    features: Features
    digests: Pixels
    checksums: tuple[str, ...]
    about: About = NOTHING_SAID

    def damaged(self, rows: Labels) -> list[int]:
        """The chunks, of those that hold `rows`, whose checksum does not fit."""
        chunks = np.unique(rows // CHUNK_ROWS)
        return [int(chunk) for chunk in chunks if checksum(self.chunk(int(chunk))) != self.checksums[chunk]]

    def chunk(self, number: int) -> Features:
        """The rows under one checksum."""
        return self.features[number * CHUNK_ROWS : (number + 1) * CHUNK_ROWS]

    def touch(self) -> None:
        """Count as used now."""
        with contextlib.suppress(OSError):
            os.utime(self.path / INDEX_FILE)


def checksum(array: npt.NDArray[Any]) -> str:
    """BLAKE2b in hex, of the numbers alone."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def read_index(path: Path) -> SegmentIndex:
    """What a segment says of itself.

    Raises:
        TransferkitError: If it is damaged or was removed meanwhile.
    """
    return read_record(path / INDEX_FILE, SegmentIndex)


def read_segment(path: Path) -> Segment:
    """A segment, its features unchecked.

    Raises:
        OSError, ValueError, EOFError, TransferkitError: If it is damaged or was removed meanwhile.
    """
    index = read_index(path)
    # Copy-on-write: a caller may change the rows it got, the file never changes.
    features = np.load(path / "features.npy", mmap_mode="c", allow_pickle=False)
    digests = np.load(path / "digests.npy", allow_pickle=False)
    if features.shape != (index.rows, index.width) or len(digests) != index.rows or checksum(digests) != index.digests:
        raise ValueError("shapes and checksums do not fit")
    return Segment(path, features, digests, index.checksums, index.about)


def write_segment(folder: Path, key: Key, about: About, digests: Pixels, features: Features) -> None:
    """Write a segment into a new folder."""
    folder.mkdir(parents=True)
    np.save(folder / "features.npy", features, allow_pickle=False)
    np.save(folder / "digests.npy", digests, allow_pickle=False)
    chunks = range(0, len(features), CHUNK_ROWS)
    shown = from_json(asdict(key), StoredKey, "key")
    checksums = tuple(checksum(features[start : start + CHUNK_ROWS]) for start in chunks)
    index = SegmentIndex(shown, len(features), features.shape[1], checksum(digests), checksums, about)
    content = {**as_json(index), "key": asdict(key)}
    (folder / INDEX_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")
