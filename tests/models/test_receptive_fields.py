"""Receptive fields against published arithmetic, and shapes, parameters and operations against known counts."""

from __future__ import annotations

import pytest
import torch
from timm.models.mlp_mixer import MlpMixer
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from transferkit.models.backbones import small_cnns, timm_models
from transferkit.models.backbones.cifar_resnets import ResidualBlock
from transferkit.models.backbones.torchvision_models import architecture, build
from transferkit.models.measured_fields import measured_fields
from transferkit.models.receptive_fields import LayerFacts, layers, total_flops
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import SILENT


def body_of(name: str) -> nn.Module:
    """On the meta device and back without values: shapes and receptive fields do not depend on weights."""
    with torch.device("meta"):
        body, _ = build(name, architecture(name), "imagenet")
    return body.to_empty(device="cpu")


def facts_of(body: nn.Module, size: int) -> dict[str, LayerFacts]:
    return {layer.name: layer for layer in layers(body, size)}


# Receptive field and cumulative stride in px; the products of kernel sizes and strides, worked out from the papers.
VECTORS = {
    "alexnet": {
        "features.0": (11, 4),
        "features.2": (19, 8),
        "features.5": (67, 16),
        "features.10": (163, 16),
        "features.12": (195, 32),
    },
    "vgg11": {
        "features.0": (3, 1),
        "features.2": (4, 2),
        "features.5": (10, 4),
        "features.10": (30, 8),
        "features.15": (70, 16),
        "features.20": (150, 32),
    },
    "vgg16": {
        "features.0": (3, 1),
        "features.4": (6, 2),
        "features.9": (16, 4),
        "features.16": (44, 8),
        "features.23": (100, 16),
        "features.30": (212, 32),
    },
    "resnet18": {
        "conv1": (7, 2),
        "maxpool": (11, 4),
        "layer1": (43, 4),
        "layer2": (99, 8),
        "layer3": (211, 16),
        "layer4": (435, 32),
    },
    "resnet34": {
        "conv1": (7, 2),
        "maxpool": (11, 4),
        "layer1": (59, 4),
        "layer2": (179, 8),
        "layer3": (547, 16),
        "layer4": (899, 32),
    },
    "resnet50": {
        "conv1": (7, 2),
        "maxpool": (11, 4),
        "layer1": (35, 4),
        "layer2": (91, 8),
        "layer3": (267, 16),
        "layer4": (427, 32),
    },
}


@pytest.mark.parametrize("name", VECTORS)
def test_receptive_field_and_stride_are_those_of_the_literature(name: str) -> None:
    facts = facts_of(body_of(name), 64)

    found = {layer: (facts[layer].receptive_field, facts[layer].stride) for layer in VECTORS[name]}

    assert found == VECTORS[name]


@pytest.mark.parametrize("stride", [1, 2])
def test_receptive_field_is_what_the_gradient_reaches(stride: int) -> None:
    body = nn.Sequential(ResidualBlock(3, 4, stride), ResidualBlock(4, 4, 1))
    images = torch.rand(1, 3, 41, 41, requires_grad=True)
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.uniform_(0.5, 1)  # positive, so that no path cancels another and no ReLU is shut

    maps = body.eval()(images)
    middle = maps.shape[-1] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, middle, middle].sum(), images)
    reached = int((gradient.abs().sum(dim=(0, 1, 2)) > 0).sum())

    assert facts_of(body, 41)["1"].receptive_field == reached
    assert facts_of(body, 41)["1"].stride == stride


def test_skip_connection_takes_the_maximum_over_paths() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow = nn.Conv2d(3, 3, 1)
            self.wide = nn.Conv2d(3, 3, (3, 7), padding=(1, 3))
            self.after = nn.ReLU()

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.after(self.narrow(images) + self.wide(images))
            return maps

    facts = facts_of(nn.Sequential(Branches()), 16)

    assert facts["0.narrow"].receptive_field == 1
    assert facts["0.after"].receptive_field == 7


def test_what_follows_a_global_pooling_sees_everything() -> None:
    facts = facts_of(body_of("resnet18"), 64)

    assert (facts["avgpool"].receptive_field, facts["avgpool"].stride) == ("global", None)


def test_shapes_parameters_and_operations_of_resnet18() -> None:
    facts = facts_of(body_of("resnet18"), 224)

    assert facts["layer4"].shape == (512, 7, 7)
    assert facts["conv1"].parameters == 64 * 3 * 7 * 7
    assert facts["conv1"].flops == 2 * 64 * 3 * 7 * 7 * 112 * 112
    blocks = sum(facts[name].flops for name in ("conv1", "layer1", "layer2", "layer3", "layer4"))
    assert (blocks / 2 + 512 * 1000) / 1e9 == pytest.approx(1.814, abs=1e-3)  # torchvision's GFLOPS, multiply-adds


