"""Studies whose arms run elsewhere: the same files as arms that run here, a killed worker's arm included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from folder_differences import differences
from killers import Killer

import transferkit
from transferkit.executors import slurm
from transferkit.metrics import feature_map
from transferkit.recipe import load
from transferkit.runs.run_directory import CONTINUED, Run

APART = ["processes", "slurm", "ray"]
ARMS = {"methods": ["scratch", "probe"], "seeds": 3, "budget": "4steps", "limit_per_class": 5, "quiet": True}
pytestmark = pytest.mark.scale


@pytest.fixture(autouse=True, scope="module")
def _maps_as_in_other_processes(points_of_a_map: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_map, "POINTS", points_of_a_map)
        yield


@pytest.fixture(autouse=True)
def _jobs_of_slurm_are_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "CLUSTER", "local")


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "serial"
    transferkit.compare(["resnet20=none"], data="digits", out=folder, **ARMS)
    return folder


@pytest.mark.parametrize("executor", APART)
def test_six_arms_on_two_workers_of_which_one_is_killed_equal_those_made_here(
    executor: str, serial: Path, tmp_path: Path
) -> None:
    killer = Killer(tmp_path / "apart", "runs/*")
    killer.start()

    transferkit.compare(["resnet20=none"], data="digits", out=tmp_path / "apart", executor=executor, workers=2, **ARMS)
    killer.over = True

    assert killer.victim
    assert len([path for path in (tmp_path / "apart" / "runs").iterdir() if Run(path).is_finished]) == 6
    notes = set(Run(tmp_path / "apart" / "runs" / killer.victim).facts.notes)
    killed = {f"runs/{killer.victim}/facts.json: .notes"} if CONTINUED in notes else set()
    assert set(differences(serial, tmp_path / "apart")) == killed


def test_a_study_begun_here_goes_on_elsewhere(serial: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    transferkit.compare(["resnet20=none"], data="digits", out=again, **{**ARMS, "seeds": 1})
    first = Run(again / "runs" / "probe-seed0").facts.started
    (again / "comparison.json").unlink()

    transferkit.compare(
        ["resnet20=none"], data="digits", out=again, executor="processes", workers=2, **{**ARMS, "seeds": 1}
    )

    assert Run(again / "runs" / "probe-seed0").facts.started == first
    assert load(again / "study.yaml") == load(serial / "study.yaml").model_copy(update={"seeds": 1})


def test_a_label_curve_apart_equals_one_made_here(tmp_path: Path) -> None:
    for folder, where in (("serial", {}), ("apart", {"executor": "processes", "workers": 2})):
        options = {**where, "methods": ["probe"], "labels": [2, 4], "seeds": 1, "quiet": True}
        transferkit.curve("resnet20=none", data="digits", out=tmp_path / folder, **options)

    assert differences(tmp_path / "serial", tmp_path / "apart") == []


def test_a_ranking_apart_equals_one_made_here(tmp_path: Path) -> None:
    for folder, where in (("serial", {}), ("apart", {"executor": "processes", "workers": 2})):
        options = {**where, "images": 60, "size": 32, "quiet": True}
        transferkit.rank(["resnet20=none", "lenet=none"], "digits", out=tmp_path / folder, **options)

    assert differences(tmp_path / "serial", tmp_path / "apart") == []


def test_a_tuning_apart_equals_one_made_here(tmp_path: Path) -> None:
    for folder, where in (("serial", {}), ("apart", {"executor": "processes", "workers": 2})):
        options = {**where, "weights": "none", "epochs": 2, "limit_per_class": 10, "quiet": True}
        space = {"lr_factor": (0.5, 1), "augment": ("none", "grey")}
        transferkit.tune("resnet20", "digits", space=space, eta=2, out=tmp_path / folder, **options)

    assert differences(tmp_path / "serial", tmp_path / "apart") == []
