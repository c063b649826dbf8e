"""The limits of several runs side by side: on the same images, with paired differences to the first run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.metrics.bootstrap import percentile_interval
from transferkit.metrics.roc import auroc, auroc_difference
from transferkit.metrics.statistics import holm, paired_difference
from transferkit.runs import result_folders
from transferkit.runs.result_folders import LIMITS, LIMITS_COMPARISON
from transferkit.runs.run_directory import LIMITS_FOLDER, Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.studies.limits.comparison_results import (
    ComparedMeasure,
    LimitsComparison,
    MeasureDifference,
    ScatterPoint,
)
from transferkit.studies.limits.corruption_severity import CorruptionReport
from transferkit.studies.limits.leave_out import HeldOutReport
from transferkit.studies.limits.rendering import write_limits_comparison
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.settings import LimitsSettings
from transferkit.studies.limits.story import Work, asked_of, measure_limits

RESAMPLES = 2_000
ALPHA = 0.05

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class RunLimits:
    """One run's report and scores."""

    name: str
    report: LimitsReport
    scores: Arrays


def compare_limits(runs: Sequence[Run], settings: LimitsSettings, out: Path, work: Work) -> LimitsComparison:
    """Make each run's limits report where it is missing, and leave a comparison in a folder.

    Raises:
        TransferkitError: If the runs were tested on different images, or the folder holds something else.
    """
    names = distinct_names([run.path for run in runs])
    if not work.overwrite:
        require_same_settings([report_folder(run) for run in runs], settings)
    asked = {"reports": [asked_of(run, settings) for run in runs]}
    if result_folders.is_done(out, LIMITS_COMPARISON, asked, overwrite=work.overwrite, console=work.console):
        return replace(LimitsComparison.read(out), folder=str(out))
    with result_folders.claim(out, LIMITS_COMPARISON, overwrite=work.overwrite, content=asked):
        limits = []
        for name, run in zip(names, runs, strict=True):
            work.console.line(f"limits of {name}")
            folder = ensure_report(run, settings, work)
            limits.append(read_limits(name, folder))
        comparison = replace(comparison_of(limits, settings.seed), command=work.command, folder=str(out))
        result_folders.clear_results(out)
        comparison.write(out)
        write_limits_comparison(out)
        result_folders.write_asked(out, LIMITS_COMPARISON, asked)
    return comparison


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The runs' folder names, with their parents where two are the same.

    Raises:
        TransferkitError: If a run is named twice.
    """
    full = [path.resolve() for path in paths]
    if len(set(full)) < len(full):
        raise TransferkitError("A run is named twice; a comparison needs different runs.")
    names = [path.name for path in full]
    return [f"{path.parent.name}/{path.name}" if names.count(path.name) > 1 else path.name for path in full]


def report_folder(run: Run) -> Path:
    """Where a run's own limits report lies."""
    return run.path / LIMITS_FOLDER


def require_same_settings(folders: Sequence[Path], settings: LimitsSettings) -> None:
    """Refuse reports that were made with other settings, all at once and before any work.

    Raises:
        TransferkitError: Names their folders.
    """
    others = [folder for folder in folders if is_made(folder) and not is_made_with(folder, settings)]
    if others:
        named = ", ".join(map(str, others))
        raise TransferkitError(
            f"Made with other settings: {named}. Replace with --overwrite (the stored outputs are reused), or give the "
            "settings that were used there."
        )


def is_made(folder: Path) -> bool:
    """Whether there is a finished report."""
    return (folder / LIMITS.result).exists()


def is_made_with(folder: Path, settings: LimitsSettings) -> bool:
    """Whether the report in the folder has these settings."""
    return LimitsReport.read(folder).settings == settings


def ensure_report(run: Run, settings: LimitsSettings, work: Work) -> Path:
    """The folder of a run's report: as it is where there is one that need not be replaced, else made now."""
    folder = report_folder(run)
    if is_made(folder) and not work.overwrite:
        return folder
    measure_limits(run, settings, folder, work)
    return folder


def read_limits(name: str, folder: Path) -> RunLimits:
    """A stored report with its scores."""
    with np.load(folder / "scores.npz", allow_pickle=False) as arrays:
        return RunLimits(name, LimitsReport.read(folder), dict(arrays))


