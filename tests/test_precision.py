"""What bf16 may change, and what it may not: in one precision all commands agree, whatever the batch and the pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transferkit
from transferkit.data.images import Images
from transferkit.features.fast_classifier import collect
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.stored import stored_features
from transferkit.features.stored_answers import StoredAnswers
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings, from_options
from transferkit.run import run
from transferkit.runs.run_directory import Run
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.machine import Runtime

NAMES = ("cat", "dog", "ship")
BODIES = [("resnet-mini", 8), ("timm/test_efficientnet", 32), ("timm/test_vit", 32)]


@pytest.fixture(scope="module", params=BODIES, ids=lambda body: body[0])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """Random weights, and BatchNorm statistics of some images, so that folding has something to fold."""
    name, side = request.param
    torch.manual_seed(0)
    made = backbones.load(BackboneSettings(name=name, weights="none"), NAMES, side, SILENT).train()
    with torch.no_grad():
        for _ in range(3):
            made(torch.rand(16, 3, side, side))
    return made.eval()


@pytest.fixture(scope="module")
def runtime(both_precisions: str) -> Runtime:
    assert machine.choose_precision(torch.device("cpu"), "auto") == both_precisions
    return machine.start("cpu")


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 3, 16, 16), dtype=np.uint8)
    return Images.from_pixels(pixels, np.arange(13) % 3, NAMES)


def close_to(expected: np.ndarray) -> object:
    """Within 1e-5 of the largest value."""
    return pytest.approx(expected, rel=0, abs=1e-5 * float(np.abs(expected).max()))


def test_every_batch_size_and_every_pass_give_the_same(
    classifier: Classifier, runtime: Runtime, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13 images leave batches of 1 and 3 behind those of 4 and 5; single images take other kernels."""
    expected = collect(classifier, images, runtime, SILENT, "")

    in_parts = [collect(classifier, images, runtime, SILENT, "", size) for size in (1, 4, 5)]
    stored = stored_features(classifier, images, runtime, SILENT, "", 6)
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path))  # where nothing is stored yet
    asked = StoredAnswers(classifier, runtime, SILENT).outputs(images, "")

    for outputs in in_parts:
        assert outputs.features == close_to(expected.features)
        assert outputs.logits == close_to(expected.logits)
    assert stored == close_to(expected.features)
    assert asked.features == close_to(expected.features)
    assert asked.logits == close_to(expected.logits)


@pytest.mark.parametrize(("precision", "rows"), [("fp32", 1), ("bf16", 2)])
def test_a_single_image_passes_with_a_copy_of_itself_only_where_layers_round(precision: str, rows: int) -> None:
    made = backbones.load(BackboneSettings(name="resnet-mini", weights="none"), NAMES, 8, SILENT)
    network = LayerNetwork(made, ["penultimate"], "avg", Runtime(torch.device("cpu"), precision, 1), SILENT)
    seen = list[int]()
    hook = network.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))

    features = network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))["penultimate"]

    hook.remove()
    assert seen == [rows]
    assert len(features) == 1


def test_features_do_not_depend_on_which_other_layers_are_asked_for(runtime: Runtime, images: Images) -> None:
    """The output of a convolution is wanted as it is, before its BatchNorm; what follows is folded all the same."""
    torch.manual_seed(0)
    made = backbones.load(BackboneSettings(name="resnet-mini", weights="none"), NAMES, 8, SILENT).train()
    made(torch.rand(16, 3, 8, 8))
    convolutions = [name for name, module in made.body.named_modules() if isinstance(module, nn.Conv2d)]
    pixels = torch.from_numpy(images.pixels)
    alone = LayerNetwork(made.eval(), ["penultimate"], "avg", runtime, SILENT)(pixels)["penultimate"].numpy()

    found = LayerNetwork(made, [*convolutions, "penultimate"], "avg", runtime, SILENT)(pixels)

    assert len(convolutions) >= 6
    assert found["penultimate"].numpy() == close_to(alone)


def test_outputs_in_bf16_are_not_those_in_fp32(classifier: Classifier, images: Images) -> None:
    """Otherwise the tests above would show nothing about bf16."""
    exact, rounded = (
        collect(classifier, images, Runtime(torch.device("cpu"), precision, 1), SILENT, "")
        for precision in ("fp32", "bf16")
    )

    difference = np.abs(rounded.logits - exact.logits).max() / np.abs(exact.logits).max()
    assert 1e-5 < difference < 0.2


def test_the_head_is_computed_in_fp32_under_autocast(classifier: Classifier) -> None:
    features = torch.randn(64, classifier.num_features, generator=torch.Generator().manual_seed(1))

    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits = classifier.logits(features)
        through = classifier(torch.rand(2, 3, 32, 32))

    assert logits.dtype == through.dtype == torch.float32
    assert torch.equal(logits, classifier.head(features))


def test_logits_keep_more_than_three_digits(classifier: Classifier, runtime: Runtime, images: Images) -> None:
    logits = collect(classifier, images, runtime, SILENT, "").logits

    rounded = torch.from_numpy(logits).bfloat16().float().numpy()
    assert (rounded != logits).mean() > 0.9


@pytest.fixture(scope="module")
def finished(both_precisions: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = from_options("scratch", "resnet20", "digits", {"epochs": 1, "limit_per_class": 20, "size": 8}, ())
    return run(recipe, tmp_path_factory.mktemp("runs") / both_precisions, console=SILENT)


def test_a_run_keeps_the_precision_of_its_thresholds_and_the_report_states_it(
    finished: Run, both_precisions: str
) -> None:
    assert finished.model.precision == finished.precision == both_precisions
    assert both_precisions in (finished.path / "report.md").read_text()
    assert both_precisions in (finished.path / "report.html").read_text()


def test_predict_asks_in_the_precision_of_the_thresholds_on_every_machine(
    finished: Run, both_precisions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transferkit.data import datasets

    test = finished.outputs("test")
    images = datasets.load(finished.recipe.data, SILENT).test.open()
    expected = rejection.Rejection.from_thresholds(finished.model.rejection, finished.outputs("bank")).scores(test)
    monkeypatch.setattr(machine, "has_fast_bf16", lambda _: both_precisions == "fp32")  # on the other kind of machine

    model = transferkit.load(finished.path, device="cpu")

    assert model.runtime.precision == both_precisions
    for batch_size in (1, 50):
        found = model.predict(images.subset(range(60)), batch_size)
        assert [each.score for each in found] == pytest.approx(expected[:60].tolist(), abs=1e-5)


def test_a_run_of_an_earlier_version_has_its_precision_in_the_environment(finished: Run, both_precisions: str) -> None:
    old = Run(finished.path)
    old.write_model(replace(old.model, precision=None))

    assert Run(finished.path).precision == both_precisions


def test_bf16_without_units_for_it_is_said_to_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_fast_bf16", lambda _: False)

    notes = machine.start("cpu", "bf16").notes

    assert notes[1:] == ("bf16 is computed without units for it here: right, but slower than fp32",)
    assert len(machine.start("cpu", "fp32").notes) == 1
