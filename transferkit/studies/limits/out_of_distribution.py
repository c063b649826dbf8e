"""Images of classes the model does not know: are they told apart, accepted, and what are they called?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit import ood
from transferkit.data.images import Images, Pixels
from transferkit.metrics.openood import aupr_out, fpr95_openood
from transferkit.metrics.outputs import Outputs
from transferkit.metrics.roc import auroc
from transferkit.metrics.thresholds import fpr95_id
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits.contamination import Guard
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.shares import as_dict, bounds, share_of
from transferkit.studies.limits.subject import Subject, rows

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

AUPR_PREVALENCE = 0.5
NEAR_BELOW = 95  # median percentile of the k-NN score under val
ROWS = 40  # unknown classes listed in the matrix, largest first
FLOWS = 10  # put into words
FEWEST_IN_FLOW = 5  # images of an unknown class before it is put into words
HISTOGRAM_BINS = 40
LOGIT_TWINS = ("entropy", "margin", "gen")  # with two classes these rank images exactly as msp does


@dataclass(frozen=True)
class Detectors:
    """Fitted scores, larger = more out-of-distribution, and why others are off."""

    scores: Mapping[str, ood.Score]
    off: Mapping[str, str]

    def of(self, outputs: Outputs, where: str) -> dict[str, Floats]:
        """Every score of some images.

        Raises:
            TransferkitError: If a score is not finite; they are never dropped.
        """
        found = {name: np.asarray(score(outputs), dtype=np.float64) for name, score in self.scores.items()}
        for name, values in found.items():
            require_finite(values, name, where)
        return found


def require_finite(values: Floats, name: str, where: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        TransferkitError: With their number.
    """
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise TransferkitError(
            f"The score {name} is not finite for {bad} of {len(values)} images of {where}. Nothing is dropped in "
            "silence: the outputs are damaged; run the limits again with --overwrite."
        )


def fit_detectors(subject: Subject, names: Sequence[str] = ood.DEFAULTS) -> Detectors:
    """The default detectors, fitted on train and calibrated on val alone."""
    wanted, off = list(names), {}
    if len(subject.test.class_names) == 2:
        off = {name: "with two classes it ranks images exactly as msp does" for name in names if name in LOGIT_TWINS}
        wanted = [name for name in names if name not in off]
    settings = ood.OodSettings()
    scores, reasons = ood.fit_all(wanted, subject.train, subject.val, subject.head, settings)
    return Detectors(scores, {**off, **reasons})


# ---- sets from outside ----


@dataclass(frozen=True)
class Told:
    """What is known about one set of unknown images before anything is counted."""

    name: str
    found: ImageSet
    outputs: Outputs
    scores: Mapping[str, Floats]
    native_scores: Mapping[str, Floats] | None
    guard: Guard


def external(
    told: Told, subject: Subject, detectors: Detectors, own: Mapping[str, Mapping[str, Floats]]
) -> dict[str, Any]:
    """Everything about one set of unknown images.

    Args:
        told: The set.
        subject: The run under test.
        detectors: Fitted.
        own: Scores of the run's `val` and `test` images by detector.
    """
    low_level, statistic = low_level_auroc(subject.images["test"], told.found.images)
    table = {name: score_row(own["val"][name], own["test"][name], told.scores[name]) for name in detectors.scores}
    native = {name: native_auroc(own["test"][name], told.native_scores, name) for name in detectors.scores}
    accepted, scores = accepted_of(subject, told.outputs)
    return {
        "name": told.name,
        "source": told.found.source,
        "n": len(told.found),
        "classes": len(told.found.images.class_names),
        "native_px": told.found.native_px,
        "n_native": len(told.found.native) if told.found.native is not None else 0,
        "notes": list(told.found.notes),
        "near": is_near(own["val"], told.scores),
        "scores": {name: {**row, "auroc_native": native[name]} for name, row in table.items()},
        "accepted": share_of(accepted) if subject.limits.percentiles else None,
        "confidence": float(told.outputs.confidences.mean()),
        "low_level": {"auroc": low_level, "statistic": statistic},
        "overlap": {**told.guard.facts, "without": without_suspects(told, detectors, own)},
        "calls": calls(told.found.images, told.outputs, accepted),
        "histogram": histogram(subject, scores),
    }


