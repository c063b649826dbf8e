"""Convex heads on frozen features: logistic regression for many C at once, nearest neighbours and class means.

How the logistic regression is made fast, without changing what it computes:

1. The features are centred and rotated onto their principal axes. The intercept absorbs the centring and the
   penalty does not see the rotation, so the optimum is the same; but now a diagonal scaling, known per C before
   the first step, makes the problem well conditioned, and fewer images than columns mean a smaller problem.
2. All problems (values of C, folds) advance together: one matrix product serves every one of them. Each keeps its
   own step length and curvature, and leaves the batch when it has converged.
3. Large problems run in float32; those that float32 cannot finish continue in float64 from where they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from transferkit.errors import TransferkitError

FULL_SWEEP = tuple(10.0 ** (-6.0 + 0.25 * step) for step in range(45))  # 1e-6 .. 1e5, FACTS section 2
COARSE_STEP = 6  # the coarse sweep tries every sixth value, 1.5 decades apart
REFINED_STEPS = (-4, -2, 2, 4)  # then four values, half a decade apart, around the best
MAX_FOLDS = 5
DEFAULT_C = 1.0  # scikit-learn's default, used where nothing can be held out
SELECTION_TOLERANCE = 3e-4  # of the objective: far below what changes one validation answer
TOLERANCE = 1e-6  # of the objective; an estimate, so that 1e-5 is kept, see tests/test_solvers.py
SELECTION_EVALUATIONS = 200  # only very large C on separable images need more; they are judged as they are then
MAX_EVALUATIONS = 5000

FLOAT64_BELOW = 2e8  # multiply-adds of one evaluation below which float64 costs nothing noticeable
CHUNK_ELEMENTS = {"cpu": 2**17, "cuda": 2**26}  # logits held at once; on a CPU they stay in the cache
STATE_ELEMENTS = 2**24  # weights optimised at once; L-BFGS keeps about 28 copies of them
HISTORY = 10  # pairs kept by L-BFGS; Nocedal and Wright 2006, section 7.2, use 3 to 20
ARMIJO = 1e-4  # Nocedal and Wright 2006, section 3.1
FEWEST_EVALUATIONS = 5  # before that the curvature, and so the predicted decrease, is a guess
MOST_REJECTED = 12  # halvings of one step after which rounding, not the function, is what is seen
MISSING_CLASS_GAP = 20.0  # e**-20 = 2e-9: the most probability that a class without training images can get
VOTE_TEMPERATURE = 0.07  # of nearest neighbours, Wu et al., CVPR 2018, section 3.4
NEVER = -1e30  # a finite logit below every other one

ClassWeight = Literal["balanced"] | Tensor | None


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier on features.

    Attributes:
        weight: (K, D).
        bias: (K,).
    """

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """(N, K) logits of (N, D) features."""
        return torch.addmm(self.bias, features, self.weight.T)


@dataclass(frozen=True)
class LinearFits:
    """P heads fitted together, with what is needed to judge each fit.

    Attributes:
        weight: (P, K, D) float32, acting on the features as they were given.
        bias: (P, K) float32.
        objective: (P,) float64, C * sum of losses + 0.5 * sum of squared weights, as scikit-learn counts it.
        converged: (P,) bool.
        iterations: (P,) int64, evaluations of loss and gradient.
    """

    weight: Tensor
    bias: Tensor
    objective: Tensor
    converged: Tensor
    iterations: Tensor

    def head(self, index: int) -> LinearHead:
        """The head of one problem."""
        return LinearHead(self.weight[index], self.bias[index])

    def select(self, indices: Sequence[int]) -> LinearFits:
        """Some of the problems, in the order asked for; an index may repeat."""
        chosen = torch.tensor(indices, device=self.weight.device)
        return LinearFits(*(getattr(self, field.name)[chosen] for field in fields(self)))


@dataclass(frozen=True)
class Choice:
    """A value of C, and how it was chosen.

    Attributes:
        C: Inverse penalty, multiplying the sum of the losses.
        chosen_by: "val", "5-fold cross-validation" (or fewer folds), "given", or
            "default, no class has two images".
        grid: The values compared, ascending; empty if C was given or could not be chosen.
        validation_accuracy: One per grid value, in [0, 1].
        start: A fit at this C on train or most of it, for others to start from.
    """

    C: float
    chosen_by: str
    grid: tuple[float, ...] = ()
    validation_accuracy: tuple[float, ...] = ()
    start: LinearFits | None = None

    @property
    def on_boundary(self) -> bool:
        """Whether the best value lies at an edge of the grid, so that a better one may lie outside."""
        return bool(self.grid) and self.C in (self.grid[0], self.grid[-1])


@dataclass(frozen=True)
class ProbeFit:
    """A linear probe and how its C was chosen.

    Attributes:
        head: Acts on features as they were given; the standardisation is folded in.
        choice: Of C.
        converged: Whether the final fit reached its tolerance.
        iterations: Evaluations of loss and gradient in the final fit.
    """

    head: LinearHead
    choice: Choice
    converged: bool
    iterations: int

    @property
    def C(self) -> float:
        """Inverse penalty, multiplying the sum of the losses."""
        return self.choice.C


