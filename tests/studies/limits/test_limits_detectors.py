"""What detectors are good for, and what sets of classes do away from home: on numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from limits_reports import calm, share, shift, unknown_set
from rich.console import Console

from transferkit import ood
from transferkit.metrics.outputs import Outputs
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.limits.candidate_sets import SetsElsewhere, promise_of, sets_elsewhere
from transferkit.studies.limits.detectors import OwnScores
from transferkit.studies.limits.image_sets import require_dropped
from transferkit.studies.limits.markdown import limits_markdown
from transferkit.studies.limits.nuisance import BackgroundReliance, SafeRange, SweepCell, SweepReport, SweepRow
from transferkit.studies.limits.out_of_distribution import DetectorRow, detector_rows
from transferkit.studies.limits.page import detectors_table, limits_page, unfolded
from transferkit.studies.limits.report import Summary, SummaryLine
from transferkit.studies.limits.sweep_curves import sweep_curves


def sure(*shares: float, right: bool = True) -> Outputs:
    """Two-class images that give the first class these probabilities; it is the true one, or not."""
    p = np.array(shares)
    labels = np.full(len(p), 0 if right else 1)
    names = tuple(map(str, range(len(p))))
    return Outputs(np.zeros((len(p), 1)), np.log(np.stack([p, 1 - p], axis=1)), labels, names, ("cat", "dog"))


def test_a_detector_is_judged_on_strangers_by_the_sets_and_on_errors_by_test_alone() -> None:
    own = OwnScores(val={}, test={"knn": np.array([1.0, 2.0, 3.0, 4.0])})
    right = np.array([True, True, False, True])  # the wrong one lies above two of three right ones

    row = detector_rows(["knn"], [unknown_set(), unknown_set()], own, right)[0]

    assert row.strangers == pytest.approx(0.97)
    assert row.errors == pytest.approx(2 / 3)
    assert row.errors_interval[0] < 2 / 3 < row.errors_interval[1]


def test_without_unknown_images_or_without_errors_a_column_has_no_number() -> None:
    own = OwnScores(val={}, test={"knn": np.array([1.0, 2.0])})

    assert detector_rows(["knn"], [], own, np.array([True, True])) == (DetectorRow("knn", None, None, None),)


def test_the_terminal_explains_every_detector_in_a_line_of_eighty_columns() -> None:
    console = Console(width=80, file=StringIO())
    rows = tuple(DetectorRow(name, 0.5, 0.5, (0.4, 0.6)) for name in ood.DETECTORS)
    report = replace(calm(), unknown=replace(calm().unknown, detectors=rows))

    console.print(detectors_table(report))
    lines = console.file.getvalue().splitlines()

    assert len(lines) == 1 + len(ood.DETECTORS)
    assert any(line.rstrip().split(maxsplit=3)[::3] == ["mds++", ood.in_words("mds++")] for line in lines)


def test_sets_of_classes_are_counted_by_the_promise_of_val() -> None:
    promise = promise_of(sure(*np.linspace(0.6, 0.99, 40)))  # the 37th of 40: every class with p of .63 or more

    there = sets_elsewhere(promise, sure(0.9, 0.7, 0.6, 0.2))  # holds cat, cat, neither, dog

    assert (there.coverage.hits, there.coverage.n) == (2, 4)
    assert there.mean_size == pytest.approx(3 / 4)


def test_nothing_is_counted_where_val_promises_nothing() -> None:
    assert promise_of(sure(0.9, 0.9)) is None
    assert sets_elsewhere(None, sure(0.9)) is None


def test_classes_cannot_be_dropped_from_no_set() -> None:
    with pytest.raises(TransferkitError, match="out of the sets of --ood, and none was given"):
        require_dropped([], ["cat"])


def test_sections_are_open_where_the_summary_found_something_and_where_there_is_something() -> None:
    weak = SummaryLine("S8", "amber", "It is weak on “cat”.", "n = 30")
    moved = SummaryLine("S7", "red", "Errors that nobody sees.", "n = 30")
    report = replace(calm(), summary=Summary(lines=(weak, moved, moved)))

    assert unfolded(report) == {"own": ["S8"], "unknown": [], "corruptions": ["S7"]}  # no other images were given


def test_a_sweep_is_drawn_through_the_unchanged_image_on_an_axis_of_shares() -> None:
    cells = (SweepCell(0.5, share(0.4), share(0.6)), SweepCell(2.0, share(0.9), share(0.1)))
    row = SweepRow("scale", "times the size", cells, SafeRange(1.0, 2.0, "1 to 2"))
    background = BackgroundReliance(share(0.1), 0.1, False, "")

    drawing = str(sweep_curves(SweepReport(100, share(0.9), (row,), background))[0].drawing)

    assert "right times the size 1: 90 %" in drawing
    assert "answers changed times the size 1: 0 %" in drawing
    assert drawing.count("<circle") == 2 * 3
    assert 'class="safe"' in drawing


def test_the_page_tells_whether_sets_keep_their_promise_under_corruption_and_elsewhere() -> None:
    there = SetsElsewhere(share(0.71), 2.4)
    cells = tuple(replace(cell, sets=there) for cell in calm().corruptions.cells)
    corrupted = replace(calm().corruptions, cells=cells, clean_sets=SetsElsewhere(share(0.9), 1.3))
    elsewhere = (replace(shift("camera"), sets=there),)
    summary = Summary(lines=(SummaryLine("S8", "amber", "It is weak on “cat”.", "n = 30"),))
    report = replace(calm(), corruptions=corrupted, shift=elsewhere, summary=summary)

    page, text = limits_page(report, np.zeros((0, 3, 8, 8), np.uint8)), limits_markdown(report)

    assert "Do candidate sets keep their promise?" in page
    assert "71 <small>2.4</small>" in page
    assert '<td class="number">2.4</td>' in page  # of the other images
    assert "| fog | 71.0 %, 2.4 |" in text.replace("\xa0", " ")
