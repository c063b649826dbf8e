"""Many finished runs become one verdict: accuracy and cost of every arm, and the paired differences between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from transferkit.metrics.statistics import Over, holm, mean_accuracy_interval, mean_and_sd, paired_difference
from transferkit.recipe import TrainingSettings
from transferkit.recipe import budget as budgets
from transferkit.runs.run_directory import Run
from transferkit.runtime.errors import TransferkitError
from transferkit.runtime.json_files import SCHEMAS
from transferkit.runtime.machine import thread_count
from transferkit.studies.compare.same_data import require_same_images

Correct: TypeAlias = npt.NDArray[np.bool_]  # (S, N), one row per seed
Floats: TypeAlias = npt.NDArray[np.float64]

ALPHA = 0.05  # bound of the probability that any difference claimed in the whole table is none


def compare(arms: Mapping[str, Sequence[Run]], reference: str, over: Over | None = None) -> dict[str, Any]:
    """The content of comparison.json: one entry per arm, the reference first, and one per pair of arms.

    Args:
        arms: The runs of each arm, one per seed.
        reference: The arm that the others' differences are shown to.
        over: What differences, with their intervals and p-values, count as drawn by chance: `images`, or `seeds` and
            images; None takes the seeds in where every arm has at least two.

    Raises:
        TransferkitError: If the arms were tested on other images, or an interval over seeds has too few of them.
    """
    sets = {name: [run.outputs("test") for run in runs] for name, runs in arms.items()}
    require_same_images(sets)
    correct = {name: np.stack([one.predictions == one.labels for one in found]) for name, found in sets.items()}
    over = over or chosen_over(correct)
    require_seeds(correct, over)
    labels = next(iter(sets.values()))[0].labels
    class_names = next(iter(sets.values()))[0].class_names
    pairs = all_pairs(correct, over)
    names = [reference, *(name for name in arms if name != reference)]
    rows = [row(name, arms[name], correct[name], labels, len(class_names)) for name in names]
    for one in rows[1:]:
        one["difference"] = seen_from(one["name"], reference, pairs)
    ranked = sorted(names, key=lambda name: correct[name].mean(), reverse=True)
    return {
        "schema": SCHEMAS["comparison.json"],
        "kind": "comparison",
        "reference": reference,
        "n": len(labels),
        "over": over,
        "class_names": list(class_names),
        "arms": rows,
        "pairs": pairs,
        "leaders": leaders(ranked, pairs),
        "agreement": {"names": names, "shares": agreement([~correct[name] for name in names])},
        "verdict": verdict(rows, pairs, leaders(ranked, pairs), reference, over, len(labels)),
        "notes": notes(arms),
    }


# ---------------------------------------------------------------------------------------------------- an arm


def row(
    name: str, runs: Sequence[Run], correct: Correct, labels: npt.NDArray[np.int64], classes: int
) -> dict[str, Any]:
    """One arm: how good, how sure, how costly. What its runs do not know is None."""
    accuracies = correct.mean(axis=1)
    interval = mean_accuracy_interval(correct)
    facts = [run.facts for run in runs]
    costs = [fact.get("costs") or {} for fact in facts]
    return {
        "name": name,
        "runs": [str(run.path) for run in runs],
        "seeds": len(runs),
        "accuracies": accuracies.tolist(),
        "mean": float(accuracies.mean()),
        "sd": mean_and_sd(accuracies)[1] if len(runs) > 1 else None,
        "interval": [interval.low, interval.high],
        "recalls": [_share(correct[:, labels == label]) for label in range(classes)],
        "length": length_in_words(runs[0]),
        "trained_parameters": facts[0].get("trained_parameters"),
        "steps": costs[0].get("steps"),
        "flops_per_image": costs[0].get("flops_per_image"),
        "training_flops": _mean([cost.get("training_flops") for cost in costs]),
        "fit_seconds": _mean([fact["seconds"]["fit"] for fact in facts]),
        "predicted_images_per_second": _mean([cost.get("predicted_images_per_second") for cost in costs]),
        "peak_memory_bytes": max((cost.get("peak_memory_bytes") or 0 for cost in costs), default=0) or None,
        "test_openings": sum(fact["test_openings"] for fact in facts),
        "history": logged(runs[0]),
    }


def _share(correct: Correct) -> float | None:
    return float(correct.mean()) if correct.size else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def length_in_words(run: Run) -> str:
    """How long a run trained, as its recipe says it.

    What is not trained is solved; trainings have epochs, steps or time.
    """
    method = run.recipe.method
    if not isinstance(method, TrainingSettings):
        return "solved"
    if method.budget is None:
        return f"{method.epochs} epoch{'s' if method.epochs != 1 else ''}" if method.epochs else ""
    budget = budgets.read(method.budget)
    return budgets.clock(budget.amount) if budget.kind == "seconds" else f"{budget.amount:,.0f} steps"


def logged(run: Run) -> list[dict[str, Any]]:
    """What the page draws of a run's log: epoch, step, seconds of steps so far, loss, val accuracy."""
    seconds = np.cumsum([epoch.get("seconds") or 0.0 for epoch in run.history])
    kept = ("epoch", "step", "loss", "val_accuracy")
    return [
        {**{key: epoch.get(key) for key in kept}, "seconds": float(so_far)}
        for epoch, so_far in zip(run.history, seconds, strict=True)
    ]


