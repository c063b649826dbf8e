"""Logistic regression for many C at once: against scikit-learn, autograd and values worked by hand."""

import math

import pytest
import torch
from blobs import NONE, blobs, probabilities
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from transferkit.models.linear import fit_linear, fit_probe, lbfgs, logistic, objective, rotation
from transferkit.runtime.errors import TransferkitError

GRID = (1e-3, 1.0, 1e3)


def imbalanced() -> tuple[Tensor, Tensor]:
    features, labels = blobs(n=600)
    kept = (labels == 0) | (torch.arange(600) % 12 == labels)
    return features[kept], labels[kept]


def collinear() -> tuple[Tensor, Tensor]:
    features, labels = blobs()
    return torch.cat([features, features[:, :4], features.sum(1, keepdim=True)], dim=1), labels


def unscaled() -> tuple[Tensor, Tensor]:
    features, labels = blobs()
    return features * torch.logspace(-2, 2, 8) + torch.logspace(2, -2, 8), labels


def separable() -> tuple[Tensor, Tensor]:
    return blobs(spread=0.2)


def wide() -> tuple[Tensor, Tensor]:
    return blobs(n=40, d=120)


DATA = {f.__name__: f for f in (blobs, imbalanced, collinear, unscaled, separable, wide)}


def objective_of(features: Tensor, labels: Tensor, weight: object, bias: object, C: float) -> float:
    """scikit-learn's objective in float64; for two classes `weight` has one row, as there."""
    weight, bias = torch.as_tensor(weight).double(), torch.as_tensor(bias).double()
    logits = features.double() @ weight.T + bias
    if len(weight) == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    return float(C * loss + 0.5 * weight.square().sum())


def sklearn_fit(features: Tensor, labels: Tensor, C: float, **settings: object) -> LogisticRegression:
    weights = settings.pop("sample_weight", None)
    estimator = LogisticRegression(C=C, tol=1e-10, max_iter=20_000, solver="newton-cholesky", **settings)
    return estimator.fit(features.double().numpy(), labels.numpy(), sample_weight=weights)


# ---- the solver ----


def require_best_objectives(fits, features, labels):
    """At every C the objective is that of scikit-learn."""
    for at, C in enumerate(GRID):
        expected = sklearn_fit(features, labels, C)
        best = objective_of(features, labels, expected.coef_, expected.intercept_, C)
        assert objective_of(features, labels, fits.weight[at], fits.bias[at], C) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", DATA)
def test_objective_is_within_one_in_100_000_of_scikit_learn(name, precision, monkeypatch):
    if precision == "float32":
        monkeypatch.setattr(rotation, "FLOAT64_BELOW", 0)
    features, labels = DATA[name]()

    fits = fit_linear(features, labels, 4, GRID)

    require_best_objectives(fits, features, labels)
    assert fits.converged.all()


@pytest.mark.parametrize("name", [name for name in DATA if name != "wide"])
def test_so_it_is_where_only_the_leading_axes_are_sought(name, monkeypatch):
    monkeypatch.setattr(rotation, "EXACT_UP_TO", 4)
    monkeypatch.setattr(rotation, "LEADING", 3)
    features, labels = DATA[name]()

    fits = fit_linear(features, labels, 4, GRID)

    require_best_objectives(fits, features, labels)


def test_leading_axes_are_those_of_the_largest_variance_and_all_are_orthonormal(monkeypatch):
    """Variances of 16, 9 and 4 along three columns, 0.01 along the others: three axes hold them, to a per mille."""
    monkeypatch.setattr(rotation, "EXACT_UP_TO", 4)
    monkeypatch.setattr(rotation, "LEADING", 3)
    deviations = torch.tensor([0.1, 4.0, 0.1, 3.0, 0.1, 2.0, 0.1, 0.1])
    features = deviations * torch.randn(4000, 8, generator=torch.Generator().manual_seed(0))

    data = rotation.rotate(features, torch.arange(4000) % 2, 2, None, 1)

    exact = torch.linalg.eigvalsh(torch.cov(features.double().T, correction=0)).flip(0)
    basis = data.axes.basis
    assert data.spectrum[:3].sort(descending=True).values.tolist() == pytest.approx(exact[:3].tolist(), rel=1e-3)
    assert basis.T @ basis == pytest.approx(torch.eye(8).double().numpy(), abs=1e-12)


def test_probabilities_equal_those_of_scikit_learn():
    features, labels = blobs()

    head = fit_linear(features, labels, 4, [1.0], tolerance=1e-12).head(0)

    expected = sklearn_fit(features, labels, 1.0).predict_proba(features.double().numpy())
    assert probabilities(head, features) == pytest.approx(expected, abs=1e-5)


