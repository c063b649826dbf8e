"""Two commands with one --out: the later one is refused before its work, and nothing of the earlier one is touched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic_runs import finished_run
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.runtime import files, folders
from transferkit.runtime.errors import TransferkitError

COMMANDS = {
    "page.html": ["lr-find", "resnet-mini", "--data", "digits"],
    "filters.png": ["filters", "resnet-mini", "--weights", "none"],
    "modes.png": ["modes", "run"],
    "convolved.png": ["convolve", "picture.png"],
    "table.csv": ["layers", "resnet-mini"],
    "confusion.pdf": ["report", "run", "--figure", "confusion"],
    "next.csv": ["next", "run", "--field", "field"],
    "model.onnx": ["export", "run"],
    "model.pt2": ["export", "run", "--to", "torch-export"],
    "answers.csv": ["predict", "run", "picture.png"],
}


@pytest.fixture(autouse=True)
def _beside_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished_run(Path("run"))


@pytest.fixture
def claimed(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file that is being made, by a thread in place of another process."""
    begun, over = threading.Event(), threading.Event()

    def make() -> None:
        with files.claim(Path(request.param), overwrite=False):
            begun.set()
            over.wait(60)

    maker = threading.Thread(target=make)
    maker.start()
    assert begun.wait(60)
    yield Path(request.param)
    over.set()
    maker.join()
    assert not files.parts_folder(Path(request.param)).exists()


@pytest.mark.parametrize("claimed", COMMANDS, indirect=True)
def test_a_file_that_another_command_makes_is_refused_before_any_work(claimed: Path) -> None:
    result = CliRunner().invoke(app, [*COMMANDS[claimed.name], "--out", claimed.name])

    assert isinstance(result.exception, TransferkitError), result.output
    assert f"{claimed}.partial " in str(result.exception)
    assert files.parts_folder(claimed).is_dir()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_that_is_there_is_refused_before_any_work(name: str) -> None:
    Path(name).write_text("mine")

    result = CliRunner().invoke(app, [*COMMANDS[name], "--out", name])

    assert str(result.exception) == f"{name} exists. Choose another file with --out, or replace it with --overwrite."
    assert sorted(path.name for path in Path().iterdir()) == sorted([name, "run"])


STUDIES = {
    "compare": ["compare", "resnet-mini=none", "--methods", "scratch,probe"],
    "rank": ["rank", "resnet-mini=none"],
    "tune": ["tune", "resnet-mini", "--weights", "none"],
    "scratch": ["scratch", "resnet-mini"],
}


@pytest.mark.parametrize("command", STUDIES)
def test_a_folder_in_which_another_command_works_is_refused_before_anything_is_timed(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.training.estimates.timing._seconds", pytest.fail)
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        with folders.hold(Path("out"), "run" if command == "scratch" else "study"):
            begun.set()
            over.wait(60)

    worker = threading.Thread(target=work)
    worker.start()
    assert begun.wait(60)

    result = CliRunner().invoke(app, [*STUDIES[command], "--data", "digits", "--out", "out"])
    over.set()
    worker.join()

    assert isinstance(result.exception, TransferkitError), result.output
    assert str(result.exception).startswith("out is in use by process ")
