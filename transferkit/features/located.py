"""Finds images by their digests in the segments of the feature store."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transferkit.data.images import Labels, Pixels
from transferkit.features.segments import Segment
from transferkit.runtime.array_types import Features


@dataclass(frozen=True)
class Located:
    """Where images lie: (N,) number of the segment, -1 where in none, and (N,) row in it."""

    segment: Labels
    row: Labels

    def whole_segment(self, segments: list[Segment]) -> Segment | None:
        """The one segment that holds exactly these images in this order, if there is one."""
        if not len(self.segment) or self.segment[0] < 0 or (self.segment != self.segment[0]).any():
            return None
        segment = segments[int(self.segment[0])]
        return segment if np.array_equal(self.row, np.arange(len(segment.features))) else None

    def gathered(self, segments: list[Segment]) -> Features:
        """(N, D), all images being somewhere."""
        gathered = np.empty((len(self.row), segments[int(self.segment[0])].features.shape[1]), np.float32)
        for number in np.unique(self.segment):
            chosen = self.segment == number
            gathered[chosen] = segments[number].features[self.row[chosen]]
            segments[number].touch()
        return gathered


def located(segments: list[Segment], digests: Pixels) -> Located:
    """Where the images with these digests (N, 16) lie."""
    nowhere = np.full(len(digests), -1, np.int64)
    if not segments or not len(digests):
        return Located(nowhere, nowhere)
    stored = as_sortable(np.concatenate([segment.digests for segment in segments]))
    lengths = [len(segment.digests) for segment in segments]
    segment_of = np.repeat(np.arange(len(segments)), lengths)
    row_of = np.concatenate([np.arange(length) for length in lengths])
    order = np.argsort(stored, kind="stable")
    wanted = as_sortable(digests)
    position = order[np.minimum(np.searchsorted(stored[order], wanted), len(stored) - 1)]
    is_there = stored[position] == wanted
    return Located(np.where(is_there, segment_of[position], -1), np.where(is_there, row_of[position], -1))


def first_of_each(digests: Pixels, positions: Labels) -> Labels:
    """Those positions at which a digest occurs for the first time, in order; the same picture is computed once."""
    _, first = np.unique(as_sortable(digests[positions]), return_index=True)
    return positions[np.sort(first)]


def as_sortable(digests: Pixels) -> npt.NDArray[np.bytes_]:
    """(N,) byte strings from (N, 16) digests; NumPy sorts these, and cuts zeros at the end of all of them alike."""
    return np.ascontiguousarray(digests).reshape(-1).view("S16")  # (N, 16) -> (N,)
