"""Commands that make an idea visible: modes, gradient flow, filters, shifts. torch is imported inside commands only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from transferkit.cli.options import (
    Data,
    Device,
    FinishedRun,
    InputSide,
    Json,
    Network,
    Overwrite,
    OverwriteFile,
    Threads,
    Weights,
)
from transferkit.cli.terminal import command_line, print_json, print_table, working
from transferkit.recipe.settings import LARGEST_PX, MOST_EPOCHS, MOST_IMAGES, MOST_SEEDS
from transferkit.runtime.figure_files import claim_figure
from transferkit.runtime.plurals import counted

FigureFile = Annotated[Path | None, typer.Option(help="Draw it as well: .png, .svg or .pdf.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(modes)
    app.command("gradient-flow")(gradient_flow)
    app.command()(filters)
    app.command()(shifts)


def modes(
    run: FinishedRun,
    passes: Annotated[int, typer.Option(min=2, max=MOST_EPOCHS, help="Over all val images, each in a new order.")] = 20,
    batch: Annotated[
        Literal["shuffled", "sorted"],
        typer.Option(help="sorted: BatchNorm awake sees batches of one class each, beside shuffled ones."),
    ] = "shuffled",
    out: FigureFile = None,
    overwrite: OverwriteFile = False,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Show what train mode does to a network's predictions: accuracy and spread, with dropout or BatchNorm awake."""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.mode_effects import draw, of_run

        effects = of_run(run, passes, console, device, batch)
        if out:
            draw(effects, out)
            console.result(f"Drawn: {out}")
    if json:
        print_json([vars(effect) for effect in effects])
        return
    rows = [
        (
            effect.mode,
            f"{100 * effect.accuracy:.1f} ({100 * effect.interval[0]:.1f}-{100 * effect.interval[1]:.1f})",
            f"{100 * effect.accuracy_sd:.2f}",
            f"{effect.spread:.3f}",
            f"{100 * effect.changing:.1f}",
        )
        for effect in effects
    ]
    print_table(("mode", "accuracy, % (95 %)", "sd", "spread", "changing, %"), rows)
    console.result(
        f"n = {counted(effects[0].n, 'val image')}, {effects[0].passes} passes. sd: of the "
        "accuracy over passes, in points. "
        "spread: standard deviation over passes of the probability of the answer of eval mode, mean over images. "
        "changing: images that are not given one answer in all passes."
    )


def gradient_flow(
    backbones: Annotated[
        list[str] | None, typer.Argument(help="Networks. (default: plain20 plain56 resnet20 resnet56)")
    ] = None,
    data: Data = "digits",
    limit_per_class: Annotated[
        int | None, typer.Option(min=1, max=MOST_IMAGES, help="Labels per class that are used.", rich_help_panel="Data")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=MOST_EPOCHS, help="Between the two measurements.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_SEEDS, help="Other weights, another order.")] = 3,
    size: InputSide = None,
    images: Annotated[int, typer.Option(min=2, max=MOST_IMAGES, help="On which gradients are measured.")] = 512,
    out: Annotated[Path | None, typer.Option(help="The folder. (default: runs/gradient-flow-<data>)")] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Measure the gradient's norm per layer, before training and after an epoch: do skip connections help?"""
    with working() as console:
        from transferkit.studies.lab.gradient_flow import BACKBONES, GradientFlowSettings, measure
        from transferkit.studies.lab.report import gradient_flow_verdict

        folder = out or Path("runs") / f"gradient-flow-{data.replace(':', '-').replace('/', '-')}"
        chosen = tuple(dict.fromkeys(backbones or BACKBONES))
        settings = GradientFlowSettings(chosen, data, epochs, seeds, images, limit_per_class, size, device, threads)
        flow = measure(settings, folder, console, command_line(), overwrite=overwrite)
    console.result(gradient_flow_verdict(flow))
    console.result(f"Report: {folder / 'report.html'}")
    if json:
        print_json(flow)


def filters(
    network: Network,
    out: Annotated[Path, typer.Option(help=".png, .svg or .pdf.", show_default=False)],
    image: Annotated[Path | None, typer.Option(help="Draw the maps that this picture leaves in each stage.")] = None,
    maps: Annotated[
        Literal["first", "active"], typer.Option(help="Of each stage: the first ten, or the ten most active.")
    ] = "active",
    weights: Weights = "imagenet",
    size: InputSide = None,
    overwrite: OverwriteFile = False,
    json: Json = False,
) -> None:
    """Draw the filters of a network's first convolution, or the feature maps of a picture."""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.filters import described
        from transferkit.studies.lab.named_networks import named_network

        drawing = described(named_network(network, weights, size, console).classifier, image, out, maps)
        console.result(drawing.sentence)
    if json:
        print_json(drawing)
    else:
        print(out)


def shifts(
    run: FinishedRun,
    px: Annotated[int, typer.Option(min=1, max=LARGEST_PX, help="Farthest shift, at the images' own size.")] = 2,
    out: FigureFile = None,
    overwrite: OverwriteFile = False,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Move the val images by some pixels: does the network give the same answers?"""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.shift_consistency import draw, of_run

        shifts = of_run(run, px, console, device)
        if out:
            draw(shifts, out)
            console.result(f"Drawn: {out}")
    if json:
        print_json([vars(row) for row in shifts])
        return
    rows = [
        (
            str(row.px),
            f"{100 * row.accuracy:.1f}",
            f"{100 * row.consistency:.1f} ({100 * row.interval[0]:.1f}-{100 * row.interval[1]:.1f})",
        )
        for row in shifts
    ]
    print_table(("shift, px", "accuracy, %", "same answer, % (95 %)"), rows)
    console.result(
        f"n = {counted(shifts[0].n, 'val image')}, each moved up, down, left and right; "
        "borders are filled by reflection."
    )
