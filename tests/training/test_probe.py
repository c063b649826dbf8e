"""Probes on stored features: nothing is computed or solved twice, and what is stored is what a pass would give."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from small_probes import CPU, noise, settings

from transferkit.data import datasets
from transferkit.data.images import Images, Splits
from transferkit.deploy.prediction import load
from transferkit.features import inventory
from transferkit.features.cached_outputs import outputs_of
from transferkit.features.fast_classifier import collect
from transferkit.features.inventory import entries
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.stored import stored_features
from transferkit.metrics.outputs import Outputs
from transferkit.models import backbones, heads
from transferkit.models import linear as solvers
from transferkit.models.classifier import Classifier
from transferkit.models.linear import knn_logits
from transferkit.models.stored_model import HeadFacts
from transferkit.recipe import BackboneSettings, FinetuneSettings, ProbeSettings, from_options
from transferkit.run import run
from transferkit.runs.facts import ProbeFacts
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.training import defaults, methods
from transferkit.training.methods import probe, probe_heads, starting_point
from transferkit.training.methods.fitted import Fitted

BARE = BackboneSettings(name="resnet-mini", weights="none")
FROM_THE_PROBE = FinetuneSettings(name="finetune", batchnorm="eval", head_scale=1.0)


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    return backbones.load(BARE, ("dark", "grey", "light"), 16, SILENT)


def probed(splits: Splits, console: Console = SILENT) -> tuple[Classifier, Fitted, Outputs]:
    """A classifier after its probe, how that went, and its outputs on test, as `run` makes them."""
    classifier = network()
    fitted = probe.fit(
        classifier,
        splits,
        ProbeSettings(name="probe", C=1.0),
        BARE,
        Context(CPU, console, 0),
    )
    return classifier, fitted, outputs_of(classifier, splits.test.open(), CPU, console, "test")


@pytest.fixture
def passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An empty store, and the images of each pass through a network for features."""
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    images: list[int] = []
    forward = LayerNetwork.of_prepared

    def counted(self: LayerNetwork, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        images.append(len(batch))
        return forward(self, batch)

    monkeypatch.setattr(LayerNetwork, "of_prepared", counted)
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
    assert np.allclose(test.features, as_is.features, atol=1e-5)
    assert np.allclose(test.logits, as_is.logits, atol=1e-4)
    assert test.ids == as_is.ids
    assert fitted.val is not None
    assert fitted.val.ids == splits.val.ids


def test_a_fine_tuning_after_a_probe_with_another_seed_needs_no_pass_for_its_own(passed: list[int]) -> None:
    splits = noise()
    probed(splits)

    starting_point.choose(network(), splits, FROM_THE_PROBE, Context(CPU, SILENT, seed=1))

    assert sum(passed) == 60


def test_stored_features_are_said_aloud(passed: list[int]) -> None:
    splits = noise()
    probed(replace(splits, train=splits.train.subset(range(10))))
    said = io.StringIO()

    probed(splits, Console(stream=said, verbose=True))

    assert sum(passed) == 60
    assert "features of train: 10 of 31 img from the feature store, without a pass" in said.getvalue()
    assert "test: 20 of 20 img from the feature store, without a pass" in said.getvalue()


def test_a_network_that_is_still_trained_has_no_stored_outputs(passed: list[int]) -> None:
    classifier, splits = network(), noise()
    classifier.freeze(["stem", "stage1", "stage2"])

    outputs_of(classifier.eval(), splits.val, CPU, SILENT, "val")

    assert passed == [len(splits.val)]
    assert entries() == []


def test_features_that_are_not_finite_name_layer_and_image(passed: list[int]) -> None:
    classifier, splits = network(), noise()
    with torch.no_grad():
        classifier.body.get_submodule("stage3.0.convolutions.0").weight.fill_(torch.nan)

    with pytest.raises(MachineError, match=r"'penultimate' gives features that are not finite .* first \d+"):
        probe.fit(
            classifier,
            splits,
            ProbeSettings(name="probe"),
            BARE,
            Context(CPU, SILENT, 0),
        )
    assert passed


# ------------------------------------------------------------------------------------------------------- the solving


def test_no_fit_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = torch.randn(60, 5), torch.arange(60) % 3
    fitted: list[int] = []
    plain = solvers.fit_chosen
    monkeypatch.setattr(
        probe_heads, "fit_chosen", lambda rows, *rest, **more: (fitted.append(len(rows)), plain(rows, *rest, **more))[1]
    )
    known = probe_heads.LabelledFeatures(features[:45], labels[:45], features[45:], labels[45:], 3)

    probe_heads.linear(known, ProbeSettings(name="probe"), 0)

    assert fitted == [45, 60]  # train for the honest head, then train and val


def test_without_val_one_head_serves_as_both() -> None:
    features, labels = torch.randn(60, 5), torch.arange(60) % 3
    known = probe_heads.LabelledFeatures(features, labels, features[:0], labels[:0], 3)

    solved = probe_heads.linear(known, ProbeSettings(name="probe"), 0)

    assert torch.equal(solved.honest(features), solved.head(features))


@pytest.mark.parametrize("name", ["linear", "knn", "ncm"])
def test_without_refit_the_result_has_learnt_from_train_alone(name: str) -> None:
    known = known_of()
    settings = ProbeSettings(name="probe", classifier=name, refit=False)

    solved = probe_heads.CLASSIFIERS[name](known, settings, 0)

    assert torch.equal(solved.honest(known.val_features), solved.head(known.val_features))


def test_lp_ft_starts_at_its_probe_to_the_image() -> None:
    classifier, splits = network(), noise(150)
    train_a_little(classifier, splits.train)

    start = starting_point.choose(classifier, splits, FROM_THE_PROBE, Context(CPU, SILENT, 0))
    start.put_probe(classifier, 1.0, val_too=False)

    head = classifier.head
    weight, bias = (value.detach().double().numpy() for value in (head.weight, head.bias))
    stored = stored_features(classifier, splits.train, CPU, SILENT, "train")
    beginning = collect(classifier, splits.train, CPU, SILENT, "train")
    logits = stored.astype(np.float64) @ weight.T + bias
    assert stored == pytest.approx(beginning.features, abs=1e-5)
    assert logits == pytest.approx(beginning.logits, abs=1e-4)
    assert np.array_equal(logits.argmax(1), beginning.predictions)


def train_a_little(classifier: Classifier, images: Images) -> None:
    """So that BatchNorm has statistics to fold that are neither 0 nor 1."""
    classifier.train()
    for _ in range(20):
        classifier(torch.from_numpy(images.pixels))


# -------------------------------------------------------------------------------------------------- other classifiers


def known_of(n: int = 60, val: int = 15) -> probe_heads.LabelledFeatures:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    features = torch.randn(n, 5, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 5)
    at = n - val
    return probe_heads.LabelledFeatures(features[:at], labels[:at], features[at:], labels[at:], 3)


def test_every_classifier_of_the_recipe_is_on_the_menu() -> None:
    assert set(probe_heads.CLASSIFIERS) == set(get_args(ProbeSettings.model_fields["classifier"].annotation))


@pytest.mark.parametrize("name", probe_heads.CLASSIFIERS)
def test_a_classifier_is_judged_on_val_by_what_saw_train_alone(name: str) -> None:
    known = known_of()
    other_val = replace(known, val_features=known.val_features + 3, val_labels=known.val_labels.flip(0))

    one, other = (probe_heads.CLASSIFIERS[name](each, settings(), 0) for each in (known, other_val))

    queries = known.val_features
    assert torch.equal(one.honest(queries), other.honest(queries))
    assert not torch.allclose(one.head(queries), other.head(queries))


def test_neighbours_are_twenty_of_train_and_val() -> None:
    known = known_of()

    solved = probe_heads.knn(known, settings(classifier="knn"), 0)

    expected = knn_logits(*known.everything, known.val_features, 3, k=20)
    assert torch.equal(solved.head(known.val_features), expected)
    assert solved.facts == ProbeFacts(classifier="knn", k=20, temperature=0.07, images=60)
    assert "k = 200 left out, there are 45 training images" in " ".join(solved.lines)


def test_every_number_of_neighbours_is_reported_with_n_and_interval() -> None:
    known = known_of(300, 60)
    queries = known_of(33, 0)
    solved = probe_heads.knn(known, settings(classifier="knn", k=7), 0)
    assert solved.judge_others is not None

    rows = solved.judge_others(queries.train_features.numpy(), queries.train_labels.numpy())

    assert [(row.k, row.is_result, row.n) for row in rows] == [
        (5, False, 33),
        (7, True, 33),
        (20, False, 33),
        (200, False, 33),
    ]
    for row in rows:
        answers = knn_logits(*known.everything, queries.train_features, 3, row.k).argmax(1)
        assert row.accuracy == pytest.approx(float((answers == queries.train_labels).float().mean()))
        assert row.interval[0] < row.accuracy < row.interval[1]


def test_fewer_images_than_twenty_lower_k_and_say_so() -> None:
    solved = probe_heads.knn(known_of(12, 3), settings(classifier="knn"), 0)

    assert solved.facts.k == 9
    assert "probe: k = 9 instead of 20, there are no more training images." in solved.lines


def test_more_neighbours_than_images_are_refused_before_any_work() -> None:
    with pytest.raises(TransferkitError, match="k = 32 neighbours were asked for, but there are 31 training images"):
        methods.require(network(), settings(classifier="knn", k=32), 31, 0)


def test_the_nearest_class_mean_is_euclidean() -> None:
    known = known_of()

    solved = probe_heads.ncm(known, settings(classifier="ncm"), 0)

    features, labels = known.everything
    oracle = NearestCentroid(metric="euclidean").fit(features.numpy(), labels.numpy())
    assert solved.head(features).argmax(1).tolist() == oracle.predict(features.numpy()).tolist()
    assert solved.facts.distance == "Euclidean"


def test_one_class_is_refused() -> None:
    known = replace(known_of(), train_labels=torch.zeros(45, dtype=torch.long))

    with pytest.raises(TransferkitError, match="hold 1 of 3 classes; a probe needs images of at least two"):
        probe_heads.linear(known, settings(), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "knn", "C": 3.0}, "method: C goes with classifier linear or raw-pixels, not with knn."),
        ({"classifier": "ncm", "class_weight": "balanced"}, "class_weight goes with classifier linear"),
        ({"k": 5}, "method: k goes with classifier knn, not with linear."),
        ({"classifier": "ncm", "layers": "all"}, "layers goes with classifier linear, not with ncm"),
        (
            {"classifier": "svm"},
            r"method.classifier: expected 'linear', 'knn', 'ncm' or 'raw-pixels'; found 'svm'",
        ),
    ],
)
def test_a_key_the_classifier_does_not_look_at_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        from_options("probe", "resnet20", "digits", options, ())


