"""Where fine-tuning starts: BatchNorm's statistics, and a head solved on the features that they give (LP-FT).

Kumar et al. 2022 (arXiv:2202.10054), section 3.4, start from the head of a linear probe. It is solved here on features
divided by one common scale, and its C is chosen by cross-entropy: a head with large weights on nearly dead features has
a good accuracy, and a loss of hundreds as soon as the features move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from transferkit.data.batches import TrainingBatches
from transferkit.data.images import Images, Splits
from transferkit.metrics.history import FEWEST_TO_CHOOSE
from transferkit.models.adapters import adapter_of
from transferkit.models.backbones.own_bodies import reset
from transferkit.models.classifier import Classifier
from transferkit.models.linear import Choice, LinearHead, choose_C, common_scale, fit_chosen
from transferkit.models.linear.objective import ClassWeight
from transferkit.recipe import FinetuneSettings
from transferkit.runs.facts import ProbeFacts
from transferkit.runtime.context import Context
from transferkit.runtime.machine import Runtime
from transferkit.training.methods.probe import features_of
from transferkit.training.methods.probe_heads import LabelledFeatures
from transferkit.training.resolved import balance_of

Statistics = Literal["pretrained", "re-estimated"]

TELLING = 0.9  # of the loss of random weights: weights above it know nothing of these classes that is worth keeping
BATCH = 128  # images over which one estimate of the statistics is made; those of all batches are averaged
_BatchNorm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Start:
    """A starting point of fine-tuning, and what it was chosen from.

    Attributes:
        statistics: Of the BatchNorm layers that are trained; `pretrained` too where there are none.
        loss: By the statistics that were tried, the mean cross-entropy of the probe on held-out images, in nats.
        choice: Of the head's C.
        labelled: Features and labels that the head is solved on.
        state: Weights and buffers of the body, by name.
        class_weight: What an image of each class counts in the head's loss.
        random_loss: The same cross-entropy of a probe on the same network with weights drawn anew; None where it was
            not asked.
    """

    statistics: Statistics
    loss: dict[Statistics, float]
    choice: Choice
    labelled: LabelledFeatures
    state: dict[str, Tensor]
    class_weight: ClassWeight = None
    random_loss: float | None = None

    @property
    def is_untrained(self) -> bool:
        """Whether the weights tell these classes hardly better than random ones would."""
        return self.random_loss is not None and self.choice.loss > TELLING * self.random_loss

    def put_random_head(self, classifier: Classifier) -> None:
        """Put the body of the classifier whose start this is back to it, below a random head."""
        classifier.body.load_state_dict(self.state)
        classifier.set_head(*random_head(classifier))

    def put_probe(self, classifier: Classifier, scale: float, *, val_too: bool) -> None:
        """Put the body of the classifier whose start this is back to it, below a probe's head.

        Args:
            classifier: Changed in place.
            scale: What the head is multiplied by, which changes no answer.
            val_too: Whether the head learns from val.
        """
        classifier.body.load_state_dict(self.state)
        head = self.head(val_too=val_too)
        classifier.set_head(scale * head.weight, scale * head.bias)

    def head(self, *, val_too: bool) -> LinearHead:
        """The head at the chosen C, on train or on train and val together."""
        train = (self.labelled.train_features, self.labelled.train_labels)
        images = self.labelled.everything if val_too else train
        fits = fit_chosen(
            *images, self.labelled.num_classes, self.choice, scaling=common_scale, class_weight=self.class_weight
        )
        return fits.head(0)

    def facts(self) -> ProbeFacts:
        """What the report shows of it."""
        choice = self.choice
        return ProbeFacts(
            classifier="linear",
            statistics=self.statistics,
            statistics_loss={str(name): loss for name, loss in self.loss.items()},
            C=choice.C,
            grid=tuple(choice.grid),
            validation_accuracy=tuple(choice.validation_accuracy),
            validation_loss=tuple(choice.validation_loss),
            on_boundary=choice.on_boundary,
            chosen_by=choice.chosen_by,
        )

    def words(self) -> Iterator[str]:
        """What the terminal says of it."""
        choice = self.choice
        if choice.validation_loss:
            accuracy = choice.validation_accuracy[choice.grid.index(choice.C)]
            yield (
                f"start: a probe's head, C = {choice.C:.3g} by {choice.chosen_by}, "
                f"accuracy {100 * accuracy:.1f} %, loss {choice.loss:.3f}"
            )
        if len(self.loss) > 1:
            losses = ", ".join(f"{name} {loss:.3f}" for name, loss in self.loss.items())
            yield f"start: {self.statistics} BatchNorm statistics, by the probe's loss: {losses}"

    def untrained_words(self) -> str:
        """That nothing is transferred; empty where something is, or it was not asked."""
        if not self.is_untrained:
            return ""
        return (
            f"these weights tell the classes hardly better than random ones (a probe's loss is {self.choice.loss:.3f}, "
            f"with weights drawn anew {self.random_loss:.3f}), so the network is trained at rates for random weights"
        )


def choose(classifier: Classifier, splits: Splits, settings: FinetuneSettings, context: Context) -> Start:
    """The starting point whose probe has the lowest cross-entropy on held-out images; test stays closed.

    Args:
        classifier: Pretrained, with the stages frozen that stay as they are; its BatchNorm statistics change.
        splits: Train and val are used.
        settings: Whose `batchnorm` decides what is tried.
        context: Where it computes.
    """
    classifier.to(context.runtime.device)
    starts: dict[Statistics, Start] = {}
    for statistics in candidates(classifier, settings):
        if statistics == "re-estimated":
            reestimate(classifier, splits.train, context.runtime)
        starts[statistics] = _probed(classifier, splits, statistics, settings, context)
    best = min(starts.values(), key=lambda start: start.choice.loss)
    loss = {name: start.choice.loss for name, start in starts.items()}
    is_asked = classifier.weights.source == "given" and not any(trained_batchnorms(classifier))
    random_loss = loss_of_random_weights(classifier, splits, settings, context) if is_asked else None
    return replace(best, loss=loss, random_loss=random_loss)


def loss_of_random_weights(
    classifier: Classifier, splits: Splits, settings: FinetuneSettings, context: Context
) -> float:
    """Of a probe on the same network with weights drawn anew; the classifier is as it was afterwards."""
    before = {name: value.clone() for name, value in classifier.body.state_dict().items()}
    devices = [context.runtime.device] if context.runtime.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(context.seed)
            tuple(reset(classifier.body))
        return _probed(classifier, splits, "pretrained", settings, context).choice.loss
    finally:
        classifier.body.load_state_dict(before)


def candidates(classifier: Classifier, settings: FinetuneSettings) -> tuple[Statistics, ...]:
    """The statistics that come into question; random weights have none worth keeping."""
    adapter = adapter_of(settings.train)
    if (
        settings.batchnorm == "eval"
        or (adapter and adapter.keeps_statistics)
        or not any(trained_batchnorms(classifier))
    ):
        return ("pretrained",)
    if settings.batchnorm == "train" or classifier.weights.source == "none":
        return ("re-estimated",)
    return ("pretrained", "re-estimated")


def trained_batchnorms(classifier: Classifier) -> Iterator[_BatchNorm]:
    """The BatchNorm layers of the stages that are not frozen, those that keep statistics."""
    for stage in classifier.stages.keys() - set(classifier.frozen):
        for _, root in classifier.stage_modules(stage):
            layers = (module for module in root.modules() if isinstance(module, _BatchNorm))
            yield from (layer for layer in layers if layer.track_running_stats)


@torch.no_grad()
def reestimate(classifier: Classifier, images: Images, runtime: Runtime) -> None:
    """Set the statistics of the trained BatchNorm layers to their means over one pass; all else stays as it is.

    The order is the same for every seed, so that seeds share their features.
    """
    layers = list(trained_batchnorms(classifier))
    momenta = [layer.momentum for layer in layers]
    classifier.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a cumulative mean
        layer.train()
    batches = TrainingBatches(images, min(BATCH, len(images)), runtime.device, None, seed=0)
    for batch, _ in batches.epoch(0):
        with runtime.autocast():
            classifier.body(classifier.prepare(batch))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    classifier.eval()


def random_head(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) as a new linear layer has them."""
    layer = nn.Linear(classifier.num_features, len(classifier.class_names))
    return layer.weight.detach(), layer.bias.detach()


def _probed(
    classifier: Classifier, splits: Splits, statistics: Statistics, settings: FinetuneSettings, context: Context
) -> Start:
    class_weight = balance_of(settings).probe_weights(splits.class_names)
    labelled = LabelledFeatures.of(splits, *features_of(classifier, splits, "auto", context), context.runtime)
    judged = slice(None) if len(labelled.val_labels) >= FEWEST_TO_CHOOSE else slice(0)
    choice = choose_C(
        labelled.train_features,
        labelled.train_labels,
        labelled.val_features[judged],
        labelled.val_labels[judged],
        labelled.num_classes,
        seed=context.seed,
        scaling=common_scale,
        class_weight=class_weight,
        by="loss",
        groups=labelled.train_groups,
    )
    state = {name: value.clone() for name, value in classifier.body.state_dict().items()}
    return Start(statistics, {}, choice, labelled, state, class_weight)
