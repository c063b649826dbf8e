"""How gradients fare on their way to the first layer: their norm per layer, before training and after an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transferkit.data import datasets
from transferkit.data.batches import to_device
from transferkit.data.images import Images
from transferkit.models import backbones
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, Recipe, from_options
from transferkit.runs import result_folders
from transferkit.runs.result_folders import GRADIENT_FLOW
from transferkit.runtime import machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.machine import Runtime
from transferkit.runtime.plurals import counted
from transferkit.studies.lab.gradient_flow_results import (
    GradientFlow,
    MomentNorms,
    NetworkFlow,
    OverSeeds,
    TwinComparison,
    read_gradient_flow,
    write_gradient_flow_result,
)
from transferkit.studies.lab.named_networks import require_backbone
from transferkit.studies.lab.report import write_gradient_flow
from transferkit.training import ResolvedTraining, defaults, parameter_groups, resolved_training, train

BACKBONES = ("plain20", "plain56", "resnet20", "resnet56")
BATCH = 128
SCHEMA = 1  # of gradient-flow.json


@dataclass(frozen=True)
class GradientFlowSettings:
    """What is measured.

    Attributes:
        backbones: Names of networks, each trained from random weights.
        data: Name of a data set, or folder:PATH.
        epochs: Between the two measurements.
        seeds: Repetitions: other weights and another order.
        images: Training images on which gradients are measured, at most.
        limit_per_class: Labels per class that are used, also for training.
        size: Side of the input in px; None takes that of the images, or what suits the network.
        device: auto, cpu, cuda ...
        threads: None for all usable cores.
    """

    backbones: Sequence[str] = BACKBONES
    data: str = "digits"
    epochs: int = 1
    seeds: int = 3
    images: int = 512
    limit_per_class: int | None = None
    size: int | None = None
    device: str = "auto"
    threads: int | None = None


def measure(
    settings: GradientFlowSettings, folder: Path, console: Console, command: str = "", *, overwrite: bool = False
) -> GradientFlow:
    """Train each network from scratch, measure before and after, and leave gradient-flow.json, a page and figures.

    Raises:
        TransferkitError: For an unknown network or data set, or a folder that holds something else; before any work.
    """
    asked = asdict(settings)
    if result_folders.is_done(folder, GRADIENT_FLOW, asked, overwrite=overwrite, console=console):
        return read_gradient_flow(folder)
    with result_folders.claim(folder, GRADIENT_FLOW, overwrite=overwrite, content=asked):
        flow = measure_networks(settings, folder, console, command)
        result_folders.write_asked(folder, GRADIENT_FLOW, asked)
        return flow


def measure_networks(settings: GradientFlowSettings, folder: Path, console: Console, command: str) -> GradientFlow:
    """What `measure` says, in a folder that may be written to."""
    recipes = {name: [recipe_of(name, settings, seed) for seed in range(settings.seeds)] for name in settings.backbones}
    runtime = machine.start(settings.device, "fp32", settings.threads)
    splits = datasets.load(next(iter(recipes.values()))[0].data, console)
    images = splits.train.subset(np.unique(np.linspace(0, len(splits.train) - 1, settings.images).astype(int)))
    for first, *_ in recipes.values():
        started(first, splits.train, runtime)  # refuses a size that does not suit before any training
    networks = {}
    for name, of_seeds in recipes.items():
        console.line(f"{name}: {counted(settings.seeds, 'seed')}, {counted(settings.epochs, 'epoch')} each")
        networks[name] = summary([flow(recipe, splits.train, images, runtime) for recipe in of_seeds])
    result = GradientFlow(
        SCHEMA,
        settings.data,
        n=len(images),
        train_images=len(splits.train),
        size_px=min(splits.train.size_px),
        epochs=settings.epochs,
        seeds=settings.seeds,
        device=machine.device_name(runtime.device),
        command=command,
        networks=networks,
        comparisons=tuple(comparisons(networks)),
    )
    result_folders.clear_results(folder)
    write_gradient_flow_result(folder, result)
    write_gradient_flow(folder)
    return result


def recipe_of(name: str, settings: GradientFlowSettings, seed: int) -> Recipe:
    """The training from scratch of one network."""
    options = {
        "epochs": settings.epochs,
        "seed": seed,
        "limit_per_class": settings.limit_per_class,
        "size": settings.size,
    }
    require_backbone(name)
    shared = {**options, "ema": False, "mixup": 0.0}
    return from_options("scratch", name, settings.data, shared, (), "transferkit gradient-flow")


# --------------------------------------------------------------------------------------------------- measurement


@dataclass(frozen=True)
class LayerNorms:
    """Norms of the gradient of the mean cross-entropy, per layer.

    Attributes:
        norm: The Euclidean norm per layer, root mean square over batches of 128 images.
        relative: The same, divided by the norm of the layer's weights, so that layers of different size compare.
    """

    norm: tuple[float, ...]
    relative: tuple[float, ...]


@dataclass(frozen=True)
class SeedFlow:
    """One network with one seed: its layers' shapes, its norms at both moments, and the loss of its last epoch."""

    layers: Mapping[str, tuple[int, ...]]
    start: LayerNorms
    trained: LayerNorms
    loss: float


