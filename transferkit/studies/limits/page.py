"""The limits report as a page and on the terminal: the summary first, then every test with its evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.metrics.results import CalibrationBin
from transferkit.report import svg_lines
from transferkit.report.inline_images import data_uris
from transferkit.report.page import rendered
from transferkit.report.svg_confusion_matrix import LEVELS, shortened
from transferkit.report.svg_lines import Frame, Line, ticks
from transferkit.runs.result_folders import LIMITS
from transferkit.runtime.console import printable
from transferkit.runtime.records import from_json
from transferkit.studies.limits.figures import shift_points
from transferkit.studies.limits.probit import scatter

FOLDER = Path(__file__).parent

Report = Mapping[str, Any]

SETS_ON_SCREEN = 12
GROUPS = ("right", "wrong", "unknown")


def bins_of(report: Report) -> tuple[CalibrationBin, ...]:
    """The bins of the reliability diagram."""
    return from_json(report["calibration"]["reliability"], tuple[CalibrationBin, ...], LIMITS.result)


def limits_page(report: Report, pixels: npt.NDArray[np.uint8]) -> str:
    """limits.json and its pictures (M, 3, h, w) as one HTML file that loads nothing."""
    shipped = shipped_score(report)
    return rendered(
        FOLDER / "limits.html.jinja",
        extra_style=FOLDER / "limits.css",
        report=report,
        shipped=shipped,
        headline=headline(report),
        sections=sections(report),
        shade=accuracy_shade,
        words=name_in_words,
        number=number,
        reliability=svg_lines.reliability(bins_of(report)),
        risk=risk_drawing(report["selective"]),
        families=family_drawing(report["corruptions"]),
        heat=heat_rows(report["corruptions"]),
        strips=report.get("strips") or [],
        probit=probit_drawing(report),
        histograms={row["name"]: histogram(row["histogram"], shipped) for row in report["unknown"]["sets"]},
        facts=facts(report["contract"]),
        pictures=data_uris(dict(enumerate(pixels))),
    )


def shipped_score(report: Report) -> str:
    """The score that `predict` uses; reports of earlier versions do not name it."""
    return str(report["contract"].get("score", "msp"))


def headline(report: Report) -> str:
    """How many limits were found, in one sentence."""
    lines = [line for line in report["summary"]["lines"] if line["id"] not in ("OK", "S10", "S11")]
    name = report["contract"]["run"]
    if not lines:
        return f"{report['summary']['lines'][0]['text']}"
    count = len(lines)
    return f"{count} limit{'s'[: count != 1]} found: where not to trust {name}"


def sections(report: Report) -> list[tuple[str, str]]:
    """Anchor and words of each section."""
    named = [
        ("contract", "Contract", True),
        ("own", "Own test", True),
        ("calibration", "Confidence", True),
        ("abstaining", "Abstaining", True),
        ("corruptions", "Corruptions", True),
        ("shift", "Other images", True),
        ("unknown", "Unknown classes", True),
        ("heldout", "Held-out classes", True),
        ("nonsense", "Nonsense", True),
        ("sweeps", "Sweeps", bool(report.get("nuisance"))),
        ("world", "Open world", True),
        ("field", "Field", bool(report.get("field"))),
        ("gallery", "Gallery", bool(report.get("gallery"))),
        ("rules", "Rules", True),
    ]
    return [(anchor, words) for anchor, words, shown in named if shown]


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


def facts(contract: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was tested, as pairs of name and words."""
    weights = contract["weights"]
    pairs = [
        ("run", contract["run"]),
        ("backbone", contract["backbone"]),
        ("weights", " · ".join(str(weights[key]) for key in ("source", "tag") if weights.get(key))),
        ("weights SHA-256", str(weights.get("sha256") or "")),
        ("method", contract["method"]),
        ("input", f"{contract['input_px']} px; the run's images have {contract['native_px'][0]} px"),
        ("data", contract["data"]),
        ("images", " · ".join(f"{count:,} {part}" for part, count in contract["n"].items())),
        ("seed", str(contract["seed"])),
        ("made", str(contract["made"] or "").replace("T", " ").replace("+00:00", " UTC")),
        ("model digest", contract["model_digest"][:16]),
    ]
    pairs += [(f"fingerprint of {part}", str(digest)[:16]) for part, digest in contract["fingerprint"].items()]
    return [(name, text) for name, text in pairs if text]


# ---- drawings ----


def risk_drawing(selective: Mapping[str, Any]) -> Markup:
    """Error rate among the images answered, beside the best and a random order."""
    coverage = selective["coverage"]
    error = selective["error"]["value"] or 0.0
    best = [max(0.0, (share - 1 + error) / share) for share in coverage]
    lines = [
        Line([100 * share for share in coverage], [100 * risk for risk in selective["risk"]], "this model"),
        Line([100 * share for share in coverage], [100 * risk for risk in best], "best order"),
        Line([100 * coverage[0], 100.0], [100 * error, 100 * error], "random order"),
    ]
    return svg_lines.curve(lines, "Error rate of the images answered, %", "{:.3g}".format, "answered, %")


