"""The features of any layer of any network equal those of the plain network; what compiles is checked."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from networks import CPU, batch, classifier_of
from torch import nn
from torchvision import models

from transferkit.data.images import Images
from transferkit.features import layer_network
from transferkit.features.folding import fold_batchnorm
from transferkit.features.graphs import cut_graph
from transferkit.features.hooks import HookedLayers, inference_copy
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.layers import pooled
from transferkit.features.stored import stored_features
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.machine import Runtime

BF16 = Runtime(torch.device("cpu"), "bf16", 2)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))


def with_statistics(body: nn.Module, seed: int = 0) -> nn.Module:
    """BatchNorm as after training: no mean is 0, no variance 1, so that a fold that forgets one of them shows."""
    generator = torch.Generator().manual_seed(seed)
    for norm in body.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for value in (norm.running_var, norm.weight.data):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            for value in (norm.running_mean, norm.bias.data):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
    return body


def resnet18(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    body = models.resnet18(weights=None)
    body.fc = nn.Identity()
    return with_statistics(body)


def plain_outputs(body: nn.Module, names: list[str], images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The independent source: hooks on the whole, unfolded network; in-place layers made harmless by copies."""
    found: dict[str, torch.Tensor] = {}
    handles = [
        body.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out.clone()}))
        for name in names
    ]
    with torch.no_grad():
        found["penultimate"] = body.eval()(images)
    for handle in handles:
        handle.remove()
    return found


# ---------------------------------------------------------------------------------------------- layers of all networks


def small_vit() -> nn.Module:
    return models.VisionTransformer(32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=32, mlp_dim=64)


def small_swin() -> nn.Module:
    return models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4])


def small_densenet() -> nn.Module:
    return models.DenseNet(growth_rate=8, block_config=(2, 2, 2), num_init_features=16)


def small_convnext() -> nn.Module:
    from torchvision.models.convnext import CNBlockConfig

    return models.ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)])


def of_timm(name: str) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=0)


slow = pytest.mark.slow
NETWORKS = [  # builder, side in px, layer
    pytest.param(small_vit, 32, "encoder.layers.encoder_layer_1", id="vit"),
    pytest.param(small_swin, 32, "features.1", id="swin"),
    pytest.param(small_densenet, 32, "features.denseblock2", id="densenet"),
    pytest.param(small_convnext, 32, "features.1", id="convnext"),
    pytest.param(partial(models.mobilenet_v3_small, weights=None), 32, "features.3", id="mobilenet"),
    pytest.param(partial(models.shufflenet_v2_x0_5, weights=None), 32, "stage3", id="shufflenet"),
    pytest.param(partial(models.squeezenet1_1, weights=None), 64, "features.6", id="squeezenet"),
    pytest.param(of_timm("resnet10t"), 32, "layer2", id="timm-resnet"),
    pytest.param(of_timm("test_efficientnet"), 64, "blocks.1", id="timm-efficientnet"),
    pytest.param(of_timm("test_vit"), 160, "blocks.2", id="timm-vit"),
    pytest.param(of_timm("test_convnext"), 64, "stages.1", id="timm-convnext"),
    pytest.param(of_timm("ghostnet_050"), 64, "blocks.3", id="timm-ghostnet"),
    pytest.param(partial(models.alexnet, weights=None), 64, "features.8", id="alexnet", marks=slow),
    pytest.param(partial(models.vgg11_bn, weights=None), 32, "features.9", id="vgg", marks=slow),
    pytest.param(partial(models.googlenet, weights=None, init_weights=False), 64, "inception4b", marks=slow),
    pytest.param(partial(models.regnet_x_400mf, weights=None), 32, "trunk_output.block2", id="regnet", marks=slow),
    pytest.param(of_timm("mobilenetv4_conv_small"), 64, "blocks.2", id="timm-mobilenetv4", marks=slow),
    pytest.param(of_timm("swin_tiny_patch4_window7_224"), 224, "layers.1", id="timm-swin", marks=slow),
]


