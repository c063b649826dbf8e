"""Features of any number of images into one file: streamed, resumed after a kill, split into shards, merged."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from glob import has_magic, iglob
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter

from transferkit import datasets, runtime
from transferkit.checkpoint import read_arrays, read_json, write_arrays, write_atomically, write_json
from transferkit.decoding import EXTENSIONS, decode
from transferkit.errors import TransferkitError, did_you_mean
from transferkit.features.differences import differences
from transferkit.features.files import READERS, WRITERS, Content, Rows, require_known_file
from transferkit.features.forward_pass import BatchSize, Pace, chosen_batch_size, computed, gathered
from transferkit.features.inference import Compile, LayerNetwork
from transferkit.features.keys import versions
from transferkit.features.layers import PENULTIMATE, Pool
from transferkit.features.networks import NetworkSource, default_px, loaded, stamp, views_words
from transferkit.features.pictures import Pictures, image_paths
from transferkit.images import Images, Labels, Pixels
from transferkit.places import made
from transferkit.recipe import Data
from transferkit.screen import Progress, Screen

Part = Literal["train", "val", "trainval", "test"]

FORMAT = 1  # of the chunks, the index and the facts
PARTS = ("train", "val", "trainval", "test")
CHUNK_BYTES = 32 * 2**20
CHUNK_ROWS = 4096
INDEX_COLUMNS = ("row", "id", "class", "label", "part")


@dataclass(frozen=True)
class ExtractSettings:
    """What features are wanted; the words are those of FeatureExtractor."""

    backbone: str
    layers: tuple[str, ...] = (PENULTIMATE,)
    pool: Pool = "avg"
    weights: str = "imagenet"
    size: int | None = None
    resize: Literal["squash", "crop"] = "squash"
    part: Part = "trainval"
    shard: tuple[int, int] = (1, 1)
    skip_bad: bool = False
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: int | None = None
    batch_size: BatchSize = "auto"
    compile: Compile = "auto"
    seed: int = 0


def extract(settings: ExtractSettings, images: str, out: Path, screen: Screen, *, overwrite: bool = False) -> Path:
    """Write the features of the images to `out`, with an index and the facts beside it; go on where a kill stopped.

    Beside `out` lie `<out>.index.csv` (row, id, class, label, part) and `<out>.json` (settings, weights, shapes, class
    names). Finished chunks wait in `<out>.partial/` until all are there, so the disk must hold the features twice.

    Args:
        settings: What features are wanted.
        images: A data set's name, a folder, a glob, a CSV with columns path[,label], or one image.
        out: .npy, .safetensors, .parquet or .csv.
        screen: Shows progress.
        overwrite: Replace the file, and begin anew where a partial one has other settings.

    Raises:
        TransferkitError: If `out` exists, the images are none, or settings do not go together; before any work.
    """
    require_known_file(out, [(1,)] * len(settings.layers))
    require_free(out, overwrite)
    source = opened_source(images, settings, screen)
    machine = runtime.start(settings.device, settings.precision, settings.threads)
    network, weights = made_network(settings, machine, screen)
    require_known_file(out, [layer.shape_after(settings.pool) for layer in network.layers])
    partial = out.with_name(out.name + ".partial")
    listing = source.listed(partial)
    facts = facts_of(settings, images, network, weights, listing)
    begin(partial, facts, overwrite, screen)
    chunks = Chunks(partial, listing.shard(settings.shard), chunk_rows(settings, network))
    compute_missing(chunks, source, network, settings, screen)
    return finish(out, chunks, facts, screen)


def merge(out: Path, shards: Sequence[Path], screen: Screen, *, overwrite: bool = False) -> Path:
    """One file from the shards of one extraction, in the order of the images; the kind of file may change.

    Raises:
        TransferkitError: If a shard is missing, twice there, or of another extraction; `out` exists.
    """
    found = sorted(((path, read_facts(path)) for path in shards), key=lambda pair: pair[1]["shard"])
    require_complete(found)
    facts = {**found[0][1], "shard": [1, 1], "skipped": [line for _, each in found for line in each["skipped"]]}
    facts["rows"] = sum(each["rows"] for _, each in found)
    require_known_file(out, [tuple(shape) for shape in facts["shapes"].values()])
    require_free(out, overwrite)
    write_result(out, facts, lambda: (rows for path, each in found for rows in read_rows(path, each)))
    screen.line(f"merged {len(found)} shards, {facts['rows']:,} images: {out}")
    return out


def read_facts(path: Path) -> dict[str, Any]:
    """What lies beside a file of features.

    Raises:
        TransferkitError: If it is not there, or a newer version wrote it.
    """
    if not path.exists():
        raise TransferkitError(f"There is no file {path}.")
    if not facts_path(path).exists():
        raise TransferkitError(f"{facts_path(path)} is missing; `transferkit extract` writes it beside {path}.")
    facts = dict(read_json(facts_path(path)))
    if facts["format"] > FORMAT:
        raise TransferkitError(f"A newer transferkit wrote {path}. Upgrade with: pip install --upgrade transferkit")
    return facts


def require_complete(shards: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    """Refuse shards that do not make one whole.

    Raises:
        TransferkitError: Names what is missing, double or different.
    """
    first, facts = shards[0]
    own = {"shard", "rows", "skipped", "device"}
    for path, other in shards:
        shared = {name: value for name, value in other.items() if name not in own}
        if different := list(differences(shared, facts)):
            raise TransferkitError(
                f"{path} and {first} are not of one extraction; they differ in {', '.join(different)}."
            )
    numbers, count = [each["shard"][0] for _, each in shards], facts["shard"][1]
    double = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if double or missing or any(each["shard"][1] != count for _, each in shards):
        said = (
            f"missing: {', '.join(map(str, missing)) or 'none'}; given twice: {', '.join(map(str, double)) or 'none'}"
        )
        raise TransferkitError(f"These are not the {count} shards of one extraction ({said}).")


def read_rows(path: Path, facts: dict[str, Any]) -> Iterator[Rows]:
    """A finished file of features, some rows at a time.

    Raises:
        TransferkitError: If index and features differ in length.
    """
    shapes = {name: tuple(shape) for name, shape in facts["shapes"].items()}
    with index_path(path).open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        for features in READERS[path.suffix](path, shapes, CHUNK_ROWS):
            count = len(next(iter(features.values())))
            rows = list(islice(lines, count))
            if len(rows) != count:
                raise TransferkitError(f"{path} has more rows than its index {index_path(path)}.")
            ids, classes, parts = ([row[name] for row in rows] for name in ("id", "class", "part"))
            yield Rows(ids, classes, parts, features)


def parsed_shard(text: str) -> tuple[int, int]:
    """Number and count from `3/16`.

    Example:
        >>> parsed_shard("3/16")
        (3, 16)

    Raises:
        TransferkitError: If it is not of this form.
    """
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise TransferkitError(f"Cannot read the shard {text!r}. Expected NUMBER/COUNT, from 1/16 to 16/16.")
    return int(number), int(count)


# ------------------------------------------------------------------------------------------------- what is written


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse to lose a finished file.

    Raises:
        TransferkitError: If it exists and may not be replaced.
    """
    if out.exists() and not overwrite:
        raise TransferkitError(f"{out} exists. Choose another file with --out, or replace it with --overwrite.")


