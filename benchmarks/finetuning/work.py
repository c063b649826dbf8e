"""One cell of the table, measured and kept; several at once in processes of their own."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from finetuning import product, records
from finetuning.images import Arithmetic
from finetuning.records import Record
from finetuning.settings import Setting


@dataclass(frozen=True)
class Places:
    """Where data come from and results go, and how everything is computed.

    Attributes:
        data: The folder of real data.
        cache: The bench's own folder.
        on: Device and precision of every arm.
        threads: Of every arm.
        code: Fingerprint of the transferkit that is measured.
        commit: Its commit, for the reader.
    """

    data: Path
    cache: Path
    on: Arithmetic
    threads: int
    code: str
    commit: str


@dataclass(frozen=True)
class Cell:
    """What is to be measured."""

    setting: Setting
    arm: str
    seed: int


def missing(cells: Sequence[Cell], places: Places) -> list[Cell]:
    """Those that no record answers yet; a failure is tried again."""
    return [cell for cell in cells if not _is_done(cell, places)]


def _is_done(cell: Cell, places: Places) -> bool:
    found = records.measured(places.cache, cell.setting, cell.arm, places.on.label, code_of(cell.arm, places))
    return cell.seed in found and not found[cell.seed].error


def code_of(arm: str, places: Places) -> str:
    """What decides, beside the setting, what an arm does: transferkit's code, or a rival's version."""
    if arm in product.ARMS:
        return places.code
    from finetuning.rivals import VERSIONS

    return f"v{VERSIONS[arm]}"


def measure_all(cells: Sequence[Cell], places: Places, workers: int) -> Iterator[Record]:
    """Measure cells in processes that stay, and yield each record when it is on disk.

    The longest come first, so that no worker waits for another at the end.
    """
    ordered = sorted(cells, key=cost, reverse=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(measure, cell, places) for cell in ordered]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def cost(cell: Cell) -> float:
    """Roughly proportional to the time: images x epochs x px², times the trainings."""
    setting = cell.setting
    images = (setting.labels or 5_000) * (setting.epochs if cell.arm != "probe" else 0.3)
    return images * setting.size_px**2 * {"plain": 4.0}.get(cell.arm, 1.0)


def measure(cell: Cell, places: Places) -> Record:
    """Measure one cell and keep the record; what goes wrong is kept as well."""
    import torch

    torch.set_num_threads(places.threads)
    record = Record(
        cell.setting.name, cell.setting.key, cell.arm, cell.seed, code_of(cell.arm, places), np.zeros(0, bool)
    )
    try:
        trial = _trial(cell, places)
        record = replace(record, correct=trial.correct, about={"seconds": trial.seconds, **trial.facts})
    except Exception as error:  # one failure must not end a computation of hours; the table names it
        traceback.print_exc()
        record = replace(record, error=f"{type(error).__name__}: {error}")
    if cell.arm in product.ARMS and product.fingerprint(product.package_folder()) != places.code:
        raise SystemExit("transferkit's code changed while it was measured. Start again; finished cells are kept.")
    record = replace(record, about={**record.about, **_about(places)})
    records.save(places.cache, cell.setting, record)
    return record


def _trial(cell: Cell, places: Places) -> Any:
    from finetuning import rivals, targets

    setting, weights = cell.setting, places.cache / "weights"
    task = targets.draw(setting, cell.seed, places.data, places.cache)
    if cell.arm in product.ARMS:
        name = f"{setting.key}-{cell.arm.replace(' ', '-')}-{cell.seed}-{places.code}"
        work = places.cache / "runs" / name
        return product.measure(cell.arm, task, setting, cell.seed, weights, places.on, work)
    rival = {"plain": rivals.plain, "fastai": rivals.fastai}[cell.arm]
    return rival(task, setting, cell.seed, weights, places.on)


def _about(places: Places) -> dict[str, Any]:
    import torch

    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor() if places.on.device == "cpu" else torch.cuda.get_device_name(),
        "threads": places.threads,
        "precision": places.on.label,
        "torch": torch.__version__,
        "commit": places.commit,
    }


def processor() -> str:
    """Its name as the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
