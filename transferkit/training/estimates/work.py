"""Time and memory of a run before it starts, from one timed step on this machine; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from transferkit.recipe import MethodSettings, RankingRecipe, Recipe, Study
from transferkit.recipe import budget as budgets
from transferkit.runtime import machine
from transferkit.runtime.durations import duration
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.training import defaults
from transferkit.training.estimates import timing
from transferkit.training.estimates.cheaper_sizes import cheaper_size
from transferkit.training.estimates.inputs import outline, require_weights, resolved_as_run
from transferkit.training.estimates.totals import in_all
from transferkit.training.growth import cost_share

MINUTE = 60
PROBED_AT_ONCE = 64  # images of a batch that is answered, whatever the method trains with
SHORT_PIXELS = 3e6  # of all images that a run shows: below, no network that we know takes a minute


def estimate(recipe: Recipe) -> str:
    """One paragraph: how many images, how long, how much memory, and a cheaper size where it takes long.

    Raises:
        TransferkitError: If the folder, the backbone or the device is not there.
    """
    return estimate_run(recipe).text


def of_long_run(recipe: Recipe) -> str:
    """The same for a run of more than a minute; empty for a shorter one, most of which are told without timing."""
    full = resolved_as_run(recipe)
    labelled, tested, _ = outline(recipe.data)
    shown = (training_length(full.method, labelled, labelled)[0] or 0) + labelled + tested
    if shown * full.input_px**2 < SHORT_PIXELS:
        return ""
    estimated = estimate_run(recipe)
    return estimated.text if estimated.seconds > MINUTE else ""


@dataclass(frozen=True)
class Estimate:
    """What a run takes: its seconds, 0 where they cannot be told, and a paragraph."""

    seconds: float
    text: str


def estimate_run(recipe: Recipe) -> Estimate:
    """Time and memory of one run.

    Raises:
        TransferkitError: If the folder, the backbone or the device is not there.
    """
    runtime = machine.start(recipe.device, recipe.precision, recipe.threads)
    labelled, tested, side = outline(recipe.data)
    full = resolved_as_run(recipe)
    forward, step = _forward(full, labelled, side, runtime), _step(full, labelled, side, runtime)
    seconds = _seconds(full, labelled, tested, forward, step)
    gigabytes = (timing.parameters(_network(full), full.input_px) * 4 * 4 + (labelled + tested) * 3 * side * side) / 1e9
    work = (
        f"{labelled:,} labelled and {counted(tested, 'test image')}, {in_words(full.method)} at "
        f"{sizes_in_words(full)} px"
    )
    where = f"about {duration(seconds)} on {machine.device_name(runtime.device)}"
    memory = f"{gigabytes:.1f} GB for weights, optimiser state and pixels, besides one batch of activations"
    text = f"Estimate: {work}, {where}{_as_if_alone(recipe)}; {memory}. Timed on one batch, so expect a factor of two."
    is_ours_to_choose = recipe.method.size == "auto" and full.backbone.weights != "none"
    offer = cheaper_size(seconds, full.input_px) if is_ours_to_choose else ""
    return Estimate(seconds, f"{text}\n{offer}" if offer else text)


def fit_seconds(recipes: Sequence[Recipe]) -> list[float]:
    """Seconds of trainings on the same images that are judged on val alone, each network being timed once."""
    first = recipes[0]
    runtime = machine.start(first.device, first.precision, first.threads)
    labelled, _, side = outline(first.data)
    images = labelled - round(labelled * first.data.val_fraction)
    every = [defaults.resolved(recipe, images, side) for recipe in recipes]
    return [
        _seconds(full, labelled, 0, _forward(full, labelled, side, runtime), _step(full, labelled, side, runtime))
        for full in every
    ]


def _as_if_alone(recipe: Recipe) -> str:
    """What a time that was measured in one process leaves out, where several share the steps."""
    count = recipe.devices if recipe.method.trains_by_steps else 1
    return f" in one process (what {count} save is not estimated)" if count > 1 else ""


def _network(full: Recipe) -> str:
    """The network alone, so that arms which differ in nothing but their weights are timed once."""
    return full.backbone.model_copy(update={"weights": "none"}).model_dump_json()


def _forward(full: Recipe, images: int, side: int, runtime: machine.Runtime) -> float:
    return timing.forward_seconds(_network(full), full.input_px, side, min(PROBED_AT_ONCE, images), runtime)


def _step(full: Recipe, images: int, side: int, runtime: machine.Runtime) -> float:
    """Seconds of a training step per image; 0 where the method takes no steps."""
    if (training := full.method.training) is None:
        return 0.0
    batch_size = min(training.batch_size or PROBED_AT_ONCE, images)
    return timing.step_seconds(_network(full), full.input_px, side, batch_size, runtime)


def estimates(
    recipes: Mapping[str, Recipe], repeats: int = 1, estimate_one: Callable[[Recipe], Estimate] = estimate_run
) -> dict[str, Estimate]:
    """One paragraph for each arm of a study or ranking, with how often it is run; the seconds are those of one time."""
    times = "" if repeats == 1 else f" {repeats} times, once per seed."
    arms: dict[str, Estimate] = {}
    for name, recipe in recipes.items():
        try:
            require_weights(recipe)
            estimated = estimate_one(recipe)
            text, newline, offer = estimated.text.partition("\n")
            arms[name] = replace(estimated, text=f"{text}{times}{newline}{offer}")
        except TransferkitError as error:  # the other arms go on, as they do in the study
            arms[name] = Estimate(0.0, f"cannot be estimated: {error}")
    return arms


def of_ranking(ranking: RankingRecipe) -> dict[str, str]:
    """One paragraph for each backbone: one pass over the training images that are ranked on; and one for all."""
    recipes = ranking.recipes()
    arms = estimates(recipes, estimate_one=lambda recipe: _of_ranked(recipe, ranking.images))
    total = in_all([_seconds_of(arms)], ranking.executor, ranking.workers, next(iter(recipes.values())))
    return _paragraphs(arms) | total


def _seconds_of(arms: Mapping[str, Estimate], repeats: int = 1) -> list[float]:
    return [arm.seconds for arm in arms.values() for _ in range(repeats)]


def _paragraphs(arms: Mapping[str, Estimate]) -> dict[str, str]:
    return {name: arm.text for name, arm in arms.items()}


def _of_ranked(recipe: Recipe, most: int) -> Estimate:
    runtime = machine.start(recipe.device, recipe.precision, recipe.threads)
    labelled, _, side = outline(recipe.data)
    images = min(most, labelled - round(labelled * recipe.data.val_fraction))
    full = defaults.resolved(recipe, images, side)
    forward = _forward(full, images, side, runtime)
    where = f"about {duration(images * forward)} on {machine.device_name(runtime.device)}"
    text = f"Estimate: features of {counted(images, 'training image')} at {full.input_px} px, {where}, less "
    return Estimate(images * forward, f"{text}where they are stored.")


def of_study(study: Study) -> dict[str, str]:
    """One paragraph for what is done before, for each arm (of a label curve: at each number of labels), and for all."""
    arms = {cell: recipe for cell, seed, recipe in study.recipes() if seed == 0}
    sized = {cell: as_after(recipe, study.before) for cell, recipe in arms.items()}
    before, after = estimates(study.before), estimates(sized, study.seeds)
    stages = [_seconds_of(before), _seconds_of(after, study.seeds)]
    total = in_all(stages, study.executor, study.workers, next(iter(sized.values())))
    return _paragraphs(before) | _paragraphs(after) | total


def as_after(recipe: Recipe, before: Mapping[str, Recipe]) -> Recipe:
    """The recipe with the size that the weights `run:NAME` will bring, and without these weights."""
    kind, _, name = recipe.backbone.weights.partition(":")
    if kind != "run" or name not in before:
        return recipe
    size = recipe.method.asked_px or resolved_as_run(before[name]).input_px
    method = recipe.method.model_copy(update={"size": size})
    backbone = recipe.backbone.model_copy(update={"weights": "none"})
    return recipe.model_copy(update={"method": method, "backbone": backbone})


def _seconds(full: Recipe, labelled: int, tested: int, forward: float, step: float) -> float:
    """Training, the passes of a probe, and those over val (after each epoch), over test and over train beside it."""
    shown, length = training_length(full.method, labelled - round(labelled * full.data.val_fraction), labelled)
    statistics = 2 if getattr(full.method, "batchnorm", "") == "auto" else 1  # of which a probe chooses
    probed = statistics * (not full.method.trains_by_steps or getattr(full.method, "head", "") == "probe")
    judged = (getattr(full.method, "epochs", None) or 0) * labelled * full.data.val_fraction
    networks = 2 if getattr(full.method, "layers", None) else 1  # a random copy passes over the images too
    passes = (labelled * probed + judged + tested + min(labelled, tested)) * networks
    training = full.method.training
    growth = cost_share(training.start_size or 0, full.input_px, training.epochs) if training else 1.0
    return (length if shown is None else shown * step * growth) + passes * forward


def training_length(method: MethodSettings, num_images: int, labelled: int) -> tuple[float | None, float]:
    """The images that a training shows; None where the clock decides, and then the seconds it is given.

    Args:
        method: As the run will resolve it.
        num_images: To train on.
        labelled: With val, for a second training on both.
    """
    if (training := method.training) is None:
        return 0, 0
    budget = budgets.read(training.budget) if training.budget else None
    if budget is None:
        again = labelled if getattr(method, "refit", False) and labelled > num_images else 0
        return (num_images + again) * (training.epochs or 0), 0
    if budget.kind == "seconds":
        return None, budget.amount
    return budget.amount * min(training.step_images or num_images, num_images), 0


def sizes_in_words(full: Recipe) -> str:
    """The side of the input, or the first and the last one."""
    training = full.method.training
    first = training.start_size if training else None
    return f"{first} to {full.input_px}" if first else str(full.input_px)


def in_words(method: MethodSettings) -> str:
    """The length of a method, as the recipe says it."""
    if (training := method.training) is None:
        return "no epochs"
    again = " and as many with val" if getattr(method, "refit", False) else ""
    most = "up to " if training.patience else ""
    return training.budget or f"{most}{counted(training.epochs or 0, 'epoch')}{again}"
