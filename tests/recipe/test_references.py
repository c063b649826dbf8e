"""@last, @1 ... and the list of runs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import refused, transferkit
from synthetic_runs import finished_run

from transferkit.recipe import from_options, ranking_from_options
from transferkit.recipe.references import run_folder
from transferkit.runs.listing import list_runs
from transferkit.runs.run_directory import open_run
from transferkit.runtime import folders
from transferkit.runtime.errors import TransferkitError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """`runs` with three runs, made in the order old, middle, new, and one inside a study."""
    for number, name in enumerate(("middle", "old", "new")):
        day = {"middle": 2, "old": 1, "new": 3}[name]
        run = finished_run(tmp_path / "runs" / name)
        run.write_facts(replace(run.facts, started=f"2026-01-0{day}T03:04:05+00:00"))
        os.utime(run.path / "evaluation.json", (number, number))  # what a copy does to times must not count
    finished_run(tmp_path / "runs" / "study" / "runs" / "arm")
    folders.add_to_manifest(tmp_path / "runs" / "study", "study", ["study.yaml"])
    return tmp_path / "runs"


def test_last_is_the_run_that_ended_last_and_numbers_go_back_from_it(home: Path) -> None:
    assert [run_folder(name, home).name for name in ("@last", "@1", "@2", "@3")] == ["new", "new", "middle", "old"]


def test_a_path_stands_for_itself(home: Path) -> None:
    assert run_folder(home / "old") == home / "old"
    assert run_folder("some/@folder") == Path("some/@folder")


def test_a_number_without_a_run_says_which_there_are(home: Path) -> None:
    with pytest.raises(
        TransferkitError, match=r"@4 names no run: .*runs/ holds 3 finished runs, @1 \(or @last\) to @3"
    ):
        run_folder("@4", home)
    with pytest.raises(TransferkitError, match="@0 names no run"):
        run_folder("@0", home)


def test_without_runs_a_reference_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"@last names a finished run in .*/, and there is none"):
        run_folder("@last", tmp_path)


def test_in_python_a_reference_opens_the_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)

    assert open_run("@2").path == Path("runs/middle")


def test_weights_may_be_those_of_a_numbered_run_and_a_recipe_names_its_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home.parent)

    option = from_options("finetune", "resnet18", "cifar10", {"weights": "@last"}, ())
    override = from_options("finetune", "resnet18", "cifar10", {}, ["backbone.weights='@2'"])
    ranking = ranking_from_options(["resnet18", "resnet18=@3"], "cifar10", (), {})

    assert (option.backbone.weights, override.backbone.weights) == ("runs/new", "runs/middle")
    assert [backbone.weights for backbone in ranking.backbones] == ["imagenet", "runs/old"]
    with pytest.raises(TransferkitError, match="@7 names no run"):
        from_options("finetune", "resnet18", "cifar10", {"weights": "@7"}, ())


def test_weights_of_extract_may_be_those_of_a_numbered_run(home: Path) -> None:
    (home / "new" / "model.safetensors").touch()
    (home / "new" / "model.json").unlink(missing_ok=True)

    result = transferkit("extract", "resnet18", "digits", "--weights", "@last", "--out", "f.npy", cwd=home.parent)

    assert result.stderr.startswith("@last is runs/new\n")
    assert "runs/new holds no model" in refused(result)


def test_a_command_takes_a_reference_and_says_which_run_it_is(home: Path) -> None:
    result = transferkit("report", "@3", cwd=home.parent)

    assert result.returncode == 0
    assert result.stderr.startswith("@3 is runs/old\n")
    assert (home / "old" / "report.html").exists()
    assert "@7 names no run" in refused(transferkit("report", "@7", cwd=home.parent))


def test_the_list_has_the_latest_first_and_leaves_out_runs_of_studies(home: Path) -> None:
    listed = list_runs(home)

    assert [(run.number, Path(run.path).name) for run in listed.runs] == [(1, "new"), (2, "middle"), (3, "old")]
    first = listed.runs[0]
    assert (first.accuracy, first.n, first.data, first.backbone) == (0.7, 40, "cifar10", "resnet18")  # 3 of 10 wrong
    inside = list_runs(home, inside_results=True).runs
    assert [(run.number, Path(run.path).name) for run in inside if run.number is None] == [(None, "arm")]


def test_a_damaged_run_and_an_unfinished_one_are_listed_as_such(home: Path) -> None:
    (home / "old" / "evaluation.json").write_text("{")
    (home / "new" / "evaluation.json").unlink()

    listed = list_runs(home)

    assert [Path(folder).name for folder in listed.unfinished] == ["new"]
    assert {Path(run.path).name: run.problem[-60:] for run in listed.runs if run.problem}.keys() == {"old"}


def test_the_command_prints_columns_in_a_pipe_and_json_when_asked(home: Path) -> None:
    lines = transferkit("runs", cwd=home.parent).stdout.splitlines()

    assert lines[0].split("\t")[1:6] == ["accuracy", "interval", "data", "backbone", "age"]
    assert lines[1].split("\t")[:2] == ["@1", "70.0 %"]
    assert json.loads(transferkit("runs", "--json", cwd=home.parent).stdout)["runs"][0]["number"] == 1
    assert "There is no folder runs" in refused(transferkit("runs", cwd=home))


def test_open_shows_the_page_of_a_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not shown.append(address))

    transferkit("runs", "--open", "@2", cwd=home.parent)

    assert shown == [(home / "middle" / "report.html").as_uri()]


@pytest.mark.parametrize(
    ("typed", "meant"), [("runs/middel", "runs/middle"), ("old", "runs/old"), ("elsewhere/frist", "elsewhere/first")]
)
def test_a_folder_that_is_no_run_names_the_run_with_the_nearest_name(home: Path, typed: str, meant: str) -> None:
    finished_run(home.parent / "elsewhere" / "first")

    message = refused(transferkit("labels", typed, cwd=home.parent))

    assert message.endswith(
        f"{typed} is no run: there is no such folder. Expected a folder that a transferkit command "
        f"made. Did you mean {meant}?"
    )


def test_weights_that_are_not_there_name_the_run_with_the_nearest_name(home: Path) -> None:
    arguments = ("finetune", "resnet18", "--data", "digits", "--weights", "runs/middel")

    assert refused(transferkit(*arguments, cwd=home.parent)).endswith(
        "installed package gives. Did you mean runs/middle?"
    )


def test_a_folder_unlike_any_run_is_asked_nothing(home: Path) -> None:
    assert "Did you mean" not in refused(transferkit("labels", "photographs", cwd=home.parent))
