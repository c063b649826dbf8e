"""The one training loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from transferkit.data.batches import ShiftAndFlip, TrainingBatches
from transferkit.data.images import Images
from transferkit.metrics.history import Epoch, History
from transferkit.models.classifier import Classifier
from transferkit.runs.facts import StartFacts
from transferkit.runtime.console import SILENT
from transferkit.runtime.context import Context
from transferkit.runtime.distributed import ALONE, World, order, packed, unpacked
from transferkit.runtime.errors import MachineError
from transferkit.runtime.files import CHECKPOINT
from transferkit.runtime.machine import Precision, Runtime, seed_everything
from transferkit.runtime.machine import start as start_machine
from transferkit.training.checkpoint import Training, resume, save_now_and_then
from transferkit.training.early_stopping import is_stopped, note_best, require_choice, stop_in_words, take_result
from transferkit.training.epoch import run_epoch
from transferkit.training.failure import StepFailed, keep, too_large, whole
from transferkit.training.groups import ParameterGroup, require_batch
from transferkit.training.growth import epoch_px
from transferkit.training.initial_checks import check_start
from transferkit.training.judging import course_in_words, judge_now, judge_start, start_in_words, val_curve
from transferkit.training.memory_layout import laid_out
from transferkit.training.optimizers import create_optimizer, rate_groups
from transferkit.training.pace import Pace
from transferkit.training.replicas import batchnorm_in_words, require_images_for_all
from transferkit.training.resolved import ResolvedTraining
from transferkit.training.same_images import ImageList, images_of
from transferkit.training.step_loss import smallest_part


def train(
    classifier: Classifier,
    images: Images,
    val: Images,
    settings: ResolvedTraining,
    groups: Sequence[ParameterGroup],
    context: Context,
) -> History:
    """Change the classifier by gradient steps and return the log of its epochs, the start as epoch 0.

    The weights of the last step, or their moving average, are the result; with `keep` best or patience, those of the
    epoch that was best on val, the start among them. The result's epoch is marked `kept`. The start and every
    epoch are judged on val by weights that have not learnt from val; without val images they are not judged, and the
    epoch says so by 0 `val_images`. With a folder, the state after an epoch is kept there, and an unfinished training
    found there goes on where it stopped.

    Raises:
        MachineError: If a loss or gradient is not finite; says at which step, what to try, and where that step is kept.
        TransferkitError: If the network gives something else than logits, a step has one image alone, or val is too
            small to choose an epoch.
    """
    require_choice(settings.keep, len(val), settings.patience)
    runtime, console = context.runtime, context.console
    classifier.averages_mirror, classifier.averages_shifts = settings.test_flip, settings.test_shifts
    context = context if context.data is not None else replace(context, runtime=replace(runtime, world=ALONE))
    training = begun(classifier, settings, groups, runtime)
    training.loss_weights = settings.balance.loss_weights(images, runtime.device)
    resume(training, context.checkpoint_path)
    if training.step:
        console.line(f"resumed {training.place_in_words}: {context.checkpoint_path}")
    world, count = context.runtime.world, step_images(settings, images)
    require_images_for_all(count, world)
    require_batch(groups, smallest_part(count, settings.batch_size, world))
    has_random_head = training.step == 0 and settings.has_random_head
    context.observe(StartFacts(check_start(classifier, images, runtime.device, has_random_head=has_random_head)))
    if world.is_shared:
        if words := batchnorm_in_words(groups, count, world, is_synchronised=settings.sync_batchnorm):
            console.line(words)
        order(world, TrainingTask.of(training, images, val, settings, groups, context))
    train_epochs(training, images, val, settings, groups, context)
    classifier.training_px = None
    if stopped := stop_in_words(training.history, settings):
        console.line(stopped)
    take_result(training, settings.keep)
    settings.balance.adjust(classifier, images)
    classifier.eval()
    return training.history


def train_epochs(
    training: Training,
    images: Images,
    val: Images,
    settings: ResolvedTraining,
    groups: Sequence[ParameterGroup],
    context: Context,
) -> None:
    """Carry a training from where it is to its end: in this process alone, or in each of several."""
    classifier, runtime, console = training.classifier, context.runtime, context.console
    batches = _batches(images, settings, context)
    pace = Pace.of(settings.length, batches.steps_per_epoch)
    inside = None if runtime.world.is_shared else context.checkpoint_path  # others' random states are not known here
    if not training.history:
        start = judge_start(training, val, runtime)
        training.history = training.history.with_epoch(start)
        note_best(training, settings.keep)
        if len(val) or context.checkpoint == CHECKPOINT:  # a refit: its start was judged before
            console.line(start_in_words(start))
    for epoch_before in training.history:
        context.note_epoch(epoch_before)
    title = "training" if context.checkpoint == CHECKPOINT else "again, with val"
    with console.progress(title, ((pace.steps or 0) - training.step) * batches.batch_size) as progress:
        while not _is_over(training, settings, pace):
            epoch, done = training.epochs, training.steps_into_epoch
            seed_everything(context.seed * 7919 + epoch)  # dropout and mixing repeat after a resume
            _wake(classifier, groups, epoch)
            step = training.step - done
            steps = step, pace.total_steps(step, training.seconds), batches.steps_per_epoch
            classifier.training_px = epoch_px(settings.start_px, classifier.input_spec.size, *steps)
            progress.title = pace.words(epoch, batches.steps_per_epoch, training.seconds)
            try:
                trained = run_epoch(training, batches.epoch(epoch, done), settings, pace, runtime, progress, inside)
            except StepFailed as failed:
                raise keep(whole(failed.step, runtime.world), training, context) from None
            except torch.OutOfMemoryError as error:
                raise MachineError(too_large(settings, len(images), classifier.input_spec.size)) from error
            judged = runtime.world.from_leader(judge_now(training, trained, val, runtime))
            training.history = training.history.with_epoch(judged)
            context.note_epoch(judged)
            note_best(training, settings.keep)
            is_over = _is_over(training, settings, pace)
            save_now_and_then(training, context.checkpoint_path, always=is_over)
            progress.curve = val_curve(training.history) if console.draws_curves else ""
            progress.tell(f"{progress.title}: {_words(judged)}", always=is_over and console.verbose)
        progress.title, progress.words = title, course_in_words(training.history, progress.curve)


def _is_over(training: Training, settings: ResolvedTraining, pace: Pace) -> bool:
    return pace.is_over(training.step, training.seconds) or is_stopped(training.history, settings)


def _batches(images: Images, settings: ResolvedTraining, context: Context) -> TrainingBatches:
    """One batch per step, whatever the passes it is made in, so that these change neither order nor augmentation."""
    moves = ShiftAndFlip(settings.shift, settings.flip, settings.alternating_flip)
    return TrainingBatches(
        images,
        step_images(settings, images),
        context.runtime.device,
        moves,
        context.seed,
        settings.balance.draw_weights(images),
        settings.augment,
        context.runtime.world,
        needs_all=bool(settings.mixing.mixup or settings.mixing.cutmix),
    )


def step_images(settings: ResolvedTraining, images: Images) -> int:
    """Images of one step, in all processes together."""
    return min(settings.step_images, len(images))


@dataclass(frozen=True)
class TrainingTask:
    """A training that is about to begin or to go on, as the leader sends it to the processes that take part in it.

    Attributes:
        training: Its state, packed: network, optimiser, averages, history.
        train: Of which images it learns.
        val: By which it is judged.
        groups: The optimiser's.
        device: Kind of device; each process has its own.
    """

    training: bytes
    data: Any
    train: ImageList
    val: ImageList
    settings: ResolvedTraining
    groups: tuple[ParameterGroup, ...]
    seed: int
    device: str
    precision: Precision
    threads: int

    @classmethod
    def of(
        cls,
        training: Training,
        images: Images,
        val: Images,
        settings: ResolvedTraining,
        groups: Sequence[ParameterGroup],
        context: Context,
    ) -> TrainingTask:
        """The task that makes followers do what the leader does."""
        runtime = context.runtime
        return cls(
            packed(training),
            context.data,
            ImageList.of(images),
            ImageList.of(val),
            settings,
            tuple(groups),
            context.seed,
            runtime.device.type,
            runtime.precision,
            runtime.threads,
        )

    def __call__(self, world: World) -> None:
        """Take part in it."""
        runtime = replace(start_machine(self.device, self.precision, self.threads), world=world)
        images = images_of(self.data)
        training: Training = unpacked(self.training, runtime.device)
        context = Context(runtime, SILENT, self.seed, data=self.data)
        train_epochs(training, self.train.among(images), self.val.among(images), self.settings, self.groups, context)


def begun(
    classifier: Classifier,
    settings: ResolvedTraining,
    groups: Sequence[ParameterGroup],
    runtime: Runtime,
) -> Training:
    """A training before its first step, with the classifier on the device."""
    laid_out(classifier, runtime)
    trained = [group for group in groups if group.is_trained]
    options = rate_groups(classifier, trained, settings.norm_bias_lr)
    optimizer = create_optimizer(options, settings, runtime)
    is_averaged = settings.average != "none"
    average = {name: value.clone() for name, value in classifier.state_dict().items()} if is_averaged else None
    parameters = classifier.body.named_parameters() if settings.l2_sp else ()
    anchor = {name: value.detach().clone() for name, value in parameters}
    training = Training(classifier, optimizer, [option.lr for option in options], average, anchor)
    training.unaveraged = frozenset(
        name
        for name in classifier.state_dict()
        if classifier.stage_of(name) not in {group.stage for group in trained} or not classifier.is_adapted(name)
    )
    return training


def _wake(classifier: Classifier, groups: Sequence[ParameterGroup], epoch: int) -> None:
    """Gradual unfreezing (Howard and Ruder 2018): stages that wake later are frozen until then; others go to sleep."""
    if any(group.wakes_at or group.sleeps_at for group in groups):
        over = {group.stage for group in groups if group.sleeps_at is not None and epoch >= group.sleeps_at}
        asleep = [group.stage for group in groups if group.wakes_at > epoch or not group.is_trained]
        asleep += [stage for stage in over if stage not in asleep]
        classifier.freeze(asleep)


def _words(epoch: Epoch) -> str:
    val = epoch.val_accuracy
    accuracy = f", val {100 * val:.1f} %" if val is not None else ""
    return f"loss {epoch.loss:.3f}{accuracy}, {epoch.images_per_second:,.0f} img/s"
