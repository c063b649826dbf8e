"""What model.json holds: the facts that are needed to build a run's network again."""

from __future__ import annotations

from typing import Any

from transferkit.runtime.json_files import MAYBE, Shape, misfit, positive, share


def three_numbers(value: Any) -> bool:
    """Whether there is one per colour."""
    return isinstance(value, list) and len(value) == 3 and all(not misfit(number, float) for number in value)


def three_positive(value: Any) -> bool:
    """Whether images can be divided by it."""
    return three_numbers(value) and all(number > 0 for number in value)


def interpolation(value: Any) -> bool:
    """Whether it is one of those that networks are trained with."""
    return value in ("bilinear", "bicubic")


MODEL: Shape = {
    "backbone": {"name": str, "*": (None, str, bool, float, [int])},
    "class_names": [str],
    "input": {
        "size": positive,
        "mean": three_numbers,
        "std": three_positive,
        "interpolation?": interpolation,
        "crop?": share,
    },
    "head?": {"kind?": str, "images?": positive, "k?": positive, "temperature?": float},
    "weights?": (None, {"source": str, "tag": str, "sha256?": str, "licence?": str}),
    "precision?": str,
    "averages_mirror?": bool,
    "averages_shifts?": bool,
    "rejection?": (
        None,
        {"score": str, "n": int, "percentiles": [float], "temperature": MAYBE, "candidate_quantile": MAYBE},
    ),
}
