"""What the regression guard says of speeds that were measured; nothing is timed here."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from guard import Speeds, change_of, latest_of, repeats_of, report, slowed
from speed.machine import Setting
from speed.turns import in_turns, ratio

HERE = Setting("CPU", 2, 1, "3.11", {"torch": "2.14"})


def speeds(middle: float, spread: float = 0.02, setting: Setting = HERE) -> Speeds:
    """Twelve pairs around this ratio."""
    return Speeds("2026-01-01 00:00", setting, "load 1.0", {"decode": list(np.linspace(-1, 1, 12) * spread + middle)})


def test_a_fifth_slower_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(speeds(1.6), [speeds(2.0)]) == ["decode"]
    assert "0.80 times as fast as before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("middle", "spread"), [(1.8, 0.02), (2.5, 0.02), (1.6, 1.2)], ids=["tenth", "faster", "unclear"]
)
def test_less_than_that_or_an_unclear_change_is_not(middle: float, spread: float) -> None:
    assert report(speeds(middle, spread), [speeds(2.0)]) == []


def test_the_interval_of_a_change_holds_the_true_one() -> None:
    change, low, high = change_of(speeds(3.0, 0.1).pairs["decode"], speeds(2.0, 0.1).pairs["decode"])

    assert change == pytest.approx(1.5)
    assert 1.4 < low < 1.5 < high < 1.6


def test_only_the_same_machine_and_libraries_are_compared(tmp_path: Path) -> None:
    file = tmp_path / "speeds.jsonl"
    newer = replace(HERE, packages={"torch": "2.15"})
    kept = [speeds(0.5), speeds(1.0), speeds(1.5), speeds(2.0), speeds(3.0, setting=newer)]
    file.write_text("".join(json.dumps(asdict(line)) + "\n" for line in kept))

    assert latest_of(file, HERE) == [kept[3], kept[2], kept[1]]
    assert latest_of(file, newer) == [kept[4]]
    assert latest_of(file, replace(HERE, cores=4)) == []
    assert latest_of(tmp_path / "none.jsonl", HERE) == []


def test_what_is_slower_than_one_line_but_not_than_another_is_not_told() -> None:
    assert report(speeds(1.6), [speeds(2.0), speeds(1.7)]) == []
    assert report(speeds(1.6), [speeds(2.0), speeds(2.1)]) == ["decode"]


def test_what_is_planted_takes_that_many_times_as_long() -> None:
    """By a clock of a tenth of a second a look: the arm takes 4 s, and a quarter more is 5 s."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.1
        return now[0]

    def arm() -> None:
        now[0] += 4

    slowed(arm, 1.25, clock)()

    assert now[0] == pytest.approx(5, abs=0.3)
    assert slowed(arm, 1.0, clock) is arm


def test_short_work_is_repeated_until_a_turn_takes_a_fifth_of_a_second() -> None:
    seconds = iter([0.0, 0.06, 0.0, 0.5])

    assert repeats_of(lambda: None, lambda: next(seconds)) == 4  # 0.2 / 0.06 = 3.3
    assert repeats_of(lambda: None, lambda: next(seconds)) == 1


def test_arms_take_turns_there_and_back_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    clock = iter(range(100))
    arms = {name: lambda name=name: order.append(name) for name in "ab"}

    seconds = in_turns(arms, turns=2, clock=lambda: next(clock))

    assert order == ["b", "a", "a", "b", "b", "a"]
    assert seconds == {"a": [1, 1], "b": [1, 1]}


def test_a_ratio_has_an_interval_from_ranks() -> None:
    """Of ten pairs the second smallest and the second largest: binomial, P(at most 1 of 10) = 0.011."""
    measured = ratio([float(value) for value in range(1, 11)], [1.0] * 10)

    assert (measured.median, measured.low, measured.high, measured.pairs) == (5.5, 2.0, 9.0, 10)