def flow(recipe: Recipe, train_images: Images, measured: Images, runtime: Runtime) -> SeedFlow:
    """Layers, and their gradient norms at each moment, of one network with one seed."""
    classifier, training = started(recipe, train_images, runtime)
    start = gradient_norms(classifier, measured, runtime.device)
    groups = parameter_groups(classifier, training)
    nothing = train_images.subset([])
    history = train(classifier, train_images, nothing, training, groups, Context(runtime, SILENT, recipe.seed))
    trained = gradient_norms(classifier, measured, runtime.device)
    shapes = {name: tuple(weight.shape) for name, weight in weights(classifier).items()}
    loss = history.epochs[-1].loss
    return SeedFlow(shapes, start, trained, math.nan if loss is None else loss)


def started(recipe: Recipe, images: Images, runtime: Runtime) -> tuple[Classifier, ResolvedTraining]:
    """The network before training, and how it will be trained."""
    machine.seed_everything(recipe.seed)
    full = defaults.resolved(recipe, len(images), min(images.size_px))
    return network(full.backbone, images, full.input_px).to(runtime.device), resolved_training(full.method)


def network(settings: BackboneSettings, images: Images, size: int) -> Classifier:
    """A network with random weights and a head for these classes."""
    return backbones.load(settings, images.class_names, size, SILENT)


def weights(classifier: Classifier) -> dict[str, Tensor]:
    """The weights of convolutions and dense layers in the order of the forward pass; the head comes last."""
    return {
        name.removeprefix("body."): module.weight
        for name, module in classifier.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def gradient_norms(classifier: Classifier, images: Images, device: torch.device) -> LayerNorms:
    """The norms of a network in train mode; the classifier stays as it was."""
    was_training = classifier.training
    before = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    layers = list(weights(classifier).values())
    squares = torch.zeros(len(layers), dtype=torch.float64)
    classifier.train()
    batches = np.array_split(np.random.default_rng(0).permutation(len(images)), math.ceil(len(images) / BATCH))
    for chosen in batches:
        labels = torch.from_numpy(images.require_labels()[chosen]).to(device)
        loss = F.cross_entropy(classifier(to_device(images.take(chosen), device)), labels)
        gradients = torch.autograd.grad(loss, layers)
        squares += torch.stack([gradient.double().square().sum().cpu() for gradient in gradients])
    for name, buffer in classifier.named_buffers():
        buffer.data.copy_(before[name])
    classifier.train(was_training)
    norms = (squares / len(batches)).sqrt()
    sizes = torch.stack([layer.detach().double().norm().cpu() for layer in layers])
    return LayerNorms(tuple(norms.tolist()), tuple((norms / sizes).tolist()))


# ------------------------------------------------------------------------------------------------------- summary


def summary(flows: Sequence[SeedFlow]) -> NetworkFlow:
    """One network: layers, norms per seed, and how the first third of its layers compares with the last third."""
    layers = flows[0].layers
    return NetworkFlow(
        tuple(layers),
        tuple(layers.values()),
        tuple(flow.loss for flow in flows),
        start=moment_norms([flow.start for flow in flows]),
        trained=moment_norms([flow.trained for flow in flows]),
    )


def moment_norms(seeds: Sequence[LayerNorms]) -> MomentNorms:
    """The norms of all seeds at one moment."""
    relative = tuple(norms.relative for norms in seeds)
    return MomentNorms(tuple(norms.norm for norms in seeds), relative, over_seeds([*map(first_over_last, relative)]))


def first_over_last(values: Sequence[float]) -> float:
    """Geometric mean of the first third over that of the last third, the head left out.

    Example:
        >>> round(first_over_last([8.0, 2.0, 1.0, 1.0, 0.5, 2.0, 99.0]), 6)
        4.0
    """
    body = values[:-1]
    third = max(1, len(body) // 3)
    return geometric_mean(body[:third]) / geometric_mean(body[-third:])


def comparisons(networks: Mapping[str, NetworkFlow]) -> Iterator[TwinComparison]:
    """For each plain network whose residual twin is there: its norms over the twin's, in the first third of layers.

    The twins have the same layers with the same shapes, so plain norms can be compared, seed by seed.
    """
    for name, network_flow in networks.items():
        twin = name.replace("plain", "resnet")
        if name.startswith("plain") and twin in networks:
            for moment, plain in network_flow.moments.items():
                pairs = zip(plain.norm, networks[twin].moments[moment].norm, strict=True)
                ratios = over_seeds([early_ratio(plain_norms, twin_norms) for plain_norms, twin_norms in pairs])
                yield TwinComparison(name, twin, moment, **vars(ratios))


def early_ratio(plain: Sequence[float], residual: Sequence[float]) -> float:
    """Geometric mean over the first third of the layers of norm over norm."""
    third = max(1, (len(plain) - 1) // 3)
    return geometric_mean(plain[:third]) / geometric_mean(residual[:third])


def over_seeds(values: Sequence[float]) -> OverSeeds:
    """Geometric mean of one value per seed, with the least and the greatest."""
    return OverSeeds(geometric_mean(values), min(values), max(values), tuple(values))


def geometric_mean(values: Sequence[float]) -> float:
    """The exponential of the mean logarithm; 0 where a value is 0.

    Example:
        >>> round(geometric_mean([1.0, 100.0]), 6)
        10.0
    """
    return math.exp(sum(map(math.log, values)) / len(values)) if min(values) > 0 else 0.0
