"""Features in 8 bits: near those in fp32, the same however an extraction is cut, refused where they would be others."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import CPU, classifier_of
from PIL import Image
from torch import nn
from torchvision import models

from transferkit.data.images import Images
from transferkit.features import int8
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.sharding import ShardPlan, extract_shards
from transferkit.features.extraction.streaming import extract
from transferkit.features.layer_network import LayerNetwork
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError

SETTINGS = ExtractSettings("resnet-mini", ("stage2",), weights="none", size=16, device="cpu", threads=1, batch_size=4)


def noise(count: int, side: int) -> Images:
    """Images of noise whose brightness differs, so that their features do."""
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 64, (count, 3, side, side)) + draws.integers(0, 192, (count, 3, 1, 1))
    return Images.from_pixels(pixels.astype(np.uint8), np.zeros(count, np.int64), ("-",))


@pytest.fixture
def network() -> LayerNetwork:
    """A ResNet-18 without its last two stages, which a test need not wait for."""
    torch.manual_seed(0)
    return LayerNetwork(classifier_of(models.resnet18(), 32), ["layer2", "layer1"], "avg", CPU, SILENT)


@pytest.mark.slow
def test_features_in_8_bits_point_where_those_of_fp32_do_and_differ(network: LayerNetwork) -> None:
    """At least 0.998 cosine for every image, of images that calibrated nothing."""
    images, stream = noise(72, 32), io.StringIO()
    others = torch.from_numpy(images.pixels[64:])
    exact = network(others)

    int8.quantise(network, images.subset(range(64)), Console(stream=stream))
    small = network(others)

    assert network.precision == "int8"
    for layer in ("layer1", "layer2"):
        assert float(torch.cosine_similarity(exact[layer], small[layer]).min()) >= 0.998
        assert not torch.equal(exact[layer], small[layer])
    assert torch.equal(network(others[:1])["layer2"], small["layer2"][:1])  # whole numbers do not mind the batch
    assert "8 bits: calibrating on 56 images" in stream.getvalue()
    assert "(8 images, layer layer2)" in stream.getvalue()


def test_features_that_would_be_others_are_refused_with_their_cosine() -> None:
    with pytest.raises(TransferkitError, match=r"cosine to fp32 0\.9900 on average, 0\.9800 at least \(2 images"):
        int8.require_near("layer4", torch.tensor([0.98, 1.0]), SILENT)

    int8.require_near("layer4", torch.tensor([0.9975, 0.9995]), SILENT)


def test_a_missing_extra_is_one_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(TransferkitError, match=r'^--precision int8 needs .* pip install "transferkit\[export\]"$'):
        extract(replace(SETTINGS, precision="int8"), "digits", Path("out.npy"), SILENT)


def test_another_device_than_a_cpu_is_refused() -> None:
    with pytest.raises(TransferkitError, match=r"int8 is for CPUs, and this is cuda\. Add --device cpu"):
        int8.require(torch.device("cuda"))


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    class Depends(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))

    network = LayerNetwork(classifier_of(Depends(), 16), ["penultimate"], "avg", CPU, SILENT)

    with pytest.raises(MachineError, match="cannot be traced, which 8 bits need"):
        int8.quantise(network, noise(4, 16), SILENT)


def test_asked_to_compile_in_8_bits_it_says_why_it_does_not(network: LayerNetwork) -> None:
    stream = io.StringIO()
    network.console = Console(stream=stream)
    network.use("int8", network.network)

    network.compile(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))

    assert "not compiled: in int8 another library runs the network." in stream.getvalue()


@pytest.mark.slow
def test_shards_in_8_bits_make_the_file_that_one_piece_makes(tmp_path: Path) -> None:
    """All shards calibrate on images of the whole listing."""
    for number, pixels in enumerate(noise(12, 16).pixels):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / f"{number:02d}.png")
    settings = replace(SETTINGS, precision="int8")

    whole = extract(settings, str(tmp_path), tmp_path / "whole.npy", SILENT)
    parts = extract_shards(settings, str(tmp_path), tmp_path / "parts.npy", ShardPlan(2), SILENT)

    facts = json.loads((tmp_path / "whole.npy.json").read_text())
    assert facts["precision"] == "int8"
    assert facts["versions"]["onnxruntime"]
    assert np.load(whole).shape == (12, 64)
    assert np.array_equal(np.load(whole), np.load(parts))
