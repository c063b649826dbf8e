"""How often bf16 and fp32 give the same answer: a finished run's network on its own test images, in both.

Both passes are those of every command: BatchNorm folded, head in fp32. Nothing is chosen by it.

    python benchmarks/precision_agreement.py RUN
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import torch

from transferkit.data import datasets
from transferkit.features.fast_classifier import collect
from transferkit.metrics.statistics import wilson
from transferkit.runs.run_directory import open_run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import Console


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    run = open_run(options.run)
    console = Console()
    images = datasets.load(run.recipe.data, console).test.open()
    runtime = {name: machine.start(options.device, name) for name in ("fp32", "bf16")}
    classifier = load_classifier(run).to(runtime["fp32"].device)
    found = {name: collect(classifier, images, where, console, name) for name, where in runtime.items()}
    exact, rounded = found["fp32"], found["bf16"]
    same = exact.predictions == rounded.predictions
    interval = wilson(int(same.sum()), len(same))
    low, high = 100 * interval.low, 100 * interval.high
    difference = np.abs(exact.confidences - rounded.confidences)
    print(f"same answer {100 * same.mean():.2f} % ({low:.2f} to {high:.2f}), n = {len(same):,}")
    for name, outputs in found.items():
        print(f"{name}: {100 * (outputs.predictions == outputs.labels).mean():.2f} % right")
    print(f"confidences differ by {difference.mean():.4f} on average, {np.quantile(difference, 0.99):.4f} at 99 %")
    print(
        f"{machine.device_name(runtime['bf16'].device)}, torch {torch.__version__}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
