"""Every network gives measured features, has each tensor in one stage, and refuses what it cannot do."""

from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from huggingface_hub import constants
from torch import nn
from torchvision.models import get_model_weights

from transferkit.models import backbones
from transferkit.models.backbones import timm_models, torchvision_models
from transferkit.models.backbones.cards import CARDS, SMALL, TORCHVISION
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError

# One network per way of building; the others differ in depth alone.
CHEAP = {
    "alexnet": (63, 4096),
    "vgg11_bn": (32, 512),  # with the small stem; the other has 100 million weights more
    "resnet18": (32, 512),
    "resnet50": (32, 2048),
    "plain20": (8, 64),
    "resnet20": (8, 64),
    "resnet-mini": (8, 128),
    "lenet": (16, 84),
    "simple-cnn": (8, 128),
    "speednet": (9, 256),
    "timm/resnet18": (32, 512),
    "timm/vit_tiny_patch16_224": (32, 192),
    "timm/convnext_atto": (32, 320),
    "timm/efficientnet_b0": (32, 1280),
    "timm/mobilenetv3_small_050": (32, 1024),
}


def settings(name: str, weights: str = "none", **values: Any) -> BackboneSettings:
    return BackboneSettings.model_validate({"name": name, "weights": weights, "stem": "imagenet", **values})


def make(name: str, size: int, **values: Any) -> Classifier:
    if name == "alexnet":
        return wide_without_drawing(name, size, **values)
    values = {"stem": "cifar"} if name == "vgg11_bn" else values
    return backbones.load(settings(name, **values), ("cat", "dog", "owl"), size, SILENT)


