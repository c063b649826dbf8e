"""The Python calls, with the words of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ParamSpec

from torch import nn

from transferkit.api.arguments import OwnPreparation, as_path, named_backbone
from transferkit.api.trained_run import TrainedRun
from transferkit.recipe import Study, from_options, ranking_from_options, tuning_from_options
from transferkit.run import run_alone
from transferkit.runs.label_check import LabelCheck
from transferkit.runs.run_directory import Run, open_run
from transferkit.runtime.argument_types import typed
from transferkit.runtime.console import Console
from transferkit.runtime.errors import TransferkitError
from transferkit.studies.compare.results import Comparison, LabelCurve
from transferkit.studies.limits.comparison_results import LimitsComparison
from transferkit.studies.limits.report import LimitsReport
from transferkit.studies.rank.results import Ranking
from transferkit.studies.tune.results import Tuning

P = ParamSpec("P")


@typed
def finetune(
    backbone: str | nn.Module,
    data: Any = "cifar10",
    *,
    stages: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> TrainedRun:
    """Fine-tune a pretrained backbone; the run as `transferkit finetune BACKBONE --data DATA ...` leaves it.

    Args:
        backbone: Such as `resnet18` or `timm/vit_tiny_patch16_224`; or a network of your own, an `nn.Module` that takes
            (N, 3, size, size), whose last linear layer gives way to a head for these classes. It stays as it is.
        data: A data set's name, `folder:PATH`, or images of your program: `(images, labels)`, `Images`, a torch Dataset
            of (image, label), a table with the columns path and label. These are kept as a file in the cache, which the
            recipe names.
        stages: Of a network of your own: names of its parts from the images on, or a mapping from stage to parts;
            default: its children.
        mean: Of a network of your own, per channel for pixels in [0, 1]; default: images stay in [0, 1].
        std: Likewise.
        out: The run's folder; default runs/<recipe>-<hash>.
        overwrite: Replace a finished run in that folder.
        resume: Continue an unfinished run in that folder.
        quiet: Print nothing.
        **options: Any key of the recipe: `epochs=3, size=64, weights="none", limit_per_class=50, seed=1` ...

    Raises:
        TransferkitError: For wrong options or data, before any work.
    """
    return _run(
        "finetune",
        backbone,
        data,
        stages=stages,
        mean=mean,
        std=std,
        out=out,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
        **options,
    )


def _like(other: Callable[P, TrainedRun]) -> Callable[[Callable[..., TrainedRun]], Callable[P, TrainedRun]]:
    """Give a function the signature of another one, for people, editors and type checkers."""

    def add(function: Callable[..., TrainedRun]) -> Callable[P, TrainedRun]:
        for name in ("__signature__", "__annotations__"):
            setattr(function, name, signature(other) if name == "__signature__" else other.__annotations__)
        checked: Callable[P, TrainedRun] = typed(function)
        return checked

    return add


@_like(finetune)
def probe(*arguments: Any, **options: Any) -> TrainedRun:
    """Fit a linear probe on a frozen backbone; arguments as for `finetune`."""
    return _run("probe", *arguments, **options)


@_like(finetune)
def scratch(*arguments: Any, **options: Any) -> TrainedRun:
    """Train the same network from random weights; arguments as for `finetune`."""
    return _run("scratch", *arguments, **options)


@typed
def rank(
    backbones: Sequence[str],
    data: str = "cifar10",
    *,
    weights: str | Sequence[str] = (),
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Ranking:
    """Compare backbones by a cross-validated linear probe on training images; `transferkit rank` in Python.

    Args:
        backbones: Each `NAME` or `NAME=WEIGHTS`, such as `resnet18` or `resnet18=none`.
        data: A data set's name, or `folder:PATH`.
        weights: For those that have none of their own: imagenet (the default), none, a file or a run's folder.
        out: The ranking's folder; default runs/rank-DATA-<hash>.
        overwrite: Replace a finished ranking in that folder.
        quiet: Print nothing.
        **options: `images=5000, size=64, seed=1, limit_per_class=50` ...

    Returns:
        The ranking: `rows`, best accuracy first, `pairs` and `verdict`.

    Raises:
        TransferkitError: For wrong options, backbones or data, before any work.
    """
    from transferkit.studies.rank import ranking

    shared = (weights,) if isinstance(weights, str) else tuple(weights)
    wanted = ranking_from_options(backbones, data, shared, options)
    console = Console(quiet=quiet)
    return ranking.rank(wanted, as_path(out), overwrite=overwrite, console=console, command="transferkit.rank(...)")


@typed
def tune(
    backbone: str,
    data: Any = "cifar10",
    *,
    space: Mapping[str, Sequence[Any]] | None = None,
    points: int | None = None,
    search: str = "grid",
    eta: int = 3,
    executor: str | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Tuning:
    """Choose settings of fine-tuning on val by successive halving, then train the best; `transferkit tune` in Python.

    Args:
        backbone: Such as `resnet18` or `timm/vit_tiny_patch16_224`.
        data: As for `finetune`.
        space: Values by key of the method, as in `{"lr_factor": [0.3, 1, 3], "augment": ["none", "trivial"]}`;
            `"default"` among them leaves the key alone. None: rates, sizes, freezing and augmentation that suit.
        points: Try so many settings of the space, drawn at random; None: all.
        search: grid, or optuna.
        eta: How many times longer those settings are trained that go on, two in its square.
        executor: Where trials run: here in turn (the default), processes, slurm or ray.
        workers: How many at once.
        out: The folder; default runs/tune-<recipe>-<hash>.
        overwrite: Replace what is in that folder.
        quiet: Print nothing.
        **options: Keys of the recipe that all settings share: `epochs=30, limit_per_class=50` ...

    Returns:
        The tuning: `chosen`, `result` with the test accuracy, `trials` and `verdict`.

    Raises:
        TransferkitError: For wrong options or data, before any work.
    """
    from transferkit.features.data_arguments import as_named
    from transferkit.studies.tune import tune as tunings

    own = {"points": points, "search": search, "eta": eta, "executor": executor, "workers": workers}
    wanted = tuning_from_options(backbone, as_named(data), space or {}, own, options)
    console = Console(quiet=quiet)
    return tunings.tune(wanted, as_path(out), overwrite=overwrite, console=console, command="transferkit.tune(...)")


@typed
def limits(
    *runs: TrainedRun | Run | Path | str,
    ood: Path | str | Sequence[Path | str] = (),
    shift: Path | str | Sequence[Path | str] = (),
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    device: str = "auto",
    **options: Any,
) -> LimitsReport | LimitsComparison:
    """Find where not to trust a run, as `transferkit limits RUN ...` does; several runs are compared.

    Args:
        *runs: Finished runs, or their folders.
        ood: Images of classes the model does not know: names of data sets, folders, or NAME=FOLDER.
        shift: Other images of its own classes, likewise.
        out: The report's folder; default RUN/limits, of several runs limits-comparison.
        overwrite: Replace a report in that folder; the stored outputs are reused.
        quiet: Print nothing.
        device: auto, cpu, cuda, cuda:1 or mps.
        **options: `corruptions="full", leave_out="none", target_risk=0.05, rules=Rules(auroc=0.9)` ...: the fields of
            `transferkit.studies.limits.settings.LimitsSettings`.

    Returns:
        The report: `summary` with its `lines`, `contract`, `test`, `unknown` ...; of several runs the comparison:
        `rows`, the first run as the reference, and `verdict`.

    Raises:
        TransferkitError: For wrong options, runs or images.
    """
    from transferkit.studies.limits import settings as limit_settings
    from transferkit.studies.limits.comparison import compare_limits
    from transferkit.studies.limits.story import Work, measure_limits

    sources = {"ood": ood, "shift": shift}
    settings = limit_settings.from_options(
        **{
            name: str(value) if isinstance(value, (str, Path)) else tuple(map(str, value))
            for name, value in sources.items()
        },
        **options,
    )
    opened = [open_run(run) for run in runs]
    if not opened:
        raise TransferkitError("Name at least one finished run, as in transferkit.limits('runs/my-run').")
    work = Work(device, Console(quiet=quiet), "transferkit.limits(...)", overwrite=overwrite)
    if len(opened) > 1:
        return compare_limits(opened, settings, as_path(out) or Path("limits-comparison"), work)
    return measure_limits(opened[0], settings, as_path(out), work)


@typed
def labels(
    run: TrainedRun | Run | Path | str, *, limit: int | None = None, quiet: bool = False, device: str = "auto"
) -> LabelCheck:
    """Find likely label errors, and test images that are also in train, as `transferkit labels RUN` does.

    Opens the test set once more; nothing is chosen by it. The run's page is built again with what was found.

    Args:
        run: A finished run, or its folder.
        limit: Look at no more than this many training images.
        quiet: Print nothing.
        device: auto, cpu, cuda, cuda:1 or mps.

    Returns:
        What labels.json holds: `train` and `test` with their `issues`, `duplicates`, and `accuracy` without them.

    Raises:
        TransferkitError: If cleanlab is missing, there is no finished run, or its images have changed.
    """
    from transferkit import report
    from transferkit.studies.labels.label_quality import check_labels

    finished = open_run(run)
    check = check_labels(finished, Console(quiet=quiet), device=device, limit=limit)
    report.write(finished)
    return check


@typed
def compare(
    backbones: Sequence[str],
    methods: Sequence[str] = ("scratch", "probe", "finetune"),
    data: str = "cifar10",
    *,
    budget: str = "converged",
    scratch_budget: str | None = None,
    seeds: int = 3,
    weights: str | Sequence[str] = (),
    executor: str | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Comparison | LabelCurve:
    """Compare methods and backbones on the same images and budget; `transferkit compare` in Python.

    Args:
        backbones: Each `NAME` or `NAME=WEIGHTS`.
        methods: Of scratch, probe and finetune; the first is the reference.
        data: A data set's name, or `folder:PATH`.
        budget: Such as 3epochs, 500steps, 10min, 1e15flops or converged.
        scratch_budget: Of a second arm from scratch, outside the budget.
        seeds: How many trainings each arm gets.
        weights: For those that have none of their own: imagenet (the default), none, a file or a run's folder.
        executor: Where arms run: here in turn (the default), processes, slurm or ray.
        workers: How many at once.
        out: The study's folder; default runs/compare-DATA-<hash>.
        overwrite: Replace a finished study in that folder.
        quiet: Print nothing.
        **options: Keys that all arms share: `size=64, limit_per_class=50` ...

    Returns:
        The comparison: `arms`, the reference first, `pairs`, `leaders` and `verdict`.

    Raises:
        TransferkitError: For wrong options, backbones or data, before any work.
    """
    from transferkit.studies.compare.options import Arms, StudySettings, study_of

    shared = (weights,) if isinstance(weights, str) else tuple(weights)
    arms = Arms(backbones, methods, shared, scratch_budget)
    settings = StudySettings(seeds, budget, executor=executor, workers=workers)
    study = study_of("compare", arms, data, options, settings)
    return _run_study(study, out, overwrite, Console(quiet=quiet), "transferkit.compare(...)")


@typed
def curve(
    backbone: str,
    methods: Sequence[str] = ("scratch", "probe", "finetune"),
    data: str = "cifar10",
    *,
    labels: Sequence[int | str] = (5, 10, 50, 100, "all"),
    budget: str = "500steps",
    scratch_budget: str | None = None,
    seeds: int = 3,
    weights: str | Sequence[str] = (),
    executor: str | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Comparison | LabelCurve:
    """Measure accuracy over the number of labels, for each method; `transferkit curve` in Python.

    Args:
        backbone: `NAME` or `NAME=WEIGHTS`.
        methods: Of scratch, probe and finetune; the first is the reference.
        data: A data set's name, or `folder:PATH`.
        labels: Labels per class, val included; "all" for all there are.
        budget: The same at every number of labels: 500steps, 10min or 1e15flops.
        scratch_budget: Of a second arm from scratch, outside the budget.
        seeds: How many trainings each arm gets at each number of labels; each seed draws its own labels.
        weights: imagenet (the default), none, a file or a run's folder.
        executor: Where arms run: here in turn (the default), processes, slurm or ray.
        workers: How many at once.
        out: The study's folder; default runs/curve-DATA-<hash>.
        overwrite: Replace a finished study in that folder.
        quiet: Print nothing.
        **options: Keys that all arms share: `size=64` ...

    Returns:
        The label curve: `points`, by rising number of labels, and `verdict`.

    Raises:
        TransferkitError: For wrong options, backbones or data, before any work.
    """
    from transferkit.studies.compare.options import Arms, StudySettings, label_counts, study_of

    shared = (weights,) if isinstance(weights, str) else tuple(weights)
    arms = Arms([backbone], methods, shared, scratch_budget)
    counts = label_counts(",".join(map(str, labels)))
    settings = StudySettings(seeds, budget, counts, executor=executor, workers=workers)
    study = study_of("curve", arms, data, options, settings)
    return _run_study(study, out, overwrite, Console(quiet=quiet), "transferkit.curve(...)")


def _run_study(
    study: Study, out: Path | str | None, overwrite: bool, console: Console, command: str
) -> Comparison | LabelCurve:
    from transferkit.studies.compare.study import run_study

    return run_study(study, as_path(out), overwrite=overwrite, console=console, command=command)


@typed
def serve(
    run: Run | Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    explain: bool = True,
    device: str = "auto",
) -> None:
    """Answer requests about images until Ctrl-C, as `transferkit serve RUN` does; in a script, not in a notebook.

    Args:
        run: A finished run, or its folder.
        host: Address to listen on; any but this machine's own asks for a token.
        port: 0 takes a free one.
        token: That requests must carry.
        explain: Show training images alike, and where the network looked.
        device: To compute on.

    Raises:
        TransferkitError: If the port is taken, a token is missing, or there is no such run; before anything is served.
    """
    from transferkit.deploy.serving.server import serve as answer_requests
    from transferkit.deploy.serving.settings import ServeSettings

    answer_requests(run, ServeSettings(host, port, token, explains=explain), Console(), device)


def _run(
    method: str,
    backbone: str | nn.Module,
    data: Any = "cifar10",
    *,
    stages: Any = None,
    mean: Any = None,
    std: Any = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
    **options: Any,
) -> TrainedRun:
    from transferkit import report
    from transferkit.features.data_arguments import as_named

    name, weights = named_backbone(method, backbone, OwnPreparation(stages, mean, std), options)
    recipe = from_options(method, name, as_named(data), {**options, "weights": weights}, ())
    if recipe.data.folds and recipe.data.fold is None:
        raise TransferkitError(
            f"folds={recipe.data.folds} asks for several runs: use transferkit.folds({name!r}, method={method!r}, "
            f"folds={recipe.data.folds}), or fold=1 for one of them."
        )
    console, command = Console(quiet=quiet), f"transferkit.{method}(...)"
    finished = run_alone(recipe, as_path(out), overwrite=overwrite, resume=resume, console=console, command=command)
    if not quiet:
        console.result(report.verdict(finished))
    return TrainedRun(finished)
