"""The small networks: the classical CNN's keys, its arithmetic, and what each network is by definition."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from transferkit import recipe
from transferkit.data.images import Images
from transferkit.data.splitting import split
from transferkit.models import backbones
from transferkit.models.backbones import speednet
from transferkit.models.backbones.shapes import Window, sides
from transferkit.models.classifier import Classifier
from transferkit.models.description import describe
from transferkit.recipe import BackboneSettings, SimpleCnnSettings, backbone_settings, parse
from transferkit.runs.run_directory import Run
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import write_tensors
from transferkit.training import defaults, methods

DIGITS = {"data": "digits", "method": "scratch"}


def simple_cnn(size: int = 8, **keys: Any) -> Classifier:
    values = {"name": "simple-cnn", "weights": "none", "blocks": 2, "features": 4, "dense": [8], **keys}
    return backbones.load(backbone_settings(values), ("a", "b"), size, SILENT)


def maps(classifier: Classifier, size: int = 8) -> tuple[int, ...]:
    """Shape of what is flattened."""
    with torch.no_grad():
        return tuple(classifier.eval().body.blocks(torch.zeros(1, 3, size, size)).shape[1:])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("keys", "shape"),
    [
        ({}, (8, 2, 2)),  # 8 -> 4 -> 2 px; 4 features, then twice as many
        ({"features": [4, 6, 8], "blocks": 3}, (8, 1, 1)),
        ({"kernel": 5}, (8, 2, 2)),  # same padding keeps the size
        ({"pool": "none"}, (8, 8, 8)),
        ({"pool": "none", "stride": 2}, (8, 2, 2)),  # strided sub-sampling in place of pooling
        ({"pool": "none", "padding": 0}, (8, 4, 4)),  # each 3x3 window takes one px from each side
    ],
)
def test_maps_have_the_shape_that_the_keys_say(keys: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert maps(simple_cnn(**keys)) == shape


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_padding_mode_decides_what_lies_beyond_the_border(mode: str) -> None:
    convolution = simple_cnn(padding_mode=mode, batchnorm=False).body.blocks[0][0]  # type: ignore[index]
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.weight[0, 0, 0, 0] = 1  # the first feature is the pixel up and left of each place
        convolution.bias.zero_()
        image = torch.arange(64.0).view(8, 8).expand(1, 3, 8, 8)
        corner = convolution(image)[0, 0, 0, 0].item()

    # around the pixel 0 at the corner: nothing, the pixel at (1, 1), the corner itself, the last pixel
    assert corner == {"zeros": 0, "reflect": 9, "replicate": 0, "circular": 63}[mode]


def test_constant_padding_surrounds_the_map_by_its_value_and_changes_no_name_of_a_weight() -> None:
    zeros = simple_cnn(padding_mode="zeros")
    constant = simple_cnn(padding_mode="constant", padding_value=0.25)
    constant.load_state_dict(zeros.state_dict())  # strict: the same names
    image = torch.arange(1.0, 65.0).view(8, 8).expand(1, 3, 8, 8)
    kernel = zeros.body.blocks[0][0].weight  # type: ignore[index]
    around = torch.full((1, 3, 10, 10), 0.25)
    around[:, :, 1:9, 1:9] = image

    padding, convolution = constant.body.blocks[0][:2]  # type: ignore[index]

    assert torch.allclose(convolution(padding(image)), nn.functional.conv2d(around, kernel), atol=1e-5)
    assert maps(constant) == maps(zeros)


def test_a_value_for_a_padding_that_is_not_constant_is_refused() -> None:
    with pytest.raises(
        TransferkitError, match=r"padding_value 0.5 is for padding_mode=constant; padding_mode is reflect"
    ):
        parse({**DIGITS, "backbone": {"name": "simple-cnn", "padding_mode": "reflect", "padding_value": 0.5}})


def test_pooling_batchnorm_dropout_and_dense_layers_are_there_as_asked() -> None:
    def kinds(**keys: Any) -> list[str]:
        return [type(module).__name__ for module in simple_cnn(**keys).body.modules() if not list(module.children())]

    assert kinds() == [*["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 2, "Flatten", "Linear", "ReLU", "Dropout"]
    assert kinds(pool="average", batchnorm=False)[:3] == ["Conv2d", "ReLU", "AvgPool2d"]
    assert kinds(dense=[])[-2:] == ["Flatten", "Dropout"]
    rates = [module.p for module in simple_cnn(dropout=0.3).body.modules() if isinstance(module, nn.Dropout)]
    assert rates == [0.3]


def test_stages_are_the_blocks_and_the_dense_layers() -> None:
    assert tuple(simple_cnn(dense=[8, 6]).stages) == ("block1", "block2", "dense1", "dense2")
    assert tuple(simple_cnn(dense=[]).stages) == ("block1", "block2")


def test_a_shape_that_cannot_work_names_the_layer_and_shows_the_arithmetic() -> None:
    with pytest.raises(TransferkitError) as caught:
        simple_cnn(padding=0)

    # 8 -> 6 -> pooled 3 -> 1, and no window of 2 fits into 1
    assert "the pooling of block2 would leave no map" in str(caught.value)
    assert "= (1 + 2 x 0 - 2) // 2 + 1 = 0. Sides so far: 8 -> 6 -> 3 -> 1 px" in str(caught.value)
    assert "Use a larger --size, fewer blocks" in str(caught.value)


def test_a_border_that_padding_cannot_fill_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"block2 pads 4 px by reflect, which needs a map of 5 px; it has 4"):
        simple_cnn(padding_mode="reflect", kernel=9)
    with pytest.raises(TransferkitError, match=r"block2 pads 5 px by circular, which needs a map of 5 px; it has 4"):
        simple_cnn(padding_mode="circular", kernel=11)


def test_sides_follow_the_formula_of_torch() -> None:
    for kernel, stride, padding, size in [(3, 1, 0, 9), (5, 2, 1, 12), (2, 3, 0, 11), (4, 2, 3, 7)]:
        layer = nn.Conv2d(1, 1, kernel, stride, padding)

        expected = layer(torch.zeros(1, 1, size, size)).shape[-1]

        assert sides("net", [Window("layer", kernel, stride, padding)], size, "") == [expected]


def parsed(text: str) -> recipe.Recipe:
    return recipe.parse(recipe.parse_yaml(f"{{data: digits, method: {{name: scratch}}, backbone: {text}}}", "r"), "r")


def test_an_unknown_key_of_the_classical_cnn_names_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"unknown key 'backbone.kernal'. Did you mean 'kernel'\?"):
        parsed("{name: simple-cnn, kernal: 5}")


def test_keys_of_the_classical_cnn_are_unknown_to_other_networks() -> None:
    with pytest.raises(TransferkitError, match=r"unknown key 'backbone.kernel'. Available: dropout, name, stem"):
        parsed("{name: resnet20, kernel: 5}")


def test_listed_features_count_the_blocks_and_must_agree_with_them() -> None:
    listed = parsed("{name: simple-cnn, features: [4, 8, 8, 16]}").backbone

    assert isinstance(listed, SimpleCnnSettings)
    assert (listed.blocks, listed.widths) == (4, (4, 8, 8, 16))
    with pytest.raises(TransferkitError, match=r"features lists 2 blocks and blocks says 3; leave blocks out"):
        parsed("{name: simple-cnn, features: [4, 8], blocks: 3}")


def test_a_recipe_of_a_classical_cnn_reads_back_as_it_was_dumped() -> None:
    original = parsed("{name: simple-cnn, kernel: 5, padding: same, dense: 64}")

    assert isinstance(original.backbone, SimpleCnnSettings)
    assert recipe.parse(recipe.parse_yaml(original.to_yaml(), "again"), "again") == original


def test_a_continued_run_brings_the_shape_of_its_network(tmp_path: Path) -> None:
    shape = backbone_settings({"name": "simple-cnn", "weights": "none", "features": [4, 6], "kernel": 5})
    trained = backbones.load(shape, ("a", "b"), 8, SILENT)
    place = Run(tmp_path)
    write_tensors(tmp_path / "model.safetensors", trained.state_dict())
    place.write_model(describe(trained, shape))

    continued = backbones.load(BackboneSettings(name="simple-cnn", weights=str(tmp_path)), ("c", "d"), 8, SILENT)

    torch.testing.assert_close(continued.body.state_dict(), trained.body.state_dict())


def test_lenet_has_the_layers_of_1998_and_needs_16_px() -> None:
    body = backbones.load(BackboneSettings(name="lenet", weights="none"), ("a", "b"), 32, SILENT).body

    widths = [tuple(value.shape) for name, value in body.named_parameters() if name.endswith("weight")]
    assert widths == [(6, 3, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120)]  # LeCun et al. 1998, figure 2
    with pytest.raises(TransferkitError, match=r"S4 would leave no map: .*Use --size 16 or more"):
        backbones.load(BackboneSettings(name="lenet", weights="none"), ("a", "b"), 14, SILENT)


def test_named_cifar_networks_are_the_torchvision_ones_with_the_small_stem() -> None:
    named = backbones.load(BackboneSettings(name="resnet18-cifar", weights="none"), ("a", "b"), 32, SILENT)
    stem = backbones.load(BackboneSettings(name="resnet18", weights="none", stem="cifar"), ("a", "b"), 32, SILENT)

    assert {name: value.shape for name, value in named.state_dict().items()} == {
        name: value.shape for name, value in stem.state_dict().items()
    }
    assert named.stages == stem.stages


def test_whitening_makes_answers_uncorrelated_and_of_variance_one() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = nn.functional.avg_pool2d(torch.randn(64, 3, 18, 18, generator=generator), 3, stride=1)

    filters = speednet.whitening_filters(smooth)

    answers = nn.functional.conv2d(smooth, filters).transpose(0, 1).flatten(1)  # (12, N x H x W)
    moments = answers @ answers.T / answers.shape[1]
    # the least eigenvalues are not quite brought to one, because a small number is added to all
    torch.testing.assert_close(moments, torch.eye(12), atol=0.1, rtol=0)


def test_speednet_passes_its_input_on_before_it_has_learnt() -> None:
    layer = speednet.identity_convolution(4, 6)
    image = torch.randn(1, 4, 5, 5)

    torch.testing.assert_close(layer(image)[:, :4], image)


def test_speednets_norms_ask_for_no_shift_without_a_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """For that, CUDA's kernel for channels_last gives no gradient: training ends with an error there."""
    asked: list[tuple[bool, bool]] = []
    plain = nn.functional.batch_norm

    def noted(images: torch.Tensor, mean: Any, variance: Any, weight: Any, bias: Any, *rest: Any) -> torch.Tensor:
        asked.append((weight is None, bias is None))
        return plain(images, mean, variance, weight, bias, *rest)

    monkeypatch.setattr(nn.functional, "batch_norm", noted)
    classifier = backbones.load(BackboneSettings(name="speednet", weights="none"), ("a", "b"), 32, SILENT)

    classifier.train()(torch.zeros(2, 3, 32, 32))

    assert set(asked) == {(False, False)}
    assert "body.group1.2.weight" not in classifier.state_dict()