def wide_without_drawing(name: str, size: int, **values: Any) -> Classifier:
    """Without the time that drawing 57 million random weights takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, "kaiming_uniform_", lambda tensor, *_, **__: tensor.detach().fill_(1e-3))
        patch.setattr(nn.init, "normal_", lambda tensor, *_, **__: tensor.detach().fill_(1e-3))
        return backbones.load(settings(name, **values), ("cat", "dog", "owl"), size, SILENT)


@pytest.fixture(scope="module", params=CHEAP)
def network(request: pytest.FixtureRequest) -> Classifier:
    return make(request.param, CHEAP[request.param][0])


def test_features_have_the_measured_width_and_logits_are_the_head_of_the_features(
    network: Classifier, request: pytest.FixtureRequest
) -> None:
    size, width = CHEAP[request.node.callspec.params["network"]]
    images = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)

    with torch.no_grad():
        features = network.eval().features(images)
        logits = network(images)

    assert features.shape == (2, width)
    assert network.num_features == width
    torch.testing.assert_close(logits, network.head(features))


def test_every_parameter_and_buffer_is_in_exactly_one_stage(network: Classifier) -> None:
    for name in network.state_dict():
        holders = [stage for stage in (*network.stages, "head") if holds(network, stage, name)]
        assert len(holders) == 1, (name, holders)


def test_every_module_that_behaves_otherwise_in_training_is_in_a_stage(network: Classifier) -> None:
    leaves = [name for name, module in network.body.named_modules() if name and not list(module.children())]

    assert len(leaves) > 5
    for name in leaves:
        network.stage_of(f"body.{name}")


def test_gradients_reach_every_parameter(network: Classifier) -> None:
    size = network.input_spec.size
    network.eval().zero_grad()

    network(torch.rand(2, 3, size, size)).square().sum().backward()

    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []


def holds(network: Classifier, stage: str, name: str) -> bool:
    if stage == "head" or name.startswith("head."):
        return stage == "head" and name.startswith("head.")
    inner = name.removeprefix("body.")
    return any(inner == prefix or inner.startswith(f"{prefix}.") for prefix in network.stages[stage])


@pytest.mark.parametrize("name", [card.name for card in TORCHVISION])
def test_stages_of_every_torchvision_network_cover_its_tensors_once(name: str) -> None:
    with torch.device("meta"):
        body, stages = torchvision_models.build(name, torchvision_models.architecture(name), "imagenet")

    prefixes = [prefix for group in stages.values() for prefix in group]
    for tensor in body.state_dict():
        assert sum(tensor == prefix or tensor.startswith(f"{prefix}.") for prefix in prefixes) == 1, tensor


def test_stages_stand_in_the_order_of_the_forward_pass() -> None:
    assert tuple(make("resnet18", 32).stages) == ("stem", "layer1", "layer2", "layer3", "layer4")
    assert tuple(make("alexnet", 63).stages) == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    with torch.device("meta"):
        _, vgg = torchvision_models.build("vgg11", "vgg", "imagenet")
    assert tuple(vgg) == (*(f"block{number}" for number in range(1, 6)), "fc6", "fc7")
    vit = tuple(make("timm/vit_tiny_patch16_224", 32).stages)
    assert vit == ("stem", *(f"blocks.{number}" for number in range(12)))


def test_cards_say_what_torchvision_says() -> None:
    assert len(TORCHVISION) == 14
    for card in TORCHVISION:
        meta = get_model_weights(card.name)["IMAGENET1K_V1"].meta
        assert card.parameters == meta["num_params"]
        assert card.top1 == pytest.approx(meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100)


@pytest.mark.parametrize("name", [card.name for card in SMALL])
def test_cards_of_small_networks_count_their_parameters_with_ten_classes(name: str) -> None:
    classifier = backbones.load(settings(name), [str(digit) for digit in range(10)], 32, SILENT)

    assert sum(parameter.numel() for parameter in classifier.parameters()) == CARDS[name].parameters


def test_resnet20_is_as_deep_as_its_name() -> None:
    body = make("resnet56", 8).body

    convolutions = [module for module in body.modules() if isinstance(module, nn.Conv2d)]

    assert len(convolutions) == 6 * 9 + 1  # and the head makes 6n + 2 (He et al. 2016, section 4.2)


def test_plain_network_has_the_weights_of_the_residual_one() -> None:
    plain, residual = make("plain20", 8).state_dict(), make("resnet20", 8).state_dict()

    assert {name: value.shape for name, value in plain.items()} == {
        name: value.shape for name, value in residual.items()
    }


def test_family_is_known_without_torch() -> None:
    code = "import sys; from transferkit.models.backbones import card, names; card('resnet18'), names(); "
    code += "print(*({'torch', 'numpy', 'timm', 'sklearn'} & sys.modules.keys()))"

    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.strip() == ""


def test_a_backbone_that_is_looked_up_knows_its_family_source_stem_and_side() -> None:
    backbone = backbones.lookup(settings("vgg16_bn", "imagenet"))

    assert (backbone.card.family, backbone.card.source, backbone.card.has_small_stem) == ("vgg_bn", "torchvision", True)
    assert (backbone.made_for_px(), backbone.fitting_px(16)) == (224, 32)
    assert backbone.source.downloads


def test_unknown_backbone_names_the_nearest_and_timm() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown backbone 'resnet8'. Did you mean 'resnet18'\?.*timm/<name>"):
        backbones.load(settings("resnet8"), ("a", "b"), 64, SILENT)
    with pytest.raises(TransferkitError, match="Did you mean 'vgg16_bn'"):
        backbones.card("vgg16bn")


def test_unknown_timm_name_and_tag_name_the_nearest() -> None:
    with pytest.raises(TransferkitError, match=r"Unknown backbone 'timm/resnett18'. Nearest: .*timm/resnet18"):
        backbones.load(settings("timm/resnett18"), ("a", "b"), 64, SILENT)
    with pytest.raises(TransferkitError, match=r"no weights 'a9' for resnet18. Known: .*timm/resnet18.a1_in1k"):
        backbones.load(settings("timm/resnet18.a9"), ("a", "b"), 64, SILENT)


def test_names_matches_words_and_wildcards_and_asks_timm_only_for_timm() -> None:
    assert [card.name for card in backbones.names("vgg16")] == ["vgg16", "vgg16_bn"]
    assert [card.name for card in backbones.names("resnet?8")] == ["resnet18"]
    assert len(backbones.names()) == len(CARDS) == 25
    assert "timm/resnet18.a1_in1k" in [card.name for card in backbones.names("timm/resnet18*")]


def test_alexnet_below_63_px_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(TransferkitError, match=r"32 -> 7 -> 3 -> 1 -> 0 px.*Use --size 63 or more"):
        backbones.load(settings("alexnet"), ("a", "b"), 32, SILENT)
    with pytest.raises(TransferkitError, match=r"16 -> 8 -> 4 -> 2 -> 1 -> 0 px.*Use --size 32 or more"):
        backbones.load(settings("vgg11"), ("a", "b"), 16, SILENT)


def test_alexnet_below_128_px_warns_of_replicated_cells() -> None:
    said = io.StringIO()

    torchvision_models.warn_of_size("alexnet", "alexnet", "imagenet", 64, Console(stream=said))
    torchvision_models.warn_of_size("alexnet", "alexnet", "imagenet", 128, Console(stream=said))

    assert said.getvalue().count("replicated cells") == 1
    assert "a map of 1 x 1 px is repeated to 6 x 6" in said.getvalue()


def test_small_stem_keeps_the_resolution() -> None:
    resnet = make("resnet18", 32, stem="cifar").body
    images = torch.zeros(1, 3, 32, 32)

    with torch.no_grad():
        maps = resnet.maxpool(resnet.conv1(images))  # type: ignore[operator]

    assert maps.shape == (1, 64, 32, 32)


def test_vgg_for_small_images_has_512_features_and_no_fully_connected_stage() -> None:
    classifier = make("vgg11_bn", 32)

    assert classifier.num_features == 512
    assert tuple(classifier.stages) == ("block1", "block2", "block3", "block4", "block5")


def test_stem_auto_is_small_only_for_small_images_without_weights() -> None:
    assert make("resnet18", 32, stem="auto").body.conv1.kernel_size == (3, 3)  # type: ignore[union-attr]
    assert make("resnet18", 96, stem="auto").body.conv1.kernel_size == (7, 7)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("alexnet", {"stem": "cifar"}, "no stem for small images. Use vgg11_bn or resnet18"),
        ("resnet18", {"stem": "cifar", "weights": "imagenet"}, "trained with the ImageNet stem"),
        ("timm/resnet18", {"stem": "cifar"}, "no stem for small images"),
        ("resnet20", {"weights": "imagenet"}, "no ImageNet weights. Train it from scratch"),
        ("resnet18", {"dropout": 0.5}, "no dropout layers"),
        ("resnet20", {"dropout": 0.5}, "no dropout layers"),
        ("resnet18", {"weights": "imagnet"}, "No weights at 'imagnet'.*Did you mean 'imagenet'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        backbones.load(settings(name, **values), ("a", "b"), 64, SILENT)


def test_small_network_below_8_px_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"cannot take images of 4 px. Use --size 8 or more"):
        backbones.load(settings("resnet20"), ("a", "b"), 4, SILENT)


def test_vit_of_a_size_below_its_patch_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"cannot .* images of 8 (x 8 )?px"):
        make("timm/vit_tiny_patch16_224", 8)


def test_dropout_setting_reaches_every_dropout_layer() -> None:
    body = make("alexnet", 63, dropout=0.25).body

    assert [module.p for module in body.modules() if isinstance(module, nn.Dropout)] == [0.25, 0.25]


def test_torchvision_images_are_prepared_whole_with_imagenet_statistics() -> None:
    spec = make("resnet18", 96).input_spec

    assert (spec.size, spec.crop, spec.interpolation) == (96, 1.0, "bilinear")
    assert spec.mean == (0.485, 0.456, 0.406)


def test_timm_images_are_prepared_as_the_weights_want_but_whole() -> None:
    spec = make("timm/vit_tiny_patch16_224", 64).input_spec

    assert (spec.size, spec.crop, spec.interpolation) == (64, 1.0, "bicubic")
    assert spec.mean == (0.5, 0.5, 0.5)


def test_timm_weights_file_of_another_size_is_resampled_and_its_head_dropped(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=7).state_dict(), tmp_path / "vit.pth")

    classifier = backbones.load(
        settings("timm/vit_tiny_patch16_224", str(tmp_path / "vit.pth")), ("a", "b"), 64, SILENT
    )

    assert classifier.body.pos_embed.shape == (1, 1 + (64 // 16) ** 2, 192)
    assert classifier.weights.source == "file"
    assert "state_dict" not in classifier.body.pretrained_cfg  # type: ignore[operator]


def test_timm_weights_of_another_architecture_list_the_difference(tmp_path: Path) -> None:
    import timm

    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "weights.pth")

    with pytest.raises(TransferkitError, match=r"do not fit timm/convnext_atto. It looks like resnet18"):
        backbones.load(settings("timm/convnext_atto", str(tmp_path / "weights.pth")), ("a", "b"), 64, SILENT)


def test_timm_weights_in_our_cache_are_used_with_tag_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(timm_models, "try_to_load_from_cache", lambda *_: None)
    from safetensors.torch import save_file

    network = timm.create_model("resnet18")
    path = tmp_path / "weights" / "timm" / "resnet18.a1_in1k" / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(network.state_dict(), path)

    classifier = backbones.load(settings("timm/resnet18", "imagenet"), ("a", "b"), 64, SILENT)

    torch.testing.assert_close(classifier.body.conv1.weight, network.conv1.weight)  # type: ignore[union-attr]
    record = classifier.weights
    assert (record.source, record.tag, record.licence) == ("timm", "a1_in1k", "apache-2.0")
    assert len(record.sha256) == 64


def test_timm_without_network_names_repository_file_and_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(timm_models, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    with pytest.raises(MachineError) as caught:
        backbones.load(settings("timm/resnet18", "imagenet"), ("a", "b"), 64, SILENT)

    message = str(caught.value)
    assert "timm/resnet18.a1_in1k/resolve/main/model.safetensors" in message
    assert str(tmp_path / "weights" / "timm" / "resnet18.a1_in1k" / "model.safetensors") in message
    assert "--weights none" in message
    assert "transferkit quickstart" in message


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one file, and tells its SHA-256 as the Hugging Face hub does; a range of it where that is asked for."""

    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    seen: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._head(200, self.content)

    def do_GET(self) -> None:
        wanted = self.headers.get("Range") or "bytes=0-"
        self.seen.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        self._head(206 if start else 200, self.content[start:], start)
        self.wfile.write(self.content[start:])

    def _head(self, status: int, body: bytes, start: int = 0) -> None:
        self.send_response(status)
        self.send_header("X-Linked-Etag", f'"{self.digest}"')
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_weights_of_the_hub_are_resumed_and_verified_by_the_hash_that_the_hub_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    facts = timm_models.pretrained("resnet18")
    file = tmp_path / "weights" / timm_models.cache_name(facts)
    file.parent.mkdir(parents=True)
    file.with_name("model.safetensors.part").write_bytes(Hub.content[:3000])  # as a killed download leaves it

    path, digest = timm_models.download_weights(facts, timm_models.cache_name(facts), SILENT)
    server.shutdown()

    assert (path.read_bytes(), digest, Hub.seen) == (Hub.content, Hub.digest, ["bytes=3000-"])
    assert [entry.name for entry in file.parent.iterdir()] == ["model.safetensors"]
