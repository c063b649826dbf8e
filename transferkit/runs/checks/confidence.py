"""Whether confidence can be believed, and what it says of labels."""

from __future__ import annotations

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics.distributions import poisson_upper_tail
from transferkit.metrics.temperature import with_temperature
from transferkit.metrics.thresholds import FEWEST_FOR_THRESHOLD
from transferkit.runs.checks.finding import Observation
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runtime.plurals import counted
from transferkit.runtime.shares import percent

TOO_SURE = 0.1  # mean confidence less accuracy
SURE = 0.95  # confidence, after the temperature
FEWEST_SURE_MISTAKES = 5
BY_CHANCE = 1e-6  # level of the test for wrong labels
TIMES_EXPECTED = 5.0  # mistakes among sure answers, of those that confidence leaves room for


def overconfident(run: CheckedRun) -> Observation | None:
    """Mean confidence on test is more than 10 points above the accuracy, and more than chance gives a calibrated model.

    Answers and their order stay as they are; the probabilities are overconfident. `predict` divides by the temperature
    that val asks for; few val images move it little.
    """
    scores, calibration = run.scores, run.calibration
    if scores is None or calibration is None or calibration.ece_if_calibrated is None:
        return None
    gap = calibration.signed_overconfidence
    if gap <= TOO_SURE or calibration.ece <= calibration.ece_if_calibrated[1]:
        return None
    observed = (
        f"confidence is {percent(scores.accuracy + gap)} on average, but only {percent(scores.accuracy)} of "
        f"{scores.n:,} test images are right"
    )
    left = calibration.signed_overconfidence_with_temperature
    if calibration.temperature is None or left is None or left > TOO_SURE:
        return Observation(
            observed,
            "set more val images aside, from which a better temperature can be learnt",
            run.again("data.val_fraction=0.2"),
        )
    known = calibration.ece_with_temperature
    advice = (
        f"believe the probabilities of predict, which divides by T = {calibration.temperature:.2f} (calibration error "
        f"{percent(known)})"
    )
    return Observation(observed, advice, f"{run.ask('predict')} PHOTOS")


def no_unknown(run: CheckedRun) -> Observation | None:
    """There are too few val images for a threshold, so that `predict` never answers "unknown".

    It takes 20 val images; probes and fine-tuned networks can learn it from 20 training images instead.
    """
    limits = run.model.rejection if run.model else None
    if limits is None or limits.percentiles:
        return None
    observed = (
        f"{limits.n:,} val images are too few to learn when to answer “unknown”, which takes {FEWEST_FOR_THRESHOLD}"
    )
    return Observation(observed, "set more images aside", run.again("data.val_fraction=0.2"))


def labels_suspected(run: CheckedRun) -> Observation | None:
    """Among the answers of at least 95 % confidence, after the temperature, far more are wrong than that allows.

    A model that is otherwise calibrated is this sure and wrong where the label is wrong. Counted against a Poisson
    number with the mean that the confidences give, at one in a million, and at least five times as many. A temperature
    below 1, which makes answers surer and which a hundred val images get wrong easily, is left out.
    """
    test, calibration = run.test, run.calibration
    if test is None or test.labels is None or calibration is None or not len(test):
        return None
    temperature = max(1.0, calibration.temperature or 1.0)
    scaled: Outputs = with_temperature(test, temperature)
    sure = scaled.confidences >= SURE
    wrong, expected = int((sure & ~test.is_right).sum()), float((1 - scaled.confidences[sure]).sum())
    if (
        wrong < max(FEWEST_SURE_MISTAKES, TIMES_EXPECTED * expected)
        or poisson_upper_tail(wrong - 1, max(expected, 1e-9)) > BY_CHANCE
    ):
        return None
    observed = (
        f"{wrong:,} of {counted(int(np.count_nonzero(sure)), 'test image')} answered with at least {percent(SURE)} "
        f"confidence are wrong, where {expected:.1f} would be expected"
    )
    return Observation(observed, "look for wrong labels", run.ask("labels"))
