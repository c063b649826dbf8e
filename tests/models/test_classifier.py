"""The classifier: any image in, logits out; what is frozen stays frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from transferkit.models import backbones
from transferkit.models.classifier import Classifier, measured_width
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import MachineError, TransferkitError


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    settings = BackboneSettings(name="resnet18", weights="none", stem="imagenet")
    return backbones.load(settings, ("cat", "dog", "owl"), 32, SILENT)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_uint8_and_unit_range_images_give_the_same_logits(classifier: Classifier, images: Tensor) -> None:
    classifier.eval()

    from_bytes, from_floats = classifier(images), classifier(images.float() / 255)

    torch.testing.assert_close(from_bytes, from_floats)


@torch.no_grad()
@pytest.mark.parametrize("sides", [(8, 8), (32, 32), (48, 20), (100, 100)])
def test_images_of_any_size_are_resized_to_the_network(classifier: Classifier, sides: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *sides)

    assert classifier.prepare(images).shape == (2, 3, 32, 32)
    assert classifier.eval()(images).shape == (2, 3)


def test_preparation_subtracts_the_mean_and_divides_by_the_std() -> None:
    spec = InputSpec(size=2, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    classifier = Classifier(nn.Flatten(), 12, ("a", "b"), {"all": ()}, spec)

    prepared = classifier.prepare(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))

    assert prepared[0, :, 0, 0].tolist() == [1.0, 3.0, 1.0]  # (1 - 0.5) / 0.5, (1 - 0.25) / 0.25, 1


@torch.no_grad()
def test_logits_are_no_probabilities(classifier: Classifier, images: Tensor) -> None:
    logits = classifier.eval()(images)

    assert not torch.allclose(logits.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(logits, classifier.head(classifier.features(images)))


@pytest.mark.parametrize("shape", [(4, 1, 32, 32), (3, 32, 32)])
def test_images_of_another_shape_are_refused(classifier: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(TransferkitError, match=r"takes images \(N, 3, H, W\); found shape"):
        classifier(torch.zeros(shape))


def test_frozen_stages_survive_training_batchnorm_buffers_included(classifier: Classifier, images: Tensor) -> None:
    classifier.freeze(classifier.stages_up_to("layer2"))
    before = classifier.digest(classifier.frozen)
    moving = classifier.get_buffer("body.layer3.0.bn1.running_mean").clone()
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)

    for _ in range(2):
        classifier.train()
        classifier(images).square().sum().backward()
        optimizer.step()

    assert classifier.digest(classifier.frozen) == before
    assert not torch.equal(classifier.get_buffer("body.layer3.0.bn1.running_mean"), moving)


def test_digest_changes_with_one_buffer_of_its_stages_alone(classifier: Classifier) -> None:
    before = classifier.digest(["stem"])

    with torch.no_grad():
        classifier.get_parameter("body.layer1.0.conv1.weight").add_(1)
    after_other_stage = classifier.digest(["stem"])
    classifier.get_buffer("body.bn1.running_var")[0] += 1e-6
    after_own_buffer = classifier.digest(["stem"])

    assert after_other_stage == before
    assert after_own_buffer != before


def test_a_change_in_a_frozen_stage_is_an_error_that_names_it(classifier: Classifier) -> None:
    classifier.freeze(["stem"])

    with pytest.raises(MachineError, match="Frozen stages changed during training: stem"), classifier.frozen_verified():
        classifier.get_buffer("body.bn1.running_mean")[0] += 1


def test_freezing_again_wakes_the_other_stages(classifier: Classifier) -> None:
    classifier.freeze(classifier.stages_up_to("layer4"))
    classifier.freeze(["stem"])

    asleep = {classifier.stage_of(name) for name, value in classifier.named_parameters() if not value.requires_grad}

    assert asleep == {"stem"}
    assert classifier.train().get_submodule("body.layer4").training


def test_unknown_stage_names_the_nearest(classifier: Classifier) -> None:
    with pytest.raises(TransferkitError, match=r"Unknown stage 'layer5'. Did you mean 'layer[1-4]'\?"):
        classifier.freeze(["layer5"])


def test_stages_partition_the_parameters(classifier: Classifier) -> None:
    by_stage = [classifier.stage_parameters(stage) for stage in (*classifier.stages, "head")]

    assert sum(len(stage) for stage in by_stage) == len(list(classifier.parameters()))
    assert all(by_stage)


def test_frozen_dropout_of_alexnet_is_off_in_training() -> None:
    body = nn.Sequential()
    body.add_module("fc6", nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 4)))
    classifier = Classifier(body, 4, ("a", "b"), {"fc6": ("fc6",)}, InputSpec(2, (0, 0, 0), (1, 1, 1)))
    classifier.freeze(["fc6"])
    images = torch.rand(8, 3, 2, 2)

    classifier.train()

    torch.testing.assert_close(classifier.features(images), classifier.features(images))


def test_width_is_measured_and_maps_are_refused() -> None:
    assert measured_width(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), 2) == 5
    with pytest.raises(TransferkitError, match=r"must give features \(N, D\); this one gives \(1, 4, 2, 2\)"):
        measured_width(nn.Conv2d(3, 4, 1), 2)


def test_a_set_head_gives_its_own_logits(classifier: Classifier, images: Tensor) -> None:
    weight, bias = torch.randn(3, 512), torch.randn(3)

    classifier.eval().set_head(weight, bias)

    with torch.no_grad():
        torch.testing.assert_close(classifier(images), classifier.features(images) @ weight.T + bias)


def test_the_state_dict_of_a_classifier_survives_the_disk(classifier: Classifier, tmp_path: Path) -> None:
    from transferkit.runtime.files import read_tensors, write_tensors

    write_tensors(tmp_path / "model.safetensors", classifier.state_dict())

    read, _ = read_tensors(tmp_path / "model.safetensors")

    assert read.keys() == classifier.state_dict().keys()
    assert {name.partition(".")[0] for name in read} == {"body", "head"}
