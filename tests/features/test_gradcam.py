"""Grad-CAM: the right layer of each kind of network, values worked out by hand, and maps that depend on the weights."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from transferkit.features.explanations.gradcam import cam_layer, gradcam
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.stored_model import InputSpec
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import SILENT


def classifier_of(body: nn.Module, features: int, classes: int = 2, size: int = 4) -> Classifier:
    spec = InputSpec(size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    stages = {"all": tuple(name for name, _ in body.named_children())}
    return Classifier(body, features, [str(label) for label in range(classes)], stages, spec)


def pooled(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("name", "size", "layer", "side"),
    [
        ("alexnet", 224, "features.11", 13),  # the ReLU behind conv5
        ("vgg11", 224, "features.19", 14),  # the ReLU behind conv5_2, before the last pooling
        ("vgg16_bn", 64, "features.42", 4),
        ("resnet18", 224, "layer4", 7),
        ("resnet50", 64, "layer4", 2),
        ("resnet20", 32, "stage3", 8),
        ("timm/resnet18", 64, "layer4", 2),
        ("timm/convnext_atto", 64, "norm_pre", 2),
        ("timm/efficientnet_b0", 64, "bn2", 2),  # not the 1 x 1 convolutions of squeeze and excitation
        ("timm/vgg11", 64, "features.19", 4),  # not the fully connected layers written as convolutions
    ],
)
def test_the_layer_is_the_last_map_before_pooling(name: str, size: int, layer: str, side: int) -> None:
    with torch.device("meta"):  # shapes without numbers
        stem = "auto" if size == 32 else "imagenet"
        settings = BackboneSettings(name=name, weights="none", stem=stem)
        classifier = backbones.load(settings, ["a", "b"], size, SILENT)
        found = cam_layer(classifier)

    assert (found.name, found.height, found.width) == (layer, side, side)


def test_a_transformer_has_no_layer_and_says_why() -> None:
    settings = BackboneSettings(name="timm/vit_tiny_patch16_224", weights="none")

    found = cam_layer(backbones.load(settings, ["a", "b"], 32, SILENT))

    assert found.name == ""
    assert "transformer" in found.reason


def test_a_map_of_one_place_is_refused() -> None:
    found = cam_layer(classifier_of(pooled(nn.Conv2d(3, 2, 4)), 2))

    assert found.name == ""
    assert "larger --size" in found.reason


def red_and_blue() -> Classifier:
    """Channel 0 is red and speaks for class 0, channel 1 is blue and speaks for class 1 and against class 0."""
    convolution = nn.Conv2d(3, 2, 1, bias=False)
    classifier = classifier_of(pooled(convolution, nn.ReLU(inplace=True)), 2)
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])[:, :, None, None])
    classifier.set_head(torch.tensor([[1.0, -1.0], [0.0, 1.0]]), torch.zeros(2))
    return classifier


def test_values_are_those_of_equations_1_and_2() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 0, 0], image[0, 0, 1, 2] = 1.0, 0.5  # red, top left and, weaker, further down
    image[0, 2, 3, 3] = 1.0  # blue, bottom right
    classifier = red_and_blue()
    layer = cam_layer(classifier)

    maps = gradcam(classifier, image.expand(2, 3, 4, 4), torch.tensor([0, 1]), layer)

    # alpha = mean gradient = head weight / 16; class 0: ReLU(red - blue) / 16, then divided by its largest value
    expected = torch.zeros(2, 4, 4)
    expected[0, 0, 0], expected[0, 1, 2], expected[1, 3, 3] = 1.0, 0.5, 1.0
    assert layer.name == "1"
    assert torch.allclose(torch.from_numpy(maps), expected)


def test_where_nothing_speaks_for_the_class_the_map_is_empty() -> None:
    classifier = red_and_blue()

    maps = gradcam(classifier, torch.zeros(1, 3, 4, 4), torch.tensor([0]), cam_layer(classifier))

    assert maps.max() == 0


class OneReluForAll(nn.Module):
    """red_and_blue with a third use of its ReLU behind the pooling, and one convolution that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.dense = nn.Linear(3, 2, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu(self.convolution(self.relu(self.convolution(images))))
        features: Tensor = self.relu(self.dense(maps.mean((2, 3))))
        return features


def shared() -> Classifier:
    """The convolution halves each channel, the dense layer passes on red and blue."""
    classifier = classifier_of(OneReluForAll(), 2)
    with torch.no_grad():
        classifier.body.convolution.weight.copy_(torch.eye(3)[:, :, None, None] / 2)  # type: ignore[union-attr]
        classifier.body.dense.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]))  # type: ignore[union-attr]
    classifier.set_head(torch.tensor([[1.0, -1.0], [0.0, 1.0]]), torch.zeros(2))
    return classifier


