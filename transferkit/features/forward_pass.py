"""One pass of a network over images, batch by batch; the next batch is decoded meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from transferkit.data.batches import to_device
from transferkit.data.images import Pixels
from transferkit.features.inference import Compile, LayerNetwork
from transferkit.features.pictures import Pictures
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Progress
from transferkit.runtime.errors import MachineError, TransferkitError

BatchSize = int | Literal["auto"]
BATCH_PIXELS = {"cpu": 32 * 224**2, "cuda": 256 * 224**2}  # per batch; on a CPU larger maps fall out of its caches
LARGEST_BATCH = {"cpu": 256, "cuda": 1024}
LOOK_AFTER = 4  # batches whose time is measured before it is decided whether to compile


def computed(pace: Pace, pictures: Pictures, batch_size: int, progress: Progress) -> Iterator[dict[str, Features]]:
    """Features by layer, batch by batch in order; the next batch is decoded while the network works on this one.

    Raises:
        MachineError: If a feature is not finite, or not even one image fits the memory.
    """
    positions, ids = np.arange(len(pictures)), pictures.ids
    chunks = [positions[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    for chunk, pixels in zip(chunks, ahead(pictures.take(chunk) for chunk in chunks), strict=True):
        batch = pace.timed(pixels)
        require_finite(batch, [ids[position] for position in chunk])
        progress.advance(len(chunk))
        yield batch


@dataclass
class Pace:
    """Runs a network batch by batch, and decides once, from its measured pace, whether compiling pays."""

    network: LayerNetwork
    batches: int
    compile: Compile = "auto"
    done: int = 0
    seconds: float = 0.0
    largest: int | None = None

    def timed(self, pixels: Pixels) -> dict[str, Features]:
        """The features of one batch."""
        if self.compile == "on" and self.done == 0 and not self.network.is_compiled:
            self.network.compile(self._on_device(pixels))
        if self.compile == "auto" and self.done == LOOK_AFTER and not self.network.is_compiled:
            seconds_left = self.seconds / (LOOK_AFTER - 1) * (self.batches - self.done)
            self.network.compile_if_it_pays(self._on_device(pixels), seconds_left)
        started = time.perf_counter()
        outputs = self._in_memory(pixels)
        if self.done:  # the first batch pays for what every process pays once
            self.seconds += time.perf_counter() - started
        self.done += 1
        return outputs

    def _in_memory(self, pixels: Pixels) -> dict[str, Features]:
        """As arrays; once a batch did not fit the GPU's memory, this one and all later ones go in smaller parts."""
        parts: list[dict[str, Features]] = []
        done = 0
        while done < len(pixels):
            part = pixels[done : done + (self.largest or len(pixels))]
            try:
                parts.append({name: value.cpu().numpy() for name, value in self.network(self._on_device(part)).items()})
                done += len(part)
                continue
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise MachineError(
                        "The GPU's memory does not hold one image. Use a smaller size, or cpu."
                    ) from error
            self._shrink(len(part))  # outside `except`: the error still holds what the network had made
        return (
            parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        )

    def _shrink(self, count: int) -> None:
        """Half as many images at a time from now on, and say so."""
        self.largest = (count + 1) // 2
        self.network.console.line(f"Out of GPU memory at {count} images: {self.largest} at a time from here on.")
        torch.cuda.empty_cache()

    def _on_device(self, pixels: Pixels) -> Tensor:
        return to_device(pixels, self.network.runtime.device)


def chosen_batch_size(asked: BatchSize, network: LayerNetwork) -> int:
    """The size asked for, or one that suits the device: the same number of pixels in every batch.

    Raises:
        TransferkitError: If it is neither auto nor a positive number.
    """
    if asked == "auto":
        device, side = network.runtime.device.type, network.preparation.input_spec.size
        pixels, most = BATCH_PIXELS.get(device, BATCH_PIXELS["cpu"]), LARGEST_BATCH.get(device, 256)
        return max(8, min(most, pixels // side**2))
    if not isinstance(asked, int) or asked < 1:
        raise TransferkitError(f"Unknown batch_size {asked!r}. Expected auto or a positive number.")
    return asked


def require_finite(batch: Mapping[str, Features], ids: Sequence[str]) -> None:
    """Refuse NaN and infinity.

    Raises:
        MachineError: Names the layer and the first such image.
    """
    for layer, features in batch.items():
        bad = np.flatnonzero(~np.isfinite(features.reshape(len(features), -1)).all(axis=1))
        if len(bad):
            raise MachineError(
                f"Layer {layer!r} gives features that are not finite for {len(bad)} of {len(ids)} images of a batch, "
                f"first {ids[bad[0]]}. The weights are damaged or overflow; try precision fp32."
            )


def gathered(batches: Iterable[Mapping[str, Features]], total: int) -> dict[str, Features]:
    """All batches as one array per layer, allocated once."""
    arrays: dict[str, Features] = {}
    done = 0
    for batch in batches:
        for name, features in batch.items():
            if name not in arrays:
                arrays[name] = np.empty((total, *features.shape[1:]), np.float32)
            arrays[name][done : done + len(features)] = features
        done += len(features)
    return arrays


Item = TypeVar("Item")


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread while the one before is being used."""
    nothing: Any = object()
    with ThreadPoolExecutor(max_workers=1) as worker:
        pending = worker.submit(next, items, nothing)
        while (item := pending.result()) is not nothing:
            pending = worker.submit(next, items, nothing)
            yield item
