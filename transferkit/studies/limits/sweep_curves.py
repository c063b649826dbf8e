"""Harmless changes as small curves on common axes: accuracy, changed answers, and the safe range."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from transferkit.report.svg_lines import Frame, Line, drawn_line, svg, ticks
from transferkit.studies.limits.nuisance import SWEEPS, SweepReport, SweepRow

SHARE = (0.0, 100.0)  # of images, on every curve's upright axis, so that curves can be compared


@dataclass(frozen=True)
class SweepCurve:
    """One sweep and its drawing."""

    row: SweepRow
    drawing: Markup


def sweep_curves(report: SweepReport | None) -> list[SweepCurve]:
    """One drawing for each sweep; none where sweeps were not asked for."""
    return [] if report is None else [SweepCurve(row, _drawing(row, report.accuracy.value)) for row in report.sweeps]


def _drawing(row: SweepRow, unchanged: float) -> Markup:
    neutral = SWEEPS[row.name].neutral
    steps = {cell.value: (cell.accuracy.value, cell.flipped.value) for cell in row.cells} | {neutral: (unchanged, 0.0)}
    xs = sorted(steps)
    frame = Frame((xs[0], xs[-1]), SHARE)
    accuracy, changed = ([100 * steps[x][number] for x in xs] for number in (0, 1))
    parts = [
        _safe(row, frame),
        frame.axes(ticks(xs[0], xs[-1]), ticks(*SHARE), row.unit, "{:g}".format),
        drawn_line(Line(xs, accuracy, "right"), frame, 0, row.unit, "{:.3g} %".format),
        drawn_line(Line(xs, changed, "answers changed"), frame, 1, row.unit, "{:.3g} %".format),
    ]
    title = row.name.replace("_", " ")
    return svg(f"Accuracy and changed answers, %, over {title}; safe range {row.safe.words}", parts)


def _safe(row: SweepRow, frame: Frame) -> Markup:
    """The range within 5 points of the unchanged images."""
    (left, bottom), (right, top) = frame.place(row.safe.low, SHARE[0]), frame.place(row.safe.high, SHARE[1])
    shape = Markup('<rect class="safe" x="{}" y="{}" width="{}" height="{}"/>')
    return shape.format(left, top, max(round(right - left, 1), 1), round(bottom - top, 1))
