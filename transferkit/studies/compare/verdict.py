"""Who wins, in sentences that claim no more than the intervals show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from transferkit.metrics.statistics import Bounds, Over
from transferkit.report.number_words import sample_size
from transferkit.runtime.plurals import counted
from transferkit.studies.compare.results import Arm, ArmDifference, ArmPair


def verdict(
    rows: Sequence[Arm],
    pairs: Sequence[ArmPair],
    first: Sequence[str],
    reference: str,
    over: Over,
    n: int,
    groups: int | None = None,
) -> str:
    """Who wins, if that is shown, and how the others stand to the reference where they are few.

    Of arms whose seeds do not count as drawn by chance it is told what their runs did, not what they would do again.
    """
    evidence = evidence_in_words((row.seeds for row in rows), over, n, groups)
    if not pairs:
        return f"{rows[0].name} gets {100 * rows[0].mean:.1f} %; with one arm there is nothing to compare."
    subjects = {row.name: ArmInWords.of(row, over) for row in rows}
    if len(rows) == 2:
        name = rows[1].name
        difference = difference_in_words(subjects[name], subjects[reference], _difference(rows[1]))
        return f"{difference} ({evidence})."
    differences = [
        difference_in_words(subjects[row.name], subjects[reference], _difference(row)) + "."
        for row in sorted(rows[1:], key=lambda row: _difference(row).mean, reverse=True)
    ]
    winner = f"{winner_in_words([subjects[name] for name in first], subjects, pairs)} ({evidence})."
    return " ".join([winner, *(differences if len(rows) <= 4 else [])])


def _difference(row: Arm) -> ArmDifference:
    """Of an arm that is not the reference."""
    if row.difference is None:
        raise ValueError(f"{row.name} is the reference, which has no difference to itself")
    return row.difference


@dataclass(frozen=True)
class ArmInWords:
    """What a sentence speaks of: an arm, or the runs of it that there are.

    Attributes:
        words: `probe`, `this run of probe` or `these 3 runs of probe`.
        begins: The words at the beginning of a sentence; the name of an arm stays as it is.
        verb: `is` or `are`.
    """

    words: str
    begins: str
    verb: str = "is"

    @classmethod
    def of(cls, row: Arm, over: Over) -> ArmInWords:
        """The subject of a row of the table."""
        name, seeds = row.name, row.seeds
        if over == "seeds":
            return cls(name, name)
        if seeds == 1:
            return cls(f"this run of {name}", f"This run of {name}")
        return cls(f"these {seeds} runs of {name}", f"These {seeds} runs of {name}", "are")


def winner_in_words(first: Sequence[ArmInWords], subjects: Mapping[str, ArmInWords], pairs: Sequence[ArmPair]) -> str:
    """The winner, or those that cannot be told apart."""
    if len(first) == 1:
        nearest = next(pair for pair in pairs if subjects[pair.a] == first[0])
        best = f"{first[0].begins} {first[0].verb} the best of {len(subjects)}"
        return f"{best}, {in_points(nearest.mean, nearest.interval)} before {subjects[nearest.b].words}"
    widest = next(pair for pair in pairs if {subjects[pair.a], subjects[pair.b]} <= set(first))
    tied = f"{', '.join(subject.words for subject in first[:-1])} and {first[-1].words}"
    a, b, gap = subjects[widest.a], subjects[widest.b], in_points(widest.mean, widest.interval)
    return f"No clear winner: {tied} cannot be told apart; {a.words} {a.verb} {gap} before {b.words}"


def difference_in_words(subject: ArmInWords, reference: ArmInWords, difference: ArmDifference) -> str:
    """A difference to the reference, as far as it is shown."""
    gap = in_points(difference.mean, difference.interval)
    if not difference.shown:
        sentence = f"No difference shown between {subject.words} and {reference.words}: {gap}"
        holds_zero = difference.interval[0] <= 0 <= difference.interval[1]
        return sentence + ("" if holds_zero else f", p = {difference.p_holm:.2f} by Holm over all pairs")
    better = "better" if difference.mean > 0 else "worse"
    return f"{subject.begins} {subject.verb} {better} than {reference.words}: {gap}"


def in_points(mean: float, interval: Bounds) -> str:
    """A difference with its interval.

    Example:
        >>> in_points(0.031, (0.012, 0.05))
        '+3.1 points (+1.2 to +5.0)'
    """
    low, high = (signed_points(bound) for bound in interval)
    return f"{signed_points(mean)} points ({low} to {high})"


def signed_points(share: float) -> str:
    """A share in points with its sign; there is no minus zero.

    Example:
        >>> signed_points(0.0312), signed_points(-1e-9)
        ('+3.1', '+0.0')
    """
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def evidence_in_words(seeds_of_arms: Iterable[int], over: Over, n: int, groups: int | None = None) -> str:
    """What the intervals rest on.

    Example:
        >>> evidence_in_words([3, 3], "seeds", 10_000)
        '95 % intervals over seeds and images, n = 10,000, 3 seeds'
        >>> evidence_in_words([1], "images", 160, 20)
        '95 % intervals over groups, n = 160 in 20 groups, 1 seed'
    """
    counts = sorted(set(seeds_of_arms))
    seeds = counted(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    drawn = f"seeds and {units(groups)}" if over == "seeds" else units(groups)
    return f"95 % intervals over {drawn}, {sample_size(n, groups)}, {seeds}"


def units(groups: int | None) -> str:
    """What counts as drawn by chance beside the seeds."""
    return "images" if groups is None else "groups"
