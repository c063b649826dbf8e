"""Features of any number of images into one file: streamed, resumed after a kill, split into shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transferkit.data.reading import Reading
from transferkit.features import int8
from transferkit.features.engine import Engine, gathered
from transferkit.features.extraction.chunks import Chunks, chunk_rows
from transferkit.features.extraction.differences import fact_differences
from transferkit.features.extraction.facts import FORMAT, ExtractionFacts
from transferkit.features.extraction.files import Rows, require_known_file
from transferkit.features.extraction.listing import LISTING, ListedImage, Listing
from transferkit.features.extraction.results import facts_path, index_path, require_free, write_result
from transferkit.features.extraction.settings import ExtractSettings
from transferkit.features.extraction.sources import ImageSource, opened_source
from transferkit.features.finite import finite, narrowed
from transferkit.features.keys import versions
from transferkit.features.layer_network import LayerNetwork
from transferkit.features.networks import NetworkSource, bands_of_weights, default_px, loaded, stamp, views_words
from transferkit.features.pictures import Pictures
from transferkit.runtime import folders, machine
from transferkit.runtime.console import Console, Progress
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import parts_folder, read_json
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import as_json, write_record

KIND = "features being extracted"


def extract(
    settings: ExtractSettings,
    images: str,
    out: Path,
    console: Console,
    *,
    overwrite: bool = False,
    listing: Listing | None = None,
) -> Path:
    """Write the features of the images to `out`, with an index and the facts beside it; go on where a kill stopped.

    Beside `out` lie `<out>.index.csv` (row, id, class, label, part) and `<out>.json` (settings, weights, shapes, class
    names). Finished chunks wait in `<out>.partial/` until all are there, so the disk must hold the features twice.

    Args:
        settings: What features are wanted.
        images: A data set's name, a folder, a glob, a CSV with columns path[,label], or one image.
        out: .npy, .safetensors, .parquet or .csv.
        console: Shows progress.
        overwrite: Replace the file, and begin anew where a partial one has other settings.
        listing: Of these images, where there is one already.

    Raises:
        TransferkitError: If `out` exists, the images are none, or settings do not go together; before any work.
    """
    require_known_file(out, [(1,)] * len(settings.layers))
    partial = parts_folder(out)
    folders.require_kind(partial, KIND)
    if out.exists() and partial.is_dir() and not overwrite:  # a kill came between its end and the end of cleaning up
        folders.discard(partial, KIND)
    require_free(out, overwrite)
    with folders.hold(partial, KIND):
        for path in (out, index_path(out), facts_path(out)):
            folders.remove_partial_files(path)
        extract_in_chunks(settings, images, out, console, overwrite, listing)
    return out


def extract_in_chunks(
    settings: ExtractSettings, images: str, out: Path, console: Console, overwrite: bool, listing: Listing | None
) -> None:
    """What `extract` says, in a folder of parts that this process alone works in."""
    partial, settings = parts_folder(out), with_bands(settings)
    source = opened_source(images, settings, console)
    network, weights = made_network(settings, started(settings), console)
    require_known_file(out, [layer.shape_after(settings.pool) for layer in network.layers])
    listing = listing or source.listed(partial)
    facts = facts_of(settings, images, network, weights, listing)
    prepare_partial_folder(partial, facts, overwrite, console)
    chunks = Chunks(
        partial,
        listing.shard(settings.shard),
        chunk_rows(settings, network, Engine(network, console).batch_size(settings.batch_size)),
    )
    compute_missing(chunks, source, listing, network, settings, console)
    finish(out, chunks, facts, console)


def with_bands(settings: ExtractSettings) -> ExtractSettings:
    """The settings, which read all bands of files where the weights are a run's of images of other bands."""
    bands = bands_of_weights(settings.weights)
    if bands == 3 or settings.reading is not None:
        return settings
    return replace(settings, reading=Reading(settings.resize, channels=bands))


def started(settings: ExtractSettings) -> machine.Runtime:
    """Where to compute; a network in 8 bits is made from one in fp32."""
    in_int8 = settings.precision == int8.NAME
    runtime = machine.start(settings.device, "fp32" if in_int8 else settings.precision, settings.threads)
    if in_int8:
        int8.require(runtime.device)
    return runtime


def made_network(settings: ExtractSettings, runtime: machine.Runtime, console: Console) -> tuple[LayerNetwork, str]:
    """The network for these layers, and the digest of its weights."""
    side = settings.size or default_px(settings.backbone, settings.weights)
    source = NetworkSource(settings.backbone, settings.weights, stamp(settings.weights), side, settings.seed, True)
    classifier, digest = loaded(source)
    if words := views_words(settings.weights):
        console.line(words)
    return LayerNetwork(classifier, settings.layers, settings.pool, runtime, console), digest


