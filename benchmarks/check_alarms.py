"""How often each check speaks in runs that have no planted fault: probes of four data sets under ten seeds each.

    python benchmarks/check_alarms.py DATA WEIGHTS OUT --first-seed 10

DATA holds the folders cifar10, textures and tiny-imagenet-val, WEIGHTS is a file of ResNet-18. Each run is a linear
probe at 64 px whose seed also draws the split. Runs that lie in OUT are not made again: what the checks say is computed
from what they stored. Seeds that nobody has looked at while setting a check's limits begin at --first-seed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import transferkit
from transferkit import report
from transferkit.runs import checks
from transferkit.runs.run_directory import Run

SEEDS = 10
LIMITS = {"cifar10": 100, "textures": None, "tiny-imagenet-val": 40}  # labels per class


def finished(out: Path, name: str, data: str, seed: int, **options: object) -> Run:
    """One run, made where it is not there yet."""
    run = Run(out / f"{name}-{seed}")
    if not run.is_finished:
        shared = {"size": 64, "seed": seed, "split_seed": seed, "quiet": True, "overwrite": True}
        transferkit.probe("resnet18", data=data, out=run.path, **shared, **options)  # type: ignore[arg-type]
    return run


def all_runs(data: Path, weights: str, out: Path, seeds: range) -> dict[str, list[Run]]:
    """The runs of each data set."""
    runs = {
        name: [
            finished(out, name, f"folder:{data / name}", seed, weights=weights, limit_per_class=limit) for seed in seeds
        ]
        for name, limit in LIMITS.items()
    }
    return {**runs, "digits": [finished(out, "digits", "digits", seed, weights=weights) for seed in seeds]}


def main() -> None:
    """Print a table: in how many runs of each data set each check speaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--words", action="store_true", help="print each finding")
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = all_runs(arguments.data, arguments.weights, arguments.out, seeds)
    spoken: dict[str, Counter[str]] = {name: Counter() for name in runs}
    for name, of_set in runs.items():
        for run in of_set:
            for finding in report.findings(run):
                spoken[name][finding.code] += 1
                if arguments.words:
                    print(f"{run.path.name}: {finding}")
    total = sum(map(len, runs.values()))
    print("| check | severity | " + " | ".join(f"{name} ({len(of_set)})" for name, of_set in runs.items()) + " | all |")
    print("|" + "---|" * (len(runs) + 3))
    for code, check in checks.CHECKS.items():
        counts = [spoken[name][code] for name in runs]
        if sum(counts):
            cells = " | ".join(map(str, counts))
            print(f"| {code} {check.title} | {check.severity} | {cells} | {sum(counts)} of {total} |")


if __name__ == "__main__":
    main()
