"""L-BFGS for many problems at once: each has its own step and curvature and leaves when it has converged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import count

import torch
from torch import Tensor

from transferkit.models.linear.objective import Problems, dot, evaluate, relative_curvature

HISTORY = 10  # pairs kept by L-BFGS; Nocedal and Wright 2006, section 7.2, use 3 to 20
ARMIJO = 1e-4  # Nocedal and Wright 2006, section 3.1
FEWEST_EVALUATIONS = 5  # before that the curvature, and so the predicted decrease, is a guess
METRIC_EVERY = 10  # evaluations between two looks at the curvature, which cost about half an evaluation
FLATTEST = 1e-5  # the least relative curvature of a column that is believed
MOST_REJECTED = 12  # halvings of one step after which rounding, not the function, is what is seen


@dataclass(frozen=True)
class Search:
    """Where each of the problems still running stands; every field has one row per problem."""

    index: Tensor  # which problem this is
    theta: Tensor  # (P, K, R + 1)
    value: Tensor  # (P,) float64
    gradient: Tensor
    direction: Tensor
    slope: Tensor  # (P,) float64, gradient along the direction
    step: Tensor  # (P,) float64
    metric: Tensor  # (P, 1, R + 1) inverse of the Hessian's diagonal, as last seen, up to gamma
    gamma: Tensor  # (P,) float64, size of the inverse Hessian along the last step, in this metric
    rejected: Tensor  # (P,) int64, trial points refused in a row
    evaluations: Tensor  # (P,) int64


_Pairs = deque[tuple[Tensor, Tensor, Tensor]]  # (step s, change of gradient y, 1 / s.y), oldest first


def minimise(
    problems: Problems, theta: Tensor, index: Tensor, tolerance: float, max_evaluations: int
) -> Iterator[tuple[Search, Tensor]]:
    """Yield problems as they finish, with whether each converged."""
    if not len(index):
        return
    search, pairs = _begin(problems, theta, index), _Pairs(maxlen=HISTORY)
    for turn in count(1):
        converged = _converged(search, tolerance)
        finished = converged | (search.rejected > MOST_REJECTED) | (search.evaluations >= max_evaluations)
        if bool(finished.any()):
            yield _keep(search, finished), converged[finished]
            search, pairs = _keep(search, ~finished), _keep_pairs(pairs, ~finished)
        if not len(search.index):
            return
        search = _advance(problems, search, pairs, sees_curvature=turn % METRIC_EVERY == 0)


def _begin(problems: Problems, theta: Tensor, index: Tensor) -> Search:
    value, gradient = evaluate(problems, theta, index)
    ones, none = torch.ones_like(value), torch.zeros_like(index)
    slope = -dot(gradient, gradient)
    metric = torch.ones_like(theta[:, :1])
    return Search(index, theta, value, gradient, -gradient, slope, ones, metric, ones, none, none + 1)


def _converged(search: Search, tolerance: float) -> Tensor:
    """(P,) bool, whether what is left to gain is small beside the value.

    Half the slope is what the quadratic model gains with the next step (Boyd and Vandenberghe 2004, section
    9.5.1). Where progress is slow many such steps are left: a gap that falls like 1 / k gains gap / k with step k,
    so the gap is about k times the next gain. The first few steps do not count, as the curvature is a guess then,
    unless the gradient is zero.
    """
    gain = -0.5 * search.slope
    is_tested = (search.evaluations >= FEWEST_EVALUATIONS) | (gain <= 1e-9 * tolerance * search.value)
    return is_tested & (gain * search.evaluations <= tolerance * search.value)


def _advance(problems: Problems, search: Search, pairs: _Pairs, sees_curvature: bool) -> Search:
    """One evaluation for every problem: move where the trial point is accepted, shorten the step elsewhere."""
    trial = search.theta + _rows(search.step, search.theta) * search.direction
    value, gradient = evaluate(problems, trial, search.index)
    accepted = _accepted(search, value, dot(gradient, search.direction))
    theta = torch.where(accepted[:, None, None], trial, search.theta)
    gradient = torch.where(accepted[:, None, None], gradient, search.gradient)
    metric = _metric(problems, search, theta, accepted) if sees_curvature else search.metric
    gamma = _remember(pairs, theta - search.theta, gradient - search.gradient, metric, search.gamma)
    direction = _direction(gradient, pairs, metric * _rows(gamma, metric))
    return Search(
        index=search.index,
        theta=theta,
        value=torch.where(accepted, value, search.value),
        gradient=gradient,
        direction=direction,
        slope=dot(direction, gradient),
        step=torch.where(accepted, 1.0, _shorter(search, value)),
        metric=metric,
        gamma=gamma,
        rejected=torch.where(accepted, 0, search.rejected + 1),
        evaluations=search.evaluations + 1,
    )


def _accepted(search: Search, value: Tensor, slope: Tensor) -> Tensor:
    """(P,) bool, Armijo's condition, or its gradient form where rounding hides the decrease.

    Hager and Zhang, SIAM J. Optim. 16 (2005), the approximate Wolfe conditions. The value never rises by more
    than rounding, and convexity makes every accepted pair have positive curvature.
    """
    noise = 8 * torch.finfo(search.theta.dtype).eps * search.value.abs()
    armijo = value <= search.value + ARMIJO * search.step * search.slope
    approximate = (value <= search.value + noise) & (slope <= (2 * ARMIJO - 1) * search.slope)
    return armijo | approximate


def _shorter(search: Search, value: Tensor) -> Tensor:
    """(P,) the minimiser of the parabola through what is known, within 0.1 to 0.5 of the refused step."""
    curvature = 2 * (value - search.value - search.step * search.slope)
    best = torch.nan_to_num(-search.slope * search.step**2 / curvature, nan=0.0)
    return torch.minimum(torch.maximum(best, 0.1 * search.step), 0.5 * search.step)


def _metric(problems: Problems, search: Search, theta: Tensor, accepted: Tensor) -> Tensor:
    """The metric at the new points; the pairs stay valid, as only what they are applied to changes.

    Without it, values of C that separate the images take hundreds of steps: the curvature that was known before the
    first step is then wrong by orders of magnitude, and differently for every column.
    """
    curvature = relative_curvature(problems, theta, search.index).clamp_min_(FLATTEST)
    return torch.where(accepted[:, None, None], 1 / curvature[:, None], search.metric)


def _remember(pairs: _Pairs, s: Tensor, y: Tensor, metric: Tensor, gamma: Tensor) -> Tensor:
    """Add the pair and return gamma; a problem that did not move adds zeros, which change nothing for it."""
    curvature = dot(s, y)
    useful = curvature > 0
    pairs.append((s, y, torch.where(useful, 1 / curvature, 0.0)))
    return torch.where(useful, curvature / dot(y, metric * y), gamma)


def _direction(gradient: Tensor, pairs: _Pairs, inverse: Tensor) -> Tensor:
    """The two-loop recursion for all problems at once (Nocedal and Wright 2006, algorithm 7.4).

    Args:
        inverse: (P, 1, R + 1), diagonal of the inverse Hessian that the pairs correct.
    """
    q, alphas = -gradient, deque[Tensor]()
    for s, y, rho in reversed(pairs):
        alphas.appendleft(rho * dot(s, q))
        q = q - _rows(alphas[0], q) * y
    q = q * inverse
    for (s, y, rho), alpha in zip(pairs, alphas, strict=True):
        q = q + _rows(alpha - rho * dot(y, q), q) * s
    return q


def _keep(search: Search, rows: Tensor) -> Search:
    return Search(*(getattr(search, field.name)[rows] for field in fields(search)))


def _keep_pairs(pairs: _Pairs, rows: Tensor) -> _Pairs:
    return deque(((s[rows], y[rows], rho[rows]) for s, y, rho in pairs), maxlen=HISTORY)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """(P,) values shaped and typed to multiply a (P, K, R + 1) tensor."""
    return values.to(like.dtype)[:, None, None]