def comparison_of(limits: Sequence[RunLimits], seed: int) -> LimitsComparison:
    """One row per measure, differences to the first run, adjusted together by Holm.

    Raises:
        TransferkitError: If there are fewer than two runs, or their test images differ.
    """
    if len(limits) < 2:
        raise TransferkitError("A comparison needs at least two runs.")
    require_same("test", limits)
    rows = adjusted([row for row in measures(limits, seed) if row is not None])
    names = tuple(run.name for run in limits)
    return LimitsComparison(names, rows, tuple(verdict(rows, names)), methods(limits), tuple(scatter(limits)))


def adjusted(rows: Sequence[ComparedMeasure]) -> tuple[ComparedMeasure, ...]:
    """The rows, their differences adjusted together by Holm."""
    p_values = iter(holm([difference.p for row in rows for difference in row.differences if difference]))

    def tested(difference: MeasureDifference) -> MeasureDifference:
        p = float(next(p_values))
        return replace(difference, p_holm=p, shown=p < ALPHA)

    return tuple(
        replace(row, differences=tuple(difference and tested(difference) for difference in row.differences))
        for row in rows
    )


def scatter(limits: Sequence[RunLimits]) -> Iterator[ScatterPoint]:
    """Accuracy on other and on corrupted images over that on own ones, per run: effective robustness, drawn."""
    for run in limits:
        for row in run.report.shift:
            yield ScatterPoint(row.name, run.name, row.own.value, row.accuracy.value)
        corruptions = run.report.corruptions
        if isinstance(corruptions, CorruptionReport):
            yield ScatterPoint("corrupted images", run.name, corruptions.clean.value, corruptions.mca)


def methods(limits: Sequence[RunLimits]) -> tuple[str, ...]:
    """What each run is."""
    return tuple(f"{run.report.contract.backbone}, {run.report.contract.method}" for run in limits)


def require_same(part: str, limits: Sequence[RunLimits]) -> None:
    """Refuse runs whose images of one part differ.

    Raises:
        TransferkitError: Names the two.
    """
    first = limits[0]
    for other in limits[1:]:
        if not np.array_equal(first.scores[f"{part}.ids"], other.scores[f"{part}.ids"]):
            raise TransferkitError(
                f"{first.name} and {other.name} were tested on different images ({part}), so their limits cannot be "
                "compared. Make both runs with the same --data and split seed."
            )


# ---- measures ----


def measures(limits: Sequence[RunLimits], seed: int) -> Iterator[ComparedMeasure | None]:
    """Accuracy, shifts, corruptions, unknown sets and held-out classes, where every run has them on the same images."""
    yield _accuracy("own test images", "test", limits, seed)
    for part in _common(limits, "shift: "):
        yield _accuracy(part.removeprefix("shift: "), part, limits, seed)
    if _is_common("corruptions.ids", limits):
        yield _row(
            "corrupted images",
            "accuracy",
            [run.scores["corruptions.right"] for run in limits],
            _mean_difference,
            seed,
        )
    score = limits[0].report.unknown.summary_score
    for row in limits[0].report.unknown.sets:
        yield _auroc(row.name, score, limits, seed)
    yield _held_out(limits, seed)


def _common(limits: Sequence[RunLimits], prefix: str) -> list[str]:
    names = [key.removesuffix(".ids") for key in limits[0].scores if key.startswith(prefix) and key.endswith(".ids")]
    return [name for name in names if _is_common(f"{name}.ids", limits)]


def _is_common(key: str, limits: Sequence[RunLimits]) -> bool:
    if any(key not in run.scores for run in limits):
        return False
    return all(np.array_equal(limits[0].scores[key], run.scores[key]) for run in limits)


def _accuracy(name: str, part: str, limits: Sequence[RunLimits], seed: int) -> ComparedMeasure:
    right = [run.scores[f"{part}.prediction"] == run.scores[f"{part}.label"] for run in limits]
    groups = limits[0].scores.get(f"{part}.groups")
    difference = partial(_accuracy_difference, groups=None if groups is None else tuple(groups.tolist()))
    return _row(name, "accuracy", right, difference, seed)


