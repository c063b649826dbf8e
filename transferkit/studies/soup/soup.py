"""A model soup: the mean of the weights of runs that differ in their seed, as a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from transferkit import run as story
from transferkit.data.images import Images, Splits
from transferkit.features.fast_classifier import collect
from transferkit.metrics.outputs import Outputs
from transferkit.models.classifier import Classifier
from transferkit.recipe import BackboneSettings, MethodSettings, Recipe
from transferkit.recipe.settings import hash_of
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.console import Console
from transferkit.runtime.context import Context
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_tensors
from transferkit.runtime.plurals import counted
from transferkit.training.methods.fitted import Fitted

Weights = dict[str, Tensor]


def cook(
    folders: Sequence[Path],
    out: Path | None = None,
    *,
    greedy: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    command: str = "",
) -> Run:
    """Average the weights of finished runs into a new run, which has learnt from what they have learnt from.

    Wortsman et al., ICML 2022 (arXiv:2203.05482). Uniform: all of them. Greedy (their recipe 1): in the order of their
    val accuracy, each where it does not make the mean worse on val.

    Args:
        folders: Of runs, or of studies whose runs are taken.
        out: The new run's folder.
        greedy: Whether val decides which runs take part.
        overwrite: Whether a result there may be replaced.
        console: For progress.
        command: As typed.

    Raises:
        TransferkitError: If there are fewer than two runs, they differ in more than their seed, or greedy is asked for
            and they have learnt from val.
    """
    paths = [path for folder in folders for path in _run_folders(folder)]
    runs = [open_run(path) for path in {path.resolve(): path for path in paths}.values()]
    recipe = require_alike(runs)
    if greedy and getattr(recipe.method, "refit", False):
        raise TransferkitError(
            "--greedy chooses by val, and these runs have learnt from val in the end. Train them with --no-refit (as "
            "studies do), or leave --greedy out."
        )
    named = recipe.model_copy(update={"name": f"soup-{runs[0].path.name}"})
    besides = {"soup": _in_words(runs, greedy=greedy)}
    place = out or Path("runs") / f"soup-{hash_of([recipe.short_hash, besides])}"
    fit = _fit_by_averaging(runs, greedy=greedy)
    return story.run(named, place, overwrite=overwrite, console=console, command=command, fit=fit, besides=besides)


def _in_words(runs: Sequence[Run], *, greedy: bool) -> str:
    """What is averaged and how; a run is told from one that took its place by when it began."""
    members = sorted(f"{run.path.resolve().name} of {run.facts.started}" for run in runs)
    return f"{'greedy' if greedy else 'uniform'} of {', '.join(members)}"


def _run_folders(folder: Path) -> list[Path]:
    """A study's runs, or the folder itself."""
    runs = folder / "runs"
    return sorted(path for path in runs.iterdir() if Run(path).is_finished) if runs.is_dir() else [folder]


def require_alike(runs: Sequence[Run]) -> Recipe:
    """The first run's recipe, which the others share but for name and seed.

    Raises:
        TransferkitError: Says which run differs.
    """
    if len(runs) < 2:
        raise TransferkitError(
            f"A soup needs at least two finished runs, and here is {len(runs)}. Name runs that differ in their seed: "
            "transferkit soup RUN RUN. --seed 1 trains another one."
        )
    first = runs[0].recipe
    if not first.method.trains_by_steps:
        raise TransferkitError(f"{first.method.noun} is solved, not trained, so that its seeds have one result.")
    for run in runs[1:]:
        recipe = run.recipe.model_copy(update={"name": first.name, "seed": first.seed})
        if recipe != first:
            here, there = ({key: value for key, value, _ in side.each_key()} for side in (recipe, first))
            key = next((key for key in {**here, **there} if here.get(key) != there.get(key)), "its kind")
            values = ["open" if side.get(key) is None else str(side[key]) for side in (here, there)]
            raise TransferkitError(
                f"{run.path} differs from {runs[0].path} in more than its seed: {key} is {' and '.join(values)}. A "
                "soup takes runs of one recipe, which start from the same weights."
            )
    return first


def _fit_by_averaging(runs: Sequence[Run], *, greedy: bool) -> Callable[..., Fitted]:
    """What takes the place of a method's fit."""

    def fit(
        classifier: Classifier, splits: Splits, _method: MethodSettings, _backbone: BackboneSettings, context: Context
    ) -> Fitted:
        stored = runs[0].model
        classifier.averages_mirror, classifier.averages_shifts = stored.averages_mirror, stored.averages_shifts
        classifier.to(context.runtime.device).eval()
        weights = [read_tensors(run.path / "model.safetensors")[0] for run in runs]
        chosen = _chosen(classifier, runs, weights, splits.val, context) if greedy else list(range(len(runs)))
        classifier.load_state_dict(mean_weights([weights[index] for index in chosen]))
        val = _outputs(classifier, splits.val, context) if len(splits.val) else None
        names = ", ".join(runs[index].path.name for index in chosen)
        kind = f"greedy, on {counted(len(splits.val), 'val image')}" if greedy else "uniform"
        notes = [f"a soup ({kind}): the mean of the weights of {names}; recipe.yaml is that of {runs[0].path.name}"]
        is_independent = val is not None and not getattr(runs[0].recipe.method, "refit", False)
        return Fitted(val if is_independent else None, groups=[], notes=notes, chosen_from=len(runs) if greedy else 0)

    return fit


def _chosen(
    classifier: Classifier, runs: Sequence[Run], weights: Sequence[Weights], val: Images, context: Context
) -> list[int]:
    """Wortsman et al., recipe 1: the positions of the runs that take part."""
    if not len(val):
        raise TransferkitError("--greedy chooses by val, and these runs have no val images. Leave it out.")

    def accuracy(members: Sequence[int]) -> float:
        classifier.load_state_dict(mean_weights([weights[index] for index in members]))
        return float(_outputs(classifier, val, context).is_right.mean())

    alone = [accuracy([index]) for index in range(len(runs))]
    order = sorted(range(len(runs)), key=lambda index: -alone[index])
    chosen, best = [order[0]], alone[order[0]]
    for index in order[1:]:
        together = accuracy([*chosen, index])
        if together >= best:
            chosen, best = [*chosen, index], together
    return chosen


def _outputs(classifier: Classifier, images: Images, context: Context) -> Outputs:
    return collect(classifier, images, context.runtime, context.console, "val")


def mean_weights(members: Sequence[Weights]) -> Weights:
    """The mean of each tensor, BatchNorm's statistics included; what counts steps is taken from the first."""

    def mean(name: str, first: Tensor) -> Tensor:
        if not first.is_floating_point():
            return first
        return torch.stack([member[name].double() for member in members]).mean(dim=0).to(first.dtype)

    return {name: mean(name, first) for name, first in members[0].items()}
