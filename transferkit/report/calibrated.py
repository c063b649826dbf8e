"""What the report says about confidence: calibration before and after a temperature, and what abstaining buys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transferkit.report import content as words

CLASSES_SHOWN = 10  # those whose answers keep their promise worst

Scores = Mapping[str, Any]


def calibration_words(scores: Scores) -> str:
    """Whether the calibration error differs from that of a calibrated classifier."""
    band = (scores.get("calibration") or {}).get("ece_if_calibrated")
    return _against_chance(scores["ece"], band) if band else "ECE, 15 bins"


def _against_chance(value: float, band: tuple[float, float]) -> str:
    inside = value <= band[1]
    return "not distinguishable from calibrated" if inside else f"a calibrated one stays below {words.percent(band[1])}"


def calibration_table(scores: Scores) -> list[tuple[str, str, str, str]]:
    """Rows of name, value, value with the temperature, and what it means; rows without value are left out."""
    more = scores.get("calibration") or {}

    def row(name: str, key: str, written: Callable[[float], str], note: str) -> tuple[str, str, str, str] | None:
        value, scaled = more.get(key, scores.get(key)), more.get(f"{key}_with_temperature")
        return None if value is None else (name, written(value), "–" if scaled is None else written(scaled), note)

    rows = [
        row("NLL", "nll", "{:.3f}".format, "nats; 0 is best"),
        row("Brier score", "brier", "{:.3f}".format, "0 is best, 2 worst"),
        row("ECE, 15 bins", "ece", words.percent, _note(more, "ece")),
        row("ECE, equal mass", "ece_equal_mass", words.percent, _note(more, "ece_equal_mass")),
        row("debiased RMS gap", "debiased_rms", words.percent, "0 where chance explains it"),
        row("class-wise ECE", "classwise_ece", words.percent, "mean over classes"),
        row("over-confidence", "signed_overconfidence", _points, "points, mean confidence less accuracy"),
    ]
    return [found for found in rows if found]


def _note(more: Mapping[str, Any], key: str) -> str:
    value, band = more.get(key), more.get(f"{key}_if_calibrated")
    return _against_chance(value, band) if band and value is not None else ""


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def temperature_words(scores: Scores, val_images: int | None) -> str:
    """The temperature with its interval and n, or why there is none."""
    more = scores.get("calibration") or {}
    needs = more.get("temperature_needs", 100)
    if more.get("temperature") is None:
        return f"No temperature: it needs at least {needs} val images, and there are {val_images or 0:,}."
    interval = more.get("temperature_interval")
    bounds = f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    n = f", n = {val_images:,}" if val_images else ""
    return f"Temperature T = {more['temperature']:.2f}{bounds}, fitted on val{n}; above 1 it lowers confidence."


def confidence_rows(scores: Scores) -> list[dict[str, Any]]:
    """The classes whose answers keep their promise worst, by the size of the gap."""
    rows = list((scores.get("calibration") or {}).get("by_class") or [])
    rows.sort(key=lambda row: -abs(float(row["gap"])))
    return [{**row, "gap_interval": [row["confidence"] - bound for bound in row["interval"][::-1]]} for row in rows][
        :CLASSES_SHOWN
    ]


def selective(scores: Scores) -> list[tuple[str, str]]:
    """How well confidence tells hits from mistakes, as pairs of name and words."""
    more = scores.get("selective") or {}
    told = [
        ("hits above mistakes", more.get("error_auroc"), "{:.3f} (AUROC; 0.5 is chance)"),
        ("AURC", more.get("aurc"), "{:.3g}, mean error rate over all coverages"),
        ("AUGRC", more.get("augrc"), "{:.3g}, mean share answered and wrong"),
    ]
    pairs = [(name, form.format(value)) for name, value, form in told if value is not None]
    if "error_auroc" in more and more["error_auroc"] is None:
        pairs.insert(0, ("hits above mistakes", "not defined: it needs hits and mistakes"))
    return pairs


def guarantees(scores: Scores) -> list[tuple[str, str]]:
    """For each error rate that may be promised, what has to be left unanswered."""
    points = (scores.get("selective") or {}).get("guaranteed") or []
    return [(f"errors ≤ {100 * point['target']:g} %", _guarantee(point)) for point in points]


def _guarantee(point: Mapping[str, Any]) -> str:
    if point.get("coverage") is None:
        return "none: no coverage guarantees it"
    return (
        f"answer {words.percent(point['coverage'])}, those with confidence {words.percent(point['threshold'])} or more "
        f"({point['errors']:,} errors in {point['n']:,}, bound {words.percent(point['bound'])})"
    )
