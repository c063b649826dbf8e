"""Finished parts of an extraction, each a file that is complete or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.features.extraction.files import Rows
from transferkit.features.extraction.listing import ListingPart
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.layer_network import LayerNetwork
from transferkit.runtime.files import read_arrays, write_arrays

CHUNK_BYTES = 32 * 2**20
CHUNK_ROWS = 4096


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
        return self.path(number).exists() and self._metadata(number) is not None

    def _metadata(self, number: int) -> dict[str, Any] | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(number), framework="numpy") as file:
                return {name: json.loads(text) for name, text in file.metadata().items()}
        except (OSError, SafetensorError, ValueError, AttributeError):
            return None

    def rows(self, number: int) -> int:
        """How many images of a finished chunk could be read."""
        return len((self._metadata(number) or {})["ids"])

    def skipped(self, number: int) -> list[list[str]]:
        """Id and reason of each unreadable image of a finished chunk."""
        return list((self._metadata(number) or {})["skipped"])

    def write(self, number: int, rows: Rows, skipped: Sequence[tuple[str, str]]) -> None:
        """Keep a chunk."""
        columns = {"ids": rows.ids, "classes": rows.classes, "parts": rows.parts, "skipped": list(skipped)}
        write_arrays(self.path(number), rows.features, columns)

    def read(self) -> Iterator[Rows]:
        """All chunks in order, one in memory at a time."""
        for number in self.numbers:
            arrays, columns = read_arrays(self.path(number))
            yield Rows(columns["ids"], columns["classes"], columns["parts"], arrays)


def chunk_rows(settings: ExtractSettings, network: LayerNetwork, batch: int) -> int:
    """Whole batches that make about 32 MiB of features."""
    row_bytes = sum(4 * int(np.prod(layer.shape_after(settings.pool))) for layer in network.layers)
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes) // batch) * batch
