"""How much faster a comparison ends with its arms in two processes than with one after the other, in turns.

    python benchmarks/sweep.py WEIGHTS OUT [--turns 3] [--seeds 2]

WEIGHTS are those of a ResNet-18. Each turn is the whole command from an empty folder, its start, its data and its page
included, with one thread for each process; it means something on idle cores alone, one for each worker.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def command(given: argparse.Namespace, out: Path, executor: Sequence[str]) -> list[str]:
    """A comparison of two arms for each seed."""
    options = {
        "weights": given.weights,
        "data": given.data,
        "methods": "scratch,finetune",
        "seeds": given.seeds,
        "size": given.size,
        "budget": f"{given.epochs}epochs",
        "out": out,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "transferkit", "compare", "resnet18", *words, *executor]


def seconds(given: argparse.Namespace, name: str, executor: Sequence[str]) -> float:
    """Of the whole command."""
    out = given.out / name
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TRANSFERKIT_CACHE": str(given.out / "cache")}
    started = time.perf_counter()
    subprocess.run(command(given, out, executor), check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    ratios = []
    for _ in range(given.turns):
        serial = seconds(given, "here", ())
        apart = seconds(given, "processes", ("--executor", "processes", "--workers", str(given.workers)))
        ratios.append(serial / apart)
        print(f"here {serial:.1f} s, {given.workers} processes {apart:.1f} s: {ratios[-1]:.2f}", flush=True)
    print(f"median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}, n = {len(ratios)}")


if __name__ == "__main__":
    main()
