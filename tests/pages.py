"""A run's page and its verdict as text, and a small comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from transferkit import report
from transferkit.runs.run_directory import Run
from transferkit.runtime.records import from_json
from transferkit.studies.compare.results import Comparison


def page_of(run: Run) -> str:
    report.write(run)
    return (run.path / "report.html").read_text(encoding="utf-8")


def terminal_lines(run: Run) -> list[str]:
    console = Console(width=80, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(report.verdict(run))
    return console.export_text().splitlines()


def study(folder: Path, names: tuple[str, str] = ("scratch", "finetune")) -> Comparison:
    difference = {"mean": 0.031, "interval": [0.012, 0.05], "p": 0.001, "p_holm": 0.0123, "shown": True}
    arm = {"seeds": 3, "sd": 0.004, "mean": 0.82, "interval": [0.81, 0.83], "fit_seconds": 61.0, "test_openings": 3}
    arms: list[dict[str, Any]] = [
        {**arm, "name": name, "runs": [str(folder / "runs" / f"arm{number}-seed0")], "accuracies": [0.82]}
        for number, name in enumerate(names)
    ]
    arms[1]["difference"] = difference
    content = {
        "schema": 3,
        "pairs": [{"a": names[1], "b": names[0], **difference}],
        "reference": names[0],
        "n": 40,
        "arms": arms,
        "verdict": f"{names[1]} is better than {names[0]} by 3.1 points.",
        "name": "study",
        "failures": ["finetune, seed 2: the disk is full"],
        "command": "transferkit run study",
        "folder": str(folder),
    }
    return from_json(content, Comparison, "study")
