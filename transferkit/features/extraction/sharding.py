"""An extraction in shards, which an executor computes side by side, put together in the order of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from transferkit import executors
from transferkit.executors import Task
from transferkit.features.extraction.files import require_known_file
from transferkit.features.extraction.listing import LISTING, Listing
from transferkit.features.extraction.merging import merge
from transferkit.features.extraction.results import facts_path, index_path, require_free
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.sources import opened_source
from transferkit.features.extraction.streaming import extract
from transferkit.recipe.settings import hash_of
from transferkit.runtime import folders
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.plurals import counted

KIND = "shards of features"
OWN = {"shard", "device", "threads"}  # settings that may differ between shards of one whole


@dataclass(frozen=True)
class ShardPlan:
    """How many shards, and who computes them."""

    shards: int
    executor: str | None = None
    workers: int | None = None


def extract_shards(
    settings: ExtractSettings, images: str, out: Path, plan: ShardPlan, console: Console, *, overwrite: bool = False
) -> Path:
    """Write the features of the images to `out` as `extract` does, in shards; go on where a kill stopped.

    The images are listed once. Shards wait in `<out>.shards/` until all are there; then they are read again, held
    against their checksums and put together. The disk must hold the features twice.

    Raises:
        TransferkitError: If `out` exists, or images, settings and shards do not go together; before any work.
        MachineError: If a shard failed; the others are kept.
    """
    executors.require(plan.executor)
    require_known_file(out, [(1,)] * len(settings.layers))
    place = shards_folder(out)
    folders.require_kind(place, KIND)
    if out.exists() and place.is_dir() and not overwrite:  # a kill came between its end and the end of cleaning up
        folders.discard(place, KIND)
    require_free(out, overwrite)
    with folders.hold(place, KIND):
        listing = opened_source(images, settings, console).listed(place)
        listing.shard((plan.shards, plan.shards))  # refuses more shards than images
        paths = shard_paths(place, settings, listing, plan.shards, out.suffix)
        require_same_work(place, paths, console, overwrite)
        compute(settings, images, listing, paths, plan, console)
        merge(out, paths, console, overwrite=overwrite)
        folders.remove(place)
    return out


def shards_folder(out: Path) -> Path:
    """Where finished shards wait until all are there."""
    return out.with_name(out.name + ".shards")


def shard_paths(place: Path, settings: ExtractSettings, listing: Listing, count: int, suffix: str) -> list[Path]:
    """The files of all shards, named after everything that decides them."""
    decisive = {name: value for name, value in asdict(settings).items() if name not in OWN}
    key = hash_of([decisive, listing.digest, count])
    return [place / f"{key}-{number:05d}-of-{count:05d}{suffix}" for number in range(1, count + 1)]


def require_same_work(place: Path, paths: Sequence[Path], console: Console, overwrite: bool) -> None:
    """Refuse to go on with shards of other settings or images, or remove them where that is asked for.

    Raises:
        TransferkitError: If there are such.
    """
    key = paths[0].name.partition("-")[0]
    others = [name for name in folders.files_of(place) if name != LISTING and not name.startswith((key, "logs/"))]
    if others and not overwrite:
        raise TransferkitError(
            f"{place} was begun with other settings, images or shards. Repeat that command to finish it, or begin anew "
            "with --overwrite."
        )
    if others:
        console.line("begun otherwise: beginning anew.")
        folders.remove(place, others)


def compute(
    settings: ExtractSettings, images: str, listing: Listing, paths: Sequence[Path], plan: ShardPlan, console: Console
) -> None:
    """Have every shard computed that is not there.

    Raises:
        MachineError: If some failed.
    """
    tasks = []
    for number, path in enumerate(paths, start=1):
        own = replace(settings, shard=(number, len(paths)))
        name = f"shard {number} of {len(paths)}"
        tasks.append(Task(name, extract_shard, (own, images, path, listing), path, is_finished=path.exists()))
        folders.record_written([index_path(path), facts_path(path)])
    failures = executors.carry_out(tasks, plan.executor, plan.workers, paths[0].parent, console)
    if failures:
        reasons = "\n".join(f"{name}: {why}" for name, why in failures.items())
        raise MachineError(
            f"{len(failures)} of {counted(len(paths), 'shard')} failed; the same command tries them again.\n{reasons}"
        )


def extract_shard(settings: ExtractSettings, images: str, path: Path, listing: Listing, console: Console) -> None:
    """Compute one shard, from where it was left."""
    extract(settings, images, path, console, listing=listing)
