"""What to do next: two to four sentences, each with what to type for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transferkit.runs.checks.finding import Finding
from transferkit.runs.checks.subject import CheckedRun

FROM_FINDINGS = 3  # at most; the others are listed below
FEWEST = 2  # where checks find nothing, these are the usual ways on


@dataclass(frozen=True)
class NextStep:
    """One sentence of the box.

    Attributes:
        code: Of the check it comes from; empty for the usual ways on.
        words: A sentence.
        command: What to type; empty where a command cannot do it.
        page: What to read instead, from the run's folder; empty for none.
    """

    code: str
    words: str
    command: str
    page: str = ""


def next_steps(run: CheckedRun, findings: Sequence[Finding]) -> tuple[NextStep, ...]:
    """From the most serious findings, and at least two steps in all."""
    steps = [NextStep(finding.code, finding.sentence, finding.command) for finding in findings[:FROM_FINDINGS]]
    usual = (
        _limits_step(run),
        NextStep("", "Use it on your own pictures.", f"{run.ask('predict')} PHOTOS"),
    )
    return (*steps, *usual[: max(1, FEWEST - len(steps))])


def _limits_step(run: CheckedRun) -> NextStep:
    if run.limits_page:
        return NextStep("", "Read where not to trust it: what its limits report found.", "", run.limits_page)
    return NextStep("", "See where not to trust it: unknown classes, corruptions, confidence.", run.ask("limits"))
