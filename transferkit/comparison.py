"""Many finished runs become one verdict: accuracy per arm, and paired differences to a reference arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferkit.errors import TransferkitError
from transferkit.outputs import Outputs
from transferkit.run_directory import Run
from transferkit.statistics import hierarchical_bootstrap, holm, mcnemar_mid_p, wilson

Correct = npt.NDArray[np.bool_]  # (S, N), one row per seed


def compare(arms: Mapping[str, Sequence[Run]], reference: str, seed: int = 0) -> dict[str, Any]:
    """The content of comparison.json: one entry per arm, the reference first.

    Each arm's accuracy has a mean and a standard deviation over seeds (does another training give the same?) and a
    Wilson interval over images for the first seed (do other test images give the same?). The difference to the
    reference has a bootstrap interval over seeds and images together.

    Raises:
        TransferkitError: If the arms were tested on different images.
    """
    outputs = {name: [run.outputs("test") for run in runs] for name, runs in arms.items()}
    require_same_images(outputs)
    correct = {name: _correct(sets) for name, sets in outputs.items()}
    names = [reference, *(name for name in arms if name != reference)]
    rows = [_row(name, arms[name], correct[name]) for name in names]
    differences = {name: _difference(correct[name], correct[reference], seed) for name in names[1:]}
    adjusted = holm([difference["p"] for difference in differences.values()])
    for row, (name, difference), p in zip(rows[1:], differences.items(), adjusted, strict=True):
        row["difference"] = {
            **difference,
            "p_holm": float(p),
            "shown": difference["interval"][0] * difference["interval"][1] > 0,
        }
        assert row["name"] == name
    n = len(next(iter(outputs.values()))[0])
    return {"schema": 1, "reference": reference, "n": n, "arms": rows, "verdict": verdict(rows, reference, n)}


def require_same_images(outputs: Mapping[str, Sequence[Outputs]]) -> None:
    """Refuse arms that were not tested on the same images with the same labels.

    Raises:
        TransferkitError: Names the first arm that differs.
    """
    first_name, first_sets = next(iter(outputs.items()))
    first = first_sets[0]
    for name, sets in outputs.items():
        for other in sets:
            same = other.ids == first.ids and np.array_equal(other.labels, first.labels)
            if not same or other.class_names != first.class_names:
                raise TransferkitError(
                    f"{name} and {first_name} were tested on different images ({len(other)} and {len(first)}), so they "
                    "cannot be compared. Make both runs with the same --data and split seed."
                )


def _correct(sets: Sequence[Outputs]) -> Correct:
    return np.stack([outputs.predictions == outputs.labels for outputs in sets])


def _row(name: str, runs: Sequence[Run], correct: Correct) -> dict[str, Any]:
    accuracies = correct.mean(axis=1)
    interval = wilson(int(correct[0].sum()), correct.shape[1])
    facts = [run.facts for run in runs]
    return {
        "name": name,
        "runs": [str(run.path) for run in runs],
        "seeds": len(runs),
        "accuracies": accuracies.tolist(),
        "mean": float(accuracies.mean()),
        "sd": float(accuracies.std(ddof=1)) if len(runs) > 1 else None,
        "interval": [interval.low, interval.high],
        "trained_parameters": facts[0].get("trained_parameters"),
        "fit_seconds": float(np.mean([fact["seconds"]["fit"] for fact in facts])),
        "test_openings": sum(fact["test_openings"] for fact in facts),
    }


def _difference(arm: Correct, reference: Correct, seed: int) -> dict[str, Any]:
    """Mean difference in accuracy, its 95 % interval over seeds and images, McNemar's mid-p for the first seed."""
    result = hierarchical_bootstrap(arm, reference, seed=seed)
    only_arm = int((arm[0] & ~reference[0]).sum())
    only_reference = int((~arm[0] & reference[0]).sum())
    p = mcnemar_mid_p(only_arm, only_reference)
    interval = [result.interval.low, result.interval.high]
    return {"mean": result.difference, "interval": interval, "p": p, "discordant": [only_arm, only_reference]}


def verdict(rows: Sequence[Mapping[str, Any]], reference: str, n: int) -> str:
    """One sentence that names a winner only where the interval of the difference excludes zero."""
    by_size = sorted(rows[1:], key=lambda row: row["difference"]["mean"], reverse=True)
    sentences = []
    for row in by_size:
        low, high = (100 * bound for bound in row["difference"]["interval"])
        points = 100 * row["difference"]["mean"]
        seeds = row["seeds"]
        evidence = (
            f"95 % interval {low:+.1f} to {high:+.1f} over seeds and images, n = {n:,}, {seeds} seed{'s'[: seeds != 1]}"
        )
        if row["difference"]["shown"]:
            beats = "is better than" if points > 0 else "is worse than"
            sentences.append(f"{row['name']} {beats} {reference} by {abs(points):.1f} points ({evidence}).")
        else:
            sentences.append(
                f"No difference shown between {row['name']} and {reference}: {points:+.1f} points ({evidence})."
            )
    return " ".join(sentences)