@pytest.mark.parametrize(("build", "size", "layer"), NETWORKS)
def test_layers_of_every_kind_of_network_equal_those_of_the_whole_network(
    build: Callable[[], nn.Module], size: int, layer: str
) -> None:
    torch.manual_seed(0)
    body = with_statistics(build()).eval()
    classifier, images = classifier_of(body, size), batch(2, size)
    expected = plain_outputs(body, [layer], classifier.prepare(images))

    network = LayerNetwork(classifier, [layer, "penultimate"], "none", CPU, SILENT)
    found = network(images)

    maps = found[layer] if not network.layers[0].is_channels_last else found[layer].permute(0, 2, 3, 1)
    for ours, theirs in ((maps, expected[layer]), (found["penultimate"], expected["penultimate"])):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_batchnorm_of_a_resnet_is_folded_away_and_its_features_stay() -> None:
    body = resnet18().eval()
    classifier, images = classifier_of(body, 64), batch(3, 64)

    network = LayerNetwork(classifier, ["penultimate"], "avg", CPU, SILENT)

    with torch.no_grad():
        expected = classifier.features(images)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in body.modules()) == 20
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.network.modules())
    assert torch.allclose(network(images)["penultimate"], expected, rtol=1e-4, atol=1e-5)


def test_a_convolution_whose_output_is_used_twice_keeps_its_batchnorm() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            maps = self.conv(x)
            return (self.norm(maps) + maps).mean((2, 3))

    graph = cut_graph(with_statistics(Forked()).eval(), [""])

    assert fold_batchnorm(graph) == 0


def test_timms_joined_batchnorm_and_activation_is_folded_and_keeps_its_activation() -> None:
    body = with_statistics(timm.create_model("test_efficientnet", num_classes=0)).eval()

    graph = cut_graph(inference_copy(body, CPU.device), [""])
    folded = fold_batchnorm(graph)

    images = torch.randn(2, 3, 64, 64)
    assert folded > 5
    assert torch.allclose(graph(images)[""], body(images), atol=1e-4)


def test_bf16_features_point_where_those_of_fp32_do() -> None:
    """At least 0.9999 cosine per image, for trained-like statistics and images that differ."""
    classifier = classifier_of(resnet18(), 64)
    images = batch(16, 64)

    exact = LayerNetwork(classifier, ["penultimate"], "avg", CPU, SILENT)(images)["penultimate"]
    rounded = LayerNetwork(classifier, ["penultimate"], "avg", BF16, SILENT)(images)["penultimate"]

    cosines = torch.cosine_similarity(exact, rounded)
    assert not torch.equal(exact, rounded)
    assert float(cosines.min()) >= 0.9999


