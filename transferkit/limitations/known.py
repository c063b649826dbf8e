"""What the run's own images say: what it can answer, how well, how honestly, and what abstaining would buy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from transferkit import conformal, metrics, rejection
from transferkit.evaluation import evaluate
from transferkit.limitations.shares import as_dict, share_of
from transferkit.limitations.subject import Subject
from transferkit.outputs import Outputs
from transferkit.rejection import Rejection

ACCEPTANCES = (1.0, 0.99, 0.95, 0.9, 0.8)
TARGETS = (0.05, 0.02, 0.01, 0.005)
COVERAGES = tuple(step / 20 for step in range(1, 21))  # fixed beforehand, so that choosing among them can be paid for
DELTA = 0.05  # chance that a promise about risk is wrong, over all of COVERAGES


def contract(subject: Subject) -> dict[str, Any]:
    """What was promised: network, weights, classes and images, from the run's files."""
    run, names = subject.run, subject.test.class_names
    return {
        "run": run.path.resolve().name,
        "backbone": run.recipe.backbone.name,
        "weights": run.model.get("weights", {}),
        "method": method_words(run.recipe.method.model_dump(mode="json")),
        "input_px": run.model["input"]["size"],
        "native_px": list(run.facts["data"]["size_px"]),
        "data": run.recipe.data.name,
        "limit_per_class": run.recipe.data.limit_per_class,
        "classes": list(names),
        "n": run.facts["data"]["n"],
        "n_of_class": np.bincount(subject.test.labels, minlength=len(names)).tolist(),
        "seed": run.recipe.seed,
        "made": run.facts.get("started"),
        "fingerprint": run.facts["data"]["fingerprint"],
        "model_digest": subject.store.model_digest,
        "sentence": f"It can answer only one of these {len(names)} classes; on its own it has no “none of these”.",
        "threshold": subject.limits.threshold(),
        "threshold_reason": subject.limits.reason,
        "n_thresholds": subject.limits.n,
    }


def method_words(method: dict[str, Any]) -> str:
    """How the head and the body were fitted: probe, FT, LP-FT or scratch."""
    if method["name"] == "finetune":
        return "fine-tuned from a probe (LP-FT)" if method.get("head") == "probe" else "fine-tuned (FT)"
    return {"probe": "linear probe", "scratch": "trained from scratch"}[method["name"]]


def own_test(subject: Subject) -> dict[str, Any]:
    """Accuracy and classes on the test images, the worst class, and what remains without duplicates of train."""
    scores = evaluate(subject.test, subject.val)["test"]
    known = [row for row in scores["per_class"] if row["recall"] is not None]
    worst = min(known, key=lambda row: row["recall"]) if known else None
    keys = ("n", "accuracy", "interval", "macro_recall", "per_class", "confusion")
    return {**{key: scores[key] for key in keys}, "worst": worst, "duplicates": duplicates(subject)}


def duplicates(subject: Subject) -> dict[str, Any]:
    """Test images whose very pixels are in train, and the accuracy without them."""
    learnt = {digest.tobytes() for digest in subject.images["train"].digests}
    same = np.array([digest.tobytes() in learnt for digest in subject.images["test"].digests], dtype=bool)
    right = subject.test.predictions == subject.test.labels
    kept = share_of(right[~same]) if same.any() else None
    return {"exact": int(same.sum()), "n": len(same), "accuracy_without": kept}


def calibration(subject: Subject) -> dict[str, Any]:
    """Whether confidence can be believed, raw and with the temperature that val asks for."""
    test, temperature = subject.test, subject.limits.temperature
    rows = {"raw": _calibration_row(test)}
    if temperature is not None:
        rows["with temperature"] = _calibration_row(metrics.with_temperature(test, temperature))
    found = evaluate(test, subject.val)["test"]["calibration"]
    raw = rows["raw"]
    return {
        "temperature": temperature,
        "temperature_reason": "" if temperature else f"{len(subject.val)} val images; a temperature needs 100",
        "rows": rows,
        "reliability": found["reliability"],
        "verdict": calibration_verdict(raw),
        "per_class": _class_gaps(test),
    }


