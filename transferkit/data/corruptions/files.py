"""Corrupted copies of picture files, for a person to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from transferkit.data.corruptions import corrupt, require_known, require_pixels
from transferkit.data.decoding import decode, decode_whole
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.folders import require_writable

LARGEST_PX = 1_024


def write_copies(
    pictures: Sequence[Path], names: Sequence[str], severities: Sequence[int], out: Path, size: int | None, seed: int
) -> list[Path]:
    """Write `<picture>-<corruption>-<severity>.png` for all of them.

    Args:
        pictures: Image files.
        names: Of corruptions.
        severities: 1 to 5.
        out: Folder, made where it is missing.
        size: Side in px of the square that pictures are squashed to first; None keeps them as they are.
        seed: Of the noise.

    Returns:
        The files, in order.

    Raises:
        TransferkitError: If a file is there already, a picture cannot be read, or there is no such corruption; nothing
            is overwritten.
        MachineError: If a file cannot be written.
    """
    for name in names:
        require_known(name)
    versions = [(name, severity) for name in dict.fromkeys(names) for severity in dict.fromkeys(severities)]
    _require_distinct(pictures)
    targets = {path: [out / f"{path.stem}-{name}-{severity}.png" for name, severity in versions] for path in pictures}
    _require_free([target for copies in targets.values() for target in copies])
    for place, picture in enumerate(pictures):
        pixels = _read(picture, size)
        for target, (name, severity) in zip(targets[picture], versions, strict=True):
            _write(target, corrupt(pixels, name, severity, seed, place)[0])
    return [target for copies in targets.values() for target in copies]


def _read(picture: Path, size: int | None) -> Tensor:
    """(1, 3, H, W) uint8."""
    if picture.is_dir():
        raise TransferkitError(f"{picture} is a folder. Give image files, such as {picture}/*.jpg.")
    pixels = torch.from_numpy(decode_whole(picture) if size is None else decode(picture, size, "squash"))[None]
    try:
        require_pixels(pixels)
    except TransferkitError as error:
        raise TransferkitError(f"{picture}: {error}") from error
    if max(pixels.shape[-2:]) > LARGEST_PX:
        raise TransferkitError(
            f"{picture} is {pixels.shape[-1]} x {pixels.shape[-2]} px. Corruptions are made for 32 and for 224 px "
            f"and hardly show beyond {LARGEST_PX} px; give --size 224, or the size that your model takes."
        )
    return pixels


def _require_distinct(pictures: Sequence[Path]) -> None:
    stem, count = Counter(path.stem for path in pictures).most_common(1)[0]
    if count > 1:
        raise TransferkitError(
            f"{count} pictures are named {stem!r} and would be written to the same files. Give them one at a time, "
            "each with its own --out."
        )


def _require_free(targets: Sequence[Path]) -> None:
    require_writable(targets[0].parent)
    taken = [target for target in targets if target.exists()]
    if taken:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise TransferkitError(f"{taken[0]}{more} would be overwritten. Choose another folder with --out.")


def _write(target: Path, pixels: Tensor) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.movedim(0, -1).contiguous().numpy()).save(target)
    except OSError as error:
        raise MachineError(f"Cannot write {target}: {error.strerror or error}.") from error
