"""Charts that cannot be misread: no style twice, ticks on every range, names that do not collide, cuts that show."""

from __future__ import annotations

import math
import random
import re
from itertools import combinations

import pytest

from transferkit.report.label_places import MARK_PX, Box, place_labels
from transferkit.report.svg_log_axis import log_ticks
from transferkit.report.svg_marks import key, mark, styles
from transferkit.report.svg_scatter import CostPoint, accuracy_over_cost
from transferkit.report.svg_whiskers import difference_whisker, whisker

BACKBONES = ("resnet18", "vgg16", "alexnet")
METHODS = ("scratch", "probe", "finetune")
FIFTEEN = [(backbone, method) for backbone in BACKBONES for method in (*METHODS, "finetune", "finetune")]


def cost_points(count: int, seed: int) -> list[CostPoint]:
    """Points that crowd together, as arms of one kind do."""
    draw = random.Random(seed)
    chosen = styles([(f"backbone{number}", "probe") for number in range(count)])
    accuracies = [0.85 + 0.02 * draw.random() for _ in range(count)]
    return [
        CostPoint(
            60 + draw.random(), share, (share - 0.01, share + 0.01), f"backbone-number-{number}", "", chosen[number]
        )
        for number, share in enumerate(accuracies)
    ]


def test_colour_tells_the_backbone_and_shape_the_method() -> None:
    chosen = dict(zip(FIFTEEN, styles(FIFTEEN), strict=False))

    assert len({chosen[backbone, "probe"].shape for backbone in BACKBONES}) == 1
    assert len({chosen["vgg16", method].colour for method in METHODS}) == 1


@pytest.mark.parametrize(
    "kinds", [FIFTEEN, [(f"backbone{n}", "probe") for n in range(30)], [("resnet18", "probe")] * 15]
)
def test_no_style_is_used_twice(kinds: list[tuple[str, str]]) -> None:
    assert len(set(styles(kinds))) == len(kinds)


def test_every_one_of_twenty_marks_looks_different() -> None:
    drawn = {mark(style, (0, 0)) for style in styles([("resnet18", "probe")] * 20)}

    assert len(drawn) == 20


def test_a_legend_is_drawn_with_the_marks_it_explains() -> None:
    style = styles(FIFTEEN)[7]

    (entry,) = key([("vgg16 finetune", style)])

    assert str(mark(style, (7, 7))) in entry.swatch
    assert style.classes in entry.swatch


@pytest.mark.parametrize("low", [-3.0, -0.4, 0.02, 1.7, 9.3])
@pytest.mark.parametrize("length", [0.01, 0.04, 0.2, 0.5, 1.0, 2.5, 6.0, 14.0])
def test_a_logarithmic_axis_has_two_to_eight_ticks_however_short(low: float, length: float) -> None:
    values = log_ticks(low, low + length)

    assert 2 <= len(values) <= 8
    assert all(low - 1e-9 <= math.log10(value) <= low + length + 1e-9 for value in values)


@pytest.mark.parametrize("seed", range(5))
def test_names_of_fifteen_points_lie_on_no_other_name_and_no_mark(seed: int) -> None:
    draw = random.Random(seed)
    points = [(draw.uniform(200, 340), draw.uniform(30, 150)) for _ in range(15)]

    labels = place_labels(points, [f"resnet18 finetune {n}" for n in range(15)], Box(46, 0, 360, 160))

    boxes = [label.box for label in labels if label]
    marks = [Box(x - MARK_PX, y - MARK_PX, x + MARK_PX, y + MARK_PX) for x, y in points]
    assert len(boxes) >= 8  # the legend has them all
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    assert not [box for box in boxes if any(box.overlaps(place) for place in marks)]


def test_fewer_points_all_have_their_names() -> None:
    points = [(100.0, 50.0), (104.0, 52.0), (320.0, 90.0)]

    assert all(place_labels(points, ["scratch", "probe", "finetune"], Box(46, 0, 360, 160)))


def test_a_cost_that_hardly_differs_has_ticks_that_differ() -> None:
    drawn = accuracy_over_cost(
        cost_points(6, 0), "Accuracy over time", lambda value: f"{value / 60:.0f} min", "seconds"
    )

    below = re.findall(r'y="175" text-anchor="middle">([^<]+)<', str(drawn))
    assert len(below) >= 2
    assert len(set(below)) == len(below)
    assert "seconds, log scale" in drawn


def test_a_whisker_on_a_scale_uses_its_whole_length() -> None:
    assert 'x1="25.0" y1="5" x2="75.0"' in whisker(0.85, (0.825, 0.875), (0.8, 0.9))


def test_what_a_difference_cuts_is_marked() -> None:
    assert difference_whisker(0.1, (0.0, 0.2), 0.3).count("cut") == 0
    assert difference_whisker(0.25, (0.1, 0.4), 0.3).count("cut") == 1
    assert 'class="dot"' not in difference_whisker(-0.5, (-0.6, -0.4), 0.3)
