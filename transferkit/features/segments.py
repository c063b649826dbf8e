"""Segments of the feature store: rows that were computed at one time, with checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Labels, Pixels
from transferkit.features.keys import Key
from transferkit.runtime.array_types import Features
from transferkit.runtime.json_files import read_object

INDEX = {  # of a segment
    "key": {"weights": str, "layer": str, "preparation": {"size": int}, "precision": str},
    "about?": {"*": str},
    "rows": int,
    "width": int,
    "digests": str,
    "checksums": [str],
}
CHUNK_ROWS = 4096  # rows under one checksum


@dataclass(frozen=True)
class Segment:
    """Rows that were computed at one time: features (N, D) memory-mapped, digests (N, 16)."""

    path: Path
    features: Features
    digests: Pixels
    checksums: tuple[str, ...]
    about: Mapping[str, str] = field(default_factory=dict)

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
            os.utime(self.path / "index.json")


def checksum(array: npt.NDArray[Any]) -> str:
    """BLAKE2b in hex, of the numbers alone."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def read_segment(path: Path) -> Segment:
    """A segment, its features unchecked.

    Raises:
        OSError, ValueError, EOFError, TransferkitError: If it is damaged or was removed meanwhile.
    """
    index = read_object(path / "index.json", INDEX)
    # Copy-on-write: a caller may change the rows it got, the file never changes.
    features = np.load(path / "features.npy", mmap_mode="c", allow_pickle=False)
    digests = np.load(path / "digests.npy", allow_pickle=False)
    shape = (index["rows"], index["width"])
    if features.shape != shape or len(digests) != shape[0] or checksum(digests) != index["digests"]:
        raise ValueError("shapes and checksums do not fit")
    return Segment(path, features, digests, tuple(index["checksums"]), index.get("about", {}))


def write_segment(folder: Path, key: Key, about: Mapping[str, str], digests: Pixels, features: Features) -> None:
    """Write a segment into a new folder."""
    folder.mkdir(parents=True)
    np.save(folder / "features.npy", features, allow_pickle=False)
    np.save(folder / "digests.npy", digests, allow_pickle=False)
    chunks = range(0, len(features), CHUNK_ROWS)
    index = {
        "key": asdict(key),
        "about": dict(about),
        "rows": len(features),
        "width": features.shape[1],
        "digests": checksum(digests),
        "checksums": [checksum(features[start : start + CHUNK_ROWS]) for start in chunks],
    }
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
