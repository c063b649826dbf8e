"""Greedy facility location: hand-made pools, and a loop that looks at every image again for every pick."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transferkit.studies.next_images import coverage
from transferkit.studies.next_images.coverage import pick


def itself(total: int) -> Callable[[int], np.ndarray]:
    """Nothing is a copy of anything else."""
    return lambda at: np.arange(total) == at


def plain_greedy(pool: np.ndarray, labelled: np.ndarray, weights: np.ndarray, count: int) -> list[int]:
    """The definition: all gains anew for every pick."""
    mean = pool.mean(axis=0)
    units = [(rows - mean) / np.linalg.norm(rows - mean, axis=1, keepdims=True) for rows in (pool, labelled)]
    similarities = units[0] @ units[0].T
    nearest = (units[0] @ units[1].T).max(axis=1)
    chosen: list[int] = []
    for _ in range(count):
        gains = weights @ np.maximum(similarities - nearest[:, None], 0)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        nearest = np.maximum(nearest, similarities[:, chosen[-1]])
    return chosen


def test_picks_are_those_of_a_plain_loop_over_all_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "LOOKED_AT", 8)  # so that most images are not looked at again
    draws = np.random.default_rng(0)
    pool, labelled = (draws.normal(size=(count, 5)).astype(np.float32) for count in (200, 10))
    weights = draws.random(200)

    alike = pick(pool, labelled, 30, itself(200))
    weighted = pick(pool, labelled, 30, itself(200), weights=weights)

    assert alike.positions.tolist() == plain_greedy(pool, labelled, np.ones(200), 30)
    assert weighted.positions.tolist() == plain_greedy(pool, labelled, weights, 30)


def test_a_group_that_no_labelled_image_resembles_comes_first() -> None:
    pool = np.array([[10, 0], [11, 0], [12, 0], [0, 10], [0, 11]], np.float32)
    labelled = np.array([[9, 0]], np.float32)

    picks = pick(pool, labelled, 1, itself(5))

    assert picks.positions[0] in (3, 4)
    assert picks.shares.tolist() == [pytest.approx(2 / 5)]


def test_images_of_no_weight_are_left_to_the_end() -> None:
    pool = np.array([[10, 0], [10, 1], [10, -1], [-10, 0]], np.float32)
    labelled = np.array([[0, 100]], np.float32)

    of_three = pick(pool, labelled, 1, itself(4), weights=np.array([1.0, 1, 1, 0]))
    of_one = pick(pool, labelled, 1, itself(4), weights=np.array([0, 0, 0, 1.0]))

    assert of_three.positions[0] != 3
    assert of_one.positions.tolist() == [3]


def test_copies_of_a_pick_are_left_out_and_counted() -> None:
    draws = np.random.default_rng(1)
    pool = draws.normal(size=(8, 3)).astype(np.float32)

    picks = pick(pool, pool[:0], 8, lambda at: np.arange(8) // 2 == at // 2)  # pairs of copies

    assert sorted(position // 2 for position in picks.positions) == [0, 1, 2, 3]
    assert picks.left_out == 4


def test_a_large_pool_is_stood_for_by_a_sample_and_all_of_it_may_be_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "COVERED", 10)
    pool = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)

    picks = pick(pool, pool[:1], 50, itself(50))

    assert sorted(picks.positions.tolist()) == list(range(50))
    assert picks.positions.tolist() == pick(pool, pool[:1], 50, itself(50)).positions.tolist()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process as Linux tells it")
def test_a_larger_pool_takes_no_more_working_memory() -> None:
    code = (
        "import re, torch\n"
        "from transferkit.studies.next_images.coverage import Coverage\n"
        "def held(): return int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024\n"
        "rows = torch.nn.functional.normalize(torch.randn(10_000, 64))\n"
        "state = Coverage(rows, rows, torch.ones(10_000), torch.full((10_000,), -1.0))\n"
        "state.gains(torch.arange(256)); before = held(); state.gains(torch.arange(10_000)); print(held() - before)\n"
    )

    grown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert float(grown) < 30  # MiB: of 40 products of 10 MB one is held at a time
