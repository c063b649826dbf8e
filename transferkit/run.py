"""The whole machine: a recipe becomes images, a classifier, a fit, outputs, an evaluation and a report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from transferkit import report
from transferkit.data import datasets
from transferkit.data.images import Images, Splits
from transferkit.data.thumbnails import thumbnails
from transferkit.features.cached_outputs import outputs_of
from transferkit.features.engine import memory_notes
from transferkit.features.explanations.explain import explain, searched
from transferkit.metrics.evaluation import evaluate, thumbnail_choice
from transferkit.metrics.explanations import Explanations
from transferkit.metrics.outputs import Outputs
from transferkit.models import backbones, input_sizes
from transferkit.models.classifier import Classifier
from transferkit.models.description import describe
from transferkit.models.input_sizes import InputSize
from transferkit.ood import rejection
from transferkit.recipe import BackboneSettings, MethodSettings, Recipe
from transferkit.report import tensorboard, tracking
from transferkit.runs import checks, run_data, run_directory
from transferkit.runs.checks.early import early_checks
from transferkit.runs.facts import FORMAT, RunCosts, RunFacts
from transferkit.runs.result_folders import say_finished
from transferkit.runs.run_directory import Run
from transferkit.runs.same_work import asked_in_words, require_same_work
from transferkit.runtime import distributed, machine
from transferkit.runtime.console import SILENT, Console
from transferkit.runtime.context import Context
from transferkit.runtime.extras import Extras
from transferkit.runtime.files import write_tensors
from transferkit.runtime.folders import require_writable
from transferkit.runtime.plurals import counted
from transferkit.training import defaults, estimates, methods, several_devices
from transferkit.training.augmented_sheet import sheet_of
from transferkit.training.costs import costs, forget_peak, peak_bytes
from transferkit.training.methods.fitted import Fitted

NOTHING: Mapping[str, str] = {}
Fit = Callable[[Classifier, Splits, MethodSettings, BackboneSettings, Context], Fitted]


def run(
    recipe: Recipe,
    out: Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    console: Console | None = None,
    command: str = "",
    fit: Fit = methods.fit,
    besides: Mapping[str, str] = NOTHING,
) -> Run:
    """Carry out a recipe and leave a finished run in its folder; `fit` may take the place of the method's own.

    What else decides the result then, `besides` the recipe, is kept with it in words, by key.

    Raises:
        TransferkitError: If the recipe, the data or the folder do not allow it; nothing is lost.
    """
    console = console or Console()
    folder = out or recipe.default_folder
    tracking.require(recipe.track)
    checks.require_codes(recipe.ignore)
    if fit is methods.fit and several_devices.are_to_be_started(recipe):
        several_devices.start(recipe, folder, console, overwrite=overwrite, resume=resume, command=command)
        return Run(folder)
    say(several_devices.where_one_is_enough(recipe), console)
    world = distributed.join()
    if not world.leads:
        distributed.follow_run(world)
        return Run(folder)
    if overwrite or not Run(folder).is_finished:
        backbones.require(recipe.starting_backbone, console)
    with distributed.leading(world), run_directory.claim(folder, overwrite=overwrite, resume=resume) as run:
        if run.is_finished and not overwrite:
            require_same_work(run, recipe, besides)
            say_finished(folder, run.path / "evaluation.json", console)
            complete_page(run, console)
        else:
            with tracking.live(console) as live:
                work = Work(command, fit, besides)
                carry_out(recipe, run, work, resume=resume, console=console, live=live)
    return run


def run_alone(
    recipe: Recipe, out: Path | None = None, *, overwrite: bool, resume: bool, console: Console, command: str
) -> Run:
    """Carry out a recipe that is no part of a study: what it will cost is said first. Otherwise as `run`."""
    folder = out or recipe.default_folder
    require_writable(folder)
    run_directory.require_free(Run(folder), overwrite, resume)
    if overwrite or not Run(folder).is_finished:
        estimates.before_run(recipe, console)
    return run(recipe, out, overwrite=overwrite, resume=resume, console=console, command=command)


def complete_page(run: Run, console: Console) -> None:
    """Write the page of a finished run that was stopped before it."""
    if not run.has_page:
        extras = Extras(console)
        extras.attempt("curves for TensorBoard", lambda: tensorboard.write(run))
        show(run, extras)


@dataclass(frozen=True)
class Work:
    """What a run is told beside its recipe: the command as it was typed, who fits, and what else decides the result."""

    command: str
    fit: Fit
    besides: Mapping[str, str]


def carry_out(recipe: Recipe, run: Run, work: Work, *, resume: bool, console: Console, live: tracking.Live) -> None:
    """The machine itself: make the run in a folder that may be written to."""
    clock = Clock()
    shares_steps = work.fit is methods.fit and recipe.method.trains_by_steps
    runtime = replace(start_machine(recipe), world=distributed.join() if shares_steps else distributed.ALONE)
    splits = datasets.load(recipe.data, console)
    clock.lap("data")

    context = Context(runtime, console, recipe.seed, run.path, data=recipe.data)
    asked, (recipe, size) = asked_in_words(recipe, work.besides), resolved(recipe, splits)
    begun_facts = replace(facts_before_fit(recipe, splits, size), asked=asked)
    say(run_data.in_words(begun_facts.data), console)
    classifier = load_network(recipe, splits, size, console)
    begun = run_directory.prepare_run_folder(run, recipe, resume=resume)
    splits = splits.noted(begun)

    watch = early_checks(recipe, begun_facts, str(run.path), console)
    live.begin(run, recipe)
    fitted = work.fit(
        classifier, splits, recipe.method, recipe.backbone, context.watched(watch.observe, live.note_epoch)
    )
    save_model(run, classifier, recipe, runtime, rejection.fit(fitted.val))  # from here on no fault loses the training
    run.write_history(fitted.history)
    if fitted.change is not None:
        run.write_adapter(fitted.change, recipe)
    clock.lap("fit")

    test_images = splits.test.open()
    others = fitted.judge_others(test_images)
    test = outputs_of(classifier, test_images, runtime, console, "test")
    run.save_outputs({"val": fitted.val, "test": test})
    clock.lap("evaluate", f"test: {counted(len(test), 'image')}", console)

    extras = Extras(console)
    spent = extras.attempt("costs", lambda: costs(recipe, classifier, splits, fitted, runtime, peak_bytes(runtime)))
    clock.lap("costs")
    compared = splits.train.subset(searched(len(splits.train), len(test), recipe.seed))
    compared_outputs = outputs_of(classifier, compared, runtime, console, "train images to compare with")
    thresholds = thresholds_by_distance(fitted, compared_outputs, recipe.seed)
    save_model(run, classifier, recipe, runtime, thresholds)
    run.save_outputs({"bank": thresholds.bank})
    why = partial(explain, classifier, compared, compared_outputs, test_images, test, runtime, len(splits.train))
    keep_explanations(run, extras, why)
    keep_pictures(run, extras, recipe, splits.train, test_images, test)
    clock.lap("explain", "explanations and pictures", console)

    run.write_environment(machine.environment(runtime))
    memory = memory_notes(runtime.device, [classifier.backbone])
    notes = (*runtime.notes, *splits.notes, *fitted.notes, *memory, *extras.notes)
    facts = facts_of(replace(begun_facts, start=watch.start), splits, fitted, clock, work.command)
    run.write_facts(replace(facts, notes=notes, costs=spent or RunCosts()))
    run.write_evaluation(evaluate(test, fitted.val, fitted.history, others))
    run.remove_checkpoint()
    extras.attempt("verdict for --track", lambda: live.finish(run, report.first_sentence(run)))
    show(run, extras)


def say(lines: Iterable[str], console: Console) -> None:
    """Print some lines."""
    for line in lines:
        console.line(line)


def keep_explanations(run: Run, extras: Extras, why: Callable[[], Explanations]) -> None:
    """Write why test images got their answers, if that can be had: a fault costs these pictures alone."""
    explanations = extras.attempt("explanations", why)
    if explanations:
        extras.attempt("file of explanations", lambda: explanations.save(run.explanations_path))


def keep_pictures(run: Run, extras: Extras, recipe: Recipe, train: Images, test_images: Images, test: Outputs) -> None:
    """Write small pictures of test images, and of training images with augmented copies, if they can be had."""
    extras.attempt("pictures of test images", lambda: save_thumbnails(run, test_images, test))
    extras.attempt("augmented examples", lambda: save_augmented(run, recipe, train))


def start_machine(recipe: Recipe) -> machine.Runtime:
    """Device, precision and threads as the recipe asks for them, alone; the peak of memory forgotten, the seed set."""
    runtime = machine.start(recipe.device, recipe.precision, recipe.threads)
    forget_peak(runtime)
    machine.seed_everything(recipe.seed)
    return runtime


def resolved(recipe: Recipe, splits: Splits) -> tuple[Recipe, InputSize]:
    """The recipe with every default written out, and the size of the classifier's input."""
    native_px = min(splits.train.size_px)
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update=dict(splits.read_as))})
    complete = defaults.resolved(recipe, len(splits.train), native_px, splits.class_names)
    return complete, input_sizes.input_size(recipe.method, complete.backbone, native_px)


