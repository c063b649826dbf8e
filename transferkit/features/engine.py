"""The inference engine: whatever runs a network over images asks it, and how that is done is decided here alone.

Folding and autocast belong to the network's fast form, `LayerNetwork`; batch size, test-time augmentation, whether to
compile, and what happens when memory runs out are decided by `Engine`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from transferkit.data.batches import to_device
from transferkit.data.images import Pixels
from transferkit.features.layer_network import Compile, LayerNetwork, synchronise
from transferkit.features.pictures import Pictures
from transferkit.models.test_time_augmentation import NO_AVERAGING, Averaging
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.plurals import counted

BatchSize = int | Literal["auto"]
BATCH_PIXELS = {"cpu": 32 * 224**2, "cuda": 256 * 224**2}  # per batch; on a CPU larger maps fall out of its caches
LARGEST_BATCH = {"cpu": 256, "cuda": 1024}
LOOK_AFTER = 4  # batches whose time is measured before it is decided whether to compile

# Images at a time that the memory holds, by device, backbone and side in px: found once, then valid for this process.
FITTING: dict[tuple[str, str, int], int] = {}


@dataclass
class Engine:
    """Runs a network over images, in batches that suit the device and fit its memory.

    Attributes:
        network: Folded, and in one precision.
        console: Hears when memory runs out.
        averaging: Test-time augmentation: what features are averaged over besides the image itself.
        compile: auto compiles once so much work lies ahead that it pays; on and off decide.
        images_ahead: Images still to come, as far as is known; decides whether compiling pays.
    """

    network: LayerNetwork
    console: Console
    averaging: Averaging = NO_AVERAGING
    compile: Compile = "auto"
    images_ahead: int = 0
    _batches: int = 0
    _images: int = 0
    _seconds: float = 0.0

    def batch_size(self, asked: BatchSize = "auto") -> int:
        """Images per forward pass: as many as asked for, or as suit the device; no more than its memory has held.

        Raises:
            TransferkitError: If it is neither auto nor a positive number.
        """
        size = suiting_batch_size(self.network) if asked == "auto" else asked
        if not isinstance(size, int) or size < 1:
            raise TransferkitError(f"Unknown batch_size {asked!r}. Expected auto or a positive number.")
        return min(size, FITTING.get(self._fits_at, size))

    def features_of(
        self, pictures: Pictures, progress: Progress | None = None, batch_size: BatchSize = "auto"
    ) -> Iterator[dict[str, Features]]:
        """Features by layer, batch by batch in order; the next batch is decoded while the network works on this one.

        Raises:
            MachineError: If not even one image fits the memory.
        """
        size, positions = self.batch_size(batch_size), np.arange(len(pictures))
        self.images_ahead = max(self.images_ahead, len(pictures))
        chunks = [positions[start : start + size] for start in range(0, len(pictures), size)]
        for pixels in ahead(pictures.take(chunk) for chunk in chunks):
            features = self.arrays(pixels)
            if progress:
                progress.advance(len(pixels))
            yield features

    def arrays(self, pixels: Pixels) -> dict[str, Features]:
        """Features by layer of one batch (B, 3, H, W), from and to the host's memory."""
        on_device = to_device(np.ascontiguousarray(pixels), self.network.runtime.device)
        return {name: features.cpu().numpy() for name, features in self(on_device).items()}

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """float32 features by layer for one batch (B, 3, H, W) on the device; in parts where its memory needs that.

        Raises:
            MachineError: If not even one image fits the memory.
        """
        parts: list[dict[str, Tensor]] = []
        done = 0
        while done < len(images):
            part = images[done : done + self.batch_size(len(images))]
            try:
                parts.append(self._timed(part))
                done += len(part)
                continue
            except torch.OutOfMemoryError as error:
                if len(part) == 1:
                    raise MachineError(
                        "The GPU's memory does not hold one image. Use a smaller size, or cpu."
                    ) from error
            self._step_down(len(part))  # outside `except`: the error still holds what the network had made
        return parts[0] if len(parts) == 1 else {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _timed(self, images: Tensor) -> dict[str, Tensor]:
        """One forward pass; the first few are timed, but for the very first, which pays for what is paid once."""
        self._weigh_compiling(images)
        if self._batches > LOOK_AFTER:
            features = self._averaged(images)
        else:
            started, features = self._now(), self._averaged(images)
            self._count(images, self._now() - started)
        self.images_ahead = max(0, self.images_ahead - len(images))
        return features

    def _now(self) -> float:
        synchronise(self.network.runtime.device)
        return time.perf_counter()

    def _count(self, images: Tensor, seconds: float) -> None:
        if self._batches:
            self._images += len(images)
            self._seconds += seconds
        self._batches += 1

    def _weigh_compiling(self, images: Tensor) -> None:
        if self.network.is_compiled or self.compile == "off":
            return
        if self.compile == "on" and self._batches == 0:
            self.network.compile(images)
        if self.compile == "auto" and self._batches == LOOK_AFTER:
            self.network.compile_if_it_pays(images, self._seconds / self._images * self.images_ahead)

    def _averaged(self, images: Tensor) -> dict[str, Tensor]:
        """Features by layer, averaged by test-time augmentation."""
        prepared = self.network.prepare(images)
        if self.averaging == NO_AVERAGING:
            return self.network.of_prepared(prepared)
        parts = [(weight, self.network.of_prepared(copy)) for weight, copy in self.averaging.copies(prepared)]
        return {name: torch.stack([weight * part[name] for weight, part in parts]).sum(0) for name in parts[0][1]}

    def _step_down(self, count: int) -> None:
        """Half as many images at a time from now on, in all passes of this process; said aloud."""
        FITTING[self._fits_at] = (count + 1) // 2
        console = Console() if self.console.quiet else self.console  # a smaller batch is never silent
        console.line(
            f"Out of GPU memory at {counted(count, 'image')}: {FITTING[self._fits_at]} at a time from here on."
        )
        torch.cuda.empty_cache()

    @property
    def _fits_at(self) -> tuple[str, str, int]:
        return str(self.network.runtime.device), self.network.backbone, self.network.side_px


def memory_notes(device: torch.device, backbones: Collection[str]) -> list[str]:
    """A line for the report per network that had to be asked in smaller batches, by this process."""
    return [
        f"{backbone} at {side_px} px saw at most {counted(count, 'image')} at a time: the memory of {place} "
        "held no more"
        for (place, backbone, side_px), count in FITTING.items()
        if place == str(device) and backbone in backbones
    ]


def suiting_batch_size(network: LayerNetwork) -> int:
    """Images per forward pass that suit the device: the same number of pixels in every batch."""
    device, side = network.runtime.device.type, network.side_px
    pixels, most = BATCH_PIXELS.get(device, BATCH_PIXELS["cpu"]), LARGEST_BATCH.get(device, 256)
    return max(8, min(most, pixels // side**2))


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
