"""Split-conformal sets: against MAPIE, a plain loop and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from transferkit.metrics.conformal import (
    aps_scores,
    aps_sets,
    calibrate_aps,
    calibrate_lac,
    fewest_images,
    lac_sets,
    set_quality,
)
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.errors import TransferkitError


def outputs(logits: np.ndarray, labels: np.ndarray) -> Outputs:
    n, classes = logits.shape
    names = tuple("abcdefgh"[:classes])
    return Outputs(np.zeros((n, 1), np.float32), logits, labels, tuple(map(str, range(n))), names)


def honest(n: int, seed: int, classes: int = 4, sharpness: float = 2.0) -> Outputs:
    """Labels drawn from the very softmax of the logits."""
    generator = np.random.default_rng(seed)
    logits = (sharpness * generator.standard_normal((n, classes))).astype(np.float32)
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    return outputs(logits, labels)


def probabilities(*rows: list[float], labels: list[int]) -> Outputs:
    return outputs(np.log(np.array(rows)), np.array(labels))


def test_the_lac_quantile_is_the_ninth_of_nine_at_alpha_one_tenth():
    # right classes have p = .9, .8, ..., .1; ceil(10 * .9) = 9, so the least probable one sets the quantile
    val = probabilities(*[[p / 10, 1 - p / 10] for p in range(9, 0, -1)], labels=[0] * 9)

    calibration = calibrate_lac(val, 0.1)

    assert math.exp(-calibration.quantile) == pytest.approx(0.1)
    assert math.exp(-calibrate_lac(val, 0.5).quantile) == pytest.approx(0.5)  # ceil(10 * .5) = 5


@pytest.mark.parametrize(("alpha", "fewest"), [(0.1, 9), (0.05, 19), (0.01, 99), (1 / 3, 2)])
def test_too_few_images_give_all_classes_and_a_reason(alpha, fewest):
    assert fewest_images(alpha) == fewest
    assert math.isfinite(calibrate_lac(honest(fewest, 0), alpha).quantile)

    calibration = calibrate_lac(honest(fewest - 1, 0), alpha)

    assert calibration.quantile == math.inf
    assert f"{fewest - 1} validation images; a promise of" in calibration.reason
    assert lac_sets(calibration, honest(5, 1)).all()


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.3])
def test_lac_sets_equal_mapie(alpha):
    classification = pytest.importorskip("mapie.classification")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Softmax(ClassifierMixin, BaseEstimator):
        """An estimator whose features are log-probabilities."""

        classes_ = np.arange(4)

        def fit(self, X, y):  # noqa: ARG002
            return self

        def predict_proba(self, X):
            return np.exp(X)

        def predict(self, X):
            return X.argmax(axis=1)

        def __sklearn_is_fitted__(self):
            return True

    val, test = honest(211, 0), honest(300, 1)
    theirs = classification.SplitConformalClassifier(Softmax(), confidence_level=1 - alpha, prefit=True)
    theirs.conformalize(val.log_probabilities, val.labels)

    _, sets = theirs.predict_set(test.log_probabilities)

    assert (lac_sets(calibrate_lac(val, alpha), test) == sets[:, :, 0]).all()


@pytest.mark.parametrize(("calibrate", "sets_of"), [(calibrate_lac, lac_sets), (calibrate_aps, aps_sets)])
def test_sets_hold_the_right_class_as_often_as_promised(calibrate, sets_of):
    # over calibrations and images the mean lies in [1 - alpha, 1 - alpha + 1 / (n + 1)]; APS without ties likewise
    coverages = []
    for seed in range(200):
        val, test = honest(99, seed), honest(200, 1000 + seed)
        coverages.append(set_quality(sets_of(calibrate(val, 0.1), test), test).coverage.value)

    standard_error = np.std(coverages) / math.sqrt(200)
    assert 0.9 - 3 * standard_error < np.mean(coverages) < 0.91 + 3 * standard_error


def test_aps_gathers_from_the_most_probable_class_on():
    one = probabilities([0.2, 0.5, 0.3], labels=[0])

    assert aps_scores(one)[0].tolist() == pytest.approx([1.0, 0.5, 0.8])


def test_lac_keeps_apart_what_the_softmax_saturates():
    # 1 - p is 0 in float64 for both, but their -log p differ from those of the second class
    sure = outputs(np.array([[50.0, 0.0]] * 19 + [[0.0, 50.0]]), np.array([0] * 20))

    calibration = calibrate_lac(sure, 0.05)

    assert calibration.quantile == pytest.approx(50.0)
    assert lac_sets(calibration, sure).all()


def test_empty_sets_are_counted():
    # alpha = .5 with 3 images: ceil(4 * .5) = 2nd of .9, .8, .7 in p, so only classes with p >= .8
    val = probabilities([0.9, 0.1], [0.8, 0.2], [0.7, 0.3], labels=[0, 0, 0])
    test = probabilities([0.6, 0.4], [0.85, 0.15], [0.1, 0.9], labels=[0, 0, 0])

    sets = lac_sets(calibrate_lac(val, 0.5), test)
    quality = set_quality(sets, test)

    assert sets.tolist() == [[False, False], [True, False], [False, True]]
    assert (quality.coverage.hits, quality.empty.hits, quality.single.hits) == (1, 1, 2)
    assert quality.mean_size == pytest.approx(2 / 3)


def test_the_worst_class_is_judged_by_thirty_images_where_there_are_some():
    labels = np.repeat([0, 1, 2], [40, 40, 2])
    sets = np.zeros((82, 3), bool)
    sets[:40, 0] = True
    sets[40:70, 1] = True  # 30 of 40; and none of the two of class c

    quality = set_quality(sets, outputs(np.zeros((82, 3)), labels))

    assert (quality.worst_class, quality.worst_coverage.hits, quality.worst_coverage.n) == ("b", 30, 40)
    few = set_quality(sets[-3:], outputs(np.zeros((3, 3)), labels[-3:]))
    assert (few.worst_class, few.worst_coverage.n) == ("c", 2)


def test_sets_of_no_images_promise_nothing():
    quality = set_quality(np.zeros((0, 4), bool), honest(0, 0))

    assert (quality.coverage.n, quality.worst_class) == (0, None)
    assert math.isnan(quality.mean_size)


@pytest.mark.parametrize("calibrate", [calibrate_lac, calibrate_aps])
def test_one_class_is_refused(calibrate):
    with pytest.raises(TransferkitError, match="With one class there is nothing to choose from"):
        calibrate(outputs(np.zeros((50, 1)), np.zeros(50, int)), 0.1)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 10.0])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(TransferkitError, match="expected a share of misses between 0 and 1"):
        calibrate_lac(honest(50, 0), alpha)


def test_sets_of_other_images_are_refused():
    with pytest.raises(TransferkitError, match=r"Sets have shape \(3, 4\), logits \(5, 4\)"):
        set_quality(np.zeros((3, 4), bool), honest(5, 0))
