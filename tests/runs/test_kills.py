"""Commands that are killed at a change of the disk come to the same end when they are typed again.

The full form, every kind of command at many points: python tests/kill_points.py all --points 40
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kill_points
import pytest

SCRIPT = Path(__file__).parents[1] / "kill_points.py"
POINTS = int(os.environ.get("TRANSFERKIT_KILL_POINTS", "2"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_command_comes_to_the_same_end_when_it_is_typed_again() -> None:
    command = [sys.executable, str(SCRIPT), "all", "--points", str(POINTS), "--seed", "1"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    figures = {line["scenario"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(figures) == set(kill_points.scenarios())
    assert {name: line["faults"] for name, line in figures.items() if line["faults"]} == {}
    assert {line["points"] for line in figures.values()} == {POINTS}
    assert min(line["compared"] for line in figures.values()) >= 2


def test_changes_of_the_disk_are_told_from_reading_and_from_other_folders(tmp_path: Path) -> None:
    inside, outside = str(tmp_path / "a"), str(tmp_path.parent / "a")

    assert kill_points.is_change("open", (inside, "w", os.O_WRONLY | os.O_CREAT), tmp_path)
    assert kill_points.is_change("open", (inside, None, os.O_RDWR), tmp_path)
    assert not kill_points.is_change("open", (inside, "r", os.O_RDONLY), tmp_path)
    assert not kill_points.is_change("open", (3, "w", os.O_WRONLY), tmp_path)
    assert not kill_points.is_change("open", (outside, "w", os.O_WRONLY), tmp_path)
    assert kill_points.is_change("os.rename", (inside, outside, -1, -1), tmp_path)
    assert not kill_points.is_change("os.listdir", (inside,), tmp_path)
