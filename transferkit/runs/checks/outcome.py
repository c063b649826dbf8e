"""What the numbers of the test set and of val say against the result itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.metrics.results import Commonest, SinceStart
from transferkit.recipe import TrainingSettings
from transferkit.runs.checks.finding import Observation
from transferkit.runs.checks.subject import CheckedRun
from transferkit.runs.facts import RunFacts
from transferkit.runtime.plurals import counted
from transferkit.runtime.shares import percent

FEWEST_OF_A_CLASS = 10  # test images; of nine right ones in nine, the 95 % interval of the recall begins at 70 %
NEVER_LEVEL = 0.05  # of calling any class never found that is found half as often as images are
NAMED = 3  # classes
WIDEST = 0.2  # 95 % interval of the accuracy
FEWEST_TO_COMPARE = 50  # images of either part
FAR_APART = 3.29  # standard errors; p = 0.001 on two sides


def joined(options: list[str]) -> str:
    """Options as a list in words.

    Example:
        >>> joined(["--lr 0.01", "--keep best", "more images"])
        '--lr 0.01, --keep best or more images'
    """
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"


def named(names: list[str]) -> str:
    """The first few names in quotation marks.

    Example:
        >>> named(["cat", "dog", "ship", "truck"])
        '“cat”, “dog”, “ship” and 1 more'
    """
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(f"“{name}”" for name in names[:NAMED]) + more


# ---- against its own start ----


def worse_than_start(run: CheckedRun) -> Observation | None:
    """Training ended with fewer val images right than its start had, or its start was kept as the best epoch.

    The start of a fine-tuning is a linear probe on the pretrained backbone. Both are judged on the same val images, by
    weights that have not learnt from them; McNemar's test says whether the difference is more than chance.
    """
    known, training = run.since_start, run.training
    if not known or not training:
        return None
    name, start, end, images = run.method.fit_name, known.start, known.end, counted(known.n, "val image")
    advice = f"try {joined(list(_cures_of_loss(training, run.facts, known)))}"
    if end.epoch == 0:
        observed = (
            f"{name} did not help {run.backbone}, so its start was kept: no epoch got more than "
            f"{percent(start.accuracy)} of {images} right"
        )
    elif known.is_worse:
        verb = "made {} worse" if known.is_shown else "did not help {}"
        chance = "" if known.is_shown else " (within chance)"
        observed = (
            f"{name} {verb.format(run.backbone)}: of {images}, {percent(start.accuracy)} were right at its "
            f"start and {percent(end.accuracy)} {end_words(known)}{chance}"
        )
    else:
        return None
    return Observation(observed, advice, _gentler_run(run, training))


def end_words(known: SinceStart) -> str:
    """When the end was judged: a result that has learnt from val cannot be judged on it."""
    return "at the end" if known.is_result else "before it learnt from val too"


def _gentler_run(run: CheckedRun, training: TrainingSettings) -> str:
    lr = run.facts.rates.lr if run.facts and run.facts.rates else training.lr
    return run.again(f"method.lr={lr / 3:.1g}") if lr else ""


def _cures_of_loss(training: TrainingSettings, facts: RunFacts | None, known: SinceStart) -> Iterator[str]:
    best = known.best
    if training.keep == "last" and not training.patience and known.n >= FEWEST_TO_CHOOSE:
        epoch = f"epoch {best.epoch}" if best.epoch else "its start"
        yield f"--keep best ({percent(best.accuracy)}, {epoch})"
    settled = facts.rates if facts and facts.rates else training  # what the recipe left open, the start decided
    if settled.lr:
        yield " ".join(_gentler(settled.lr, getattr(settled, "batchnorm", ""), settled.clip_norm))
    if getattr(training, "head", "") == "probe":
        yield "transferkit probe, which is its start"


def _gentler(lr: float, batchnorm: str, clip_norm: float | None) -> Iterator[str]:
    """Options for smaller steps from the start, together: frozen statistics at the old rate can diverge."""
    yield f"--lr {lr / 3:.1g}"
    if batchnorm == "train":
        yield "--batchnorm eval"
    if not clip_norm:
        yield "--clip-norm 1"


# ---- against always answering the commonest class ----


def not_above_commonest(run: CheckedRun) -> Observation | None:
    """The test accuracy is not shown to be better than always answering the commonest class of the test set.

    McNemar's test on the same test images at 5 %. With few test images a useful model may end here too: then more of
    them can show it.
    """
    rival = run.scores.commonest if run.scores else None
    if rival is None or rival.is_beaten:
        return None
    observed = f"not shown to be better than always answering “{rival.class_name}” ({percent(rival.accuracy)})"
    return Observation(observed, f"try {joined(list(_cures_of_guessing(run, rival)))}", run.ask("labels"))


def _cures_of_guessing(run: CheckedRun, rival: Commonest) -> Iterator[str]:
    training = run.training
    if rival.only_model > rival.only_answer:
        yield "more test images, which may show it"
    if run.recipe and run.method.keeps_body:
        yield "another backbone (transferkit rank)"
    elif training and training.epochs:
        yield f"--epochs {3 * training.epochs}"
    yield f"a look at the labels ({run.ask('labels')})"


# ---- what the test set can tell ----


def few_test_images(run: CheckedRun) -> Observation | None:
    """A class has fewer than 10 test images, so that its recall and its row of the confusion matrix tell little.

    Where 9 of 9 images are right, the 95 % interval of the recall still begins near 70 %.
    """
    rows = [row for row in run.scores.per_class if 0 < row.n < FEWEST_OF_A_CLASS] if run.scores else []
    if not rows:
        return None
    rows.sort(key=lambda row: row.n)
    fewest = rows[0]
    observed = (
        f"{len(rows):,} of {len(run.scores.per_class if run.scores else ()):,} classes have fewer than "
        f"{FEWEST_OF_A_CLASS} test images ({named([row.name for row in rows])}), the fewest {fewest.n:,}"
    )
    advice = "read recalls by their intervals, add test images, or test on every labelled image with --folds 5"
    return Observation(observed, advice, run.again("data.folds=5"))


# ---- how it was made ----


def opened_again(run: CheckedRun) -> Observation | None:
    """The test set of this run was opened more than once, or before the fit: what is chosen after an opening fits it.

    A run opens it once, at the end. Openings by `transferkit labels` are counted apart: nothing is chosen by them.
    """
    openings = run.facts.test_openings if run.facts else None
    if openings is None or openings <= 1:
        return None
    observed = f"the test set was opened {openings} times"
    return Observation(observed, "choose on val, and keep a new test set closed until the end", run.ask("limits"))


def few_images_at_all(run: CheckedRun) -> Observation | None:
    """The 95 % interval of the test accuracy is wider than 20 points: most comparisons with it stay undecided."""
    scores = run.scores
    if scores is None or scores.interval[1] - scores.interval[0] <= WIDEST:
        return None
    low, high = scores.interval
    observed = f"{counted(scores.n, 'test image')} leave the accuracy anywhere from {percent(low)} to {percent(high)}"
    return Observation(observed, "test on every labelled image with --folds 5", run.again("data.folds=5"))


def class_never_found(run: CheckedRun) -> Observation | None:
    """Not one of at least 10 test images of a class is answered with that class, and chance does not explain it.

    Held against a class that is found half as often as all images are: in a difficult task 10 images of such a class
    may all be missed. Its probability is (1 - accuracy / 2) to the power of its images, at 5 % over all classes (Holm's
    first step).
    """
    scores = run.scores
    if scores is None:
        return None
    level, missed = NEVER_LEVEL / len(scores.per_class), 1 - scores.accuracy / 2
    rows = [
        row for row in scores.per_class if row.n >= FEWEST_OF_A_CLASS and row.recall == 0 and missed**row.n <= level
    ]
    if not rows:
        return None
    observed = f"not one of {counted(rows[0].n, 'test image')} of {named([rows[0].name])} is found"
    observed += f", nor any of {counted(len(rows) - 1, 'other class', 'other classes')}" if len(rows) > 1 else ""
    advice = "look at its images in the confusion matrix, and whether train has enough of them under the same name"
    return Observation(observed, advice, run.ask("labels"))


def val_and_test_differ(run: CheckedRun) -> Observation | None:
    """The accuracies on val and test differ by more than chance explains (two-proportion z test, p < 0.001).

    Either the two parts come from different sources, as with a test folder of one's own, or near copies lie in train
    and val. What was chosen on val may then be the wrong choice.
    """
    val = run.evaluation.val if run.evaluation else None
    scores = run.scores
    if val is None or scores is None or min(val.n, scores.n) < FEWEST_TO_COMPARE or scores.groups:
        return None
    pooled = (val.accuracy * val.n + scores.accuracy * scores.n) / (val.n + scores.n)
    error = math.sqrt(pooled * (1 - pooled) * (1 / val.n + 1 / scores.n))
    if not error or abs(val.accuracy - scores.accuracy) / error < FAR_APART:
        return None
    observed = (
        f"{percent(val.accuracy)} of {val.n:,} val images are right and {percent(scores.accuracy)} of "
        f"{counted(scores.n, 'test image')}"
    )
    advice = "ask whether both are drawn alike, and keep what belongs together in one part with --group parent"
    return Observation(observed, advice, run.ask("labels"))
