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
from transferkit.metrics.thresholds import fpr95_id, threshold_at
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits import published
from transferkit.studies.limits.contamination import Contamination, contamination_of
from transferkit.studies.limits.image_sets import ImageSet
from transferkit.studies.limits.shares import as_dict, bounds, share_of
from transferkit.studies.limits.subject import LimitsSubject, rows

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


def fit_detectors(subject: LimitsSubject, names: Sequence[str] = ood.DEFAULTS) -> Detectors:
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
class ScoredSet:
    """What is known about one set of unknown images before anything is counted."""

    name: str
    image_set: ImageSet
    outputs: Outputs
    scores: Mapping[str, Floats]
    native_scores: Mapping[str, Floats] | None
    contamination: Contamination


def score_set(image_set: ImageSet, subject: LimitsSubject, detectors: Detectors) -> ScoredSet:
    """What the network and the detectors say about a set, at the run's size and in its own."""
    name, outputs = image_set.name, subject.store.outputs(image_set.images, image_set.name)
    native = None
    if image_set.native is not None and len(image_set.native):
        native = detectors.of(subject.store.outputs(image_set.native, f"{name}, own size"), name)
    contamination = contamination_of(image_set, outputs, subject)
    return ScoredSet(name, image_set, outputs, detectors.of(outputs, name), native, contamination)


def thresholds_of(val_scores: Mapping[str, Floats]) -> dict[str, float | None]:
    """The threshold of every detector that accepts 95 % of val."""
    return {name: threshold_at(scores) for name, scores in val_scores.items()}


def unknown_report(
    scored_sets: Sequence[ScoredSet],
    subject: LimitsSubject,
    detectors: Detectors,
    own: Mapping[str, Mapping[str, Floats]],
) -> dict[str, Any]:
    """All sets of unknown images with every score, and the means over near and far ones."""
    names = list(detectors.scores)
    sets = [unknown_set_report(scored_set, subject, detectors, own) for scored_set in scored_sets]
    return {
        "scores": names,
        "summary_score": ood.summary_score(names),
        "off": dict(detectors.off),
        "notes": {name: list(score.notes) for name, score in detectors.scores.items() if score.notes},
        "sets": sets,
        "means": means(sets, names),
        "published": published.published_report([part.name for part in scored_sets], subject)
        if published.is_cifar10(subject)
        else None,
    }


def unknown_set_report(
    scored_set: ScoredSet, subject: LimitsSubject, detectors: Detectors, own: Mapping[str, Mapping[str, Floats]]
) -> dict[str, Any]:
    """Everything about one set of unknown images.

    Args:
        scored_set: The set.
        subject: The run under test.
        detectors: Fitted.
        own: Scores of the run's `val` and `test` images by detector.
    """
    low_level, statistic = low_level_auroc(subject.images["test"], scored_set.image_set.images)
    table = {name: score_row(own["val"][name], own["test"][name], scored_set.scores[name]) for name in detectors.scores}
    native = {name: native_auroc(own["test"][name], scored_set.native_scores, name) for name in detectors.scores}
    accepted, scores = accepted_of(subject, scored_set.outputs)
    return {
        "name": scored_set.name,
        "source": scored_set.image_set.source,
        "n": len(scored_set.image_set),
        "classes": len(scored_set.image_set.images.class_names),
        "native_px": scored_set.image_set.native_px,
        "n_native": len(scored_set.image_set.native) if scored_set.image_set.native is not None else 0,
        "notes": list(scored_set.image_set.notes),
        "near": is_near(own["val"], scored_set.scores),
        "scores": {name: {**row, "auroc_native": native[name]} for name, row in table.items()},
        "accepted": share_of(accepted) if subject.limits.percentiles else None,
        "confidence": float(scored_set.outputs.confidences.mean()),
        "low_level": {"auroc": low_level, "statistic": statistic},
        "overlap": {**scored_set.contamination.facts, "without": without_suspects(scored_set, detectors, own)},
        "calls": calls(scored_set.image_set.images, scored_set.outputs, accepted),
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


def accepted_of(subject: LimitsSubject, outputs: Outputs) -> tuple[Bools, Floats]:
    """Which images the shipped threshold accepts, and their shipped scores; all where there is no threshold."""
    scores = subject.limits.scores(outputs)
    return accepted_scores(subject, scores), scores


def accepted_scores(subject: LimitsSubject, scores: Floats) -> Bools:
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
    scored_set: ScoredSet, detectors: Detectors, own: Mapping[str, Mapping[str, Floats]]
) -> dict[str, Any] | None:
    """The table again without the images that may show known classes; None where there are none, or no others."""
    suspects = scored_set.contamination.suspects
    if not suspects.any() or suspects.all():
        return None
    table = {
        name: score_row(own["val"][name], own["test"][name], scored_set.scores[name][~suspects])
        for name in detectors.scores
    }
    return {"n": int((~suspects).sum()), "scores": table}


# ---- what are they called? ----


def calls(images: Images, outputs: Outputs, accepted: Bools) -> dict[str, Any]:
    """What each unknown class is called where it is accepted, and the largest flows in words."""
    counts = np.bincount(images.require_labels(), minlength=len(images.class_names))
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
    member = images.require_labels() == label
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


def histogram(subject: LimitsSubject, unknown: Floats) -> dict[str, Any]:
    """The shipped score of right, wrong and unknown images in common bins, as shares."""
    scores = subject.limits.scores(subject.test)
    right = subject.test.is_right
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
