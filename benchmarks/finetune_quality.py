"""Default fine-tuning beside its own probe, a random head, a plain PyTorch loop and fastai's schedule.

    python benchmarks/finetune_quality.py quick --data FOLDER --cache FOLDER --workers 2

`quick` has 8 settings and 2 draws of labels, `full` 20 settings and 3 draws. Every arm gets the same labels (train and
val together), epochs, input size, weights and precision, and sees the test images once, at its end. What is measured is
kept in the cache, one file per setting, arm and draw: a computation that was stopped goes on, rivals are measured once,
and after a change to transferkit only its own arms are measured anew. How to read and extend it:
docs/finetune-bench.md.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from finetuning import product, records, table, work
from finetuning.settings import LISTS, Setting
from finetuning.table import ARMS
from finetuning.work import Cell, Places


def main(words: Sequence[str] | None = None) -> int:
    """Measure what is missing, print the table and write it; 1 where something failed."""
    arguments = parsed(words)
    settings, seeds = chosen(arguments)
    places = places_of(arguments)
    if not arguments.table_only:
        prepare(settings, places)
        measure(settings, arguments.arms, seeds, places, arguments.workers)
    rows = {setting: found(setting, seeds, arguments.arms, places) for setting in settings}
    page = table.markdown(rows, provenance(rows, sys.argv[1:] if words is None else words))
    out = arguments.out or places.cache / f"{arguments.list}.md"
    out.write_text(page)
    print(f"\n{page}\nWritten to {out}")
    return int(any(record.error for arms in rows.values() for one in arms.values() for record in one.values()))


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", choices=list(LISTS))
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("TRANSFERKIT_TEST_DATA"), help="cifar10/, textures/ ..."
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for weights, draws and results")
    parser.add_argument("--arms", type=arms_of, default=ARMS, help=f"to be measured, of: {', '.join(ARMS)}")
    parser.add_argument("--settings", default="*", help="those whose name matches, as in '*lite0*'")
    parser.add_argument("--seeds", type=seeds_of, help="how many draws, or a list of them, as in 0,1")
    parser.add_argument("--workers", type=int, default=1, help="cells at a time")
    parser.add_argument("--threads", type=int, default=1, help="of each cell")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of every arm")
    parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto")
    parser.add_argument("--table-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, help="Markdown file of the table; default: in the cache")
    arguments = parser.parse_args(words)
    if arguments.data is None:
        parser.error("where are the data? Give --data FOLDER, or set TRANSFERKIT_TEST_DATA.")
    return arguments


def arms_of(text: str) -> tuple[str, ...]:
    """The arms in a list with commas."""
    arms = tuple(name.strip() for name in text.split(","))
    if unknown := [name for name in arms if name not in ARMS]:
        raise argparse.ArgumentTypeError(f"no arm {unknown[0]!r}; expected some of: {', '.join(ARMS)}")
    return arms


def seeds_of(text: str) -> tuple[int, ...]:
    """`3` is 0, 1, 2; `1,` and `0,2` are themselves."""
    return tuple(int(part) for part in text.split(",") if part) if "," in text else tuple(range(int(text)))


def chosen(arguments: argparse.Namespace) -> tuple[list[Setting], tuple[int, ...]]:
    """The settings and seeds asked for."""
    listed, usual = LISTS[arguments.list]
    settings = [setting for setting in listed if fnmatchcase(setting.name, arguments.settings)]
    if not settings:
        raise SystemExit(f"No setting matches {arguments.settings!r}: {', '.join(one.name for one in listed)}.")
    return settings, tuple(range(usual)) if arguments.seeds is None else arguments.seeds


def places_of(arguments: argparse.Namespace) -> Places:
    """Folders in full, the precision of the device, and the code that is measured."""
    from finetuning.images import arithmetic

    package = product.package_folder()
    return Places(
        Path(arguments.data).resolve(),
        arguments.cache.resolve(),
        arithmetic(arguments.device, arguments.precision),
        arguments.threads,
        product.fingerprint(package),
        product.commit(package),
    )


def prepare(settings: Sequence[Setting], places: Places) -> None:
    """Have the weights, before any worker starts."""
    from finetuning.stand_ins import ensure

    ensure(places.cache / "weights", places.data, {setting.backbone for setting in settings}, places.on)


def measure(
    settings: Sequence[Setting], arms: Sequence[str], seeds: Sequence[int], places: Places, workers: int
) -> None:
    """Measure the cells that are missing; one line each."""
    cells = [Cell(setting, arm, seed) for setting in settings for arm in arms for seed in seeds]
    waiting = work.missing(cells, places)
    print(f"{len(cells)} cells, {len(cells) - len(waiting)} of them in the cache; code {places.code} {places.commit}")
    started = time.perf_counter()
    for number, record in enumerate(work.measure_all(waiting, places, workers) if waiting else (), start=1):
        result = record.error or f"{100 * record.accuracy:.1f} %"
        minutes = (time.perf_counter() - started) / 60
        print(
            f"{number}/{len(waiting)} {minutes:.1f} min: {record.setting}, {record.arm}, {record.seed}: {result}",
            flush=True,
        )


def found(
    setting: Setting, seeds: Sequence[int], arms: Sequence[str], places: Places
) -> dict[str, Mapping[int, records.Record]]:
    """What the cache holds of a row: of the arms asked for with this code, of others as measured last."""
    row: dict[str, Mapping[int, records.Record]] = {}
    for arm in ARMS:
        code = work.code_of(arm, places) if arm in arms or arm not in product.ARMS else None
        by_seed = records.measured(places.cache, setting, arm, places.on.label, code)
        row[arm] = {seed: by_seed[seed] for seed in seeds if seed in by_seed}
    return row


def provenance(rows: Mapping[Setting, Mapping[str, Mapping[int, records.Record]]], words: Sequence[str]) -> list[str]:
    """How the table was made: command, machines, code of every column."""
    measured = [record for arms in rows.values() for one in arms.values() for record in one.values()]
    machines = {
        f"{one.about['processor']}, {one.about['threads']} thread{'s' * (one.about['threads'] > 1)} each, "
        f"{one.about['precision']}, torch {one.about['torch']}"
        for one in measured
    }
    codes = {
        arm: sorted({f"{one.code} {one.about['commit']}".strip() for one in measured if one.arm == arm}) for arm in ARMS
    }
    days = sorted({one.about["date"][:10] for one in measured})
    shown = "; ".join(f"{arm} {', '.join(codes[arm])}" for arm in ARMS if arm in product.ARMS and codes[arm])
    return [
        "Mean ± sd in percent (draws of labels); intervals over draws and test images (of one draw: images alone), "
        "p by Holm over the settings.",
        f"Measured {' to '.join(dict.fromkeys((days[0], days[-1])))} on {'; '.join(sorted(machines))}." if days else "",
        f"Code and commit: {shown}.",
        f"`python benchmarks/finetune_quality.py {shlex.join(words)}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
    ]


if __name__ == "__main__":
    sys.exit(main())
