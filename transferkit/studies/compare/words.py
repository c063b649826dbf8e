"""What a comparison says in numbers and sentences, for the page, the Markdown and the terminal alike."""

from __future__ import annotations

from transferkit.metrics.statistics import Bounds
from transferkit.report.markdown import escaped, table
from transferkit.report.number_words import p_value, sample_size
from transferkit.runtime.durations import duration
from transferkit.runtime.plurals import counted
from transferkit.studies.compare.results import Arm, ArmDifference, Comparison, LabelCurve
from transferkit.studies.compare.verdict import signed_points, units

DASH = "–"

COSTS = (
    "Trained: parameters that the fit changes. GFLOPs: thousand million operations per image at prediction (two per "
    "multiply-add; convolutions, linear layers and attention; without the head). Fit: the mean time of a whole fit, "
    "validation and feature passes included; a pass that an earlier run stored is not paid again. img/s: the plain "
    "forward pass, batches of 64, pixels in memory. Memory: the peak of the GPU's tensors, or on a CPU that of the "
    "whole process."
)


def count(value: float | None) -> str:
    """A number of parameters.

    Example:
        >>> count(5130), count(11_181_642), count(None)
        ('5.1k', '11.2M', '–')
    """
    if value is None:
        return DASH
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f}{unit}"
    return f"{value:,.0f}"


def gigaflops(value: float | None) -> str:
    """Operations in thousands of millions.

    Example:
        >>> gigaflops(3_627_123_712), gigaflops(5_068_800), gigaflops(2.1e15)
        ('3.6', '0.0051', '2,100,000')
    """
    if value is None:
        return DASH
    giga = value / 1e9
    return f"{giga:,.1f}" if 1 <= giga < 1000 else f"{giga:,.0f}" if giga >= 1000 else f"{giga:.2g}"


def rate(value: float | None) -> str:
    """Images per second."""
    return DASH if value is None else f"{value:,.0f}"


def gigabytes(value: float | None) -> str:
    """Memory.

    Example:
        >>> gigabytes(893_956_096)
        '0.89 GB'
    """
    return DASH if value is None else f"{value / 1e9:.2g} GB"


def accuracy(row: Arm) -> str:
    """Mean and standard deviation over seeds, in per cent."""
    deviation = "" if row.sd is None else f" ± {100 * row.sd:.1f}"
    return f"{100 * row.mean:.1f}{deviation}"


def interval(bounds: Bounds) -> str:
    """An interval in per cent.

    Example:
        >>> interval((0.75, 0.813))
        '75.0 to 81.3'
    """
    low, high = (100 * bound for bound in bounds)
    return f"{low:.1f} to {high:.1f}"


def signed_interval(difference: ArmDifference) -> str:
    """The interval of a difference in points."""
    low, high = (signed_points(bound) for bound in difference.interval)
    return f"{low} to {high}"


def gap(difference: ArmDifference) -> str:
    """A difference with its interval, in points."""
    return f"{signed_points(difference.mean)} ({signed_interval(difference)})"


def length(row: Arm) -> str:
    """How long an arm trained, and whether that is outside the budget."""
    return f"{row.length}{', own' if row.own_length else ''}"


def reading(comparison: Comparison | LabelCurve) -> list[str]:
    """Which question each number answers, and how it was made."""
    seeds = max((row.seeds for row in comparison.arms), default=1)
    lines = []
    if seeds > 1:
        lines.append("± is the standard deviation over seeds: would another training give the same?")
    else:
        lines.append("One seed: nothing here says whether another training would give the same.")
    if isinstance(comparison, LabelCurve):
        lines += [_curve_interval(seeds, comparison.groups), comparison.subsets]
    else:
        lines.append(_interval_over_units("95 %, of the mean over seeds", comparison.groups))
    return [*lines, _difference(comparison), _p_value(comparison)]


def _interval_over_units(which: str, groups: int | None) -> str:
    """Which question the interval of an accuracy answers that is over images, or over their groups."""
    if groups is None:
        return f"The interval of an accuracy is over test images (Wilson's, {which}): would other images give the same?"
    return (
        f"The interval of an accuracy is over the {counted(groups, 'group')} that the test images come in (a "
        "bootstrap of whole "
        f"groups, {which}): would other groups give the same?"
    )


