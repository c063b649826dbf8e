"""Where a run is expected and other results lie: the message says what they are and which run to name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_runs import finished_run

from transferkit.runs.run_directory import open_run
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_text


def made(folder: Path, kind: str, file: str = "result.json", text: str = "{}") -> Path:
    with folders.hold(folder, kind):
        write_text(folder / file, text)
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(TransferkitError) as caught:
        open_run(folder)
    return str(caught.value)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("name", "kind"), [("card", "model card"), ("limits", "limits report")])
def test_what_lies_in_a_run_leads_to_that_run(name: str, kind: str) -> None:
    finished_run(Path("first"))
    folder = made(Path("first") / name, kind)

    assert refusal(folder) == f"first/{name} holds a {kind} and is no run. Name the folder of its run: first"


def test_a_card_elsewhere_asks_for_a_run() -> None:
    assert refusal(made(Path("card"), "model card")).endswith("Name the folder of a run, which has a recipe.yaml.")


def test_a_study_names_its_runs_and_counts_those_beyond_six() -> None:
    made(Path("both"), "study")
    for number in range(7):
        finished_run(Path(f"both/runs/seed{number}"))
    finished_run(Path("both/before/one"))

    named = ", ".join(f"both/runs/seed{number}" for number in range(6))
    assert refusal(Path("both")) == f"both holds a study and is no run. Name one of its runs: {named} and 1 more"


def test_a_comparison_names_the_runs_that_it_compared_where_they_are_still_there() -> None:
    finished_run(Path("first"))
    text = json.dumps({"schema": 3, "arms": [{"runs": ["first"]}, {"runs": ["gone"]}]})

    message = refusal(made(Path("both"), "comparison", "comparison.json", text))

    assert message == "both holds a comparison and is no run. Name one of its runs: first"


@pytest.mark.parametrize("text", ["{", '{"arms": 5}'])
def test_a_damaged_comparison_is_still_called_one(text: str) -> None:
    message = refusal(made(Path("both"), "comparison", "comparison.json", text))

    assert message == "both holds a comparison and is no run. Name the folder of a run, which has a recipe.yaml."


def test_an_exported_model_is_named_with_its_article() -> None:
    assert refusal(made(Path("onnx"), "exported model")).startswith("onnx holds an exported model and is no run.")


def test_control_characters_of_a_name_stay_text() -> None:
    assert "\x1b" not in refusal(made(Path("a\x1b[2J"), "model card"))
