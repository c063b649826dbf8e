"""The limits report as a page and on the terminal: the summary first, then every test with its evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit import ood
from transferkit.report import svg_lines
from transferkit.report.confidence_words import AS_PREDICTED, WITHOUT_T, raw_words
from transferkit.report.inline_images import data_uris
from transferkit.report.page import rendered
from transferkit.report.short_names import shortened
from transferkit.report.svg_confusion_matrix import LEVELS
from transferkit.report.svg_lines import Frame, Line, ticks
from transferkit.runtime.console import printable
from transferkit.studies.limits.abstaining import SelectiveReport
from transferkit.studies.limits.candidate_sets import ALPHA
from transferkit.studies.limits.corruption_severity import CorruptionCell, CorruptionReport, CorruptionRow
from transferkit.studies.limits.error_slices import SliceRow, in_words
from transferkit.studies.limits.figures import shift_points
from transferkit.studies.limits.in_distribution import CalibrationReport, CalibrationRow, Contract
from transferkit.studies.limits.out_of_distribution import Histogram
from transferkit.studies.limits.probit import scatter
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.limits.shares import NotMeasured
from transferkit.studies.limits.sweep_curves import sweep_curves

FOLDER = Path(__file__).parent

SETS_ON_SCREEN = 12
GROUPS = ("right", "wrong", "unknown")
ALWAYS_OPEN = ("own", "unknown")  # sections; of the others, those that a line of the summary rests on
EVIDENCE = {  # the sections that a rule of the summary looks at
    "S1": ("nonsense",),
    "S2": ("unknown", "heldout"),
    "S3": ("unknown",),
    "S4": ("corruptions",),
    "S5": ("shift",),
    "S6": ("calibration",),
    "S7": ("corruptions", "shift"),
    "S8": ("own",),
    "S9": ("abstaining",),
    "S10": ("unknown",),
    "S11": ("own", "unknown"),
    "S12": ("slices",),
}


def limits_page(report: LimitsReport, pixels: npt.NDArray[np.uint8]) -> str:
    """The report and its pictures (M, 3, h, w) as one HTML file that loads nothing."""
    shipped = report.contract.score
    return rendered(
        FOLDER / "limits.html.jinja",
        extra_style=FOLDER / "limits.css",
        report=report,
        shipped=shipped,
        headline=limits_headline(report),
        sections=sections(report),
        slices=slice_rows(report),
        contents=in_words,
        unfolded=unfolded(report),
        sweeps=sweep_curves(report.nuisance),
        sets_miss=ALPHA,
        shade=accuracy_shade,
        words=name_in_words,
        explained=ood.in_words,
        number=number,
        calibration=calibration_rows(report.calibration),
        without_t=WITHOUT_T,
        raw_words=raw_words(report.calibration.temperature),
        reliability=svg_lines.reliability(report.calibration.reliability),
        risk=risk_drawing(report.selective),
        families=family_drawing(report.corruptions),
        heat=heat_rows(report.corruptions),
        strips=report.strips,
        probit=probit_drawing(report),
        histograms={row.name: histogram_svg(row.histogram, shipped) for row in report.unknown.sets},
        facts=facts(report.contract),
        pictures=data_uris(dict(enumerate(pixels))),
    )


def limits_headline(report: LimitsReport) -> str:
    """The gravest limit, and how many more are listed."""
    lines = [line for line in report.summary.lines if line.id != "OK"]
    if len(lines) < len(report.summary.lines) or not lines:
        return report.summary.lines[0].text
    more = f" ({len(lines)} limits found)" if len(lines) > 1 else ""
    return f"Where not to trust {report.contract.run}: {lines[0].text.rstrip('.')}{more}"


def calibration_rows(calibration: CalibrationReport) -> list[tuple[str, CalibrationRow]]:
    """The rows of the table of confidence, by names that say which of them `predict` answers."""
    temperature = calibration.temperature
    names = [AS_PREDICTED] if temperature is None else [WITHOUT_T, f"{AS_PREDICTED} (T = {temperature:.2f})"]
    return list(zip(names, calibration.rows.values(), strict=True))


def slice_rows(report: LimitsReport) -> tuple[SliceRow, ...]:
    """The error slices; none where none was found or looked for."""
    return () if isinstance(report.slices, NotMeasured) else report.slices.rows


def sections(report: LimitsReport) -> list[tuple[str, str]]:
    """Anchor and words of each section."""
    named = [
        ("contract", "Contract", True),
        ("own", "Own test", True),
        ("slices", "Error slices", bool(slice_rows(report))),
        ("calibration", "Confidence", True),
        ("abstaining", "Abstaining", True),
        ("corruptions", "Corruptions", True),
        ("shift", "Other images", True),
        ("unknown", "Unknown classes", True),
        ("heldout", "Held-out classes", True),
        ("nonsense", "Nonsense", True),
        ("sweeps", "Sweeps", report.nuisance is not None),
        ("world", "Open world", True),
        ("field", "Field", report.field is not None),
        ("gallery", "Gallery", bool(report.gallery)),
        ("rules", "Rules", True),
    ]
    return [(anchor, words) for anchor, words, shown in named if shown]


def unfolded(report: LimitsReport) -> dict[str, list[str]]:
    """The sections that are open when the page opens, each with the rules of the summary that rest on it."""
    rules = dict.fromkeys(line.id for line in report.summary.lines)
    is_empty = {"shift": not report.shift, "heldout": isinstance(report.leave_out, NotMeasured)}
    shown: dict[str, list[str]] = {anchor: [] for anchor in ALWAYS_OPEN}
    for rule in rules:
        for anchor in EVIDENCE.get(rule, ()):
            if not is_empty.get(anchor):
                shown.setdefault(anchor, []).append(rule)
    return shown


def accuracy_shade(accuracy: float) -> int:
    """The shade 1..9 of a cell by its accuracy.

    Example:
        >>> accuracy_shade(0.0), accuracy_shade(0.5), accuracy_shade(1.0)
        (1, 5, 9)
    """
    return min(LEVELS, max(1, math.ceil(LEVELS * accuracy)))


def name_in_words(name: str) -> str:
    """A name without underscores."""
    return name.replace("_", " ")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none.

    Example:
        >>> number(0.91234), number(None)
        ('0.912', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def facts(contract: Contract) -> list[tuple[str, str]]:
    """What was tested, as pairs of name and words."""
    weights = contract.weights
    pairs = [
        ("run", contract.run),
        ("backbone", contract.backbone),
        ("weights", " · ".join(filter(None, (weights.source, weights.tag))) if weights else ""),
        ("weights SHA-256", weights.sha256 if weights else ""),
        ("method", contract.method),
        ("input", f"{contract.input_px} px; the run's images have {contract.native_px[0]} px"),
        ("data", contract.data),
        ("images", " · ".join(f"{count:,} {part}" for part, count in contract.n.items())),
        ("seed", str(contract.seed)),
        ("made", (contract.made or "").replace("T", " ").replace("+00:00", " UTC")),
        ("model digest", contract.model_digest[:16]),
    ]
    pairs += [(f"fingerprint of {part}", digest[:16]) for part, digest in contract.fingerprint.items()]
    return [(name, text) for name, text in pairs if text]


# ---- drawings ----


def risk_drawing(selective: SelectiveReport) -> Markup:
    """Error rate among the images answered, beside the best and a random order."""
    coverage = selective.coverage
    error = selective.error.value
    best = [max(0.0, (share - 1 + error) / share) for share in coverage]
    lines = [
        Line([100 * share for share in coverage], [100 * risk for risk in selective.risk], "this model"),
        Line([100 * share for share in coverage], [100 * risk for risk in best], "best order"),
        Line([100 * coverage[0], 100.0], [100 * error, 100 * error], "random order"),
    ]
    return svg_lines.curve(lines, "Error rate of the images answered, %", "{:.3g}".format, "answered, %")


def family_drawing(report: CorruptionReport | NotMeasured) -> Markup | None:
    """Accuracy over severity by family of corruptions, severity 0 being the clean images."""
    if isinstance(report, NotMeasured):
        return None
    clean = 100 * report.clean.value
    lines = []
    for family, by_severity in report.families.items():
        known = sorted((severity, 100 * accuracy) for severity, accuracy in by_severity.items())
        lines.append(Line([0.0, *(float(s) for s, _ in known)], [clean, *(a for _, a in known)], family))
    return svg_lines.curve(lines, "Accuracy under corruption, %", "{:.3g}".format, "severity")


@dataclass(frozen=True)
class HeatRow:
    """One corruption: its mean and its breaking point, its cells by severity, and its published accuracy."""

    total: CorruptionRow
    cells: list[CorruptionCell]
    published: float | None


def heat_rows(report: CorruptionReport | NotMeasured) -> list[HeatRow]:
    """One row per corruption."""
    if isinstance(report, NotMeasured):
        return []
    published = report.published.by_corruption if report.published else {}
    return [HeatRow(row, report.cells_of(row.name), published.get(row.name)) for row in report.corruptions]


def histogram_svg(shown: Histogram, score: str) -> Markup:
    """Shares of right, wrong and unknown images over the shipped score, and the threshold."""
    edges, shares = shown.edges, shown.shares
    top = max(max(values) for values in shares.values()) or 1.0
    frame = Frame((edges[0], edges[-1]), (0.0, 100 * top * 1.08))
    across, up = ticks(edges[0], edges[-1], 5), ticks(0.0, 100 * top * 1.08)
    parts = [frame.axes(across, up, f"how unusual ({score})", "{:g}".format)]
    for index, name in enumerate(GROUPS):
        points = []
        for left, right, share in zip(edges[:-1], edges[1:], shares[name], strict=True):
            points += [frame.place(left, 100 * share), frame.place(right, 100 * share)]
        path = " ".join(f"{x},{y}" for x, y in points)
        line = Markup('<g class="s{}"><polyline class="line" points="{}"/></g>')
        parts.append(line.format(index, path))
    if shown.threshold is not None and shown.threshold <= edges[-1]:
        (x, bottom), (_, high) = frame.place(shown.threshold, 0), frame.place(shown.threshold, frame.y_range[1])
        parts.append(Markup('<line class="diagonal" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x, bottom, high))
    label = "Shares of right, wrong and unknown images over how unusual they are"
    opening = Markup('<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opening.format(svg_lines.WIDTH, svg_lines.HEIGHT, label) + Markup("").join(parts) + Markup("</svg>")


def probit_drawing(report: LimitsReport) -> Markup | None:
    """Accuracy on every set of other images over that on the run's own."""
    return scatter(*shift_points(report)) if report.shift else None


