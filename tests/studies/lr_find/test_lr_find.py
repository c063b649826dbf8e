"""The learning-rate finder: its rules by hand, weights untouched, a page with a plot."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from digits_recipe import digits
from typer.testing import CliRunner

import transferkit
from transferkit import run as story
from transferkit.cli.app import app
from transferkit.data import datasets
from transferkit.runs.facts import SettledRates
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lr_find.page import rate_page
from transferkit.studies.lr_find.rate_range import RateRange, find_rate, range_test, steepest, valley
from transferkit.training import parameter_groups, resolved_training

RATES = [10.0**power for power in range(-9, 1)]


def test_the_valley_lies_in_the_middle_of_the_longest_fall() -> None:
    losses = [5.0, 5.1, 5.2, 4.0, 3.0, 2.0, 1.0, 0.5, 7.0, 9.0]

    # the longest falling subsequence is 5.0 or so to 0.5: six values that end at index 7, so fastai begins at index 1;
    # a third of 6 steps is 2, half of it 1: index 1 + 2 + 1
    assert valley(RATES, losses) == RATES[4]


def test_the_steepest_rate_is_that_of_the_fastest_fall_per_decade() -> None:
    assert steepest(RATES, [5.0, 5.0, 5.0, 4.9, 3.0, 1.0, 0.9, 0.9, 0.9, 9.0]) == RATES[4]


def test_weights_and_statistics_are_as_they_were_after_rising_rates() -> None:
    recipe = digits()
    runtime, splits = story.start_machine(recipe), datasets.load(recipe.data, SILENT)
    recipe, size = story.resolved(recipe, splits)
    classifier = story.load_network(recipe, splits, size, SILENT)
    assert recipe.method.training is not None
    rates_of = SettledRates("train", "sgd", lr=0.03, clip_norm=0.0, head_lr=0.03, weight_decay=0.0)
    training = resolved_training(recipe.method.training, rates_of)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    rates, losses = range_test(
        classifier, splits.train, training, parameter_groups(classifier, training), Context(runtime, SILENT, 0), 30
    )

    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-7)
    assert len(losses) == len(rates) <= 30
    assert all(map(math.isfinite, losses))


def test_a_finding_names_its_rules_and_its_page_draws_the_curve() -> None:
    rate_range = find_rate(digits(), SILENT, steps=30)

    page = rate_page(rate_range, "transferkit lr-find resnet20")

    assert rate_range.valley in rate_range.rates
    assert "valley, fastai's default rule" in rate_range.lines[0]
    assert "Smith 2015" in rate_range.lines[1]
    assert "<polyline" in page
    assert isinstance(rate_range, RateRange)


def a_range(valley: float = 0.01, steepest: float = 0.1, default: float = 0.03) -> RateRange:
    return RateRange("resnet20", (1e-3, 1e-2, 1e-1, 1.0), (3.0, 2.0, 1.0, 5.0), valley, steepest, default)


def test_the_curve_marks_the_suggestions_where_they_lie() -> None:
    page = rate_page(a_range(), "transferkit lr-find resnet20")

    # the axis goes from 46 to 346 px for rates from 1e-3 to 1: 100 px for each power of ten
    # the names stand right of them, that of the smallest rate on top, so that no line crosses another one's name
    marks = ((146, 12, "valley 0.01"), (193.7, 25, "finetune 0.03"), (246, 38, "steepest 0.1"))
    for x, top, name in marks:
        assert f'<line class="diagonal" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="160.0"/>' in page
        assert f'x="{x + 4:.1f}" y="{top + 9}" text-anchor="start">{name}</text>' in page


def test_a_rate_beyond_the_axis_is_not_marked() -> None:
    page = rate_page(a_range(default=7.0), "transferkit lr-find resnet20")

    assert page.count('class="diagonal"') == 2


def test_the_python_call_takes_a_network_of_ones_own_and_leaves_a_page(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )

    rate_range = transferkit.lr_find(
        network, "digits", size=8, limit_per_class=8, precision="fp32", out=tmp_path / "page.html", quiet=True
    )

    assert repr(rate_range).startswith("RateRange: Suggested rate of own/Sequential")
    assert "transferkit.lr_find(...)" in (tmp_path / "page.html").read_text()
    with pytest.raises(TransferkitError, match=r"page\.html exists"):
        transferkit.lr_find(network, "digits", size=8, out=tmp_path / "page.html")


@pytest.mark.parametrize("command", ["lr-find", "tune"])
def test_a_mistake_is_said_of_the_command_that_was_typed(command: str) -> None:
    result = CliRunner().invoke(app, [command, "resnet20", "--data", "cifra10"])

    assert str(result.exception).startswith(f"transferkit {command}: ")


def test_a_page_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")

    result = CliRunner().invoke(app, ["lr-find", "resnet20", "--out", str(tmp_path / "page.html")])

    assert "exists. Choose another file" in str(result.exception)
    assert (tmp_path / "page.html").read_text() == "mine"
