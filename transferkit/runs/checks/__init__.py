"""The numbered checks of a run: each a function from its typed facts to what is wrong, or None."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from transferkit.runs.checks import choices, confidence, course, images, outcome, start
from transferkit.runs.checks.finding import SEVERITIES, Check, Finding
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runtime.errors import TransferkitError, did_you_mean

CHECKS: dict[str, Check] = {
    "TK001": Check("Training made it worse", "serious", outcome.worse_than_start),
    "TK002": Check("Not better than one and the same answer", "serious", outcome.not_above_commonest),
    "TK003": Check("Few test images in a class", "warning", outcome.few_test_images),
    "TK004": Check("Test set opened more than once", "serious", outcome.opened_again),
    "TK005": Check("C at the edge of its grid", "hint", choices.C_at_edge),
    "TK006": Check("Few test images", "warning", outcome.few_images_at_all),
    "TK007": Check("A class that is never found", "warning", outcome.class_never_found),
    "TK008": Check("Val and test disagree", "warning", outcome.val_and_test_differ),
    "TK009": Check("Solver not converged", "hint", choices.not_converged),
    "TK010": Check("Best epoch is the last", "hint", choices.best_epoch_is_last),
    "TK011": Check("No val images", "warning", choices.no_val, is_early=True),
    "TK012": Check("Input smaller than the images", "hint", choices.input_below_images),
    "TK013": Check("Nothing transferred", "warning", choices.nothing_transferred, is_early=True),
    "TK014": Check("Mirrored where left and right differ", "serious", choices.mirrored_sides, is_early=True),
    "TK015": Check("One seed on few images", "hint", choices.one_seed_on_few_images),
    "TK016": Check("Loss near zero while val stands still", "warning", course.memorised),
    "TK017": Check("Loss did not fall", "serious", course.never_learnt),
    "TK018": Check("Overconfident", "warning", confidence.overconfident),
    "TK019": Check("Never answers unknown", "hint", confidence.no_unknown),
    "TK020": Check("Wrong labels suspected", "warning", confidence.labels_suspected),
    "TK021": Check("Classes of very different size", "warning", images.imbalanced, is_early=True),
    "TK022": Check("Copies in train and test", "serious", images.copies, is_early=True),
    "TK023": Check("Near copies in train and test", "warning", images.near_copies, is_early=True),
    "TK024": Check("Groups in train and test", "serious", images.groups_shared, is_early=True),
    "TK025": Check("Folders that may be groups", "warning", images.folders_parted, is_early=True),
    "TK026": Check("Folders that may be the classes", "warning", images.folders_swapped, is_early=True),
    "TK027": Check("Deep images read dark", "hint", images.dark_values, is_early=True),
    "TK028": Check("A fourth band is dropped", "warning", images.bands_dropped, is_early=True),
    "TK029": Check("Classes without test or val images", "warning", images.classes_missing, is_early=True),
    "TK030": Check("Weights made for another size", "hint", start.other_size, is_early=True),
    "TK031": Check("First loss far from chance", "warning", start.first_loss_far, is_early=True),
    "TK032": Check("Mirror images lose", "warning", start.mirror_images_lose, is_early=True),
    "TK033": Check("Chosen by few val images", "warning", start.chosen_by_few),
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