# ---- terminal ----


def limits_verdict(report: LimitsReport) -> RenderableType:
    """The summary on the terminal: at most ten lines with their evidence, a table of sets, and where the page is."""
    parts: list[RenderableType] = [
        Text(printable(limits_headline(report)), style="bold"),
        Text(),
        summary_table(report),
    ]
    parts += [Text(), detectors_table(report)] if report.unknown.detectors else []
    parts += [Text(), sets_table(report)] if report.unknown.sets else []
    parts += [Text(), *other_lines(report)] if report.shift or report.field else []
    untested = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number_of, item in enumerate(report.summary.not_tested):
        untested.add_row(Text("" if number_of else "Not tested:", style="bold"), Text(printable(item), style="dim"))
    parts += [Text(), untested, Text(), Text(printable(f"Report: {report.folder}/limits.html"))]
    return Group(*parts)


def summary_table(report: LimitsReport) -> Table:
    """The lines of the summary, each above its evidence, indented behind its rule."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for line in report.summary.lines:
        style = {"red": "bold red", "amber": "yellow"}.get(line.light, "green")
        text = Text(printable(line.text) + "\n")
        table.add_row(Text(line.id, style=style), text.append(printable(line.evidence), style="dim"))
    return table


def detectors_table(report: LimitsReport) -> Table:
    """Every detector: how well it tells strangers and errors apart, as AUROCs, and what it goes by."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("detector", no_wrap=True)
    for title in ("strangers", "errors"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("an image is the more unusual, ...")
    for row in report.unknown.detectors:
        table.add_row(row.name, number(row.strangers), number(row.errors), Text(ood.in_words(row.name), style="dim"))
    return table


def sets_table(report: LimitsReport) -> Table:
    """The sets of unknown images: how well they are told apart, and how many are accepted."""
    score = report.unknown.summary_score
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("unknown set", no_wrap=True)
    for title in ("n", "kind", f"AUROC, {score}", "accepted, %"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in report.unknown.sets[:SETS_ON_SCREEN]:
        scores, accepted = row.scores[score], row.accepted
        auroc = f"{number(scores.auroc)} {_range(scores.auroc_interval, 1, 3)}"
        share = "–" if accepted is None else f"{100 * accepted.value:.1f} {_range(accepted.interval, 100, 1)}"
        kind = "near" if row.near else "far"
        table.add_row(shortened(printable(row.name), 20), f"{row.n:,}", kind, auroc, share)
    return table


def other_lines(report: LimitsReport) -> list[Text]:
    """One line per set of other images, and one about the field."""
    lines = [
        f"{row.name}: {100 * row.accuracy.value:.1f} % right {_range(row.accuracy.interval, 100, 1)}, "
        f"{100 * row.own.value:.1f} % of its own test images of these classes; n = {row.n:,}"
        for row in report.shift
    ]
    if report.field:
        field, rejected = report.field, report.field.rejected
        share = (
            "" if rejected is None else f" {100 * rejected.value:.1f} % rejected {_range(rejected.interval, 100, 1)},"
        )
        lines.append(f"field:{share} n = {field.n:,}. {field.test_words}")
    return [Text(printable(line)) for line in lines]


def _range(interval: Sequence[float] | None, factor: float, digits: int) -> str:
    if interval is None:
        return ""
    low, high = (factor * bound for bound in interval)
    return f"({low:.{digits}f}–{high:.{digits}f})"
