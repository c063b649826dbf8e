"""What `transferkit limits` found out about a run, as far as a card or a report quotes it."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.runs.result_folders import LIMITS
from transferkit.runs.run_directory import LIMITS_FOLDER, Run
from transferkit.runtime.records import read_result_record

LIMITS_PAGE = f"{LIMITS_FOLDER}/{LIMITS.page}"  # from the run's folder


@dataclass(frozen=True)
class LimitsFinding:
    """A sentence of the summary with its evidence.

    Attributes:
        id: Of its rule, S1 ... S12; OK for the sentence that no limit was found.
    """

    id: str
    text: str
    evidence: str


@dataclass(frozen=True)
class LimitsSummary:
    """What was found, the gravest first, and what was not tested."""

    lines: tuple[LimitsFinding, ...]
    not_tested: tuple[str, ...] = ()


@dataclass(frozen=True)
class _LimitsFile:
    summary: LimitsSummary


def limits_summary(run: Run) -> LimitsSummary | None:
    """The summary of the limits report in the run's folder; None where there is none.

    Raises:
        TransferkitError: If it is damaged, or another version computed its numbers in another way.
    """
    path = run.path / LIMITS_FOLDER / LIMITS.result
    return read_result_record(path, _LimitsFile).summary if path.exists() else None


def limits_page(run: Run) -> str:
    """The page of the limits report, from the run's folder; empty where there is none."""
    return LIMITS_PAGE if (run.path / LIMITS_PAGE).exists() else ""
