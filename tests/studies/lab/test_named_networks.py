"""One way of naming networks in all teaching tools, and what is said where the other kind is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.lab import gradient_flow
from transferkit.studies.lab.depth_curves import DepthSettings, measure
from transferkit.studies.lab.gradient_flow import GradientFlowSettings
from transferkit.studies.lab.named_networks import named_network, run_on_val
from transferkit.studies.lab.shift_consistency import Shifted, draw


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained network."""
    folder = tmp_path_factory.mktemp("named") / "run"
    transferkit.scratch("simple-cnn", data="digits", out=folder, quiet=True, epochs=1, limit_per_class=6)
    return folder


def test_a_run_is_named_by_its_folder_and_brings_its_network_and_its_val_images(run: Path) -> None:
    named, opened = named_network(str(run), "imagenet", None, SILENT), run_on_val(run, SILENT, "cpu")

    assert named.name == "simple-cnn"
    assert named.classifier.class_names == opened.val.class_names
    assert not opened.classifier.training


def test_a_backbone_where_a_run_is_needed_says_how_to_make_one() -> None:
    with pytest.raises(TransferkitError, match=r"resnet20 is a backbone; .*`transferkit scratch resnet20 --data YOUR_"):
        run_on_val(Path("resnet20"), SILENT, "cpu")


def test_a_run_where_random_weights_are_trained_names_its_backbone(run: Path) -> None:
    told = r"is a run. This trains networks from random weights, so name the backbone: simple-cnn"
    with pytest.raises(TransferkitError, match=told):
        measure(DepthSettings([str(run)]), SILENT)
    with pytest.raises(TransferkitError, match=told):
        gradient_flow.recipe_of(str(run), GradientFlowSettings(), 0)


def test_shifts_are_drawn(tmp_path: Path) -> None:
    draw([Shifted(0, 9, 0.9, 1.0, (0.8, 1.0)), Shifted(1, 9, 0.5, 0.6, (0.4, 0.8))], tmp_path / "shifts.svg")

    assert "same answer as at rest" in (tmp_path / "shifts.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "typed", ["lab convolution", "lab depth", "lab equivariance", "lab softmax", "filters resnet20", "modes run"]
)
def test_a_figure_of_another_format_is_refused_before_any_work(typed: str) -> None:
    result = CliRunner().invoke(app, [*typed.split(), "--out", "figure.gif"])

    assert isinstance(result.exception, TransferkitError)
    assert "Cannot draw a figure as 'figure.gif'" in str(result.exception)
    assert "Starting" not in result.output
