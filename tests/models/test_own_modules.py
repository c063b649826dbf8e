"""Networks of the user's own: what becomes of them, what is refused in a sentence, and a run of one read back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import transferkit
from transferkit.models import backbones
from transferkit.models.backbones import own_modules
from transferkit.models.backbones.own_bodies import own_body, own_stages
from transferkit.recipe import BackboneSettings, ScratchSettings, from_options
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import TransferkitError
from transferkit.training import defaults

PX = 8
ENDS: dict[str, Callable[[Tensor], Any]] = {
    "logits": lambda logits: logits,
    "softmax": lambda logits: F.softmax(logits, 1),
    "log-softmax": lambda logits: F.log_softmax(logits, 1),
    "sigmoid": torch.sigmoid,
    "tuple": lambda logits: (logits, logits.mean()),
    "dict": lambda logits: {"loss": logits.mean(), "logits": logits},
}


class Net(nn.Module):
    """As a lecture writes it: layers in `__init__`, not in the order of the forward pass."""

    def __init__(self, end: str = "logits") -> None:
        super().__init__()
        self.fc1 = nn.Linear(6 * 4 * 4, 12)
        self.fc2 = nn.Linear(12, 10)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        return ENDS[self.end](self.fc2(self.before_head(x)))

    def before_head(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        return F.relu(self.fc1(torch.flatten(x, 1)))


class SameLayers(Net):
    def before_head(self, x: Tensor) -> Tensor:
        return F.relu(self.fc1(torch.flatten(F.avg_pool2d(F.relu(self.conv(x)), 2), 1)))


class Also(Net):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return self.fc2(self.before_head(x * mask))


class Grey(nn.Module):
    """As a lecture on MNIST writes it: one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(F.relu(self.conv(x)).flatten(1))
        return logits


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(x + self.shift)
        return features


def net(end: str = "logits", kind: type[Net] = Net) -> Net:
    torch.manual_seed(0)
    return kind(end)


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # deprecated, and still in use
        module: nn.Module = torch.jit.trace(net(), torch.zeros(1, 3, PX, PX))
    return module


def test_the_last_linear_layer_gives_way_to_a_head_for_the_classes() -> None:
    given, images = net(), torch.rand(3, 3, PX, PX)

    body = own_body(given, PX)

    assert body.removed == "fc2"
    assert torch.equal(body.network(images), given.before_head(images))
    assert [name for name, _ in given.named_children()] == ["fc1", "fc2", "conv"]
    assert isinstance(given.fc2, nn.Linear)


def test_a_network_without_a_last_linear_layer_gives_the_features_themselves() -> None:
    body = own_body(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), PX)

    assert (body.removed, tuple(body.answers.shape)) == ("", (2, 5))


def test_stages_are_the_children_with_tensors_in_the_order_of_the_forward_pass() -> None:
    assert dict(own_stages(own_body(net(), PX), None)) == {"conv": ("conv",), "fc1": ("fc1",)}


def test_a_tensor_of_the_network_itself_belongs_to_the_first_stage() -> None:
    assert dict(own_stages(own_body(Tokens(), PX), None)) == {"body_head": ("head", "shift")}


