"""Soups: means of weights by hand, runs that predict, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from digits_recipe import digits

import transferkit
from transferkit import report
from transferkit.run import run
from transferkit.runs.run_directory import Run
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors
from transferkit.studies.soup.soup import cook, mean_weights


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two seeds of one short training."""
    folder = tmp_path_factory.mktemp("seeds")
    return [run(digits(epochs=1, refit=False, seed=seed), folder / f"seed{seed}", console=SILENT) for seed in (0, 1)]


def weights_of(made: Run) -> dict[str, Any]:
    return dict(read_tensors(made.path / "model.safetensors")[0])


def test_mean_of_weights_keeps_dtype_and_counters() -> None:
    first = {"weight": torch.tensor([1.0, 2.0]), "num_batches_tracked": torch.tensor(7)}
    second = {"weight": torch.tensor([3.0, 6.0]), "num_batches_tracked": torch.tensor(9)}

    mean = mean_weights([first, second])

    assert mean["weight"].tolist() == [2.0, 4.0]
    assert mean["weight"].dtype == torch.float32
    assert mean["num_batches_tracked"] == 7


def test_uniform_soup_is_a_run_with_the_mean_of_the_weights(seeds: list[Run], tmp_path: Path) -> None:
    soup = cook([made.path for made in seeds], tmp_path / "soup", console=SILENT)

    one, other, mean = (weights_of(made)["head.weight"] for made in (*seeds, soup))
    assert torch.allclose(mean, (one + other) / 2, atol=1e-6)
    assert soup.is_finished
    assert soup.has_page
    assert soup.facts.notes[-1].startswith("a soup (uniform): the mean of the weights of seed0, seed1")
    assert len(transferkit.load(soup).class_names) == 10


def test_a_soup_is_not_taken_for_one_of_other_runs(seeds: list[Run], tmp_path: Path) -> None:
    again = run(digits(epochs=1, refit=False, seed=1), tmp_path / "again", console=SILENT)
    soup = cook([made.path for made in seeds], tmp_path / "soup", console=SILENT)

    assert cook([seeds[0].path, seeds[1].path], soup.path, console=SILENT).facts == soup.facts
    with pytest.raises(
        TransferkitError,
        match=r"a finished run with soup=uniform of seed0 of 20\S+, seed1 of 20\S+, and soup=uniform of again of 20",
    ):
        cook([seeds[0].path, again.path], soup.path, console=SILENT)
    with pytest.raises(TransferkitError, match=r"soup=uniform of .* and soup=greedy of seed0"):
        cook([made.path for made in seeds], soup.path, greedy=True, console=SILENT)


def test_a_run_that_is_named_twice_is_one(seeds: list[Run], tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="at least two finished runs, and here is 1"):
        cook([seeds[0].path, seeds[0].path / ".." / "seed0"], tmp_path / "soup", console=SILENT)


def test_greedy_soup_is_no_worse_on_val_than_the_best_run(seeds: list[Run], tmp_path: Path) -> None:
    soup = cook([made.path for made in seeds], tmp_path / "soup", greedy=True, console=SILENT)

    best = max(made.outputs("val").is_right.mean() for made in seeds)
    assert soup.outputs("val").is_right.mean() >= best
    (finding,) = [finding for finding in report.findings(soup) if finding.code == "TK033"]
    assert finding.observed.endswith("val images chose among 2 runs, where 500 can")


def test_runs_of_other_recipes_and_single_runs_are_refused(seeds: list[Run], tmp_path: Path) -> None:
    other = run(digits(epochs=1, refit=False, lr=0.001), tmp_path / "other", console=SILENT)

    with pytest.raises(TransferkitError, match=r"in more than its seed: method.lr is 0.001 and open"):
        cook([seeds[0].path, other.path], tmp_path / "soup", console=SILENT)
    with pytest.raises(TransferkitError, match="at least two finished runs, and here is 1"):
        cook([seeds[0].path], tmp_path / "soup", console=SILENT)


@pytest.mark.slow
def test_python_call_is_the_command(seeds: list[Run], tmp_path: Path) -> None:
    made = transferkit.soup(seeds[0], str(seeds[1].path), out=tmp_path / "python", quiet=True)

    expected = weights_of(cook([run.path for run in seeds], tmp_path / "command", console=SILENT))
    found = weights_of(made.folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
