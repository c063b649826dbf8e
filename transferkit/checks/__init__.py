"""The numbered checks of a run: each a function from its typed facts to what is wrong, or None."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from transferkit.checks import choices, outcome
from transferkit.checks.finding import SEVERITIES, Check, Finding
from transferkit.checks.subject import CheckedRun
from transferkit.runtime.errors import TransferkitError, did_you_mean

CHECKS: dict[str, Check] = {
    "TK001": Check("Training made it worse", "serious", outcome.worse_than_start),
    "TK002": Check("Not better than one and the same answer", "serious", outcome.not_above_commonest),
    "TK003": Check("Few test images in a class", "warning", outcome.few_test_images),
    "TK004": Check("Test set opened more than once", "serious", outcome.opened_again),
    "TK005": Check("C at the edge of its grid", "hint", choices.C_at_edge),
}


def findings(run: CheckedRun, ignored: Collection[str] = ()) -> tuple[Finding, ...]:
    """What the checks find in a run, the most serious first; those in `ignored` are not asked."""
    return _sorted(check.finding(code, run) for code, check in CHECKS.items() if code not in ignored)


def early_findings(run: CheckedRun, ignored: Collection[str] = ()) -> tuple[Finding, ...]:
    """What can be found before training, from images and recipe alone."""
    early = {code: check for code, check in CHECKS.items() if check.is_early and code not in ignored}
    return _sorted(check.finding(code, run) for code, check in early.items())


def _sorted(all_findings: Iterable[Finding | None]) -> tuple[Finding, ...]:
    existing = [finding for finding in all_findings if finding is not None]
    return tuple(sorted(existing, key=lambda finding: SEVERITIES.index(finding.severity)))


def require_codes(codes: Iterable[str]) -> None:
    """Refuse to mute checks that do not exist.

    Raises:
        TransferkitError: Names the nearest code.
    """
    for code in codes:
        if code not in CHECKS:
            raise TransferkitError(f"ignore: there is no check {code!r}. {did_you_mean(code, CHECKS)}")
