"""What facts.json and environment.json promise: what is written is what is read, and damage is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import FACTS

from transferkit.runs.facts import ProbeFacts, RunCosts, RunFacts, read_facts, write_facts
from transferkit.runs.run_directory import Run
from transferkit.runtime.environment import Environment
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.files import read_json, write_json
from transferkit.runtime.records import from_json

PROBE = ProbeFacts("linear", C=0.1, grid=(0.01, 0.1), validation_accuracy=(0.5, 0.6), validation_loss=(1.0, 0.9))


def whole() -> RunFacts:
    known = from_json(FACTS, RunFacts, "facts.json")
    return replace(known, probe=PROBE, costs=RunCosts(flops_per_image=2e6, steps=30), label_openings=1)


def test_facts_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    write_facts(tmp_path, whole())

    assert read_facts(tmp_path) == whole()


def test_the_file_keeps_the_keys_and_values_that_it_had(tmp_path: Path) -> None:
    write_facts(tmp_path, from_json(FACTS, RunFacts, "facts.json"))

    written = read_json(tmp_path / "facts.json")

    for key in ("seconds", "data", "notes", "started", "test_openings"):
        assert written[key] == FACTS[key]
    assert written["rates"] == {**FACTS["rates"], "head_scale": 1.0, "layer_decay": 1.0}


def test_times_are_summed_and_the_fit_stands_alone() -> None:
    assert (whole().total_seconds, whole().fit_seconds) == (64.5, 61.5)  # 1 + 61.5 + 2


def test_an_environment_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    environment = Environment("3.12.1", "Linux", {"torch": "2.6.0", "timm": None}, "CPU", "fp32", 2)
    Run(tmp_path).write_environment(environment)

    assert Run(tmp_path).environment == environment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds": {"fit": "x"}}, "seconds.fit is 'x', expected float"),
        ({"data": {**FACTS["data"], "size_px": [0]}}, "data.size_px.0 is 0, expected positive"),
        ({"probe": {"grid": 5}}, "probe.grid is 5, expected a list"),
    ],
)
def test_damaged_facts_are_told_with_their_place(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    write_json(tmp_path / "facts.json", FACTS | change)

    with pytest.raises(TransferkitError, match=rf"facts\.json is damaged: {words}"):
        read_facts(tmp_path)
