"""A probe that reads several of the last stages: its features, the choice of how many, and the network that is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_probes import CPU, noise, settings

import transferkit
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import PENULTIMATE
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.pooled_stages import read_last_stages
from transferkit.recipe import backbone_settings, parse
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training.methods import stage_choice

PX = 32
CONTEXT = Context(CPU, SILENT, 0)


def network(name: str = "resnet20", **keys: Any) -> Classifier:
    torch.manual_seed(0)
    settings = backbone_settings({"name": name, "weights": "none", **keys})
    return backbones.load(settings, ("dark", "grey", "light"), PX, SILENT).eval()


def some_images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, PX, PX), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_are_the_averages_of_the_stages_and_then_those_of_the_network() -> None:
    classifier, images = network(), some_images()
    stages = list(classifier.stages)[-3:-1]
    separate = LayerNetwork(classifier, [*stages, PENULTIMATE], "avg", CPU, SILENT)(images)

    read_last_stages(classifier, 3)

    side_by_side = torch.cat([separate[name] for name in (*stages, PENULTIMATE)], 1)
    with torch.no_grad():
        assert torch.allclose(classifier.features(images), side_by_side, atol=1e-4)
    assert classifier.num_features == side_by_side.shape[1] == 16 + 32 + 64


@pytest.mark.parametrize("name", ["resnet20", "timm/swin_tiny_patch4_window7_224.ms_in1k", "timm/vit_tiny_patch16_224"])
def test_maps_of_either_layout_and_tokens_become_one_row_per_image(name: str) -> None:
    keys = {} if name == "resnet20" else {"weights": "none"}
    classifier = network(name, **keys)
    before = classifier.num_features

    read_last_stages(classifier, 2)

    features = classifier.eval().features(some_images())
    assert features.shape == (4, classifier.num_features)
    assert classifier.num_features > before


def test_the_wide_network_is_traced_and_folded_like_others() -> None:
    classifier, images = network(), some_images()
    read_last_stages(classifier, 2)

    traced = LayerNetwork(classifier, [PENULTIMATE], "avg", CPU, SILENT)

    assert traced.is_graph
    with torch.no_grad():
        assert torch.allclose(traced(images)[PENULTIMATE], classifier.features(images), atol=1e-4)


@pytest.mark.slow
def test_a_run_is_built_again_from_its_folder_and_others_start_from_its_weights(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"weights": "none", "size": 16, "quiet": True, "precision": "fp32"}
    run = transferkit.probe("resnet-mini", "digits", last_stages=2, C=1.0, out=tmp_path / "run", **keys)

    again = load_classifier(run.folder).eval()

    assert run.folder.model.last_stages == again.last_stages == 2
    assert again.num_features == run.folder.outputs("test").features.shape[1]
    tensors = network("resnet-mini", weights=str(run.path)).body.state_dict()
    assert all(torch.equal(tensors[name], value) for name, value in again.body.network.state_dict().items())


def test_auto_reads_as_many_stages_as_have_the_smallest_held_out_loss() -> None:
    splits, chosen = noise(), settings(last_stages="auto")
    losses = dict(stage_choice.held_out_losses(network(), splits, chosen, CONTEXT))

    number, (words,) = stage_choice.chosen_stages(network(), splits, chosen, CONTEXT)

    assert number == min(losses, key=lambda each: losses[each][0])
    assert len(losses) == 3
    assert all(np.isfinite(loss) for loss, _ in losses.values())
    assert f"chosen by the log-loss of 5-fold cross-validation (1: {losses[1][0]:.3f}, 2: " in words


def test_a_backbone_of_fewer_stages_says_so() -> None:
    classifier = network()
    classifier.stages = dict(list(classifier.stages.items())[-1:])

    with pytest.raises(
        TransferkitError, match=r"last_stages 3 needs a backbone of as many stages; this resnet20 has 1"
    ):
        read_last_stages(classifier, 3)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"last_stages": 2, "layers": "all"}, "Leave one of them out"),
        ({"last_stages": "auto", "C": 1.0}, "Leave C out, or give a number"),
        ({"last_stages": 2, "classifier": "knn"}, "last_stages goes with classifier linear, not with knn"),
        ({"last_stages": 4}, "last_stages"),
    ],
)
def test_what_does_not_go_with_several_stages_is_said(keys: dict[str, object], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        parse({"data": "digits", "backbone": "resnet20", "method": {"name": "probe", **keys}})


@pytest.mark.slow
def test_the_classes_of_libraries_are_refused_and_a_detector_takes_the_network_alone(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"weights": "none", "size": 16, "C": 1.0, "limit_per_class": 5, "stem": "imagenet"}
    run = transferkit.probe("resnet18", "digits", last_stages=2, out=tmp_path / "run", quiet=True, **keys)

    with pytest.raises(TransferkitError, match=r"answers from its last 2 stages side by side, and torchvision's class"):
        transferkit.export(run, "weights", tmp_path / "weights.safetensors")
    detector = transferkit.mask_rcnn(run)

    network = run.model.classifier.body.network
    assert torch.equal(detector.backbone.body.conv1.weight, network.conv1.weight)
