"""The test images as points in the plane: alike to the network, near each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transferkit.metrics.outputs import Outputs
from transferkit.runtime.array_records import read_array_record, write_array_record

POINTS = 600  # at most: enough to see the classes, few enough for a second of one core
FEWEST = 10
AXES = 50  # principal axes that t-SNE starts from; van der Maaten and Hinton 2008, section 4.2, take 30
PERPLEXITY = 30.0  # scikit-learn's default
ROUNDS = 350  # of t-SNE; the first 250 are scikit-learn's early exaggeration

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureMap:
    """Some test images and their places.

    Attributes:
        indices: (M,), positions in the test outputs.
        places: (M, 2) in [0, 1], across and down.
        reason: Why there is no map; empty where there is.
    """

    indices: Integers
    places: Floats
    reason: str = ""

    def save(self, path: Path) -> None:
        """Write to a .safetensors file."""
        write_array_record(path, self)

    @classmethod
    def load(cls, path: Path) -> FeatureMap:
        """Read what `save` wrote.

        Raises:
            TransferkitError: If the file is missing, damaged or something else.
        """
        return read_array_record(path, cls, "map")


def feature_map(test: Outputs, candidates: Integers, seed: int = 0) -> FeatureMap:
    """A t-SNE map of test features, hits and mistakes in their true proportion.

    Van der Maaten and Hinton, JMLR 9 (2008); started from principal components (Kobak and Berens, Nature
    Communications 10 (2019)), so that the same features give the same map. Neighbours mean something, distances
    between groups do not.

    Args:
        test: Where the features come from.
        candidates: Positions to choose from; those with pictures.
        seed: Of the choice.
    """
    indices = representative(test, candidates, POINTS, seed)
    features = test.features[indices].astype(np.float64)
    if len(indices) < FEWEST:
        return _none(f"it needs at least {FEWEST} test images, and there are {len(indices)}")
    if np.linalg.matrix_rank(features - features.mean(axis=0)) < 2:
        return _none("the features of these images lie on one line")
    return FeatureMap(indices, _places(features))


def _none(reason: str) -> FeatureMap:
    return FeatureMap(np.zeros(0, np.int64), np.zeros((0, 2), np.float32), reason)


def _places(features: npt.NDArray[np.float64]) -> Floats:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    axes = PCA(min(AXES, *features.shape), random_state=0).fit_transform(features)
    perplexity = min(PERPLEXITY, (len(axes) - 1) / 3)
    layout = TSNE(init="pca", perplexity=perplexity, max_iter=ROUNDS, random_state=0)
    with threadpool_limits(1):  # so few points gain nothing from threads, which wait for each other on a busy machine
        places = layout.fit_transform(axes)
    low, high = places.min(axis=0), places.max(axis=0)
    scaled: Floats = ((places - low) / np.maximum(high - low, 1e-12)).astype(np.float32)
    return scaled


def representative(test: Outputs, candidates: Integers, limit: int, seed: int) -> Integers:
    """At most `limit` of the candidates, hits and mistakes as frequent as among all test images; seeded, in order."""
    hits = test.is_right
    right, wrong = candidates[hits[candidates]], candidates[~hits[candidates]]
    share = float(np.mean(~hits)) if len(hits) else 0.0
    count = min(float(limit), len(right) / (1 - share) if share < 1 else limit, len(wrong) / share if share else limit)
    mistakes = round(count * share)
    generator = np.random.default_rng(seed)
    chosen = [generator.permutation(wrong)[:mistakes], generator.permutation(right)[: int(count - mistakes + 1e-6)]]
    return np.sort(np.concatenate(chosen))
