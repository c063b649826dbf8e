"""What a card says, in Markdown; its reader may know nothing of transferkit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transferkit.deploy.card.front_matter import front_matter
from transferkit.deploy.card.licences import licences
from transferkit.metrics.results import ClassResult, Scores
from transferkit.metrics.statistics import Bounds
from transferkit.report import sentences
from transferkit.report.content import gather
from transferkit.report.headline import sentences_for_others
from transferkit.report.markdown import code_block, escaped, table
from transferkit.report.number_words import percent
from transferkit.runs.limits_findings import limits_summary
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted

MOST_CLASSES = 1_000  # that a card lists
NAMED = 20  # classes within a sentence
NOT_LOOKED_AT = (
    "No limits report lies with its run: how it does on unknown classes, on corrupted images and with its confidence "
    "was not looked at. To look: transferkit limits RUN"
)
UNREADABLE = (
    "The limits report of its run is damaged or of another version, so nothing of it is quoted here. To make it again: "
    "transferkit limits RUN --overwrite"
)


@dataclass(frozen=True)
class CardFiles:
    """What lies beside a card, as far as it speaks of it.

    Attributes:
        name: Of the model; a heading.
        use: How to use the files, in Markdown.
        unknown: Whether and how they tell strange images, in a sentence.
        notes: What else a reader must know of them.
    """

    name: str
    use: str
    unknown: str
    notes: Sequence[str] = ()


def card_text(run: Run, files: CardFiles) -> str:
    """The card of a finished run: no path and no command of its own, which may name what is nobody's business."""
    content = gather(run)
    parts = [
        front_matter(run, files.name),
        f"# {escaped(files.name)}",
        escaped(" ".join(sentences_for_others(content))),
        *_how_good(run.evaluation.test),
        "## Where not to trust it",
        _listed([*limits_in_words(run), files.unknown, *files.notes, *limits_found(run)]),
        "## How to use it",
        files.use,
        "## Data and licences",
        _listed(licences(run)),
        "## How it was made",
        escaped(f"With {_packages(run)}. Of its recipe, the method:"),
        code_block(run.recipe.method.to_yaml().rstrip()),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines if line)


def _how_good(scores: Scores) -> Iterator[str]:
    if not scores.n:
        return
    yield "## How good it is"
    yield (
        f"Accuracy {_share(scores.accuracy, scores.interval)} on {counted(scores.n, 'test image')}. "
        "In brackets: 95 % intervals."
    )
    rows = [
        (row.name, f"{row.n:,}", _share(row.recall, row.recall_interval), _share(row.precision, row.precision_interval))
        for row in scores.per_class[:MOST_CLASSES]
    ]
    yield table(("class", "test images", "recall", "precision"), rows)


def _share(share: float | None, interval: Bounds | None) -> str:
    if share is None:
        return "–"
    return f"{percent(share)} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else percent(share)


def limits_in_words(run: Run) -> Iterator[str]:
    """What a reader should fear, in sentences."""
    counts, names, scores = run.facts.data.n, run.model.class_names, run.evaluation.test
    yield (
        f"It knows {counted(len(names), 'class', 'classes')} and answers with one of them, whatever an image shows: "
        f"{', '.join(names[:NAMED])}{' ...' if len(names) > NAMED else ''}."
    )
    yield (
        f"It has learnt from {counted(counts.train, 'image')}, and {counts.val:,} more helped "
        "to choose settings. Nothing is "
        "known of how it does on images of other cameras, places or times than those."
    )
    if worst := _worst(scores):
        yield f"It is worst at “{worst.name}”: it finds {percent(worst.recall or 0.0)} of {worst.n:,}."
    yield from sentences.confusions_in_words(scores)[:3]
    openings = run.facts.test_openings
    if openings is not None and openings > 1:
        yield f"The test images were looked at {openings} times, so the accuracy may flatter it."


def limits_found(run: Run) -> Iterator[str]:
    """What the limits report of a run found, or that there is none."""
    try:
        summary = limits_summary(run)
    except TransferkitError:
        yield UNREADABLE
        return
    if summary is None:
        yield NOT_LOOKED_AT
        return
    for line in summary.lines:
        yield f"{line.id}: {line.text}{f' ({line.evidence})' if line.evidence else ''}"
    if summary.not_tested:
        yield f"Not tested by its limits report: {'; '.join(summary.not_tested)}."


def _worst(scores: Scores) -> ClassResult | None:
    known = [row for row in scores.per_class if row.recall is not None]
    return min(known, key=lambda row: row.recall or 0.0, default=None)


def _packages(run: Run) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.environment.packages.items())
