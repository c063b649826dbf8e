"""Probes on stored features: nothing is computed or solved twice, and what is stored is what a pass would give."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transferkit import backbones, solvers
from transferkit.classifier import Classifier
from transferkit.errors import MachineError
from transferkit.features import outputs_of, stored_features
from transferkit.images import Images, Splits, split
from transferkit.inference import LayerNetwork
from transferkit.methods import probe, probe_heads
from transferkit.methods.fitted import Fitted
from transferkit.outputs import Outputs, collect
from transferkit.recipe import BackboneSettings, ProbeSettings
from transferkit.runtime import Runtime
from transferkit.screen import SILENT, Screen

CPU = Runtime(torch.device("cpu"), "fp32", 1)
BARE = BackboneSettings(name="resnet20", weights="none")


def noise(n: int = 60) -> Splits:
    """Three classes of noise of slightly different brightness; 2 images of 10 are val, and as many again are test."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 3
    pixels = (generator.integers(0, 90, (n, 3, 16, 16)) + 8 * labels[:, None, None, None]).astype(np.uint8)
    pool = Images.from_pixels(pixels[: -n // 3], labels[: -n // 3], ("dark", "grey", "light"))
    test = Images.from_pixels(pixels[-n // 3 :], labels[-n // 3 :], pool.class_names)
    return split(pool, test, val_fraction=0.2, limit_per_class=None, seed=0)


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return backbones.load(BARE, ("dark", "grey", "light"), 16, SILENT)


def probed(splits: Splits, screen: Screen = SILENT, **options: object) -> tuple[Classifier, Fitted, Outputs]:
    """A classifier after its probe, how that went, and its outputs on test, as `run` makes them."""
    classifier = network()
    settings = ProbeSettings(name="probe", **options)  # type: ignore[arg-type]
    fitted = probe.fit(classifier, splits, settings, CPU, screen, 0)
    return classifier, fitted, outputs_of(classifier, splits.test.open(), CPU, screen, "test")


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An empty store, and the images of each pass through a network for features."""
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    images: list[int] = []
    forward = LayerNetwork.__call__

    def counted(self: LayerNetwork, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        images.append(len(batch))
        return forward(self, batch)

    monkeypatch.setattr(LayerNetwork, "__call__", counted)
    return images


# ------------------------------------------------------------------------------------------------- the feature store


def test_a_probe_costs_one_pass_per_image_and_a_repeated_one_none(passed: list[int]) -> None:
    first, again = probed(noise())[2], probed(noise())[2]

    assert sum(passed) == 60
    assert np.array_equal(first.logits, again.logits)


def test_outputs_from_the_store_are_those_of_a_pass(passed: list[int]) -> None:
    splits = noise()
    probed(splits)

    classifier, fitted, test = probed(splits)

    assert sum(passed) == 60
    as_is = collect(classifier, splits.test.open(), CPU, SILENT, "test")
    assert np.allclose(test.features, as_is.features, atol=1e-4)
    assert np.allclose(test.logits, as_is.logits, atol=1e-3)
    assert test.ids == as_is.ids
    assert fitted.val is not None
    assert fitted.val.ids == splits.val.ids


def test_fine_tunings_after_a_probe_and_with_other_seeds_need_no_pass_for_their_probes(passed: list[int]) -> None:
    splits = noise()
    probed(splits)

    for seed in (0, 1):
        probe.start_head(network(), splits, CPU, SILENT, seed)

    assert sum(passed) == 60


def test_stored_features_are_said_aloud(passed: list[int]) -> None:
    splits = noise()
    probed(replace(splits, train=splits.train.subset(range(10))))
    said = io.StringIO()

    probed(splits, Screen(stream=said))

    assert sum(passed) == 60
    assert "features of train: 10 of 31 img from the feature store, without a pass" in said.getvalue()
    assert "test: 20 of 20 img from the feature store, without a pass" in said.getvalue()


def test_a_network_that_is_still_trained_has_no_stored_outputs(passed: list[int]) -> None:
    classifier, splits = network(), noise()
    classifier.freeze(["stem", "stage1", "stage2"])

    outputs_of(classifier.eval(), splits.val, CPU, SILENT, "val")

    assert passed == []


def test_features_that_are_not_finite_name_layer_and_image(passed: list[int]) -> None:
    classifier, splits = network(), noise()
    with torch.no_grad():
        classifier.body.get_submodule("stage3.0.convolutions.0").weight.fill_(torch.nan)

    with pytest.raises(MachineError, match=r"'penultimate' gives features that are not finite .* first \d+"):
        probe.fit(classifier, splits, ProbeSettings(name="probe"), CPU, SILENT, 0)
    assert passed


# ------------------------------------------------------------------------------------------------------- the solving


def test_no_fit_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = torch.randn(60, 5), torch.arange(60) % 3
    fitted: list[int] = []
    plain = solvers.fit_chosen
    monkeypatch.setattr(
        probe_heads, "fit_chosen", lambda rows, *rest, **more: (fitted.append(len(rows)), plain(rows, *rest, **more))[1]
    )
    known = probe_heads.Known(features[:45], labels[:45], features[45:], labels[45:], 3)

    probe_heads.linear(known, ProbeSettings(name="probe"), 0)

    assert fitted == [45, 60]  # train for the honest head, then train and val


def test_without_val_one_head_serves_as_both() -> None:
    features, labels = torch.randn(60, 5), torch.arange(60) % 3
    known = probe_heads.Known(features, labels, features[:0], labels[:0], 3)

    solved = probe_heads.linear(known, ProbeSettings(name="probe"), 0)

    assert torch.equal(solved.honest(features), solved.head.logits(features))


def test_lp_ft_starts_at_its_probe_to_the_image_but_for_those_on_a_border() -> None:
    """Folded features differ from a pass by rounding, df: then |change of z_a - z_b| <= |w_a - w_b| |df|."""
    classifier, splits = network(), noise(150)
    train_a_little(classifier, splits.train)

    probe.start_head(classifier, splits, CPU, SILENT, 0)

    head = classifier.head
    weight, bias = (value.detach().double().numpy() for value in (head.weight, head.bias))
    stored = stored_features(classifier, splits.train, CPU, SILENT, "train")
    start = collect(classifier, splits.train, CPU, SILENT, "train")
    logits = stored.astype(np.float64) @ weight.T + bias
    change = np.linalg.norm(stored - start.features, axis=1)
    steepest = max(np.linalg.norm(a - b) for a in weight for b in weight)
    ordered = np.sort(logits, axis=1)
    is_clear = ordered[:, -1] - ordered[:, -2] > steepest * change + 1e-4  # and the rounding of the logits themselves
    assert 0 < change.max() < 1e-3
    assert is_clear.mean() > 0.95
    assert np.array_equal(logits.argmax(1)[is_clear], start.predictions[is_clear])


def train_a_little(classifier: Classifier, images: Images) -> None:
    """So that BatchNorm has statistics to fold that are neither 0 nor 1."""
    classifier.train()
    for _ in range(20):
        classifier(torch.from_numpy(images.pixels))
