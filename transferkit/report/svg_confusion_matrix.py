"""The confusion matrix and the whiskers as inline SVG: classes only, coloured by the style sheet, names escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from transferkit.report.short_names import shortened

LABELLED_UP_TO = 40  # classes whose names fit beside the matrix
NUMBERED_UP_TO = 20  # classes whose counts fit into the cells
LEVELS = 9  # shades of a cell


def shade(share: float) -> int:
    """The shade 0..9 of a cell by its share of the true class; the root makes a few per cent visible.

    Example:
        >>> shade(0.0), shade(0.01), shade(0.25), shade(1.0)
        (0, 1, 5, 9)
    """
    return min(LEVELS, math.ceil(LEVELS * math.sqrt(share) - 1e-9))


def confusion_svg(confusion: npt.NDArray[np.int64], names: Sequence[str]) -> Markup:
    """The confusion matrix: rows are true classes, columns predicted ones, empty cells are not drawn.

    The page's script finds a cell by its `data-cell` ("true,predicted") and a name by its `data-row` or `data-column`.
    Of many classes, all cells of one shade are one path with a `data-shade`, which the script draws anew.
    """
    side = cell_px(len(names))
    left, top = _label_room(names, side)
    extent = side * len(names)
    width, height = left + extent + (max(24, top - side / 2) if left else 0), top + extent  # names lean to the right
    labelled = "labelled" if left else "dense"
    opening = Markup(
        '<svg class="matrix {}" viewBox="0 0 {} {}" width="{}" height="{}" data-side="{}" data-left="{}" data-top="{}" '
        'role="img" aria-label="Confusion matrix of {} classes">'
    ).format(labelled, width, height, width, height, side, left, top, len(names))
    ground = Markup('<rect class="ground" x="{}" y="{}" width="{}" height="{}"/>').format(left, top, extent, extent)
    cells = _cells(confusion, side, left, top) if left else _dense_cells(confusion, side)
    labels = _labels(names, side, left, top) if left else Markup("")
    return opening + ground + cells + labels + _pointer(side, left, top, extent) + Markup("</svg>")


def _pointer(side: float, left: float, top: float, extent: float) -> Markup:
    """The frame of the cell the reader is at, and bands along its row and its column; the script moves them."""
    shape = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" visibility="hidden"/>')
    row, column = ("band", left, top, extent, side), ("band", left, top, side, extent)
    return Markup("").join(shape.format(*place) for place in (row, column, ("cursor", left, top, side, side)))


def cell_px(classes: int) -> float:
    """The side of a cell: roomy for a few classes, 3 px for hundreds."""
    if classes <= LABELLED_UP_TO:
        return max(18, min(max(46, 240 // max(classes, 1)), 560 // max(classes, 1)))
    return max(3.0, round(680 / classes, 1))


def _label_room(names: Sequence[str], side: float) -> tuple[float, float]:
    """Room left of and above the cells, in px; none where names would not fit."""
    if len(names) > LABELLED_UP_TO:
        return 0, 0
    longest = max(len(shortened(name)) for name in names)
    font = _font_px(side)
    return 14 + round(longest * font * 0.62), 14 + round(longest * font * 0.46)


def _font_px(side: float) -> float:
    return 14 if side >= 26 else 11


def _cells(confusion: npt.NDArray[np.int64], side: float, left: float, top: float) -> Markup:
    totals = np.maximum(confusion.sum(axis=1), 1)
    gap = 1.5 if side >= 18 else 0
    rows, columns = np.nonzero(confusion)
    parts = []
    for true, predicted in zip(rows.tolist(), columns.tolist(), strict=True):
        count = int(confusion[true, predicted])
        level = shade(count / totals[true])
        x, y = left + predicted * side, top + true * side
        kind = "h" if true == predicted else "m"
        parts.append(
            f'<rect class="{kind}{level}" data-cell="{true},{predicted}" x="{x:g}" y="{y:g}" '
            f'width="{side - gap:g}" height="{side - gap:g}"/>'
        )
        if len(confusion) <= NUMBERED_UP_TO:
            strong = " strong" if level >= 6 else ""
            parts.append(
                f'<text class="count{strong}" data-cell="{true},{predicted}" x="{x + (side - gap) / 2:g}" '
                f'y="{y + (side - gap) / 2:g}">{count}</text>'
            )
    return Markup('<g class="cells">' + "".join(parts) + "</g>")


def _dense_cells(confusion: npt.NDArray[np.int64], side: float) -> Markup:
    """One path for each shade: a browser draws twenty paths at once, and tens of thousands of cells slowly."""
    totals = np.maximum(confusion.sum(axis=1), 1)
    squares: dict[str, list[str]] = {
        f"{kind}{level}": [] for kind in ("h", "m") for level in range(1, LEVELS + 1)
    }  # every shade, since another order needs the same ones
    rows, columns = np.nonzero(confusion)
    for true, predicted in zip(rows.tolist(), columns.tolist(), strict=True):
        level = shade(confusion[true, predicted] / totals[true])
        kind = "h" if true == predicted else "m"
        squares[f"{kind}{level}"].append(f"M{predicted * side:g} {true * side:g}h{side:g}v{side:g}h-{side:g}z")
    paths = [f'<path class="{key}" data-shade="{key}" d="{"".join(parts)}"/>' for key, parts in squares.items()]
    return Markup('<g class="cells">' + "".join(paths) + "</g>")


def _labels(names: Sequence[str], side: float, left: float, top: float) -> Markup:
    font = _font_px(side)
    parts = []
    for index, name in enumerate(names):
        middle = index * side + side / 2
        title = Markup("<title>{}</title>{}").format(name, shortened(name))
        row = Markup('<text class="name row" data-row="{}" x="{}" y="{}" font-size="{}">{}</text>')
        parts.append(row.format(index, left - 8, top + middle, font, title))
        column = Markup(
            '<g data-column="{}" transform="translate({} {})"><text class="name column" transform="rotate(-45)" '
            'font-size="{}">{}</text></g>'
        )
        parts.append(column.format(index, left + middle, top - 8, font, title))
    return Markup("").join(parts)


def similarity_order(confusion: npt.NDArray[np.int64]) -> list[int]:
    """An order of the classes in which those often confused are neighbours, so that blocks show.

    Average linkage with optimal leaf order (Bar-Joseph et al. 2001) on 1 - the symmetrised row shares.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(confusion) < 3:
        return list(range(len(confusion)))
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    likeness = np.sqrt(shares + shares.T)
    np.fill_diagonal(likeness, 0)
    distance = likeness.max(initial=0) - likeness
    np.fill_diagonal(distance, 0)
    order: list[int] = leaves_list(linkage(squareform(distance), "average", optimal_ordering=True)).tolist()
    return order
