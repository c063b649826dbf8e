"""The softmax before the loss: the floor by hand, the refusal, and that both networks begin alike."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.studies.lab.softmax_mistake import Net, TrainedNetwork, trained


def test_both_networks_have_the_same_weights_and_one_answers_probabilities() -> None:
    torch.manual_seed(0)
    right = Net(4, has_softmax=False)
    torch.manual_seed(0)
    wrong = Net(4, has_softmax=True)
    images = torch.rand(3, 3, 8, 8)

    assert torch.equal(right(images).softmax(1), wrong(images))


def test_the_loss_of_an_epoch_is_the_mean_over_all_images() -> None:
    images, labels = torch.zeros(70, 3, 8, 8), torch.zeros(70, dtype=torch.int64)  # 64 and 6 images
    torch.manual_seed(3)
    first = F.cross_entropy(Net(2, has_softmax=False)(images[:1]), labels[:1]).item()

    training = trained(images, labels, (images, labels), 2, 1, 3, has_softmax=False)

    assert training.right == training.n == 70
    assert 0 < training.losses[0] < first  # the first batch has the loss of the start, the second less


def test_accuracy_carries_wilsons_interval() -> None:
    # centre (0.5 + 1.9208 / 10) / (1 + 3.8415 / 10) = 0.5, half width 1.96 sqrt(0.025 + 0.0096) / 1.384 = 0.263
    assert TrainedNetwork((1.0,), 5, 10).in_words == "50.0 % of 10 val images (95 %: 23.7-76.3)"


def test_the_command_shows_the_refusal_and_the_floor(tmp_path: Path) -> None:
    figure = tmp_path / "softmax.svg"

    result = CliRunner().invoke(app, ["lab", "softmax", "--epochs", "2", "--out", str(figure), "--json"])

    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["floor"] == pytest.approx(math.log(1 + 9 / math.e))
    assert "The network ends in a softmax: for each of 64 images" in said["refusal"]
    assert min(said["softmax"]["losses"]) > said["floor"]
    assert "ln(1 + 9/e) = 1.461" in figure.read_text()