def _calibration_row(outputs: Outputs) -> dict[str, Any]:
    band = metrics.ece_if_calibrated(outputs, seed=0)
    return {
        "nll": metrics.nll(outputs),
        "brier": metrics.brier(outputs),
        "ece": metrics.ece(outputs),
        "ece_if_calibrated": [band.low, band.high],
        "ece_equal_mass": metrics.ece_equal_mass(outputs),
        "overconfidence": metrics.signed_overconfidence(outputs),
        "n": len(outputs),
    }


def calibration_verdict(row: dict[str, Any]) -> str:
    """Calibrated within noise, or over- or underconfident by so many points."""
    if row["ece"] <= row["ece_if_calibrated"][1]:
        return "not distinguishable from calibrated"
    kind = "overconfident" if row["overconfidence"] > 0 else "underconfident"
    return f"{kind} by {100 * abs(row['overconfidence']):.1f} points"


def _class_gaps(test: Outputs) -> list[dict[str, Any]]:
    """Mean confidence minus accuracy among the images that were given each class."""
    rows = []
    for label, name in enumerate(test.class_names):
        given = test.predictions == label
        if given.any():
            gap = test.confidences[given].mean() - (test.labels[given] == label).mean()
            rows.append({"name": name, "n": int(given.sum()), "overconfidence": float(gap)})
    return rows


# ---- abstaining ----


def selective(val: Outputs, test: Outputs, limits: Rejection, target: float) -> dict[str, Any]:
    """What answering only familiar images gives; thresholds come from val, results from test."""
    scores, wrong = rejection.score(test), test.predictions != test.labels
    curve = evaluate(test)["test"]["selective"]
    return {
        **curve,
        "n": len(test),
        "error": share_of(wrong),
        "oracle_aurc": oracle_aurc(wrong),
        "auroc_of_errors": auroc_of_errors(scores, wrong),
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
    """The largest coverage at which the error rate is at most `target`, with 95 % confidence, learnt on val.

    Of 20 coverages fixed beforehand, those whose one-sided Clopper-Pearson bound on val, at 0.05 / 20 each, stays
    below the target hold together with 95 % confidence (Bonferroni). "None" is a legal answer.
    """
    order = np.argsort(rejection.score(val), kind="stable")
    wrong = (val.predictions != val.labels)[order]
    scores = rejection.score(val)[order]
    found = None
    for coverage in COVERAGES:
        answered = int(np.ceil(coverage * len(val) - 1e-9))
        if answered and risk_bound(int(wrong[:answered].sum()), answered, DELTA / len(COVERAGES)) <= target:
            found = coverage, float(scores[answered - 1])
    if found is None:
        needed = int(np.ceil(np.log(DELTA / len(COVERAGES)) / np.log1p(-target)))
        return {"target": target, "coverage": None, "n_val": len(val), "needs": needed}
    accepted = rejection.score(test) <= found[1]
    error = share_of((test.predictions != test.labels)[accepted])
    return {
        "target": target,
        "coverage": found[0],
        "threshold": found[1],
        "n_val": len(val),
        "accepted": share_of(accepted),
        "error": error,
    }


def risk_bound(errors: int, n: int, delta: float) -> float:
    """Upper bound of an error rate that holds with probability 1 - delta (Clopper and Pearson, one-sided)."""
    return 1.0 if errors >= n else float(stats.beta.isf(delta, errors + 1, n - errors))


def oracle_aurc(wrong: npt.NDArray[np.bool_]) -> float | None:
    """The area under the risk-coverage curve if every error were the least confident image."""
    n, errors = len(wrong), int(wrong.sum())
    if not n:
        return None
    answered = np.arange(1, n + 1)
    return float((np.maximum(0, answered - (n - errors)) / answered).mean())


def auroc_of_errors(scores: npt.NDArray[np.float64], wrong: npt.NDArray[np.bool_]) -> float | None:
    """The chance that a wrong image is more unusual than a right one, ties half; None without both kinds."""
    n, errors = len(wrong), int(wrong.sum())
    if errors in (0, n):
        return None
    ranks = stats.rankdata(scores)
    return float((ranks[wrong].sum() - errors * (errors + 1) / 2) / (errors * (n - errors)))


def conformal_rows(subject: Subject, alphas: Sequence[float] = (0.1, 0.05)) -> list[dict[str, Any]]:
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
