"""Small outputs, for tests of metrics."""

from __future__ import annotations

import numpy as np

from transferkit.metrics.outputs import Outputs


def outputs_of(logits: object, labels: object) -> Outputs:
    rows = np.asarray(logits, dtype=np.float32)
    names = tuple("abcdefgh"[: rows.shape[1]])
    ids = tuple(map(str, range(len(rows))))
    return Outputs(np.zeros((len(rows), 1), np.float32), rows, np.asarray(labels, dtype=np.int64), ids, names)


def of_probabilities(probabilities: object, labels: object) -> Outputs:
    return outputs_of(np.log(np.asarray(probabilities)), labels)


def two_class(confidences: list[float], right: list[bool]) -> Outputs:
    """Predicts class a with these confidences; the label is a where right."""
    p = np.asarray(confidences)
    return of_probabilities(np.stack([p, 1 - p], axis=1), [0 if hit else 1 for hit in right])


def random_outputs(n: int = 400, classes: int = 5, seed: int = 0) -> Outputs:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    return outputs_of(generator.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], labels)


EMPTY = outputs_of(np.zeros((0, 3)), [])
