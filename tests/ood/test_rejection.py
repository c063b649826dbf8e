"""A model's "unknown": thresholds from its own val images, and how predict uses them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from synthetic_runs import finished_run

from transferkit.deploy.prediction import Model, in_words, limits_of, no_threshold, predictions
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.temperature import fit_temperature
from transferkit.metrics.thresholds import FEWEST_TO_REJECT
from transferkit.models.stored_model import Thresholds
from transferkit.ood import knn, rejection
from transferkit.ood.rejection import FEWEST_FOR_THRESHOLD, Rejection
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.records import as_json, from_json

NAMES = ("cat", "dog", "ship")


def outputs_of(logits: object, labels: object = None, names: tuple[str, ...] = NAMES) -> Outputs:
    values = np.asarray(logits, dtype=np.float32)
    truth = np.zeros(len(values), np.int64) if labels is None else np.asarray(labels, dtype=np.int64)
    return Outputs(np.zeros((len(values), 2), np.float32), values, truth, tuple(map(str, range(len(values)))), names)


def said(logits: object) -> Outputs:
    return outputs_of(logits, names=("cat", "dog"))


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

    assert (rejection.msp(val) <= threshold).sum() == 95
    assert threshold == pytest.approx(-np.log(0.505 + 0.0049 * 6))  # the sixth lowest confidence


def test_accepting_all_takes_the_largest_score_of_val(val: Outputs) -> None:
    assert rejection.fit(val).threshold(1.0) == rejection.msp(val).max()


def test_score_tells_saturated_confidences_apart() -> None:
    scores = rejection.msp(outputs_of([[20, 0, 0], [25, 0, 0], [30, 0, 0]]))

    assert scores[0] > scores[1] > scores[2] > 0


def test_percentile_counts_the_val_images_that_are_no_more_unusual(val: Outputs) -> None:
    limits = rejection.fit(val)

    percentiles = limits.percentile(rejection.msp(of_confidence([0.9999, 0.505 + 0.0049 * 50.5, 0.5])))

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

    assert Rejection.from_thresholds(from_json(as_json(limits.thresholds), Thresholds, "")) == limits


def test_a_run_of_an_earlier_version_learns_its_limits_from_its_stored_val_outputs(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")

    assert run.model.rejection is None
    assert limits_of(run) == rejection.fit(run.outputs("val"))


def test_without_stored_val_outputs_there_are_no_limits(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.outputs_path("val").unlink()

    assert limits_of(run) is None


def test_an_unusual_image_is_unknown_and_keeps_its_would_be_class(val: Outputs) -> None:
    sure, unsure = np.log([[0.98, 0.02], [0.501, 0.499]]).astype(np.float32)

    found = predictions(said(np.stack([sure, unsure])), replace(rejection.fit(val), temperature=None), 0.95)

    assert [each.unknown for each in found] == [False, True]
    assert found[1].name == "cat"
    assert in_words(found[0]) == "cat\t0.980"
    assert in_words(found[1]) == "unknown\t0.501\twould be cat; more unusual than 100 % of the validation images (msp)"


def test_without_threshold_nothing_is_unknown_and_the_reason_is_said() -> None:
    found = predictions(said(np.zeros((1, 2))), None, 0.95)

    model = Model(None, None, 32, "squash")  # type: ignore[arg-type]
    assert (found[0].unknown, found[0].percentile, found[0].candidates) == (None, None, None)
    assert "no outputs of val to learn it from" in no_threshold(model)


def test_probabilities_are_those_of_the_logits_divided_by_the_temperature() -> None:
    [found] = predictions(said([[math.log(9), 0.0]]), Rejection(100, (), 2.0, None), 0.95)

    assert found.probabilities == pytest.approx({"cat": 0.75, "dog": 0.25})  # 3 to 1, the root of 9 to 1
    assert found.probability == found.probabilities["cat"]


def test_candidates_come_likeliest_first(val: Outputs) -> None:
    logits = np.log([[0.3, 0.7]]).astype(np.float32)

    found = predictions(said(logits), Rejection(100, rejection.fit(val).percentiles, None, -math.log(0.2)), 0.95)

    assert found[0].candidates == ("dog", "cat")


# ---- compared with training images ----


def directions(angles: object, labels: object = None, length: float = 1.0) -> Outputs:
    """Two-class outputs with features at these angles, in degrees; the network is sure of all of them."""
    radians = np.deg2rad(np.asarray(angles, dtype=np.float64))
    features = length * np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
    sure = said(np.tile([30.0, 0.0], (len(features), 1)))
    truth = sure.labels if labels is None else np.asarray(labels, np.int64)
    return Outputs(features, sure.logits, truth, sure.ids, sure.class_names)


def test_with_training_images_to_compare_with_a_sure_answer_may_be_unknown() -> None:
    train, val = directions(np.linspace(0, 10, 40)), directions(np.linspace(0, 10, 50))
    limits = rejection.fit(val, rejection.banked(train, seed=0))

    found = predictions(directions([5, 180], length=7.0), limits, 0.95)

    assert [each.unknown for each in found] == [False, True]
    assert [each.score_name for each in found] == ["knn", "knn"]
    assert found[1].probability == pytest.approx(1.0)
    assert found[1].score == pytest.approx(2 * np.sin(np.deg2rad(171 - 1 / 1.3) / 2), abs=0.01)  # 2nd of 40 from 10
    assert "more unusual than 100 % of the validation images (knn)" in in_words(found[1])


def test_the_score_is_the_distance_to_the_kth_neighbour_that_scikit_learn_finds() -> None:
    generator = np.random.default_rng(0)
    train, test = (directions(generator.uniform(0, 360, n)) for n in (400, 30))
    neighbours = NearestNeighbors(n_neighbors=20).fit(train.features)  # a twentieth of 400

    scores = rejection.fit(None, rejection.banked(train, seed=0)).scores(test)

    assert scores == pytest.approx(neighbours.kneighbors(test.features)[0][:, -1], abs=1e-5)


def test_thresholds_of_distances_come_from_val() -> None:
    train, val = directions(np.linspace(0, 90, 40)), directions(np.linspace(0, 120, 100))
    limits = rejection.fit(val, rejection.banked(train, seed=0))

    assert (limits.scores(val) <= limits.threshold(0.95)).sum() == 95


def test_the_bank_is_even_over_classes_seeded_and_in_order() -> None:
    labels = np.array([0] * 3_000 + [1] * 2_000 + [0] * 50)
    train = directions(np.arange(5_050) / 20, labels)

    bank = rejection.banked(train, seed=1)

    assert bank is not None
    assert np.bincount(bank.labels).tolist() == [500, 500]
    assert [int(name) for name in bank.ids] == sorted({int(name) for name in bank.ids})
    assert (bank.features == rejection.banked(train, seed=1).features).all()
    assert bank.ids != rejection.banked(train, seed=2).ids


def test_a_bank_for_many_classes_holds_as_many_of_each_as_neighbours_are_looked_at() -> None:
    names = tuple(f"class {number}" for number in range(40))
    labels = np.repeat(np.arange(40), 60)
    train = Outputs(np.ones((2_400, 2)), np.zeros((2_400, 40)), labels, tuple(map(str, range(2_400))), names)

    assert np.bincount(rejection.banked(train, seed=0).labels).tolist() == [50] * 40


def test_distances_survive_their_way_through_json_with_the_bank_beside() -> None:
    bank = rejection.banked(directions(np.linspace(0, 90, 40)), seed=0)
    limits = rejection.fit(directions(np.linspace(0, 90, 30)), bank)

    read = Rejection.from_thresholds(from_json(as_json(limits.thresholds), Thresholds, ""), bank)

    assert read == limits
    assert read.score == "knn"


def test_a_run_whose_bank_is_gone_says_how_to_get_it_back(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    bank = rejection.banked(directions([0, 10, 20]), seed=0)
    run.write_model(replace(run.model, rejection=rejection.fit(None, bank).thresholds))

    with pytest.raises(TransferkitError, match=r"outputs/bank.safetensors.*Copy it back.*or make the run again"):
        limits_of(Run(run.path))


def test_a_score_of_a_newer_version_is_refused() -> None:
    stored = replace(rejection.fit(None).thresholds, score="oracle")

    with pytest.raises(TransferkitError, match=r"'oracle', which this version does not know. Upgrade with"):
        Rejection.from_thresholds(stored)


def test_a_run_of_an_earlier_version_ships_what_it_shipped_and_says_so(tmp_path: Path, val: Outputs) -> None:
    run = finished_run(tmp_path / "run")
    run.write_model(replace(run.model, rejection=rejection.fit(val).thresholds))

    model = Model(None, None, 32, "squash", limits_of(Run(run.path)))  # type: ignore[arg-type]

    assert model.rejection == rejection.fit(val)
    assert model.rejection.score == "msp"
    assert "`unknown` goes by the probability alone (msp). A run made anew" in no_threshold(model)


def test_outputs_without_features_cannot_be_compared() -> None:
    limits = rejection.fit(None, rejection.banked(directions([0, 10, 20]), seed=0))

    with pytest.raises(TransferkitError, match="2 features per image; these outputs have 2 and 0"):
        limits.scores(Outputs(np.zeros((1, 0)), np.zeros((1, 2)), np.zeros(1, np.int64), ("one",), ("cat", "dog")))


def spread(width: float, n: int = 200, seed: int = 0) -> Outputs:
    """Features whose directions spread by an angle of about `width` around one axis."""
    across = np.random.default_rng(seed).normal(0, width, n)
    features = np.stack([np.cos(across), np.sin(across)], axis=1).astype(np.float32)
    return Outputs(features, np.zeros((n, 2), np.float32), np.zeros(n, np.int64), tuple(map(str, range(n))), NAMES[:2])


def test_the_typical_distance_leaves_the_image_itself_out() -> None:
    bank = spread(0.3)
    rows = bank.features / np.linalg.norm(bank.features, axis=1, keepdims=True)

    found = knn.typical_distance(bank)

    away = NearestNeighbors(n_neighbors=11).fit(rows).kneighbors(rows)[0][:, 10]  # k = 200 / 20, and itself
    assert found == pytest.approx(float(np.median(away)), rel=1e-4)


def test_a_single_image_has_no_typical_distance() -> None:
    assert math.isnan(knn.typical_distance(spread(0.3, n=1)))


def test_thresholds_carry_over_to_a_network_that_spreads_features_wider() -> None:
    narrow, wide = (lambda n, seed, width=width: spread(width, n, seed) for width in (0.02, 0.04))

    fitted = rejection.fit(narrow(2_000, 1), wide(200, 0), val_bank=narrow(200, 0))

    threshold = fitted.threshold()
    assert threshold is not None
    assert np.mean(fitted.scores(wide(2_000, 2)) <= threshold) == pytest.approx(0.95, abs=0.02)


def test_a_bank_whose_images_are_all_alike_leaves_the_scores_as_they_are() -> None:
    alike, bank = spread(0.0), spread(0.3)

    same = rejection.fit(spread(0.3, 50, 1), alike, val_bank=bank)

    assert same.percentiles == rejection.fit(spread(0.3, 50, 1), bank).percentiles


# ---- few val images: training images left out in turn ----


def cross_validated_of(n: int) -> Outputs:
    """Two-class outputs whose right class has the probabilities 1 / (n + 1), 2 / (n + 1) ..."""
    shares = np.arange(1, n + 1) / (n + 1)
    return outputs_of(np.log(np.stack([shares, 1 - shares], axis=1)), names=("cat", "dog"))


def test_with_few_val_images_the_threshold_is_the_conformal_rank_of_training_images_left_out_in_turn() -> None:
    bank = spread(0.3, n=60)
    rows = bank.features / np.linalg.norm(bank.features, axis=1, keepdims=True)

    limits = rejection.fit(spread(0.3, n=5), bank, cross_validated=cross_validated_of(60))

    away = NearestNeighbors(n_neighbors=4).fit(rows).kneighbors(rows)[0][:, 3]  # k = 60 / 20, and itself
    assert limits.threshold() == pytest.approx(np.sort(away)[57], abs=1e-6)  # rank ceil(0.95 * 61) = 58
    assert (limits.n, limits.learnt_from, limits.reason) == (60, "training", "")


@pytest.mark.parametrize("n_val", [FEWEST_FOR_THRESHOLD - 1, FEWEST_TO_REJECT - 1])
def test_a_tuned_body_with_few_val_images_has_its_threshold_from_training_images_too(n_val: int) -> None:
    bank, val = spread(0.3, n=60), spread(0.3, n=n_val, seed=1)

    limits = rejection.fit(val, bank, is_tuned=True)

    assert limits.percentiles == rejection.fit(None, bank, cross_validated=cross_validated_of(60)).percentiles
    assert (limits.n, limits.learnt_from) == (60, "training")
    assert limits.candidate_quantile == rejection.fit(val, bank).candidate_quantile  # val alone was not learnt from
    assert rejection.fit(None, bank, is_tuned=True).candidate_quantile is None


def test_a_hundred_val_images_set_the_threshold_of_a_tuned_body() -> None:
    val, bank = spread(0.3, n=FEWEST_TO_REJECT, seed=1), spread(0.3, n=60)

    assert rejection.fit(val, bank, is_tuned=True) == rejection.fit(val, bank)


def test_a_body_from_random_weights_has_no_threshold_of_its_training_images() -> None:
    assert rejection.fit(None, spread(0.3, n=60)).threshold() is None


def test_left_out_images_set_the_candidate_sets_too() -> None:
    limits = rejection.fit(None, spread(0.3, n=60), cross_validated=cross_validated_of(49))

    assert limits.candidate_quantile == pytest.approx(-np.log(5 / 50), abs=1e-4)  # rank ceil(50 * 0.9) = 45 of -log p


def test_many_val_images_are_the_better_guide() -> None:
    val, bank = spread(0.3, n=FEWEST_TO_REJECT), spread(0.3, n=60, seed=1)

    assert rejection.fit(val, bank, cross_validated=cross_validated_of(60)) == rejection.fit(val, bank)


def test_a_bank_of_fewer_than_twenty_gives_no_threshold() -> None:
    limits = rejection.fit(None, spread(0.3, n=19), cross_validated=cross_validated_of(19))

    assert limits.threshold() is None


def test_ninety_five_per_cent_of_new_images_are_accepted_on_average_without_any_val_image() -> None:
    new = spread(0.3, n=4_000, seed=99)

    shares = []
    for seed in range(40):
        limits = rejection.fit(None, spread(0.3, n=50, seed=seed), cross_validated=cross_validated_of(50))
        shares.append(np.mean(limits.scores(new) <= limits.threshold()))

    assert np.mean(shares) == pytest.approx(0.96, abs=0.015)  # rank 49 of 51


def test_what_the_threshold_was_learnt_from_is_kept_and_said() -> None:
    bank = spread(0.02, n=60)
    limits = rejection.fit(None, bank, cross_validated=cross_validated_of(60))

    unusual = predictions(directions([180]), Rejection.from_thresholds(limits.thresholds, bank), 0.95)

    assert in_words(unusual[0]).endswith("more unusual than 100 % of the training images (knn)")
