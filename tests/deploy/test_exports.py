"""Models for other programs: what is written answers as the model does, and what cannot be written says why."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file
from synthetic_runs import finished_run
from torchvision.models.detection import MaskRCNN
from typer.testing import CliRunner

import transferkit
from transferkit.cli.app import app
from transferkit.deploy import export as exports
from transferkit.deploy.export import library_weights
from transferkit.models import backbones
from transferkit.models.heads import NeighbourHead
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings
from transferkit.run import save_model
from transferkit.runs.run_directory import Run
from transferkit.runs.stored_classifier import load_classifier
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.errors import MachineError, TransferkitError

CLASSES = ("cat", "dog", "ship", "truck")


def stored(folder: Path, name: str, size: int = 64, stem: str = "imagenet", head: torch.nn.Module | None = None) -> Run:
    """A finished run whose model has random weights, BatchNorm statistics included."""
    run = finished_run(folder)
    settings = BackboneSettings(name=name, weights="none", stem=stem)  # type: ignore[arg-type]
    torch.manual_seed(0)
    classifier = backbones.load(settings, CLASSES, size, SILENT)
    for module in classifier.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
    classifier.head = head or classifier.head
    recipe = run.recipe.model_copy(update={"backbone": settings})
    run.write_recipe(recipe)
    save_model(run, classifier, recipe, machine.start("cpu", "fp32"), rejection.fit(None))
    return Run(folder)


def random_images(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def answers(run: Run, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Prepared images and the model's logits."""
    classifier = load_classifier(run).eval()
    return classifier.prepare(images), classifier(images)


# ---------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("name", ["resnet18", "timm/mobilenetv3_small_050"])
def test_weights_load_strictly_into_the_librarys_own_class_and_give_the_same_logits(tmp_path: Path, name: str) -> None:
    run = stored(tmp_path / "run", name)

    path = transferkit.export(run, "weights")

    with_head: Any = (
        torchvision.models.resnet18(num_classes=4)
        if name == "resnet18"
        else timm.create_model(name.removeprefix("timm/"), num_classes=4)
    )
    with_head.load_state_dict(load_file(path))
    prepared, logits = answers(run, random_images(2, 3, 50, 70))
    with torch.no_grad():
        assert torch.allclose(with_head.eval()(prepared), logits, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_export_of_a_run_in_bf16_says_that_the_file_computes_in_fp32(tmp_path: Path, precision: str) -> None:
    run = stored(tmp_path / "run", "resnet18")
    run.write_model(replace(run.model, precision=precision))

    _, usage = exports.write_export(Run(run.path), "weights", None, overwrite=False)

    told = re.findall(r"answers in bf16.*computes in fp32.*differ by up to ([\d.]+) % of the largest", usage)
    assert len(told) == (precision == "bf16")
    assert all(0.01 < float(percent) < 5 for percent in told)


def test_weights_say_whose_they_are_and_how_images_are_prepared(tmp_path: Path) -> None:
    path = transferkit.export(stored(tmp_path / "run", "resnet18"), "weights")

    with safe_open(path, "pt") as file:
        facts = {key: json.loads(value) for key, value in file.metadata().items()}
    assert facts["class_names"] == list(CLASSES)
    assert facts["input"]["size"] == 64
    assert facts["weights"]["source"] == "none"


def test_a_stem_for_small_images_does_not_fit_torchvisions_class(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "resnet18", 32, stem="cifar")

    with pytest.raises(TransferkitError, match=r"conv1\.weight is \(64, 3, 3, 3\), there \(64, 3, 7, 7\)"):
        transferkit.export(run, "weights")


def test_a_network_of_our_own_has_no_class_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"lenet is in no other library.* Use --to onnx"):
        transferkit.export(stored(tmp_path / "run", "lenet", 32), "weights")


def test_a_head_of_neighbours_does_not_fit_a_librarys_class(tmp_path: Path) -> None:
    head = NeighbourHead(torch.randn(6, 512), torch.arange(6) % 4, 4, k=3)
    run = stored(tmp_path / "run", "resnet18", head=head)

    with pytest.raises(TransferkitError, match="no linear layer"):
        transferkit.export(run, "weights")