def test_a_run_of_neighbours_predicts_without_its_training_images(tmp_path: Path) -> None:
    chosen = {"weights": "none", "limit_per_class": 8, "threads": 1, "classifier": "knn"}
    place = run(from_options("probe", "pixels", "digits", chosen, ()), tmp_path / "run", console=SILENT)

    test = place.outputs("test")
    images = datasets.load(place.recipe.data, SILENT).test.open().subset(range(50))
    predictions = load(place.path, device="cpu").predict(images)

    assert [found.name for found in predictions] == [test.class_names[index] for index in test.predictions[:50]]
    assert place.model.head == HeadFacts("neighbours", images=80, k=20, temperature=pytest.approx(0.07))
    assert [row.k for row in place.evaluation.neighbours or ()] == [5, 20]
    assert place.facts.trained_parameters == 0
    assert "A vote of nearest neighbours in features of pixels gets" in (place.path / "report.md").read_text()
    assert "20 nearest of 80 images by cosine" in (place.path / "report.md").read_text()


def test_raw_pixels_use_no_network_and_no_store(passed: list[int]) -> None:
    chosen = {"classifier": "raw-pixels", "C": 0.1}
    recipe = defaults.resolved(from_options("probe", "resnet18", "digits", chosen, ()), 60, 16)
    splits = noise()
    classifier = backbones.load(recipe.backbone, splits.class_names, 16, SILENT)  # without ImageNet weights to download

    fitted = methods.fit(classifier, splits, recipe.method, recipe.backbone, Context(CPU, SILENT, recipe.seed))
    images = splits.test.open()
    test = outputs_of(classifier, images, CPU, SILENT, "test")

    assert (recipe.title, recipe.backbone.name) == ("probe-raw-pixels", "pixels")
    assert np.array_equal(test.features, images.pixels.reshape(len(images), -1).astype(np.float32) / 255)
    assert fitted.probe.classifier == "raw-pixels"
    assert inventory.entries() == []
    assert passed


def test_raw_pixels_are_few_by_default_and_as_many_as_asked() -> None:
    recipe = from_options("probe", "resnet18", "cifar10", {"classifier": "raw-pixels"}, ())

    sizes = [defaults.resolved(recipe, 1000, native_px).method.size for native_px in (8, 32, 256)]
    asked = from_options("probe", "pixels", "cifar10", {"size": 24, "weights": "none"}, ())

    assert sizes == [8, 16, 16]
    assert defaults.resolved(asked, 1000, 32).method.size == 24


def test_an_unknown_kind_of_head_says_so() -> None:
    with pytest.raises(TransferkitError, match="a head of kind 'forest', which this transferkit does not know"):
        heads.rebuilt(HeadFacts("forest"), 4, 2)
