"""The command that checks labels. torch is imported inside it only."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(labels)


def labels(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    limit: Annotated[
        int | None, typer.Option(help="Look at no more than this many training images.", min=10, show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Find likely label errors, and test images that are also in train."""
    from transferkit.label_quality import check_labels, require
    from transferkit.run_directory import open_run
    from transferkit.screen import Screen

    require()
    place = open_run(run)
    screen = Screen()
    found = check_labels(place, screen, device=device, limit=limit)
    from transferkit import report

    report.write(open_run(run))
    if json:
        print(json_format.dumps(found, indent=1, ensure_ascii=False))
    for line in in_words(found, run):
        screen.line(line)


def in_words(found: dict[str, Any], run: Path) -> list[str]:
    """What was found, in a few lines."""
    lines = [
        f"{len(found[part]['issues']):,} likely label errors in {found[part]['n']:,} {part} images."
        for part in ("train", "test")
    ]
    differing = sum(pair["test"]["label"] != pair["train"]["label"] for pair in found["duplicates"])
    other = f", {differing:,} of them with another label there" if differing else ""
    lines.append(f"{len(found['duplicates']):,} test images are also in train{other}.")
    for row in found["accuracy"]:
        if row["accuracy"] is not None:
            low, high = row["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
            lines.append(f"  {100 * row['accuracy']:5.1f} % ({interval}), n = {row['n']:,}: {row['of']}")
    return [*lines, f"Look at them in {run / 'report.html'}; all are listed in {run / 'labels.csv'}."]
