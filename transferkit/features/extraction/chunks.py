"""Finished parts of an extraction, each a file that is complete or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transferkit.features.extraction.files import Rows
from transferkit.features.extraction.listing import ListingPart
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.layer_network import LayerNetwork
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import read_arrays, write_arrays
from transferkit.runtime.records import from_json

CHUNK_BYTES = 32 * 2**20
CHUNK_ROWS = 4096


@dataclass(frozen=True)
class ChunkColumns:
    """What a chunk tells beside its features: of each row its id, class and part; and the images left out."""

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chunks:
    """Finished parts of an extraction, each a file that is complete or absent."""

    folder: Path
    lines: ListingPart
    size: int

    @property
    def numbers(self) -> range:
        """Of all chunks, finished or not."""
        return range(-(-self.lines.count // self.size))

    def path(self, number: int) -> Path:
        """The file of one chunk."""
        return self.folder / f"chunk-{number:06d}.safetensors"

    def is_there(self, number: int) -> bool:
        """Whether a chunk is finished and whole."""
        return self.path(number).exists() and self._columns(number) is not None

    def _columns(self, number: int) -> ChunkColumns | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(number), framework="numpy") as file:
                metadata = {name: json.loads(text) for name, text in file.metadata().items()}
            return from_json(metadata, ChunkColumns, str(self.path(number)))
        except (OSError, SafetensorError, ValueError, AttributeError, TransferkitError):
            return None

    def _known(self, number: int) -> ChunkColumns:
        columns = self._columns(number)
        if columns is None:
            raise MachineError(f"{self.path(number)} is no longer whole. Run the same command again to make it anew.")
        return columns

    def rows(self, number: int) -> int:
        """How many images of a finished chunk could be read."""
        return len(self._known(number).ids)

    def skipped(self, number: int) -> tuple[tuple[str, str], ...]:
        """Id and reason of each unreadable image of a finished chunk."""
        return self._known(number).skipped

    def write(self, number: int, rows: Rows, skipped: Sequence[tuple[str, str]]) -> None:
        """Keep a chunk."""
        columns = {"ids": rows.ids, "classes": rows.classes, "parts": rows.parts, "skipped": list(skipped)}
        write_arrays(self.path(number), rows.features, columns)

    def read(self) -> Iterator[Rows]:
        """All chunks in order, one in memory at a time."""
        for number in self.numbers:
            arrays, _ = read_arrays(self.path(number))
            columns = self._known(number)
            yield Rows(list(columns.ids), list(columns.classes), list(columns.parts), arrays)


def chunk_rows(settings: ExtractSettings, network: LayerNetwork, batch: int) -> int:
    """Whole batches that make about 32 MiB of features."""
    row_bytes = sum(4 * int(np.prod(layer.shape_after(settings.pool))) for layer in network.layers)
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes) // batch) * batch
