"""Fine-tuning: a good start first, then gradient steps through the stages that are not frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from transferkit.data.images import Images, Splits
from transferkit.features.fast_classifier import collect
from transferkit.metrics.history import Epoch, History
from transferkit.models.adapters import adapter_of, change
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, FinetuneSettings
from transferkit.runs.facts import SettledRates, StartFacts
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import REFIT_CHECKPOINT
from transferkit.runtime.plurals import counted
from transferkit.training import ParameterGroup, parameter_groups, require_choice, stop_in_words, train, waking_epochs
from transferkit.training.methods import finetune_rates, mirror_check, starting_point
from transferkit.training.methods.fitted import Fitted
from transferkit.training.methods.starting_point import Start
from transferkit.training.methods.table import show_groups
from transferkit.training.resolved import ResolvedTraining, length_of, resolved_training
from transferkit.training.step_defaults import StepDefaults

STEPS_OF_AN_EPOCH = 64  # at least, where the batch follows from the images: fine-tuning gains from more of them
WARMUP_STEPS = 20
MANY_IMAGES = 20_000  # from here on val is not given back, and three epochs are enough
COMPARED = 2_000  # training images, evenly spread, that a classifier is asked about where another one is the result


def default_epochs(train_images: int) -> int:
    """More passes where there are fewer images."""
    return 3 if train_images >= MANY_IMAGES else 10 if train_images >= 2_000 else 30


def defaults(
    settings: FinetuneSettings, usual: StepDefaults, _family: str, train_images: int, steps: int
) -> StepDefaults:
    """Warmup, and whether val is given back; rates depend on where it starts (`finetune_rates`)."""
    refit = train_images < MANY_IMAGES and not settings.budget and settings.keep == "last"
    return replace(usual, warmup=warmup_share(steps), refit=refit)


def warmup_share(steps: int) -> float:
    """The share of the steps of a fine-tuning with a rising rate: 20 steps, at most a third.

    What warms up is the optimiser's idea of the gradients, which takes steps, not epochs.

    Example:
        >>> warmup_share(400), round(warmup_share(30), 2)
        (0.05, 0.33)
    """
    return min(WARMUP_STEPS, steps / 3) / steps


def require(classifier: Classifier, settings: FinetuneSettings, _train_images: int, val_images: int) -> None:
    """Refuse a stage that is not there, a choice of the epoch by too few val images, and waking without epochs."""
    require_choice(settings.keep, val_images, settings.patience)
    if settings.gradual_unfreezing:
        waking_epochs(classifier, length_of(settings))
    if settings.freeze_to is not None:
        classifier.require_stage(settings.freeze_to)


def fit(
    classifier: Classifier, splits: Splits, settings: FinetuneSettings, _backbone: BackboneSettings, context: Context
) -> Fitted:
    """Train the classifier further from its pretrained weights; with an adapter, few numbers of its body.

    Raises:
        TransferkitError: If the body has nothing that the adapter trains.
    """
    adapter = adapter_of(settings.train)
    if adapter is None:
        return fit_adapted(classifier, splits, settings, context)
    classifier.adapted = adapter.trains(classifier.body)
    if not classifier.adapted:
        raise TransferkitError(f"This backbone has nothing that train {settings.train} trains. Choose another adapter.")
    before = {name: value.clone() for name, value in classifier.body.state_dict().items()}
    fitted = fit_adapted(classifier, splits, settings, context)
    return replace(fitted, change=change(before, classifier))


def fit_adapted(classifier: Classifier, splits: Splits, settings: FinetuneSettings, context: Context) -> Fitted:
    """Train what of the classifier is neither frozen nor left alone by an adapter.

    The first training learns from train alone and is judged on val. Where val is given back, a second one of the same
    length learns from both and is the result; what is known of val stays that of the first. With patience it is as long
    as the first was until its best epoch, at the same rates; where that is the start, the start is the result.
    """
    notes: list[str] = []
    classifier.freeze(classifier.stages_up_to(settings.freeze_to) if settings.freeze_to else ())
    start = starting_point.choose(classifier, splits, settings, context)
    for line in start.words():
        context.console.detail(line)
    if words := start.untrained_words():
        context.console.line(words)
        notes.append(words)
    rates = finetune_rates.settled_rates(settings, classifier, start.statistics, is_untrained=start.is_untrained)
    tuning = FinetunePlan(start, rates, resolved_training(settings, rates))
    fitted = Fitted(None, groups=(), notes=notes, probe=start.facts(), rates=rates)
    observe_mirroring(classifier, tuning, splits.val, context)
    groups, history = tune(classifier, tuning, splits.train, splits.val, context)
    if not len(splits.val):
        return replace(fitted, groups=groups, history=history)
    val = collect(classifier, splits.val, context.runtime, context.console, "val")
    notes += [note] if (note := stop_in_words(history, tuning.training)) else []
    if not settings.refit or history.result is history.start:
        return replace(fitted, val=val, groups=groups, history=history)
    compared = splits.train.spread(COMPARED)
    before_refit = collect(classifier, compared, context.runtime, context.console, "train images")
    everything = splits.train.joined(splits.val)
    context.console.detail(f"once more on all {counted(len(everything), 'labelled image')}: train and val together")
    repeated, refit = tuning.repeated(history), again_in(context, history)
    _, again = tune(classifier, repeated, everything, splits.val.subset([]), refit)
    notes.append(f"the result was trained again on all {counted(len(everything), 'labelled image')}, val included")
    return replace(
        fitted, val=val, groups=groups, history=history.followed_by(again), notes=notes, train_before_refit=before_refit
    )


def again_in(context: Context, history: History) -> Context:
    """Where a second training goes on: its epochs are told after those of the first, and its start, known, is not."""
    last = history.epochs[-1]

    def note_epoch(epoch: Epoch) -> None:
        if epoch.epoch:
            context.note_epoch(epoch.after(last))

    return replace(context, checkpoint=REFIT_CHECKPOINT, note_epoch=note_epoch)


@dataclass(frozen=True)
class FinetunePlan:
    """Where a fine-tuning starts, and how it goes on."""

    start: Start
    rates: SettledRates
    training: ResolvedTraining

    def repeated(self, history: History) -> FinetunePlan:
        """The same without val, which then stops no training and chooses no epoch: it ends where val had chosen."""
        epochs = history.result.epoch if self.training.patience and history.result else 0
        return replace(self, training=replace(self.training, keep="last", patience=0, stop_after=epochs))


def observe_mirroring(classifier: Classifier, tuning: FinetunePlan, val: Images, context: Context) -> None:
    """Whether mirrored val images lose with the probe's head, for checks; not asked where nothing is transferred."""
    if not (tuning.training.flip and len(val)) or tuning.training.has_random_head:
        return
    if classifier.weights.source != "none":
        tuning.start.put_probe(classifier, tuning.rates.head_scale, val_too=False)
        context.observe(StartFacts(mirroring=mirror_check.loss_by_mirroring(classifier, val, context)))


def tune(
    classifier: Classifier, tuning: FinetunePlan, images: Images, val: Images, context: Context
) -> tuple[list[ParameterGroup], History]:
    """Put the classifier at the start, and train it on images; the groups and the log."""
    if tuning.training.has_random_head:
        tuning.start.put_random_head(classifier)
    else:
        tuning.start.put_probe(classifier, tuning.rates.head_scale, val_too=not len(val))
    classifier.batchnorm_frozen = tuning.rates.batchnorm == "eval"
    groups = parameter_groups(classifier, tuning.training)
    if context.checkpoint != REFIT_CHECKPOINT:  # the same again
        show_groups(groups, context.console)
    with classifier.frozen_verified():
        return groups, train(classifier, images, val, tuning.training, groups, context)
