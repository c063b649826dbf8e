"""What many runs take together: in a row, and on workers that share a machine."""

from __future__ import annotations

import pytest

from transferkit.recipe import from_options
from transferkit.training.estimates import totals
from transferkit.training.estimates.totals import Workforce, in_all, total_in_words, workforce

RECIPE = from_options("probe", "resnet-mini", "digits", {"weights": "none", "device": "cpu"}, ())


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("transferkit.training.estimates.totals", "transferkit.runtime.processor"):
        monkeypatch.setattr(f"{room}.usable_cores", lambda: 8)
    monkeypatch.setattr("transferkit.executors.workers.gpus", list)


def test_runs_here_take_turns() -> None:
    assert in_all([[10, 20, 30]], None, None, RECIPE) == {"in all": "3 runs, about 60 s one after the other."}


def test_one_run_alone_has_no_total() -> None:
    assert in_all([[], [10]], "ray", 4, RECIPE) == {}


def test_on_machines_that_are_not_known_workers_share_nothing() -> None:
    told = in_all([[60], [30, 10, 10, 10]], "slurm", 2, RECIPE)

    # the first stage 60 s; then 30 beside 10 + 10 + 10
    assert told == {"in all": "5 runs, about 2.0 min one after the other; on 2 workers of slurm about 90 s."}


def test_no_more_workers_count_than_there_are_runs_or_cores_for_their_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(totals.machine, "start", lambda *_: totals.machine.as_found("cpu", "fp32"))

    assert workforce("ray", 1000, 3, RECIPE) == Workforce(3, 3)
    assert workforce("processes", 1000, 100, RECIPE).at_once == 4  # 8 cores, 2 threads each
    assert workforce("processes", 1000, 100, RECIPE).workers == 100


def test_workers_that_divide_the_cores_of_the_timed_run_may_gain_nothing() -> None:
    staff = Workforce(2, 2, slowdown=2.0, shared="which share 8 cores")

    # each run has half of the threads: 20 s if these do not matter, 40 s if they matter in full
    assert total_in_words([[10, 10, 10, 10]], "processes", staff) == (
        "4 runs, about 40 s one after the other; on 2 workers of processes, which share 8 cores, about 20 s to 40 s."
    )
