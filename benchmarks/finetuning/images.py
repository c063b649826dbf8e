"""The images of a setting: drawn by seed, laid out as a folder for transferkit and as arrays for its rivals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from transferkit.runtime.processor import has_bf16_units

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Labelled:
    """Images (N, 3, H, W) with labels (N,) and ids that every arm shares."""

    pixels: Pixels
    labels: Labels
    ids: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, rows: npt.NDArray[np.int64]) -> Labelled:
        """The images at `rows`."""
        return Labelled(self.pixels[rows], self.labels[rows], tuple(self.ids[row] for row in rows), self.classes)


def folder_images(folder: Path, side: int) -> Labelled:
    """All images below class folders, squashed to squares, in the order of their paths."""
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    files = [sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES) for name in classes]
    pixels = [read(path, side) for of_class in files for path in of_class]
    labels = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in files])
    ids = tuple(f"{path.parent.name}/{path.name}" for of_class in files for path in of_class)
    return Labelled(np.stack(pixels), labels, ids, classes)


def read(path: Path, side: int) -> Pixels:
    """(3, side, side) of one file."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
        square = rgb if rgb.size == (side, side) else rgb.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1)


def augmented(batch: Tensor, *, flip: bool, share: float = 0.125) -> Tensor:
    """A batch (B, 3, H, W) of uint8, each image cropped after reflect-padding by `share` of its side, and mirrored."""
    count, _, height, width = batch.shape
    reach = round(share * width)
    padded = F.pad(batch.float(), (reach,) * 4, mode="reflect").to(batch.dtype)
    tops, lefts = torch.randint(0, 2 * reach + 1, (2, count))
    rows = tops[:, None] + torch.arange(height)  # (B, H)
    columns = lefts[:, None] + torch.arange(width)  # (B, W)
    if flip:
        columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    places = (torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :])
    chosen = padded.permute(0, 2, 3, 1)[tuple(one.to(batch.device) for one in places)]
    return chosen.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Arithmetic:
    """Where every arm computes, and with what numbers.

    Attributes:
        device: cpu or cuda.
        precision: bf16 or fp32.
    """

    device: str
    precision: str

    @property
    def label(self) -> str:
        """In the names of records; what was measured on a CPU keeps its name."""
        return self.precision if self.device == "cpu" else f"{self.precision}-{self.device}"

    def autocast(self) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")


def arithmetic(device: str, precision: str = "auto") -> Arithmetic:
    """The numbers asked for; `auto`: bf16 where the processor has units for it, else fp32."""
    if precision == "auto":
        has_units = torch.cuda.is_bf16_supported() if device == "cuda" else has_bf16_units()
        precision = "bf16" if has_units else "fp32"
    return Arithmetic(device, precision)
