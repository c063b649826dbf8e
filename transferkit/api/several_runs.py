"""The Python calls that make or join several runs of one recipe: cross-validation, and the mean of their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from transferkit.api.arguments import OwnPreparation, as_path, named_backbone
from transferkit.api.trained_run import TrainedRun
from transferkit.recipe import from_options
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.argument_types import typed
from transferkit.runtime.console import Console
from transferkit.studies.folds.cross_validation import CrossValidation


@typed
def folds(
    backbone: str | nn.Module,
    data: Any = "cifar10",
    *,
    method: Literal["finetune", "probe", "scratch"] = "finetune",
    folds: int = 5,
    stages: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> CrossValidation:
    """Predict every labelled image by a model that has not seen it; `--folds` of `finetune`, `probe` and `scratch`.

    Args:
        backbone: As for `transferkit.finetune`.
        data: As for `transferkit.finetune`; its sealed test part stays closed.
        method: finetune, probe or scratch.
        folds: How many runs, each without another part of the labelled images.
        stages: Of a network of your own, as for `transferkit.finetune`.
        mean: Likewise.
        std: Likewise.
        out: The folder of all runs; default runs/<recipe>-<hash>. Folds that are finished there are not done again.
        overwrite: Replace a finished cross-validation in that folder.
        quiet: Print nothing.
        **options: Any key of the recipe: `epochs=3, size=64, group="parent"` ...

    Returns:
        `accuracy` with its `interval` over all labelled images, `balanced_accuracy`, and one entry of `folds` per run.

    Raises:
        TransferkitError: For wrong options, backbones or data, or if a fold cannot be made.
    """
    from transferkit.features.data_arguments import as_named
    from transferkit.studies.folds.cross_validation import cross_validate

    name, weights = named_backbone(method, backbone, OwnPreparation(stages, mean, std), options)
    recipe = from_options(method, name, as_named(data), {**options, "weights": weights, "folds": folds}, ())
    console = Console(quiet=quiet)
    result = cross_validate(
        recipe, as_path(out), overwrite=overwrite, console=console, command="transferkit.folds(...)"
    )
    console.result(*result.lines())
    return result


@typed
def soup(
    *runs: TrainedRun | Run | Path | str,
    greedy: bool = False,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> TrainedRun:
    """Average the weights of several seeds into one network, a run of its own, as `transferkit soup RUN ...` does.

    Args:
        *runs: Finished runs of one recipe that differ in their seed, or their folders, or a study's folder.
        greedy: Let val decide which runs take part.
        out: The new run's folder; default runs/soup-<hash>.
        overwrite: Replace a finished run in that folder.
        quiet: Print nothing.

    Raises:
        TransferkitError: If there are fewer than two runs, or they differ in more than their seed.
    """
    from transferkit import report
    from transferkit.studies.soup.soup import cook

    console = Console(quiet=quiet)
    folders = [Path(run) if isinstance(run, (str, Path)) else open_run(run).path for run in runs]
    made = cook(
        folders, as_path(out), greedy=greedy, overwrite=overwrite, console=console, command="transferkit.soup(...)"
    )
    if not quiet:
        console.result(report.verdict(made))
    return TrainedRun(made)
