"""The loss over the rate as one HTML file that loads nothing."""

from __future__ import annotations

import math
from pathlib import Path

from transferkit.report import svg_lines
from transferkit.report.page import rendered
from transferkit.studies.lr_find.rate_range import RateRange

FOLDER = Path(__file__).parent


def rate_page(rate_range: RateRange, command: str) -> str:
    """The page: the finding, the curve with both suggestions, the rule."""
    line = svg_lines.Line([math.log10(rate) for rate in rate_range.rates], list(rate_range.losses))
    marks = [
        svg_lines.Mark(math.log10(rate), f"{name} {rate:.2g}")
        for name, rate in (
            ("valley", rate_range.valley),
            ("steepest", rate_range.steepest),
            ("finetune", rate_range.default),
        )
    ]
    drawing = svg_lines.curve([line], "Smoothed training loss", "{:.3g}".format, "log10 of the rate", marks=marks)
    return rendered(FOLDER / "rate_range.html.jinja", rate_range=rate_range, drawing=drawing, command=command)
