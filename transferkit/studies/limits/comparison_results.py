"""The limits of several runs side by side, as `transferkit.limits` returns and limits-comparison.json holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferkit.metrics.statistics import Bounds
from transferkit.runtime.json_files import SCHEMAS
from transferkit.runtime.records import read_result_record, write_record

FILE = "limits-comparison.json"


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
class LimitsComparison:
    """The limits of several runs on the same images.

    Attributes:
        runs: Their names.
        rows: One per measure that all have on the same images.
        verdict: A sentence per run but the first.
        methods: What each run is.
        scatter: Effective robustness, drawn.
        folder: Where it and its page are.
    """

    runs: tuple[str, ...]
    rows: tuple[ComparedMeasure, ...]
    verdict: tuple[str, ...]
    methods: tuple[str, ...]
    scatter: tuple[ScatterPoint, ...]
    command: str = ""
    folder: str = ""
    schema: int = SCHEMAS[FILE]

    def __repr__(self) -> str:
        """The verdict, and where to read more."""
        return f"LimitsComparison: {' '.join(self.verdict)}\nReport: {self.folder}/limits-comparison.html"

    def _repr_html_(self) -> str:
        """The page, for notebooks."""
        from transferkit.report.page import framed
        from transferkit.studies.limits.comparison_page import limits_comparison_page

        return framed(limits_comparison_page(self))


def read_limits_comparison(folder: Path) -> LimitsComparison:
    """The comparison in a folder.

    Raises:
        TransferkitError: If there is none, it is damaged, or another version computed its numbers in another way.
    """
    return read_result_record(folder / FILE, LimitsComparison)


def write_comparison(folder: Path, comparison: LimitsComparison) -> None:
    """Leave a comparison in its folder as limits-comparison.json."""
    write_record(folder / FILE, comparison)