def test_layers_stand_in_the_order_in_which_they_finish() -> None:
    names = [layer.name for layer in layers(body_of("resnet18"), 32)]

    assert names[:4] == ["conv1", "bn1", "relu", "maxpool"]
    assert names.index("layer1.0.conv1") < names.index("layer1.0") < names.index("layer1") < names.index("layer2")


def test_a_classifier_ends_with_its_head_and_keeps_its_mode() -> None:
    settings = BackboneSettings(name="resnet-mini", weights="none")
    classifier = small_cnns.load(settings, ("a", "b"), 16, SILENT).train()

    head = layers(classifier, 16)[-1]

    assert (head.name, head.shape, head.parameters, head.flops) == ("head", (2,), 258, 512)
    assert classifier.body.training


def test_a_network_that_cannot_be_traced_still_has_shapes() -> None:
    class DependsOnValues(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.convolution(images)
            return maps if maps.sum() > 0 else -maps

    facts = facts_of(nn.Sequential(DependsOnValues()), 8)

    assert facts["0.convolution"].shape == (4, 6, 6)
    assert facts["0.convolution"].receptive_field == 3  # measured


def test_a_measured_field_is_the_one_that_kernels_and_strides_give() -> None:
    body = timm_models.created("resnet18", 64, {"num_classes": 0}).eval()
    names = ["conv1", "maxpool", "layer1.0", "layer1.1.conv1", "layer1"]

    measured = measured_fields(body, 64, names)

    facts = facts_of(body, 64)
    assert measured == {name: facts[name].receptive_field for name in names}


def test_a_measured_field_that_reaches_both_borders_is_global() -> None:
    body = nn.Sequential(nn.Conv2d(3, 2, 5, padding=2), nn.Conv2d(2, 2, 5, padding=2)).eval()

    assert measured_fields(body, 7, ["0", "1"]) == {"0": 5, "1": "global"}  # 9 px of 7


def test_a_module_that_does_not_see_the_image_has_no_measured_field() -> None:
    assert "dropout" not in measured_fields(AddsPositions().eval(), 8, ["dropout", "convolution"])


def test_a_network_that_refuses_pixels_that_are_no_numbers_is_not_measured() -> None:
    class Refuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)

        def forward(self, images: Tensor) -> Tensor:
            assert images.isfinite().all()
            return nn.functional.relu(self.convolution(images))

    assert measured_fields(Refuses().eval(), 8, ["convolution"]) == {}


def test_windows_of_swin_grow_from_7_patches_to_14() -> None:
    body = SwinTransformer(img_size=112, embed_dim=12, depths=(2,), num_heads=(2,), num_classes=0)

    facts = facts_of(body, 112)

    assert facts["patch_embed"].receptive_field == 4
    assert facts["layers.0.blocks.0"].receptive_field == 28  # 7 patches of 4 px (Liu et al. 2021, section 3.2)
    assert facts["layers.0.blocks.1"].receptive_field == 56  # shifted windows join two of them


def test_mixing_of_tokens_sees_everything_and_what_stands_before_does_not() -> None:
    body = MlpMixer(img_size=32, patch_size=8, num_blocks=1, embed_dim=16, num_classes=0)

    facts = facts_of(body, 32)

    assert facts["stem"].receptive_field == 8
    assert facts["blocks.0.norm1"].receptive_field == 8
    assert facts["blocks.0.mlp_tokens.fc1"].receptive_field == "global"
    assert facts["norm"].receptive_field == "global"


def test_attention_sees_everything_and_its_patches_do_not() -> None:
    facts = facts_of(timm_models.created("vit_tiny_patch16_224", 32, {"num_classes": 0, "img_size": 32}), 32)

    assert (facts["patch_embed.proj"].receptive_field, facts["patch_embed.proj"].stride) == (16, 16)
    assert facts["blocks.0.attn"].receptive_field == "global"


class AddsPositions(nn.Module):
    """A view of a parameter is the input of a module, as a class token expanded to the batch is."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 4, 1, 1))
        self.dropout = nn.Dropout(0.0)
        self.convolution = nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.convolution(images) + self.dropout(self.positions.expand(1, 4, 8, 8))
        return maps


def test_operations_are_counted_where_a_view_of_a_parameter_is_a_modules_input() -> None:
    body = AddsPositions()

    assert total_flops(body, 8) == 2 * 64 * 3 * 4
    assert facts_of(body, 8)["convolution"].flops == 2 * 64 * 3 * 4
    assert body.positions.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "gmacs"),
    [("vit_tiny_patch16_224", 1.26), ("deit_tiny_patch16_224", 1.26), ("pit_ti_224", 0.70), ("cait_xxs24_224", 2.53)],
)
def test_operations_of_transformers_are_those_that_are_published(name: str, gmacs: float) -> None:
    """GMACs of timm's benchmark tables (results/benchmark-infer-*.csv) and of the PiT paper (0.7 billion)."""
    body = timm_models.created(name, 224, {"num_classes": 0})

    assert total_flops(body.eval(), 224) == pytest.approx(2e9 * gmacs, rel=0.01)
