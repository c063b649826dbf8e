"""A linear probe at every stage of a network and of a randomly initialised copy: where do the classes come apart?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from transferkit.data.images import Images, Splits
from transferkit.features.engine import BatchSize
from transferkit.features.layers import PENULTIMATE, module_of
from transferkit.features.stored import stored_layers
from transferkit.metrics.results import ProbeAccuracy, ProbedLayer, ProbedLayers
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.models.linear import Choice, LinearHead
from transferkit.models.pooled_stages import has_channels_last
from transferkit.models.receptive_fields import layers
from transferkit.models.stored_model import RANDOM_WEIGHTS
from transferkit.recipe import BackboneSettings, ProbeSettings
from transferkit.runtime.array_types import Features
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.training.methods import probe_heads
from transferkit.training.methods.probe_heads import LabelledFeatures

ALL = ("all",)
GIVEN, RANDOM = "given", "random"  # the network with its weights, and the copy


def fit(
    classifier: Classifier, splits: Splits, settings: ProbeSettings, backbone: BackboneSettings, context: Context
) -> Callable[[Images], ProbedLayers]:
    """A probe on each layer of the network and of a random copy; given back is what judges them on test images.

    Features are averaged over each map. Every probe chooses its own C, without the test set.
    """
    names = probed_layers(classifier, settings.layers or ALL)
    networks = {GIVEN: classifier}
    if classifier.weights != RANDOM_WEIGHTS:
        networks[RANDOM] = random_copy(classifier, backbone, context.seed)
    readings = [
        LayerReading(name, network.to(context.runtime.device), names, settings.batch_size, context)
        for name, network in networks.items()
    ]
    probes = [(reading, solved(reading, splits, settings)) for reading in readings]
    geometries = layer_geometries(classifier, names)

    def judge(test: Images) -> ProbedLayers:
        return ProbedLayers(context.seed, "avg", judged(test, probes, geometries) if len(test) else ())

    return judge


@dataclass(frozen=True)
class Solution:
    """A linear head on one layer, how its C was chosen, and whether its solver converged."""

    head: LinearHead
    choice: Choice
    converged: bool

    def accuracy(self, right: int, n: int) -> ProbeAccuracy:
        """What it got right of n test images."""
        measured, choice = probe_heads.accuracy_of(right, n), self.choice
        return ProbeAccuracy(
            measured.n, measured.accuracy, measured.interval, choice.C, choice.chosen_by, self.converged
        )


@dataclass(frozen=True)
class LayerReading:
    """How features of some layers of a network, given or random, are read: all in one pass."""

    kind: str
    network: Classifier
    names: tuple[str, ...]
    batch_size: BatchSize
    context: Context

    def of(self, images: Images, part: str) -> dict[str, Features]:
        """Features by layer; those of the head's input come along where they are needed for the run's own probe."""
        names = list(dict.fromkeys([*self.names, *([PENULTIMATE] if self.kind == GIVEN else [])]))
        title = f"{part}, {counted(len(self.names), 'layer')}, {self.kind} weights"
        return stored_layers(
            self.network, images, names, self.context.runtime, self.context.console, title, self.batch_size
        )


def probed_layers(classifier: Classifier, asked: Sequence[str]) -> tuple[str, ...]:
    """The layers that are meant: every stage for `all`, else those named, each once.

    Raises:
        TransferkitError: If there is no such layer; names the nearest ones. If there is none at all.
    """
    names = tuple(classifier.stages) if tuple(asked) == ALL else tuple(dict.fromkeys(asked))
    if not names:
        raise TransferkitError("There are no layers to probe: raw pixels are no network. Leave --layers out.")
    for name in names:
        module_of(classifier, name)
    return names


def random_copy(classifier: Classifier, backbone: BackboneSettings, seed: int) -> Classifier:
    """The same network with random weights from the seed, and the same preparation of images."""
    bare = backbone.model_copy(update={"weights": "none"})
    spec = classifier.input_spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        copy = backbones.load(bare, classifier.class_names, spec.size, SILENT)
        copy.adapt_to_bands(spec.mean, spec.std)
        prepared = Classifier(copy.body, copy.num_features, copy.class_names, copy.stages, spec, copy.weights)
    prepared.backbone = copy.backbone
    return prepared


def solved(reading: LayerReading, splits: Splits, settings: ProbeSettings) -> dict[str, Solution]:
    """A linear probe per layer, each with a C of its own."""
    train, val = reading.of(splits.train, "train"), reading.of(splits.val, "val")
    context, solutions = reading.context, {}
    for name in reading.names:
        labelled = LabelledFeatures.of(splits, train[name], val[name], context.runtime)
        choice, start = probe_heads.linear_start(labelled, settings, context.seed)
        final = probe_heads.refitted(labelled, settings, choice, start)
        solutions[name] = Solution(final.head(0), choice, bool(final.converged.all()))
        context.console.line(f"{name}, {reading.kind} weights: C = {choice.C:.3g}, chosen by {choice.chosen_by}")
    return solutions


@dataclass(frozen=True)
class LayerGeometry:
    """Shape, channels first, receptive field and stride of a layer; see `ProbedLayer`."""

    shape: tuple[int, ...]
    receptive_field: int | Literal["global"] | None
    stride: int | None


def layer_geometries(classifier: Classifier, names: Sequence[str]) -> dict[str, LayerGeometry]:
    """The geometry of each layer, by its name."""
    size = classifier.input_spec.size
    by_module = {fact.name: fact for fact in layers(classifier.body, size)}
    geometries: dict[str, LayerGeometry] = {}
    for name in names:
        if module := module_of(classifier, name):
            fact = by_module[module]
            shape = (fact.shape[-1], *fact.shape[:-1]) if has_channels_last(fact.shape) else fact.shape
            geometries[name] = LayerGeometry(shape, fact.receptive_field, fact.stride)
        else:  # the body itself
            geometries[name] = LayerGeometry((classifier.num_features,), "global", None)
    return geometries


def judged(
    test: Images,
    probes: Sequence[tuple[LayerReading, Mapping[str, Solution]]],
    geometries: Mapping[str, LayerGeometry],
) -> tuple[ProbedLayer, ...]:
    """One row per layer: its geometry, and the accuracy of each network's probe on test with n and interval."""
    accuracies: dict[str, dict[str, ProbeAccuracy]] = {name: {} for name in geometries}
    for reading, solutions in probes:
        features = reading.of(test, "test")
        for name, solution in solutions.items():
            right = probe_heads.hits(
                solution.head.logits, features[name], test.require_labels(), solution.head.weight.device
            )
            accuracies[name][reading.kind] = solution.accuracy(right, len(test))
    return tuple(
        ProbedLayer(
            layer=name,
            shape=geometry.shape,
            receptive_field=geometry.receptive_field,
            stride=geometry.stride,
            given=accuracies[name][GIVEN],
            random=accuracies[name].get(RANDOM),
        )
        for name, geometry in geometries.items()
    )
