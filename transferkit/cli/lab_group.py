"""The group `lab`: experiments that end with a finding and a figure. torch is imported inside commands only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from transferkit.cli import completion
from transferkit.cli.options import Data, InputSide, Json, Network, OverwriteFile, Threads, Weights
from transferkit.cli.terminal import print_json, print_table, working
from transferkit.recipe.settings import MOST_EPOCHS, MOST_SEEDS, SEEDS
from transferkit.runtime.figure_files import claim_figure

lab_app = typer.Typer(help="Experiments for a lecture, each with a finding and a figure.", no_args_is_help=True)
MOST_STEPS = 10_000
Figure = Annotated[Path, typer.Option(help="The figure: .png, .svg or .pdf.")]
Epochs = Annotated[int, typer.Option(min=1, max=MOST_EPOCHS, help="Of each training.")]
Seeds = Annotated[int, typer.Option(min=1, max=MOST_SEEDS, help="Trainings of each network.")]


def register(app: typer.Typer) -> None:
    """Add this group to the command line."""
    lab_app.command("convolution")(convolution)
    lab_app.command("depth")(depth)
    lab_app.command("equivariance")(equivariance)
    lab_app.command("softmax")(softmax)
    lab_app.command("mask-rcnn")(mask_rcnn)
    app.add_typer(lab_app, name="lab")
    app.command()(convolve)


def convolve(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A picture; its colours become grey.")],
    kernel: Annotated[str, typer.Option(help="sobel, sobel-y, laplace, box, gauss, sharpen or identity.")] = "sobel",
    stride: Annotated[int, typer.Option(min=1, max=64, help="From window to window, in px.")] = 1,
    padding: Annotated[
        Literal["none", "zeros", "constant", "reflect", "replicate", "circular"],
        typer.Option(help="What lies around the picture; constant: grey."),
    ] = "zeros",
    out: Figure = Path("convolved.png"),
    overwrite: OverwriteFile = False,
    json: Json = False,
) -> None:
    """Convolve a picture with a kernel and draw both: what do stride and padding do?"""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.picture_convolution import convolve as convolve_picture

        result = convolve_picture(picture, kernel, stride, padding, out)
    (height, width), (rows, columns) = result.size_px, result.map_px
    console.result(f"{height} x {width} px become {rows} x {columns}. The width: {result.arithmetic}.")
    console.result(f"Values from {result.lowest:.3f} to {result.highest:.3f}, of a picture from 0 to 1. Drawn: {out}")
    if json:
        print_json(result)


def mask_rcnn(
    network: Network,
    steps: Annotated[int, typer.Option(min=2, max=MOST_STEPS, help="Of training, on twelve new scenes each.")] = 40,
    weights: Weights = "imagenet",
    seed: Annotated[int, typer.Option(min=0, max=SEEDS // 2 - 1, help="Of scenes and random weights.")] = 0,
    out: Figure = Path("mask-rcnn.png"),
    overwrite: OverwriteFile = False,
    json: Json = False,
    threads: Threads = None,
) -> None:
    """Build Mask R-CNN on a network, train it on drawn shapes for a minute, and draw the masks it finds."""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.runtime import machine
        from transferkit.studies.lab.named_networks import named_network
        from transferkit.studies.lab.object_figure import draw
        from transferkit.studies.lab.object_training import train_and_judge

        machine.start("cpu", "fp32", threads)
        chosen = named_network(network, weights, None, console)
        lab = train_and_judge(chosen.classifier, chosen.name, steps, seed, console)
        draw(lab, out)
    console.result(lab.result.sentence)
    console.result(f"Masks: {out}")
    if json:
        print_json(lab.result)


def convolution(
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE,VALUE...",
            help="Keys of simple-cnn, all of whose combinations are trained. (default: one change at a time)",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Your images, or the name of a data set. (default: shapes, white on black, 16 px)",
            autocompletion=completion.data_sets,
            show_default=False,
            rich_help_panel="Data",
        ),
    ] = None,
    epochs: Epochs = 8,
    seeds: Seeds = 3,
    out: Figure = Path("convolution.png"),
    overwrite: OverwriteFile = False,
    json: Json = False,
    threads: Threads = None,
) -> None:
    """Train small CNNs that differ in kernel, stride, padding, pooling or features: what does each bring and cost?"""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.convolution_grid import GridSettings, measure
        from transferkit.studies.lab.convolution_grid_words import TABLE_TITLES, draw, table_rows

        grid = measure(GridSettings(keys or (), data, epochs, seeds, threads), console)
        draw(grid, out)
    if json:
        print_json(grid)
    else:
        print_table(TABLE_TITLES, table_rows(grid))
        console.result(*grid.notes, *grid.sentences, f"Drawn: {out}")


def depth(
    backbones: Annotated[
        list[str] | None, typer.Argument(help="Networks. (default: plain20 plain56 resnet20 resnet56)")
    ] = None,
    data: Data = "digits",
    epochs: Epochs = 15,
    seeds: Seeds = 2,
    size: InputSide = None,
    out: Figure = Path("depth.png"),
    overwrite: OverwriteFile = False,
    json: Json = False,
    threads: Threads = None,
) -> None:
    """Train plain and residual networks of two depths and draw their errors by epoch: does depth alone help?"""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.depth_curves import DepthSettings, measure
        from transferkit.studies.lab.depth_words import TABLE_TITLES, draw, table_rows
        from transferkit.studies.lab.gradient_flow import BACKBONES

        result = measure(DepthSettings(backbones or BACKBONES, data, epochs, seeds, size, threads), console)
        draw(result, out)
    if json:
        print_json(result)
    else:
        print_table(TABLE_TITLES, table_rows(result))
        console.result(result.notes, *result.sentences, f"Drawn: {out}")


def equivariance(
    picture: Annotated[
        Path | None, typer.Argument(metavar="PICTURE", help="A picture. (default: a drawn star)", show_default=False)
    ] = None,
    px: Annotated[int, typer.Option(min=1, max=16, help="How far it moves to the right.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Of the dense layer's random weights.")] = 0,
    out: Figure = Path("equivariance.png"),
    overwrite: OverwriteFile = False,
    json: Json = False,
) -> None:
    """Move a picture and compare what a convolution, pooling and a dense layer make of it: what moves along?"""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.equivariance import compare, draw

        comparison = compare(picture, px, seed)
        draw(comparison, out)
    console.result(*comparison.sentences, f"Drawn: {out}")
    if json:
        print_json(comparison.facts)


def softmax(
    data: Data = "digits",
    epochs: Epochs = 10,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Of weights and order, the same for both.")] = 0,
    out: Figure = Path("softmax.png"),
    overwrite: OverwriteFile = False,
    json: Json = False,
) -> None:
    """Make the softmax-before-the-loss mistake: see it refused, and what it costs where nobody checks."""
    with claim_figure(out, overwrite), working() as console:
        from transferkit.studies.lab.softmax_mistake import compare, draw

        result = compare(data, epochs, seed, console)
        draw(result, out)
    console.result(*result.sentences, f"Loss curves: {out}")
    if json:
        print_json(result)
