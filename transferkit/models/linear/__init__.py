"""Convex heads on frozen features: logistic regression for many C at once, nearest neighbours and class means.

How the logistic regression is made fast, without changing what it computes:

1. The features are centred and rotated onto their principal axes (`rotation.py`). The intercept absorbs the centring
   and the penalty does not see the rotation, so the optimum is the same; but now a diagonal scaling, known per C
   before the first step, makes the problem well conditioned, and fewer images than columns mean a smaller problem.
2. All problems (values of C, folds) advance together: one matrix product serves every one of them (`objective.py`).
   Each keeps its own step length and curvature, and leaves the batch when it has converged (`lbfgs.py`). The scaling
   follows the curvature as heads become sure of their images.
3. Large problems run in float32; those that float32 cannot finish continue in float64 from where they are
   (`logistic.py`).
"""

from transferkit.models.linear.choice import Choice, choose_C, given_C
from transferkit.models.linear.linear_head import LinearFits, LinearHead
from transferkit.models.linear.logistic import fit_linear
from transferkit.models.linear.nearest import (
    VOTE_TEMPERATURE,
    knn_logits,
    nearest_class_mean,
    neighbours,
    require_neighbours,
    votes,
)
from transferkit.models.linear.probe import ProbeFit, fit_chosen, fit_probe
from transferkit.models.linear.rotation import common_scale

__all__ = [
    "VOTE_TEMPERATURE",
    "Choice",
    "LinearFits",
    "LinearHead",
    "ProbeFit",
    "choose_C",
    "common_scale",
    "fit_chosen",
    "fit_linear",
    "fit_probe",
    "given_C",
    "knn_logits",
    "nearest_class_mean",
    "neighbours",
    "require_neighbours",
    "votes",
]
