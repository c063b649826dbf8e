"""Batches of device tensors from Images: order, augmentation of the whole batch, no per-image Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from transferkit.data.augmentation import BatchDraws, Wanted, augment
from transferkit.data.images import Images
from transferkit.data.streamed_pixels import Rows, StreamedPixels, streamed
from transferkit.runtime.distributed import ALONE, World
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import sent

RESIDENT_SHARE = 0.5  # of free device memory that pixels may take before they are fed from the host


@dataclass(frozen=True)
class ShiftAndFlip:
    """Random crop after reflect-padding by `shift` (a share of the side), and mirroring; both act on uint8 pixels.

    With `alternating`, an image is mirrored in every second epoch instead of at random.
    """

    shift: float = 0.125
    flip: bool = True
    alternating: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator, mirrored: Tensor | None = None) -> Tensor:
        """A new batch (B, 3, H, W), each image shifted and mirrored on its own.

        `mirrored` (B,) says which images are mirrored; without it a coin is thrown for each.
        """
        return moved(images, *self.positions(len(images), (images.shape[2], images.shape[3]), generator, mirrored))

    def positions(
        self, count: int, size_px: tuple[int, int], generator: torch.Generator, mirrored: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Where each row (B, H) and column (B, W) of so many moved images comes from."""
        rows = self._positions(count, size_px[0], generator)
        columns = self._positions(count, size_px[1], generator)
        if self.flip:
            if mirrored is None:
                mirrored = torch.rand(count, generator=generator) < 0.5
            columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        return rows, columns

    def _positions(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """(count, side), where each row or column of the result comes from; beyond the border it is reflected."""
        reach = min(round(self.shift * side), side - 1)
        offsets = torch.randint(-reach, reach + 1, (count, 1), generator=generator)
        positions = (torch.arange(side) + offsets).abs()
        return torch.where(positions >= side, 2 * (side - 1) - positions, positions)


def moved(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (B, C, H, W) with pixels from these rows (B, H) and columns (B, W): one gather, by pixel."""
    rows, columns = sent(rows, images.device), sent(columns, images.device)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    by_pixel = images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]  # (B, H, W, C)
    return by_pixel.permute(0, 3, 1, 2)


@dataclass
class TrainingBatches:
    """Shuffled, augmented batches; the order depends on seed and epoch alone, so a run resumes at any epoch.

    With `draw_weights` (N,) an epoch's images are drawn by these weights with replacement, instead of each once. What
    becomes of an image depends on its place in the epoch's order, neither on the size of the batch nor on the number
    of processes: each takes its own part of every batch, unless it needs the others' images too.

    Attributes:
        batch_size: Images of a step, in all processes together.
        world: Those processes.
        needs_all: Whether this process needs all images of a step, because it mixes them with each other.
    """

    images: Images
    batch_size: int
    device: torch.device
    shift_and_flip: ShiftAndFlip | None
    seed: int
    draw_weights: Tensor | None = None
    augment: Wanted = field(default_factory=dict)
    world: World = ALONE
    needs_all: bool = False

    def __post_init__(self) -> None:
        if self.draw_weights is not None and streamed(self.images.storage) is not None:
            raise TransferkitError(
                "sampler balanced draws images from anywhere, and streamed ones are read shard by shard. Leave it out; "
                "class_weight balanced weighs the loss instead."
            )
        self._pixels = resident_pixels(self.images, self.device)
        self._labels = torch.from_numpy(self.images.require_labels()).to(self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass; a remainder waits for the next epoch's order. At least one."""
        return max(1, len(self.images) // self.batch_size)

    def epoch(self, number: int, first_step: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """uint8 images (B, 3, H, W) and labels (B,) of one epoch; several processes get a part of the images each.

        From `first_step` on; what comes before is neither read nor decoded.

        The labels are those of all images of the step, because they say what each of them counts.
        """
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        order = self._order(generator)
        steps = [order[step * self.batch_size : (step + 1) * self.batch_size] for step in range(self.steps_per_epoch)]
        pixels = self._taken([chosen[self._own(len(chosen))] for chosen in steps[first_step:]])
        for step, chosen in enumerate(steps):
            own = self._own(len(chosen))
            batch = next(pixels) if step >= first_step else None
            if self.shift_and_flip is not None:  # drawn for what is passed over, too
                mirrored = self._mirrored(chosen, number)
                rows, columns = self.shift_and_flip.positions(len(chosen), self.images.size_px, generator, mirrored)
                batch = None if batch is None else moved(batch, rows[own], columns[own])
            if batch is None:
                continue
            yield (
                self._augmented(batch, number, step * self.batch_size + own.start),
                self._labels[sent(chosen, self.device)],
            )

    def _own(self, count: int) -> slice:
        """Which images of a step are taken; one's own function for `augment` gets the batch that it gets alone."""
        return slice(0, count) if self.needs_all or callable(self.augment) else self.world.part(count)

    def _augmented(self, batch: Tensor, epoch: int, first: int) -> Tensor:
        return augment(batch, self.augment, BatchDraws(self.seed, epoch, first, len(batch), self.device))

    def _order(self, generator: torch.Generator) -> Tensor:
        if self.draw_weights is None and (pixels := streamed(self.images.storage)):
            return streamed_order(pixels, self.images.rows, generator)
        if self.draw_weights is None:
            return torch.randperm(len(self.images), generator=generator)
        return torch.multinomial(self.draw_weights, len(self.images), replacement=True, generator=generator)

    def _mirrored(self, chosen: Tensor, epoch: int) -> Tensor | None:
        """Which images are mirrored where that alternates: a coin decides the first epoch (Jordan 2024)."""
        if self.shift_and_flip is None or not self.shift_and_flip.alternating:
            return None
        coins = torch.rand(len(self.images), generator=torch.Generator().manual_seed(self.seed)) < 0.5
        return coins[chosen] ^ bool(epoch % 2)

    def _taken(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """The pixels of each batch in turn."""
        if (pixels := streamed(self.images.storage)) is not None:
            rows = [self.images.rows[indices.numpy()] for indices in batches]
            yield from (to_device(batch, self.device) for batch in pixels.ahead(rows))
            return
        for indices in batches:
            yield self._take(indices)

    def _take(self, indices: Tensor) -> Tensor:
        if self._pixels is not None:
            return self._pixels[sent(indices, self.device)]
        return to_device(self.images.take(indices.numpy()), self.device)


def in_order(images: Images, batch_size: int, device: torch.device) -> Iterator[Tensor]:
    """uint8 batches (B, 3, H, W) in the order of the images, on the device."""
    for chunk in images.chunks(batch_size):
        yield to_device(chunk, device)


def to_device(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], device: torch.device) -> Tensor:
    """Pixels as a tensor on the device."""
    return sent(torch.from_numpy(pixels), device)


def streamed_order(pixels: StreamedPixels, rows: Rows, generator: torch.Generator) -> Tensor:
    """A random order (N,) of some rows: blocks in random order, and their rows shuffled a window at a time.

    Blocks are read whole, one after the other, and a batch has images of as many blocks as a window holds.
    """
    _, block = np.unique(pixels.blocks[rows], return_inverse=True)
    rank = torch.randperm(int(block.max()) + 1 if len(block) else 0, generator=generator).numpy()
    by_block = np.argsort(rank[block], kind="stable")
    shuffled = torch.rand(len(rows), generator=generator, dtype=torch.float64).numpy()
    return torch.from_numpy(by_block[np.argsort(np.arange(len(rows)) // pixels.window + shuffled, kind="stable")])


def resident_pixels(images: Images, device: torch.device) -> Tensor | None:
    """All pixels as one tensor on the device, or None where they would take too much of its memory, or are streamed."""
    if streamed(images.storage) is not None:
        return None
    if device.type == "cuda":
        if images.num_bytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return None
        return torch.from_numpy(np.ascontiguousarray(images.pixels)).to(device)
    if isinstance(images.storage, np.memmap):
        return None
    return torch.from_numpy(np.ascontiguousarray(images.pixels)).to(device)
