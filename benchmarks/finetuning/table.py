"""The table: accuracies of all arms, how the default differs from its rivals, and what that shows over all settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetuning.pairs import Pair, paired
from finetuning.records import Record
from finetuning.settings import Setting
from transferkit.metrics.statistics import holm

ARMS = ("probe", "default", "random head", "plain", "fastai")
REFERENCES = (
    "plain",
    "probe",
    "fastai",
    "random head",
)  # what the default is compared with; the first two have columns
LEVEL = 0.05

Measured = Mapping[str, Mapping[int, Record]]  # by arm and seed


@dataclass(frozen=True)
class Comparison:
    """The default against one other arm, over all settings where both were measured.

    Attributes:
        reference: The other arm.
        pairs: By the setting's name.
        adjusted: Holm's p over these settings, likewise.
    """

    reference: str
    pairs: Mapping[str, Pair]
    adjusted: Mapping[str, float]

    def shown(self, sign: int) -> list[str]:
        """Settings in which the default is shown to be better (1) or worse (-1), after Holm."""
        return [
            name for name, pair in self.pairs.items() if self.adjusted[name] <= LEVEL and sign * pair.difference > 0
        ]


def comparison(rows: Mapping[Setting, Measured], reference: str) -> Comparison:
    """Pair the default with another arm, setting by setting, on the seeds that both have."""
    pairs = {
        setting.name: pair
        for setting, arms in rows.items()
        if (pair := _pair(arms.get("default", {}), arms.get(reference, {}))) is not None
    }
    adjusted = holm([pair.p for pair in pairs.values()])
    return Comparison(reference, pairs, dict(zip(pairs, adjusted, strict=True)))


def _pair(a: Mapping[int, Record], b: Mapping[int, Record]) -> Pair | None:
    seeds = sorted(seed for seed in a.keys() & b.keys() if not (a[seed].error or b[seed].error))
    if not seeds:
        return None
    return paired(*(np.stack([arm[seed].correct for seed in seeds]) for arm in (a, b)))


def markdown(rows: Mapping[Setting, Measured], heading: Sequence[str]) -> str:
    """The page: the table, what it shows, failures, and how it was made."""
    versus = [comparison(rows, reference) for reference in REFERENCES]
    columns = versus[:2]
    head = ["setting", "n test", *ARMS, *(f"default - {one.reference} (p, Holm)" for one in columns)]
    lines = [_line(head), _line(["---"] * len(head))]
    lines += [_line(_cells(setting, arms, columns)) for setting, arms in rows.items()]
    lines += [_line(["**mean**", "", *(_mean(rows, arm) for arm in ARMS), *map(_mean_difference, columns)])]
    parts = ["\n".join(lines), *map(_verdict, versus), *_failures(rows), *_notes(rows), "\n".join(heading)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(setting: Setting, arms: Measured, columns: Sequence[Comparison]) -> list[str]:
    images = {len(record.correct) for by_seed in arms.values() for record in by_seed.values() if not record.error}
    differences = [
        _difference(one.pairs[setting.name], one.adjusted[setting.name]) if setting.name in one.pairs else "-"
        for one in columns
    ]
    return [setting.name, f"{max(images, default=0):,}", *(_accuracy(arms.get(arm, {})) for arm in ARMS), *differences]


def _accuracy(by_seed: Mapping[int, Record]) -> str:
    """Mean, sd and number of draws, in percent."""
    values = [100 * record.accuracy for record in by_seed.values() if not record.error]
    failed = f"{len(by_seed) - len(values)} failed" if len(by_seed) > len(values) else ""
    if not values:
        return failed or "-"
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread} ({len(values)}{', ' if failed else ''}{failed})"


def _difference(pair: Pair, adjusted: float) -> str:
    low, high = 100 * pair.low, 100 * pair.high
    return f"{100 * pair.difference:+.1f} [{low:+.1f}, {high:+.1f}] ({adjusted:.2g})"


def _mean(rows: Mapping[Setting, Measured], arm: str) -> str:
    """Over the settings that every arm has, so that the columns can be compared."""
    complete = [arms for arms in rows.values() if all(_accuracies(arms.get(name, {})) for name in ARMS)]
    values = [float(np.mean(_accuracies(arms[arm]))) for arms in complete]
    return f"{np.mean(values):.1f} of {len(values)}" if values else "-"


def _accuracies(by_seed: Mapping[int, Record]) -> list[float]:
    return [100 * record.accuracy for record in by_seed.values() if not record.error]


def _mean_difference(one: Comparison) -> str:
    values = [100 * pair.difference for pair in one.pairs.values()]
    return f"{np.mean(values):+.1f} of {len(values)}" if values else "-"


def _verdict(one: Comparison) -> str:
    if not one.pairs:
        return ""
    values = {name: 100 * pair.difference for name, pair in one.pairs.items()}
    lowest = min(values, key=lambda name: values[name])
    return (
        f"Default against {one.reference}: {np.mean(list(values.values())):+.1f} points on average over {len(values)} "
        f"settings, lowest {values[lowest]:+.1f} ({lowest}); shown to be better in {len(one.shown(1))}, "
        f"worse in {len(one.shown(-1))}{_named(one.shown(-1))} (Holm, {LEVEL:.0%})."
    )


def _named(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _failures(rows: Mapping[Setting, Measured]) -> list[str]:
    failed = [
        f"- {setting.name}, {arm}, seed {seed}: {record.error}"
        for setting, arms in rows.items()
        for arm, by_seed in arms.items()
        for seed, record in by_seed.items()
        if record.error
    ]
    return ["Failed:\n\n" + "\n".join(failed)] if failed else []


def _notes(rows: Mapping[Setting, Measured]) -> list[str]:
    notes: dict[str, list[str]] = {}
    for setting in rows:
        if setting.note:
            notes.setdefault(setting.note, []).append(setting.name)
    return ["\n".join(f"- {', '.join(names)}: {note}." for note, names in notes.items())] if notes else []
