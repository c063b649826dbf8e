"""Error slices: found where images that are alike are answered worse, and nowhere else."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from transferkit import metrics
from transferkit.metrics.error_slices import averaged_over_neighbours, clusters_of, error_slices
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import Units, fisher_lower_p, grouped_lower_p

BLOBS, PER_BLOB = 6, 60


def blob_outputs(right: np.ndarray, seed: int = 0, groups: tuple[str, ...] | None = None) -> Outputs:
    """Images in six clouds far apart, one after the other, of two classes at random, answered rightly where `right`."""
    generator = np.random.default_rng(seed)
    centres = 10 * np.eye(BLOBS)[np.repeat(np.arange(BLOBS), PER_BLOB)]
    features = (centres + generator.normal(size=centres.shape)).astype(np.float32)
    labels = generator.integers(0, 2, len(features))
    answers = np.where(right, labels, 1 - labels)
    ids = tuple(map(str, range(len(features))))
    return Outputs(features, np.eye(2, dtype=np.float32)[answers], labels, ids, ("cat", "dog"), groups)


def right_with(chances: list[float], seed: int = 1) -> np.ndarray:
    """(N,) whether each image is right, by the chance of its cloud."""
    return np.random.default_rng(seed).random(BLOBS * PER_BLOB) < np.repeat(chances, PER_BLOB)


def test_a_cloud_that_is_answered_worse_is_found_and_nothing_else() -> None:
    outputs = blob_outputs(right_with([0.9, 0.9, 0.4, 0.9, 0.9, 0.9]))

    slices = error_slices(outputs).slices

    assert slices
    in_cloud = range(2 * PER_BLOB, 3 * PER_BLOB)
    assert all(set(found.members.tolist()) <= set(in_cloud) for found in slices)
    assert all(found.p <= 0.05 and found.accuracy < found.rest_accuracy for found in slices)


def test_neighbours_among_a_part_of_many_images_are_found_in_the_same_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.error_slices, "CANDIDATES", 120)
    points = blob_outputs(right_with([0.5] * BLOBS)).features.astype(np.float64)

    means = averaged_over_neighbours(points)

    assert means.shape == points.shape
    assert means.argmax(axis=1).tolist() == np.repeat(np.arange(BLOBS), PER_BLOB).tolist()


def test_counts_of_a_slice_are_those_of_its_images() -> None:
    right = right_with([0.9, 0.9, 0.4, 0.9, 0.9, 0.9])

    found = error_slices(blob_outputs(right)).slices[0]

    assert found.right == right[found.members].sum()
    assert found.right + found.rest_right == right.sum()
    assert found.rest == len(right) - len(found.members)
    assert found.lost == pytest.approx(len(found.members) * found.rest_right / found.rest - found.right)


def test_where_all_clouds_are_alike_at_most_one_run_in_twenty_finds_a_slice() -> None:
    found = sum(bool(error_slices(blob_outputs(right_with([0.8] * BLOBS, seed), seed)).slices) for seed in range(40))

    assert found <= 2


def test_clusters_do_not_depend_on_labels_or_answers() -> None:
    outputs = blob_outputs(right_with([0.9] * BLOBS))
    others = replace(outputs, labels=1 - outputs.require_labels(), logits=-outputs.logits)

    ours, theirs = error_slices(outputs), error_slices(others)

    assert ours.tested == theirs.tested == len(clusters_of(outputs.features, 0))


@pytest.mark.parametrize("right", [np.ones(360, bool), np.zeros(360, bool)], ids=["all right", "all wrong"])
def test_nothing_is_tested_where_all_images_are_answered_alike(right: np.ndarray) -> None:
    assert error_slices(blob_outputs(right)).tested == 0


def test_nothing_is_tested_with_fewer_than_a_hundred_images() -> None:
    outputs = blob_outputs(right_with([0.5] * BLOBS))
    few = Outputs(outputs.features[:99], outputs.logits[:99], outputs.labels[:99], outputs.ids[:99], ("cat", "dog"))

    assert error_slices(few).tested == 0


def test_images_without_any_difference_are_no_slice() -> None:
    outputs = blob_outputs(right_with([0.9, 0.1] * 3))
    alike = replace(outputs, features=np.ones_like(outputs.features))

    assert error_slices(alike).slices == ()


def test_one_patient_who_fails_is_no_slice() -> None:
    chances = [0.9, 0.9, 0.3, 0.9, 0.9, 0.9]
    patients = tuple(f"{cloud}" for cloud in range(BLOBS) for _ in range(PER_BLOB))

    assert error_slices(blob_outputs(right_with(chances))).slices
    assert error_slices(blob_outputs(right_with(chances), groups=patients)).slices == ()


def test_many_patients_who_fail_alike_are_a_slice() -> None:
    chances = [0.9, 0.9, 0.2, 0.9, 0.9, 0.9]
    patients = tuple(f"{number // 2}" for number in range(BLOBS * PER_BLOB))

    assert error_slices(blob_outputs(right_with(chances), groups=patients)).slices


@pytest.mark.parametrize(("right", "n", "all_right", "images"), [(3, 10, 70, 100), (0, 5, 3, 20), (9, 9, 90, 100)])
def test_fishers_test_equals_scipy(right: int, n: int, all_right: int, images: int) -> None:
    table = [[right, n - right], [all_right - right, images - n - all_right + right]]

    assert fisher_lower_p(right, n, all_right, images) == pytest.approx(stats.fisher_exact(table, "less")[1], rel=1e-9)


def test_groups_of_one_image_give_nearly_the_p_value_of_single_images() -> None:
    generator = np.random.default_rng(0)
    inside = generator.random(2000) < 0.1
    right = generator.random(2000) < np.where(inside, 0.72, 0.8)
    units = Units.of(2000, [str(number) for number in range(2000)])

    exact = fisher_lower_p(int(right[inside].sum()), int(inside.sum()), int(right.sum()), 2000)

    assert grouped_lower_p(right, inside, units) == pytest.approx(exact, rel=0.5)


def test_p_values_of_groups_are_small_by_chance_no_oftener_than_they_say() -> None:
    generator = np.random.default_rng(0)
    units = Units.of(400, [str(number // 8) for number in range(400)])
    small = 0
    for _ in range(400):
        patients_right = np.repeat(generator.beta(2, 1, 50), 8)
        inside = np.repeat(generator.random(50) < 0.3, 8)
        small += grouped_lower_p(generator.random(400) < patients_right, inside, units) <= 0.05

    assert small <= 0.05 * 400 + 2 * np.sqrt(400 * 0.05 * 0.95)


def test_memory_for_neighbours_grows_with_the_points_alone() -> None:
    """Likenesses of all pairs, in float64, would take 128 MB."""
    points = np.random.default_rng(0).normal(size=(4000, 8))
    tracemalloc.start()

    averaged_over_neighbours(points)

    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 20e6