def facts_of(
    settings: ExtractSettings, images: str, network: LayerNetwork, weights: str, listing: Listing
) -> ExtractionFacts:
    """What decides the features and which images they are of."""
    in_int8 = settings.precision == int8.NAME
    return ExtractionFacts(
        FORMAT,
        backbone=settings.backbone,
        weights=settings.weights,
        weights_digest=weights,
        input=network.preparation.input_spec,
        resize=settings.resize,
        pool=settings.pool,
        shapes={layer.name: tuple(layer.shape_after(settings.pool)) for layer in network.layers},
        precision=int8.NAME if in_int8 else network.precision,
        device=network.runtime.device.type,
        versions=int8.library_versions() if in_int8 else versions(),
        images=images,
        listing=listing.digest,
        images_in_all=listing.total,
        class_names=tuple(listing.class_names),
        shard=settings.shard,
        skip_bad=settings.skip_bad,
        dtype=settings.dtype,
    )


def prepare_partial_folder(partial: Path, facts: Any, overwrite: bool, console: Console) -> None:
    """Make the folder of finished chunks, or go on with it; `facts` is the record of what decides them.

    Raises:
        TransferkitError: If it is of other settings or other images; names what differs.
    """
    place = partial / "facts.json"
    before = read_json(place) if place.exists() else None
    different = [] if before is None else list(fact_differences(before, as_json(facts)))
    if different and not overwrite:
        raise TransferkitError(
            f"{partial} was begun otherwise: {', '.join(different)}. The first value is the one it was begun with. "
            "Repeat that command to finish it, or begin anew with --overwrite."
        )
    if different:
        console.line(f"begun otherwise, {', '.join(different)}: beginning anew.")
        folders.remove(partial, [name for name in folders.files_of(partial) if name != LISTING])
    write_record(place, facts)


def finish(out: Path, chunks: Chunks, facts: ExtractionFacts, console: Console) -> None:
    """Put the chunks together, write index and facts, and remove what is no longer needed."""
    skipped = tuple(line for number in chunks.numbers for line in chunks.skipped(number))
    rows = sum(chunks.rows(number) for number in chunks.numbers)
    if rows == 0:
        raise TransferkitError(
            f"0 of {counted(len(skipped), 'image')} could be read, first {skipped[0][0]}: {skipped[0][1]}."
        )
    write_result(out, replace(facts, skipped=skipped), rows, chunks.read)
    folders.remove(chunks.folder)
    left_out = f", {len(skipped)} unreadable ones left out" if skipped else ""
    console.line(f"{counted(rows, 'image')}{left_out}: {out}")


def compute_missing(
    chunks: Chunks,
    source: ImageSource,
    listing: Listing,
    network: LayerNetwork,
    settings: ExtractSettings,
    console: Console,
) -> None:
    """Compute and keep every chunk that is not there; never more than one is held."""
    missing = [number for number in chunks.numbers if not chunks.is_there(number)]
    there = len(chunks.numbers) - len(missing)
    if there:
        console.line(f"{there} of {len(chunks.numbers)} chunks are there already; going on with the others.")
    if missing and settings.precision == int8.NAME:
        quantise(network, source, listing, settings, console)
    wanted = set(missing)
    total = sum(min(chunks.size, chunks.lines.count - number * chunks.size) for number in missing)
    engine = Engine(network, console, compile=settings.compile, images_ahead=total)
    with console.progress(f"features of {settings.backbone}", total) as progress:
        for number, lines in enumerate(chunks.lines.batched(chunks.size)):
            if number in wanted:
                side = network.preparation.input_spec.size
                pictures = source.pictures(lines, side, settings)
                rows, skipped = chunk_of(lines, pictures, engine, settings, progress)
                chunks.write(number, rows, skipped)


def quantise(
    network: LayerNetwork, source: ImageSource, listing: Listing, settings: ExtractSettings, console: Console
) -> None:
    """Have the network answer in 8 bits, calibrated on images of the whole listing: alike for all shards."""
    lines = listing.lines_at(int8.spread(listing.total).tolist())
    pictures = source.pictures(lines, network.preparation.input_spec.size, settings)
    int8.quantise(network, pictures, console)


def chunk_of(
    lines: Sequence[ListedImage], pictures: Pictures, engine: Engine, settings: ExtractSettings, progress: Progress
) -> tuple[Rows, list[tuple[str, str]]]:
    """The features of some images, without those that cannot be read."""
    batches = engine.features_of(pictures, progress, settings.batch_size)
    features = gathered(finite(batches, pictures.ids), len(pictures))
    if settings.dtype != "float32":
        features = narrowed(features, settings.dtype, pictures.ids)
    unreadable = getattr(pictures, "unreadable", {})
    readable = [number for number, line in enumerate(lines) if line.id not in unreadable]
    if unreadable:
        features = {name: values[readable] for name, values in features.items()}
    columns = [[getattr(lines[number], name) for number in readable] for name in ("id", "class_name", "part")]
    return Rows(columns[0], columns[1], columns[2], features), list(unreadable.items())
