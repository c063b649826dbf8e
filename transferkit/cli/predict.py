"""The command that names what is in any number of images. torch is imported inside the command only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from transferkit.cli.help_pages import RARE
from transferkit.cli.options import RUN, Device, FinishedRun, Json, OverwriteFile, PassSize, with_groups
from transferkit.cli.terminal import NOTHING_WRITTEN, print_json, working
from transferkit.runtime.console import printable
from transferkit.runtime.errors import MachineError
from transferkit.runtime.json_files import JsonObject
from transferkit.runtime.plurals import counted

if TYPE_CHECKING:
    from transferkit.deploy.answer_rows import Tally
    from transferkit.deploy.answers import Answer, PredictSettings
    from transferkit.deploy.batch_prediction import Voice
    from transferkit.runtime.console import Console

HEADINGS = ("path", "answer", "probability", "note")
UNREADABLE = "unreadable"
WORDS = {"name": "class", "percentile": "unusual_percent"}  # of a prediction, as files of answers have them
MOST_CLASSES = 100  # per image, in a file


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(predict)


@dataclass(frozen=True)
class PredictOptions:
    """How images are answered."""

    acceptance: Annotated[
        float, typer.Option(help="Share of familiar images that must not be rejected as unknown.", min=0.5, max=1.0)
    ] = 0.95
    top: Annotated[int, typer.Option(help="Classes per image in the file.", min=1, max=MOST_CLASSES)] = 3
    part: Annotated[Literal["train", "val", "trainval", "test"], typer.Option(help="Of a data set.")] = "trainval"
    batch_size: PassSize = None
    precision: Annotated[
        Literal["own", "int8"],
        typer.Option(
            help="own: as the run's thresholds were made; int8: faster for thousands of images, on CPUs.",
            rich_help_panel=RUN + RARE,
        ),
    ] = "own"

    def settings(self) -> PredictSettings:
        """The same as a prediction's settings."""
        from transferkit.deploy.answers import PredictSettings

        return PredictSettings(self.acceptance, self.top, self.part, self.batch_size or "auto")


@with_groups
def predict(
    run: FinishedRun,
    images: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, quoted globs, CSVs with a column path; or a data set; or - for a list on stdin."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="A file of answers: .csv, .jsonl or .parquet.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="A page of thumbnails, unknown images first.", show_default=False)
    ] = None,
    sort_into: Annotated[
        Path | None, typer.Option(help="Copy each image into a folder per answer, in this one.", show_default=False)
    ] = None,
    asked: PredictOptions = PredictOptions(),
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Unreadable files are no reason to fail.")] = False,
    overwrite: OverwriteFile = False,
    json: Json = False,
    device: Device = "auto",
) -> None:
    """Name what is in your pictures, or say `unknown`, with the model of a run."""
    with working(lambda: resume_advice(out)) as console:
        from transferkit.deploy.answers import task_of
        from transferkit.deploy.batch_prediction import Targets, answer_all
        from transferkit.deploy.prediction import in_int8, load, no_threshold

        targets = Targets(out, html, sort_into, overwrite)
        targets.require(images)
        model = load(run, device)
        if asked.precision == "int8":
            model = in_int8(model, run, console)
        if words := no_threshold(model):
            console.line(words)
        task = task_of(model, images, asked.settings(), console)
        answers: list[Answer] = []
        counts = answer_all(task, targets, voice(console, out, answers if json else None))
    for path in filter(None, (sort_into, html, out)):
        console.line(f"{counts.in_words()}: {path}")
    if json:
        print_json(counts if out else list(map(document, answers)))
    require_readable(counts, skip_bad, console)


def resume_advice(out: Path | None) -> str:
    """What a stopped prediction has left, and how to go on from there."""
    if out is None or not out.with_name(out.name + ".partial").exists():
        return NOTHING_WRITTEN
    return f"Stopped. The answers so far are kept beside {out}; the same command goes on from there."


def require_readable(counts: Tally, skip_bad: bool, console: Console) -> None:
    """Say how many files could not be read; that is an error unless they may be skipped.

    Raises:
        MachineError: Says how to go on.
    """
    if counts.unreadable and not skip_bad:
        raise MachineError(
            f"{counts.unreadable:,} of {counted(counts.images, 'image')} could not be read; their rows say why. "
            "All others are answered. With --skip-bad this is no error."
        )
    if counts.unreadable:
        console.line(f"{counts.unreadable:,} of {counted(counts.images, 'image')} could not be read.")


def voice(console: Console, out: Path | None, answers: list[Answer] | None) -> Voice:
    """Who hears the answers: nobody where they go to a file, else the list or standard output."""
    from transferkit.deploy.batch_prediction import Voice
    from transferkit.runtime.console import SILENT

    if out:
        return Voice(console, console, lambda _: None)
    if answers is not None:
        return Voice(console, console, answers.extend)
    table = AnswerTable(is_aligned=sys.stdout.isatty())
    return Voice(console, SILENT if table.is_aligned else console, table.show)


def document(answer: Answer) -> JsonObject:
    """An answer for --json; `answer` as everywhere, and `class` the likeliest one, also where the answer is unknown."""
    from transferkit.deploy.answer_rows import name_of

    named: JsonObject = {"path": answer.path, "answer": name_of(answer)}
    if answer.prediction is None:
        return {**named, "error": answer.error}
    return {**named, **{WORDS.get(key, key): value for key, value in vars(answer.prediction).items()}}


def cells(answer: Answer) -> tuple[str, ...]:
    """Image, answer, probability and note, without what steers a terminal or ends a column."""
    from transferkit.deploy.prediction import in_words

    words = in_words(answer.prediction) if answer.prediction else f"{UNREADABLE}\t\t{answer.error}"
    row = (answer.path.replace("\t", "?"), *words.split("\t"))
    return tuple(printable(cell.replace("\n", "?")) for cell in (*row, "")[: len(HEADINGS)])


@dataclass
class AnswerTable:
    """Prints answers as they come: aligned on a terminal, else tab-separated; a header first."""

    is_aligned: bool
    widths: tuple[int, ...] = ()

    def show(self, answers: Sequence[Answer]) -> None:
        """Print the answers to one batch."""
        rows = [cells(answer) for answer in answers]
        if not self.widths:
            rows.insert(0, HEADINGS)
        from rich.cells import cell_len

        wide = [tuple(map(cell_len, row)) for row in rows]
        self.widths = tuple(map(max, zip(*wide, *filter(None, [self.widths]), strict=True)))
        for row in rows:
            print(self._line(row))
        sys.stdout.flush()

    def _line(self, row: Sequence[str]) -> str:
        if not self.is_aligned:
            return "\t".join(row).rstrip("\t")
        from rich.cells import set_cell_size

        return "  ".join(set_cell_size(cell, width) for cell, width in zip(row, self.widths, strict=True)).rstrip()