def made_network(settings: ExtractSettings, machine: runtime.Runtime, screen: Screen) -> tuple[LayerNetwork, str]:
    """The network for these layers, and the digest of its weights."""
    side = settings.size or default_px(settings.backbone, settings.weights)
    source = NetworkSource(settings.backbone, settings.weights, stamp(settings.weights), side, settings.seed, True)
    classifier, digest = loaded(source)
    if words := views_words(settings.weights):
        screen.line(words)
    return LayerNetwork(classifier, settings.layers, settings.pool, machine, screen), digest


def facts_of(
    settings: ExtractSettings, images: str, network: LayerNetwork, weights: str, listing: Listing
) -> dict[str, Any]:
    """What decides the features and which images they are of, for JSON."""
    machine, spec = network.runtime, network.preparation.input_spec
    return {
        "format": FORMAT,
        "backbone": settings.backbone,
        "weights": settings.weights,
        "weights_digest": weights,
        "input": {**asdict(spec), "mean": list(spec.mean), "std": list(spec.std)},
        "resize": settings.resize,
        "pool": settings.pool,
        "shapes": {layer.name: list(layer.shape_after(settings.pool)) for layer in network.layers},
        "precision": machine.precision,
        "device": machine.device.type,
        "versions": versions(),
        "images": images,
        "listing": listing.digest,
        "images_in_all": listing.total,
        "class_names": list(listing.class_names),
        "shard": list(settings.shard),
        "skip_bad": settings.skip_bad,
    }