# --------------------------------------------------------------------------------------------------- pairs


def chosen_over(correct: Mapping[str, Correct]) -> Over:
    """Seeds and images where every arm has two seeds, else images alone."""
    return "seeds" if all(len(found) > 1 for found in correct.values()) else "images"


def require_seeds(correct: Mapping[str, Correct], over: Over) -> None:
    """Refuse an interval over seeds from one seed.

    Raises:
        TransferkitError: Names the arm.
    """
    alone = [name for name, found in correct.items() if len(found) < 2]
    if over == "seeds" and alone:
        raise TransferkitError(
            f"An interval over seeds needs at least two seeds of every arm; {alone[0]} has one. "
            "Use --seeds 3, or --over images."
        )


def all_pairs(correct: Mapping[str, Correct], over: Over) -> list[dict[str, Any]]:
    """How each two arms differ, the better mean first, with p-values adjusted over all pairs."""
    ranked = sorted(correct, key=lambda name: correct[name].mean(), reverse=True)
    pairs = [pair(a, b, correct[a], correct[b], over) for a, b in combinations(ranked, 2)]
    for one, p in zip(pairs, holm([one["p"] for one in pairs]), strict=True):
        one |= {"p_holm": float(p), "shown": p <= ALPHA}
    return pairs


def pair(a: str, b: str, correct_a: Correct, correct_b: Correct, over: Over) -> dict[str, Any]:
    """Mean difference in accuracy with its interval and p-value; of two single runs also what McNemar's test counts."""
    found = paired_difference(correct_a, correct_b, over)
    only = [int((one & ~other).sum()) for one, other in ((correct_a, correct_b), (correct_b, correct_a))]
    return {
        "a": a,
        "b": b,
        "mean": found.difference,
        "interval": [found.interval.low, found.interval.high],
        "p": found.p,
        "discordant": only if len(correct_a) == len(correct_b) == 1 else None,
    }