# ---- the problems: what is minimised ----


@dataclass(frozen=True)
class _Axes:
    """The way from given features to rotated columns, ((x - mean) / scale) @ basis, and of heads back."""

    mean: Tensor  # (D,) float64
    scale: Tensor  # (D,) float64
    basis: Tensor  # (D, R) float64, orthonormal columns


@dataclass(frozen=True)
class _Data:
    """Rotated images, shared by all problems."""

    columns: Tensor  # (N, R + 1), the last column is 1 and carries the intercept
    spectrum: Tensor  # (R + 1,) float64, mean square of each column
    labels: Tensor  # (N,) in 0..K-1, classes without images left out
    present: Tensor  # (K,) the class that each row of a head stands for
    axes: _Axes
    num_classes: int


@dataclass(frozen=True)
class _Problems:
    """P problems on the same columns, each scaled to a mean over images so that float32 suffices.

    With S the sum of a problem's row weights and two classes counted once (see `_penalties`), it minimises
    sum_i (s_i / S) * loss_i + 0.5 / (C * S) * ||W||^2, which is scikit-learn's objective divided by C * S.
    """

    data: _Data
    row_weights: Tensor  # (G, N), every row sums to 1
    group: Tensor  # (P,) the row of `row_weights` that each problem uses
    penalty: Tensor  # (P, R + 1) float64, 0 for the intercept
    precondition: Tensor  # (P, R + 1) float64, weight = theta * precondition
    objective_scale: Tensor  # (P,) float64, C * S