def test_weights_that_answer_otherwise_are_not_kept(tmp_path: Path) -> None:
    classifier = load_classifier(stored(tmp_path / "run", "resnet18")).eval()
    twin = library_weights.built("resnet18", 4, 64).eval()
    path = tmp_path / "weights.safetensors"
    path.touch()

    with pytest.raises(MachineError, match=r"differs from the model by .* not kept"):
        library_weights.require_equal(classifier, twin, path)

    assert not path.exists()


# -------------------------------------------------------------------------------------------------- Mask R-CNN


def test_mask_rcnn_sees_through_the_tuned_backbone(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "resnet18")
    prepared, _ = answers(run, random_images(1, 3, 96, 64))

    network = transferkit.mask_rcnn(run, num_classes=3).eval()

    with torch.inference_mode():
        maps = list(network.backbone.body(prepared).values())  # type: ignore[union-attr,operator]
        features = load_classifier(run).eval().body(prepared)
    assert [tuple(each.shape[1:]) for each in maps] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert torch.allclose(maps[-1].mean((2, 3)), features, atol=1e-5)
    assert network.roi_heads.box_predictor.cls_score.out_features == 3  # type: ignore[union-attr]


def test_mask_rcnn_learns_from_boxes_and_masks(tmp_path: Path) -> None:
    network = transferkit.mask_rcnn(stored(tmp_path / "run", "resnet18"), 2, min_size=64, max_size=64).train()
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 16:48, 16:48] = 1
    target = {"boxes": torch.tensor([[16.0, 16, 48, 48]]), "labels": torch.tensor([1]), "masks": mask}

    losses = network([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()

    assert {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"} == set(losses)
    assert bool(network.backbone.body.conv1.weight.grad.abs().sum() > 0)  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_mask_rcnn_file_loads_as_the_printed_lines_say(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "resnet18")

    result = CliRunner().invoke(app, ["export", str(run.path), "--to", "mask-rcnn", "--json"])

    usage = json.loads(result.stdout)["usage"]
    names: dict[str, Any] = {}
    exec(usage, names)  # what the command told the user to type
    assert isinstance(names["network"], MaskRCNN)
    assert names["network"].transform.image_mean == [0.485, 0.456, 0.406]


def test_mask_rcnn_wants_a_resnet_with_the_stem_for_large_images(tmp_path: Path) -> None:
    small = stored(tmp_path / "small", "resnet18", 32, stem="cifar")
    other = stored(tmp_path / "other", "lenet", 32)

    with pytest.raises(TransferkitError, match=r"Train it with backbone\.stem=imagenet"):
        transferkit.mask_rcnn(small)
    with pytest.raises(TransferkitError, match="from layer1 to layer4 of a ResNet; this run has lenet"):
        transferkit.mask_rcnn(other)


# -------------------------------------------------------------------------------------------------------- ONNX


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18", "speednet"])
def test_an_onnx_graph_takes_images_of_any_size_and_number(tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    run = stored(tmp_path / "run", name, 32 if name == "speednet" else 64)

    path = transferkit.export(run, "onnx")

    session = onnxruntime.InferenceSession(str(path))
    for shape in ((1, 3, 33, 47), (5, 3, 128, 100)):
        images = random_images(*shape)
        found = session.run(None, {"images": images.numpy()})[0]
        assert np.abs(found - answers(run, images)[1].numpy()).max() < 1e-3
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["class_names"]) == list(CLASSES)


def test_onnx_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(TransferkitError, match=r'pip install "transferkit\[export\]"'):
        transferkit.export(tmp_path / "no run yet", "onnx")


# ---------------------------------------------------------------------------------------------------- wrong input


def test_a_file_that_exists_is_replaced_only_when_asked(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", "resnet18")
    target = tmp_path / "mine.safetensors"
    target.write_text("mine")

    with pytest.raises(TransferkitError, match=r"mine\.safetensors exists"):
        transferkit.export(run, "weights", target)
    assert target.read_text() == "mine"

    transferkit.export(run, "weights", target, overwrite=True)
    assert "fc.weight" in load_file(target)


def test_an_unknown_format_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(TransferkitError, match=r"Unknown format 'onxx'\. Did you mean 'onnx'\?"):
        transferkit.export(tmp_path, "onxx")


def test_a_suffix_of_another_format_is_refused(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")

    with pytest.raises(TransferkitError, match=r"model\.pth does not end in \.safetensors"):
        transferkit.export(run, "weights", tmp_path / "model.pth")
