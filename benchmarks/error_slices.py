"""How often `limits` finds an error slice that was planted, and how often it finds one where there is none.

    python benchmarks/error_slices.py RUN [RUN ...]

Everything is drawn on the outputs of finished runs; k-means and the draws have seeds 0, 1, 2, ... (runs
without a slice share ten clusterings, which do not depend on the answers).

- *None*: every test image is right with the same chance, the run's accuracy, whatever its features. A slice that is
  found is false.
- *Neighbours*: a test image drawn by chance and the images nearest to it by cosine, 5 % of all, are right half as often
  as the others.
- *Hidden class*: classes become two kinds by chance, and a probe learns to tell them apart from half of the test
  images, from which those of one class were removed. All answers are its own. Images of that class are the slice; a
  draw counts where the probe is right on less than three quarters as many of them as of the others.
- *Changed images*: 5 % of the test images, drawn by chance, are changed by one of the fifteen corruptions at severity
  5, also drawn, and the network is asked about them. A draw counts under the same condition.

A planted slice counts as found where more than half of the images of a listed slice were planted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from transferkit.data.corruptions import FIFTEEN, corrupt
from transferkit.data.images import Images
from transferkit.metrics.error_slices import ErrorSlices, clusters_of, error_slices, worse_clusters
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import wilson
from transferkit.models.linear import fit_probe
from transferkit.runs.run_directory import Run
from transferkit.runtime.array_types import Bools, Floats
from transferkit.runtime.console import SILENT
from transferkit.studies.limits.subject import open_subject

CLUSTERINGS = 10  # that runs without a slice share
SHARE = 0.05  # of the test images that a planted slice of neighbours has
SEVERITY = 5  # of the corruption of changed images
WORSE = 0.5, 0.75  # the chance to be right in a slice of neighbours, and the most that a hidden class may have


def with_answers(outputs: Outputs, right: Bools) -> Outputs:
    """The same images, answered rightly where `right` and else by the next class."""
    labels, classes = outputs.require_labels(), len(outputs.class_names)
    answers = np.where(right, labels, (labels + 1) % classes)
    return replace(outputs, logits=np.eye(classes, dtype=np.float32)[answers])


def none(outputs: Outputs, generator: np.random.Generator) -> Outputs:
    """Every image is right with the same chance."""
    return with_answers(outputs, generator.random(len(outputs)) < outputs.is_right.mean())


def neighbours(outputs: Outputs, generator: np.random.Generator) -> tuple[Outputs, Bools]:
    """An image and its neighbours are right half as often."""
    features = outputs.features / np.linalg.norm(outputs.features, axis=1, keepdims=True)
    nearness = features @ features[generator.integers(len(outputs))]
    planted = nearness >= np.sort(nearness)[-max(10, round(SHARE * len(outputs)))]
    chance: Floats = np.where(planted, WORSE[0], 1.0) * outputs.is_right.mean()
    return with_answers(outputs, generator.random(len(outputs)) < chance), planted


def hidden_class(outputs: Outputs, generator: np.random.Generator) -> tuple[Outputs, Bools]:
    """Two kinds of classes, told apart by a probe that has not learnt from one of the classes."""
    classes = len(outputs.class_names)
    kinds, hidden = generator.permutation(classes) % 2, int(generator.integers(classes))
    learns = generator.random(len(outputs)) < 1 / 2
    is_hidden = outputs.require_labels() == hidden
    features, labels = torch.from_numpy(outputs.features), torch.from_numpy(kinds[outputs.require_labels()])
    chosen = torch.from_numpy(learns & ~is_hidden)
    head = fit_probe(features[chosen], labels[chosen], features[:0], labels[:0], 2, C=0.01).head
    asked = torch.from_numpy(~learns)
    logits = head.logits(features[asked]).numpy().astype(np.float32)
    ids = tuple(name for name, keep in zip(outputs.ids, ~learns, strict=True) if keep)
    test = Outputs(features[asked].numpy(), logits, labels[asked].numpy(), ids, ("first", "second"))
    return test, is_hidden[~learns]


class ChangedImages:
    """Some images of a run changed, and what its network says of them."""

    def __init__(self, run: Run) -> None:
        self.subject = open_subject(run, 1, 0, "cpu", SILENT)

    def __call__(self, _: Outputs, generator: np.random.Generator) -> tuple[Outputs, Bools]:
        """Outputs of the test images, or of the half that does not set thresholds, with those of the changed ones."""
        outputs = self.subject.test
        name = str(generator.choice(FIFTEEN))
        planted = generator.random(len(outputs)) < SHARE
        chosen = np.flatnonzero(planted)
        pixels = corrupt(torch.from_numpy(self.subject.images.test.take(chosen)), name, SEVERITY, seed=0).numpy()
        changed = Images.from_pixels(pixels, outputs.require_labels()[chosen], outputs.class_names)
        answers = self.subject.store.outputs(changed, name)
        features, logits = outputs.features.copy(), outputs.logits.copy()
        features[chosen], logits[chosen] = answers.features, answers.logits
        return replace(outputs, features=features, logits=logits), planted


def plantings(outputs: Outputs, plant: object, count: int) -> Iterator[tuple[Outputs, Bools, int]]:
    """So many plantings in which the planted images are worse, with their seeds."""
    seed = 0
    while count:
        test, planted = plant(outputs, np.random.default_rng(seed))  # type: ignore[operator]
        right = test.is_right
        if right[planted].mean() < WORSE[1] * right[~planted].mean():
            yield test, planted, seed
            count -= 1
        seed += 1


def is_found(slices: ErrorSlices, planted: Bools) -> bool:
    """Whether most images of a listed slice were planted."""
    return any(planted[row.members].mean() > 0.5 for row in slices.slices)


def in_words(hits: int, n: int) -> str:
    """A count with its interval."""
    low, high = (100 * bound for bound in wilson(hits, n).bounds)
    return f"{hits} of {n} ({low:.1f} to {high:.1f} %)"


def main() -> None:
    """Print a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--nulls", type=int, default=200)
    parser.add_argument("--plantings", type=int, default=10)
    arguments = parser.parse_args()
    print(
        "| run | test images | accuracy | false slices | neighbours found | hidden class found | changed images found |"
    )
    print("|---|---|---|---|---|---|---|")
    for path in arguments.runs:
        outputs = Run(path).outputs("test")
        false = sum(
            bool(worse_clusters(none(outputs, np.random.default_rng(seed)), clusters).slices)
            for clustering in range(CLUSTERINGS)
            for clusters in [clusters_of(outputs.features, clustering)]
            for seed in range(clustering, arguments.nulls, CLUSTERINGS)
        )
        found = [
            sum(
                is_found(error_slices(test, seed), planted)
                for test, planted, seed in plantings(outputs, plant, arguments.plantings)
            )
            for plant in (neighbours, hidden_class, ChangedImages(Run(path)))
        ]
        cells = [in_words(false, arguments.nulls), *(in_words(hits, arguments.plantings) for hits in found)]
        accuracy = f"{100 * outputs.is_right.mean():.1f} %"
        print(f"| {path.name} | {len(outputs):,} | {accuracy} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
