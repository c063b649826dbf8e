"""The grid of small CNNs: which networks it has, what they cost by hand, and what may be said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.models import create
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab.convolution_grid import (
    ConvolutionGrid,
    GridRow,
    GridSettings,
    GridTraining,
    measure,
    multiply_adds,
    recipe_of,
    rows,
    variants,
)
from transferkit.studies.lab.convolution_grid_words import table_rows


def row(name: str, difference: float | None = None, *, differs: bool = False) -> GridRow:
    interval = None if difference is None else (difference - 0.02, difference + 0.02)
    return GridRow(name, (0.5, 0.7), difference, interval, differs, macs=1000, parameters=10, seconds=1.0)


def grid(*grid_rows: GridRow, seeds: int = 2) -> ConvolutionGrid:
    return ConvolutionGrid("shapes", 30, 100, 8, seeds, "CPU", grid_rows, {})


def test_without_keys_one_thing_changes_at_a_time_and_all_four_paddings_are_there() -> None:
    networks = variants([])

    assert networks[0] == ()
    assert len(networks) == 12
    paddings = {key for keys in networks for key in keys if key.startswith("padding_mode")}
    assert paddings == {f"padding_mode={mode}" for mode in ("constant", "reflect", "replicate")}
    modes = {recipe_of(keys, GridSettings(), 0).backbone.padding_mode for keys in networks}  # type: ignore[union-attr]
    assert modes == {"zeros", "constant", "reflect", "replicate"}


@pytest.mark.parametrize("text", ["kernel", "kernel=", "=3", "kernel=3,,5"])
def test_a_key_without_values_is_refused(text: str) -> None:
    with pytest.raises(TransferkitError, match=r"Expected KEY=VALUE,VALUE, as in kernel=1,3,5 or pool=max"):
        variants([text])


def test_a_grid_that_takes_hours_is_refused() -> None:
    values = ",".join(map(str, range(1, 16)))
    with pytest.raises(TransferkitError, match=r"The grid has 225 networks. Give fewer values: at most 200."):
        variants([f"features={values}", f"kernel={values}"])


def test_an_unknown_key_names_the_nearest_one() -> None:
    with pytest.raises(TransferkitError, match="kernel"):
        recipe_of(("kernle=3",), GridSettings(), 0)


def test_costs_are_those_that_a_person_computes() -> None:
    keys = {"blocks": 1, "features": 4, "kernel": 3, "batchnorm": False, "dense": [5]}
    network = create("simple-cnn", ["a", "b"], size=8, weights="none", **keys)

    # 4 features of 3 x 3 x 3 weights at 64 places; 4 x 4 x 4 values to 5; 5 to 2 classes
    assert multiply_adds(network, 8) == 4 * 27 * 64 + 64 * 5 + 5 * 2


def test_a_difference_is_the_mean_of_one_network_less_that_of_the_first() -> None:
    network = create("simple-cnn", ["a", "b"], size=8, weights="none", blocks=1, features=1, dense=[2])
    half, most = np.arange(200) % 2 == 0, np.arange(200) % 10 != 0
    trainings = {
        "first": [GridTraining(half, 3.0)] * 3,
        "second": [GridTraining(most, 1.0), GridTraining(most, 9.0), GridTraining(most, 2.0)],
    }

    first, second = rows({"first": network, "second": network}, trainings, 8)

    assert (first.accuracies, first.difference, first.differs) == ((0.5, 0.5, 0.5), None, False)
    assert second.difference == pytest.approx(0.9 - 0.5)
    assert second.differs
    assert second.seconds == 2.0


def test_sentences_say_what_is_beyond_chance_and_name_the_rest() -> None:
    lines = grid(row("reference"), row("kernel=1", -0.38, differs=True), row("pool=average", -0.05)).sentences

    assert lines == (
        "reference: 60.0 % (50.2 % to 69.1 % on other images like these).",  # Wilson's interval of 60 of 100
        "kernel=1: 38.0 points less (36.0 to 40.0).",
        "Not told apart from reference: pool=average; "
        "all 2 changes taken together (Holm), while ± in the table is of its row alone.",
    )


def test_one_seed_tells_no_difference() -> None:
    assert grid(row("reference"), seeds=1).sentences[-1] == "One seed tells no difference: use --seeds 2 or more."


def test_the_table_has_a_row_per_network() -> None:
    first, second = table_rows(grid(row("reference"), row("kernel=1", -0.38, differs=True)))

    assert first == ("reference", "60.0", "", "1,000", "10", "1.0")
    assert second[2] == "-38.0 ± 2.0"


def test_a_network_that_cannot_be_built_is_said_and_the_others_are_trained() -> None:
    settings = GridSettings(["blocks=1,5", "features=2"], epochs=1, seeds=1, threads=1)

    measured = measure(settings, SILENT)

    assert [row.name for row in measured.rows] == ["blocks=1 features=2"]
    assert "would leave no map" in measured.refused["blocks=5 features=2"]
    assert measured.n == 684  # 0.4 of 6 x 300 drawn shapes without the sealed 5 %


def test_the_command_draws_and_prints(tmp_path: Path) -> None:
    figure = tmp_path / "grid.svg"
    arguments = ["lab", "convolution", "kernel=1,3", "features=2", "--epochs", "1", "--seeds", "1"]

    result = CliRunner().invoke(app, [*arguments, "--out", str(figure), "--json"])

    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert [row["name"] for row in printed["rows"]] == ["kernel=1 features=2", "kernel=3 features=2"]
    assert printed["rows"][0]["macs"] < printed["rows"][1]["macs"]
    assert "kernel=3 features=2" in figure.read_text(encoding="utf-8")
