"""The head of a page says what was found, and no more than the intervals show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pages import study

from transferkit.studies.compare.headlines import comparison_headline, curve_headline
from transferkit.studies.compare.results import Arm, Comparison, LabelCurve, LabelPoint
from transferkit.studies.lab.gradient_flow_page import headline
from transferkit.studies.lab.gradient_flow_results import GradientFlow, TwinComparison


def arm(name: str, mean: float, half: float = 0.01) -> Arm:
    return Arm(name, (), 1, (mean,), mean, None, (mean - half, mean + half), 1)


def curve(*rows: tuple[int | Literal["all"], float, float]) -> LabelCurve:
    """Of a probe and of scratch over labels, of two classes; `all` are 400 of each."""
    points = []
    for labels, probe, scratch in rows:
        compared = Comparison("probe", 900, (arm("probe", probe), arm("scratch", scratch)), (), "")
        points.append(LabelPoint(labels, 2 * (400 if labels == "all" else labels), 0, compared))
    return LabelCurve("probe", 900, "images", ("probe", "scratch"), tuple(points), "", "", ("cat", "dog"))


def test_a_winner_that_is_shown_is_the_headline(tmp_path: Path) -> None:
    found = replace(study(tmp_path), over="seeds", leaders=("finetune",))
    better = replace(found, arms=(found.arms[0], replace(found.arms[1], mean=0.851)))

    assert comparison_headline(better) == "finetune beats scratch: 85.1 % against 82.0 %"


def test_runs_of_one_seed_are_told_as_runs(tmp_path: Path) -> None:
    assert ", in these runs: " in comparison_headline(study(tmp_path))


def test_arms_that_cannot_be_told_apart_are_no_winner(tmp_path: Path) -> None:
    found = replace(study(tmp_path), pairs=(), leaders=("scratch", "finetune"))

    assert comparison_headline(found) == "No clear winner: scratch (82.0 %) and finetune (82.0 %) cannot be told apart"


def test_a_curve_says_how_many_labels_are_saved() -> None:
    found = curve((1, 0.5, 0.3), (10, 0.75, 0.6), (30, 0.79, 0.7), ("all", 0.8, 0.85))

    assert curve_headline(found) == "With 10 labels per class, probe gets what scratch needs more than 30 for"


def test_a_curve_says_where_all_labels_are_not_enough() -> None:
    found = curve((1, 0.5, 0.3), (10, 0.75, 0.4), ("all", 0.8, 0.7))

    assert curve_headline(found) == "With 10 labels per class, probe gets more right than scratch with all labels"


def test_a_curve_of_equal_arms_claims_nothing() -> None:
    assert (
        curve_headline(curve((1, 0.5, 0.5), (10, 0.51, 0.5))) == "At no number of labels are the arms shown to differ"
    )


def flow(*rows: TwinComparison) -> GradientFlow:
    return GradientFlow(1, "digits", 9, 9, 8, 1, 3, "cpu", "", {}, rows)


def twin(moment: str, mean: float, low: float, high: float) -> TwinComparison:
    return TwinComparison("plain56", "resnet56", moment, mean, low, high, ())


def test_gradient_flow_names_the_largest_difference_that_the_seeds_agree_on() -> None:
    found = flow(twin("start", 50.0, 0.9, 90.0), twin("trained", 0.0625, 0.03, 0.2))

    words = "Early gradients of plain56 are 16 times smaller than those of resnet56 after 1 epoch"
    assert headline(found) == words


def test_gradient_flow_claims_nothing_where_seeds_disagree() -> None:
    assert headline(flow(twin("start", 1.2, 0.5, 3.0))).startswith("Seeds disagree")
