"""The verdict of a run in sentences: first what went wrong, with what to try, then the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.metrics.results import ClassResult, Commonest, Scores, SinceStart
from transferkit.report.content import Content
from transferkit.report.number_words import percent


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
    result = f"{content.subject} gets {percent(scores.accuracy)} of {scores.n:,} test images right"
    return [
        *_lost(content),
        f"{result}, {_no_better(content, rival)}" if rival else f"{result}.",
        f"The 95 % interval goes from {100 * low:.1f} to {percent(high)}{_of_groups(scores)}.",
        *_way(content),
        *_classes(scores, tells_guessing=not rival),
    ]


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
    method = content.recipe.get("method") or {}
    if rival.only_model > rival.only_answer:
        yield "more test images, which may show it"
    if method and content.method.keeps_body:
        yield "another backbone (transferkit rank)"
    elif method.get("epochs"):
        yield f"--epochs {3 * method['epochs']}"
    yield f"a look at the labels (transferkit labels {content.name})"


# ---- against its own start ----


def _settled(content: Content) -> dict[str, Any]:
    """The keys that the recipe left open, as the start decided."""
    rates = content.facts.rates if content.facts else None
    return asdict(rates) if rates else {}


def _since_start(content: Content) -> SinceStart | None:
    return content.evaluation.since_start if content.evaluation else None


def _lost(content: Content) -> Iterator[str]:
    """A sentence where training did not pay: worse on val than its start, or the start was kept."""
    known = _since_start(content)
    method = (content.recipe.get("method") or {}) | _settled(content)
    if not known or not content.method.trains_by_steps:
        return
    name = content.method.fit_name
    start, end, images = known.start, known.end, f"{known.n:,} val images"
    cures = f"try {_joined(list(_cures_of_loss(method, known)))}"
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


def _cures_of_loss(method: Mapping[str, Any], known: SinceStart) -> Iterator[str]:
    best = known.best
    if method.get("keep") == "last" and not method.get("patience") and known.n >= FEWEST_TO_CHOOSE:
        epoch = f"epoch {best.epoch}" if best.epoch else "its start"
        yield f"--keep best ({percent(best.accuracy)}, {epoch})"
    if method.get("lr"):
        yield " ".join(_gentler(method))
    if method.get("head") == "probe":
        yield "transferkit probe, which is its start"


def _gentler(method: Mapping[str, Any]) -> Iterator[str]:
    """Options for smaller steps from the start, together: frozen statistics at the old rate can diverge."""
    yield f"--lr {method['lr'] / 3:.1g}"
    if method.get("batchnorm") == "train":
        yield "--batchnorm eval"
    if not method.get("clip_norm"):
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
    method = content.recipe.get("method") or {}
    return method.get("keep") == "best" or bool(method.get("patience"))


def _joined(options: list[str]) -> str:
    """Options as a list in words.

    Example:
        >>> _joined(["--lr 0.01", "--keep best", "more images"])
        '--lr 0.01, --keep best or more images'
    """
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"
