"""A ranking of backbones as a table on the terminal, as Markdown and as a page with one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import markdown, svg_lines
from transferkit.report import number_words as words
from transferkit.report.page import rendered
from transferkit.report.short_names import shortened
from transferkit.runtime.console import printable
from transferkit.runtime.machine import thread_count
from transferkit.studies.rank.results import RankedBackbone, Ranking

FOLDER = Path(__file__).parent

NO_TOP1 = {
    "none": "random weights",
    "file": "weights from a file",
    "run": "weights of a run",
    "timm": "timm's metadata on this machine state no accuracy",
}
WIDTH_WITH_TICKS = 0.75  # log10 of a range in which at least two of the ticks 1, 2, 5, 10 ... lie
NAMES_FROM_RIGHT = 0.6  # of the drawing's width: from here on a point's name stands left of it


# ------------------------------------------------------------------------------------------------------- in words


def ranks(first: int, last: int) -> str:
    """The ranks that a backbone may have.

    Example:
        >>> ranks(2, 2), ranks(1, 3)
        ('2', '1-3 tie')
    """
    return str(first) if first == last else f"{first}-{last} tie"


def gigaflops(flops: float) -> str:
    """Operations per image in thousands of millions.

    Example:
        >>> gigaflops(3_627_123_712), gigaflops(41_000_000)
        ('3.6', '0.041')
    """
    count = flops / 1e9
    return f"{count:.1f}" if count >= 1 else f"{count:#.2g}"


def top1(row: RankedBackbone) -> str:
    """The published ImageNet accuracy of the row's weights in per cent, or a dash."""
    return "-" if row.top1 is None else f"{100 * row.top1:.1f}"


def notes(ranking: Ranking) -> list[str]:
    """How the numbers were made and what they do not say."""
    data, rows = ranking.data, ranking.rows
    lines = [
        f"Accuracy: a linear probe on frozen features, {ranking.folds}-fold cross-validation on {data.n:,} of "
        f"{data.of:,} training images of {data.name}; C is chosen without the images that are answered. "
        "Neither val nor test was looked at.",
        f"Always answering the commonest class gives {words.percent(data.guessing)}.",
        f"Intervals of accuracies are {_intervals(ranking.groups)}: another training set would move them further.",
        f"Ranks: pairs are compared on the same {_units(ranking.groups)}, each interval and its p from one "
        "computation with the wider variance of cross-validated answers, whose folds share training images (Nadeau "
        "and Bengio 2003); Holm over all pairs, level 5 %. A tie is a difference that is not shown.",
        f"kNN: {min(row.neighbours for row in rows)} nearest images by cosine, in the same folds. LogME: higher = "
        "the features explain the labels better; comparable within this table only.",
        f"GFLOPs: per image, two operations per multiply-add, without the head. img/s: the fastest of a few batches on "
        f"{ranking.device}, {ranking.precision}, {thread_count(ranking.threads)}, images in memory, "
        "uncompiled.",
        "A probe ranks features as they are; fine-tuned, the order can change.",
    ]
    sources = {row.weights.source for row in rows if row.top1 is None}
    if sources:
        lines.append(f"No published ImageNet top-1 (-): {'; '.join(NO_TOP1[s] for s in NO_TOP1 if s in sources)}.")
    slow = [row.label for row in rows if not row.converged]
    if slow:
        lines.append(f"The probe's solver stopped before it converged for: {', '.join(slow)}.")
    return [*lines, *ranking.notes]


def _intervals(groups: int | None) -> str:
    if groups is None:
        return "Wilson's, 95 %, over images"
    return f"by a bootstrap of the {groups:,} whole groups, 95 %, which no fold parts"


def _units(groups: int | None) -> str:
    return "images" if groups is None else "groups"


# ------------------------------------------------------------------------------------------------------- terminal


