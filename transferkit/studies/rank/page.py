"""A ranking of backbones as a table on the terminal, as Markdown and as a page with one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import markdown
from transferkit.report import number_words as words
from transferkit.report.page import rendered
from transferkit.report.svg_marks import Style, key, styles
from transferkit.report.svg_scatter import CostPoint, accuracy_over_cost
from transferkit.report.svg_whiskers import track_scale
from transferkit.runtime.console import printable
from transferkit.runtime.machine import thread_count
from transferkit.runtime.plurals import counted
from transferkit.studies.rank.imagenet_order import order_in_words
from transferkit.studies.rank.results import RankedBackbone, Ranking

FOLDER = Path(__file__).parent

NO_TOP1 = {
    "none": "random weights",
    "file": "weights from a file",
    "run": "weights of a run",
    "timm": "timm's metadata on this machine state no accuracy",
}
LONGEST_LABEL = 18  # letters of a backbone beside all columns in 80
LEFT_OUT = ("kNN", "LogME", "param")  # where a longer one needs the room; the page has them
COST_TITLE = "Accuracy of a linear probe, %, over the operations per image, GFLOPs"


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
        f"{counted(data.of, 'training image')} of {data.name}; C is chosen without the images that are answered. "
        "Neither val nor test was looked at.",
        f"Always answering the commonest class gives {words.percent(data.guessing)}.",
        f"Intervals of accuracies are {_intervals(ranking.groups)}: another training set would move them further.",
        f"Ranks: pairs are compared on the same {_units(ranking.groups)}, each interval and its p from one "
        "computation with the wider variance of cross-validated answers, whose folds share training images (Nadeau "
        "and Bengio 2003); Holm over all pairs, level 5 %. A tie is a difference that is not shown.",
        f"kNN: {min(row.neighbours for row in rows)} nearest images by cosine, in the same folds. LogME: higher = "
        "the features explain the labels better; comparable within this table only.",
        f"GFLOPs: per image, two operations per multiply-add, without the head. img/s: the fastest of a few batches on "
        f"{ranking.device}, {ranking.precision}, {thread_count(ranking.threads)}, images "
        "in memory, uncompiled.",
        "A probe ranks features as they are; fine-tuned, the order can change.",
        order_in_words(ranking.imagenet, rows),
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
    return f"by a bootstrap of the {counted(groups, 'whole group')}, 95 %, which no fold parts"


def _units(groups: int | None) -> str:
    return "images" if groups is None else "groups"


# ------------------------------------------------------------------------------------------------------- terminal


def ranking_verdict(ranking: Ranking) -> RenderableType:
    """What the terminal shows: the verdict, one table in 80 columns, what it does not say."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("rank", no_wrap=True)
    table.add_column("backbone", overflow="fold")
    is_wide = any(len(row.label) > LONGEST_LABEL for row in ranking.rows)
    titles = ("rank", "backbone", "probe, % (95 %)", "kNN", "LogME", "top-1", "GFLOPs", "param", "img/s")
    shown = [title for title in titles if not (is_wide and title in LEFT_OUT)]
    for title in shown[2:]:
        table.add_column(title, justify="right", no_wrap=True)
    for row in ranking.rows:
        cells = dict(zip(titles, _cells(row), strict=True))
        table.add_row(*(printable(cells[title]) for title in shown))
    is_tied = any(row.ranks[0] < row.ranks[1] for row in ranking.rows)
    drawn = words.sample_size(ranking.n, ranking.groups)
    tie = f"Tie: not told apart on these images ({drawn}; Nadeau-Bengio, Holm, 5 %)."
    validation = f"Cross-validated on {counted(ranking.data.n, 'training image')}; val and test stay closed."
    order = Text(printable(order_in_words(ranking.imagenet, ranking.rows)))
    failed = [Text(printable(f"Failed: {failure}")) for failure in ranking.failures]
    verdict = Text(printable(ranking.verdict), style="bold")
    page = Text(printable(f"Report: {ranking.folder}/report.html"))
    return Group(
        verdict, Text(), table, *failed, Text(), *([Text(tie)] if is_tied else []), Text(validation), order, page
    )


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
    points = cost_points(ranking.rows)
    return rendered(
        FOLDER / "ranking.html.jinja",
        ranking=ranking,
        drawing=accuracy_over_cost(points, COST_TITLE, gigaflops, "operations"),
        key=key([(point.name, point.style) for point in points]),
        swatches={entry.name: entry.swatch for entry in key([(point.name, point.style) for point in points])},
        scale=track_scale([row.interval for row in ranking.rows]),
        notes=notes(ranking),
        ranks=ranks,
        gigaflops=gigaflops,
        top1=top1,
        units=_units(ranking.groups),
    )


def backbone_styles(rows: Sequence[RankedBackbone]) -> list[Style]:
    """The mark of every backbone."""
    return styles([(row.label, "probe") for row in sorted(rows, key=lambda row: row.label)])


def cost_points(rows: Sequence[RankedBackbone]) -> list[CostPoint]:
    """Every backbone with its operations per image and its accuracy."""
    named = sorted(row.label for row in rows)
    chosen = backbone_styles(rows)
    return [
        CostPoint(
            row.flops,
            row.accuracy,
            row.interval,
            row.label,
            f"{row.label}: {words.percent(row.accuracy)}, {gigaflops(row.flops)} GFLOPs",
            chosen[named.index(row.label)],
        )
        for row in rows
    ]