def seen_from(name: str, reference: str, pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The difference of an arm to the reference, from the pair of the two."""
    one = next(one for one in pairs if {one["a"], one["b"]} == {name, reference})
    kept = {key: one[key] for key in ("p", "p_holm", "shown")}
    if one["a"] == name:
        return {"mean": one["mean"], "interval": one["interval"], "discordant": one["discordant"], **kept}
    low, high = one["interval"]
    turned = [0.0 - high, 0.0 - low]  # and no minus zero
    only = one["discordant"][::-1] if one["discordant"] else None
    return {"mean": 0.0 - one["mean"], "interval": turned, "discordant": only, **kept}


def leaders(ranked: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The arms that no other is shown to be better than, best mean first; one of them alone is the winner."""
    beaten = {one["b"] for one in pairs if one["shown"]}
    return [name for name in ranked if name not in beaten]


def agreement(wrong: Sequence[Correct]) -> list[list[float | None]]:
    """Of the images that a run of the row's arm gets wrong, the share that a run of the column's arm gets wrong too.

    The mean over pairs of runs. On the diagonal it is that of two seeds of one arm, None with a single seed: as much as
    can be expected of arms that differ by chance alone. None where the row's arm makes no error.

    Args:
        wrong: (S, N) per arm.
    """
    return [[_shared_errors(a, b, a is b) for b in wrong] for a in wrong]


def _shared_errors(a: Correct, b: Correct, is_same_arm: bool) -> float | None:
    both: Floats = (a.astype(np.float64) @ b.T) / np.maximum(a.sum(axis=1, keepdims=True), 1)  # (S, T)
    errs: Correct = a.sum(axis=1) > 0
    counted: Correct = np.tile(errs[:, None], (1, len(b)))
    if is_same_arm:
        np.fill_diagonal(counted, False)
    return float(both[counted].mean()) if counted.any() else None


# --------------------------------------------------------------------------------------------------- words


def notes(arms: Mapping[str, Sequence[Run]]) -> list[str]:
    """What a reader must know of how the runs were made: other versions, other machines."""
    environments = [run.environment for runs in arms.values() for run in runs]
    versions = sorted({str((one.get("packages") or {}).get("transferkit", "unknown")) for one in environments})
    machines = sorted(
        {f"{one.get('device')}, {one.get('precision')}, {thread_count(one.get('threads', 0))}" for one in environments}
    )
    lines = [f"Made with several versions of transferkit: {', '.join(versions)}."] * (len(versions) > 1)
    if len(machines) > 1:
        return [*lines, f"Made on several machines, so times and memory do not compare: {'; '.join(machines)}."]
    return [*lines, f"Times and memory: {machines[0]}."]


def verdict(
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[Mapping[str, Any]],
    first: Sequence[str],
    reference: str,
    over: Over,
    n: int,
) -> str:
    """Who wins, if that is shown, and how the others stand to the reference where they are few.

    Of arms whose seeds do not count as drawn by chance it is told what their runs did, not what they would do again.
    """
    evidence = evidence_in_words(rows, over, n)
    if not pairs:
        return f"{rows[0]['name']} gets {100 * rows[0]['mean']:.1f} %; with one arm there is nothing to compare."
    subjects = {row["name"]: Subject.of(row, over) for row in rows}
    if len(rows) == 2:
        name = rows[1]["name"]
        told = difference_in_words(subjects[name], subjects[reference], rows[1]["difference"])
        return f"{told} ({evidence})."
    differences = [
        difference_in_words(subjects[row["name"]], subjects[reference], row["difference"]) + "."
        for row in sorted(rows[1:], key=lambda row: float(row["difference"]["mean"]), reverse=True)
    ]
    told = f"{winner_in_words([subjects[name] for name in first], subjects, pairs)} ({evidence})."
    return " ".join([told, *(differences if len(rows) <= 4 else [])])


@dataclass(frozen=True)
class Subject:
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
    def of(cls, row: Mapping[str, Any], over: Over) -> Subject:
        """The subject of a row of the table."""
        name, seeds = row["name"], int(row["seeds"])
        if over == "seeds":
            return cls(name, name)
        if seeds == 1:
            return cls(f"this run of {name}", f"This run of {name}")
        return cls(f"these {seeds} runs of {name}", f"These {seeds} runs of {name}", "are")


def winner_in_words(
    first: Sequence[Subject], subjects: Mapping[str, Subject], pairs: Sequence[Mapping[str, Any]]
) -> str:
    """The winner, or those that share the first place."""
    named = [(subjects[one["a"]], subjects[one["b"]], one) for one in pairs]
    if len(first) == 1:
        _, nearest, gap = next(each for each in named if each[0] == first[0])
        best = f"{first[0].begins} {first[0].verb} the best of {len(subjects)}"
        return f"{best}, {in_points(gap)} before {nearest.words}"
    a, b, gap = next(each for each in named if {each[0], each[1]} <= set(first))
    tied = f"{', '.join(each.words for each in first[:-1])} and {first[-1].words}"
    return f"No winner is shown: {tied} share the first place; {a.words} {a.verb} {in_points(gap)} before {b.words}"


def difference_in_words(subject: Subject, reference: Subject, difference: Mapping[str, Any]) -> str:
    """A difference to the reference, as far as it is shown."""
    if not difference["shown"]:
        told = f"No difference shown between {subject.words} and {reference.words}: {in_points(difference)}"
        return told + ("" if _holds_zero(difference) else f", p = {difference['p_holm']:.2f} by Holm over all pairs")
    better = "better" if difference["mean"] > 0 else "worse"
    return f"{subject.begins} {subject.verb} {better} than {reference.words}: {in_points(difference)}"


def _holds_zero(difference: Mapping[str, Any]) -> bool:
    low, high = difference["interval"]
    return bool(low <= 0 <= high)


def in_points(difference: Mapping[str, Any]) -> str:
    """A difference with its interval.

    Example:
        >>> in_points({"mean": 0.031, "interval": [0.012, 0.05]})
        '+3.1 points (+1.2 to +5.0)'
    """
    low, high = (signed_points(bound) for bound in difference["interval"])
    return f"{signed_points(difference['mean'])} points ({low} to {high})"


def signed_points(share: float) -> str:
    """A share in points with its sign; there is no minus zero.

    Example:
        >>> signed_points(0.0312), signed_points(-1e-9)
        ('+3.1', '+0.0')
    """
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def evidence_in_words(rows: Sequence[Mapping[str, Any]], over: Over, n: int) -> str:
    """What the intervals rest on.

    Example:
        >>> evidence_in_words([{"seeds": 3}, {"seeds": 3}], "seeds", 10_000)
        '95 % intervals over seeds and images, n = 10,000, 3 seeds'
    """
    counts = sorted({int(row["seeds"]) for row in rows})
    seeds = (
        f"{counts[0]} seed{'s' if counts[0] > 1 else ''}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    )
    drawn = "seeds and images" if over == "seeds" else "images"
    return f"95 % intervals over {drawn}, n = {n:,}, {seeds}"
