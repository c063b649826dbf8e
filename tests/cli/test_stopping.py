"""Ctrl-C ends every command with what is kept and how to go on, and without a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
from command_line import refused, transferkit

from transferkit.runs.run_directory import Run

NOTHING = "Stopped. Nothing was written; the same command starts again."
COMMANDS = [  # what was typed, the work that is stopped, what is told
    (
        ["rank", "resnet20=none", "--data", "digits"],
        "transferkit.studies.rank.ranking.rank",
        "Finished backbones are kept; the same command goes on from there.",
    ),
    (
        ["compare", "resnet20=none", "--data", "digits"],
        "transferkit.studies.compare.study.run_study",
        "Finished runs and the last saved epoch are kept; the same command goes on from there.",
    ),
    (
        ["limits", "run"],
        "transferkit.studies.limits.story.measure_limits",
        "The outputs for the image sets so far are stored; the same command goes on from there.",
    ),
    (
        ["limits", "run", "other"],
        "transferkit.studies.limits.comparison.compare_limits",
        "The outputs for the image sets so far are stored; the same command goes on from there.",
    ),
    (
        ["extract", "resnet20", "digits", "--weights", "none", "--out", "features.npy"],
        "transferkit.features.extraction.streaming.extract",
        "Finished parts are kept in features.npy.partial; the same command goes on from there.",
    ),
    (
        ["labels", "run"],
        "transferkit.studies.labels.label_quality.check_labels",
        "The run is as it was; the same command starts again.",
    ),
    (
        ["corrupt", "cat.png", "--out", "copies"],
        "transferkit.data.corruptions.files.write_copies",
        "The copies made so far are kept; the same command makes all of them anew.",
    ),
    (["merge", "all.npy", "a.npy"], "transferkit.features.extraction.merging.merge", NOTHING),
    (["gradient-flow"], "transferkit.studies.lab.gradient_flow.measure", NOTHING),
    (["filters", "resnet20", "--out", "filters.png"], "transferkit.studies.lab.named_networks.named_network", NOTHING),
    (["export", "run"], "transferkit.deploy.export.write_export", NOTHING),
    (["modes", "run"], "transferkit.studies.lab.mode_effects.of_run", NOTHING),
    (["shifts", "run"], "transferkit.studies.lab.shift_consistency.of_run", NOTHING),
]


@pytest.mark.parametrize(("typed", "work", "told"), COMMANDS, ids=[" ".join(typed[:3]) for typed, _, _ in COMMANDS])
def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    typed: list[str], work: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "features.npy.partial").mkdir()

    def stopped(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, stopped)
    monkeypatch.setattr("transferkit.runs.run_directory.open_run", Run)
    monkeypatch.setattr("transferkit.studies.labels.label_quality.require_cleanlab", lambda: None)

    message = refused(transferkit(*typed, cwd=tmp_path), 130)

    assert told in message
    assert "--resume" not in message  # only a single run has it


def test_an_extraction_stopped_before_its_first_part_promises_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("transferkit.features.extraction.streaming.extract", stopped)

    assert NOTHING in refused(transferkit("extract", "resnet20", "digits", "--out", "f.npy", cwd=tmp_path), 130)
