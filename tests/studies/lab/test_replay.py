"""A loss that is not finite stops before the update, and its step can be made again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from digits_recipe import digits
from small_trainings import MACHINE, classifier, images, settings
from torch import Tensor
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.run import run
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.files import read_tensors
from transferkit.studies.lab.replay import in_words, replay
from transferkit.training import epoch, failure, parameter_groups, resolved_training, train
from transferkit.training.step_loss import StepLoss


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose rate is far too large."""
    folder = tmp_path_factory.mktemp("failed") / "run"
    with pytest.raises(MachineError) as error:
        run(digits(lr=1000.0, head_lr=1000.0, batchnorm="eval", precision="fp32", clip_norm=0), folder, console=SILENT)
    assert f"Its batch, weights and random state are in {folder / 'failed-step.safetensors'}" in str(error.value)
    assert f"`transferkit replay {folder}` makes the step again and shows where it failed." in str(error.value)
    return folder


def test_the_step_fails_again_and_names_where_it_began(failed: Path) -> None:
    made = replay(failed, "cpu")

    assert made.comes_out_again
    assert made.precision == made.passes[0].precision == "fp32"
    assert [one.precision for one in made.passes] == ["fp32", "bf16"]
    assert made.passes[0].first or not math.isfinite(made.passes[0].gradient_norm)
    assert in_words(made)[1].startswith("Made again in fp32: loss ")


def test_weights_are_those_before_the_step(failed: Path) -> None:
    tensors, facts = read_tensors(failed / "failed-step.safetensors")

    parameters = {name: value for name, value in tensors.items() if name.startswith("model.") and "running" not in name}
    assert facts["step"] > 1
    assert all(bool(torch.isfinite(value).all()) for value in parameters.values())
    assert (tensors["batch.images"].dtype, tensors["batch.images"].shape[1:]) == (torch.uint8, (3, 8, 8))


def test_the_command_says_the_same_as_text_and_as_json(failed: Path) -> None:
    text = CliRunner().invoke(app, ["replay", str(failed), "--device", "cpu"])
    document = CliRunner().invoke(app, ["replay", str(failed), "--device", "cpu", "--json"])

    assert text.exit_code == document.exit_code == 0
    assert "largest output, fp32" in text.stdout
    found = json.loads(document.stdout)
    assert found["quantity"] in ("loss", "gradient")
    assert set(found["passes"][0]["stages"]) >= {"stem", "head"}


def test_a_folder_without_a_failed_step_says_what_leaves_one(tmp_path: Path) -> None:
    with pytest.raises(
        TransferkitError, match=r"holds no failed step \(failed-step.safetensors\). A run of finetune or"
    ):
        replay(tmp_path)


def test_the_replayed_loss_is_the_same_number_mixing_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[float] = []

    def fail_at_the_third(loss: float, _: Tensor, batch: tuple[Tensor, Tensor], random: dict[str, Tensor]) -> None:
        losses.append(loss)
        if len(losses) == 3:
            raise failure.StepFailed(failure.FailedStep("loss", loss, *batch, random))

    monkeypatch.setattr(epoch, "require_finite", fail_at_the_third)
    with pytest.raises(MachineError):
        run(digits(mixup=0.4, precision="fp32"), tmp_path / "run", console=SILENT)

    made = replay(tmp_path / "run", "cpu")

    assert made.passes[0].loss == losses[2]
    assert not made.comes_out_again
    assert in_words(made)[-1] == "It did not fail this time: another device or version rounds otherwise."


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = classifier()
    before = network.digest(["stem", "middle", "dense", "head"])
    chosen = settings(batchnorm="eval")
    network.batchnorm_frozen = True
    original = epoch.clipped_norm

    def infinite(*arguments: Any) -> Tensor:
        return original(*arguments) * math.inf

    monkeypatch.setattr(epoch, "clipped_norm", infinite)
    groups = parameter_groups(network, resolved_training(chosen))
    with pytest.raises(MachineError, match=r"The gradient became inf at step 1. Try a smaller --lr"):
        train(network, images(), images(16, 1), resolved_training(chosen), groups, Context(MACHINE, SILENT, 0))

    assert network.digest(["stem", "middle", "dense", "head"]) == before


def test_a_run_that_is_done_over_leaves_no_failed_step(tmp_path: Path) -> None:
    recipe = digits(epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepLoss, "parts", lambda *_: iter([torch.tensor(math.nan, requires_grad=True)]))
        with pytest.raises(MachineError, match="The loss became nan at step 1"):
            run(recipe, tmp_path / "run", console=SILENT)
    assert (tmp_path / "run" / "failed-step.safetensors").exists()

    run(recipe, tmp_path / "run", resume=True, console=SILENT)

    assert not (tmp_path / "run" / "failed-step.safetensors").exists()
