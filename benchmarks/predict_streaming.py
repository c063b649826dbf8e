"""Whether `predict` over a folder of photographs is as fast as `extract`, and whether its memory stays flat.

    OMP_NUM_THREADS=1 python benchmarks/predict_streaming.py [--images 10000] [--turns 3]

The files are JPEGs of 500 x 375 px and the network is small (lenet, 32 px), so that reading and decoding is nearly all
that has to be done and what `predict` adds to an image is seen best. Both commands take turns, each in a process of its
own; a tenth of the images before tells whether memory grows, and what starting takes. Linux only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from folder_decode import write_photos
from growth import Spent, run_alone
from speed.machine import load, setting
from speed.turns import ratio

NETWORK = ("lenet", "--weights", "none", "--size", "32")
LABELLED = 400  # images that the run learns from


def main() -> None:
    """Make images and a run, let the commands take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    print(f"{setting(threads=1)}; {load()}")
    with tempfile.TemporaryDirectory() as scratch:
        measure(Path(scratch), given.images, given.turns)


def measure(scratch: Path, images: int, turns: int) -> None:
    """Print each turn, then the ratio of what an image costs and of the memory."""
    for count in (LABELLED, images // 10, images):
        write_photos(scratch / str(count), count)
    run = str(scratch / "run")
    run_alone(["probe", *NETWORK, "--data", str(scratch / str(LABELLED)), "--storage", "32", "--out", run], scratch)
    spent: dict[str, list[Spent]] = {}
    for turn in range(turns):
        for count in (images // 10, images):
            folder, out = str(scratch / str(count)), scratch / f"{turn}-{count}"
            commands = {
                "extract": ["extract", NETWORK[0], folder, *NETWORK[1:], "--out", f"{out}.npy"],
                "predict": ["predict", run, folder, "--out", f"{out}.csv"],
            }
            for name in list(commands) if turn % 2 else reversed(commands):
                used = run_alone(commands[name], scratch)
                spent.setdefault(f"{name} {count}", []).append(used)
                print(f"{name:8} {count:7,} images: {used}", flush=True)
    report(spent, images)


def report(spent: dict[str, list[Spent]], images: int) -> None:
    """CPU milliseconds per image by the slope between both numbers, their ratio, and the growth of memory."""
    few, per_image = images // 10, {}
    for name in ("extract", "predict"):
        pairs = list(zip(spent[f"{name} {images}"], spent[f"{name} {few}"], strict=True))
        per_image[name] = [1e3 * (many.cpu_seconds - less.cpu_seconds) / (images - few) for many, less in pairs]
        growth = [many.peak_mebibytes - less.peak_mebibytes for many, less in pairs]
        milliseconds = ", ".join(f"{value:.3f}" for value in per_image[name])
        print(f"{name}: CPU ms per image {milliseconds}; MiB more for ten times the images: {growth}")
    print(f"predict beside extract, CPU per image: {ratio(per_image['extract'], per_image['predict'])} times as fast")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
