"""Peak memory of `extract` at 20,000 and at 200,000 images, each in a process of its own.

    python benchmarks/extract_memory.py

The images are one PNG of 16 x 16 px, reached through that many names (hard links), in folders of a thousand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

EXTRACTION = """
import resource, sys
from pathlib import Path
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.streaming import extract
from transferkit.runtime.console import Console

settings = ExtractSettings("resnet-mini", ("stage1",), weights="none", size=8, device="cpu", threads=2)
extract(settings, sys.argv[1], Path(sys.argv[2]), Console())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("counts", nargs="*", type=int, default=[20_000, 200_000])
    counts = parser.parse_args().counts
    peaks = {}
    with tempfile.TemporaryDirectory() as scratch:
        for count in counts:
            folder = Path(scratch) / str(count)
            make_images(folder, count)
            started = time.perf_counter()
            peaks[count] = peak_megabytes(folder, Path(scratch) / f"{count}.npy")
            print(f"{count:,} images: peak {peaks[count]:,.0f} MB, {time.perf_counter() - started:.0f} s", flush=True)
            assert np.load(Path(scratch) / f"{count}.npy", mmap_mode="r").shape == (count, 32)
    print(f"ratio {peaks[counts[-1]] / peaks[counts[0]]:.3f}")


def make_images(folder: Path, count: int) -> None:
    """One file under many names."""
    folder.mkdir()
    picture = folder.parent / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(picture)
    for number in range(count):
        place = folder / f"{number // 1000:04d}"
        place.mkdir(exist_ok=True)
        if number % 20_000 == 0:  # file systems limit the names of one file
            source = place / f"{number:07d}.png"
            source.write_bytes(picture.read_bytes())
        else:
            os.link(source, place / f"{number:07d}.png")


def peak_megabytes(folder: Path, out: Path) -> float:
    """Peak resident memory of one extraction."""
    done = subprocess.run(
        [sys.executable, "-c", EXTRACTION, str(folder), str(out)], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / 1024  # Linux counts in KiB


if __name__ == "__main__":
    main()
