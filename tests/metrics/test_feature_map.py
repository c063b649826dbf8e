"""The map of test features: which images are on it, and that neighbours there are neighbours in features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import outputs

from transferkit.metrics.feature_map import FeatureMap, feature_map, representative
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.errors import TransferkitError


def everyone(test: Outputs) -> np.ndarray:
    return np.arange(len(test))


def grouped() -> Outputs:
    """Four classes, each around its own point of 8 dimensions."""
    test = outputs(per_class=15)
    centres = 10 * np.eye(8)[test.labels]
    noise = np.random.default_rng(0).normal(size=centres.shape)
    return replace(test, features=(centres + noise).astype(np.float32))


def test_groups_in_features_are_groups_on_the_map() -> None:
    test = grouped()

    found = feature_map(test, everyone(test))

    distance = np.linalg.norm(found.places[:, None] - found.places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (found.places.min(), found.places.max()) == (0, 1)
    assert (test.labels[distance.argmin(axis=1)] == test.labels).all()


def test_the_same_features_give_the_same_map() -> None:
    one, other = (feature_map(grouped(), np.arange(60)).places for _ in range(2))

    assert np.array_equal(one, other)


def test_hits_and_mistakes_keep_their_proportion() -> None:
    test = outputs(per_class=500, wrong=50)  # 10 % of 2,000
    mistakes_first = np.argsort(test.predictions == test.labels, kind="stable")[:1000]  # 200 mistakes, 800 hits

    chosen = representative(test, mistakes_first, 300, 0)

    assert len(chosen) == len(set(chosen.tolist())) == 300
    assert (test.predictions[chosen] != test.labels[chosen]).sum() == 30
    assert set(chosen.tolist()) <= set(mistakes_first.tolist())


def test_too_few_hits_among_the_candidates_make_the_map_smaller() -> None:
    test = outputs(per_class=500, wrong=250)
    candidates = np.argsort(test.predictions == test.labels, kind="stable")[:1040]  # 1,000 mistakes, 40 hits

    chosen = representative(test, candidates, 300, 0)

    assert (test.predictions[chosen] == test.labels[chosen]).sum() == 40
    assert len(chosen) == 80


@pytest.mark.parametrize("wrong", [0, 10])
def test_all_right_and_all_wrong_are_mapped_whole(wrong: int) -> None:
    test = outputs(wrong=wrong)

    assert len(representative(test, everyone(test), 800, 0)) == 40


def test_few_images_and_images_that_are_all_alike_have_no_map() -> None:
    few = outputs(per_class=2)

    assert "at least 10 test images, and there are 8" in feature_map(few, everyone(few)).reason
    assert "lie on one line" in feature_map(outputs(), np.arange(40)).reason


def test_a_map_is_read_as_it_was_saved(tmp_path: Path) -> None:
    made = FeatureMap(np.arange(3), np.ones((3, 2), np.float32), "why")
    made.save(tmp_path / "map.safetensors")

    read = FeatureMap.load(tmp_path / "map.safetensors")

    assert read.indices.tolist() == [0, 1, 2]
    assert (read.places == 1).all()
    assert read.reason == "why"


def test_another_file_is_no_map(tmp_path: Path) -> None:
    outputs().save(tmp_path / "test.safetensors")

    with pytest.raises(TransferkitError, match="holds no map: 'indices' is missing"):
        FeatureMap.load(tmp_path / "test.safetensors")
