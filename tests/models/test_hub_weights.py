"""Weights named by a repository of the Hugging Face hub: found once, never a pickle, refused in one message."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save
from stand_in_hub import COMMIT, StandIn, point_at, running
from torchvision import models

from transferkit.models import backbones, weights
from transferkit.models.input_sizes import resolved_backbone
from transferkit.models.weights import hub as hub_module
from transferkit.recipe import BackboneSettings, ProbeSettings
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.errors import MachineError, TransferkitError

FLAT = {"mean": "0.1,0.2,0.3", "std": "0.4,0.5,0.6", "size": "40", "interpolation": "bicubic", "crop": "0.5"}


@pytest.fixture(scope="module")
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return {name: value.contiguous() for name, value in models.resnet18(num_classes=7).state_dict().items()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, torch.Tensor]) -> Iterator[StandIn]:
    """With the repository me/pets."""
    with running(tmp_path / "hub", monkeypatch) as stand_in:
        stand_in.repositories["me/pets"] = {"model.safetensors": save(tensors, FLAT)}
        yield stand_in


def settings(where: str = "hf:me/pets") -> BackboneSettings:
    return BackboneSettings(name="resnet18", weights=where)


def test_a_network_takes_the_tensors_and_the_preparation_of_the_repository(
    hub: StandIn, tensors: dict[str, torch.Tensor]
) -> None:
    hub.repositories["me/pets"]["README.md"] = b"---\nlicense: cc-by-4.0\n---\n# pets\n"

    classifier = backbones.load(settings(), ("cat", "dog"), 40, SILENT)

    spec, record = classifier.input_spec, classifier.weights
    torch.testing.assert_close(classifier.body.state_dict()["conv1.weight"], tensors["conv1.weight"])
    assert (spec.mean, spec.std, spec.interpolation, spec.crop) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", 0.5)
    assert (record.source, record.tag, record.licence) == ("hub", f"me/pets@{COMMIT[:12]}", "cc-by-4.0")
    assert len(record.sha256) == 64


def test_size_and_stem_are_those_of_the_repository(hub: StandIn) -> None:
    small = {"conv1.weight": torch.zeros(64, 3, 3, 3)}
    hub.repositories["me/small"] = {"model.safetensors": save(small)}

    stem = resolved_backbone(settings("hf:me/small"), ProbeSettings(name="probe"), 32).stem

    assert backbones.lookup(settings()).made_for_px() == 40
    assert stem == "cifar"


def test_timms_config_beside_the_file_tells_size_and_preparation(
    hub: StandIn, tensors: dict[str, torch.Tensor]
) -> None:
    given = {"mean": [0.1, 0.1, 0.1], "std": [0.2, 0.2, 0.2], "input_size": [3, 48, 48], "interpolation": "bicubic"}
    config = {"architecture": "resnet18", "pretrained_cfg": given}
    hub.repositories["me/timm"] = {"model.safetensors": save(tensors), "config.json": json.dumps(config).encode()}

    spec = backbones.load(settings("hf:me/timm"), ("cat", "dog"), 48, SILENT).input_spec

    assert backbones.lookup(settings("hf:me/timm")).made_for_px() == 48
    assert (spec.mean, spec.interpolation) == ((0.1, 0.1, 0.1), "bicubic")


def test_a_file_is_downloaded_once_and_the_hub_asked_once(hub: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        backbones.require(settings(), Console())
        weights.location("hf:me/pets")

    assert hub.downloads() == ["model.safetensors"]
    assert capsys.readouterr().err == f"Downloading model.safetensors of me/pets@{COMMIT[:12]} from {hub.address}.\n"


@pytest.mark.usefixtures("hub")
def test_what_is_in_the_cache_needs_no_network_and_that_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = weights.location("hf:me/pets")
    point_at("http://127.0.0.1:9", monkeypatch)  # nothing listens there

    capsys.readouterr()

    again = weights.location("hf:me/pets", Console())

    assert again == path
    said = capsys.readouterr().err
    assert re.match(r"http://127.0.0.1:9 does not answer \(.*refused\); model.safetensors of me/pets@0123", said)
    assert said.endswith(" is from the cache.\n")


@pytest.mark.usefixtures("hub")
def test_without_network_and_cache_one_message_says_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)

    with pytest.raises(MachineError, match=r"of me/pets: http://127.0.0.1:9 does not answer \(.*\), and it is"):
        backbones.require(settings())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub_module._commit.cache_clear()
    with pytest.raises(MachineError, match=r"HF_HUB_OFFLINE forbids to ask .*--weights FILE"):
        backbones.require(settings())


def runs_code() -> bytes:
    class RunsCode:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("touch ran",)

    file = io.BytesIO()
    pickle.dump(RunsCode(), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("hf:me/nothing", r"There is no repository me/nothing at http://127.0.0.1:\d+, or it is private"),
        ("hf:me/pets@v9", r"me/pets has no revision 'v9'"),
        ("hf:me/gated", r"me/gated is open to those alone who agree to its terms. .*hf auth login"),
        (
            "hf:me/pickle",
            r"me/pickle has no model.safetensors. It holds no .safetensors file at all. It has model.bin, ",
        ),
        (
            "hf:me/other",
            r"me/other has no model.safetensors. It has a.safetensors. Name one: hf:me/other/a.safetensors",
        ),
        ("hf:pets", r"No weights at 'hf:pets': expected hf:USER/NAME, hf:USER/NAME@REVISION or"),
        ("hf:me/../x", r"No weights at 'hf:me/../x': expected"),
        ("hf:me/pets/model.bin", r"No weights at 'hf:me/pets/model.bin': expected"),
    ],
)
def test_what_is_not_there_is_one_message(hub: StandIn, where: str, words: str) -> None:
    hub.repositories |= {"me/gated": {}, "me/pickle": {"model.bin": runs_code()}, "me/other": {"a.safetensors": b""}}
    hub.gated = "me/gated"

    with pytest.raises(TransferkitError, match=words):
        backbones.require(settings(where))

    assert hub.downloads() == []


def test_a_revision_and_a_file_can_be_named(hub: StandIn) -> None:
    hub.repositories["me/pets"]["deep/a.safetensors"] = hub.repositories["me/pets"]["model.safetensors"]

    path = weights.location("hf:me/pets/deep/a.safetensors@v1")

    assert path.parts[-2:] == ("deep", "a.safetensors")
    assert any(re.fullmatch(r"HEAD /me/pets/resolve/v1/deep/a\.safetensors", entry) for entry in hub.requests)


def test_a_pickle_under_the_name_of_a_safe_file_is_refused(
    hub: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.repositories["me/pets"]["model.safetensors"] = runs_code()

    with pytest.raises(TransferkitError, match=r"is no \.safetensors file, or damaged"):
        backbones.load(settings(), ("cat", "dog"), 40, SILENT)

    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_command_starts_from_the_repository(hub: StandIn, tmp_path: Path) -> None:
    asked = ["probe", "resnet18", "--data", "digits", "--limit-per-class", "5", "--weights", "hf:me/pets"]
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home")}

    command = [sys.executable, "-m", "transferkit", *asked, "--out", str(tmp_path / "run")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)

    assert ended.returncode == 0, ended.stderr
    assert f"Downloading model.safetensors of me/pets@{COMMIT[:12]} from {hub.address}." in ended.stderr
    record = json.loads((tmp_path / "run" / "model.json").read_text())
    assert record["weights"]["tag"] == f"me/pets@{COMMIT[:12]}"
    assert record["input"]["size"] == 40
