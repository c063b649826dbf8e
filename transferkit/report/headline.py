"""The verdict of a run in sentences: first what went wrong, with what to try, then the result."""

from __future__ import annotations

from collections.abc import Iterator

from transferkit.metrics.results import ClassResult, Scores
from transferkit.metrics.statistics import Bounds, mean_share_interval
from transferkit.report.content import Content
from transferkit.report.number_words import percent
from transferkit.runs.checks.outcome import end_words
from transferkit.runtime.plurals import counted

UNEVEN = 1.5  # times the images of the smallest test class that the largest may have before accuracy hides it


def headline(content: Content) -> str:
    """The verdict in one sentence, with n."""
    return _sentences(content)[0]


def explanation(content: Content) -> list[str]:
    """The sentences after the headline."""
    return _sentences(content)[1:]


def result_sentence(content: Content) -> str:
    """The accuracy on test with its interval and n, for people who did not make the run: without advice."""
    scores = content.scores
    if not scores:
        return headline(content)
    low, high = scores.interval
    return f"{_result(content, scores)} (95 % interval: {100 * low:.1f} to {100 * high:.1f}{_of_groups(scores)})."


def sentences_for_others(content: Content) -> list[str]:
    """What a model card says: the result first, then what else was seen, without what its maker could try."""
    scores = content.scores
    if not scores:
        return _sentences(content)
    guess, lost = content.finding("TK002"), content.finding("TK001")
    return [
        result_sentence(content),
        *([f"It is {guess.observed}."] if guess else []),
        *([f"{lost.observed}."] if lost else []),
        *_balanced(balanced_accuracy(scores)),
        *_way(content),
        *class_sentences(scores, tells_guessing=not guess),
    ]


def _result(content: Content, scores: Scores) -> str:
    return f"{content.subject} gets {percent(scores.accuracy)} of {counted(scores.n, 'test image')} right"


def _sentences(content: Content) -> list[str]:
    """What went wrong first, then the result, its interval, the way from the start, best and worst class, guessing."""
    scores = content.scores
    if not scores:
        return [
            f"{content.subject} has not been evaluated.",
            content.missing.get("evaluation", "There was no test image."),
        ]
    guess = content.finding("TK002")
    low, high = scores.interval
    balanced = balanced_accuracy(scores)
    result = _result(content, scores)
    return [
        *_lost(content),
        f"{result}, {guess.observed}: {guess.advice}." if guess else f"{result}{_and_balanced(balanced)}.",
        f"The 95 % interval goes from {100 * low:.1f} to {percent(high)}{_of_groups(scores)}.",
        *_balanced(balanced),
        *_way(content),
        *class_sentences(scores, tells_guessing=not guess),
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
    return "" if scores.groups is None else f", by {counted(scores.groups, 'whole group')}"


def class_sentences(scores: Scores, *, tells_guessing: bool) -> Iterator[str]:
    """Which class is found best and which worst, if they differ, and what guessing would give."""
    known = [row for row in scores.per_class if row.recall is not None]
    if len(known) < 2:
        return
    best, worst = max(known, key=_recall), min(known, key=_recall)
    if _recall(best) == _recall(worst):
        yield f"It finds every class equally well ({percent(best.recall)} of each)."
    else:
        yield _best_and_worst(best, worst)
    if tells_guessing:
        yield f"Always answering the commonest class would give {percent(guessing(scores))}."


def _best_and_worst(best: ClassResult, worst: ClassResult) -> str:
    return (
        f"It finds “{best.name}” best ({percent(best.recall)} of {best.n:,}) "
        f"and “{worst.name}” worst ({percent(worst.recall)} of {worst.n:,})."
    )


def _recall(row: ClassResult) -> float:
    return float(row.recall or 0.0)


def guessing(scores: Scores) -> float:
    """The accuracy of always answering the test set's commonest class."""
    return max(row.n for row in scores.per_class) / scores.n


# ---- against its own start ----


def _lost(content: Content) -> Iterator[str]:
    """A sentence where training did not pay: worse on val than its start, or the start was kept."""
    if (lost := content.finding("TK001")) is not None:
        yield f"{lost.observed}; {lost.advice}."


def _way(content: Content) -> Iterator[str]:
    """How far training has come on val, where that is not the headline."""
    known = content.evaluation.since_start if content.evaluation else None
    if not known or known.is_worse or known.end.epoch == 0:
        return
    start, end = known.start, known.end
    chosen = f" (epoch {end.epoch}, chosen on these images, so slightly optimistic)" if _keeps_best(content) else ""
    yield (
        f"Of {counted(known.n, 'val image')}, {percent(start.accuracy)} were right at its start and "
        f"{percent(end.accuracy)} {end_words(known)}{chosen}."
    )


def _keeps_best(content: Content) -> bool:
    training = content.training
    return training is not None and (training.keep == "best" or bool(training.patience))
