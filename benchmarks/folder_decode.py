"""How fast a folder of JPEGs becomes an array, against torchvision's ImageFolder in a DataLoader.

    python benchmarks/folder_decode.py [--images 5000] [--size 128] [--rounds 3]

Both sides decode the same files with Pillow on the same cores to the same size, and both end with all pixels in one
place. The first load includes scanning, the start of the processes and writing the cache; the second one maps it.
Rounds alternate and the median counts. The files were written just before, so both sides read them from memory.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from transferkit.data import datasets
from transferkit.recipe import FolderData
from transferkit.runtime.cached_files import cache_folder
from transferkit.runtime.console import SILENT
from transferkit.runtime.processor import cpu_model, usable_cores

CLASSES = 10
DISTINCT = 200  # photographs drawn; the others are copies under other names


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--size", type=int, default=128, help="side in px at which both sides keep the images")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["TRANSFERKIT_CACHE"] = f"{scratch}/cache"
        folder = Path(scratch) / "photos"
        write_photos(folder, arguments.images)
        compare(folder, arguments.size, arguments.rounds)


def write_photos(folder: Path, count: int) -> None:
    """JPEGs of 500 x 375 px with structure at many scales, in class folders."""
    generator = np.random.default_rng(0)
    drawn: list[bytes] = []
    for index in range(count):
        if len(drawn) < DISTINCT:
            file = io.BytesIO()
            photo(generator).save(file, "JPEG", quality=90)
            drawn.append(file.getvalue())
        path = folder / f"class{index % CLASSES}" / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(drawn[index % DISTINCT])
    print(f"{count:,} JPEGs of 500 x 375 px, {sum(map(len, drawn)) / len(drawn) / 1000:.0f} kB each")


def photo(generator: np.random.Generator) -> Image.Image:
    """Noise of several octaves, each twice as fine and half as strong."""
    total = np.zeros((375, 500, 3), dtype=np.float32)
    for octave in range(2, 8):
        coarse = generator.integers(0, 256, (3 * 2**octave // 4, 2**octave, 3), dtype=np.uint8)
        fine = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BILINEAR)
        total += (np.asarray(fine, dtype=np.float32) - 128) * 0.5 ** (octave - 2) * 0.7
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8))


def compare(folder: Path, size: int, rounds: int) -> None:
    """Alternate the three loads and print medians and ratios."""
    cores = usable_cores()
    seconds: dict[str, list[float]] = {"ImageFolder": [], "first": [], "second": []}
    for _ in range(rounds):
        shutil.rmtree(cache_folder(), ignore_errors=True)
        seconds["ImageFolder"].append(timed(lambda: image_folder(folder, size, cores)))
        seconds["first"].append(timed(lambda: transferkit_folder(folder, size)))
        seconds["second"].append(timed(lambda: transferkit_folder(folder, size)))
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    for name, times in seconds.items():
        print(f"{name:12} median {middle[name]:.3f} s of {', '.join(f'{value:.3f}' for value in times)}")
    print(f"first load: {middle['ImageFolder'] / middle['first']:.2f} times as fast as ImageFolder")
    print(f"second load: {middle['first'] / middle['second']:.1f} times as fast as the first")
    versions = f"Pillow {PIL.__version__}, torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{size} px, {cores} cores ({cpu_model()}), {versions}")


def timed(load: Callable[[], None]) -> float:
    """Seconds that a load takes."""
    start = time.perf_counter()
    load()
    return time.perf_counter() - start


def image_folder(folder: Path, size: int, workers: int) -> None:
    """The usual way: PIL, Resize, PILToTensor, a DataLoader with one worker per core; all batches in one tensor."""
    transform = v2.Compose([v2.Resize((size, size)), v2.PILToTensor()])
    images = ImageFolder(str(folder), transform)
    batches = [pixels for pixels, _ in DataLoader(images, batch_size=128, num_workers=workers)]
    assert torch.cat(batches).shape == (len(images), 3, size, size)


def transferkit_folder(folder: Path, size: int) -> None:
    """The same images through transferkit."""
    settings = FolderData(name="folder", path=folder, storage=size)
    splits = datasets.load(settings, SILENT)
    assert splits.train.size_px == (size, size)


if __name__ == "__main__":
    main()
