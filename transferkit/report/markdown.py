"""The same facts as Markdown, and the confusion matrix as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from transferkit.metrics.history import History
from transferkit.metrics.results import Scores
from transferkit.metrics.statistics import Bounds
from transferkit.report import confidence_words, layers, sentences
from transferkit.report import number_words as words
from transferkit.report.content import Content
from transferkit.report.headline import explanation, headline
from transferkit.report.page import done, environment
from transferkit.runs.checks.next_steps import FROM_FINDINGS
from transferkit.runs.facts import GroupFacts

FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # with these a spreadsheet takes a cell for a formula (OWASP)


def markdown(content: Content) -> str:
    """The report as Markdown."""
    parts = [f"# {escaped(headline(content))}", escaped(" ".join(explanation(content)))]
    if content.scores:
        parts += ["## What next", _next_steps(content), *_scores(content, content.scores)]
    if layers.rows_of(content):
        lines = [*layers.sentences(content), *layers.caveats(content)]
        parts += ["## Layers", table(*layers.markdown_rows(content)), "\n".join(f"- {escaped(line)}" for line in lines)]
    if counts := sentences.neighbours_in_words(content):
        parts += ["## Number of neighbours", "\n".join(f"- {escaped(line)}" for line in counts)]
    parts += ["## What was done", code_block(sentences.command(content)), _bullets(done(content))]
    notes = [sentences.openings(content), *(content.facts.notes if content.facts else ()), *content.missing.values()]
    parts += ["## Notes", "\n".join(f"- {escaped(note)}" for note in notes)]
    if content.history:
        parts += ["## Training", _history(content.history)]
    if content.facts and content.facts.parameter_groups:
        parts += ["## Parameter groups", _groups(content.facts.parameter_groups)]
    parts += ["## Published figures", _published(content)]
    if content.environment:
        parts += ["## Environment", _bullets(environment(content.environment))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _next_steps(content: Content) -> str:
    steps = [(step.code, step.words, inline_code(step.command) or _link(step.page)) for step in content.next_steps]
    steps += [(row.code, row.sentence, inline_code(row.command)) for row in content.findings[FROM_FINDINGS:]]
    lines = [f"- {f'{code} ' if code else ''}{escaped(text)} {typed}" for code, text, typed in steps]
    lines += [f"- Muted by the recipe: {', '.join(content.muted)}."] if content.muted else []
    return "\n".join(line.rstrip() for line in lines)


def _link(page: str) -> str:
    return f"[{page}]({page})" if page else ""


def _scores(content: Content, scores: Scores) -> list[str]:
    val = content.evaluation.val if content.evaluation else None
    rows = [["test accuracy", words.percent(scores.accuracy), words.percent_interval(scores.interval), scores.n]]
    rows.append(["macro recall", words.percent(scores.macro_recall), "", scores.n])
    if val:
        rows.append(["val accuracy", words.percent(val.accuracy), words.percent_interval(val.interval), val.n])
    classes = [
        [
            row.name,
            row.n,
            *(_with_interval(*share) for share in row.shares),
            f"{row.top_confusion.name} ({row.top_confusion.n})" if row.top_confusion else "–",
        ]
        for row in scores.per_class
    ]
    header = ["class", "n", "recall, %", "precision, %", "F1, %", "most often mistaken for"]
    pairs = "\n".join(f"{rank}. {escaped(text)}" for rank, text in enumerate(sentences.confusions_in_words(scores), 1))
    mistakes = [
        [row.id, row.true, row.predicted, words.percent(row.confidence)] for row in scores.most_confident_mistakes
    ]
    return [
        table(["", "value", "95 % interval", "n"], rows),
        *(["## Most confused pairs", pairs] if pairs else []),
        "## Per class",
        table(header, classes),
        *(
            [
                "## Most confident mistakes",
                table(["image", "true", "predicted", f"confidence, {confidence_words.WITHOUT_T}"], mistakes),
            ]
            * bool(mistakes)
        ),
        "## Calibration",
        escaped(confidence_words.verdict_sentence(scores)),
        table(
            ["", confidence_words.WITHOUT_T, confidence_words.AS_PREDICTED, ""],
            confidence_words.calibration_table(scores.calibration),
        ),
        escaped(confidence_words.temperature_words(scores.calibration, sentences.val_images(content))),
        "## Answering only when sure",
        _bullets([*confidence_words.selective(scores.selective), *confidence_words.guarantees(scores.selective)]),
    ]


def _with_interval(share: float | None, interval: Bounds | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} ({words.percent_interval(interval)})"


def _history(history: History) -> str:
    keys = ("epoch", "step", "loss", "val_accuracy", "val_loss", "lr", "gradient_norm", "images_per_second", "seconds")
    shown = [key for key in keys if any(getattr(epoch, key) is not None for epoch in history)]
    values = ([getattr(epoch, key) for key in shown] for epoch in history)
    rows = [["–" if value is None else f"{value:.4g}" for value in row] for row in values]
    return table([key.replace("_", " ") for key in shown], rows)


def _groups(groups: Sequence[GroupFacts]) -> str:
    keys = ("stage", "parameters", "trainable", "first_lr", "lr", "weight_decay", "batchnorm")
    values = ([getattr(group, key) for key in keys] for group in groups)
    rows = [["–" if value is None else value for value in row] for row in values]
    return table(["stage", "parameters", "trainable", "lr of its first layer", "lr", "weight decay", "batchnorm"], rows)


def _published(content: Content) -> str:
    figures = content.published
    return escaped(figures if isinstance(figures, str) else f"Published: {figures.range} % ({figures.source}).")


def _bullets(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {escaped(name)}: {escaped(text)}" for name, text in pairs)


def code_block(command: str) -> str:
    """A block with a fence longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", command)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{command}\n{fence}"


def inline_code(command: str) -> str:
    """A command within a line; empty for none."""
    if not command:
        return ""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", command)), default=0))
    return f"{fence} {command} {fence}" if len(fence) > 1 else f"`{command}`"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table of escaped cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(escaped(str(cell)) for cell in line) + " |" for line in lines)


def escaped(text: str) -> str:
    r"""The text without meaning for Markdown or HTML.

    Example:
        >>> escaped("a|b <script> *c*")
        'a\\|b &lt;script&gt; \\*c\\*'
    """
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", one_line)


def confusion_csv(content: Content) -> str:
    """The counts with a header of predicted classes and a first column of true ones."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [plain_cell(name) for name in content.class_names]
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, content.confusion.tolist(), strict=True))
    return file.getvalue()


def plain_cell(name: str) -> str:
    """The name, behind an apostrophe where a spreadsheet would take it for a formula.

    Example:
        >>> plain_cell("=1+1"), plain_cell("cat")
        ("'=1+1", 'cat')
    """
    return f"'{name}" if name.startswith(FORMULA_SIGNS) else name
