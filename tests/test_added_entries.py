"""One file and one line are enough: an entry added to a menu goes through commands, estimates, pages and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toy_data
import toy_detector
import typer
from command_line import Result, image, transferkit
from PIL import Image
from toy_data import ToyData
from toy_method import ToySettings

from transferkit import ood
from transferkit.cli import app as cli
from transferkit.cli import compare, corrupt, export, limits, listings, runs
from transferkit.data.corruptions import CORRUPTIONS, Corruption
from transferkit.deploy.formats import FORMATS, Format
from transferkit.recipe import DATA_MODELS, METHOD_MODELS, from_options
from transferkit.runs.facts import ImageCounts
from transferkit.runs.run_directory import open_run

OPTIONS = ("--data", "toy-stripes", "--weights", "none")
LOOK = ("--corruptions", "none", "--leave-out", "none", "--no-sweeps")


@pytest.fixture(autouse=True, scope="module")
def with_toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The menus with a line more each, and the command line that they make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(METHOD_MODELS, "toy", ToySettings)
        patch.setitem(DATA_MODELS, "toy-stripes", ToyData)
        patch.setitem(ood.DETECTORS, "toy-distance", toy_detector)
        patch.setitem(FORMATS, "toy-classes", Format("toy_format", "the names of the classes"))
        patch.setitem(CORRUPTIONS, "toy_night", Corruption("extra", lambda x, share, _: share * x, DIMMED, DIMMED))
        patch.setattr(cli, "app", typer.Typer(pretty_exceptions_enable=False))
        for group in (runs, compare, limits, export, corrupt, listings):
            group.register(cli.app)
        yield


DIMMED = (0.8, 0.6, 0.4, 0.2, 0.0)  # what is left of the light at each severity


def succeeded(result: Result) -> str:
    assert result.returncode == 0, result.stderr
    return " ".join((result.stdout + result.stderr).split())


@pytest.fixture(scope="module")
def run(with_toys: None, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The toy method on the toy data set, as its command makes it."""
    folder = tmp_path_factory.mktemp("runs")
    succeeded(transferkit("toy", "resnet-mini", *OPTIONS, "--out", "toy", cwd=folder))
    return folder / "toy"


@pytest.fixture(scope="module")
def probe(run: Path) -> Path:
    """A probe of the same images, whose answers differ from image to image."""
    succeeded(transferkit("probe", "resnet-mini", *OPTIONS, "--size", "16", "--out", "probe", cwd=run.parent))
    return run.parent / "probe"


# -------------------------------------------------------------------------------------------------- a method


def test_a_method_that_is_added_has_a_command_with_its_words_and_its_keys(tmp_path: Path) -> None:
    told = succeeded(transferkit("toy", "--help", cwd=tmp_path, COLUMNS="200"))

    assert "Answer every image with the shares of the classes." in told
    assert "--size" in told
    assert "--epochs" not in told


def test_a_method_that_is_added_is_estimated(tmp_path: Path) -> None:
    told = succeeded(transferkit("toy", "resnet-mini", *OPTIONS, "--dry-run", cwd=tmp_path))

    assert "Estimate: 40 labelled and 20 test images, no epochs at 16 px" in told


def test_a_method_that_is_added_leaves_a_run_that_can_be_read_again(run: Path) -> None:
    finished = open_run(run)

    assert finished.recipe.method == ToySettings()
    assert json.loads((run / "evaluation.json").read_text())["test"]["accuracy"] == 0.5  # one and the same answer


def test_the_page_calls_an_added_method_by_its_own_words(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")

    assert "A toy on resnet-mini" in page
    assert "A toy is solved, not trained in epochs, so it has no learning curves." in page


def test_limits_of_an_added_method_are_measured(run: Path) -> None:
    succeeded(transferkit("limits", str(run), *LOOK, cwd=run.parent))

    assert "shares of the classes" in (run / "limits" / "limits.json").read_text(encoding="utf-8")


def test_an_added_method_is_compared_with_another(run: Path) -> None:
    arms = ("compare", "resnet-mini=none", "--methods", "probe,toy", "--data", "toy-stripes", "--size", "16")

    succeeded(transferkit(*arms, "--seeds", "1", "--out", "study", cwd=run.parent))

    arms_found = json.loads((run.parent / "study" / "comparison.json").read_text(encoding="utf-8"))["arms"]
    assert [(arm["name"], arm["length"]) for arm in arms_found] == [("probe", "solved"), ("toy", "solved")]


# ------------------------------------------------------------------------------------------------- a data set


def test_a_data_set_that_is_added_is_listed_with_its_terms(tmp_path: Path) -> None:
    assert "toy-stripes 2 - 16 x 16 px yes nobody's" in succeeded(transferkit("datasets", cwd=tmp_path, COLUMNS="200"))


def test_a_data_set_that_is_added_takes_its_own_keys_in_a_recipe() -> None:
    recipe = from_options("probe", "resnet18", "toy-stripes", {"per_class": 12}, ())

    assert recipe.data == ToyData(name="toy-stripes", per_class=12)
    assert toy_data.load(ToyData(name="toy-stripes"), None).train.class_names == ("across", "down")  # type: ignore[arg-type]


def test_a_data_set_that_is_added_is_learnt_from_and_named_in_the_run(probe: Path) -> None:
    data = open_run(probe).facts.data

    assert (data.name, data.terms) == ("toy-stripes", "nobody's")
    assert data.n == ImageCounts(train=36, val=4, test=20)


# ------------------------------------------------------------------- a detector, an export format, a corruption


def test_a_detector_that_is_added_stands_in_the_limits(probe: Path) -> None:
    succeeded(transferkit("limits", str(probe), "--ood", "digits", *LOOK, cwd=probe.parent))

    report = json.loads((probe / "limits" / "limits.json").read_text(encoding="utf-8"))
    scores = next(iter(report["unknown"]["sets"]))["scores"]
    assert 0 <= scores["toy-distance"]["auroc"] <= 1
    assert "toy-distance" in (probe / "limits" / "limits.html").read_text(encoding="utf-8")


def test_an_export_format_that_is_added_is_told_and_written(run: Path) -> None:
    told = succeeded(transferkit("export", "--help", cwd=run.parent, COLUMNS="300"))
    succeeded(transferkit("export", str(run), "--to", "toy-classes", cwd=run.parent))

    assert "toy-classes: the names of the classes" in told
    assert (run / "export" / "classes.txt").read_text(encoding="utf-8") == "across\ndown"


def test_a_corruption_that_is_added_changes_pictures(tmp_path: Path) -> None:
    image(tmp_path / "lamp.png", 100)

    succeeded(
        transferkit("corrupt", "lamp.png", "--name", "toy_night", "--severity", "5", "--out", "dark", cwd=tmp_path)
    )

    (copy,) = (tmp_path / "dark").rglob("*.png")
    assert np.asarray(Image.open(copy)).max() == 0
