"""The commands that compare: arms on the same images, finished runs, and numbers of labels. torch stays inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transferkit.cli.help_pages import RARE
from transferkit.cli.options import (
    RUN,
    Data,
    DryRun,
    GoOn,
    Json,
    OfExecutor,
    OfWorkers,
    Out,
    Overwrite,
    WeightsOfEach,
    named_run,
    with_groups,
    with_options,
)
from transferkit.cli.terminal import command_line, print_dry_run, print_json, require_complete, working
from transferkit.recipe import FolderData, Study
from transferkit.recipe.references import is_reference
from transferkit.recipe.settings import LARGEST_PX, MOST_SEEDS
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.processor import MOST_THREADS
from transferkit.studies.compare.options import DEFAULT_STEPS, Arms, StudySettings, label_counts, listed, study_of

if TYPE_CHECKING:
    from transferkit.studies.compare.results import Comparison, LabelCurve

WHEN_STOPPED = "Stopped. Finished runs and the last saved epoch are kept; the same command goes on from there."
Methods = Annotated[
    str | None,
    typer.Option(help="Of scratch, probe, finetune; the first is the reference. (default: all three)"),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, max=MOST_SEEDS, help="Trainings of each arm. (default: 3)", show_default=False)
]
ScratchBudget = Annotated[
    str | None, typer.Option(help="Train from scratch a second time with this budget, such as 30epochs or converged.")
]
Stem = Annotated[
    Literal["auto", "imagenet", "cifar"] | None,
    typer.Option(help="cifar: a stem for small images; auto: from scratch only.", rich_help_panel="Backbone"),
]
Reference = Annotated[
    str | None,
    typer.Option(help="The arm the others are compared with. (default: the first)", rich_help_panel="Options" + RARE),
]
Over = Annotated[
    Literal["seeds", "images"] | None,
    typer.Option(help="What intervals of differences cover. (default: seeds and images, with two seeds)"),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value of the study, as in arms.scratch.method.lr=0.05.")
]
Size = Annotated[int | None, typer.Option(min=8, max=LARGEST_PX, help="Input side in px, the same for all arms.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=RUN)]
Precision = Annotated[Literal["auto", "fp32", "bf16"] | None, typer.Option(rich_help_panel=RUN + RARE)]
Threads = Annotated[int | None, typer.Option(min=1, max=MOST_THREADS, rich_help_panel=RUN + RARE)]


@dataclass(frozen=True)
class StudyOptions:
    """What `compare` and `curve` are both asked for."""

    scratch_budget: ScratchBudget = None
    weights: WeightsOfEach = None
    stem: Stem = None
    size: Size = None
    reference: Reference = None
    over: Over = None
    set_: Set = None
    data: Data = "cifar10"
    device: Device = None
    precision: Precision = None
    threads: Threads = None
    executor: OfExecutor = None
    workers: OfWorkers = None
    out: Out = None
    overwrite: Overwrite = False
    resume: GoOn = False
    dry_run: DryRun = False
    json: Json = False

    @property
    def shared(self) -> dict[str, str | int | None]:
        """Keys of a recipe that all arms share; None where one was not given."""
        return {name: getattr(self, name) for name in ("stem", "size", "device", "precision", "threads")}

    def settings(self, seeds: int | None, budget: str, labels: Sequence[int | str] | None = None) -> StudySettings:
        """The keys of the study itself."""
        return StudySettings(seeds, budget, labels, self.reference, self.over, self.executor, self.workers)

    @property
    def changes(self) -> Sequence[str]:
        """`key.path=value` of the study."""
        return self.set_ or ()

    def arms(self, backbones: Sequence[str], methods: str | None) -> Arms:
        """The arms that a command asks for."""
        return Arms(backbones, listed(methods or "scratch,probe,finetune"), self.weights or (), self.scratch_budget)

    def run(self, study: Study) -> None:
        """Carry out the study that was meant, and show its table."""
        run_whole_study(study, self.out, self.overwrite, self.dry_run, self.json)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(compare)
    app.command()(curve)


@with_options(FolderData)
@with_groups
def compare(
    arms: Annotated[
        list[str], typer.Argument(help="Backbones, each NAME or NAME=WEIGHTS; or folders of runs, or @last, @2 ...")
    ],
    methods: Methods = None,
    seeds: Seeds = None,
    budget: Annotated[
        str | None,
        typer.Option(help="3epochs, 500steps, 10min, 1e15flops, or converged: each method's own. (default: converged)"),
    ] = None,
    given: StudyOptions = StudyOptions(),
    **options: Any,
) -> None:
    """Compare methods and backbones on the same images and budget, with seeds and paired tests; or finished runs."""
    shared = {**given.shared, **options}
    if any(is_run(arm) for arm in arms):
        own = (("methods", methods), ("seeds", seeds), ("budget", budget), ("scratch-budget", given.scratch_budget))
        every = (*own, ("weights", given.weights), ("set", given.set_), ("executor", given.executor), *shared.items())
        require_runs_alone(arms, [f"--{name}" for name, value in every if value is not None])
        _compare_runs(arms, given)
        return
    settings = given.settings(seeds, budget or "converged")
    given.run(study_of("compare", given.arms(arms, methods), given.data, shared, settings, given.changes))


@with_options(FolderData)
@with_groups
def curve(
    backbone: Annotated[str, typer.Argument(help="resnet18, vgg16_bn, alexnet, ..., timm/<name>, or NAME=WEIGHTS.")],
    methods: Methods = None,
    labels: Annotated[str, typer.Option(help="Labels per class, val included.")] = "5,10,50,100,all",
    seeds: Seeds = None,
    budget: Annotated[
        str, typer.Option(help="The same at every number of labels: 500steps, 10min or 1e15flops.")
    ] = DEFAULT_STEPS,
    given: StudyOptions = StudyOptions(),
    **options: Any,
) -> None:
    """Draw accuracy over the number of labels: how many does each method need?"""
    if options.get("limit_per_class") or options.get("subset_seed") is not None:
        raise TransferkitError(
            "--labels says how many labels are used, and each seed draws its own. Use --labels alone."
        )
    settings = given.settings(seeds, budget, label_counts(labels))
    shared, arms = {**given.shared, **options}, given.arms([backbone], methods)
    given.run(study_of("curve", arms, given.data, shared, settings, given.changes))


def is_run(argument: str) -> bool:
    """Whether an argument is meant as a folder, and not as a backbone."""
    path = Path(argument)
    return is_reference(argument) or path.is_dir() or (len(path.parts) > 1 and path.parts[0] != "timm")


def require_runs_alone(arms: list[str], options: Sequence[str]) -> None:
    """Refuse backbones beside runs, and options that would have no effect on finished ones.

    Raises:
        TransferkitError: Names what does not fit.
    """
    others, folders = ([arm for arm in arms if is_run(arm) is wanted] for wanted in (False, True))
    if others:
        raise TransferkitError(
            f"{others[0]} is no folder, and {folders[0]} is one. Give folders of runs alone, or backbones alone."
        )
    if options:
        raise TransferkitError(f"{options[0].replace('_', '-')} has no effect on finished runs. Leave it out.")


def _compare_runs(runs: list[str], given: StudyOptions) -> None:
    from transferkit.runtime.console import Console
    from transferkit.studies.compare.report import comparison_verdict
    from transferkit.studies.compare.study import compare_runs

    paths = [named_run(run) for run in runs]
    console = Console()
    comparison = compare_runs(
        paths,
        given.out,
        reference=given.reference,
        over=given.over,
        overwrite=given.overwrite,
        console=console,
        command=command_line(),
    )
    console.result(comparison_verdict(comparison))
    if given.json:
        print_json(comparison)


def run_whole_study(study: Study, out: Path | None, overwrite: bool, dry_run: bool, as_json: bool) -> None:
    """Carry out a study and show its table.

    Raises:
        MachineError: After that, if a run failed.
    """
    comparison = run_study(study, out, overwrite, dry_run, as_json)
    require_complete(comparison.failures if comparison else (), "runs")


def run_study(
    study: Study, out: Path | None, overwrite: bool, dry_run: bool, as_json: bool
) -> Comparison | LabelCurve | None:
    """Carry out a study and show its table; nothing comes of a dry run."""
    if dry_run:
        print_study(study, as_json)
        return None
    with working(WHEN_STOPPED) as console:
        from transferkit.studies.compare import study as studies
        from transferkit.studies.compare.report import comparison_verdict

        comparison = studies.run_study(study, out, overwrite=overwrite, console=console, command=command_line())
    console.result(comparison_verdict(comparison))
    if as_json:
        print_json(comparison)
    return comparison


def print_study(study: Study, as_json: bool) -> None:
    """The study, its data and what each arm would cost, for --dry-run."""

    def look() -> tuple[list[str], Mapping[str, str]]:
        from transferkit.studies.compare.study import require_backbones
        from transferkit.training import estimates

        require_backbones(study)
        recipes = [*study.before.values(), *(recipe for _, _, recipe in study.recipes())]
        return estimates.inputs_in_words(recipes), estimates.of_study(study)

    print_dry_run(study, look, as_json)