def _difference(comparison: Comparison | LabelCurve) -> str:
    """Which question the interval of a difference and its p-value answer."""
    drawn = units(comparison.groups)
    if comparison.over == "seeds":
        return (
            f"A difference asks: would other trainings differ in the same way, on other {drawn}? Its 95 % interval "
            f"adds the variance between seeds (Welch's t, so few seeds make it wide) to that between {drawn}."
        )
    return (
        f"A difference asks about these very networks: would they differ in the same way on other {drawn}? Its 95 % "
        f"interval is over {drawn} alone; whether other trainings would differ is another question, which needs at "
        "least two seeds of every arm."
    )


def _p_value(comparison: Comparison | LabelCurve) -> str:
    """What p is, and when a difference counts as shown."""
    is_curve = isinstance(comparison, LabelCurve)
    among = comparison.points[0].comparison if isinstance(comparison, LabelCurve) else comparison
    pairs, where = len(among.pairs), " at each number of labels" if is_curve else ""
    is_single = all(row.seeds == 1 for row in comparison.arms)
    mcnemar = "McNemar's test" if comparison.groups is None else "McNemar's test for clustered pairs"
    unit = units(comparison.groups).removesuffix("s")
    named = f"{mcnemar}, with one {unit} more on either side" if is_single else "from the same computation"
    adjusted = f"adjusted by Holm over all {pairs} pairs{where}" if pairs > 1 else "of the one pair there is"
    return f"p is {named}, {adjusted}; a difference counts as shown where it is at most 0.05." + (
        " An interval stands for its own pair alone, so it can leave out zero where p is above 0.05." * (pairs > 1)
    )


def _curve_interval(seeds: int, groups: int | None) -> str:
    if seeds > 1:
        return (
            f"The interval of an accuracy is over seeds and {units(groups)} (95 %): would other labels, another "
            f"training and other {units(groups)} give the same?"
        )
    return _interval_over_units("95 %", groups)


def notes(comparison: Comparison | LabelCurve) -> list[str]:
    """Everything below the table: the budget, how to read it, the costs, the machines."""
    budget = [comparison.budget_in_words] if comparison.budget_in_words else []
    return [*budget, *reading(comparison), COSTS, *comparison.notes]


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    failures = "\n".join(f"- failed: {escaped(failure)}" for failure in comparison.failures)
    parts = [
        f"# {escaped(comparison.name)}",
        escaped(comparison.verdict),
        table(
            header(comparison.groups),
            [cells(row) for row in sorted(comparison.arms, key=lambda row: row.mean, reverse=True)],
        ),
        f"{sample_size(comparison.n, comparison.groups, ' test images')}.",
        "\n".join(f"- {escaped(note)}" for note in notes(comparison)),
        failures,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def header(groups: int | None) -> list[str]:
    """The titles of the Markdown table."""
    return [
        "arm",
        "length",
        "seeds",
        "accuracy, %",
        f"95 % over {units(groups)}",
        "difference, points",
        "p (Holm)",
        "trained",
        "GFLOPs/img",
        "training GFLOPs",
        "fit",
        "img/s",
        "memory",
    ]


def cells(row: Arm) -> list[str]:
    """One arm's line of the Markdown table."""
    difference = row.difference
    shown = "" if not difference or difference.shown else ", not shown"
    return [
        row.name,
        length(row),
        str(row.seeds),
        accuracy(row),
        interval(row.interval),
        f"{gap(difference)}{shown}" if difference else "reference",
        p_value(difference.p_holm) if difference else "",
        count(row.trained_parameters),
        gigaflops(row.flops_per_image),
        gigaflops(row.training_flops),
        duration(row.fit_seconds),
        rate(row.predicted_images_per_second),
        gigabytes(row.peak_memory_bytes),
    ]


PAPER_HEADER = ("arm", "accuracy, %", "95 %", "difference, points", "95 % of it", "p (Holm)", "seeds")


def paper_cells(row: Arm) -> list[str]:
    """An arm as a row of a table for a paper."""
    difference = row.difference
    compared = (
        (signed_points(difference.mean), signed_interval(difference), p_value(difference.p_holm))
        if difference
        else ("reference", "", "")
    )
    return [row.name, accuracy(row), interval(row.interval), *compared, str(row.seeds)]
