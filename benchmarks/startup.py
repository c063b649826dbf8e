"""Seconds from the prompt: how much longer than its imports a command takes until its first result.

    python benchmarks/startup.py [--turns 11]

In turns, each in a process of its own: `import torch`; `import torch, torchvision`; `transferkit predict` of one image,
whole; `transferkit finetune` of 40 images until its first step. What is counted are the processor's seconds of these
processes, which other work on the machine disturbs least. The network is a ResNet-18 with random weights at 64 px.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from speed.machine import load, setting
from speed.turns import in_turns, ratio

# `finetune` until its first step, which ends the process
FIRST_STEP = """
import os, sys
sys.argv = ["transferkit", *sys.argv[1:]]
from transferkit.cli import app, terminal
terminal.import_torch()  # as the command does, before the next line would
import transferkit.training.epoch as epoch
def first_step(*_): os._exit(0)
epoch._step = first_step
app.main()
sys.exit("no step was taken")
"""


def write_images(folder: Path) -> Path:
    """Two classes of 40 images of 64 px each; one of them."""
    generator = np.random.default_rng(0)
    for number in range(80):
        path = folder / ("light" if number % 2 else "dark") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 128, (64, 64, 3)) + 127 * (number % 2)
        Image.fromarray(noise.astype(np.uint8)).save(path)
    return path


def python(*arguments: str) -> None:
    """A process of its own, which must end well."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def children_seconds() -> float:
    """Of the processor, for all processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Measure, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=11)
    turns = parser.parse_args().turns
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["TRANSFERKIT_CACHE"] = str(folder / "cache")
        image, run, again = write_images(folder / "images"), str(folder / "run"), str(folder / "again")
        common = ("--data", str(folder / "images"), "--size", "64", "--limit-per-class", "20", "--overwrite")
        python("-m", "transferkit", "probe", "resnet18", "--weights", "none", *common, "--out", run)
        finetune = ("finetune", "resnet18", "--weights", run, *common, "--out", again)
        arms = {
            "torch": partial(python, "-c", "import torch"),
            "torchvision": partial(python, "-c", "import torch, torchvision"),
            "predict": partial(python, "-m", "transferkit", "predict", run, str(image)),
            "finetune": partial(python, "-c", FIRST_STEP, *finetune),
        }
        seconds = in_turns(arms, turns, children_seconds)
    print(f"{setting(1)}, {load()}")
    for name, taken in seconds.items():
        print(f"{name}: {np.median(taken):.2f} s of the processor")
    print(f"predict of one image / import torch: {ratio(seconds['predict'], seconds['torch'])}")
    print(f"first step of finetune / import torch, torchvision: {ratio(seconds['finetune'], seconds['torchvision'])}")


if __name__ == "__main__":
    main()