def test_of_an_only_child_the_children_are_the_stages() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    stages = own_stages(own_body(nn.Sequential(layers), PX), None)

    assert dict(stages) == {"body_0": ("0.0",), "body_1": ("0.1",)}


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("softmax", "ends in a softmax: for each of 2 images .* cannot fall below 1.461. Remove it"),
        ("log-softmax", "ends in a log-softmax: .* Remove it"),
        ("sigmoid", "ends in a sigmoid behind its last linear layer. .* cannot fall below 1.461. Remove it"),
    ],
)
def test_an_activation_before_the_loss_is_refused_before_any_work(end: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=message):
        transferkit.finetune(net(end), "digits", size=PX, out=tmp_path / "run", quiet=True)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Net, {}, "backbone is .*Net'>. Expected a name such as 'resnet18', or a network of your own"),
        (np.zeros((9, 3)), {}, r"backbone is a ndarray of shape \(9, 3\). Expected a name"),
        (net(), {"size": None}, "needs size, the side in px of the images it takes, as in size=32"),
        (net(), {"size": "32"}, "as in size=32; found '32'"),
        (net(), {"size": 16}, r"Your Net cannot take images \(2, 3, 16, 16\): .* Give the side it was written for"),
        (nn.Conv2d(3, 3, 3), {}, r"gives \(2, 3, 6, 6\) for 2 images. Expected .* Average maps .* x.mean\(\(2, 3\)\)"),
        (Also(), {}, "missing 1 required positional argument: 'mask'. Its forward has to take the images alone"),
        (net("tuple"), {}, r"gives a tuple for 2 images. Expected logits .* Return its part \[0\] alone"),
        (net("dict"), {}, r"gives a dict for 2 images. Expected logits .* Return its part \['logits'\] alone"),
        (scripted(), {}, "A TorchScript module cannot be taken apart. Give the"),
        (Grey(), {"mean": (0.5, 0.5, 0.5)}, r"mean is \(0.5, 0.5, 0.5\). Expected 1 number, one per channel: \(0.5\)"),
        (net(), {"stages": ["conv"]}, "'fc1.weight' is in none of the stages conv. Every parameter"),
        (net(), {"stages": ["convs", "fc1"]}, "names 'convs', which the network lacks. Did you mean 'conv'"),
        (net(), {"std": (1, 2)}, r"std is \(1, 2\). Expected 3 positive numbers"),
        (net(), {"weights": "none"}, "has its weights already: load others into it before"),
        ("resnet20", {"mean": (0, 0, 0)}, "mean goes with a network of your own; resnet20 brings its own"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(module: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        transferkit.finetune(module, "digits", quiet=True, **{"size": PX} | options)


def test_equal_weights_of_other_code_are_other_weights() -> None:
    first, second = (own_modules.give(net(kind=kind), PX).settings.weights for kind in (Net, SameLayers))

    assert own_modules.give(net(), PX).settings.weights == first != second


def test_a_network_of_one_channel_sees_colours_as_the_grey_that_pillow_makes_of_them() -> None:
    given = Grey()
    pixels = np.random.default_rng(0).integers(0, 256, (2, PX, PX, 3), np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])

    classifier = backbones.load(own_modules.give(given, PX).settings, ("a", "b"), PX, SILENT)

    features = classifier.features(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    expected = F.relu(given.conv(torch.from_numpy(grey)[:, None] / 255)).flatten(1)
    assert torch.allclose(features, expected, atol=1 / 255)


@pytest.mark.parametrize("module", [Grey(), nn.Sequential(nn.Flatten(), nn.Linear(PX * PX, 8), nn.ReLU())])
def test_a_network_of_one_channel_learns_from_grey_and_answers_grey_and_colours_alike(
    module: nn.Module, tmp_path: Path
) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (30, PX, PX), np.uint8)
    run = transferkit.probe(
        module, (grey, np.arange(30) % 2), size=PX, C=1.0, out=tmp_path / "run", quiet=True, precision="fp32"
    )

    answers = [run.predict(images) for images in (grey[..., None], grey[..., None].repeat(3, axis=3))]

    assert [answer.name for answer in answers[0]] == [answer.name for answer in answers[1]]


def test_a_compiled_module_is_the_module_below() -> None:
    compiled = torch.compile(net(), backend="eager")

    assert own_modules.give(compiled, PX).settings == own_modules.give(net(), PX).settings


def test_from_scratch_every_layer_draws_new_weights() -> None:
    given = own_modules.give(net(), PX).settings

    drawn = backbones.load(BackboneSettings(name=given.name, weights="none"), ("a", "b"), PX, SILENT)
    kept = backbones.load(given, ("a", "b"), PX, SILENT)

    assert torch.equal(kept.body.get_parameter("conv.weight"), net().conv.weight)
    assert not torch.equal(drawn.body.get_parameter("conv.weight"), net().conv.weight)


def test_from_scratch_it_takes_many_small_steps_by_adamw() -> None:
    recipe = from_options("scratch", own_modules.give(net(), PX).settings.name, "digits", {"size": PX}, ())

    method = defaults.resolved(recipe, 450, PX).method

    assert isinstance(method, ScratchSettings)
    assert (method.optimizer, method.lr, method.batch_size) == ("adamw", 2.8e-3, 16)  # 450 / 64, at least 16


def test_features_are_those_before_the_last_linear_layer_of_images_as_asked_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, PX, PX, 3), np.uint8)
    prepared = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25

    extractor = transferkit.FeatureExtractor(net(), size=PX, mean=[0.5] * 3, std=[0.25] * 3, precision="fp32")

    np.testing.assert_allclose(
        extractor.fit_transform(pixels), net().before_head(prepared).detach().numpy(), rtol=1e-4, atol=1e-5
    )


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in another program: no network was given."""
    monkeypatch.setattr(own_modules, "_given", {})


def test_a_run_is_read_back_given_the_network_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = net()
    run = transferkit.finetune(given, "digits", size=PX, epochs=1, batch_size=64, out=tmp_path / "run", quiet=True)
    pixels = np.zeros((2, PX, PX, 3), np.uint8)
    answers = run.model.predict(pixels)
    monkeypatch.setattr(own_modules, "_given", {})

    with pytest.raises(TransferkitError, match=r"own/Net-\w{6} is a network of your own, .* not given to this program"):
        transferkit.load(run)
    with pytest.raises(TransferkitError, match=r"and module is own/Tokens-.*: its layers have other names or shapes"):
        transferkit.load(run, module=Tokens())
    again = transferkit.load(run, module=Net()).predict(pixels)

    assert [answer.probabilities for answer in again] == [answer.probabilities for answer in answers]
    assert torch.equal(given.conv.weight, net().conv.weight)


@pytest.mark.usefixtures("forgotten")
def test_a_recipe_alone_says_that_the_network_has_to_be_given() -> None:
    with pytest.raises(TransferkitError, match=r"Give it in Python: transferkit.load\(RUN, module=YourNetwork\(\)\)"):
        backbones.require(BackboneSettings(name="own/Net-000000", weights="given:0"))
