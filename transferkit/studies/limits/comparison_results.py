"""The limits of several runs side by side, as `transferkit.limits` returns and limits-comparison.json holds them."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.metrics.statistics import Bounds
from transferkit.report.study_result import StudyResult
from transferkit.runs.result_folders import LIMITS_COMPARISON
from transferkit.runtime.json_files import SCHEMAS


@dataclass(frozen=True)
class MeasureDifference:
    """A value of one run minus that of the first, on the same images.

    Attributes:
        interval: 95 %.
        p: Of this difference alone; `p_holm` is adjusted over all measures and runs.
        shown: Whether that is below 5 %.
    """

    difference: float
    interval: Bounds
    p: float
    p_holm: float = 1.0
    shown: bool = False


@dataclass(frozen=True)
class ComparedMeasure:
    """One measure of every run.

    Attributes:
        unit: `accuracy`, or that of the number.
        n: Images, or held-out classes.
        values: By run.
        differences: By run; None for the first, with which all are compared.
    """

    name: str
    unit: str
    n: int
    values: tuple[float, ...]
    differences: tuple[MeasureDifference | None, ...]


@dataclass(frozen=True)
class ScatterPoint:
    """Accuracy of one run on one set of other images (`there`) and on its own (`here`)."""

    set: str
    run: str
    here: float
    there: float


@dataclass(frozen=True, repr=False)
class LimitsComparison(StudyResult):
    """The limits of several runs on the same images.

    Attributes:
        runs: Their names.
        rows: One per measure that all have on the same images.
        verdict: A sentence per run but the first.
        methods: What each run is.
        scatter: Effective robustness, drawn.
        folder: Where it and its page are.
    """

    KIND = LIMITS_COMPARISON

    runs: tuple[str, ...]
    rows: tuple[ComparedMeasure, ...]
    verdict: tuple[str, ...]
    methods: tuple[str, ...]
    scatter: tuple[ScatterPoint, ...]
    command: str = ""
    folder: str = ""
    schema: int = SCHEMAS[LIMITS_COMPARISON.result]

    def _headline(self) -> str:
        return f"LimitsComparison: {' '.join(self.verdict)}"

    def _notebook_page(self) -> str:
        from transferkit.studies.limits.comparison_page import limits_comparison_page

        return limits_comparison_page(self)
