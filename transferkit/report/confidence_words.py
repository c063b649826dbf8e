"""What the report says about confidence: calibration before and after a temperature, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transferkit.metrics.results import Calibration, ClassCalibration, Guarantee, Scores, SelectiveResult
from transferkit.metrics.statistics import Bounds
from transferkit.report import number_words as words
from transferkit.report import sentences, svg_lines
from transferkit.report.content import Content
from transferkit.runtime.plurals import counted

CLASSES_SHOWN = 10  # those whose answers keep their promise worst
WITHOUT_T, AS_PREDICTED = "without temperature", "as predict answers"  # the two kinds of confidence, everywhere
_VERDICTS = {  # in a tile, and with its numbers
    "no images": ("", ""),
    "calibrated": (
        "within chance",
        "It cannot be told apart from a calibrated one: right {right} of the time, {says} sure on average ({n}).",
    ),
    "overconfident": (
        "too sure",
        "It is overconfident, right less often than it says: {right} against {says} on average ({n}).",
    ),
    "underconfident": (
        "not sure enough",
        "It is right more often than it says: {right} against {says} on average ({n}).",
    ),
    "mixed": (
        "here too high, there too low",
        "On average it is right about as often as it says ({right} against {says}, {n}), but not at every confidence.",
    ),
}


@dataclass(frozen=True)
class ConfidenceSection:
    """What the page says about confidence.

    Attributes:
        verdict: Of the calibration error, in a tile.
        as_predicted: The calibration error with the temperature, in the tile; empty without one.
        raw: That confidences of the page are without the temperature; empty where there is none.
        sentence: The same with its numbers.
        calibration: Rows of its table.
        temperature: In a sentence.
        gaps: The classes whose confidence is farthest from their accuracy.
        selective, guarantees: What answering only when sure would give, name and words.
        drawings: Reliability first, with their names.
    """

    verdict: str
    as_predicted: str
    raw: str
    sentence: str
    calibration: Sequence[tuple[str, str, str, str]]
    temperature: str
    gaps: Sequence[ClassCalibration]
    selective: Sequence[tuple[str, str]]
    guarantees: Sequence[tuple[str, str]]
    drawings: Sequence[svg_lines.Drawn]


def confidence_section(content: Content) -> ConfidenceSection | None:
    """What the page says about confidence; None without scores."""
    scores = content.scores
    if scores is None:
        return None
    calibration = scores.calibration
    return ConfidenceSection(
        verdict=verdict(scores),
        as_predicted=as_predicted(calibration),
        raw=raw_words(calibration.temperature),
        sentence=verdict_sentence(scores),
        calibration=calibration_table(calibration),
        temperature=temperature_words(calibration, sentences.val_images(content)),
        gaps=confidence_rows(calibration),
        selective=selective(scores.selective),
        guarantees=guarantees(scores.selective),
        drawings=svg_lines.calibration_drawings(scores),
    )


def verdict(scores: Scores) -> str:
    """Whether confidence can be believed, in a few words; empty without images."""
    return _VERDICTS[_verdict(scores)][0]


def as_predicted(calibration: Calibration) -> str:
    """The calibration error of what `predict` and `serve` answer; empty without a temperature."""
    if calibration.temperature is None or calibration.ece_with_temperature is None:
        return ""
    return f"{words.percent(calibration.ece_with_temperature)} {AS_PREDICTED}"


def raw_words(temperature: float | None) -> str:
    """Which confidences a page shows, beside those that `predict` gives; empty where they are the same."""
    if temperature is None:
        return ""
    divided = f"predict and serve divide the logits by it (T = {temperature:.2f})"
    return f"Confidences on this page are {WITHOUT_T}; {divided}."


def verdict_sentence(scores: Scores) -> str:
    """The verdict with how often the model is right, how sure it is, and n; empty without images."""
    return _VERDICTS[_verdict(scores)][1].format(
        right=words.rounded_percent(scores.accuracy),
        says=words.rounded_percent(confidence(scores)),
        n=words.sample_size(scores.n, scores.groups, " test images"),
    )


def _verdict(scores: Scores) -> str:
    """By the ECE over 15 bins against what chance gives; then by the interval of the accuracy."""
    band = scores.calibration.ece_if_calibrated
    if band is None:
        return "no images"
    if scores.calibration.ece <= band[1]:
        return "calibrated"
    low, high = scores.interval
    if confidence(scores) > high:
        return "overconfident"
    return "underconfident" if confidence(scores) < low else "mixed"


def confidence(scores: Scores) -> float:
    """Mean confidence of the answers to test images."""
    return scores.accuracy + scores.calibration.signed_overconfidence


def _by_chance(band: Bounds | None) -> str:
    return "" if band is None else f"chance alone gives up to {words.percent(band[1])}"


def calibration_table(calibration: Calibration) -> list[tuple[str, str, str, str]]:
    """Rows of name, value, value with the temperature, and what it means; rows without value are left out."""
    share, loss = words.percent, "{:.3f}".format
    with_t = calibration.signed_overconfidence_with_temperature
    rows: tuple[tuple[str, float | None, float | None, Callable[[float], str], str], ...] = (
        ("NLL", calibration.nll, calibration.nll_with_temperature, loss, "nats; 0 is best"),
        ("Brier score", calibration.brier, calibration.brier_with_temperature, loss, "0 is best, 2 worst"),
        (
            "ECE, 15 bins",
            calibration.ece,
            calibration.ece_with_temperature,
            share,
            f"the verdict goes by this; {_by_chance(calibration.ece_if_calibrated)}".rstrip("; "),
        ),
        (
            "ECE, equal mass",
            calibration.ece_equal_mass,
            calibration.ece_equal_mass_with_temperature,
            share,
            f"by bins of as many images; {_by_chance(calibration.ece_equal_mass_if_calibrated)}".rstrip("; "),
        ),
        (
            "debiased RMS gap",
            calibration.debiased_rms,
            calibration.debiased_rms_with_temperature,
            share,
            "0 where chance explains it",
        ),
        (
            "class-wise ECE",
            calibration.classwise_ece,
            calibration.classwise_ece_with_temperature,
            share,
            "mean over classes",
        ),
        (
            "over-confidence",
            calibration.signed_overconfidence,
            with_t,
            _points,
            "points, mean confidence less accuracy",
        ),
    )
    return [
        (name, written(value), "–" if scaled is None else written(scaled), note)
        for name, value, scaled, written, note in rows
        if value is not None
    ]


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def temperature_words(calibration: Calibration, val_images: int) -> str:
    """The temperature with its interval and n, or why there is none."""
    if calibration.temperature is None:
        return f"No temperature was fitted on {counted(val_images, 'val image')}."
    interval = calibration.temperature_interval
    bounds = f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    n = f", n = {val_images:,}" if val_images else ""
    fitted = f"Temperature T = {calibration.temperature:.2f}{bounds}, fitted on val{n}; above 1 it lowers confidence."
    return f"{fitted} {raw_words(calibration.temperature)}"


def confidence_rows(calibration: Calibration) -> list[ClassCalibration]:
    """The classes whose answers keep their promise worst, by the size of the gap."""
    return sorted(calibration.by_class, key=lambda row: -abs(row.gap))[:CLASSES_SHOWN]


def selective(result: SelectiveResult) -> list[tuple[str, str]]:
    """How well confidence tells hits from mistakes, as pairs of name and words."""
    separation = "not defined: it needs correct and wrong answers"
    if result.error_auroc is not None:
        separation = f"{result.error_auroc:.3f} (AUROC; 0.5 is chance)"
    return [
        ("correct answers above mistakes", separation),
        ("AURC", f"{result.aurc:.3g}, mean error rate over all coverages"),
        ("AUGRC", f"{result.augrc:.3g}, mean share answered and wrong"),
    ]


def guarantees(result: SelectiveResult) -> list[tuple[str, str]]:
    """For each error rate that may be promised, what has to be left unanswered."""
    return [(f"errors ≤ {100 * point.target:g} %", _guarantee(point)) for point in result.guaranteed]


def _guarantee(point: Guarantee) -> str:
    if point.coverage is None:
        return "none: no coverage guarantees it"
    return (
        f"answer {words.percent(point.coverage)}, those with confidence {words.percent(point.threshold)} or more "
        f"({counted(point.errors or 0, 'error')} in {point.n:,}, bound {words.percent(point.bound)})"
    )
