"""Sentences of a run's report that the page, the Markdown and the terminal share."""

from __future__ import annotations

import shlex

from transferkit.metrics.results import Scores
from transferkit.report.content import Content
from transferkit.report.number_words import percent, percent_interval


def command(content: Content) -> str:
    """The command that makes this run again: the one typed, or else the one that runs its stored recipe."""
    stored = f"transferkit run {shlex.quote(content.place + '/recipe.yaml')} --out ANOTHER_FOLDER"
    return (content.facts.command if content.facts else "") or stored


def openings(content: Content) -> str:
    """How often the test set was opened, and what that means."""
    facts = content.facts
    if facts is None or facts.test_openings is None:
        return "How often the test set was opened is not recorded (facts.json)."
    count, checks = facts.test_openings, facts.label_openings
    more = f" It was opened {_times(checks)} more to check its labels; nothing was chosen by it." if checks else ""
    if count == 1:
        return f"The test set was opened once.{more}"
    return f"The test set was opened {_times(count)}; choices made after an opening can make the result too good.{more}"


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def neighbours_in_words(content: Content) -> list[str]:
    """The accuracy for each number of neighbours, where neighbours answered."""
    rows = content.evaluation.neighbours if content.evaluation else None
    return [
        f"k = {row.k}: {percent(row.accuracy)} ({percent_interval(row.interval)}, n = {row.n:,})"
        f"{', the result' if row.is_result else ''}"
        for row in rows or ()
    ]


def val_images(content: Content) -> int:
    """How many val images the evaluation is about."""
    return content.evaluation.val.n if content.evaluation and content.evaluation.val else 0


def confusions_in_words(scores: Scores) -> list[str]:
    """The most confused pairs as sentences."""
    return [
        f"“{pair.true}” was predicted as “{pair.predicted}” {pair.n:,} times ({percent(pair.share)} of it)."
        for pair in scores.most_confused
    ]
