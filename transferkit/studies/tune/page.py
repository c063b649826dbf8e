"""A tuning as a table on the terminal, as Markdown and as a page with one picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from markupsafe import Markup
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from transferkit.report import markdown, svg_lines
from transferkit.report import number_words as words
from transferkit.report.page import rendered
from transferkit.runtime.console import printable
from transferkit.runtime.durations import duration
from transferkit.runtime.plurals import counted
from transferkit.studies.tune.results import Trial, Tuning
from transferkit.studies.tune.space import in_words

FOLDER = Path(__file__).parent
GO_ON = {
    "grid": "By turns the most accurate setting and that of the lowest loss went on to longer trainings.",
    "optuna": "Which went on to longer trainings Optuna said, by accuracy.",
}
SHOWN = 10  # rows of the terminal's table
HEADER = ("setting", "length", "px", "rate", "val accuracy (95 %)", "val loss", "time")


def rows(tuning: Tuning) -> list[Trial]:
    """The trials as a reader wants them: the longest trainings first, best first."""
    return sorted(tuning.trials, key=lambda trial: (-trial.rung, trial.badness))


def cells(trial: Trial) -> list[str]:
    """A trial's line of every table."""
    rate = "–" if trial.lr is None else f"{trial.lr:.2g}"
    loss = "–" if trial.loss is None else f"{trial.loss:.3f}"
    share = f"{words.percent(trial.accuracy)} ({words.percent_interval(trial.interval)})"
    accuracy = trial.failure if trial.accuracy is None else share
    setting, length = in_words(trial.values), length_in_words(trial)
    return [setting, length, str(trial.size), rate, accuracy, loss, duration(trial.seconds)]


def length_in_words(trial: Trial) -> str:
    """How long a trial trained: `1 epoch`, `30 steps`."""
    return f"{trial.length:,} {trial.length_unit.removesuffix('s') if trial.length == 1 else trial.length_unit}"


def tuning_verdict(tuning: Tuning) -> RenderableType:
    """What the terminal shows: the verdict, the best trials in 80 columns, where the rest is."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("setting", overflow="fold")
    for title in ("length", "val, % (95 %)", "loss", "time"):
        table.add_column(title, justify="right", no_wrap=True)
    for trial in rows(tuning)[:SHOWN]:
        setting, length, _, _, _, loss, time = cells(trial)
        accuracy = "failed" if trial.accuracy is None else f"{100 * trial.accuracy:.1f}"
        interval = words.percent_interval(trial.interval)
        table.add_row(printable(setting), length, f"{accuracy} {interval}".strip(), loss, time)
    verdict = Text(printable(tuning.verdict), style="bold")
    more = [Text(f"and {len(tuning.trials) - SHOWN} more trials")] if len(tuning.trials) > SHOWN else []
    low, high = tuning.result.interval
    test = f"Test, opened after the choice: 95 % interval {100 * low:.1f} to {words.percent(high)}."
    places = f"Run: {tuning.result.run}\nReport: {tuning.folder}/report.html"
    return Group(verdict, Text(), table, *more, Text(), Text(test), Text(printable(places)))


def tuning_markdown(tuning: Tuning) -> str:
    """The tuning as Markdown."""
    parts = [
        f"# {markdown.escaped(tuning.verdict)}",
        markdown.table(list(HEADER), [cells(trial) for trial in rows(tuning)]),
        "## Notes",
        "\n".join(f"- {markdown.escaped(note)}" for note in notes(tuning)),
        *([markdown.code_block(tuning.command)] if tuning.command else []),
    ]
    return "\n\n".join(parts) + "\n"


def notes(tuning: Tuning) -> list[str]:
    """How it was chosen, and what the numbers do not say."""
    tried = f"{tuning.points} of {tuning.of}" if tuning.points < tuning.of else f"all {tuning.of}"
    space = "; ".join(f"{key}: {', '.join(map(_written, values))}" for key, values in tuning.space.items())
    lengths = Counter(length_in_words(trial) for trial in tuning.trials)
    rungs = ", ".join(f"{count} at {length}" for length, count in lengths.items())
    return [
        f"Successive halving ({tuning.search}): {tried} settings of the space {space}; {rungs}. {GO_ON[tuning.search]}",
        f"Learnt from {counted(tuning.train, 'train image')} and chosen on {counted(tuning.val, 'val image')}, of "
        "the longest trainings by accuracy and at a tie by loss. "
        f"Test was opened {tuning.test_openings} times before the choice.",
        f"{tuning.steps:,} gradient steps, the chosen training's {tuning.result.steps:,} among them; every setting of "
        f"the space at full length would have taken {tuning.grid_steps:,}. A step costs more at larger sizes.",
        *tuning.notes,
    ]


def _written(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def tuning_page(tuning: Tuning) -> str:
    """The tuning as one HTML file that loads nothing."""
    return rendered(
        FOLDER / "tuning.html.jinja",
        tuning=tuning,
        drawing=accuracy_over_length(tuning),
        rows=[(trial, cells(trial)) for trial in rows(tuning)],
        notes=notes(tuning),
        chosen=Path(tuning.result.run).name,
        in_words=in_words,
    )


def accuracy_over_length(tuning: Tuning) -> Markup:
    """Inline SVG: val accuracy of each setting over the length of its training, those that went on as lines."""
    paths: dict[str, list[Trial]] = {}
    for trial in sorted(tuning.trials, key=lambda trial: trial.rung):
        if trial.accuracy is not None:
            paths.setdefault(in_words(trial.values), []).append(trial)
    lines = [
        svg_lines.Line(
            [float(trial.length) for trial in trials], [100 * (trial.accuracy or 0.0) for trial in trials], name
        )
        for name, trials in paths.items()
    ]
    unit = tuning.trials[0].length_unit
    return svg_lines.curve(lines, "Val accuracy of each setting, %", "{:.4g}".format, unit)
