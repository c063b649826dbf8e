"""What the Python calls return: a run that shows itself, tells its numbers and answers."""

from __future__ import annotations

import html
import re
import webbrowser
from pathlib import Path

import numpy as np
import pytest
from networks import batch

import transferkit
from transferkit.api.trained_run import TrainedRun
from transferkit.deploy.prediction_table import PredictionTable
from transferkit.runs.run_directory import open_run

PIXELS = batch(40, 8).numpy()
PIXELS[1::2] //= 4  # the dark ones
NAMES = ["<b>ight", "dark"] * 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = {"classifier": "raw-pixels", "C": 1.0, "test_fraction": 0.4}
    return transferkit.probe("resnet-mini", (PIXELS, NAMES), out=folder, quiet=True, **settings)


def test_a_run_prints_its_accuracy_and_where_its_page_is(run: TrainedRun) -> None:
    assert repr(run).splitlines() == [
        "A linear probe on raw pixels gets 100.0 % of 16 test images right (95 % interval: 80.6 to 100.0).",  # Wilson
        f"Report: {run.path / 'report.html'}",
    ]


def test_its_numbers_are_those_of_the_evaluation(run: TrainedRun) -> None:
    assert run.accuracy == run.evaluation.test.accuracy == 1.0
    assert run.interval == run.evaluation.test.interval
    assert run.confusion.tolist() == [[8, 0], [0, 8]]
    assert run.class_names == ("<b>ight", "dark")


def test_in_a_notebook_it_shows_tiles_and_matrix_escaped_and_a_link(run: TrainedRun) -> None:
    shown = run._repr_html_()

    page = html.unescape(re.findall(r'srcdoc="(.*?)" width', shown, flags=re.DOTALL)[0])
    assert "<dt>Test accuracy</dt>" in page
    assert 'aria-label="Confusion matrix of 2 classes"' in page
    assert "<b>ight" not in page
    assert f'href="{run.path / "report.html"}"' in shown


def test_what_takes_a_folder_takes_it(run: TrainedRun) -> None:
    assert open_run(run).path == run.path
    assert transferkit.load(run).class_names == run.class_names
    assert transferkit.load(run.path).class_names == run.class_names


def test_its_page_opens_in_the_browser(run: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)

    run.open()

    assert opened == [(run.path / "report.html").resolve().as_uri()]


def test_predictions_are_a_table_in_order(run: TrainedRun) -> None:
    table = run.predict(PIXELS[:3])

    assert [prediction.name for prediction in table] == NAMES[:3]
    assert repr(table).splitlines()[1].split()[:2] == ["1", "dark"]
    assert "&lt;b&gt;ight" in table._repr_html_()
    assert isinstance(table[:2], PredictionTable)


def test_a_frame_of_predictions_has_every_class(run: TrainedRun) -> None:
    frame = run.predict(PIXELS[:3]).to_pandas()

    assert list(frame.columns) == ["path", "class", "probability", "unknown", "unusual_percent", "<b>ight", "dark"]
    assert np.allclose(frame[["<b>ight", "dark"]].sum(axis=1), 1.0)


def test_a_long_table_shows_its_first_rows(run: TrainedRun) -> None:
    lines = repr(run.predict(PIXELS)).splitlines()

    assert len(lines) == 21
    assert lines[-1] == "and 20 more"


def test_a_path_is_the_name_of_its_row(run: TrainedRun, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(PIXELS[1].transpose(1, 2, 0)).save(tmp_path / "night.png")

    assert run.predict(tmp_path / "night.png").images == (str(tmp_path / "night.png"),)
