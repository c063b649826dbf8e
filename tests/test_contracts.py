"""Every entry of every menu keeps its promise, whoever adds it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from toy_method import ToySettings

from transferkit import ood
from transferkit.data import datasets
from transferkit.data.augmentation import AUGMENTATIONS, BatchDraws, function_of
from transferkit.data.images import Images, Splits
from transferkit.data.splitting import split
from transferkit.metrics.outputs import Outputs
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.linear import LinearHead
from transferkit.recipe import (
    DATA_MODELS,
    METHOD_MODELS,
    BackboneSettings,
    Recipe,
    TrainingSettings,
    from_options,
)
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.training import methods
from transferkit.training.defaults import resolved
from transferkit.training.estimates import work

BUILT_IN = {"digits": {}, "glyphs": {"per_class": 10}, "shapes": {"per_class": 10}}
MACHINE = machine.Runtime(torch.device("cpu"), "fp32", 1)
SMALL = ["alexnet", "vgg11", "vgg11_bn", "resnet18", *(card.name for card in backbones.cards.SMALL)]


def data_settings(name: str) -> object:
    return from_options("probe", "resnet20", name, BUILT_IN[name], ()).data


def test_every_menu_has_settings_and_every_setting_a_menu_entry() -> None:
    assert {model.model_fields["name"].annotation.__args__[0] for model in DATA_MODELS.values()} == set(DATA_MODELS)  # type: ignore[union-attr]
    for name, settings in METHOD_MODELS.items():
        assert settings.model_fields["name"].annotation == Literal[name]  # type: ignore[valid-type]
        assert callable(methods.module_of(name).fit)
    assert {card.name.partition(":")[0] for card in datasets.cards()} >= set(DATA_MODELS)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_data_set_gives_disjoint_splits_with_names_and_the_same_fingerprint_twice(name: str) -> None:
    first, second = (datasets.load(data_settings(name), SILENT) for _ in range(2))  # type: ignore[arg-type]

    test = first.test.open()
    ids = [set(part.ids) for part in (first.train, first.val, test)]
    assert sum(map(len, ids)) == len(set.union(*ids)) == len(first.train) + len(first.val) + len(test)
    assert set(first.train.labels) == set(range(len(first.class_names)))
    assert first.train.fingerprint == second.train.fingerprint
    assert first.test.fingerprint == second.test.fingerprint


@pytest.mark.parametrize("name", SMALL)
def test_a_backbone_measures_its_width_covers_its_parameters_once_and_learns_everywhere(name: str) -> None:
    classifier = backbones.load(BackboneSettings(name=name, weights="none"), ["a", "b", "c"], 64, SILENT)
    images = torch.randint(0, 256, (4, 3, 40, 48), dtype=torch.uint8)

    features = classifier.eval().features(images)
    stages = [classifier.stage_of(parameter) for parameter, _ in classifier.named_parameters()]
    torch.manual_seed(0)
    classifier(images).logsumexp(1).sum().backward()

    assert features.shape == (4, classifier.num_features)
    assert torch.allclose(classifier(images), classifier.head(features), atol=1e-5)
    assert set(stages) == {*classifier.stages, "head"}
    assert all(value.grad is not None for value in classifier.parameters())


def noise() -> Splits:
    """Three classes of noise of slightly different brightness, which no line separates."""
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    pixels = (generator.integers(0, 90, (90, 3, 16, 16)) + 4 * labels[:, None, None, None]).astype(np.uint8)
    pool = Images.from_pixels(pixels, labels, ["dark", "grey", "light"])
    return split(pool, pool, val_fraction=0.2, limit_per_class=None, seed=0)


def recipe_of(name: str, seed: int = 0) -> Recipe:
    options = {} if name == "probe" else {"epochs": 1, "batch_size": 16}
    recipe = from_options(name, "resnet20", "digits", {"weights": "none", "size": 16, "seed": seed, **options}, ())
    return resolved(recipe, 60, 16)


def digest_after(name: str, seed: int) -> str:
    machine.seed_everything(seed)
    classifier = backbones.load(
        BackboneSettings(name="resnet20", weights="none"), ["dark", "grey", "light"], 16, SILENT
    )
    recipe = recipe_of(name, seed)
    methods.fit(classifier, noise(), recipe.method, recipe.backbone, Context(MACHINE, SILENT, seed))
    return classifier.digest([*classifier.stages, "head"])


@pytest.mark.parametrize("name", METHOD_MODELS)
def test_a_method_gives_the_same_weights_for_the_same_seed_and_others_for_another(name: str) -> None:
    assert digest_after(name, 0) == digest_after(name, 0)
    assert digest_after(name, 0) != digest_after(name, 1)


@pytest.mark.parametrize("name", METHOD_MODELS)
def test_a_method_tells_its_groups_and_its_outputs_on_val(name: str) -> None:
    classifier = backbones.load(
        BackboneSettings(name="resnet20", weights="none"), ["dark", "grey", "light"], 16, SILENT
    )
    splits, recipe = noise(), recipe_of(name)

    fitted = methods.fit(classifier, splits, recipe.method, recipe.backbone, Context(MACHINE, SILENT, 0))

    assert [group.stage for group in fitted.groups] == [*classifier.stages, "head"]
    assert fitted.val is not None
    assert fitted.val.ids == splits.val.ids
    assert splits.test.openings == 0


def three_classes() -> Classifier:
    return backbones.load(BackboneSettings(name="resnet20", weights="none"), ["dark", "grey", "light"], 16, SILENT)


def toy_recipe() -> Recipe:
    return recipe_of("probe").model_copy(update={"method": ToySettings()})


def test_a_method_that_is_added_to_the_menu_is_checked_and_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHOD_MODELS, "toy", ToySettings)
    classifier, splits, recipe = three_classes(), noise(), toy_recipe()

    methods.require(classifier, recipe.method, len(splits.train), len(splits.val))
    fitted = methods.fit(classifier, splits, recipe.method, recipe.backbone, Context(MACHINE, SILENT, 0))

    counts = np.bincount(splits.train.labels)
    assert fitted.val is not None
    np.testing.assert_allclose(fitted.val.logits[0], np.log(counts / counts.sum()), rtol=1e-5)


def test_a_method_without_steps_needs_no_word_in_defaults_and_estimates() -> None:
    full = resolved(toy_recipe(), 1500, 8)

    assert full.method == ToySettings()
    assert work.training_length(full.method, 1500, 1500) == (0, 0)
    told = work.estimate(toy_recipe())  # half of the 1,797 digits are for testing
    assert told.startswith("Estimate: 899 labelled and 898 test images, no epochs at 16 px, about ")


def test_a_method_that_is_not_in_the_menu_is_an_error_and_changes_nothing() -> None:
    classifier, recipe = three_classes(), toy_recipe()
    before = classifier.digest([*classifier.stages, "head"])
    message = "Unknown method 'toy'. Available: finetune, probe, scratch."

    with pytest.raises(TransferkitError, match=message):
        methods.require(classifier, recipe.method, 60, 12)
    with pytest.raises(TransferkitError, match=message):
        methods.fit(classifier, noise(), recipe.method, recipe.backbone, Context(MACHINE, SILENT, 0))

    assert classifier.digest([*classifier.stages, "head"]) == before


class StepsSettings(TrainingSettings):
    """A method with steps whose module says nothing of them."""

    module = "toy_method"

    name: Literal["steps"] = "steps"


def test_a_method_with_steps_gets_no_other_methods_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of("probe").model_copy(update={"method": StepsSettings()})

    with pytest.raises(TransferkitError, match=r"Unknown method 'steps'\. Available: finetune, probe, scratch\."):
        resolved(recipe, 60, 16)
    monkeypatch.setitem(METHOD_MODELS, "steps", StepsSettings)
    with pytest.raises(TransferkitError, match="toy_method has no STEPS_OF_AN_EPOCH, default_epochs, defaults"):
        resolved(recipe, 60, 16)


@pytest.mark.parametrize("name", METHOD_MODELS)
def test_a_method_says_in_words_what_it_does(name: str) -> None:
    settings = METHOD_MODELS[name]

    assert settings.about.endswith(".")
    assert "{}" in settings.subject
    assert recipe_of(name).method.in_words


def scattered(n: int, near_classes: bool, head: LinearHead) -> Outputs:
    """Features as a ReLU leaves them: strong where one class lives, or weak and where no class lives."""
    generator = np.random.default_rng(n)
    labels = np.arange(n) % 4
    features = np.abs(generator.standard_normal((n, 24))) / 4
    columns = 4 * labels if near_classes else np.full(n, 16)
    for offset in range(4):
        features[np.arange(n), columns + offset] += 3 if near_classes else 1
    features = features.astype(np.float32)
    logits = head.logits(torch.from_numpy(features)).numpy()
    return Outputs(features, logits, labels, tuple(map(str, range(n))), ("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def detectors() -> tuple[dict[str, ood.Score], Outputs, Outputs]:
    """All of the menu, fitted; known and unknown test images."""
    head = LinearHead(torch.eye(6, 6).repeat_interleave(4, 1)[:4], torch.zeros(4))
    train, val, known = (scattered(n, True, head) for n in (240, 60, 61))
    fitted, off = ood.fit_all(ood.DETECTORS, train, val, head)
    assert off == {}
    return fitted, known, scattered(50, False, head)


@pytest.mark.parametrize("name", ood.DETECTORS)
def test_a_detector_scores_far_images_higher(
    name: str, detectors: tuple[dict[str, ood.Score], Outputs, Outputs]
) -> None:
    fitted, known, unknown = detectors

    assert fitted[name](unknown).min() > np.quantile(fitted[name](known), 0.95)


@pytest.mark.parametrize("name", ood.DETECTORS)
def test_a_detector_gives_every_image_a_number_whatever_stands_beside_it(
    name: str, detectors: tuple[dict[str, ood.Score], Outputs, Outputs]
) -> None:
    score, known, _ = detectors[0][name], *detectors[1:]
    order = np.random.default_rng(0).permutation(len(known))[:17]
    part = Outputs(
        known.features[order],
        known.logits[order],
        known.labels[order],
        tuple(known.ids[i] for i in order),
        known.class_names,
    )

    values = score(known)

    assert values.shape == (len(known),)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    assert np.allclose(score(part), values[order], atol=1e-5)
    assert np.ptp(values) > 0


def test_every_default_detector_is_on_the_menu_and_every_file_is_too() -> None:
    files = {path.stem for path in Path(ood.__file__).parent.glob("*.py")}

    assert set(ood.DEFAULTS) <= set(ood.DETECTORS)
    assert set(ood.SUMMARY_ORDER) <= set(ood.DETECTORS)
    assert {name.replace("-", "_").replace("++", "_plus_plus") for name in ood.DETECTORS} == files - {
        "__init__",
        "contract",
        "gaussians",
        "rejection",
        "softmax",
    }


def test_every_detector_says_in_one_line_of_a_terminal_what_it_goes_by() -> None:
    words = [ood.in_words(name) for name in ood.DETECTORS]

    assert all(0 < len(line) <= 50 for line in words)
    assert len(set(words)) == len(ood.DETECTORS) >= 16


def places(first: int, count: int, epoch: int = 0) -> BatchDraws:
    return BatchDraws(seed=1, epoch=epoch, first=first, count=count, device=torch.device("cpu"))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_repeats_itself_whatever_the_batch_and_leaves_its_input_alone(name: str) -> None:
    images = torch.from_numpy(noise().train.pixels[:40])
    change, strength, before = function_of(name), AUGMENTATIONS[name].usual, images.clone()

    changed = change(images, strength, places(0, 40))

    assert torch.equal(images, before)
    assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
    assert not torch.equal(changed, images)
    assert torch.equal(changed, change(images, strength, places(0, 40)))
    assert not torch.equal(changed, change(images, strength, places(0, 40, epoch=1)))
    batches = [change(images[first : first + 8], strength, places(first, 8)) for first in range(0, 40, 8)]
    assert torch.equal(changed, torch.cat(batches))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_that_is_off_changes_nothing_and_every_bound_is_allowed(name: str) -> None:
    images, entry = torch.from_numpy(noise().train.pixels[:12]), AUGMENTATIONS[name]

    assert torch.equal(function_of(name)(images, entry.off, places(0, 12)), images)
    for strength in entry.bounds:
        assert function_of(name)(images, strength, places(0, 12)).shape == images.shape
    assert entry.bounds[0] <= entry.usual <= entry.bounds[1]