def begin(partial: Path, facts: dict[str, Any], overwrite: bool, screen: Screen) -> None:
    """Make the folder of finished chunks, or go on with it.

    Raises:
        TransferkitError: If it is of other settings or other images; names what differs.
    """
    place = partial / "facts.json"
    before = read_json(place) if place.exists() else None
    different = [] if before is None else list(differences(before, facts))
    if different and not overwrite:
        raise TransferkitError(
            f"{partial} was begun otherwise: {', '.join(different)}. The first value is the one it was begun with. "
            "Repeat that command to finish it, or begin anew with --overwrite."
        )
    if different:
        screen.line(f"begun otherwise, {', '.join(different)}: beginning anew.")
        for chunk in partial.glob("chunk-*.safetensors"):
            chunk.unlink()
    write_json(place, facts)


def finish(out: Path, chunks: Chunks, facts: dict[str, Any], screen: Screen) -> Path:
    """Put the chunks together, write index and facts, and remove what is no longer needed."""
    skipped = [line for number in chunks.numbers for line in chunks.skipped(number)]
    rows = sum(chunks.rows(number) for number in chunks.numbers)
    if rows == 0:
        raise TransferkitError(f"None of {len(skipped)} images could be read, first {skipped[0][0]}: {skipped[0][1]}.")
    facts = {**facts, "rows": rows, "skipped": skipped}
    write_result(out, facts, chunks.read)
    shutil.rmtree(chunks.folder)
    left_out = f", {len(skipped)} unreadable ones left out" if skipped else ""
    screen.line(f"{rows:,} images{left_out}: {out}")
    return out


def write_result(out: Path, facts: dict[str, Any], read: Callable[[], Iterable[Rows]]) -> None:
    """The file, its index and its facts; the file comes last, because it means that all is there."""
    shapes = {name: tuple(shape) for name, shape in facts["shapes"].items()}
    write_atomically(index_path(out), lambda temporary: write_index(temporary, facts["class_names"], read()))
    write_json(facts_path(out), facts)
    content = Content(facts["rows"], shapes, read)
    write_atomically(out, lambda temporary: WRITERS[out.suffix](temporary, content))


def index_path(out: Path) -> Path:
    """Where ids, classes and labels of a file of features lie."""
    return out.with_name(out.name + ".index.csv")


def facts_path(out: Path) -> Path:
    """Where settings, shapes and class names of a file of features lie."""
    return out.with_name(out.name + ".json")


def write_index(path: Path, class_names: Sequence[str], chunks: Iterable[Rows]) -> None:
    """One line per row: row, id, class, label (number of the class), part; empty where there is none."""
    labels = {name: str(number) for number, name in enumerate(class_names)}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(INDEX_COLUMNS)
        row = 0
        for rows in chunks:
            for name, class_name, part in zip(rows.ids, rows.classes, rows.parts, strict=True):
                writer.writerow((row, name, class_name, labels.get(class_name, ""), part))
                row += 1


# -------------------------------------------------------------------------------------------------------- chunks


