"""What the run's own images say: what it can answer, how well, how honestly, and what abstaining would buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.metrics import conformal
from transferkit.metrics.calibration import debiased_rms_calibration_error, ece, ece_equal_mass, ece_if_calibrated
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.probabilities import brier, nll, signed_overconfidence
from transferkit.metrics.selective import COVERAGES, guaranteed_point
from transferkit.metrics.temperature import with_temperature
from transferkit.ood.rejection import Rejection
from transferkit.studies.limits.shares import as_dict, share_of
from transferkit.studies.limits.subject import LimitsSubject

Scores = Mapping[str, Any]  # the test part of evaluation.json

ACCEPTANCES = (1.0, 0.99, 0.95, 0.9, 0.8)
TARGETS = (0.05, 0.02, 0.01, 0.005)
DELTA = 0.05  # of guaranteed_point: the chance that a promise is wrong


def contract(subject: LimitsSubject) -> dict[str, Any]:
    """What was promised: network, weights, classes and images, from the run's files."""
    run, names = subject.run, subject.test.class_names
    return {
        "run": run.path.resolve().name,
        "backbone": run.recipe.backbone.name,
        "weights": run.model.get("weights", {}),
        "method": run.recipe.method.in_words,
        "input_px": run.model["input"]["size"],
        "native_px": list(run.facts["data"]["size_px"]),
        "data": run.recipe.data.name,
        "limit_per_class": run.recipe.data.limit_per_class,
        "classes": list(names),
        "n": run.facts["data"]["n"],
        "n_of_class": np.bincount(subject.test.require_labels(), minlength=len(names)).tolist(),
        "seed": run.recipe.seed,
        "made": run.facts.get("started"),
        "fingerprint": run.facts["data"]["fingerprint"],
        "model_digest": subject.store.model_digest,
        "sentence": f"It can answer only one of these {len(names)} classes; on its own it has no “none of these”.",
        "score": subject.limits.score,
        "threshold": subject.limits.threshold(),
        "threshold_reason": subject.limits.reason,
        "n_thresholds": subject.limits.n,
    }


def own_test(subject: LimitsSubject, scores: Scores) -> dict[str, Any]:
    """Accuracy and classes on the test images, the worst class, and what remains without duplicates of train."""
    known = [row for row in scores["per_class"] if row["recall"] is not None]
    worst = min(known, key=lambda row: row["recall"]) if known else None
    keys = ("n", "accuracy", "interval", "macro_recall", "per_class", "confusion")
    return {**{key: scores[key] for key in keys}, "worst": worst, "duplicates": duplicates(subject)}


def duplicates(subject: LimitsSubject) -> dict[str, Any]:
    """Test images whose very pixels are in train, and the accuracy without them."""
    same = np.array([digest.tobytes() in subject.learnt for digest in subject.images["test"].digests], dtype=bool)
    right = subject.test.is_right
    kept = share_of(right[~same]) if same.any() else None
    return {"exact": int(same.sum()), "n": len(same), "accuracy_without": kept}


def calibration(subject: LimitsSubject, scores: Scores) -> dict[str, Any]:
    """Whether confidence can be believed, raw and with the temperature that val asks for."""
    found = scores["calibration"]
    temperature = subject.limits.temperature
    rows = {"raw": _calibration_row(subject.test)}
    if temperature is not None:
        rows["with temperature"] = _calibration_row(with_temperature(subject.test, temperature))
    return {
        "temperature": temperature,
        "temperature_interval": found["temperature_interval"],
        "temperature_reason": "" if temperature else f"{len(subject.val)} val images; a temperature needs 100",
        "rows": rows,
        "reliability": found["reliability"],
        "verdict": calibration_verdict(rows["raw"]),
        "by_class": found["by_class"],
    }