def _auroc(name: str, score: str, limits: Sequence[RunLimits], seed: int) -> ComparedMeasure | None:
    if not _is_common(f"{name}.ids", limits) or any(f"{name}.{score}" not in run.scores for run in limits):
        return None
    pairs = [(run.scores[f"test.{score}"], run.scores[f"{name}.{score}"]) for run in limits]
    values = tuple(value for pair in pairs if (value := auroc(*pair).value) is not None)
    if len(values) < len(pairs):
        return None
    differences = (None, *(_auroc_difference(pair, pairs[0], seed) for pair in pairs[1:]))
    return ComparedMeasure(name, f"AUROC, {score}", len(pairs[0][1]), values, differences)


def _held_out(limits: Sequence[RunLimits], seed: int) -> ComparedMeasure | None:
    reports = [held_out for run in limits if isinstance(held_out := run.report.leave_out, HeldOutReport)]
    if len(reports) < len(limits) or len({held_out.score for held_out in reports}) > 1:
        return None
    score = reports[0].score
    by_class = [{row.held_out: row.scores[score].auroc for row in held_out.rows} for held_out in reports]
    if any(set(aurocs) != set(by_class[0]) for aurocs in by_class):
        return None
    values = [np.array([aurocs[key] for key in sorted(by_class[0])]) for aurocs in by_class]
    return _row("held-out classes", f"AUROC, {score}", values, _mean_difference, seed)


def _row(
    name: str, unit: str, values: Sequence[Any], difference: Callable[[Any, Any, int], MeasureDifference], seed: int
) -> ComparedMeasure:
    first = values[0]
    differences = (None, *(difference(value, first, seed) for value in values[1:]))
    return ComparedMeasure(name, unit, len(first), tuple(float(np.mean(value)) for value in values), differences)


def _accuracy_difference(
    run: npt.NDArray[np.bool_], first: npt.NDArray[np.bool_], _: int, groups: tuple[str, ...] | None
) -> MeasureDifference:
    paired = paired_difference(run[None], first[None], "images", groups=groups)
    return MeasureDifference(paired.difference, paired.interval.bounds, paired.p)


def _mean_difference(run: npt.NDArray[np.float64], first: npt.NDArray[np.float64], seed: int) -> MeasureDifference:
    """By resampling the images (or the held-out classes) that both runs share."""
    change = run - first
    draws = (
        np.random.default_rng(seed).multinomial(len(change), np.full(len(change), 1 / len(change)), RESAMPLES) @ change
    )
    draws = draws / len(change)
    tail = (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / (1 + RESAMPLES)
    interval = percentile_interval(draws).bounds
    return MeasureDifference(float(change.mean()), interval, min(1.0, 2 * float(tail)))


def _auroc_difference(run: Any, first: Any, seed: int) -> MeasureDifference:
    measured = auroc_difference(run[0], run[1], first[0], first[1], seed)
    return MeasureDifference(measured.difference, measured.interval.bounds, measured.p_value)


def verdict(rows: Sequence[ComparedMeasure], names: Sequence[str]) -> list[str]:
    """One sentence per run: where it is better and worse than the first; the last says how that was tested."""
    sentences = [_sentence(index, rows, names) for index in range(1, len(names))]
    return [
        *[f"{sentence}." for sentence in sentences[:-1]],
        f"{sentences[-1]} ({counted(len(rows), 'measure')}, Holm).",
    ]


def _sentence(index: int, rows: Sequence[ComparedMeasure], names: Sequence[str]) -> str:
    changes = [(row.name, change.difference) for row in rows if (change := row.differences[index]) and change.shown]
    better = [name for name, difference in changes if difference > 0]
    worse = [name for name, difference in changes if difference < 0]
    run, first = f"the run {names[index]}", f"the run {names[0]}"
    if not changes:
        return f"No difference was shown between {run} and {first}"
    parts = [f"better than {first} on {', '.join(better)}"] if better else []
    parts += (
        [f"worse than {first} on {', '.join(worse)}" if not better else f"worse on {', '.join(worse)}"] if worse else []
    )
    return f"T{run[1:]} is {' and '.join(parts)}"
