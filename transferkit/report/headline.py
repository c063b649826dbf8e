"""The verdict of a run in sentences: first what went wrong, with what to try, then the result."""

from __future__ import annotations

from collections.abc import Iterator

from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.metrics.results import ClassResult, Commonest, Scores, SinceStart
from transferkit.metrics.statistics import Bounds, mean_share_interval
from transferkit.recipe import TrainingSettings
from transferkit.report.content import Content
from transferkit.report.number_words import percent
from transferkit.runs.facts import RunFacts

UNEVEN = 1.5  # times the images of the smallest test class that the largest may have before accuracy hides it


def headline(content: Content) -> str:
    """The verdict in one sentence, with n."""
    return _sentences(content)[0]


def explanation(content: Content) -> list[str]:
    """The sentences after the headline."""
    return _sentences(content)[1:]


def _sentences(content: Content) -> list[str]:
    """What went wrong first, then the result, its interval, the way from the start, best and worst class, guessing."""
    scores = content.scores
    if not scores:
        return [
            f"{content.subject} has not been evaluated.",
            content.missing.get("evaluation", "There was no test image."),
        ]
    rival = scores.commonest if scores.commonest and not scores.commonest.is_beaten else None
    low, high = scores.interval
    balanced = balanced_accuracy(scores)
    result = f"{content.subject} gets {percent(scores.accuracy)} of {scores.n:,} test images right"
    return [
        *_lost(content),
        f"{result}, {_no_better(content, rival)}" if rival else f"{result}{_and_balanced(balanced)}.",
        f"The 95 % interval goes from {100 * low:.1f} to {percent(high)}{_of_groups(scores)}.",
        *_balanced(balanced),
        *_way(content),
        *_classes(scores, tells_guessing=not rival),
    ]


def balanced_accuracy(scores: Scores) -> tuple[float, Bounds] | None:
    """The mean recall of the classes with its interval, where test classes are so uneven that accuracy hides it."""
    rows = [row for row in scores.per_class if row.recall is not None and row.recall_interval is not None]
    sizes = [row.n for row in rows]
    if len(rows) < 2 or max(sizes) <= UNEVEN * min(sizes):
        return None
    recalls = [_recall(row) for row in rows]
    intervals = [row.recall_interval for row in rows if row.recall_interval is not None]
    return sum(recalls) / len(recalls), mean_share_interval(recalls, intervals).bounds


def _and_balanced(balanced: tuple[float, Bounds] | None) -> str:
    return "" if balanced is None else f", and {percent(balanced[0])} of a class on average (balanced accuracy)"


def _balanced(balanced: tuple[float, Bounds] | None) -> Iterator[str]:
    if balanced is not None:
        value, (low, high) = balanced
        yield (
            f"The classes are uneven: balanced accuracy, in which each counts the same, is {percent(value)} "
            f"({100 * low:.1f} to {percent(high)})."
        )


def _of_groups(scores: Scores) -> str:
    return "" if scores.groups is None else f", by {scores.groups:,} whole groups"


def _classes(scores: Scores, *, tells_guessing: bool) -> Iterator[str]:
    known = [row for row in scores.per_class if row.recall is not None]
    if len(known) < 2:
        return
    best, worst = max(known, key=_recall), min(known, key=_recall)
    yield (
        f"It finds “{best.name}” best ({percent(best.recall)} of {best.n:,}) "
        f"and “{worst.name}” worst ({percent(worst.recall)} of {worst.n:,})."
    )
    if tells_guessing:
        yield f"Always answering the commonest class would give {percent(guessing(scores))}."


def _recall(row: ClassResult) -> float:
    return float(row.recall or 0.0)


def guessing(scores: Scores) -> float:
    """The accuracy of always answering the test set's commonest class."""
    return max(row.n for row in scores.per_class) / scores.n


# ---- against always answering the commonest class ----


def _no_better(content: Content, rival: Commonest) -> str:
    """The end of the sentence about a result that is not shown to beat one and the same answer."""
    known = f"not shown to be better than always answering “{rival.class_name}” ({percent(rival.accuracy)})"
    return f"{known}: try {_joined(list(_cures_of_guessing(content, rival)))}."


def _cures_of_guessing(content: Content, rival: Commonest) -> Iterator[str]:
    training = content.training
    if rival.only_model > rival.only_answer:
        yield "more test images, which may show it"
    if content.recipe and content.method.keeps_body:
        yield "another backbone (transferkit rank)"
    elif training and training.epochs:
        yield f"--epochs {3 * training.epochs}"
    yield f"a look at the labels (transferkit labels {content.name})"


# ---- against its own start ----


def _since_start(content: Content) -> SinceStart | None:
    return content.evaluation.since_start if content.evaluation else None


def _lost(content: Content) -> Iterator[str]:
    """A sentence where training did not pay: worse on val than its start, or the start was kept."""
    known, training = _since_start(content), content.training
    if not known or not training:
        return
    name = content.method.fit_name
    start, end, images = known.start, known.end, f"{known.n:,} val images"
    cures = f"try {_joined(list(_cures_of_loss(training, content.facts, known)))}"
    if end.epoch == 0:
        yield (
            f"{name} did not help {content.backbone}, so its start was kept: no epoch got more than "
            f"{percent(start.accuracy)} of {images} right; {cures}."
        )
    elif known.is_worse:
        verb = "made {} worse" if known.is_shown else "did not help {}"
        chance = "" if known.is_shown else " (within chance)"
        yield (
            f"{name} {verb.format(content.backbone)}: of {images}, {percent(start.accuracy)} were right at its "
            f"start and {percent(end.accuracy)} {_end(known)}{chance}; {cures}."
        )


def _end(known: SinceStart) -> str:
    """When the end was judged: a result that has learnt from val cannot be judged on it."""
    return "at the end" if known.is_result else "before it learnt from val too"


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


def _way(content: Content) -> Iterator[str]:
    """How far training has come on val, where that is not the headline."""
    known = _since_start(content)
    if not known or known.is_worse or known.end.epoch == 0:
        return
    start, end = known.start, known.end
    chosen = f" (epoch {end.epoch}, chosen by them, so a little too good)" if _keeps_best(content) else ""
    yield (
        f"Of {known.n:,} val images, {percent(start.accuracy)} were right at its start and "
        f"{percent(end.accuracy)} {_end(known)}{chosen}."
    )


def _keeps_best(content: Content) -> bool:
    training = content.training
    return training is not None and (training.keep == "best" or bool(training.patience))


def _joined(options: list[str]) -> str:
    """Options as a list in words.

    Example:
        >>> _joined(["--lr 0.01", "--keep best", "more images"])
        '--lr 0.01, --keep best or more images'
    """
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"
