"""Intervals by whole groups, and whole groups wherever C is chosen and answers are cross-validated."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.test_groups import patients
from transferkit.metrics.classification import accuracy_with_interval, per_class
from transferkit.metrics.evaluation import evaluate
from transferkit.metrics.grouped import expanded_percentiles, share_interval
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import clopper_pearson, wilson
from transferkit.models.linear import choose_C
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.labels.label_quality import folds
from transferkit.studies.rank.backbone_scores import FOLDS, fold_of_each


def answered(groups: int = 20, per_group: int = 8, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """(N,) right or wrong, alike within a group, as for patients who are recognised or not."""
    share = np.random.default_rng(seed).choice([0.2, 0.9], size=groups)
    right = np.random.default_rng(seed + 1).random((groups, per_group)) < share[:, None]
    return right.ravel(), [f"patient {number}" for number in np.repeat(np.arange(groups), per_group)]


def outputs(right: np.ndarray, groups: list[str] | None) -> Outputs:
    labels = np.arange(len(right)) % 2
    answer = np.where(right, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[answer]
    names = tuple(map(str, range(len(right))))
    return Outputs(np.zeros((len(right), 1), np.float32), logits, labels, names, ("a", "b"), groups and tuple(groups))


def test_the_interval_is_that_of_a_loop_over_drawn_groups() -> None:
    right, groups = answered()
    by_group = {name: [r for r, g in zip(right, groups, strict=True) if g == name] for name in set(groups)}
    draw = random.Random(7)
    names = sorted(by_group)

    shares = []
    for _ in range(4000):
        images = [image for name in draw.choices(names, k=len(names)) for image in by_group[name]]
        shares.append(sum(images) / len(images))

    found, expected = share_interval(right, groups), expanded_percentiles(np.array(shares), len(names))
    assert found.low == pytest.approx(expected.low, abs=0.015)  # two bootstraps of 2,000 and 4,000 draws
    assert found.high == pytest.approx(expected.high, abs=0.015)


def test_alike_images_of_a_group_widen_the_interval_and_unlike_ones_hardly_do() -> None:
    right, groups = answered()
    alone = wilson(int(right.sum()), len(right))

    by_groups = share_interval(right, groups)
    by_images = share_interval(right, [str(number) for number in range(len(right))])

    assert by_groups.high - by_groups.low > 1.5 * (alone.high - alone.low)
    assert by_images.high - by_images.low == pytest.approx(alone.high - alone.low, rel=0.08)


@pytest.mark.slow
def test_the_interval_covers_as_often_as_it_says() -> None:
    true_share = 0.5 * (0.2 + 0.9)
    covers = [(found := share_interval(*answered(15, 6, seed))).low <= true_share <= found.high for seed in range(400)]

    assert 0.925 <= np.mean(covers) <= 0.98  # +- 2.2 points is chance


def test_all_right_counts_groups_as_trials() -> None:
    found = share_interval(np.ones(40, bool), [str(number // 8) for number in range(40)])

    assert found == clopper_pearson(5, 5)


def test_one_group_says_nothing() -> None:
    assert share_interval(np.array([True, False]), ["a", "a"]).bounds == (0.0, 1.0)


def test_a_share_among_some_images_draws_their_groups_alone() -> None:
    right, groups = answered(10)
    among = np.arange(len(right)) < 40  # of five groups

    assert share_interval(right, groups, among) == share_interval(right[:40], groups[:40])


def test_accuracy_and_class_rows_of_grouped_outputs_go_by_groups() -> None:
    right, groups = answered()
    grouped, alone = outputs(right, groups), outputs(right, None)

    assert accuracy_with_interval(grouped).value == accuracy_with_interval(alone).value
    assert accuracy_with_interval(grouped).interval == share_interval(right, groups)
    row, row_alone = per_class(grouped)[0], per_class(alone)[0]
    assert row.recall == row_alone.recall
    assert row.recall_interval == share_interval(right, groups, grouped.require_labels() == 0)
    assert row.precision_interval != row_alone.precision_interval


def test_an_evaluation_says_of_how_many_groups() -> None:
    right, groups = answered()

    assert evaluate(outputs(right, groups)).test.groups == 20
    assert evaluate(outputs(right, None)).test.groups is None


def test_groups_of_outputs_are_stored(tmp_path: Path) -> None:
    grouped = outputs(*answered())

    grouped.save(tmp_path / "outputs.safetensors")

    assert Outputs.load(tmp_path / "outputs.safetensors").groups == grouped.groups


def test_c_is_judged_on_groups_that_the_head_has_not_seen() -> None:
    images = patients(40, 6)
    labels = torch.from_numpy(images.require_labels())
    groups = torch.from_numpy(np.unique(np.array(images.groups), return_inverse=True)[1])
    place = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    features = place[groups] + 0.05 * torch.randn(len(labels), 30, generator=torch.Generator().manual_seed(1))
    nothing = features[:0], labels[:0]

    alone = choose_C(features, labels, *nothing, 2)
    whole = choose_C(features, labels, *nothing, 2, groups=groups)

    assert max(alone.validation_accuracy) > 0.99  # it recognises patients, whose labels are chance
    assert max(whole.validation_accuracy) < 0.75
    assert whole.chosen_by == "5-fold cross-validation over groups"


def test_c_has_its_default_where_no_class_has_two_groups() -> None:
    features, labels = torch.randn(6, 3), torch.tensor([0, 0, 0, 1, 1, 1])

    choice = choose_C(features, labels, features[:0], labels[:0], 2, groups=labels)

    assert choice.chosen_by == "default, no class has two groups"


def test_ranking_and_labels_answer_whole_groups() -> None:
    images = patients(30, 5)
    groups = np.array(images.groups)

    for fold in (fold_of_each(images, 0), folds(images.require_labels(), 0, np.unique(groups, return_inverse=True)[1])):
        assert set(fold.tolist()) == set(range(FOLDS))
        assert all(len(set(fold[groups == group])) == 1 for group in set(groups))


def test_the_only_group_of_a_class_is_spread_over_the_folds() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    groups = np.array([0] * 10 + list(range(1, 11)))

    assert np.bincount(folds(labels, 0, groups)[:10]).tolist() == [2, 2, 2, 2, 2]


def test_a_ranking_of_few_groups_is_refused() -> None:
    with pytest.raises(TransferkitError, match="images of 4 groups: 5-fold cross-validation of whole groups needs 5"):
        fold_of_each(patients(4), 0)
