"""Error slices: images that are alike to the network and on which it is right less often than elsewhere.

Clusters come from the features alone; labels come in when the clusters are fixed, to test each against the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.metrics.outputs import Outputs
from transferkit.metrics.statistics import Units, fisher_lower_p, grouped_lower_p, holm
from transferkit.runtime.array_types import Bools, Features, Floats, Integers

LEVEL = 0.05
SIZES = (150, 50)  # images of a cluster, on average: one clustering for each
MOST_CLUSTERS = 200  # of one clustering
FEWEST_IMAGES = 100  # that can be clustered
FEWEST = 10  # images of a cluster that is tested; where images have groups, also groups
LARGEST = 0.5  # of all images; beyond it, the rest would be the slice
COMPONENTS = 64  # principal components that distances are measured in
NEIGHBOURS = 10  # images whose mean takes an image's place, itself among them
CANDIDATES = 10_000  # images among which neighbours are looked for: a random part where there are more
LIKENESSES = 500_000  # looked at together: of each of a block of rows to each candidate
SHARED = 0.5  # of the smaller of two slices: beyond it, only the one that is surer is listed


@dataclass(frozen=True)
class ErrorSlice:
    """A cluster whose accuracy is shown to be lower than that of all other images.

    Attributes:
        members: (n,) positions of its images, the most typical first.
        right: How many of them are right.
        rest_right: How many of the `rest` other images are right.
        p: That it is no worse than the rest, after Holm's correction for all clusters.
    """

    members: Integers
    right: int
    rest: int
    rest_right: int
    p: float

    @property
    def accuracy(self) -> float:
        """Share of its images that are right."""
        return self.right / len(self.members)

    @property
    def rest_accuracy(self) -> float:
        """Share of all other images that are right."""
        return self.rest_right / self.rest

    @property
    def lost(self) -> float:
        """Images that would be right as well if it were as good as the rest."""
        return (self.rest_accuracy - self.accuracy) * len(self.members)


@dataclass(frozen=True)
class ErrorSlices:
    """The slices that were found, those first that lose the most images, and how many clusters were tested."""

    tested: int
    slices: tuple[ErrorSlice, ...]


def error_slices(outputs: Outputs, seed: int = 0) -> ErrorSlices:
    """Clusters of images on which the network is shown to be right less often than on the others.

    Clusters are made without labels. An image's prediction follows from its features, so that clusters within a class
    of labels would be made of the very errors that test them; clusters of features alone are not, and all images can
    serve to test them. Looking for groups that a network fails on by over-clustering its features: Sohoni et al.,
    NeurIPS 2020 (arXiv:2011.12945). Testing a slice against all other images: Chung et al., ICDE 2019
    (arXiv:1807.06068). Here the test is Fisher's exact one (of whole groups, where images have some), with Holm's
    correction over all clusters: with a chance of at least 95 %, none is listed by mistake.

    Args:
        outputs: With labels.
        seed: Of k-means.

    Returns:
        Nothing tested with fewer than FEWEST_IMAGES, or where all are right or none is.
    """
    if len(outputs) < FEWEST_IMAGES or outputs.is_right.all() or not outputs.is_right.any():
        return ErrorSlices(0, ())
    return worse_clusters(outputs, clusters_of(outputs.features, seed))


def worse_clusters(outputs: Outputs, made: Sequence[Integers]) -> ErrorSlices:
    """Those of clusters made without labels, each the positions of its members, that are shown to be worse."""
    right, units = outputs.is_right, Units.of(len(outputs), outputs.groups)
    clusters = [members for members in made if _is_testable(members, units)]
    adjusted = holm([lower_p(right, row, units) for row in clusters])
    shown = sorted((p, number) for number, p in enumerate(adjusted) if p <= LEVEL)
    distinct = without_repeats([(p, clusters[number]) for p, number in shown])
    slices = [_slice(members, right, p) for p, members in distinct]
    return ErrorSlices(len(clusters), tuple(sorted(slices, key=lambda row: -row.lost)))


def _is_testable(members: Integers, units: Units) -> bool:
    count = len(members) if units.numbers is None else len(np.unique(units.numbers[members]))
    return count >= FEWEST and len(members) <= LARGEST * units.images


def clusters_of(features: Features, seed: int) -> list[Integers]:
    """The members of each cluster, those nearest to its centre first; a coarse clustering and a fine one.

    k-means of the principal components of features scaled to length 1, each image in the mean of its neighbours: that
    draws groups together before they are cut.
    """
    from sklearn.cluster import KMeans

    points = averaged_over_neighbours(components(features), seed)
    distinct = len(np.unique(points, axis=0))
    counts = sorted({min(MOST_CLUSTERS, len(points) // size, distinct) for size in SIZES} - {0, 1})
    members = []
    for count in counts:
        fit = KMeans(count, n_init=1, random_state=seed).fit(points)
        order = np.argsort(fit.transform(points).min(axis=1), kind="stable")
        members += [order[fit.labels_[order] == label] for label in range(count)]
    return members


def components(features: Features) -> Floats:
    """(N, at most COMPONENTS) principal components of the features (N, D), each image's scaled to length 1 before."""
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    centred = unit - unit.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)  # by rising variance
    points: Floats = centred @ directions[:, ::-1][:, :COMPONENTS]
    return points


def averaged_over_neighbours(points: Floats, seed: int = 0) -> Floats:
    """(N, K), each row the mean of the rows with the largest cosine to it, itself among them.

    Of more than `CANDIDATES` rows a random part is looked at, so that time grows with N and not with its square.
    """
    unit = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    rows = np.arange(len(points))
    if len(rows) > CANDIDATES:
        rows = np.sort(np.random.default_rng(seed).choice(rows, CANDIDATES, replace=False))
    count = min(NEIGHBOURS, len(rows))
    means, candidates = np.empty_like(points), unit[rows].T
    block = max(1, LIKENESSES // len(rows))
    for start in range(0, len(points), block):
        likeness = unit[start : start + block] @ candidates  # (B, candidates)
        nearest = np.argpartition(likeness, -count, axis=1)[:, -count:]
        means[start : start + block] = points[rows[nearest]].mean(axis=1)
    return means


def lower_p(right: Bools, members: Integers, units: Units) -> float:
    """P-value that the images of a cluster are right no less often than all others; groups count as a whole."""
    inside = np.zeros(len(right), dtype=bool)
    inside[members] = True
    if units.numbers is not None:
        return grouped_lower_p(right, inside, units)
    return fisher_lower_p(int(right[inside].sum()), len(members), int(right.sum()), len(right))


def without_repeats(slices: Sequence[tuple[float, Integers]]) -> list[tuple[float, Integers]]:
    """Slices in order, without those that share half the images of the smaller one with an earlier slice."""
    listed: list[tuple[float, Integers]] = []
    for p, members in slices:
        shared = [len(np.intersect1d(members, other)) / min(len(members), len(other)) for _, other in listed]
        if max(shared, default=0.0) < SHARED:
            listed.append((p, members))
    return listed


def _slice(members: Integers, right: Bools, p: float) -> ErrorSlice:
    hits = int(right[members].sum())
    return ErrorSlice(members, hits, len(right) - len(members), int(right.sum()) - hits, p)