def load_network(recipe: Recipe, splits: Splits, size: InputSize, console: Console) -> Classifier:
    """The network of a complete recipe, below a new head for these classes.

    Raises:
        TransferkitError: If backbone, method and images do not go together.
    """
    classifier = backbones.load_for(recipe.backbone, splits.train, size.px, console)
    methods.require(classifier, recipe.method, len(splits.train), len(splits.val))
    console.line(input_sizes.in_words(size, classifier.body))
    return classifier


def fit_network(recipe: Recipe, splits: Splits, console: Console) -> tuple[Classifier, Recipe]:
    """A network fitted to images in memory, and the complete recipe; nothing is written."""
    complete, size = resolved(recipe, splits)
    classifier = load_network(complete, splits, size, console)
    context = Context(machine.as_found(complete.device, complete.precision), console, complete.seed)
    methods.fit(classifier, splits, complete.method, complete.backbone, context)
    return classifier.eval(), complete


def thresholds_by_distance(fitted: Fitted, train: Outputs, seed: int) -> rejection.Rejection:
    """From which distance to training images on, which go with the run, an image is unknown.

    Args:
        fitted: What the method left.
        train: Outputs of the result on training images.
        seed: Of the choice among them.
    """
    before_refit = fitted.train_before_refit
    val_bank = rejection.banked(before_refit, seed) if before_refit else None
    is_tuned = fitted.rates is not None
    return rejection.fit(fitted.val, rejection.banked(train, seed), val_bank, fitted.cross_validated, is_tuned)