def test_two_classes_follow_scikit_learns_binary_convention():
    features, labels = blobs(classes=2)

    fits = fit_linear(features, labels, 2, GRID, tolerance=1e-12)

    for at, C in enumerate(GRID):
        expected = sklearn_fit(features, labels, C)
        difference = fits.weight[at, 1] - fits.weight[at, 0]
        assert difference.numpy() == pytest.approx(expected.coef_[0], abs=1e-5, rel=1e-4)
        assert float(fits.objective[at]) == pytest.approx(
            objective_of(features, labels, expected.coef_, expected.intercept_, C), rel=1e-5
        )


def test_reported_objective_is_that_of_the_returned_head():
    features, labels = blobs()

    fits = fit_linear(features, labels, 4, GRID)

    recomputed = [objective_of(features, labels, fits.weight[at], fits.bias[at], C) for at, C in enumerate(GRID)]
    assert fits.objective.tolist() == pytest.approx(recomputed, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradient_equals_autograd(dtype):
    features, labels = blobs()
    data = rotation.rotate(features, labels, 4, None, 1)
    problems = objective.pose(data, torch.rand(1, 240, dtype=torch.float64) + 0.5, [0.1, 10.0])
    theta = torch.randn(2, 4, 9, dtype=dtype, requires_grad=True)

    _, gradient = objective.evaluate(problems, theta.detach(), torch.arange(2))

    weight = theta * problems.precondition[:, None]
    log_p = torch.einsum("pkr,nr->pnk", weight, data.columns).log_softmax(-1)
    loss = -(log_p[:, torch.arange(240), labels] * problems.row_weights).sum()
    (expected,) = torch.autograd.grad(loss + 0.5 * (problems.penalty[:, None] * weight**2).sum(), theta)
    assert gradient.numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-6)


def test_curvature_is_the_mean_diagonal_of_the_hessian_by_autograd():
    features, labels = blobs(n=40, d=3)
    data = rotation.rotate(features, labels, 4, None, 1)
    problems = objective.pose(data, torch.rand(1, 40, dtype=torch.float64) + 0.5, [0.1])
    theta = torch.randn(1, 4, 4, dtype=torch.float64)

    curvature = objective.relative_curvature(problems, theta, torch.arange(1))

    def loss(flat: Tensor) -> Tensor:
        weight = flat.view(4, 4) * problems.precondition
        log_p = (data.columns @ weight.T).log_softmax(1)
        return -(log_p[torch.arange(40), labels] @ problems.row_weights[0]) + 0.5 * (problems.penalty * weight**2).sum()

    hessian = torch.autograd.functional.hessian(loss, theta.flatten())
    assert curvature[0].tolist() == pytest.approx(hessian.diag().view(4, 4).mean(0).tolist())


def test_images_that_can_be_separated_take_few_evaluations():
    # as many columns as images, so that every C is separable; with the curvature of the start alone it takes 2,700
    features, labels = blobs(n=120, d=120, spread=4.0)

    fits = fit_linear(features, labels, 4, [1e3])

    assert fits.converged.all()
    assert fits.iterations.item() < 80


def test_loss_keeps_its_digits_where_the_label_is_almost_certain():
    # p(label) = 1 / (1 + e^-30): 1 in float32, while the loss is 9.4e-14
    log_p = torch.tensor([[[0.0], [-30.0]]]).log_softmax(1)

    loss, residual = objective._cross_entropy(log_p, torch.zeros(1, 1, 1, dtype=torch.int64))

    assert loss.item() == pytest.approx(math.exp(-30), rel=1e-5)
    assert residual.flatten().tolist() == pytest.approx([-math.exp(-30), math.exp(-30)], rel=1e-5)


def test_a_batch_gives_what_each_problem_gives_alone():
    features, labels = blobs()

    together = fit_linear(features, labels, 4, GRID, tolerance=1e-12)

    for at, C in enumerate(GRID):
        alone = fit_linear(features, labels, 4, [C], tolerance=1e-12)
        assert together.weight[at].numpy() == pytest.approx(alone.weight[0].numpy(), abs=1e-4)


def test_problems_too_many_for_memory_are_solved_in_turns(monkeypatch):
    features, labels = blobs()
    expected = fit_linear(features, labels, 4, GRID)
    monkeypatch.setattr(logistic, "STATE_ELEMENTS", 1)

    fits = fit_linear(features, labels, 4, GRID)

    assert fits.objective.tolist() == pytest.approx(expected.objective.tolist(), rel=1e-6)


def test_a_good_start_saves_evaluations():
    features, labels = blobs(n=2_000, d=30)
    cold = fit_linear(features, labels, 4, [1.0])

    warm = fit_linear(features, labels, 4, [1.0], initial=cold)

    assert warm.iterations.item() <= lbfgs.FEWEST_EVALUATIONS < cold.iterations.item()


def test_balanced_class_weights_equal_scikit_learn():
    features, labels = imbalanced()

    head = fit_linear(features, labels, 4, [1.0], class_weight="balanced", tolerance=1e-12).head(0)

    expected = sklearn_fit(features, labels, 1.0, class_weight="balanced")
    assert probabilities(head, features) == pytest.approx(expected.predict_proba(features.numpy()), abs=1e-4)