@dataclass(frozen=True)
class Chunks:
    """Finished parts of an extraction, each a file that is complete or absent."""

    folder: Path
    lines: ListingPart
    size: int

    @property
    def numbers(self) -> range:
        """Of all chunks, finished or not."""
        return range(-(-self.lines.count // self.size))

    def path(self, number: int) -> Path:
        """The file of one chunk."""
        return self.folder / f"chunk-{number:06d}.safetensors"

    def is_there(self, number: int) -> bool:
        """Whether a chunk is finished and whole."""
        return self.path(number).exists() and self._metadata(number) is not None

    def _metadata(self, number: int) -> dict[str, Any] | None:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(number), framework="numpy") as file:
                return {name: json.loads(text) for name, text in file.metadata().items()}
        except (OSError, SafetensorError, ValueError, AttributeError):
            return None

    def rows(self, number: int) -> int:
        """How many images of a finished chunk could be read."""
        return len((self._metadata(number) or {})["ids"])

    def skipped(self, number: int) -> list[list[str]]:
        """Id and reason of each unreadable image of a finished chunk."""
        return list((self._metadata(number) or {})["skipped"])

    def write(self, number: int, rows: Rows, skipped: Sequence[tuple[str, str]]) -> None:
        """Keep a chunk."""
        columns = {"ids": rows.ids, "classes": rows.classes, "parts": rows.parts, "skipped": list(skipped)}
        write_arrays(self.path(number), rows.features, columns)

    def read(self) -> Iterator[Rows]:
        """All chunks in order, one in memory at a time."""
        for number in self.numbers:
            arrays, columns = read_arrays(self.path(number))
            yield Rows(columns["ids"], columns["classes"], columns["parts"], arrays)


def chunk_rows(settings: ExtractSettings, network: LayerNetwork) -> int:
    """Whole batches that make about 32 MiB of features."""
    row_bytes = sum(4 * int(np.prod(layer.shape_after(settings.pool))) for layer in network.layers)
    batch = chosen_batch_size(settings.batch_size, network)
    return max(1, min(CHUNK_ROWS, CHUNK_BYTES // row_bytes) // batch) * batch


def compute_missing(
    chunks: Chunks, source: Source, network: LayerNetwork, settings: ExtractSettings, screen: Screen
) -> None:
    """Compute and keep every chunk that is not there; never more than one is held."""
    batch_size = chosen_batch_size(settings.batch_size, network)
    missing = [number for number in chunks.numbers if not chunks.is_there(number)]
    there = len(chunks.numbers) - len(missing)
    if there:
        screen.line(f"{there} of {len(chunks.numbers)} chunks are there already; going on with the others.")
    wanted = set(missing)
    total = sum(min(chunks.size, chunks.lines.count - number * chunks.size) for number in missing)
    pace = Pace(network, -(-total // batch_size), settings.compile)
    with screen.progress(f"features of {settings.backbone}", total) as progress:
        for number, lines in enumerate(chunks.lines.batched(chunks.size)):
            if number in wanted:
                side = network.preparation.input_spec.size
                pictures = source.pictures(lines, side, settings)
                rows, skipped = chunk_of(lines, pictures, batch_size, pace, progress)
                chunks.write(number, rows, skipped)


def chunk_of(
    lines: Sequence[Line], pictures: Pictures, batch_size: int, pace: Pace, progress: Progress
) -> tuple[Rows, list[tuple[str, str]]]:
    """The features of some images, without those that cannot be read."""
    features = gathered(computed(pace, pictures, batch_size, progress), len(pictures))
    unreadable = getattr(pictures, "unreadable", {})
    kept = [number for number, line in enumerate(lines) if line.id not in unreadable]
    if unreadable:
        features = {name: values[kept] for name, values in features.items()}
    columns = [[getattr(lines[number], name) for number in kept] for name in ("id", "class_name", "part")]
    return Rows(columns[0], columns[1], columns[2], features), list(unreadable.items())


# ------------------------------------------------------------------------------------------------ which images, where


@dataclass(frozen=True)
class Line:
    """One image of a listing; `number` counts from the listing's beginning."""

    number: int
    id: str
    class_name: str
    part: str


@dataclass(frozen=True)
class ListingPart:
    """Some consecutive lines of a listing on disk."""

    file: Path
    start: int
    count: int

    def batched(self, size: int) -> Iterator[list[Line]]:
        """The lines, `size` at a time; only these are held."""
        with self.file.open(encoding="utf-8", newline="") as file:
            reader = enumerate(csv.reader(file))
            lines = (Line(number, *row) for number, row in islice(reader, self.start, self.start + self.count))
            while batch := list(islice(lines, size)):
                yield batch


@dataclass(frozen=True)
class Listing:
    """All images of an extraction, as a file, because a million paths are too many to hold."""

    file: Path
    total: int
    class_names: tuple[str, ...]
    digest: str

    def shard(self, shard: tuple[int, int]) -> ListingPart:
        """The lines of one shard; shards differ by at most one image.

        Raises:
            TransferkitError: If the shard would be empty.
        """
        number, count = shard
        start, stop = (self.total * bound // count for bound in (number - 1, number))
        if start == stop:
            raise TransferkitError(f"Shard {number}/{count} is empty: there are {self.total} images. Use fewer shards.")
        return ListingPart(self.file, start, stop - start)


@dataclass(frozen=True)
class Source:
    """Where images come from: their ids, classes and parts in a fixed order, and their pixels."""

    name: str
    lines: Callable[[], Iterator[tuple[str, str, str]]]
    pictures: Callable[[Sequence[Line], int, ExtractSettings], Pictures]
    class_names: tuple[str, ...] | None = None

    def listed(self, folder: Path) -> Listing:
        """Write the listing into a folder.

        Raises:
            TransferkitError: If there are no images; the folder is then not made.
        """
        lines = self.lines()
        first = next(lines, None)
        if first is None:
            raise TransferkitError(f"{self.name} holds no images ({', '.join(sorted(EXTENSIONS)[:6])} ...).")
        made(folder, "Choose another place with --out.")
        file = folder / "listing.csv"
        total, names = 0, set[str]()
        with file.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            for line in chain([first], lines):
                writer.writerow(line)
                names.add(line[1])
                total += 1
        with file.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return Listing(file, total, self.class_names or tuple(sorted(names - {""})), digest)


def opened_source(images: str, settings: ExtractSettings, screen: Screen) -> Source:
    """The images that a word on the command line means; a data set's name comes before a folder of that name.

    Raises:
        TransferkitError: If it is none of what is expected.
    """
    if images in datasets.DATASETS or images.startswith("folder:"):
        return from_data_set(images, settings.part, screen)
    path = Path(images)
    if path.is_dir():
        return from_files(images, lambda: image_paths(path), path)
    if path.suffix.lower() == ".csv" and path.is_file():
        return from_csv(path)
    if path.is_file():
        return from_files(images, lambda: iter([path]), path.parent)
    if has_magic(images):
        return from_files(
            images, lambda: (Path(name) for name in sorted(iglob(images, recursive=True))), fixed_root(path)
        )
    raise TransferkitError(
        f"There are no images at {images!r}. Expected a folder, a glob, a CSV with columns path[,label], or a data "
        f"set. {did_you_mean(images, datasets.DATASETS)}"
    )


def fixed_root(pattern: Path) -> Path:
    """The folder of a glob above its first wildcard."""
    return next(parent for parent in pattern.parents if not has_magic(str(parent)))


def from_files(name: str, paths: Callable[[], Iterator[Path]], root: Path) -> Source:
    """Files below a folder; the class of an image is the name of its folder, if that is not the root itself."""

    def lines() -> Iterator[tuple[str, str, str]]:
        for path in paths():
            if path.suffix.lower() in EXTENSIONS:
                yield str(path), "" if path.parent == root else path.parent.name, ""

    return Source(name, lines, decoded_files)


def from_csv(file: Path) -> Source:
    """A table with columns path and perhaps label; paths are relative to the table's folder.

    Raises:
        TransferkitError: If there is no column `path`.
    """
    with file.open(encoding="utf-8-sig", newline="") as handle:
        columns = csv.DictReader(handle).fieldnames or []
    if "path" not in columns:
        raise TransferkitError(f"{file} has no column 'path'; found {', '.join(columns) or 'nothing'}.")

    def lines() -> Iterator[tuple[str, str, str]]:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            for row in csv.DictReader(handle):
                yield str(file.parent / row["path"]), row.get("label") or "", row.get("part") or ""

    return Source(str(file), lines, decoded_files)


def from_data_set(name: str, part: Part, screen: Screen) -> Source:
    """The images of a data set, split as a recipe splits them by default; opening the test part is said aloud.

    Raises:
        TransferkitError: If the data set has no such part.
    """
    if part not in PARTS:
        raise TransferkitError(f"Unknown part {part!r}. {did_you_mean(part, PARTS)}")
    splits = datasets.load(data_settings(name), screen)
    chosen: dict[str, Images] = {}
    if part == "test":
        chosen = {"test": splits.test.open()}
        screen.line(f"opened the {len(splits.test):,} test images of {name}: choose nothing by what they show.")
    else:
        parts = {"train": splits.train, "val": splits.val}
        chosen = parts if part == "trainval" else {part: parts[part]}

    def lines() -> Iterator[tuple[str, str, str]]:
        for part_name, images in chosen.items():
            for identity, label in zip(images.ids, images.labels, strict=True):
                yield identity, images.class_names[label], part_name

    return Source(f"{name}, part {part},", lines, lambda rows, *_: PartImages(chosen, rows), splits.class_names)


def data_settings(name: str) -> Data:
    """The default settings of a data set."""
    settings: Data = TypeAdapter(Data).validate_python(name)
    return settings


@dataclass(frozen=True)
class PartImages:
    """Images that some lines of a listing stand for; the listing holds whole parts, one after the other."""

    parts: Mapping[str, Images]
    lines: Sequence[Line]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def ids(self) -> Sequence[str]:
        """The path or index of each image."""
        return [line.id for line in self.lines]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, H, W) uint8.

        Raises:
            TransferkitError: If the parts differ in size.
        """
        chosen = groupby((self.lines[index] for index in indices), key=lambda line: line.part)
        pixels = [self.parts[part].take(np.array([self._row(line) for line in lines])) for part, lines in chosen]
        if len({array.shape[1:] for array in pixels}) > 1:
            raise TransferkitError("The parts of this data set differ in size. Extract them one by one, with --part.")
        return np.concatenate(pixels)

    def _row(self, line: Line) -> int:
        names = list(self.parts)
        return line.number - sum(len(self.parts[name]) for name in names[: names.index(line.part)])


@dataclass(frozen=True)
class Files:
    """Image files, decoded when they are taken.

    Attributes:
        lines: Of the listing.
        side_px: Of the squares they become.
        resize: squash or crop.
        skip_bad: Leave unreadable files out instead of stopping.
        unreadable: Reason by id, of those met so far.
    """

    lines: Sequence[Line]
    side_px: int
    resize: str
    skip_bad: bool
    unreadable: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def ids(self) -> Sequence[str]:
        """The paths."""
        return [line.id for line in self.lines]

    def take(self, indices: Labels) -> Pixels:
        """(B, 3, side_px, side_px) uint8, black where a file is unreadable.

        Raises:
            TransferkitError: If one cannot be read and may not be skipped; names it.
        """
        with ThreadPoolExecutor(runtime.usable_cores()) as threads:
            return np.stack(list(threads.map(self._decoded, [self.lines[index].id for index in indices])))

    def _decoded(self, path: str) -> Pixels:
        try:
            return decode(path, self.side_px, self.resize)
        except TransferkitError as error:
            if not self.skip_bad:
                raise TransferkitError(
                    f"{error} Finished chunks are kept; --skip-bad leaves such files out."
                ) from error
            self.unreadable[path] = str(error)
            return np.zeros((3, self.side_px, self.side_px), np.uint8)


def decoded_files(lines: Sequence[Line], side_px: int, settings: ExtractSettings) -> Files:
    """The files that some lines of a listing stand for."""
    return Files(lines, side_px, settings.resize, settings.skip_bad)
