"""A model's "unknown": thresholds from its own val images, and how predict uses them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic_runs import finished_run

from transferkit import rejection
from transferkit.errors import TransferkitError
from transferkit.metrics.temperature import fit_temperature
from transferkit.outputs import Outputs
from transferkit.prediction import Model, in_words, limits_of, no_threshold, predictions
from transferkit.rejection import Rejection

NAMES = ("cat", "dog", "ship")


def outputs_of(logits: object, labels: object = None, names: tuple[str, ...] = NAMES) -> Outputs:
    values = np.asarray(logits, dtype=np.float32)
    truth = np.zeros(len(values), np.int64) if labels is None else np.asarray(labels, dtype=np.int64)
    return Outputs(np.zeros((len(values), 2), np.float32), values, truth, tuple(map(str, range(len(values)))), names)


def of_confidence(shares: object) -> Outputs:
    """Two-class outputs whose largest probability is each share."""
    p = np.asarray(shares, dtype=np.float64)
    return outputs_of(np.log(np.stack([p, 1 - p], axis=1)), names=("cat", "dog"))


@pytest.fixture
def val() -> Outputs:
    """A hundred images, confidences 0.51, 0.515 ... 0.995 + 0.01."""
    return of_confidence(0.505 + 0.0049 * np.arange(1, 101))


def test_ninety_five_per_cent_of_val_lie_at_or_below_the_threshold(val: Outputs) -> None:
    threshold = rejection.fit(val).threshold(0.95)

    assert (rejection.score(val) <= threshold).sum() == 95
    assert threshold == pytest.approx(-np.log(0.505 + 0.0049 * 6))  # the sixth lowest confidence


def test_accepting_all_takes_the_largest_score_of_val(val: Outputs) -> None:
    assert rejection.fit(val).threshold(1.0) == rejection.score(val).max()


def test_score_tells_saturated_confidences_apart() -> None:
    scores = rejection.score(outputs_of([[20, 0, 0], [25, 0, 0], [30, 0, 0]]))

    assert scores[0] > scores[1] > scores[2] > 0


def test_percentile_counts_the_val_images_that_are_no_more_unusual(val: Outputs) -> None:
    limits = rejection.fit(val)

    percentiles = limits.percentile(rejection.score(of_confidence([0.9999, 0.505 + 0.0049 * 50.5, 0.5])))

    assert percentiles.tolist() == [0, 50, 100]


def test_below_twenty_val_images_there_is_no_threshold_and_a_reason() -> None:
    limits = rejection.fit(of_confidence(np.linspace(0.6, 0.9, 19)))

    assert limits.threshold() is None
    assert limits.reason == "the run has 19 val images, and a threshold needs at least 20"


def test_without_val_there_is_nothing() -> None:
    assert rejection.fit(None) == Rejection(0, (), None, None)


@pytest.mark.parametrize("share", [0.3, 1.2])
def test_an_acceptance_that_makes_no_sense_is_refused(val: Outputs, share: float) -> None:
    with pytest.raises(TransferkitError, match=r"expected a share in \[0.5, 1\]"):
        rejection.fit(val).threshold(share)


def test_candidate_sets_hold_the_true_class_as_often_as_promised() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4000, 3)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (generator.random(4000)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    known, new = outputs_of(logits[:2000], labels[:2000]), outputs_of(logits[2000:], labels[2000:])

    members = rejection.fit(known).candidates(new)

    assert members[np.arange(2000), new.labels].mean() == pytest.approx(0.9, abs=0.02)


def test_temperature_is_that_of_the_calibration_report(val: Outputs) -> None:
    assert rejection.fit(val).temperature == fit_temperature(val)


def test_limits_survive_their_way_through_json(val: Outputs) -> None:
    limits = rejection.fit(val)

    assert Rejection.from_dict(limits.as_dict()) == limits


def test_a_run_of_an_earlier_version_learns_its_limits_from_its_stored_val_outputs(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")

    assert "rejection" not in run.model
    assert limits_of(run) == rejection.fit(run.outputs("val"))


def test_without_stored_val_outputs_there_are_no_limits(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.outputs_path("val").unlink()

    assert limits_of(run) is None


def test_an_unusual_image_is_unknown_and_keeps_its_would_be_class(val: Outputs) -> None:
    sure, unsure = np.log([[0.98, 0.02], [0.501, 0.499]]).astype(np.float32)

    found = predictions(np.stack([sure, unsure]), ("cat", "dog"), rejection.fit(val), 0.95)

    assert [each.unknown for each in found] == [False, True]
    assert found[1].name == "cat"
    assert in_words(found[0]) == "cat\t0.980"
    assert in_words(found[1]) == "unknown\t0.501\twould be cat; more unusual than 100 % of the validation images"


def test_without_threshold_nothing_is_unknown_and_the_reason_is_said() -> None:
    found = predictions(np.zeros((1, 2), np.float32), ("cat", "dog"), None, 0.95)

    model = Model(None, None, 32, "squash")  # type: ignore[arg-type]
    assert (found[0].unknown, found[0].percentile, found[0].candidates) == (None, None, None)
    assert "no outputs of val to learn it from" in no_threshold(model)


def test_candidates_come_likeliest_first(val: Outputs) -> None:
    logits = np.log([[0.3, 0.7]]).astype(np.float32)

    found = predictions(
        logits, ("cat", "dog"), Rejection(100, rejection.fit(val).percentiles, None, -math.log(0.2)), 0.95
    )

    assert found[0].candidates == ("dog", "cat")
