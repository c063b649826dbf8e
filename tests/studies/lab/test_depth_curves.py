"""Plain and residual networks of two depths: what is judged, and what may be said of the errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.depth_curves import Curves, DepthCurves, DepthSettings, depths, measure
from transferkit.studies.lab.depth_words import table_rows


def curves(*last_errors: float) -> Curves:
    """Of one seed for each error; the start is at chance."""
    return Curves(tuple((0.9, error) for error in last_errors), tuple((0.9, error + 0.05) for error in last_errors))


def result(**networks: Curves) -> DepthCurves:
    return DepthCurves("digits", 454, 454, 200, 1, 2, "CPU", networks)


def test_the_shallowest_and_the_deepest_of_a_kind_are_compared() -> None:
    names = dict.fromkeys(("resnet56", "plain56", "plain20", "resnet110", "resnet20"), curves(0.1))

    assert depths(names, "resnet") == ("resnet20", "resnet110")
    assert depths({"plain20": curves(0.1)}, "plain") is None


def test_a_sentence_counts_the_seeds_in_which_the_deeper_network_learns_its_own_images_less_well() -> None:
    networks = {"plain20": curves(0.1, 0.2), "plain56": curves(0.5, 0.15), "resnet20": curves(0.1, 0.1)}

    assert result(**networks).sentences == (
        "plain56 has the larger error on its own training images in 1 of 2 seeds: 32.5 % against 15.0 % of plain20.",
    )


def test_the_table_has_wilsons_interval_and_the_spread_of_seeds() -> None:
    # 0.2 of 200 images: 40; centre (0.2 + 1.9207 / 200) / (1 + 3.8415 / 200) = 0.2057, half width 0.0552
    (row,) = table_rows(result(plain20=curves(0.1, 0.2)))

    assert row == ("plain20", "15.0", "20.0 (15.0-26.1)", "10.0-20.0 on train")


def test_an_unknown_network_is_refused_before_any_training() -> None:
    with pytest.raises(TransferkitError, match="plain20"):
        measure(DepthSettings(["plian20"]), SILENT)


def test_the_command_trains_judges_each_epoch_and_draws(tmp_path: Path) -> None:
    figure = tmp_path / "depth.svg"
    arguments = ["lab", "depth", "plain20", "--epochs", "1", "--seeds", "1", "--out", str(figure), "--json"]

    printed = CliRunner().invoke(app, arguments)

    assert printed.exit_code == 0, printed.output
    measured = json.loads(printed.stdout)
    assert measured["n"] == 445
    assert [len(errors) for errors in measured["networks"]["plain20"]["train"]] == [2]  # the start and one epoch
    assert measured["networks"]["plain20"]["unseen"][0][0] == pytest.approx(0.9, abs=0.06)  # ten classes, untrained
    assert "plain20, unseen" in figure.read_text(encoding="utf-8")
