"""What the log of a training promises: which epoch is which, and that the file says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from transferkit.metrics.history import Epoch, History, read_history, write_history
from transferkit.runtime.errors import TransferkitError

START = Epoch(0, step=0, seconds=0.0, val_accuracy=0.5, val_loss=1.0, val_images=40)
FIRST = Epoch(1, 9, 0.7, 0.1, 1.5, 80.0, 2.0, 0.7, 0.5, 40, 9, 1)
SECOND = Epoch(2, 18, 0.6, 0.01, 1.4, 120.0, 3.0, 0.7, 0.4, 40, 9, 1, is_result=True)
HISTORY = History((START, FIRST, SECOND))


def test_a_history_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    write_history(tmp_path, HISTORY)

    assert read_history(tmp_path) == HISTORY
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


def test_without_a_file_a_history_is_empty(tmp_path: Path) -> None:
    history = read_history(tmp_path)

    assert (len(history), history.start, history.last, history.best, history.result) == (0, None, None, None, None)
    assert (history.steps, history.seconds, history.images_per_second) == (0, 0.0, None)


def test_sums_and_means_are_over_the_epochs() -> None:
    assert (HISTORY.steps, HISTORY.seconds, HISTORY.images_per_second) == (18, 5.0, 100.0)  # (80 + 120) / 2


def test_the_best_of_equal_accuracies_has_the_lower_loss() -> None:
    assert (HISTORY.start, HISTORY.last, HISTORY.best, HISTORY.result) == (START, SECOND, SECOND, SECOND)


def test_only_one_epoch_is_kept() -> None:
    assert [epoch.is_result for epoch in HISTORY.keeping(START)] == [True, False, False]
    assert [epoch.is_result for epoch in HISTORY.keeping(None)] == [False, False, False]


def test_a_log_of_an_earlier_version_has_no_start(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"epoch": 1, "loss": 1}\n{"epoch": 2, "loss": 0.5}\n')

    history = read_history(tmp_path)

    assert (history.start, history.last) == (None, Epoch(2, loss=0.5))


def test_a_damaged_epoch_is_told_with_line_and_place(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"epoch": 0}\n{"epoch": 1, "kept": "yes"}\n')

    with pytest.raises(TransferkitError, match=r"history\.jsonl, line 2 is damaged: kept is 'yes', expected bool\.$"):
        read_history(tmp_path)