def test_a_module_used_several_times_is_mapped_where_it_last_gives_a_map() -> None:
    image = torch.zeros(1, 3, 4, 4)
    image[0, 0, 0, 0], image[0, 0, 1, 2], image[0, 2, 3, 3] = 1.0, 0.5, 0.5
    classifier = shared()
    layer = cam_layer(classifier)

    maps = gradcam(classifier, image.expand(2, 3, 4, 4), torch.tensor([0, 1]), layer)

    # the ReLU's calls: a map, a map, a vector; the second counts. A place of it holds a quarter of the pixel, and
    # alpha is the head's weight / 16 for red and blue, as in red_and_blue
    expected = torch.zeros(2, 4, 4)
    expected[0, 0, 0], expected[0, 1, 2], expected[1, 3, 3] = 1.0, 0.5, 1.0
    assert (layer.name, layer.call) == ("relu", 1)
    assert torch.allclose(torch.from_numpy(maps), expected)


@pytest.mark.parametrize("flag", ["averages_mirror", "averages_shifts"])
def test_views_that_are_averaged_at_test_time_do_not_change_the_map(flag: str) -> None:
    images = torch.rand(2, 3, 4, 4)
    classifier = shared()
    expected = gradcam(classifier, images, torch.tensor([0, 1]), cam_layer(classifier))
    setattr(classifier, flag, True)

    maps = gradcam(classifier, images, torch.tensor([0, 1]), cam_layer(classifier))

    assert torch.equal(torch.from_numpy(maps), torch.from_numpy(expected))
    assert getattr(classifier, flag)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_classifier_is_left_as_it_was(frozen: bool) -> None:
    body = pooled(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    classifier = classifier_of(body, 4).train()
    classifier.freeze(["all"] if frozen else [])
    before = classifier.digest(["all", "head"])

    gradcam(classifier, torch.rand(3, 3, 8, 8), torch.zeros(3, dtype=torch.int64), cam_layer(classifier))

    assert classifier.digest(["all", "head"]) == before
    assert classifier.training
    assert [parameter.requires_grad for parameter in body.parameters()] == [not frozen] * 4
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert not any(module._forward_hooks for module in classifier.modules())


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with one square of 8 px: red is class 0, green is class 1; the square's corners are given back too."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(count, 3, 32, 32, generator=generator)
    labels = torch.arange(count) % 2
    corners = 8 * torch.randint(0, 4, (count, 2), generator=generator)
    for image, label, (top, left) in zip(images, labels.tolist(), corners.tolist(), strict=True):
        image[label, top : top + 8, left : left + 8] += 0.7
    return images, labels, corners


def trained() -> Classifier:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for wide, wider in ((3, 8), (8, 16), (16, 16)):
        layers += [nn.Conv2d(wide, wider, 3, stride=2, padding=1), nn.ReLU(inplace=True)]
    classifier = classifier_of(pooled(*layers), 16, size=32)
    optimizer = torch.optim.Adam(classifier.parameters(), 0.01)
    images, labels, _ = scenes(64, 0)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier(images), labels).backward()
        optimizer.step()
    return classifier


def test_a_trained_network_looks_at_what_decides() -> None:
    images, labels, corners = scenes(20, 1)
    classifier = trained()

    maps = gradcam(classifier, images, labels, cam_layer(classifier))  # (20, 4, 4); each place sees 8 px of its own

    strongest = maps.reshape(20, 16).argmax(1)
    hits = [at == 4 * (top // 8) + left // 8 for at, (top, left) in zip(strongest, corners.tolist(), strict=True)]
    assert (classifier(images).argmax(1) == labels).all()
    assert sum(hits) >= 16  # by chance 1 of 16


def test_maps_depend_on_what_was_learnt() -> None:
    """Model randomisation, Adebayo et al., NeurIPS 2018 (arXiv:1810.03292), section 4: from the head downwards."""
    images, labels, _ = scenes(20, 1)
    classifier = trained()
    layer = cam_layer(classifier)
    maps = gradcam(classifier, images, labels, layer)

    def likeness() -> float:
        randomised = gradcam(classifier, images, labels, layer)
        return mean([_rank_correlation(one, other) for one, other in zip(maps, randomised, strict=True)])

    assert likeness() == pytest.approx(1.0)
    torch.manual_seed(1)
    found = []
    for module in reversed([module for module in classifier.modules() if isinstance(module, nn.Conv2d | nn.Linear)]):
        module.reset_parameters()
        found.append(likeness())
    assert len(found) == 4
    assert abs(found[-1]) < 0.5


def _rank_correlation(one: Tensor, other: Tensor) -> float:
    return 0.0 if one.max() == 0 or other.max() == 0 else float(spearmanr(one.ravel(), other.ravel()).statistic)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
