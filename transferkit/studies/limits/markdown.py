"""The limits report as Markdown: the summary, the sets, and where the rest is."""

from __future__ import annotations

from collections.abc import Sequence

from transferkit.report.markdown import code_block, escaped, table
from transferkit.report.number_words import percent, percent_interval
from transferkit.studies.limits.candidate_sets import ALPHA, SetsElsewhere
from transferkit.studies.limits.corruption_severity import CorruptionReport
from transferkit.studies.limits.error_slices import in_words
from transferkit.studies.limits.page import limits_headline, name_in_words, number, slice_rows
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.shares import NotMeasured, Share


def limits_markdown(report: LimitsReport) -> str:
    """The report as Markdown."""
    lines = [f"{line.id}. {line.text} ({line.evidence})" for line in report.summary.lines]
    parts = [f"# {escaped(limits_headline(report))}", escaped(report.contract.sentence)]
    parts += ["## Summary", _bullets(lines), "## Not tested", _bullets(report.summary.not_tested)]
    parts += [*_unknown(report), *_held_out(report), *_corruptions(report), *_shift(report), *_nonsense(report)]
    parts += [*_slices(report), *_open_world(report), *_rules(report)]
    parts += ["## How it was made", code_block(report.command)] if report.command else []
    parts += ["## Notes", _bullets(report.notes)]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _share(share: Share | None) -> str:
    return "–" if share is None else f"{percent(share.value)} ({percent_interval(share.interval)})"


def _unknown(report: LimitsReport) -> list[str]:
    unknown = report.unknown
    if not unknown.sets:
        return []
    header = ["set", "n", "kind", *(f"AUROC {name}" for name in unknown.scores), "image statistics", "accepted"]
    rows = [
        [
            row.name,
            f"{row.n:,}",
            "near" if row.near else "far",
            *(number(row.scores[name].auroc) for name in unknown.scores),
            number(row.low_level.auroc),
            _share(row.accepted),
        ]
        for row in unknown.sets
    ]
    return ["## Unknown classes", table(header, rows)]


def _held_out(report: LimitsReport) -> list[str]:
    held_out = report.leave_out
    if isinstance(held_out, NotMeasured):
        return []
    score = held_out.score
    rows = [[", ".join(row.held_out), row.n, number(row.scores[score].auroc)] for row in held_out.rows]
    return ["## Held-out classes", escaped(held_out.how), table(["held out", "n", f"AUROC {score}"], rows)]


def _corruptions(report: LimitsReport) -> list[str]:
    corruptions = report.corruptions
    if isinstance(corruptions, NotMeasured):
        return []
    rows = []
    for row in corruptions.corruptions:
        shown = [percent(cell.accuracy.value) for cell in corruptions.cells_of(row.name)]
        rows.append([name_in_words(row.name), *shown, percent(row.accuracy), row.breaking_point or "–"])
    header = ["accuracy", *(f"severity {severity}" for severity in corruptions.severities), "mean", "breaks at"]
    clean = f"clean {percent(corruptions.clean.value)}"
    words = f"{corruptions.recipe}, n = {corruptions.n:,}: mean {percent(corruptions.mca)}, {clean}."
    return ["## Corruptions", escaped(words), table(header, rows), *_sets(corruptions)]


def _sets(corruptions: CorruptionReport) -> list[str]:
    """Sets of classes under corruption: the share that hold the true class, and classes per set."""
    if corruptions.clean_sets is None:
        return []
    header = ["sets that hold the true class, classes per set", *(f"severity {s}" for s in corruptions.severities)]
    rows = [
        [name_in_words(row.name), *(_set(cell.sets) for cell in corruptions.cells_of(row.name))]
        for row in corruptions.corruptions
    ]
    clean = f"Promised are {percent(1 - ALPHA)} of images like those of val; clean {_set(corruptions.clean_sets)}."
    return [escaped(clean), table(header, rows)]


def _set(sets: SetsElsewhere | None) -> str:
    return "–" if sets is None else f"{percent(sets.coverage.value)}, {sets.mean_size:.1f}"


def _shift(report: LimitsReport) -> list[str]:
    rows = [
        [
            row.name,
            f"{row.n:,}",
            _share(row.accuracy),
            percent(row.own.value),
            percent(row.gap.value),
            _set(row.sets),
        ]
        for row in report.shift
    ]
    return (
        [
            "## Other images",
            table(["set", "n", "accuracy", "own test", "gap", "sets that hold it, classes per set"], rows),
        ]
        if rows
        else []
    )


def _nonsense(report: LimitsReport) -> list[str]:
    rows = [
        [name_in_words(row.name), row.n, _share(row.accepted), percent(row.confidence), row.called]
        for row in report.nonsense
    ]
    return ["## Meaningless images", table(["kind", "n", "accepted", "mean confidence", "mostly predicted as"], rows)]


def _slices(report: LimitsReport) -> list[str]:
    if not (slices := slice_rows(report)):
        return []
    rows = [
        [in_words(row), f"{row.accuracy.n:,}", _share(row.accuracy), percent(row.rest.value), percent(row.confidence)]
        for row in slices
    ]
    header = ["mostly", "n", "right", "other images", "mean confidence"]
    return ["## Groups of alike images on which it is worse", table(header, rows)]


def _open_world(report: LimitsReport) -> list[str]:
    parts = []
    for world in report.open_world.tables:
        header = ["set", *(f"{percent(share)} unknown" for share in report.open_world.prevalence), "safe up to"]
        rows = [
            [row.set, *(percent(cell.error) for cell in row.cells), percent(row.safe_prevalence)] for row in world.rows
        ]
        score = f"shipped: {report.contract.score}" if world.score == "shipped" else world.score
        parts += [f"## Errors among accepted answers, {escaped(score)}", table(header, rows)] if rows else []
    return parts


def _rules(report: LimitsReport) -> list[str]:
    rows = [[rule.id, rule.about, f"{rule.rule}={rule.threshold:g}", rule.state] for rule in report.summary.rules]
    return ["## Rules", table(["rule", "looks at", "threshold", "state"], rows)]
