"""What a benchmark found, and the table that shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transferkit.metrics.statistics import Bounds
from transferkit.report.number_words import percent, percent_interval

NOTHING = "–"
ACCURACY = ("format", "accuracy, %", "lost, points", "same answers", "MB")
SPEED = ("format", "1 image, ms", "x as fast", "{batch}, ms", "x as fast", "img/s")


@dataclass(frozen=True)
class Speed:
    """How long a batch takes.

    Attributes:
        images: In the batch.
        milliseconds: Median over turns.
        times: How many times as fast as `Benchmark.beside` in the same turn, median over turns.
        quartiles: Of these ratios.
    """

    images: int
    milliseconds: float
    times: float
    quartiles: Bounds

    @property
    def images_per_second(self) -> float:
        """At this size of batch."""
        return 1000 * self.images / self.milliseconds


@dataclass(frozen=True)
class FormMeasurement:
    """One form on the images and on this machine.

    Attributes:
        accuracy: In [0, 1].
        interval: Of it, 95 %.
        loss: Accuracy of the run minus that of this form, in [-1, 1].
        loss_interval: Of the loss, 95 %, paired image by image.
        same_answers: Images to which it gives the run's answer.
        single: Speed with one image.
        batch: Speed with a batch.
        bytes: On disk.
    """

    accuracy: float
    interval: Bounds
    loss: float
    loss_interval: Bounds
    same_answers: int
    single: Speed
    batch: Speed
    bytes: int


@dataclass(frozen=True)
class FormResult:
    """A row of the table.

    Attributes:
        form: Its name.
        measured: None where it cannot be had here.
        obstacle: Why not; empty where it can.
    """

    form: str
    measured: FormMeasurement | None
    obstacle: str = ""


@dataclass(frozen=True, repr=False)
class Benchmark:
    """Every form of a run: what it costs in accuracy, how fast it is here, and its size.

    Attributes:
        run: Its folder.
        own_form: In which the run answers; losses are counted from it.
        beside: The form by which speeds are divided.
        part: Where the images are from: val or test.
        images: On which accuracy was measured.
        turns: By images in the batch, how many turns each form had.
        machine: Processor and threads.
        rows: One per form.
        notes: What a reader must know.
    """

    run: str
    own_form: str
    beside: str
    part: str
    images: int
    turns: dict[int, int]
    machine: str
    rows: tuple[FormResult, ...]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The tables in 80 columns."""
        return "\n".join(self.lines())

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        from markupsafe import Markup

        cell, row = Markup("<td>{}</td>"), Markup("<tr>{}</tr>")
        tables = [
            Markup("<table>{}</table>").format(
                Markup("").join(row.format(Markup("").join(map(cell.format, cells))) for cells in table)
            )
            for table in self.tables()
        ]
        words = [Markup("<p>{}</p>").format(line) for line in self.sentences()]
        return str(Markup("").join([*tables, *words]))

    def lines(self) -> list[str]:
        """Both tables, aligned, and what is to be said of them."""
        first, second = (_aligned(table) for table in self.tables())
        return [*first, "", *second, "", *self.sentences()]

    def tables(self) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
        """Accuracy with size, and speed: the titles and a row per form."""
        titles = tuple(title.format(batch=max(self.turns)) for title in SPEED)
        accuracy = [_accuracy_cells(row, self.images) for row in self.rows]
        return [ACCURACY, *accuracy], [titles, *map(_speed_cells, self.rows)]

    def sentences(self) -> list[str]:
        """What is fastest, on what it was measured, and why forms are missing."""
        single, batch = self.turns
        return [
            self._fastest(),
            f"Accuracy on {self.images:,} {self.part} images; losses against the run's own answers ({self.own_form}), "
            "paired, with their 95 % intervals.",
            f"Times on {self.machine}: medians of {self.turns[single]} turns with {single} image and "
            f"{self.turns[batch]} with {batch}, the forms in turns; “x as fast” as {self.beside} in "
            "the same turn, median (quartiles). Images come decoded.",
            *(f"{row.form}: not measured: {row.obstacle}" for row in self.rows if row.obstacle),
            *self.notes,
        ]

    def _fastest(self) -> str:
        rows = {row.form: row.measured for row in self.rows if row.measured}
        single = max(rows, key=lambda form: rows[form].single.times)
        batch = max(rows, key=lambda form: rows[form].batch.times)
        if single == batch:
            return f"Fastest here: {single}."
        return f"Fastest here: {single} with one image, {batch} with {max(self.turns)}."


def _accuracy_cells(row: FormResult, images: int) -> tuple[str, ...]:
    if (measured := row.measured) is None:
        return (row.form, *[NOTHING] * 4)
    low, high = (_tidy(100 * end) for end in measured.loss_interval)
    return (
        row.form,
        f"{100 * measured.accuracy:.1f} ({percent_interval(measured.interval)})",
        f"{_tidy(100 * measured.loss):.2f} ({low:.2f} to {high:.2f})",
        percent(measured.same_answers / images),
        f"{measured.bytes / 1e6:.1f}",
    )


def _speed_cells(row: FormResult) -> tuple[str, ...]:
    if (measured := row.measured) is None:
        return (row.form, *[NOTHING] * 5)
    single, batch = measured.single, measured.batch
    speeds = (f"{single.milliseconds:.1f}", _times(single), f"{batch.milliseconds:.0f}", _times(batch))
    return (row.form, *speeds, f"{batch.images_per_second:,.0f}")


def _times(speed: Speed) -> str:
    low, high = speed.quartiles
    return f"{speed.times:.2f} ({low:.2f}–{high:.2f})"


def _tidy(number: float) -> float:
    return round(number, 2) + 0.0  # no minus before zero


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    wide = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *others in table:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, wide[1:], strict=True)]
        yield "  ".join([f"{first:<{wide[0]}}", *cells])