def score_row(val: Floats, test: Floats, unknown: Floats) -> dict[str, Any]:
    """AUROC, the share of unknown images accepted at val's 95 %, and the literature's FPR95, with intervals."""
    told, fpr = auroc(test, unknown), fpr95_id(val, test, unknown)
    openood = fpr95_openood(test, unknown, resamples=0)
    return {
        "auroc": told.value,
        "auroc_interval": bounds(told.interval),
        "constant": told.constant,
        "threshold": fpr.threshold,
        "fpr95_id": fpr.ood_accepted.value if fpr.ood_accepted else None,
        "fpr95_id_interval": bounds(fpr.ood_accepted.interval) if fpr.ood_accepted else None,
        "id_accepted": as_dict(fpr.id_accepted) if fpr.id_accepted else None,
        "fpr95_openood": openood.value,
        "aupr_out": aupr_out(test, unknown, AUPR_PREVALENCE, resamples=0).value,
    }


def native_auroc(test: Floats, native: Mapping[str, Floats] | None, name: str) -> float | None:
    """The AUROC of the same images in their own size; sharper than upsampled ones, they are told apart by that."""
    return None if native is None else auroc(test, native[name]).value


def accepted_of(subject: Subject, outputs: Outputs) -> tuple[Bools, Floats]:
    """Which images the shipped threshold accepts, and their shipped scores; all where there is no threshold."""
    scores = subject.limits.scores(outputs)
    return accepted_scores(subject, scores), scores


def accepted_scores(subject: Subject, scores: Floats) -> Bools:
    """Which of these shipped scores the shipped threshold accepts; all where there is no threshold."""
    threshold = subject.limits.threshold()
    return np.ones(len(scores), dtype=bool) if threshold is None else scores <= threshold


def is_near(val: Mapping[str, Floats], scores: Mapping[str, Floats]) -> bool:
    """Whether the set is near by rule: its median k-NN score lies below the 95th percentile of val's.

    The rule needs k-NN; where that is off, the summary score stands in.
    """
    name = next(name for name in ("knn", ood.SUMMARY_SCORE, "msp") if name in scores)
    return bool(np.mean(val[name] <= np.median(scores[name])) * 100 < NEAR_BELOW)


# ---- could something simpler tell them apart? ----


def low_level_auroc(own: Images, unknown: Images) -> tuple[float, str]:
    """The best two-sided AUROC of four image statistics, and which: a detector must beat it to mean anything."""
    mine, theirs = low_level_statistics(own), low_level_statistics(unknown)
    found = {name: auroc(mine[name], theirs[name]).value for name in mine}
    aurocs = {name: 0.5 if value is None else value for name, value in found.items()}
    best = max(aurocs, key=lambda name: max(aurocs[name], 1 - aurocs[name]))
    return max(aurocs[best], 1 - aurocs[best]), best


def low_level_statistics(images: Images) -> dict[str, Floats]:
    """Brightness, contrast, sharpness and saturation of every image, from its pixels alone."""
    parts = [_statistics(chunk) for chunk in images.chunks(512)]
    names = ("brightness", "contrast", "sharpness", "saturation")
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)}


def _statistics(pixels: Pixels) -> tuple[Floats, Floats, Floats, Floats]:
    values = pixels.astype(np.float32) / 255
    grey = values.mean(axis=1)  # (B, H, W)
    inner = grey[:, 1:-1, 1:-1]
    laplacian = 4 * inner - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1] - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
    saturation = (values.max(axis=1) - values.min(axis=1)).mean(axis=(1, 2))
    found = (grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), laplacian.var(axis=(1, 2)), saturation)
    first, second, third, fourth = (part.astype(np.float64) for part in found)
    return first, second, third, fourth


