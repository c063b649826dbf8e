"""A finished file of features, with its index and its facts beside it: written and read."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from transferkit.features.extraction.chunks import CHUNK_ROWS
from transferkit.features.extraction.facts import FORMAT, ExtractionFacts, FactsFormat
from transferkit.features.extraction.files import READERS, WRITERS, FeatureTable, Rows, row_digest
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json, write_atomically
from transferkit.runtime.records import read_record, write_record

INDEX_COLUMNS = ("row", "id", "class", "label", "part")


def read_facts(path: Path) -> ExtractionFacts:
    """What lies beside a file of features.

    Raises:
        TransferkitError: If it is not there, or a newer version wrote it.
    """
    if not path.exists():
        raise TransferkitError(f"There is no file {path}.")
    if not facts_path(path).exists():
        raise TransferkitError(f"{facts_path(path)} is missing; `transferkit extract` writes it beside {path}.")
    if read_record(facts_path(path), FactsFormat).format > FORMAT:
        raise TransferkitError(f"A newer transferkit wrote {path}. Upgrade with: pip install --upgrade transferkit")
    return read_record(facts_path(path), ExtractionFacts)


def read_rows(path: Path, facts: ExtractionFacts) -> Iterator[Rows]:
    """A finished file of features, some rows at a time.

    Raises:
        TransferkitError: If index and features differ in length.
    """
    with index_path(path).open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        for features in READERS[path.suffix](path, facts.shapes, CHUNK_ROWS):
            count = len(next(iter(features.values())))
            rows = list(islice(lines, count))
            if len(rows) != count:
                raise TransferkitError(f"{path} has more rows than its index {index_path(path)}.")
            ids, classes, parts = ([row[name] for row in rows] for name in ("id", "class", "part"))
            yield Rows(ids, classes, parts, features)


def require_free(out: Path, overwrite: bool) -> None:
    """Refuse to lose a finished file, or one of somebody else where index and facts are to lie.

    Raises:
        TransferkitError: If it exists and may not be replaced.
    """
    if out.exists() and not overwrite:
        raise TransferkitError(f"{out} exists. Choose another file with --out, or replace it with --overwrite.")
    for path, is_ours in ((index_path(out), is_index), (facts_path(out), is_facts)):
        if path.exists() and not is_ours(path):
            raise TransferkitError(f"{path} was not written by transferkit extract. Choose another file with --out.")


def is_index(path: Path) -> bool:
    """Whether a file begins as an index does."""
    with path.open("rb") as file:
        return file.readline().strip() == ",".join(INDEX_COLUMNS).encode()


def is_facts(path: Path) -> bool:
    """Whether a file holds the facts of an extraction."""
    try:
        facts = read_json(path)
    except TransferkitError:
        return False
    return isinstance(facts, dict) and {"format", "backbone", "shapes", "listing"} <= facts.keys()


def write_result(out: Path, facts: ExtractionFacts, rows: int, read: Callable[[], Iterable[Rows]]) -> None:
    """The file, its index and its facts; the file comes last, because it means that all is there."""
    write_atomically(index_path(out), lambda temporary: write_index(temporary, facts.class_names, read()))
    content = FeatureTable(rows, facts.shapes, read, facts.dtype)
    write_record(facts_path(out), replace(facts, rows=rows, sha256=row_digest(content)))
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
