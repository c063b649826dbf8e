"""When a run starts other processes, and what it refuses before it does."""

from __future__ import annotations

import pytest
import torch
from digits_recipe import digits

from transferkit.recipe import Recipe
from transferkit.runtime import launch
from transferkit.runtime.console import SILENT
from transferkit.runtime.distributed import World, join, launched
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.machine import choose_device
from transferkit.training import estimates, several_devices
from transferkit.training.groups import ParameterGroup
from transferkit.training.replicas import batchnorm_in_words


def refused(recipe: Recipe, folder: object) -> str:
    with pytest.raises(TransferkitError) as caught:
        several_devices.start(recipe, folder, SILENT, overwrite=False, resume=False, command="")  # type: ignore[arg-type]
    return str(caught.value)


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


def test_processes_are_started_for_what_takes_gradient_steps() -> None:
    asked = [digits(), digits(devices=2), digits("scratch", devices=2), digits("probe", devices=2)]

    assert [several_devices.are_to_be_started(recipe) for recipe in asked] == [False, True, True, False]


def test_method_without_gradient_steps_says_that_one_process_does_it() -> None:
    asked = [digits("probe"), digits("scratch", devices=2), digits("probe", devices=2)]

    assert [several_devices.where_one_is_enough(recipe) for recipe in asked] == [
        [],
        [],
        ["devices 2: one process does it all, for a probe takes no gradient steps to share"],
    ]


def test_estimate_says_that_it_was_timed_in_one_process() -> None:
    alone, shared, solved = (
        estimates.estimate(recipe)
        for recipe in (digits("scratch"), digits("scratch", devices=2), digits("probe", devices=2))
    )

    assert " in one process (what 2 save is not estimated); " in shared
    assert "in one process" not in alone + solved


@pytest.mark.usefixtures("second_of_two")
def test_processes_of_a_launcher_are_enough() -> None:
    assert not several_devices.are_to_be_started(digits(devices=2))
    with pytest.raises(TransferkitError, match="--devices 3 was asked for, and a launcher has started 2 processes"):
        several_devices.are_to_be_started(digits(devices=3))


def test_result_does_not_depend_on_the_number_of_devices() -> None:
    assert digits().short_hash == digits(devices=8).short_hash


def test_function_given_in_python_needs_torchrun(tmp_path: object) -> None:
    message = refused(digits(devices=2, augment=torch.clone), tmp_path)

    assert message.startswith("devices 2 starts other processes, and they cannot have the function for augment")
    assert message.endswith("start your script with: torchrun --nproc-per-node 2 YOUR_SCRIPT.py")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    launch.require_devices(2, "auto")
    launch.require_devices(8, "cpu")
    with pytest.raises(
        TransferkitError, match=r"--devices 4 asks for 4 GPUs, and this machine has 2\. Use --devices 2"
    ):
        launch.require_devices(4, "auto")


def test_half_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)

    with pytest.raises(TransferkitError, match=r"WORLD_SIZE is 2 and RANK is not set\. Expected 0\.\.1"):
        launched()


@pytest.mark.usefixtures("second_of_two")
def test_one_device_by_number_is_none_for_several_processes() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(TransferkitError, match="Device 'cuda:1' is not for several processes here"):
        choose_device("cuda:1")


def test_run_says_what_batchnorm_learns_from() -> None:
    groups = [ParameterGroup("stem", 9, 0.1, 0.0, "train"), ParameterGroup("head", 9, 0.1, 0.0, "-")]

    assert batchnorm_in_words(groups, 128, World(0, 8), is_synchronised=False) == (
        "BatchNorm normalises by the 16 images of each process; --sync-batchnorm: by all 128 of a step, as in one"
    )
    assert batchnorm_in_words(groups, 128, World(0, 8), is_synchronised=True) == ""
    assert batchnorm_in_words(groups[1:], 128, World(0, 8), is_synchronised=False) == ""


def test_number_of_processes_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "0")

    with pytest.raises(
        TransferkitError, match=r"^WORLD_SIZE is 0\. Expected at least 1: start the processes with torchr"
    ):
        launched()


@pytest.mark.usefixtures("second_of_two")
def test_launcher_that_names_no_meeting_place_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(TransferkitError, match=r"cannot meet \(.*MASTER_ADDR .*\): start the processes with") as caught:
        join()

    assert caught.value.exit_code == 2
