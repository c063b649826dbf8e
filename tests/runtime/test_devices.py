"""Every command computes where it is told to, and leaves no tensor behind: on a stand-in for a GPU, and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from another_device import DEVICE, AnotherDevice, Elsewhere
from PIL import Image
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.runtime import machine

SMALL = "--data digits --limit-per-class 20 --weights none"
TINY = "--data digits --limit-per-class 4 --test-fraction 0.05 --weights none"
SMALLER = "--data glyphs --limit-per-class 10 --weights none"


@pytest.fixture(params=["stand-in", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Everything that asks for a device gets this one; we are in an empty folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    if request.param == "cuda":
        yield torch.device("cuda")
        return
    monkeypatch.setattr(machine, "choose_device", lambda _: DEVICE)
    with AnotherDevice():
        yield DEVICE


def transferkit(*commands: str) -> None:
    for command in commands:
        result = CliRunner().invoke(app, command.split())
        assert result.exit_code == 0, (command, result.output, result.exception)


def test_the_stand_in_refuses_what_a_gpu_refuses() -> None:
    with AnotherDevice():
        there, here = torch.ones(2, 3, device=DEVICE), torch.ones(2, 3)

        with pytest.raises(RuntimeError, match="same device"):
            there + here
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
        assert (there + here.to(DEVICE)).cpu().numpy().tolist() == [[2.0] * 3] * 2
        assert (there * 2).device == DEVICE


def test_the_stand_in_computes_gradients_there() -> None:
    with AnotherDevice():
        layer = torch.nn.Linear(3, 2).to(DEVICE)

        layer(torch.ones(4, 3, device=DEVICE)).sum().backward()

        assert isinstance(layer.weight.grad, Elsewhere)
        assert layer.weight.grad.cpu().tolist() == [[4.0] * 3] * 2


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_finetuning_and_what_is_done_with_its_run() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(picture).save("picture.png")

    transferkit(
        f"finetune resnet20 {SMALL} --epochs 2 --mixup 0.2 --cutmix 1 --l2-sp 0.01 --out run",
        "predict run picture.png",
        "shifts run",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_a_linear_probe() -> None:
    transferkit(f"probe resnet20 {SMALL} --out run")


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_finetuning_with_every_stage_woken_in_turn() -> None:
    transferkit(
        f"finetune resnet-mini {TINY} --epochs 2 --gradual-unfreezing --optimizer adamw --head random --out run"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_probes_of_another_kind() -> None:
    transferkit(f"probe lenet {SMALLER} --classifier ncm --out means")


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_networks_from_scratch_and_their_limits() -> None:
    transferkit(
        "scratch speednet --data glyphs --limit-per-class 10 --epochs 1 --out fast",
        "scratch simple-cnn --data digits --limit-per-class 20 --epochs 1 --out simple",
        "modes simple",
        "limits simple --ood glyphs --corruptions fast",
        "labels simple",
    )


@pytest.mark.slow
@pytest.mark.usefixtures("device")
def test_files_of_features() -> None:
    transferkit("extract resnet20 digits --weights none --out features.npy")
