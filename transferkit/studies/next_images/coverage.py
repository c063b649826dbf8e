"""Greedy facility location: images that resemble many which no labelled image resembles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transferkit.runtime.array_types import Features

COVERED = 10_000  # images that picks are to stand for, at most: of more a seeded sample
ROWS = 256  # images compared at once with all that are covered
LOOKED_AT = 32  # candidates of which the gain is computed anew at once: usually enough for the next pick

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Picks:
    """What was picked, best first.

    Attributes:
        positions: (n,) in the pool.
        shares: (n,), of the images that picks are to stand for: how many have this pick as their nearest image among
            labelled ones and picks.
        left_out: How many others were left out because they are copies of a pick.
    """

    positions: Positions
    shares: npt.NDArray[np.float64]
    left_out: int


def pick(
    pool: Features,
    labelled: Features,
    count: int,
    copies_of: Callable[[int], Mask],
    *,
    weights: npt.NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Picks:
    """The images that raise the similarity of the pool to its nearest labelled image the most, each in its turn.

    Facility location (Wei, Iyer and Bilmes, ICML 2015) on cosines of centred features: what an image adds can only
    shrink as others are picked, so that most images need not be looked at again (Minoux 1978). The picks are the same
    as if all were.

    Args:
        pool: (N, D), of unlabelled images.
        labelled: (M, D), of labelled ones; M may be 0.
        count: How many to pick; fewer where no more are left.
        copies_of: (N,) for a position, whether each image is a copy of that one; it is one of itself.
        weights: (N,), how much each image counts, at least 0; None: all alike.
        seed: Of the sample that stands for a large pool.
    """
    sample = _sample(len(pool), seed)
    mean = torch.from_numpy(pool[sample]).mean(dim=0)
    candidates = _directions(pool, mean)
    covered = candidates[torch.from_numpy(sample)]
    counts = np.ones(len(sample)) if weights is None else weights[sample]
    state = Coverage(
        candidates, covered, torch.from_numpy(counts).float(), _nearest(covered, _directions(labelled, mean))
    )
    nearest = np.full(len(sample), -1)
    available, left_out = np.ones(len(pool), bool), 0
    chosen: list[int] = []
    bounds = state.gains(torch.arange(len(pool)))
    while len(chosen) < count and available.any():
        best = state.best(bounds, available)
        nearest[state.cover(best)] = best
        chosen.append(best)
        copies = copies_of(best) & available
        left_out += int(copies.sum()) - 1
        available &= ~copies
    shares = [float((nearest == position).mean()) for position in chosen]
    return Picks(np.array(chosen, np.int64), np.array(shares), left_out)


@dataclass
class Coverage:
    """How similar every covered image is to the nearest of the labelled and picked ones.

    Attributes:
        candidates: (N, D) of length 1.
        covered: (S, D) of length 1.
        weights: (S,).
        similarity: (S,), to the nearest so far.
    """

    candidates: Tensor
    covered: Tensor
    weights: Tensor
    similarity: Tensor

    def gains(self, positions: Tensor) -> npt.NDArray[np.float32]:
        """(B,), by how much each of these candidates would raise the weighted sum of similarities.

        Into memory taken once: small results between large products would keep the heap from using them again.
        """
        gains = torch.empty(len(positions))
        raised = torch.empty(min(ROWS, len(positions)), len(self.covered))
        for rows, sums in zip(torch.split(positions, ROWS), torch.split(gains, ROWS), strict=True):
            part = raised[: len(rows)]
            torch.mm(self.candidates[rows], self.covered.T, out=part).sub_(self.similarity).clamp_min_(0)
            torch.mv(part, self.weights, out=sums)
        whole: npt.NDArray[np.float32] = gains.numpy()
        return whole

    def best(self, bounds: npt.NDArray[np.float32], available: Mask) -> int:
        """The available candidate with the largest gain; brings `bounds`, upper limits of all gains, up to date."""
        while True:
            limits = np.where(available, bounds, -np.inf)
            order = np.argsort(-limits, kind="stable")[: LOOKED_AT + 1]
            looked_at = order[:LOOKED_AT]
            bounds[looked_at] = self.gains(torch.from_numpy(looked_at))
            exact = np.where(available[looked_at], bounds[looked_at], -np.inf)
            if len(order) <= LOOKED_AT or exact.max() >= limits[order[LOOKED_AT]]:
                return int(looked_at[exact.argmax()])

    def cover(self, position: int) -> Mask:
        """Take a candidate among the picks; (S,), which images it is now nearest to."""
        similarity = self.covered @ self.candidates[position]
        is_nearer: Mask = (similarity > self.similarity).numpy()
        self.similarity = torch.maximum(self.similarity, similarity)
        return is_nearer


def _sample(total: int, seed: int) -> Positions:
    """Sorted positions of the images to stand for: all, or a seeded sample."""
    if total <= COVERED:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).permutation(total)[:COVERED])


def _directions(features: Features, mean: Tensor) -> Tensor:
    """(N, D), centred rows of length 1."""
    centred = torch.from_numpy(np.asarray(features, np.float32)) - mean
    lengths: Tensor = centred.norm(dim=1, keepdim=True)
    return centred / lengths.clamp_min(1e-6)


def _nearest(covered: Tensor, labelled: Tensor) -> Tensor:
    """(S,), the similarity of each image to the nearest labelled one; -1 where there is none."""
    highest = torch.full((len(covered),), -1.0)
    for rows in torch.split(labelled, ROWS):
        if len(rows):
            highest = torch.maximum(highest, (covered @ rows.T).max(dim=1).values)
    return highest
