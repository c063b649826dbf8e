"""How fast JPEGs become pixels on one core, beside Pillow alone and ImageFolder's transforms.

    OMP_NUM_THREADS=1 python benchmarks/decode_pixels.py [--turns 21] [--photos FOLDER]

Arms, in turns on the same files, each from opening a file to (3, S, S) uint8:

- ImageFolder: `default_loader`, `v2.Resize((S, S))`, `v2.PILToTensor()`, as a DataLoader's worker does it.
- Pillow: transferkit where simplejpeg is missing, and in processes that do not import torch; what it did before 0.1.
- Pillow, torch: its decoder, and torch's resize.
- simplejpeg, Pillow: its decoder, and Pillow's resize.
- transferkit: both fast, with the digests that the cache keeps.
- torchcodec, torch: the rival decoder; it has no decoding at a fraction.

Seconds are those of the process, so that other work on the machine does not count. Printed: median milliseconds per
image, and ratios with 95 % intervals over pairs of turns.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np
import torch
from folder_decode import photo
from PIL import Image
from speed.machine import load, setting
from speed.turns import Arm, Seconds, in_turns, ratio
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from transferkit.data import fast_jpeg
from transferkit.data.decoding import decode_many
from transferkit.data.resizing import Resizer, by_pillow, by_torch

FILES = 16
PAIRS = ((500, 375, 224), (500, 375, 128), (500, 375, 64), (1600, 1200, 224), (128, 128, 128), (32, 32, 32))
YARDSTICKS = ("ImageFolder", "Pillow")


def main() -> None:
    """Print a block for each pair of sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--photos", type=Path, help="a folder of photographs, resized and saved anew at quality 90")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{setting(threads=1)}; {load()}")
    for width, height, size in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            paths = list(written(Path(folder), (width, height), arguments.photos))
            seconds = in_turns(arms_of(paths, size), arguments.turns)
            kilobytes = sum(Path(path).stat().st_size for path in paths) / FILES / 1000
        report(f"{width}x{height} ({kilobytes:.0f} kB) -> {size}", seconds)


def written(folder: Path, shape: tuple[int, int], photos: Path | None) -> Iterator[str]:
    """JPEGs of this width and height: photographs, or noise of several octaves."""
    generator = np.random.default_rng(0)
    sources = sorted(path for path in photos.rglob("*.jp*g"))[::50][:FILES] if photos else [None] * FILES
    for index, source in enumerate(sources):
        image = Image.open(source).convert("RGB") if source else photo(generator)
        path = folder / f"{index}.jpg"
        image.resize(shape, Image.Resampling.BICUBIC).save(path, quality=90)
        yield str(path)


def arms_of(paths: Sequence[str], size: int) -> dict[str, Arm]:
    """By name; those of libraries that are not installed are left out."""
    arms: dict[str, Arm] = {
        "ImageFolder": partial(image_folder, paths, size),
        "Pillow": partial(ours, paths, size, by_pillow, has_simplejpeg=False),
        "Pillow, torch": partial(ours, paths, size, by_torch, has_simplejpeg=False),
        "simplejpeg, Pillow": partial(ours, paths, size, by_pillow, has_simplejpeg=True),
        "transferkit": partial(ours, paths, size, by_torch, has_simplejpeg=True),
    }
    with contextlib.suppress(ImportError, RuntimeError):
        from torchcodec.decoders import decode_image

        arms["torchcodec, torch"] = partial(torchcodec, decode_image, paths, size)
    return arms


def image_folder(paths: Sequence[str], size: int) -> None:
    """What torchvision's ImageFolder does with each file."""
    transform = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])
    for path in paths:
        transform(default_loader(path))


def ours(paths: Sequence[str], size: int, resizer: Resizer, *, has_simplejpeg: bool) -> None:
    """What a process of the folder's cache does with its files."""
    missing = patch.object(fast_jpeg, "_simplejpeg", lambda: None)
    with contextlib.nullcontext() if has_simplejpeg else missing:
        assert not decode_many(paths, size, "squash", resizer).failures


def torchcodec(decode_image: Callable[[torch.Tensor], torch.Tensor], paths: Sequence[str], size: int) -> None:
    """Its decoder on the bytes of each file, then torch's resize."""
    for path in paths:
        data = torch.frombuffer(bytearray(Path(path).read_bytes()), dtype=torch.uint8)
        torch.nn.functional.interpolate(decode_image(data)[None], (size, size), mode="bilinear", antialias=True)


def report(title: str, seconds: Seconds) -> None:
    """A line for each arm."""
    print(f"\n{title}")
    for name, taken in seconds.items():
        ratios = "".join(f"  {ratio(seconds[other], taken)!s:32}" for other in YARDSTICKS)
        print(f"{name:20} {1e3 * median(taken) / FILES:7.3f} ms  times as fast as {' and '.join(YARDSTICKS)}:{ratios}")


if __name__ == "__main__":
    main()
