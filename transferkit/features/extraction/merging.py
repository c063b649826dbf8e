"""One file of features from the shards of one extraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transferkit.features.extraction.differences import fact_differences
from transferkit.features.extraction.facts import ExtractionFacts, ShardFacts
from transferkit.features.extraction.files import FeatureTable, require_known_file, row_digest
from transferkit.features.extraction.results import facts_path, read_facts, read_rows, require_free, write_result
from transferkit.runtime.console import Console
from transferkit.runtime.errors import MachineError, TransferkitError
from transferkit.runtime.plurals import counted
from transferkit.runtime.records import as_json


def merge(out: Path, shards: Sequence[Path], console: Console, *, overwrite: bool = False) -> Path:
    """One file from the shards of one extraction, in the order of the images; the kind of file may change.

    Raises:
        TransferkitError: If a shard is missing, twice there, or of another extraction; `out` exists.
    """
    by_shard = sorted(((path, read_facts(path)) for path in shards), key=lambda pair: pair[1].shard)
    require_complete(by_shard)
    skipped = tuple(line for _, facts in by_shard for line in facts.skipped)
    parts = tuple(ShardFacts(facts.shard[0], facts.rows or 0, facts.sha256) for _, facts in by_shard)
    whole = replace(by_shard[0][1], shard=(1, 1), skipped=skipped, shards=parts)
    rows = sum(facts.rows or 0 for _, facts in by_shard)
    require_known_file(out, list(whole.shapes.values()))
    require_free(out, overwrite)
    for path, facts in by_shard:
        require_unchanged(path, facts)
    write_result(out, whole, rows, lambda: (part for path, facts in by_shard for part in read_rows(path, facts)))
    console.line(f"merged {counted(len(by_shard), 'shard')}, {counted(rows, 'image')}: {out}")
    return out


def require_unchanged(path: Path, facts: ExtractionFacts) -> None:
    """Refuse a shard whose rows are not those that were written.

    Raises:
        MachineError: If its checksum is another.
    """
    table = FeatureTable(facts.rows or 0, facts.shapes, lambda: read_rows(path, facts), facts.dtype)
    if facts.sha256 and row_digest(table) != facts.sha256:
        raise MachineError(
            f"{path} is damaged: its rows do not have the SHA-256 that {facts_path(path)} states. Remove it and "
            "extract this shard again."
        )


def require_complete(shards: Sequence[tuple[Path, ExtractionFacts]]) -> None:
    """Refuse shards that do not make one whole.

    Raises:
        TransferkitError: Names what is missing, double or different.
    """
    first, facts = shards[0]
    own = {"shard", "rows", "skipped", "device", "sha256"}
    for path, other in shards:
        shared = {name: value for name, value in as_json(other).items() if name not in own}
        if different := list(fact_differences(shared, as_json(facts))):
            raise TransferkitError(
                f"{path} and {first} are not of one extraction; they differ in {', '.join(different)}."
            )
    numbers, count = [shard_facts.shard[0] for _, shard_facts in shards], facts.shard[1]
    double = sorted({number for number in numbers if numbers.count(number) > 1})
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if double or missing or any(shard_facts.shard[1] != count for _, shard_facts in shards):
        problem = (
            f"missing: {', '.join(map(str, missing)) or 'none'}; given twice: {', '.join(map(str, double)) or 'none'}"
        )
        raise TransferkitError(f"These are not the {count} shards of one extraction ({problem}).")
