"""Heads that say what training images are when they have not learnt from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from digits_recipe import digits

from transferkit.data.images import Images
from transferkit.deploy.prediction import limits_of
from transferkit.recipe import ProbeSettings
from transferkit.run import run
from transferkit.runs.facts import ProbeFacts
from transferkit.runtime.console import SILENT
from transferkit.training.methods.cross_validation import cross_validated
from transferkit.training.methods.probe_heads import LabelledFeatures, Solved

PROBE = ProbeSettings(name="probe")


def solved_by_memory(labelled: LabelledFeatures, _settings: ProbeSettings, _seed: int) -> Solved:
    """A head that answers class 1 to every image it has learnt from, and class 0 to all others."""
    known = {tuple(row) for row in labelled.train_features.tolist()}

    def logits(features: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[0.0, 1.0] if tuple(row) in known else [1.0, 0.0] for row in features.tolist()])

    return Solved(torch.nn.Identity(), logits, ProbeFacts("linear"), ())


def labelled_of(groups: list[int] | None = None, n: int = 20) -> tuple[LabelledFeatures, Images]:
    labels = np.arange(n) % 2
    features = torch.arange(float(n))[:, None]
    nothing = features[:0], torch.zeros(0, dtype=torch.int64)
    numbers = None if groups is None else torch.tensor(groups)
    images = Images.from_pixels(np.zeros((n, 3, 1, 1), np.uint8), labels, ("cat", "dog"))
    return LabelledFeatures(features, torch.from_numpy(labels), *nothing, 2, numbers), images


def test_no_image_is_answered_by_a_head_that_has_learnt_from_it() -> None:
    outputs = cross_validated(solved_by_memory, *labelled_of(), PROBE, seed=0)

    assert outputs is not None
    assert outputs.predictions.tolist() == [0] * 20
    assert sorted(outputs.features[:, 0]) == list(range(20))
    assert (outputs.labels == outputs.features[:, 0] % 2).all()


def test_images_of_one_group_are_left_out_together() -> None:
    labelled, images = labelled_of(groups=[number // 4 for number in range(20)])
    learnt_from: list[set[float]] = []

    def solve(rest: LabelledFeatures, *how: object) -> Solved:
        learnt_from.append({row // 4 for row in rest.train_features[:, 0].tolist()})
        return solved_by_memory(rest, *how)  # type: ignore[arg-type]

    cross_validated(solve, labelled, images, PROBE, seed=0)

    assert sorted(map(len, learnt_from)) == [4] * 5  # of five groups, each head lacks one whole


def test_a_single_image_of_each_class_gives_nothing() -> None:
    assert cross_validated(solved_by_memory, *labelled_of(n=2), PROBE, seed=0) is None


def test_a_probe_of_few_labels_can_say_unknown(tmp_path: Path) -> None:
    finished = run(digits("probe"), tmp_path / "probed", console=SILENT)

    limits = limits_of(finished)

    assert limits is not None
    assert (limits.learnt_from, limits.n, limits.reason) == ("training", 70, "")  # of 80 labels 10 are val
    assert limits.candidate_quantile is not None
