"""What `predict --precision int8` costs: accuracy on test images, paired, and how often `unknown` is said.

    python benchmarks/int8_accuracy.py RUN [--images 2000] [--strangers FOLDER]

The test images of the run are asked in the run's own precision and in 8 bits, calibrated on its training images as
`predict` does it. With a folder of strangers, images of no class of the run, it also counts who is called unknown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from speed.machine import setting

from transferkit.deploy.prediction import Model, in_int8, load, pictures_of, predictions
from transferkit.features.pictures import Pictures
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import paired_difference
from transferkit.metrics.thresholds import ACCEPTANCE
from transferkit.runs.own_images import same_images
from transferkit.runs.run_directory import open_run
from transferkit.runtime.console import SILENT, Console


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--strangers", type=Path)
    options = parser.parse_args()
    own = load(options.run, "cpu")
    small = in_int8(own, options.run, Console())
    print(f"{setting(own.runtime.threads)}; the run answers in {own.runtime.precision}")
    test = same_images(open_run(options.run), SILENT).test.open().spread(options.images)
    print_accuracy(test.require_labels(), answers(own, test), answers(small, test))
    print_unknown("test images", own, small, test)
    if options.strangers:
        print_unknown("strangers", own, small, pictures_of(options.strangers, own.storage_px, own.reading))


def answers(model: Model, pictures: Pictures) -> Outputs:
    """What a model says of images."""
    features, logits = model.fast.answers(pictures)
    return Outputs(features, logits, None, tuple(map(str, range(len(pictures)))), model.class_names)


def print_accuracy(labels: np.ndarray, exact: Outputs, small: Outputs) -> None:
    """Accuracy of both, their paired difference, and the cosine between their features."""
    right = [outputs.predictions == labels for outputs in (exact, small)]
    lost = paired_difference(right[0][None], right[1][None], "images")
    low, high = (100 * end for end in (lost.interval.low, lost.interval.high))
    shares = ", ".join(f"{100 * row.mean():.2f}" for row in right)
    print(
        f"accuracy, {len(labels):,} test images: {shares} %; lost {100 * lost.difference:.2f} ({low:.2f} to {high:.2f})"
    )
    print(f"another class for {100 * (exact.predictions != small.predictions).mean():.2f} % of the images")
    lengths = np.linalg.norm(exact.features, axis=1) * np.linalg.norm(small.features, axis=1)
    cosine = (exact.features * small.features).sum(axis=1) / lengths
    print(f"cosine of features: {cosine.mean():.5f} on average, {cosine.min():.5f} at least")


def print_unknown(name: str, own: Model, small: Model, pictures: Pictures) -> None:
    """How many of some images each model calls unknown, and about how many the two disagree."""
    said = [
        np.array([answer.unknown for answer in predictions(answers(model, pictures), model.rejection, ACCEPTANCE)])
        for model in (own, small)
    ]
    shares = ", ".join(f"{100 * flags.mean():.2f}" for flags in said)
    print(f"unknown, {len(said[0]):,} {name}: {shares} %; otherwise for {100 * (said[0] != said[1]).mean():.2f} %")


if __name__ == "__main__":
    main()
