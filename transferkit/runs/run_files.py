"""What the JSON files of a run hold."""

from __future__ import annotations

from typing import Any

from transferkit.runtime.json_files import MAYBE, Shape, interval, positive, zero


def two_ends(value: Any) -> bool:
    """Whether it is an interval that was computed."""
    return value is not None and interval(value)


SCORED_IMAGE = {"index": int, "id": str, "true": str, "predicted": str, "confidence": float}
COUNT = (None, int)
OF_PARTS: Shape = dict.fromkeys(("train", "val", "test"), str)
EPOCH: Shape = {
    "epoch": int,
    "step?": COUNT,
    "loss?": MAYBE,
    "lr?": MAYBE,
    "gradient_norm?": MAYBE,
    "images_per_second?": MAYBE,
    "seconds?": MAYBE,
    "val_accuracy?": MAYBE,
    "val_loss?": MAYBE,
    "val_images?": COUNT,
    "val_gained?": COUNT,
    "val_lost?": COUNT,
    "kept?": bool,
}
JUDGED = {"epoch": int, "accuracy": float, "loss?": MAYBE}
BIN = {"n": int, "confidence": MAYBE, "accuracy": MAYBE, "interval": interval}
CLASS_BIN = {"name": str, "n": int, "confidence": float, "accuracy": float, "gap": float, "interval": two_ends}
FACTS: Shape = {
    "format?": int,
    "command?": str,
    "started?": str,
    "seconds": {"*": float},
    "notes?": [str],
    "test_openings?": int,
    "data": {
        "name": str,
        "terms?": (None, str),
        "fingerprint": {"test": str, "*": str},
        "n": {"*": int},
        "size_px": [positive],
    },
    "parameter_groups?": [
        {"stage": str, "parameters": int, "trainable": bool, "lr?": MAYBE, "weight_decay?": MAYBE, "batchnorm?": str}
        | {"first_lr?": MAYBE, "wakes_at?": COUNT, "sleeps_at?": COUNT}
    ],
    "costs?": {"*": MAYBE},
    "input_reason?": str,
    "trained_parameters?": COUNT,
    "images_per_second?": MAYBE,
    "label_openings?": COUNT,
    "probe?": (None, {"grid?": [float], "validation_accuracy?": [float], "C?": MAYBE}),
}
ENVIRONMENT: Shape = {
    "python?": str,
    "platform?": str,
    "packages?": {"*": (None, str)},
    "device?": str,
    "precision?": str,
    "threads?": int,
}
SCORES: Shape = {
    "n": int,
    "accuracy": float,
    "interval": interval,
    "macro_recall": MAYBE,
    "per_class": [
        {"name": str, "n": int, "top_confusion": (None, {"name": str, "n": int})}
        | dict.fromkeys(("recall", "precision", "f1"), MAYBE)
        | {f"{key}_interval": interval for key in ("recall", "precision", "f1")}
    ],
    "confusion": [[int]],
    "most_confused": [{"true": str, "predicted": str, "n": int, "share": float}],
    "most_confident_mistakes": [SCORED_IMAGE],
    "least_confident_hits": [SCORED_IMAGE],
    "calibration?": {
        "nll": MAYBE,
        "brier": MAYBE,
        "ece": MAYBE,
        "reliability": [BIN],
        "by_class?": [CLASS_BIN],
        "*": (None, float, interval),
    },
    "selective?": {"coverage": [float], "risk": [float], "guaranteed?": [{"target": float, "coverage": MAYBE}]},
}
SINCE_START: Shape = {
    "n": int,
    "start": JUDGED,
    "end": JUDGED,
    "best?": (None, JUDGED),
    "is_result?": bool,
    "gained?": COUNT,
    "lost?": COUNT,
    "p?": MAYBE,
    "is_worse": bool,
    "is_shown": bool,
}
EVALUATION: Shape = {
    "test?": (None, {}, {"n": zero}, SCORES),
    "val?": (None, {}, {"n": zero}, {"n": int, "accuracy": MAYBE, "interval": interval}),
    "since_start?": (None, {}, SINCE_START),
}