def speed_run(**changes: Any) -> tuple[Classifier, list[str]]:
    """speednet after one epoch on 24 noisy images, and what was said."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 3, 10, 10), dtype=np.uint8)
    pool = Images.from_pixels(pixels, np.arange(24) % 2, ("a", "b"))
    splits = split(pool, pool, val_fraction=0.25, limit_per_class=None, seed=0)
    values = {
        "epochs": 1,
        "batch_size": 9,
        "lr": 0.1,
        "weight_decay": 1e-3,
        "flip": True,
        "test_shifts": False,
        **changes,
    }
    console = Console(stream=io.StringIO())
    classifier = backbones.load(BackboneSettings(name="speednet", weights="none"), ("a", "b"), 10, SILENT)
    context = Context(machine.Runtime(torch.device("cpu"), "fp32", 1), console, 0)
    recipe = parse({"data": "digits", "backbone": {"name": "speednet"}, "method": {"name": "scratch", **values}})
    recipe = defaults.resolved(recipe, len(splits.train), 10)
    methods.fit(classifier, splits, recipe.method, recipe.backbone, context)
    prepared = classifier.prepare(torch.from_numpy(splits.train.pixels))
    expected = speednet.whitening_filters(prepared)
    weight = classifier.body.whitening.weight.detach()  # type: ignore[union-attr]
    torch.testing.assert_close(weight, torch.cat((expected, -expected)))  # and training left it so
    return classifier, console.stream.getvalue().splitlines()  # type: ignore[union-attr]


def test_speednet_starts_from_the_training_images_and_keeps_its_first_layer() -> None:
    classifier, said = speed_run()

    assert "whitening: set from 18 training images, and frozen" in said
    assert classifier.frozen == ("whitening",)


def test_a_test_flip_predicts_from_an_image_and_its_mirror_image() -> None:
    classifier, _ = speed_run(test_flip=True, alternating_flip=True)
    images = torch.rand(3, 3, 10, 10)

    with torch.no_grad():
        both = classifier(images)
        classifier.averages_mirror = False
        alone, mirrored = classifier(images), classifier(images.flip(-1))

    torch.testing.assert_close(both, (alone + mirrored) / 2)
    assert not torch.allclose(both, alone)