def ranking_verdict(ranking: Ranking) -> RenderableType:
    """What the terminal shows: the verdict, one table in 80 columns, what it does not say."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("rank", no_wrap=True)
    table.add_column("backbone", overflow="fold")
    for title in ("probe, % (95 %)", "kNN", "LogME", "top-1", "GFLOPs", "param", "img/s"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in ranking.rows:
        table.add_row(*(printable(cell) for cell in _cells(row)))
    is_tied = any(row.ranks[0] < row.ranks[1] for row in ranking.rows)
    tie = f"Tie: not told apart on these images ({words.counted(ranking.n, ranking.groups)}; Nadeau-Bengio, Holm, 5 %)."
    validation = f"Cross-validated on {ranking.data.n:,} training images; val and test stay closed."
    failed = [Text(printable(f"Failed: {failure}")) for failure in ranking.failures]
    verdict = Text(printable(ranking.verdict), style="bold")
    page = Text(printable(f"Report: {ranking.folder}/report.html"))
    return Group(verdict, Text(), table, *failed, Text(), *([Text(tie)] if is_tied else []), Text(validation), page)


def _cells(row: RankedBackbone) -> list[str]:
    low, high = (f"{100 * bound:.1f}" for bound in row.interval)
    return [
        ranks(*row.ranks),
        row.label,
        f"{100 * row.accuracy:.1f} {low}-{high}",
        f"{100 * row.knn_accuracy:.1f}",
        f"{row.logme:.3f}",
        top1(row),
        gigaflops(row.flops),
        f"{row.parameters / 1e6:.1f}M",
        f"{row.images_per_second:,.0f}",
    ]


# ------------------------------------------------------------------------------------------------------- Markdown


def ranking_markdown(ranking: Ranking) -> str:
    """The ranking as Markdown."""
    header = [
        "rank",
        "backbone",
        "size, px",
        "probe, %",
        "kNN, %",
        "LogME",
        "ImageNet top-1, %",
        "GFLOPs",
        "parameters",
    ]
    rows = [
        [
            ranks(*row.ranks),
            row.label,
            row.size,
            f"{100 * row.accuracy:.1f} ({words.percent_interval(row.interval)})",
            f"{100 * row.knn_accuracy:.1f} ({words.percent_interval(row.knn_interval)})",
            f"{row.logme:.3f}",
            top1(row),
            gigaflops(row.flops),
            f"{row.parameters:,}",
            f"{row.images_per_second:,.0f}",
        ]
        for row in ranking.rows
    ]
    pairs = [
        [
            pair.a,
            pair.b,
            words.points(pair.mean, pair.interval),
            words.p_value(pair.p_holm),
            "yes" if pair.shown else "no",
        ]
        for pair in ranking.pairs
    ]
    rows += [["–", f"failed: {failure}", *[""] * (len(header) - 1)] for failure in ranking.failures]
    parts = [
        f"# {markdown.escaped(ranking.verdict)}",
        markdown.table([*header, "img/s"], rows),
        *(["## Pairs", markdown.table(["", "minus", "points (95 %)", "p (Holm)", "shown"], pairs)] if pairs else []),
        "## Notes",
        "\n".join(f"- {markdown.escaped(note)}" for note in notes(ranking)),
        *([markdown.code_block(ranking.command)] if ranking.command else []),
    ]
    return "\n\n".join(parts) + "\n"


# ----------------------------------------------------------------------------------------------------------- page


def ranking_page(ranking: Ranking) -> str:
    """The ranking as one HTML file that loads nothing."""
    return rendered(
        FOLDER / "ranking.html.jinja",
        ranking=ranking,
        drawing=accuracy_over_cost(ranking.rows),
        notes=notes(ranking),
        ranks=ranks,
        gigaflops=gigaflops,
        top1=top1,
        units=_units(ranking.groups),
    )


def accuracy_over_cost(rows: Sequence[RankedBackbone]) -> Markup:
    """Inline SVG: accuracy with its interval over the logarithm of the operations per image."""
    costs = [math.log10(row.flops) for row in rows]
    bounds = [100 * bound for row in rows for bound in row.interval]
    air = 0.08 * (max(bounds) - min(bounds))
    span = max(costs) - min(costs)
    room = max(0.15 * span, (WIDTH_WITH_TICKS - span) / 2)
    frame = svg_lines.Frame((min(costs) - room, max(costs) + room), (min(bounds) - air, max(bounds) + air))
    parts = [frame.axes([], svg_lines.ticks(*frame.y_range), "operations per image, GFLOPs (log)", "{:g}".format)]
    parts += [_cost_tick(frame, 10.0**power * step) for power in range(5, 15) for step in (1, 2, 5)]
    parts += [_point(frame, cost, row) for cost, row in zip(costs, rows, strict=True)]
    opening = Markup('<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        svg_lines.WIDTH, svg_lines.HEIGHT, "Accuracy of each backbone over its operations per image"
    )
    return opening + Markup("").join(parts) + Markup("</svg>")


def _cost_tick(frame: svg_lines.Frame, flops: float) -> Markup:
    low, high = frame.x_range
    if not low <= math.log10(flops) <= high:
        return Markup("")
    across = frame.place(math.log10(flops), frame.y_range[0])[0]
    tick = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
    return tick.format(across, svg_lines.HEIGHT - svg_lines.BOTTOM + 15, f"{flops / 1e9:g}")


def _point(frame: svg_lines.Frame, cost: float, row: RankedBackbone) -> Markup:
    across, up = frame.place(cost, 100 * row.accuracy)
    ends = [frame.place(cost, 100 * bound)[1] for bound in row.interval]
    title = f"{row.label}: {words.percent(row.accuracy)}, {gigaflops(row.flops)} GFLOPs"
    is_right = across > NAMES_FROM_RIGHT * svg_lines.WIDTH
    shift, anchor = (-7, "end") if is_right else (7, "start")
    return Markup(
        '<g class="s0"><line class="range" x1="{x}" y1="{low}" x2="{x}" y2="{high}"/>'
        '<circle class="dot" cx="{x}" cy="{y}" r="3.2"><title>{title}</title></circle>'
        '<text class="tick" x="{at}" y="{below}" text-anchor="{anchor}">{name}</text></g>'
    ).format(
        x=across,
        y=up,
        low=ends[0],
        high=ends[1],
        title=title,
        at=across + shift,
        below=up + 4,
        anchor=anchor,
        name=shortened(row.label, 24),
    )
