"""What the JSON files of a run hold."""

from __future__ import annotations

from transferkit.runtime.json_files import MAYBE, Shape, positive

COUNT = (None, int)
OF_PARTS: Shape = dict.fromkeys(("train", "val", "test"), str)
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
