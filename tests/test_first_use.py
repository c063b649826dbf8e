"""What an impatient newcomer meets: mistakes answered at once, and nothing promised that is not so."""

from __future__ import annotations

import json
import tomllib
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import pytest
import safetensors.torch
from command_line import refused, transferkit
from safetensors import SafetensorError

from transferkit import run as story
from transferkit.api import finetune
from transferkit.cli import doctor
from transferkit.data import datasets
from transferkit.data.datasets import cifar_batches, folder, svhn
from transferkit.data.decoding import decode
from transferkit.models.weights import cached
from transferkit.recipe import FolderData, book, from_options
from transferkit.runtime import files as checkpoint
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.studies.compare import study
from transferkit.training.estimates.inputs import outline


def never(*_: object, **__: object) -> NoReturn:
    """Stands for work that must not begin."""
    raise AssertionError("work began")


@pytest.fixture
def closed_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any data set that is loaded fails the test."""
    monkeypatch.setattr(datasets, "load", never)


@pytest.mark.usefixtures("closed_data")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "resnet8"], "Unknown backbone 'resnet8'. Did you mean 'resnet18'?"),
        (["probe", "timm/resnet1888"], "resnet1888"),
        (["finetune", "resnet18", "--weights", "no/such.pth"], "No weights at 'no/such.pth'"),
    ],
)
def test_a_wrong_backbone_is_refused_before_any_data_are_loaded(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    assert message in refused(transferkit(*arguments, "--data", "digits", cwd=tmp_path))


def test_class_names_that_differ_are_told_before_a_file_is_decoded(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "test" / "dog").rename(pets / "test" / "hound")
    monkeypatch.setattr(folder, "decoded", never)

    with pytest.raises(TransferkitError, match=r"test: Class names differ\. Only here: 'hound'; only in train: 'dog'"):
        folder.load(FolderData(name="folder", path=pets), SILENT)


def test_the_list_of_recipes_fits_80_columns(tmp_path: Path) -> None:
    lines = transferkit("recipes", "list", cwd=tmp_path, COLUMNS="80").stdout.splitlines()

    assert max(map(len, lines)) <= 80
    assert sum(line[0] != " " for line in lines) == len(book.names())


def test_the_pictures_of_a_folder_are_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match="it is a folder; name the files in it"):
        decode(tmp_path, 8, "squash")


def test_empty_weights_are_not_the_folder_one_stands_in() -> None:
    with pytest.raises(TransferkitError, match=r"backbone\.weights: expected at least 1 character; found ''"):
        from_options("finetune", "resnet18", "digits", {"weights": ""}, ())


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ((), "Stopped before anything was written; the same command starts again."),
        (("recipe.yaml",), "Stopped before the first epoch was complete; go on with the same command and --resume."),
        (
            ("recipe.yaml", "evaluation.json"),
            "run holds a finished run; `transferkit report run` builds its page again.",
        ),
        (("recipe.yaml", "checkpoint.safetensors"), "The last complete epoch and the log are kept in run; continue"),
    ],
)
def test_ctrl_c_promises_no_more_than_was_kept(
    written: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> NoReturn:
        (tmp_path / "run").mkdir()
        for name in written:
            (tmp_path / "run" / name).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(story, "run", stopped)

    message = refused(transferkit("scratch", "resnet20", "--data", "digits", "--out", "run", cwd=tmp_path), 130)

    assert told in message


def test_a_stopped_study_goes_on_without_an_option_that_it_does_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "run_study", stopped)

    message = refused(transferkit("quickstart", cwd=tmp_path), 130)

    assert "the same command goes on from there" in message
    assert "--resume" not in message


def test_the_estimate_counts_the_test_images_that_will_be_sealed() -> None:
    recipe = from_options("probe", "resnet20", "digits", {"test_fraction": 0.1}, ())

    assert outline(recipe.data) == (1617, 180, 8)


def test_a_disk_that_fills_while_tensors_are_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)

    with pytest.raises(MachineError, match=r"Cannot write .*model\.safetensors: the disk is full\. Free some space"):
        checkpoint.write_tensors(tmp_path / "model.safetensors", {})
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made_names_the_variable(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = str(tmp_path / "file" / "cache")

    command = ["probe", "resnet20", "--data", f"folder:{pets}", "--weights", "none"]
    message = refused(transferkit(*command, cwd=tmp_path, TRANSFERKIT_CACHE=cache), 1)

    assert f"Cannot make the folder {cache}/images: Not a directory." in message
    assert "Set TRANSFERKIT_CACHE to a folder that you may write to." in message


@pytest.mark.usefixtures("closed_data")
def test_a_run_below_a_file_is_refused_before_any_data_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    message = refused(transferkit("scratch", "resnet20", "--data", "digits", "--out", "file/run", cwd=tmp_path))

    assert "file is a file. Choose a folder with --out." in message


def test_a_place_that_cannot_be_written_is_no_fault_of_transferkit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    message = refused(transferkit("recipes", "copy", "quickstart", "file/mine.yaml", cwd=tmp_path), 1)

    assert message == "error: file: File exists. Choose another place, or make it readable and writable."


def test_doctor_tells_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "file" / "cache"))

    cache = next(finding for finding in doctor.examine() if finding.what == "cache")

    assert (cache.state, cache.advice) == ("broken", "Set TRANSFERKIT_CACHE to a folder that you may write to.")


def test_scratch_refuses_weights_that_it_would_ignore() -> None:
    with pytest.raises(TransferkitError, match=r"scratch starts from random weights, so weights 'a\.pth' would be"):
        from_options("scratch", "resnet18", "digits", {"weights": "a.pth"}, ())


def test_an_option_without_its_group_names_the_key() -> None:
    with pytest.raises(TransferkitError, match=r"unknown key 'epochs'\. Did you mean 'method\.epochs'\?"):
        from_options("finetune", "resnet18", "digits", {}, ["epochs=3"])


def test_a_dry_run_in_json_is_one_document(tmp_path: Path) -> None:
    command = ["scratch", "resnet20", "--data", "digits", "--epochs", "1"]
    result = transferkit(*command, "--dry-run", "--json", cwd=tmp_path)
    study = transferkit("quickstart", "--dry-run", "--json", cwd=tmp_path)

    document = json.loads(result.stdout)
    assert document["recipe"] == from_options("scratch", "resnet20", "digits", {"epochs": 1}, ()).model_dump(
        mode="json"
    )
    assert document["estimate"].startswith("Estimate: 899 labelled and 898 test images, 1 epoch at 8 px")
    assert json.loads(study.stdout)["recipe"]["name"] == "quickstart"


def test_fine_tuning_random_weights_is_said_to_transfer_nothing(tmp_path: Path) -> None:
    options = {"weights": "none", "epochs": 1, "limit_per_class": 4, "test_fraction": 0.1}
    run = finetune("resnet20", "digits", out=tmp_path / "run", quiet=True, **options)

    (finding,) = [finding for finding in run.findings if finding.code == "TK013"]
    assert finding.observed == "resnet20 started from random weights, so that nothing was transferred"
    assert (
        finding.advice
        == "it has no ImageNet weights: give it a file of your own by --weights, or train it with transferkit scratch"
    )


def test_a_stopped_run_goes_on_from_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(import_module("transferkit.run"), "run", lambda *_, **how: asked.update(how))

    finetune("resnet20", "digits", out=tmp_path, resume=True, quiet=True)

    assert asked["resume"] is True


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")

    printed = transferkit("--version", cwd=tmp_path).stdout

    assert printed == f"transferkit {tomllib.loads(text)['project']['version']}\n"


def test_the_readme_begins_without_the_network_and_goes_on_with_a_pretrained_backbone() -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")

    commands = [line for line in text.splitlines() if line.startswith("$ ")]

    assert commands[:3] == [
        "$ python3 -m venv tk && . tk/bin/activate",
        "$ pip install . && transferkit quickstart",
        "$ transferkit finetune resnet18",
    ]


def test_a_failed_download_ends_in_what_works_without_a_network() -> None:
    for words in (cached.offline_advice(), cifar_batches.OFFLINE, svhn.OFFLINE):
        assert "transferkit quickstart" in words
    assert "timm/tf_efficientnet_lite0" in cached.offline_advice()