def show(run: Run, extras: Extras) -> None:
    """Write what the run looks like: its page."""
    extras.attempt(f"page; `transferkit report {run.path}` tries again", lambda: report.write(run))


def save_thumbnails(run: Run, test_images: Images, test: Outputs) -> None:
    """Keep small pictures of the test images that the report shows."""
    chosen = thumbnail_choice(test)
    run.write_thumbnails(chosen, thumbnails(test_images, chosen))


def save_augmented(run: Run, recipe: Recipe, train: Images) -> None:
    """Keep some training images with augmented copies, where the method makes any."""
    if (sheet := sheet_of(recipe, train)) is not None:
        run.write_augmented(sheet)


def save_model(
    run: Run, classifier: Classifier, recipe: Recipe, runtime: machine.Runtime, limits: rejection.Rejection
) -> None:
    """Write the weights and the facts that are needed to use them, "unknown" included, and the precision of these."""
    write_tensors(run.path / "model.safetensors", classifier.state_dict())
    model = describe(classifier, recipe.backbone)
    run.write_model(replace(model, rejection=limits.thresholds, precision=runtime.precision))


def facts_before_fit(recipe: Recipe, splits: Splits, size: InputSize) -> RunFacts:
    """What a resolved recipe and its images say, for the checks that speak before training."""
    weights_px = input_sizes.weights_px(recipe.backbone)
    return RunFacts(
        {}, run_data.run_data(recipe.data, splits), input_reason=size.reason, input_px=size.px, weights_px=weights_px
    )


def facts_of(begun: RunFacts, splits: Splits, fitted: Fitted, clock: Clock, command: str) -> RunFacts:
    """What the report says about how the run was made, without notes and costs.

    Args:
        begun: What was known before the fit.
        splits: Its images.
        fitted: What the method left.
        clock: Seconds of each part.
        command: As it was typed.
    """
    return replace(
        begun,
        format=FORMAT,
        command=command,
        started=clock.started_at,
        seconds=clock.laps,
        test_openings=splits.test.openings,
        parameter_groups=tuple(group.facts for group in fitted.groups),
        images_per_second=fitted.history.images_per_second,
        frozen_verified=any(not group.is_trained for group in fitted.groups),
        trained_parameters=fitted.trained_parameters,
        probe=fitted.probe,
        rates=fitted.rates,
        chosen_from=fitted.chosen_from,
    )


class Clock:
    """Seconds of each part of a run."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str, words: str = "", console: Console = SILENT) -> None:
        """The part called `name` ends now; words for it are said with its seconds."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
        if words:
            console.line(f"{words} in {self.laps[name]:.1f} s")