# ---- without images that may show known classes ----


def without_suspects(
    told: Told, detectors: Detectors, own: Mapping[str, Mapping[str, Floats]]
) -> dict[str, Any] | None:
    """The table again without the images that may show known classes; None where there are none, or no others."""
    suspects = told.guard.suspects
    if not suspects.any() or suspects.all():
        return None
    table = {
        name: score_row(own["val"][name], own["test"][name], told.scores[name][~suspects]) for name in detectors.scores
    }
    return {"n": int((~suspects).sum()), "scores": table}


# ---- what are they called? ----


def calls(images: Images, outputs: Outputs, accepted: Bools) -> dict[str, Any]:
    """What each unknown class is called where it is accepted, and the largest flows in words."""
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    shown = np.argsort(-counts, kind="stable")[:ROWS]
    table = [_call_row(images, outputs, accepted, int(index)) for index in shown if counts[index]]
    flows = sorted((flow for row in table for flow in _flows(row)), key=lambda flow: (-flow["hits"], flow["class"]))
    called = np.bincount(outputs.predictions[accepted], minlength=len(outputs.class_names))
    return {
        "rows": table,
        "more_classes": int((counts > 0).sum()) - len(table),
        "flows": flows[:FLOWS],
        "called": {name: int(n) for name, n in zip(outputs.class_names, called, strict=True)},
    }


def _call_row(images: Images, outputs: Outputs, accepted: Bools, label: int) -> dict[str, Any]:
    member = images.labels == label
    answered = member & accepted
    counts = np.bincount(outputs.predictions[answered], minlength=len(outputs.class_names))
    confidence = [
        float(outputs.confidences[answered & (outputs.predictions == index)].mean()) if count else None
        for index, count in enumerate(counts)
    ]
    return {
        "class": images.class_names[label],
        "n": int(member.sum()),
        "accepted": int(answered.sum()),
        "called": {
            outputs.class_names[index]: {"n": int(counts[index]), "confidence": confidence[index]}
            for index in np.argsort(-counts, kind="stable")
            if counts[index]
        },
    }


def _flows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    if row["n"] < FEWEST_IN_FLOW:
        return []
    return [
        {
            "class": row["class"],
            "called": name,
            "hits": told["n"],
            "value": told["n"] / row["n"],
            "n": row["n"],
            "confidence": told["confidence"],
        }
        for name, told in row["called"].items()
    ]


def histogram(subject: Subject, unknown: Floats) -> dict[str, Any]:
    """The shipped score of right, wrong and unknown images in common bins, as shares."""
    scores = subject.limits.scores(subject.test)
    right = subject.test.predictions == subject.test.labels
    groups = {"right": scores[right], "wrong": scores[~right], "unknown": unknown}
    low, top = np.quantile(np.concatenate([scores, unknown]), (0.001, 0.999))
    edges = np.linspace(low, max(top, low + 1e-6), HISTOGRAM_BINS + 1)
    shares = {
        name: (np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(len(values), 1)).tolist()
        for name, values in groups.items()
    }
    return {"edges": edges.tolist(), "shares": shares, "threshold": subject.limits.threshold()}


def means(sets: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """The unweighted mean AUROC over near and over far sets, by score."""
    found: dict[str, Any] = {}
    for kind, near in (("near", True), ("far", False)):
        members = [row for row in sets if row["near"] is near]
        values = {
            name: [row["scores"][name]["auroc"] for row in members if row["scores"][name]["auroc"] is not None]
            for name in names
        }
        found[kind] = {"sets": [row["name"] for row in members]}
        found[kind] |= {"auroc": {name: float(np.mean(each)) if each else None for name, each in values.items()}}
    return found


def some(outputs: Outputs, limit: int, seed: int) -> Outputs:
    """At most `limit` rows, drawn at random, in their order."""
    if len(outputs) <= limit:
        return outputs
    return rows(outputs, np.sort(np.random.default_rng(seed).choice(len(outputs), limit, replace=False)))