def family_drawing(found: Mapping[str, Any]) -> Markup | None:
    """Accuracy over severity by family of corruptions, severity 0 being the clean images."""
    if "families" not in found:
        return None
    clean = 100 * found["clean"]["value"]
    lines = []
    for family, by_severity in found["families"].items():
        known = sorted((int(severity), 100 * accuracy) for severity, accuracy in by_severity.items())
        lines.append(Line([0.0, *(float(s) for s, _ in known)], [clean, *(a for _, a in known)], family))
    return svg_lines.curve(lines, "Accuracy under corruption, %", "{:.3g}".format, "severity")


def heat_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per corruption: its cells by severity, its mean and its breaking point."""
    if "cells" not in found:
        return []
    published = (found.get("published") or {}).get("by_corruption", {})
    rows = []
    for row in found["corruptions"]:
        cells = {cell["severity"]: cell for cell in found["cells"] if cell["corruption"] == row["name"]}
        rows.append({**row, "cells": [cells[severity] for severity in found["severities"]]})
        rows[-1]["published"] = published.get(row["name"])
    return rows


def histogram(found: Mapping[str, Any], score: str) -> Markup:
    """Shares of right, wrong and unknown images over the shipped score, and the threshold."""
    edges, shares = found["edges"], found["shares"]
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
    if found["threshold"] is not None and found["threshold"] <= edges[-1]:
        (x, bottom), (_, high) = frame.place(found["threshold"], 0), frame.place(found["threshold"], frame.y_range[1])
        parts.append(Markup('<line class="diagonal" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(x, bottom, high))
    label = "Shares of right, wrong and unknown images over how unusual they are"
    opening = Markup('<svg class="curve" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return opening.format(svg_lines.WIDTH, svg_lines.HEIGHT, label) + Markup("").join(parts) + Markup("</svg>")


def probit_drawing(report: Report) -> Markup | None:
    """Accuracy on every set of other images over that on the run's own."""
    return scatter(*shift_points(report)) if report["shift"] else None


# ---- terminal ----


def limits_verdict(report: Report) -> RenderableType:
    """The summary on the terminal: at most ten lines with their evidence, a table of sets, and where the page is."""
    parts: list[RenderableType] = [Text(printable(headline(report)), style="bold"), Text(), summary_table(report)]
    if report["unknown"]["sets"]:
        parts += [Text(), sets_table(report)]
    parts += [Text(), *other_lines(report)] if report["shift"] or report["field"] else []
    untested = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for number_of, item in enumerate(report["summary"]["not_tested"]):
        untested.add_row(Text("" if number_of else "Not tested:", style="bold"), Text(printable(item), style="dim"))
    parts += [Text(), untested, Text(), Text(printable(f"Report: {report['folder']}/limits.html"))]
    return Group(*parts)


def summary_table(report: Report) -> Table:
    """The lines of the summary, each above its evidence, indented behind its rule."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for line in report["summary"]["lines"]:
        style = {"red": "bold red", "amber": "yellow"}.get(line["light"], "green")
        told = Text(printable(line["text"]) + "\n")
        table.add_row(Text(line["id"], style=style), told.append(printable(line["evidence"]), style="dim"))
    return table


def sets_table(report: Report) -> Table:
    """The sets of unknown images: how well they are told apart, and how many are accepted."""
    score = report["unknown"]["summary_score"]
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("unknown set", no_wrap=True)
    for title in ("n", "kind", f"AUROC, {score}", "accepted, %"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in report["unknown"]["sets"][:SETS_ON_SCREEN]:
        found, accepted = row["scores"][score], row["accepted"]
        auroc = f"{found['auroc']:.3f} {_range(found['auroc_interval'], 1, 3)}"
        share = "–" if accepted is None else f"{100 * accepted['value']:.1f} {_range(accepted['interval'], 100, 1)}"
        kind = "near" if row["near"] else "far"
        table.add_row(shortened(printable(row["name"]), 20), f"{row['n']:,}", kind, auroc, share)
    return table


def other_lines(report: Report) -> list[Text]:
    """One line per set of other images, and one about the field."""
    lines = [
        f"{row['name']}: {100 * row['accuracy']['value']:.1f} % right {_range(row['accuracy']['interval'], 100, 1)}, "
        f"{100 * row['own']['value']:.1f} % of its own test images of these classes; n = {row['n']:,}"
        for row in report["shift"]
    ]
    if report["field"]:
        found, rejected = report["field"], report["field"]["rejected"]
        share = (
            ""
            if rejected is None
            else f" {100 * rejected['value']:.1f} % rejected {_range(rejected['interval'], 100, 1)},"
        )
        lines.append(f"field:{share} n = {found['n']:,}. {found['test_words']}")
    return [Text(printable(line)) for line in lines]


def _range(interval: Sequence[float] | None, factor: float, digits: int) -> str:
    if interval is None:
        return ""
    low, high = (factor * bound for bound in interval)
    return f"({low:.{digits}f}–{high:.{digits}f})"
