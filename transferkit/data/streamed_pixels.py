"""Pixels that stay where they are, encoded, until they are needed: an array to read from, and orders that suit it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]
Value = TypeVar("Value")


class StreamedPixels:
    """What `Images` take for an array (N, C, H, W) of uint8, of which only the rows that are asked for are decoded.

    Attributes:
        shape: (N, C, H, W).
        blocks: (N,), the number of the block that each row lies in; a block's rows are read together.
        window: How many rows are read ahead, and shuffled among each other.
        read: Gives the encoded images of some rows, each as `decode` takes it.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        shape: tuple[int, int, int, int],
        blocks: npt.NDArray[np.int32],
        window: int,
        read: Callable[[Rows], list[Any]],
        decode: Callable[[Any], Pixels],
        threads: int,
    ) -> None:
        self.shape, self.blocks, self.window = shape, blocks, window
        self.read, self._decode, self._threads = read, decode, threads

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Pixels:
        return self.decoded(self.read(np.asarray(rows, dtype=np.int64)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        """All of them, for those who hold few."""
        return self[np.arange(len(self))]

    def decoded(self, contents: Sequence[Any]) -> Pixels:
        """(B, C, H, W)."""
        if not contents:
            return np.zeros((0, *self.shape[1:]), np.uint8)
        with ThreadPoolExecutor(self._threads) as threads:
            return np.stack(list(threads.map(self._decode, contents)))

    def ahead(self, batches: Sequence[Rows]) -> Iterator[Pixels]:
        """The pixels of each batch in turn; the next window is read, and the next batch decoded, meanwhile.

        At most two windows of encoded images are held.
        """
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as decoder:
            windows = one_ahead(reader, (partial(self._read_window, part) for part in self._windows(batches)))
            contents = (batch for window in windows for batch in window)
            yield from one_ahead(decoder, (partial(self.decoded, content) for content in contents))

    def _windows(self, batches: Sequence[Rows]) -> Iterator[list[Rows]]:
        """Batches that make a window together."""
        window: list[Rows] = []
        for batch in batches:
            window.append(batch)
            if sum(map(len, window)) >= self.window:
                yield window
                window = []
        if window:
            yield window

    def _read_window(self, batches: Sequence[Rows]) -> list[list[Any]]:
        contents = iter(self.read(np.concatenate(batches)))
        return [[next(contents) for _ in batch] for batch in batches]


def one_ahead(pool: ThreadPoolExecutor, jobs: Iterable[Callable[[], Value]]) -> Iterator[Value]:
    """The results of jobs in turn, the next job being done while a result is used."""
    pending = None
    for job in jobs:
        submitted = pool.submit(job)
        if pending is not None:
            yield pending.result()
        pending = submitted
    if pending is not None:
        yield pending.result()


def streamed(storage: object) -> StreamedPixels | None:
    """The storage of images where it is streamed."""
    return storage if isinstance(storage, StreamedPixels) else None