def _evaluate(problems: _Problems, theta: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Value (P,) float64 and gradient by theta (P, K, R + 1) of the problems in `index`."""
    scale = problems.precondition[index, None].to(theta.dtype)
    penalty = problems.penalty[index, None].to(theta.dtype)
    weight = theta * scale
    loss, gradient = _loss(problems, weight, problems.group[index])
    value = loss + 0.5 * _dot(penalty * weight, weight)
    return value, (gradient + penalty * weight) * scale


def _loss(problems: _Problems, weight: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy (P,) float64 and its gradient (P, K, R + 1), a chunk of rows at a time."""
    count, classes, width = weight.shape
    flat = weight.reshape(count * classes, width)
    gradient = torch.zeros_like(flat)
    loss = torch.zeros(count, dtype=torch.float64, device=weight.device)
    for rows in _row_chunks(problems.data, count * classes):
        columns = problems.data.columns[rows].to(weight.dtype)
        row_weights = problems.row_weights[:, rows].to(weight.dtype)[group, None]  # (P, 1, n)
        log_p = (flat @ columns.T).view(count, classes, -1).log_softmax(dim=1)  # (P, K, n)
        losses, residual = _cross_entropy(log_p, problems.data.labels[rows].expand(count, 1, -1))
        loss += (losses * row_weights).sum((1, 2), dtype=torch.float64)
        gradient.addmm_(residual.mul_(row_weights).view(count * classes, -1), columns)
    return loss, gradient.view_as(weight)


def _cross_entropy(log_p: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (P, 1, n) and their gradient by the logits (P, K, n), which replaces `log_p`.

    1 - p(label) is summed from the other classes, never subtracted: float32 would lose what lies below 6e-8,
    which is all there is when the classes can be separated.
    """
    likely = log_p.gather(1, label)
    residual = log_p.exp_().scatter_(1, label, 0.0)
    missed = residual.sum(1, keepdim=True)
    residual.scatter_(1, label, -missed)
    return torch.where(missed < 0.5, -torch.log1p(-missed), -likely), residual


def _row_chunks(data: _Data, logits_per_row: int) -> Iterator[slice]:
    elements = CHUNK_ELEMENTS.get(data.columns.device.type, CHUNK_ELEMENTS["cpu"])
    rows = max(256, elements // logits_per_row)
    return (slice(start, start + rows) for start in range(0, len(data.labels), rows))


# ---- batched L-BFGS ----


@dataclass(frozen=True)
class _Search:
    """Where each of the problems still running stands; every field has one row per problem."""

    index: Tensor  # which problem this is
    theta: Tensor  # (P, K, R + 1)
    value: Tensor  # (P,) float64
    gradient: Tensor
    direction: Tensor
    slope: Tensor  # (P,) float64, gradient along the direction
    step: Tensor  # (P,) float64
    gamma: Tensor  # (P,) float64, size of the inverse Hessian along the last step
    rejected: Tensor  # (P,) int64, trial points refused in a row
    evaluations: Tensor  # (P,) int64


_Pairs = deque[tuple[Tensor, Tensor, Tensor]]  # (step s, change of gradient y, 1 / s.y), oldest first


def _minimise(
    problems: _Problems, theta: Tensor, index: Tensor, tolerance: float, max_evaluations: int
) -> Iterator[tuple[_Search, Tensor]]:
    """Yield problems as they finish, with whether each converged."""
    if not len(index):
        return
    search, pairs = _begin(problems, theta, index), _Pairs(maxlen=HISTORY)
    while len(search.index):
        converged = _converged(search, tolerance)
        finished = converged | (search.rejected > MOST_REJECTED) | (search.evaluations >= max_evaluations)
        if bool(finished.any()):
            yield _keep(search, finished), converged[finished]
            search, pairs = _keep(search, ~finished), _keep_pairs(pairs, ~finished)
        if len(search.index):
            search = _advance(problems, search, pairs)


def _begin(problems: _Problems, theta: Tensor, index: Tensor) -> _Search:
    value, gradient = _evaluate(problems, theta, index)
    ones, none = torch.ones_like(value), torch.zeros_like(index)
    slope = -_dot(gradient, gradient)
    return _Search(index, theta, value, gradient, -gradient, slope, ones, ones, none, none + 1)


def _converged(search: _Search, tolerance: float) -> Tensor:
    """(P,) bool, whether what is left to gain is small beside the value.

    Half the slope is what the quadratic model gains with the next step (Boyd and Vandenberghe 2004, section
    9.5.1). Where progress is slow many such steps are left: a gap that falls like 1 / k gains gap / k with step k,
    so the gap is about k times the next gain. The first few steps do not count, as the curvature is a guess then,
    unless the gradient is zero.
    """
    gain = -0.5 * search.slope
    seen = (search.evaluations >= FEWEST_EVALUATIONS) | (gain <= 1e-9 * tolerance * search.value)
    return seen & (gain * search.evaluations <= tolerance * search.value)


def _advance(problems: _Problems, search: _Search, pairs: _Pairs) -> _Search:
    """One evaluation for every problem: move where the trial point is accepted, shorten the step elsewhere."""
    trial = search.theta + _rows(search.step, search.theta) * search.direction
    value, gradient = _evaluate(problems, trial, search.index)
    accepted = _accepted(search, value, _dot(gradient, search.direction))
    theta = torch.where(accepted[:, None, None], trial, search.theta)
    gradient = torch.where(accepted[:, None, None], gradient, search.gradient)
    gamma = _remember(pairs, theta - search.theta, gradient - search.gradient, search.gamma)
    direction = _direction(gradient, pairs, gamma)
    return _Search(
        index=search.index,
        theta=theta,
        value=torch.where(accepted, value, search.value),
        gradient=gradient,
        direction=direction,
        slope=_dot(direction, gradient),
        step=torch.where(accepted, 1.0, _shorter(search, value)),
        gamma=gamma,
        rejected=torch.where(accepted, 0, search.rejected + 1),
        evaluations=search.evaluations + 1,
    )


def _accepted(search: _Search, value: Tensor, slope: Tensor) -> Tensor:
    """(P,) bool, Armijo's condition, or its gradient form where rounding hides the decrease.

    Hager and Zhang, SIAM J. Optim. 16 (2005), the approximate Wolfe conditions. The value never rises by more
    than rounding, and convexity makes every accepted pair have positive curvature.
    """
    noise = 8 * torch.finfo(search.theta.dtype).eps * search.value.abs()
    armijo = value <= search.value + ARMIJO * search.step * search.slope
    approximate = (value <= search.value + noise) & (slope <= (2 * ARMIJO - 1) * search.slope)
    return armijo | approximate


def _shorter(search: _Search, value: Tensor) -> Tensor:
    """(P,) the minimiser of the parabola through what is known, within 0.1 to 0.5 of the refused step."""
    curvature = 2 * (value - search.value - search.step * search.slope)
    best = torch.nan_to_num(-search.slope * search.step**2 / curvature, nan=0.0)
    return torch.minimum(torch.maximum(best, 0.1 * search.step), 0.5 * search.step)


def _remember(pairs: _Pairs, s: Tensor, y: Tensor, gamma: Tensor) -> Tensor:
    """Add the pair and return gamma; a problem that did not move adds zeros, which change nothing for it."""
    curvature = _dot(s, y)
    useful = curvature > 0
    pairs.append((s, y, torch.where(useful, 1 / curvature, 0.0)))
    return torch.where(useful, curvature / _dot(y, y), gamma)


def _direction(gradient: Tensor, pairs: _Pairs, gamma: Tensor) -> Tensor:
    """The two-loop recursion for all problems at once (Nocedal and Wright 2006, algorithm 7.4)."""
    q, alphas = -gradient, deque[Tensor]()
    for s, y, rho in reversed(pairs):
        alphas.appendleft(rho * _dot(s, q))
        q = q - _rows(alphas[0], q) * y
    q = q * _rows(gamma, q)
    for (s, y, rho), alpha in zip(pairs, alphas, strict=True):
        q = q + _rows(alpha - rho * _dot(y, q), q) * s
    return q


def _keep(search: _Search, kept: Tensor) -> _Search:
    return _Search(*(getattr(search, field.name)[kept] for field in fields(search)))


def _keep_pairs(pairs: _Pairs, kept: Tensor) -> _Pairs:
    return deque(((s[kept], y[kept], rho[kept]) for s, y, rho in pairs), maxlen=HISTORY)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(P,) float64 inner products."""
    return (a * b).flatten(1).sum(1, dtype=torch.float64)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """(P,) values shaped and typed to multiply a (P, K, R + 1) tensor."""
    return values.to(like.dtype)[:, None, None]


# ---- from features to rotated columns, and from heads back ----


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) float64, in two passes because one pass cancels for large means."""
    sums = [chunk.sum(0, dtype=torch.float64) for chunk in torch.split(features, 4096)]
    mean = torch.stack(sums).sum(0) / len(features)
    squares = [(chunk - mean).square_().sum(0) for chunk in torch.split(features, 4096)]
    return mean, (torch.stack(squares).sum(0) / len(features)).sqrt()


def _standardising_scale(features: Tensor) -> Tensor:
    """(D,) the standard deviation, or 1 where a feature does not vary beyond float64 rounding."""
    mean, deviation = _moments(features)
    return torch.where(deviation <= 1e-12 * mean.abs(), 1.0, deviation)


def _prepare(features: Tensor, labels: Tensor, num_classes: int, scale: Tensor | None, problems: int) -> _Data:
    """Rotate once; every problem on these images then uses the same columns."""
    present, compact = torch.unique(labels, return_inverse=True)
    mean = torch.stack([chunk.sum(0, dtype=torch.float64) for chunk in torch.split(features, 4096)]).sum(0)
    mean = mean / len(features)
    axes = _Axes(mean, torch.ones_like(mean) if scale is None else scale.double(), mean)
    small = features.numel() * len(present) * problems < FLOAT64_BELOW
    dtype = torch.float64 if small else torch.float32
    few = len(features) <= features.shape[1]
    axes = _span_of_images(features, axes) if few else _principal_axes(features, axes, dtype)
    columns = _rotated(features, axes, dtype)
    squares = [chunk.square().sum(0, dtype=torch.float64) for chunk in torch.split(columns, 4096)]
    spectrum = torch.stack(squares).sum(0) / len(columns)
    return _Data(columns, spectrum, compact, present, axes, num_classes)


def _principal_axes(features: Tensor, axes: _Axes, dtype: torch.dtype) -> _Axes:
    """All axes, from the Gram matrix of the columns; they only condition the problem, so `dtype` suffices."""
    gram = torch.zeros(features.shape[1], features.shape[1], dtype=dtype, device=features.device)
    for chunk in torch.split(features, 4096):
        rows = _standardised(chunk, axes, dtype)
        gram.addmm_(rows.T, rows)
    return replace(axes, basis=torch.linalg.eigh(gram.double())[1])


def _span_of_images(features: Tensor, axes: _Axes) -> _Axes:
    """Axes that span the images when they are no more than the columns; the optimum lies there."""
    rows = _standardised(features, axes, torch.float64)
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    kept = values > values[-1] * len(rows) * torch.finfo(torch.float64).eps
    return replace(axes, basis=rows.T @ (vectors[:, kept] / values[kept].sqrt()))


def _standardised(chunk: Tensor, axes: _Axes, dtype: torch.dtype) -> Tensor:
    return (chunk.to(dtype) - axes.mean.to(dtype)).div_(axes.scale.to(dtype))


def _rotated(features: Tensor, axes: _Axes, dtype: torch.dtype) -> Tensor:
    """(N, R + 1) columns along the axes, then a column of ones for the intercept."""
    width = axes.basis.shape[1]
    columns = torch.ones(len(features), width + 1, dtype=dtype, device=features.device)
    for source, target in zip(torch.split(features, 4096), torch.split(columns, 4096), strict=True):
        target[:, :width] = _standardised(source, axes, dtype) @ axes.basis.to(dtype)
    return columns


def _heads(data: _Data, weight: Tensor) -> tuple[Tensor, Tensor]:
    """(P, num_classes, D) weights and (P, num_classes) biases for features as they were given.

    The optimal weights of all classes sum to zero, so no image has all its logits below the mean bias. A class
    without images gets zero weights and a bias MISSING_CLASS_GAP below that mean: it never wins and stays finite,
    where the unpenalised intercept would go to minus infinity.
    """
    folded = weight[..., :-1] @ data.axes.basis.T / data.axes.scale
    bias = weight[..., -1] - folded @ data.axes.mean
    all_weights = folded.new_zeros(len(folded), data.num_classes, folded.shape[2])
    all_biases = (bias.mean(1, keepdim=True) - MISSING_CLASS_GAP).repeat(1, data.num_classes)
    all_weights[:, data.present], all_biases[:, data.present] = folded, bias
    return all_weights.float(), all_biases.float()


def _from_heads(data: _Data, initial: LinearFits) -> Tensor:
    """(P, K, R + 1) weights in rotated coordinates, the inverse of `_heads`."""
    weight, bias = initial.weight[:, data.present].double(), initial.bias[:, data.present].double()
    intercept = bias + weight @ data.axes.mean
    return torch.cat([(weight * data.axes.scale) @ data.axes.basis, intercept[..., None]], dim=-1)


# ---- logistic regression ----


def fit_linear(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    C: Sequence[float],
    *,
    scale: Tensor | None = None,
    class_weight: ClassWeight = None,
    sample_weights: Tensor | None = None,
    initial: LinearFits | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_EVALUATIONS,
) -> LinearFits:
    """Multinomial logistic regression for every C (and every row of sample weights) in one batch.

    Minimises what scikit-learn's LogisticRegression minimises: C * sum of losses + 0.5 * sum of squared weights,
    the intercept free; with two classes, one weight vector is penalised (the difference of the two rows).

    Args:
        features: (N, D) float32.
        labels: (N,) int64 in 0..num_classes-1. Classes that do not occur get a finite row that never wins.
        num_classes: Rows of each head.
        C: Inverse penalties, each positive.
        scale: (D,) divide the features by this before penalising; None leaves them as they are.
        class_weight: "balanced" (as in scikit-learn), (num_classes,) weights, or None.
        sample_weights: (G, N); then P = G * len(C), the values of C running fastest.
        initial: P heads to start from.
        tolerance: Stop when about this share of the objective is left to gain.
        max_iterations: Evaluations of loss and gradient per problem.

    Returns:
        P = len(C) heads, or G * len(C).

    Raises:
        TransferkitError: If features hold NaN, labels lie outside 0..num_classes-1 or hold fewer than two classes,
            or a C is not positive.
    """
    _check(features, labels, num_classes, "training")
    _check_C(C)
    groups = 1 if sample_weights is None else len(sample_weights)
    data = _prepare(features, labels, num_classes, scale, groups * len(C))
    row_weights = _row_weights(data, class_weight, sample_weights)
    return _fit(data, row_weights, C, initial, tolerance, max_iterations)


def _fit(
    data: _Data,
    row_weights: Tensor,
    C: Sequence[float],
    initial: LinearFits | None,
    tolerance: float,
    max_iterations: int,
) -> LinearFits:
    problems = _problems(data, row_weights, C)
    shape = (len(problems.group), len(data.present), data.columns.shape[1])
    start = data.spectrum.new_zeros(shape) if initial is None else _from_heads(data, initial)
    return _solve(problems, start / problems.precondition[:, None], tolerance, max_iterations)


def _solve(problems: _Problems, theta: Tensor, tolerance: float, max_iterations: int) -> LinearFits:
    """Minimise in the type of the columns, then in float64 what is left."""
    theta = theta.clone()
    value = theta.new_zeros(len(theta))
    converged = torch.zeros_like(value, dtype=torch.bool)
    evaluations = torch.zeros_like(value, dtype=torch.int64)
    for dtype in dict.fromkeys((problems.data.columns.dtype, torch.float64)):
        left = torch.nonzero(~converged & (evaluations < max_iterations))[:, 0]
        for part in torch.split(left, max(1, STATE_ELEMENTS // theta[0].numel())):
            for search, done in _minimise(problems, theta[part].to(dtype), part, tolerance, max_iterations):
                theta[search.index], value[search.index] = search.theta.double(), search.value
                converged[search.index] = done
                evaluations[search.index] += search.evaluations
    weight, bias = _heads(problems.data, theta * problems.precondition[:, None])
    return LinearFits(weight, bias, value * problems.objective_scale, converged, evaluations)


def _problems(data: _Data, row_weights: Tensor, C: Sequence[float]) -> _Problems:
    """Every row of weights with every C, the values of C running fastest."""
    group = torch.arange(len(row_weights), device=row_weights.device).repeat_interleave(len(C))
    total = row_weights.sum(1)
    objective_scale = torch.tensor(C, dtype=torch.float64, device=total.device).repeat(len(total)) * total[group]
    penalty = _penalties(objective_scale, data)
    classes = len(data.present)
    curvature = (classes - 1) / classes**2  # p * (1 - p) when all classes are equally likely
    precondition = (curvature * data.spectrum + penalty).rsqrt()
    share = (row_weights / total[:, None]).to(data.columns.dtype)
    return _Problems(data, share, group, penalty, precondition, objective_scale)


def _penalties(objective_scale: Tensor, data: _Data) -> Tensor:
    """(P, R + 1) one penalty per weight, none for the intercept.

    With two classes scikit-learn penalises the difference d of the two rows by 0.5 * d^2; the rows are then d / 2
    and -d / 2 with squares summing to d^2 / 2, so that doubling the penalty gives the same problem.
    """
    per_weight = (2.0 if len(data.present) == 2 else 1.0) / objective_scale
    penalty = per_weight[:, None].repeat(1, data.columns.shape[1])
    penalty[:, -1] = 0.0
    return penalty


def _row_weights(data: _Data, class_weight: ClassWeight, sample_weights: Tensor | None) -> Tensor:
    """(G, N) float64, sample weights times class weights."""
    rows = torch.ones(1, len(data.labels)) if sample_weights is None else sample_weights
    rows = rows.to(data.labels.device, torch.float64)
    per_class = torch.zeros(len(rows), len(data.present), dtype=torch.float64, device=rows.device)
    per_class.index_add_(1, data.labels, rows)
    if not bool((per_class > 0).all()):
        raise TransferkitError(
            "Sample weights leave a class without any weight in one of the problems. "
            "Every class among the labels needs a positive weight in each row of sample_weights."
        )
    return rows * _class_factors(data, class_weight, per_class)[:, data.labels]


def _class_factors(data: _Data, class_weight: ClassWeight, per_class: Tensor) -> Tensor:
    """(G, K) what each class is multiplied by; "balanced" is n / (K * n_k) as in scikit-learn."""
    if class_weight is None:
        return torch.ones_like(per_class)
    if isinstance(class_weight, Tensor):
        if len(class_weight) != data.num_classes:
            raise TransferkitError(
                f"class_weight has {len(class_weight)} values; expected one per class, {data.num_classes}."
            )
        return class_weight.to(per_class)[data.present].expand_as(per_class)
    return per_class.sum(1, keepdim=True) / (per_class.shape[1] * per_class)


def _check_C(C: Sequence[float]) -> None:
    if not C or not all(0 < value < float("inf") for value in C):
        raise TransferkitError(f"C is {list(C)}; expected at least one positive number, such as 1.0.")


def _check(features: Tensor, labels: Tensor, num_classes: int, part: str) -> None:
    if features.device.type == "mps":
        raise TransferkitError("The probe solver needs float64, which mps does not have. Pass features.cpu().")
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise TransferkitError(
            f"The {part} features have shape {tuple(features.shape)} and the labels {tuple(labels.shape)}; "
            "expected (N, D) and (N,)."
        )
    bad = len(features) - int(torch.isfinite(features.sum(1)).sum())
    if bad:
        raise TransferkitError(
            f"{bad} of {len(features)} {part} feature rows hold NaN or infinity. Extract the features again in "
            "float32 and look for broken images or diverged weights."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise TransferkitError(
            f"The {part} labels run from {int(labels.min())} to {int(labels.max())}; "
            f"expected 0 to {num_classes - 1} for {num_classes} classes."
        )
    found = len(torch.unique(labels))
    if part == "training" and found < 2:
        raise TransferkitError(
            f"The training labels hold {found} of {num_classes} classes; a probe needs images of at least two. "
            "Check the labels or the size of the subset."
        )


# ---- the probe: choose C, then fit ----


def choose_C(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    num_classes: int,
    *,
    sweep: Literal["coarse", "full"] = "coarse",
    class_weight: ClassWeight = None,
    seed: int = 0,
) -> Choice:
    """The C of a head fitted on standardised train that answers most of val, or most of the folds of train, rightly.

    With no val images C is chosen by stratified cross-validation on train, with as many folds as the smallest class
    that has at least two images allows; classes with one image stay in every training part. Ties go to the lower mean
    loss, then to the smaller C. Arguments as for `fit_probe`.

    Raises:
        TransferkitError: If features hold NaN, labels are out of range or train has fewer than two classes.
    """
    _check(train_features, train_labels, num_classes, "training")
    if len(val_labels):
        _check(val_features, val_labels, num_classes, "validation")
        _check_same_width(train_features, val_features)
    held_out = _held_out(train_features, train_labels, val_features, val_labels, seed)
    if held_out is None:
        return Choice(DEFAULT_C, "default, no class has two images")
    return _choose(train_features, train_labels, num_classes, class_weight, held_out, sweep)


def given_C(C: float) -> Choice:
    """A C that was not chosen here."""
    return Choice(C, "given")


def fit_chosen(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    choice: Choice,
    *,
    class_weight: ClassWeight = None,
    initial: LinearFits | None = None,
) -> LinearFits:
    """One head at the chosen C, standardised on these images; the standardisation is folded into it.

    Args:
        features: (N, D) float32.
        labels: (N,) int64.
        num_classes: Rows of the head.
        choice: From `choose_C`; its own fit is where the solver starts.
        class_weight: "balanced", (num_classes,) weights, or None.
        initial: One head to start from instead.

    Raises:
        TransferkitError: As `fit_linear`.
    """
    return fit_linear(
        features,
        labels,
        num_classes,
        [choice.C],
        scale=_standardising_scale(features),
        class_weight=class_weight,
        initial=choice.start if initial is None else initial,
    )


def fit_probe(
    train_features: Tensor,
    train_labels: Tensor,
    val_features: Tensor,
    val_labels: Tensor,
    num_classes: int,
    *,
    sweep: Literal["coarse", "full"] = "coarse",
    C: float | None = None,
    class_weight: ClassWeight = None,
    seed: int = 0,
) -> ProbeFit:
    """Standardise, choose C on val, refit on train and val together; fold the standardisation into the head.

    While C is chosen (see `choose_C`), mean and standard deviation come from train alone; the refit takes them from
    train and val.

    Args:
        train_features: (N, D) float32.
        train_labels: (N,) int64.
        val_features: (M, D) float32; M may be 0.
        val_labels: (M,) int64.
        num_classes: Rows of the head; a class without images gets a finite row that never wins.
        sweep: "coarse" tries 8 values 1.5 decades apart and 4 around the best; "full" tries 45, 1e-6 to 1e5.
        C: Skip the choice and use this value.
        class_weight: "balanced", (num_classes,) weights, or None.
        seed: Shuffles the folds; unused when val has images.

    Returns:
        The head for unstandardised features and how its C was chosen.

    Raises:
        TransferkitError: If features hold NaN, labels are out of range or train has fewer than two classes.
    """
    _check(train_features, train_labels, num_classes, "training")
    parts = (train_features, train_labels, val_features, val_labels)
    choice = (
        choose_C(*parts, num_classes, sweep=sweep, class_weight=class_weight, seed=seed) if C is None else given_C(C)
    )
    features, labels = train_features, train_labels
    if len(val_labels):
        _check(val_features, val_labels, num_classes, "validation")
        _check_same_width(train_features, val_features)
        features, labels = torch.cat([train_features, val_features]), torch.cat([train_labels, val_labels])
    fits = fit_chosen(features, labels, num_classes, choice, class_weight=class_weight)
    return ProbeFit(fits.head(0), choice, bool(fits.converged[0]), int(fits.iterations[0]))


@dataclass(frozen=True)
class _HeldOut:
    """What C is judged on: G ways to train on some images and to judge on others."""

    train_weights: Tensor  # (G, N) 1 where a training image is used
    features: Tensor  # (M, D)
    labels: Tensor  # (M,)
    judged: Tensor  # (G, M) bool
    name: str


@dataclass(frozen=True)
class _Score:
    """How one C did on the held-out images, and the first of its fits to start others from."""

    C: float
    accuracy: float
    loss: float
    fit: LinearFits


def _held_out(
    train_features: Tensor, train_labels: Tensor, val_features: Tensor, val_labels: Tensor, seed: int
) -> _HeldOut | None:
    """Val if there is one, else folds of train, else nothing."""
    if len(val_labels):
        everyone = torch.ones(1, len(train_labels), device=train_labels.device)
        judged = torch.ones(1, len(val_labels), dtype=torch.bool, device=val_labels.device)
        return _HeldOut(everyone, val_features, val_labels, judged, "val")
    fold = _folds(train_labels, seed)
    count = int(fold.max()) + 1
    if count == 0:
        return None
    judged = fold == torch.arange(count, device=fold.device)[:, None]
    return _HeldOut((~judged).float(), train_features, train_labels, judged, f"{count}-fold cross-validation")


def _folds(labels: Tensor, seed: int) -> Tensor:
    """(N,) the fold that holds each image out, stratified; -1 for the only image of its class."""
    counts = labels.bincount()
    if not bool((counts >= 2).any()):
        return torch.full_like(labels, -1)
    folds = min(MAX_FOLDS, int(counts[counts >= 2].min()))
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    by_class = by_class[counts[labels[by_class]] >= 2]
    fold = torch.full_like(labels, -1)
    fold[by_class] = torch.arange(len(by_class), device=labels.device) % folds
    return fold


def _choose(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    class_weight: ClassWeight,
    held_out: _HeldOut,
    sweep: Literal["coarse", "full"],
) -> Choice:
    """Coarse values first; what follows starts from their solutions."""
    coarse = FULL_SWEEP[::COARSE_STEP]
    groups = len(held_out.train_weights)
    data = _prepare(features, labels, num_classes, _standardising_scale(features), groups * len(coarse))
    row_weights = _row_weights(data, class_weight, held_out.train_weights)
    first = _fit(data, row_weights, coarse, None, SELECTION_TOLERANCE, SELECTION_EVALUATIONS)
    scores = _scores(first, coarse, held_out)
    finer = _refined(_best(scores).C) if sweep == "coarse" else _others(FULL_SWEEP, coarse)
    nearest = [min(sum(c < value for c in coarse), len(coarse) - 1) for value in finer]  # the next higher one
    start = first.select([group * len(coarse) + at for group in range(groups) for at in nearest])
    second = _fit(data, row_weights, finer, start, SELECTION_TOLERANCE, SELECTION_EVALUATIONS)
    scores += _scores(second, finer, held_out)
    best = _best(scores)
    ascending = sorted(scores, key=lambda score: score.C)
    grid, accuracies = (tuple(getattr(score, name) for score in ascending) for name in ("C", "accuracy"))
    return Choice(best.C, held_out.name, grid, accuracies, best.fit)


def _refined(best: float) -> tuple[float, ...]:
    """Values of the full sweep around the best coarse one."""
    centre = FULL_SWEEP.index(best)
    return tuple(FULL_SWEEP[centre + step] for step in REFINED_STEPS if 0 <= centre + step < len(FULL_SWEEP))


def _others(values: Sequence[float], known: Sequence[float]) -> tuple[float, ...]:
    return tuple(value for value in values if value not in known)


def _best(scores: Sequence[_Score]) -> _Score:
    return max(scores, key=lambda score: (score.accuracy, -score.loss, -score.C))


def _scores(fits: LinearFits, grid: Sequence[float], held_out: _HeldOut) -> list[_Score]:
    """Accuracy and mean loss per C, pooled over the folds."""
    correct, loss = torch.zeros(len(grid)).double(), torch.zeros(len(grid)).double()
    for group, judged in enumerate(held_out.judged):
        features, labels = held_out.features[judged], held_out.labels[judged]
        for at in range(len(grid)):
            log_p = fits.head(group * len(grid) + at).logits(features).log_softmax(1)
            correct[at] += (log_p.argmax(1) == labels).sum().item()
            loss[at] -= log_p.gather(1, labels[:, None]).sum(dtype=torch.float64).item()
    count = int(held_out.judged.sum())
    rows = zip(grid, (correct / count).tolist(), (loss / count).tolist(), strict=True)
    return [_Score(*row, fits.select([at])) for at, row in enumerate(rows)]


def _check_same_width(train_features: Tensor, val_features: Tensor) -> None:
    if train_features.shape[1] != val_features.shape[1]:
        raise TransferkitError(
            f"Training features are {train_features.shape[1]} wide, validation features {val_features.shape[1]}. "
            "Extract both with the same backbone and layer."
        )


# ---- heads without a solver ----


def knn_logits(
    train_features: Tensor,
    train_labels: Tensor,
    query_features: Tensor,
    num_classes: int,
    k: int,
    temperature: float = VOTE_TEMPERATURE,
) -> Tensor:
    """Log of the votes of the k nearest training images by cosine, each weighing exp(similarity / temperature).

    Wu et al., CVPR 2018 (arXiv:1805.01978), section 3.4; the temperature is theirs.

    Args:
        train_features: (N, D).
        train_labels: (N,) int64.
        query_features: (M, D).
        num_classes: Columns of the result.
        k: Neighbours, at most N.
        temperature: Small values let the nearest neighbour decide.

    Returns:
        (M, num_classes). A class without a vote gets -1 / temperature - 20, below any single vote, and finite.

    Raises:
        TransferkitError: If k is larger than the number of training images, or below 1.
    """
    found = neighbours(train_features, train_labels, query_features, k)
    return votes(*found, num_classes, temperature)


def neighbours(train_features: Tensor, train_labels: Tensor, query_features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines (M, k) of the k nearest training images of each query, nearest first, and their labels (M, k).

    Raises:
        TransferkitError: If k is larger than the number of training images, or below 1.
    """
    require_neighbours(k, len(train_features))
    train = torch.nn.functional.normalize(train_features, dim=1)
    rows = max(256, CHUNK_ELEMENTS.get(train.device.type, CHUNK_ELEMENTS["cpu"]) // len(train))
    chunks = torch.split(torch.nn.functional.normalize(query_features, dim=1), rows)
    found = [(chunk @ train.T).topk(k, dim=1) for chunk in chunks]
    nearest, index = (torch.cat(parts) for parts in zip(*found, strict=True))
    return nearest, train_labels[index]


def require_neighbours(k: int, images: int) -> None:
    """Refuse more neighbours than there are images.

    Raises:
        TransferkitError: Names both numbers.
    """
    if not 1 <= k <= images:
        raise TransferkitError(
            f"k = {k} neighbours were asked for, but there are {images} training images. "
            f"Choose k between 1 and {images}."
        )


def votes(nearest: Tensor, labels: Tensor, num_classes: int, temperature: float) -> Tensor:
    """(M, num_classes) log votes from the (M, k) cosines and labels of neighbours, nearest first; see `knn_logits`."""
    weights = ((nearest - nearest[:, :1]) / temperature).exp()  # relative to the nearest, so that exp cannot overflow
    counted = nearest.new_zeros(len(nearest), num_classes).scatter_add_(1, labels, weights)
    return (counted.log() + nearest[:, :1] / temperature).clamp_(min=-1 / temperature - MISSING_CLASS_GAP)


def nearest_class_mean(train_features: Tensor, train_labels: Tensor, num_classes: int) -> LinearHead:
    """The nearest class mean in Euclidean distance, as a linear head: W = mu, b = -|mu|^2 / 2.

    From -|x - mu|^2 / 2 = mu.x - |mu|^2 / 2 - |x|^2 / 2, whose last term is the same for all classes. A class
    without images gets zero weights and a bias of -1e30, so that it never wins.
    """
    sums = torch.zeros(num_classes, train_features.shape[1], dtype=torch.float64, device=train_features.device)
    for features, labels in zip(torch.split(train_features, 4096), torch.split(train_labels, 4096), strict=True):
        sums.index_add_(0, labels, features.double())
    counts = train_labels.bincount(minlength=num_classes)
    means = sums / counts.clamp(min=1)[:, None]
    bias = torch.where(counts > 0, -0.5 * means.square().sum(1), NEVER)
    return LinearHead(means.float(), bias.float())
