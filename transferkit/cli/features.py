"""The commands that work with features: extract, merge, and cache. torch is imported inside commands only."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferkit.cli.help_pages import RARE
from transferkit.cli.options import RUN, Backbone, Device, OverwriteFile, PassSize, Threads, Weights, with_groups
from transferkit.cli.terminal import NOTHING_WRITTEN, working
from transferkit.recipe.settings import LARGEST_PX, SEEDS
from transferkit.recipe.workplace import MOST_WORKERS, ExecutorName, require_apart
from transferkit.runtime.errors import TransferkitError

if TYPE_CHECKING:
    from rich.table import Table

    from transferkit.features.caches import StoredItem

cache_app = typer.Typer(help="See and clear what is kept: features, decoded images, downloads.", no_args_is_help=True)


@dataclass(frozen=True)
class ShardOptions:
    """In what form the features are written, and by whom."""

    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="float16: half the bytes, three digits.")] = (
        "float32"
    )
    shards: Annotated[
        int | None, typer.Option(min=1, max=MOST_WORKERS, help="Compute them in so many parts, and put these together.")
    ] = None
    executor: Annotated[
        ExecutorName | None,
        typer.Option(help="Who computes shards: here in turn, processes, slurm or ray.", rich_help_panel=RUN),
    ] = None
    workers: Annotated[
        int | None, typer.Option(min=1, max=MOST_WORKERS, help="So many shards at once.", rich_help_panel=RUN)
    ] = None
    shard: Annotated[
        str | None, typer.Option(help="Do one of several equal parts alone, such as 3/16; see `merge`.")
    ] = None

    def require_sense(self) -> None:
        """Refuse what would have no effect.

        Raises:
            TransferkitError: Names it.
        """
        if self.shards is None and (self.executor or self.workers):
            raise TransferkitError("An executor computes shards. Say how many, as in --shards 16 --executor processes.")
        if self.shards is not None and self.shard is not None:
            raise TransferkitError("--shards computes all parts, --shard one of them. Use one of both.")
        require_apart(self.executor, self.workers, "transferkit extract")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(extract)
    app.command()(merge)
    app.add_typer(cache_app, name="cache")


@with_groups
def extract(
    backbone: Backbone,
    images: Annotated[
        str, typer.Argument(help="A data set, a folder, a quoted glob, a CSV with columns path[,label], or -.")
    ],
    out: Annotated[Path, typer.Option(help=".npy, .safetensors, .csv or .parquet.", show_default=False)],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A module or a stage; may be repeated. (default: penultimate, the head's input)"),
    ] = None,
    pool: Annotated[
        Literal["avg", "max", "none", "flatten"], typer.Option(help="How maps (C, H, W) become rows.")
    ] = "avg",
    weights: Weights = "imagenet",
    size: Annotated[
        int | None,
        typer.Option(
            help="Input side in px. (default: that of the weights)", min=8, max=LARGEST_PX, show_default=False
        ),
    ] = None,
    resize: Annotated[
        Literal["squash", "crop"],
        typer.Option(help="How a rectangular file becomes a square.", rich_help_panel="Options" + RARE),
    ] = "squash",
    part: Annotated[
        Literal["train", "val", "trainval", "test"], typer.Option(help="Of a data set; the index says which is which.")
    ] = "trainval",
    given: ShardOptions = ShardOptions(),
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable files out and list them.")] = False,
    overwrite: OverwriteFile = False,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "int8"],
        typer.Option(help="auto: bf16 where the hardware has it; int8: faster, on CPUs.", rich_help_panel=RUN + RARE),
    ] = "auto",
    threads: Threads = None,
    batch_size: PassSize = None,
    compile: Annotated[
        Literal["auto", "on", "off"],
        typer.Option(help="auto: when so much is ahead that it pays.", rich_help_panel=RUN + RARE),
    ] = "auto",
    seed: Annotated[
        int, typer.Option(help="Of random weights.", min=0, max=SEEDS - 1, rich_help_panel="Backbone" + RARE)
    ] = 0,
) -> None:
    """Write the features of images to a file; the same command goes on where it was stopped."""
    given.require_sense()
    with working(lambda: resume_advice(out)) as console:
        from transferkit.features.extraction import sharding, streaming
        from transferkit.features.extraction.settings import ExtractSettings, parsed_shard

        settings = ExtractSettings(
            backbone,
            tuple(layer or ["penultimate"]),
            pool,
            weights,
            size,
            resize,
            part,
            parsed_shard(given.shard or "1/1"),
            skip_bad,
            device,
            precision,
            threads,
            batch_size or "auto",
            compile,
            seed,
            given.dtype,
        )
        if given.shards is None:
            streaming.extract(settings, images, out, console, overwrite=overwrite)
            return
        plan = sharding.ShardPlan(given.shards, given.executor, given.workers)
        sharding.extract_shards(settings, images, out, plan, console, overwrite=overwrite)


def resume_advice(out: Path) -> str:
    """What a stopped extraction has left, and how to go on from there."""
    for ending in (".partial", ".shards"):
        if (place := out.with_name(out.name + ending)).exists():
            return f"Stopped. Finished parts are kept in {place}; the same command goes on from there."
    return NOTHING_WRITTEN


def merge(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The whole: .npy, .safetensors, .csv or .parquet.")],
    shards: Annotated[list[Path], typer.Argument(help="All shards, in any order.")],
    overwrite: OverwriteFile = False,
) -> None:
    """Put the shards of an extraction together, in the order of the images."""
    with working() as console:
        from transferkit.features.extraction import merging

        merging.merge(out, shards, console, overwrite=overwrite)


@cache_app.command("list")
def list_cache() -> None:
    """List what is kept: of what it is, how much, and when it was used last."""
    from transferkit.features import caches
    from transferkit.runtime.cache_place import cache_folder
    from transferkit.runtime.console import Console

    if items := list(caches.stored_items()):
        Console(stream=sys.stdout).show(cache_table(items))
    else:
        print(f"Nothing is kept in {cache_folder()}.")


def cache_table(items: Sequence[StoredItem]) -> Table:
    """One row per stored thing; its origin stands below."""
    from rich.table import Table
    from rich.text import Text

    from transferkit.runtime.console import printable

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("cache", "what", "images", "size", "last used"):
        is_number = title in ("images", "size")
        table.add_column(title, justify="right" if is_number else "left", no_wrap=title != "what", overflow="fold")
    for item in items:
        used = time.strftime("%Y-%m-%d", time.localtime(item.last_used))
        what = f"{item.what}\n{item.of}" if item.of else item.what
        count = "-" if item.images is None else f"{item.images:,}"
        table.add_row(item.cache, Text(printable(what)), count, f"{item.bytes / 1e6:,.1f} MB", used)
    return table


@cache_app.command("size")
def size_of_cache() -> None:
    """Print how large each cache is."""
    from transferkit.features import caches

    for line in caches.sizes():
        print(line)


@cache_app.command("clear")
def clear_cache(
    what: Annotated[
        Literal["features", "images", "downloads", "given", "all"],
        typer.Argument(
            help="downloads: data sets and weights; given: images given in Python, which runs made of them need and "
            "which all leaves alone. So are the caches of torch and timm."
        ),
    ],
) -> None:
    """Remove a cache; all but `given` is filled again when it is needed."""
    from transferkit.features import caches

    for name, freed in caches.clear_caches(what).items():
        print(f"{name}: {freed / 1e6:,.1f} MB freed")
    for line in caches.left_files():
        print(line)
