"""How often `transferkit compare` claims a difference between arms that are equally good, and how often it sees one.

Tables are made up: every image has a difficulty that all networks share, a part of it that only networks of one arm
share, and one that is new in every training; a network is right where their sum is below its threshold. Thresholds are
drawn so that true accuracies of an arm's seeds scatter by the given standard deviation. All arms have the same mean, so
every claim is false. `kept` stands for arms whose seeds give the very same network, as a probe's do; `mixed` for one
such arm beside others that scatter by one point. The answers go through the package's own computation.

    python benchmarks/compare_false_claims.py

    python benchmarks/compare_false_claims.py --power
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from scipy import stats

from transferkit.metrics.statistics import holm
from transferkit.metrics.statistics.paired_difference import Over, deviations, evidence
from transferkit.runtime.array_types import Bools, Floats

LEVEL = 0.05
AT_ONCE = 2**23  # answers drawn at once
SHARED, ARMS_OWN = 0.6, 0.2  # of the variance of an image's difficulty; the rest is new in every training


@dataclass(frozen=True)
class Row:
    """One kind of table.

    Attributes:
        seeds: Runs of each arm.
        accuracy: Mean accuracy of each arm.
        deviations: Standard deviation over seeds of each arm's true accuracy; None where all seeds are one network.
        images: Test images.
        alike: Whether an image is as hard for one arm as for another.
    """

    seeds: int
    accuracy: tuple[float, ...]
    deviations: tuple[float | None, ...]
    images: int = 10_000
    alike: bool = False


def tables(row: Row, count: int, seed: int) -> Iterator[list[Bools]]:
    """(T, S, N) per arm, the answers of so many tables, a block at a time."""
    generator = np.random.default_rng(seed)
    block = max(1, AT_ONCE // (row.seeds * row.images * len(row.accuracy)))
    for start in range(0, count, block):
        drawn = min(block, count - start)
        shared = generator.standard_normal((drawn, 1, row.images), dtype=np.float32)
        yield [_answers(row, arm, shared, generator) for arm in range(len(row.accuracy))]


def _answers(row: Row, arm: int, shared: Floats, generator: np.random.Generator) -> Bools:
    """(T, S, N) of one arm."""
    drawn, _, images = shared.shape
    own = shared if row.alike else generator.standard_normal(shared.shape, dtype=np.float32)
    fixed = np.float32(SHARED**0.5) * shared + np.float32(ARMS_OWN**0.5) * own
    if row.alike:
        fixed = np.float32((SHARED + ARMS_OWN) ** 0.5) * shared
    deviation = row.deviations[arm]
    runs = 1 if deviation is None else row.seeds
    true = row.accuracy[arm] + (deviation or 0) * generator.standard_normal((drawn, runs, 1))
    thresholds = stats.norm.ppf(np.clip(true, 1e-6, 1 - 1e-6)).astype(np.float32)
    new = generator.standard_normal((drawn, runs, images), dtype=np.float32)
    new *= np.float32((1 - SHARED - ARMS_OWN) ** 0.5)
    new += fixed
    return np.broadcast_to(new < thresholds, (drawn, row.seeds, images))


def p_of_package(a: Bools, b: Bools, over: Over = "seeds") -> Floats:
    """(T,) as `compare` gives them."""
    p: Floats = 2 * stats.norm.sf(deviations(evidence(a, b, over)))
    return p


def p_of_welch(a: Bools, b: Bools) -> Floats:
    """(T,) by Welch's t over the accuracies of the seeds, which knows nothing of the images."""
    p: Floats = stats.ttest_ind(a.mean(-1), b.mean(-1), axis=1, equal_var=False).pvalue
    return p


def p_values(row: Row, count: int, test: Callable[[Bools, Bools], Floats], seed: int = 0) -> Floats:
    """(T, pairs) of one test."""
    found = [[test(a, b) for a, b in combinations(arms, 2)] for arms in tables(row, count, seed)]
    return np.concatenate([np.stack(pairs, axis=1) for pairs in found])


def claimed(p: Floats) -> float:
    """The share of tables in which any pair is called different."""
    return float(np.mean([min(holm(pairs)) <= LEVEL for pairs in p]))


def null_rows() -> Iterator[tuple[str, Row]]:
    """The rows of the table of false claims, with what scatters in words."""
    for seeds in (2, 3, 5):
        for arms in (2, 3):
            for accuracy in (0.7, 0.9):
                for words, scatter in (
                    ("kept", (None,) * arms),
                    ("0", (0.0,) * arms),
                    ("0.3", (0.003,) * arms),
                    ("1", (0.01,) * arms),
                    ("mixed", (None, *(0.01,) * (arms - 1))),
                ):
                    yield words, Row(seeds, (accuracy,) * arms, scatter)


def false_claims(count: int) -> None:
    """Print one line per kind of table."""
    bound = LEVEL + 2 * (LEVEL * (1 - LEVEL) / count) ** 0.5
    print(f"{count:,} tables a row, n = 10,000 images; at most {100 * bound:.2f} % is 5 % plus two standard errors")
    for words, row in null_rows():
        started = time.perf_counter()
        share = claimed(p_values(row, count, p_of_package))
        _line(f"{row.seeds} seeds, {len(row.accuracy)} arms, {row.accuracy[0]:.0%}, sd {words}", share, bound, started)
    for images in (100, 1000):
        for seeds in (2, 3):
            started = time.perf_counter()
            share = claimed(p_values(Row(seeds, (0.7, 0.7), (0.0, 0.0), images), count, p_of_package))
            _line(f"{seeds} seeds, 2 arms, 70%, sd 0, n = {images}", share, bound, started)
    of_these_runs = partial(p_of_package, over="images")
    for accuracy, scatter in ((0.9, 0.0), (0.7, 0.0), (0.9, 0.003), (0.7, 0.01)):
        started = time.perf_counter()
        share = claimed(p_values(Row(1, (accuracy,) * 2, (scatter,) * 2), count, of_these_runs))
        meant = float("inf") if scatter else bound  # of these runs a difference is true where seeds scatter
        _line(f"1 run each, {accuracy:.0%}, sd {100 * scatter:g}", share, meant, started)


def _line(words: str, share: float, bound: float, started: float) -> None:
    over = "" if share <= bound else "  above the bound"
    over = "  true of these runs, not of the arms" if bound == float("inf") else over
    print(f"{words:38} {100 * share:5.2f} %  {time.perf_counter() - started:5.1f} s{over}", flush=True)


def power(count: int) -> None:
    """Print how often a real difference is shown, beside Welch's t over the seeds' accuracies, for two arms."""
    print(f"{count:,} tables a row, n = 10,000 images, two arms, 70 %, sd 1 point: shown, and by Welch's t")
    for seeds, alike in ((2, False), (3, False), (5, False), (3, True)):
        for points in (1, 2, 3, 4):
            row = Row(seeds, (0.7, 0.7 + points / 100), (0.01, 0.01), alike=alike)
            ours, welch = (p_values(row, count, test) for test in (p_of_package, p_of_welch))
            likeness = ", arms alike" if alike else ""
            found, other = 100 * (ours <= LEVEL).mean(), 100 * (welch <= LEVEL).mean()
            print(f"{seeds} seeds, {points} points{likeness:12} {found:5.1f} %  {other:5.1f} %", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--power", action="store_true", help="how often a real difference is shown")
    asked = parser.parse_args()
    (power if asked.power else false_claims)(asked.tables)


if __name__ == "__main__":
    main()
