"""The map of the test features as inline SVG: a point per image, coloured by its class, mistakes ringed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from transferkit.metrics.outputs import Outputs
from transferkit.report.content import Content
from transferkit.report.short_names import shortened

WIDTH, HEIGHT, MARGIN = 640, 480, 14
COLOURED_UP_TO = 10  # classes the style sheet has colours for; more are told apart by pointing at them


def map_svg(content: Content, rows: Mapping[int, int]) -> Markup:
    """The drawing; the page's script finds an image of its list by a point's `data-image`.

    Args:
        content: With a map and outputs.
        rows: Row in the page's list of images by position in the test outputs.
    """
    test, feature_map = content.test, content.feature_map
    if test is None or feature_map is None or not len(feature_map.indices):
        return Markup("")
    x = MARGIN + feature_map.places[:, 0] * (WIDTH - 2 * MARGIN)
    y = MARGIN + feature_map.places[:, 1] * (HEIGHT - 2 * MARGIN)
    labels = test.require_labels()[feature_map.indices]
    wrong = test.predictions[feature_map.indices] != labels
    points = [
        f'<circle class="{_colour(label, len(test.class_names))}{" miss" * miss}" data-image="{rows[index]}" '
        f'data-class="{label}" cx="{across:.1f}" cy="{down:.1f}" r="{4 if miss else 3.2}"/>'
        for index, label, miss, across, down in sorted(
            zip(feature_map.indices.tolist(), labels.tolist(), wrong.tolist(), x.tolist(), y.tolist(), strict=True),
            key=lambda point: point[2],  # mistakes on top
        )
        if index in rows
    ]
    opening = Markup(
        '<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="Map of {} test images, {} of them mistakes">'
    ).format(WIDTH, HEIGHT, len(points), int(wrong.sum()))
    ring = Markup('<circle class="here" r="9" visibility="hidden"/>')
    return opening + Markup("".join(points)) + _names(test, labels, wrong, x, y) + ring + Markup("</svg>")


def _colour(label: int, classes: int) -> str:
    return f"k{label}" if classes <= COLOURED_UP_TO else "k"


def _names(test: Outputs, labels: np.ndarray, wrong: np.ndarray, x: np.ndarray, y: np.ndarray) -> Markup:
    """Each class's name in the middle of its hits, where the classes are few."""
    if len(test.class_names) > COLOURED_UP_TO:
        return Markup("")
    parts = []
    for label, name in enumerate(test.class_names):
        own = (labels == label) & ~wrong
        if own.any():
            text = Markup('<text class="name" x="{:.0f}" y="{:.0f}">{}</text>')
            parts.append(text.format(float(np.median(x[own])), float(np.median(y[own])), shortened(name)))
    return Markup("").join(parts)


def map_words(content: Content) -> str:
    """What the map shows, with n, or why there is none."""
    feature_map, n = content.feature_map, content.scores.n if content.scores else 0
    if feature_map is None or content.test is None:
        return ""
    if feature_map.reason:
        return f"There is no map: {feature_map.reason}."
    among = f"{len(feature_map.indices):,} of {n:,}" if len(feature_map.indices) < n else f"all {n:,}"
    few = len(content.class_names) <= COLOURED_UP_TO
    colours = "Coloured by label" if few else "The dots of one label light up together"
    return (
        f"Features of {among} test images, correct and wrong ones in their true proportion, laid out by t-SNE: "
        f"neighbours are alike to the network; distances between groups mean nothing. {colours}; mistakes have a rim."
    )