def _calibration_row(outputs: Outputs) -> dict[str, Any]:
    band = ece_if_calibrated(outputs, seed=0)
    return {
        "nll": nll(outputs),
        "brier": brier(outputs),
        "ece": ece(outputs),
        "ece_if_calibrated": [band.low, band.high],
        "ece_equal_mass": ece_equal_mass(outputs),
        "debiased_rms": debiased_rms_calibration_error(outputs),
        "overconfidence": signed_overconfidence(outputs),
        "n": len(outputs),
    }


def calibration_verdict(row: dict[str, Any]) -> str:
    """Calibrated within noise, or over- or underconfident by so many points."""
    if row["ece"] <= row["ece_if_calibrated"][1]:
        return "not distinguishable from calibrated"
    kind = "overconfident" if row["overconfidence"] > 0 else "underconfident"
    return f"{kind} by {100 * abs(row['overconfidence']):.1f} points"


# ---- abstaining ----


def selective(val: Outputs, test: Outputs, limits: Rejection, target: float, evaluated: Scores) -> dict[str, Any]:
    """What answering only familiar images gives; thresholds come from val, results from test."""
    scores, wrong = limits.scores(test), ~test.is_right
    return {
        **evaluated["selective"],
        "n": len(test),
        "error": share_of(wrong),
        "oracle_aurc": oracle_aurc(wrong),
        "acceptances": [_acceptance_row(limits, acceptance, scores, wrong) for acceptance in ACCEPTANCES],
        "targets": [promise(val, test, goal) for goal in dict.fromkeys((*TARGETS, target))],
        "promise": promise(val, test, target),
    }


def _acceptance_row(
    limits: Rejection, acceptance: float, scores: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    threshold = np.inf if acceptance == 1 else limits.threshold(acceptance)
    if threshold is None:
        return {"asked": acceptance, "threshold": None, "reason": limits.reason}
    accepted = scores <= threshold
    shown = None if acceptance == 1 else threshold
    return {
        "asked": acceptance,
        "threshold": shown,
        "accepted": share_of(accepted),
        "error": share_of(wrong[accepted]),
    }


def promise(val: Outputs, test: Outputs, target: float) -> dict[str, Any]:
    """The largest coverage at which val guarantees an error rate of at most `target`, and what test then shows.

    "None" is a legal answer; then it is said how many val images it takes without any error.
    """
    point = guaranteed_point(val, target)
    if point is None:
        needed = int(np.ceil(np.log(DELTA / COVERAGES) / np.log1p(-target)))
        return {"target": target, "coverage": None, "n_val": len(val), "needs": needed}
    accepted = test.confidences >= point.threshold
    return {
        "target": target,
        "coverage": point.coverage,
        "threshold": point.threshold,
        "n_val": len(val),
        "accepted": share_of(accepted),
        "error": share_of((~test.is_right)[accepted]),
    }


def oracle_aurc(wrong: npt.NDArray[np.bool_]) -> float | None:
    """The area under the risk-coverage curve if every error were the least confident image."""
    n, errors = len(wrong), int(wrong.sum())
    if not n:
        return None
    answered = np.arange(1, n + 1)
    return float((np.maximum(0, answered - (n - errors)) / answered).mean())


def conformal_rows(subject: LimitsSubject, alphas: Sequence[float] = (0.1, 0.05)) -> list[dict[str, Any]]:
    """Candidate sets that hold the true class for 1 - alpha of the images, learnt on val, counted on test."""
    return [_conformal(subject.val, subject.test, alpha) for alpha in alphas]


def _conformal(val: Outputs, test: Outputs, alpha: float) -> dict[str, Any]:
    calibration = conformal.calibrate_lac(val, alpha)
    if calibration.reason:
        return {"alpha": alpha, "n_val": calibration.n, "reason": calibration.reason}
    found = conformal.set_quality(conformal.lac_sets(calibration, test), test)
    worst = found.worst_coverage
    return {
        "alpha": alpha,
        "n_val": calibration.n,
        "coverage": as_dict(found.coverage),
        "mean_size": found.mean_size,
        "empty": as_dict(found.empty),
        "single": as_dict(found.single),
        "worst_class": {"name": found.worst_class, "coverage": worst.value if worst else None},
    }