def test_given_class_weights_equal_scikit_learn():
    features, labels = blobs()

    head = fit_linear(
        features, labels, 4, [1.0], class_weight=torch.tensor([1.0, 2.0, 0.5, 3.0]), tolerance=1e-12
    ).head(0)

    expected = sklearn_fit(features, labels, 1.0, class_weight={0: 1.0, 1: 2.0, 2: 0.5, 3: 3.0})
    assert probabilities(head, features) == pytest.approx(expected.predict_proba(features.numpy()), abs=1e-4)


def test_sample_weights_of_zero_and_one_fit_the_subset():
    features, labels = blobs()
    used = torch.stack([torch.arange(240) < 120, torch.arange(240) >= 120])

    fits = fit_linear(features, labels, 4, [0.1, 1.0], sample_weights=used.float(), tolerance=1e-12)

    assert len(fits.weight) == 4  # C runs fastest: (first, .1), (first, 1), (second, .1), (second, 1)
    for at, (part, C) in enumerate([(used[0], 0.1), (used[0], 1.0), (used[1], 0.1), (used[1], 1.0)]):
        expected = sklearn_fit(features[part], labels[part], C)
        assert fits.weight[at].numpy() == pytest.approx(expected.coef_, abs=1e-4)


def test_scale_is_folded_back_into_the_head():
    features, labels = blobs()
    features = features * torch.logspace(-1, 1, 8) + 3
    mean, deviation = features.mean(0), features.std(0, unbiased=False)

    head = fit_linear(features, labels, 4, [1.0], scale=deviation, tolerance=1e-12).head(0)

    standardised = (features - mean) / deviation
    expected = sklearn_fit(standardised, labels, 1.0).predict_proba(standardised.double().numpy())
    assert probabilities(head, features) == pytest.approx(expected, abs=1e-4)


def test_a_class_without_images_never_wins_however_far_the_image():
    features, labels = blobs()
    present = torch.tensor([0, 2, 3, 5])[labels]

    head = fit_linear(features, present, 7, [10.0]).head(0)

    far = torch.cat([features, 1e3 * features, -1e3 * features])
    logits = head.logits(far)
    assert torch.isfinite(logits).all()
    assert set(logits.argmax(1).tolist()) <= {0, 2, 3, 5}
    assert float(head.logits(features).softmax(1)[:, [1, 4, 6]].max()) < 2.1e-9  # e**-20


def test_inputs_are_left_as_they_were():
    features, labels = blobs()
    before = features.clone(), labels.clone()

    fit_linear(features, labels, 4, GRID, class_weight="balanced")

    assert torch.equal(features, before[0])
    assert torch.equal(labels, before[1])


def test_stopping_early_is_told():
    features, labels = blobs()

    fits = fit_linear(features, labels, 4, [1.0], max_iterations=2)

    assert (fits.converged.tolist(), fits.iterations.tolist()) == ([False], [2])


# ---- what is refused ----


def test_nan_features_are_counted():
    features, labels = blobs()
    features[3, 0] = features[7, 1] = math.nan

    with pytest.raises(TransferkitError, match="2 of 240 training feature rows hold NaN or infinity"):
        fit_probe(features, labels, *NONE, 4)


def test_infinite_validation_features_are_counted():
    features, labels = blobs()
    val = features.clone()
    val[0, 0] = math.inf

    with pytest.raises(TransferkitError, match="1 of 240 validation feature rows"):
        fit_probe(features, labels, val, labels, 4)


def test_one_class_is_refused():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="labels hold 1 of 4 classes; a probe needs images of at least two"):
        fit_probe(features, torch.zeros_like(labels), *NONE, 4)


def test_labels_out_of_range_are_refused_with_the_range():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="labels run from 0 to 3; expected 0 to 2 for 3 classes"):
        fit_linear(features, labels, 3, [1.0])


def test_shapes_that_do_not_fit_are_named():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match=r"shape \(240, 8\) and the labels \(239,\); expected \(N, D\)"):
        fit_linear(features, labels[1:], 4, [1.0])


def test_validation_features_of_another_width_are_refused():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="Training features are 8 wide, validation features 5"):
        fit_probe(features, labels, features[:, :5], labels, 4)


def test_a_class_without_weight_is_refused():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="leave a class without any weight"):
        fit_linear(features, labels, 4, [1.0], sample_weights=(labels != 2).float()[None])


def test_a_wrong_number_of_class_weights_is_refused():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="class_weight has 3 values; expected one per class, 4"):
        fit_linear(features, labels, 4, [1.0], class_weight=torch.ones(3))


def test_a_C_of_zero_is_refused():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match=r"C is \[0\.0\]; expected at least one positive number"):
        fit_probe(features, labels, *NONE, 4, C=0.0)