@pytest.mark.parametrize(
    ("make", "side"),
    [(resnet18, 32), (small_vit, 32), (small_swin, 32), (of_timm("test_efficientnet"), 64), (of_timm("test_vit"), 160)],
)
def test_weights_rounded_once_give_bit_for_bit_what_autocast_gives(
    make: Callable[[], nn.Module], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, images = classifier_of(make(), side), batch(3, side)

    once = LayerNetwork(classifier, ["penultimate"], "avg", BF16, SILENT)
    monkeypatch.setattr(layer_network, "round_weights", lambda _: None)
    every_time = LayerNetwork(classifier, ["penultimate"], "avg", BF16, SILENT)

    kinds = (nn.Conv2d, nn.Linear)
    weights = [module.weight.dtype for module in once.network.modules() if type(module) in kinds]
    assert len(weights) >= 5
    assert set(weights) == {torch.bfloat16}
    assert torch.equal(once(images)["penultimate"], every_time(images)["penultimate"])


def test_the_pass_ends_at_the_deepest_layer_asked_for() -> None:
    classifier = classifier_of(resnet18(), 32)

    graph = LayerNetwork(classifier, ["layer1", "layer2"], "avg", CPU, SILENT)

    names = {name.partition(".")[0] for name, _ in graph.network.named_modules()} - {""}
    assert names == {"conv1", "bn1", "relu", "maxpool", "layer1", "layer2"}


class Untraceable(nn.Module):
    """Control flow on values, which torch.fx cannot follow; counts how often its last layer runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.ran = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.first(x)
        maps = maps if maps.sum() > 0 else -maps
        maps += 1  # in place: overwrites the output of the layer before
        self.ran += 1
        return self.second(maps).mean((2, 3))


def test_a_network_that_does_not_trace_runs_by_hooks_ends_early_and_says_so() -> None:
    body = Untraceable().eval()
    stream = io.StringIO()
    expected = plain_outputs(body, ["first"], classifier_of(body, 8).prepare(batch(3, 8)))["first"]

    network = LayerNetwork(classifier_of(body, 8), ["first"], "none", CPU, Console(stream=stream))
    found = network(batch(3, 8))["first"]

    assert isinstance(network.network, HookedLayers)
    assert "features by hooks" in stream.getvalue()
    assert torch.equal(found, expected)
    assert network.network.body.ran == body.ran + 1  # in the watched pass, and not again


def test_a_module_that_is_called_again_gives_its_last_output() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shared(self.shared(x)).mean((2, 3))

    body = Twice().eval()
    classifier, images = classifier_of(body, 8), batch(2, 8)
    expected = body.shared(body.shared(classifier.prepare(images)))

    network = LayerNetwork(classifier, ["shared"], "none", CPU, SILENT)

    assert network.is_graph
    assert torch.allclose(network(images)["shared"], expected, atol=1e-6)
    assert torch.allclose(HookedLayers(body, {"shared": 2}, "shared")(classifier.prepare(images))["shared"], expected)


def test_making_a_layer_network_leaves_the_classifier_as_it_was() -> None:
    classifier = classifier_of(resnet18(), 32).train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}

    LayerNetwork(classifier, ["layer4"], "avg", CPU, SILENT)(batch(4, 32))

    assert classifier.training
    assert classifier.body.relu.inplace
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_pooling_reduces_maps_and_tokens_as_written() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])  # (1, 1, 2, 2)
    tokens = torch.tensor([[[1.0, 10.0], [3.0, 30.0]]])  # (1, 2 tokens, 2)

    assert pooled(maps, "avg").tolist() == [[3.0]]
    assert pooled(maps, "max").tolist() == [[6.0]]
    assert pooled(maps, "flatten").tolist() == [[1.0, 2.0, 3.0, 6.0]]
    assert pooled(maps, "none") is maps
    assert pooled(tokens, "avg").tolist() == [[2.0, 20.0]]
    assert pooled(torch.ones(1, 3), "max").tolist() == [[1.0, 1.0, 1.0]]


# ------------------------------------------------------------------------------------------------------- bad layers


def layer_error(body: nn.Module, layer: str) -> str:
    with pytest.raises(TransferkitError) as caught:
        LayerNetwork(classifier_of(body, 32), [layer], "avg", CPU, SILENT)
    return str(caught.value)


def test_an_unknown_layer_names_the_nearest_one() -> None:
    assert "Unknown layer 'layer5'. Did you mean 'layer4'?" in layer_error(resnet18(), "layer5")


def test_a_layer_that_gives_no_tensor_names_the_one_around_it() -> None:
    body = small_vit()
    around = "encoder.layers.encoder_layer_0"

    assert f"gives a tuple, not a tensor. Choose the layer around it, '{around}'" in layer_error(
        body, f"{around}.self_attention"
    )


def test_a_layer_that_the_pass_never_reaches_is_refused() -> None:
    body = resnet18()
    body.spare = nn.Linear(2, 2)

    assert "'spare' is never called" in layer_error(body, "spare")


def test_a_layer_without_one_row_per_image_is_refused() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.reshape(-1, 3, 8, 8)).reshape(len(x), -1)

    assert "which is not one row per image" in layer_error(Windows(), "inner")


def test_features_that_are_not_finite_name_layer_and_image() -> None:
    body = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        body[0].weight.fill_(2e36)  # the sum over 64 white pixels overflows, that over grey ones does not
    pixels = np.full((3, 3, 8, 8), 124, np.uint8)
    pixels[1] = 255
    images = Images.from_pixels(pixels, [0, 0, 0], ("a",), ids=("fine", "broken", "fine too"))

    with pytest.raises(MachineError, match=r"'penultimate' gives features that are not finite .* first broken"):
        stored_features(classifier_of(body, 8), images, CPU, SILENT, "features")


# -------------------------------------------------------------------------------------------------------- compiling


def test_a_missing_compiler_is_said_aloud_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_network, "has_cpp_compiler", lambda: False)
    stream = io.StringIO()
    network = LayerNetwork(classifier_of(resnet18(), 32), ["layer1"], "avg", CPU, Console(stream=stream))

    network.compile(batch(4, 32))

    assert "not compiled: there is no C++ compiler here" in stream.getvalue()
    assert network(batch(4, 32))["layer1"].shape == (4, 64)


def test_a_compiler_that_fails_is_said_aloud_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("internal compiler error")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(layer_network, "has_cpp_compiler", lambda: True)
    stream = io.StringIO()
    network = LayerNetwork(classifier_of(resnet18(), 32), ["layer1"], "avg", CPU, Console(stream=stream))

    network.compile(batch(4, 32))

    assert "not compiled: RuntimeError: internal compiler error" in stream.getvalue()
    assert not network.is_compiled


@pytest.mark.parametrize(("runtime", "expected"), [(CPU, [901]), (BF16, [])])
def test_it_compiles_in_fp32_alone_and_only_when_enough_seconds_lie_ahead(
    runtime: Runtime, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[int] = []
    network = LayerNetwork(classifier_of(resnet18(), 32), ["layer1"], "avg", runtime, SILENT)

    for seconds in (899, 901):
        monkeypatch.setattr(LayerNetwork, "compile", lambda *_, seconds=seconds: compiled.append(seconds))
        network.compile_if_it_pays(batch(4, 32), seconds_left=seconds)

    assert compiled == expected


def test_asked_to_compile_in_bf16_it_says_why_it_does_not() -> None:
    stream = io.StringIO()
    network = LayerNetwork(classifier_of(resnet18(), 32), ["layer1"], "avg", BF16, Console(stream=stream))

    network.compile(batch(4, 32))

    assert "not compiled: in bf16 a compiled network rounds otherwise than all other passes" in stream.getvalue()
    assert not network.is_compiled


@pytest.mark.parametrize(("factor", "is_kept"), [(1.0, True), (-1.0, False)])
def test_a_compiled_network_is_kept_only_if_it_gives_the_same(
    factor: float, is_kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = LayerNetwork(classifier_of(resnet18(), 32), ["layer1"], "avg", CPU, SILENT)
    eager = network.network
    monkeypatch.setattr(layer_network, "has_cpp_compiler", lambda: True)
    monkeypatch.setattr(
        torch, "compile", lambda *_, **__: lambda x: {name: factor * value for name, value in eager(x).items()}
    )
    monkeypatch.setattr(LayerNetwork, "_gain", lambda *_: 1.5)

    network.compile(batch(4, 32))

    assert network.is_compiled == is_kept


@pytest.mark.slow
@pytest.mark.skipif(not layer_network.has_cpp_compiler(), reason="needs a C++ compiler")
def test_features_of_a_really_compiled_network_equal_the_eager_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_network, "LEAST_GAIN", 0.0)
    classifier, images = classifier_of(resnet18(), 64), batch(8, 64)
    network = LayerNetwork(classifier, ["layer2"], "avg", CPU, SILENT)
    expected = network(images)["layer2"]

    network.compile(images)

    assert network.is_compiled
    assert torch.allclose(network(images)["layer2"], expected, rtol=1e-4, atol=1e-5)
    assert torch.allclose(network(images[:3])["layer2"], expected[:3], rtol=1e-4, atol=1e-5)
