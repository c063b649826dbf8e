"""The command `limits`. torch is imported inside it only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferkit.cli.help_pages import RARE
from transferkit.cli.options import Device, FinishedRuns, GoOn, Json, Overwrite, with_groups
from transferkit.cli.terminal import command_line, print_json, working
from transferkit.recipe.settings import MOST_IMAGES, SEEDS

if TYPE_CHECKING:
    from transferkit.studies.limits.settings import LimitsSettings

WHEN_STOPPED = "Stopped. The outputs for the image sets so far are stored; the same command goes on from there."
Names = list[str] | None
RARELY = "Options" + RARE


@dataclass(frozen=True)
class LimitsOptions:
    """What a report is asked for."""

    ood: Annotated[
        Names,
        typer.Option(help="Classes it does not know: a data set, a folder or NAME=FOLDER. May be repeated."),
    ] = None
    shift: Annotated[
        Names, typer.Option(help="Other images of its classes: a folder or data set. May be repeated.")
    ] = None
    drop_classes: Annotated[
        Names,
        typer.Option(
            help="Classes of --ood sets that it knows: names with commas, or a file. May be repeated.",
            rich_help_panel=RARELY,
        ),
    ] = None
    corruptions: Annotated[
        Literal["none", "fast", "full"],
        typer.Option(help="fast: 5 corruptions x 3 severities on 1,000 images; full: 15 x 5 on all."),
    ] = "fast"
    cifar10c: Annotated[
        Path | None,
        typer.Option(help="Folder with the authors' CIFAR-10-C files.", show_default=False, rich_help_panel=RARELY),
    ] = None
    field: Annotated[
        Path | None, typer.Option(help="Unlabelled images from where it will be used.", show_default=False)
    ] = None
    leave_out: Annotated[
        Literal["auto", "all", "none", "full"],
        typer.Option(
            help="Hold out its own classes: auto and all refit the head; full trains again.", rich_help_panel=RARELY
        ),
    ] = "auto"
    sweeps: Annotated[bool, typer.Option(help="Move, scale, turn, crop and cover its test images.")] = True
    target_risk: Annotated[
        float,
        typer.Option(help="Error rate you accept among accepted images.", min=0.0, max=1.0, rich_help_panel=RARELY),
    ] = 0.02
    prevalence: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of unknown inputs. May be repeated. (default: .01 .05 .1 .25 .5)",
            show_default=False,
            rich_help_panel=RARELY,
        ),
    ] = None
    rule: Annotated[
        Names,
        typer.Option(
            help="Threshold of the summary, as auroc=0.9. May be repeated.", show_default=False, rich_help_panel=RARELY
        ),
    ] = None
    max_images: Annotated[
        int,
        typer.Option(help="Most images of a set; of more, a sample.", min=1, max=MOST_IMAGES, rich_help_panel=RARELY),
    ] = 10_000
    train_images: Annotated[
        int,
        typer.Option(
            help="Most train images that detectors are fitted on.", min=1, max=MOST_IMAGES, rich_help_panel=RARELY
        ),
    ] = 10_000
    seed: Annotated[
        int, typer.Option(help="Of samples and resampling.", min=0, max=SEEDS - 1, rich_help_panel=RARELY)
    ] = 0

    def settings(self) -> LimitsSettings:
        """The same as a report's settings.

        Raises:
            TransferkitError: Names the option that has no such value.
        """
        from transferkit.studies.limits.settings import PREVALENCES, LimitsSettings, Rules

        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "rule"}
        lists = {name: tuple(values[name] or ()) for name in ("ood", "shift", "drop_classes")}
        values |= {**lists, "prevalence": tuple(self.prevalence or PREVALENCES)}
        return LimitsSettings(**values, rules=Rules().changed(self.rule or ()))


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(limits)


@with_groups
def limits(
    runs: FinishedRuns,
    asked: LimitsOptions = LimitsOptions(),
    out: Annotated[
        Path | None,
        typer.Option(help="Folder. (default: RUN/limits; of several runs, limits-comparison)", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    _: GoOn = False,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Find where not to trust a run: unknown, meaningless, corrupted and other images."""
    with working(WHEN_STOPPED) as console:
        from transferkit.runs.run_directory import open_run
        from transferkit.studies.limits.comparison import compare_limits
        from transferkit.studies.limits.rendering import limits_comparison_verdict, limits_verdict
        from transferkit.studies.limits.story import Work, measure_limits

        settings = asked.settings()
        work = Work(device, console, command_line(), overwrite=overwrite)
        opened = [open_run(run) for run in runs]
        if len(opened) == 1:
            result: object = (report := measure_limits(opened[0], settings, out, work))
            verdict = limits_verdict(report)
        else:
            result = comparison = compare_limits(opened, settings, out or Path("limits-comparison"), work)
            verdict = limits_comparison_verdict(comparison)
    console.result(verdict)
    if json:
        print_json(result)
