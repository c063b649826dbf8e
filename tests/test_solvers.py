"""Convex heads: against scikit-learn, autograd and values worked by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from transferkit.errors import TransferkitError
from transferkit.solvers import (
    LinearHead,
    choice,
    chunks,
    fit_linear,
    fit_probe,
    knn_logits,
    lbfgs,
    logistic,
    nearest_class_mean,
    objective,
    rotation,
)

GRID = (1e-3, 1.0, 1e3)
NONE = torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)


def blobs(n: int = 240, d: int = 8, classes: int = 4, spread: float = 1.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Overlapping classes in correlated features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    means, mixing = torch.randn(classes, d, generator=generator), torch.randn(d, d, generator=generator)
    noise = spread * torch.randn(n, d, generator=generator)
    return (means[labels] + noise) @ mixing / d**0.5, labels


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


def probabilities(head: LinearHead, features: Tensor) -> np.ndarray:
    return head.logits(features).softmax(1).numpy()


# ---- the solver ----


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("name", DATA)
def test_objective_is_within_one_in_100_000_of_scikit_learn(name, precision, monkeypatch):
    if precision == "float32":
        monkeypatch.setattr(rotation, "FLOAT64_BELOW", 0)
    features, labels = DATA[name]()

    fits = fit_linear(features, labels, 4, GRID)

    for at, C in enumerate(GRID):
        expected = sklearn_fit(features, labels, C)
        best = objective_of(features, labels, expected.coef_, expected.intercept_, C)
        assert objective_of(features, labels, fits.weight[at], fits.bias[at], C) == pytest.approx(best, rel=1e-5)
    assert fits.converged.all()


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


# ---- the probe ----


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    features, labels = blobs(n=400, d=20, spread=2.5)
    return features[:300], labels[:300], features[300:], labels[300:]


def test_full_sweep_has_45_values_from_a_millionth_to_a_hundred_thousand():
    fit = fit_probe(*split(), 4, sweep="full")

    assert (len(fit.choice.grid), fit.choice.grid[0], fit.choice.grid[-1]) == (
        45,
        pytest.approx(1e-6),
        pytest.approx(1e5),
    )
    assert list(fit.choice.grid) == sorted(fit.choice.grid)


def test_coarse_sweep_refines_around_the_best():
    fit = fit_probe(*split(), 4)

    # 8 values 1.5 decades apart, then 4 half a decade apart; the best has a neighbour half a decade away
    at = fit.choice.grid.index(fit.C)
    assert len(fit.choice.grid) == 12
    assert min(fit.choice.grid[at + 1] / fit.C, fit.C / fit.choice.grid[at - 1]) == pytest.approx(10**0.5)


def test_validation_accuracies_equal_scikit_learn_on_standardised_train():
    train, train_labels, val, val_labels = split()

    fit = fit_probe(train, train_labels, val, val_labels, 4)

    assert len(fit.choice.validation_accuracy) == 12
    for C, accuracy in zip(fit.choice.grid, fit.choice.validation_accuracy, strict=True):
        oracle = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-6, max_iter=10_000))
        expected = oracle.fit(train.numpy(), train_labels.numpy()).score(val.numpy(), val_labels.numpy())
        assert accuracy == pytest.approx(expected, abs=0.011)  # one of 100 images may lie on the edge


def test_the_most_accurate_C_is_chosen_on_val():
    fit = fit_probe(*split(), 4)

    assert fit.choice.validation_accuracy[fit.choice.grid.index(fit.C)] == max(fit.choice.validation_accuracy)
    assert fit.choice.chosen_by == "val"


def test_ties_in_accuracy_go_to_the_lower_loss_and_then_to_the_smaller_C():
    def score(C: float, accuracy: float, loss: float) -> choice._Score:
        return choice._Score(C, accuracy, loss, fit=None)

    assert choice._best([score(1, 0.8, 0.5), score(2, 0.9, 0.7), score(3, 0.9, 0.6)]).C == 3
    assert choice._best([score(3, 0.9, 0.6), score(2, 0.9, 0.6)]).C == 2


def test_final_head_is_scikit_learns_on_train_and_val_together():
    train, train_labels, val, val_labels = split()

    fit = fit_probe(train, train_labels, val, val_labels, 4)

    features, labels = torch.cat([train, val]), torch.cat([train_labels, val_labels])
    oracle = make_pipeline(StandardScaler(), LogisticRegression(C=fit.C, tol=1e-10, max_iter=20_000))
    expected = oracle.fit(features.double().numpy(), labels.numpy()).predict_proba(features.double().numpy())
    assert probabilities(fit.head, features) == pytest.approx(expected, abs=2e-3)
    assert fit.converged


def test_a_given_C_is_used_without_a_sweep():
    fit = fit_probe(*split(), 4, C=0.3)

    assert (fit.C, fit.choice.chosen_by, fit.choice.grid, fit.choice.validation_accuracy, fit.choice.on_boundary) == (
        0.3,
        "given",
        (),
        (),
        False,
    )


def test_the_boundary_is_told_when_the_smallest_C_is_best():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 2
    noise = torch.randn(300, 8, generator=generator)
    # what tells the classes apart in train misleads in val: the less is learnt, the lower the loss
    train, val = noise + labels[:, None], noise - labels[:, None]

    fit = fit_probe(train, labels, val, labels, 2)

    assert math.isclose(fit.C, 1e-6)
    assert fit.choice.on_boundary


def test_without_val_C_is_chosen_by_five_folds():
    train, train_labels, *_ = split()

    fit = fit_probe(train, train_labels, train[:0], train_labels[:0], 4)

    assert fit.choice.chosen_by == "5-fold cross-validation"
    assert len(fit.choice.validation_accuracy) == 12


def test_cross_validation_accuracy_equals_fitting_each_fold_apart():
    train, train_labels, *_ = split()

    fit = fit_probe(train, train_labels, train[:0], train_labels[:0], 4, seed=3)

    fold, standardised = choice._folds(train_labels, 3), StandardScaler().fit_transform(train.numpy())
    hits = 0
    for k in range(5):
        out = (fold == k).numpy()
        oracle = LogisticRegression(C=fit.C, tol=1e-6, max_iter=10_000)
        oracle.fit(standardised[~out], train_labels.numpy()[~out])
        hits += int((oracle.predict(standardised[out]) == train_labels.numpy()[out]).sum())
    accuracy = fit.choice.validation_accuracy[fit.choice.grid.index(fit.C)]
    assert accuracy == pytest.approx(hits / 300, abs=2 / 300 + 1e-9)  # images on the edge


def test_folds_hold_out_every_image_once_and_are_stratified():
    labels = torch.tensor([0] * 20 + [1] * 10 + [2] * 5)

    fold = choice._folds(labels, seed=0)

    # 20, 10 and 5 images over five folds: 4, 2 and 1 in each
    assert torch.bincount(labels * 5 + fold).tolist() == [4] * 5 + [2] * 5 + [1] * 5


def test_a_class_with_three_images_allows_three_folds():
    features, labels = blobs(n=60)
    rare = torch.cat([torch.nonzero(labels != 0)[:, 0], torch.nonzero(labels == 0)[:3, 0]])

    fit = fit_probe(features[rare], labels[rare], *NONE, 4)

    assert fit.choice.chosen_by == "3-fold cross-validation"


def test_the_only_image_of_a_class_is_never_held_out():
    assert choice._folds(torch.tensor([0, 0, 0, 1, 1, 2]), seed=0)[5] == -1


def test_one_image_per_class_takes_the_default_C_and_says_so():
    features, _ = blobs(n=4)

    fit = fit_probe(features, torch.arange(4), *NONE, 4)

    assert (fit.C, fit.choice.chosen_by, fit.choice.grid) == (1.0, "default, no class has two images", ())


def test_the_same_seed_gives_the_same_probe():
    train, train_labels, *_ = split()

    first, second = (fit_probe(train, train_labels, train[:0], train_labels[:0], 4, seed=1) for _ in range(2))

    assert torch.equal(first.head.weight, second.head.weight)
    assert first.choice.validation_accuracy == second.choice.validation_accuracy


def test_a_feature_that_never_varies_gets_no_weight():
    train, train_labels, val, val_labels = split()
    train[:, 0] = val[:, 0] = 0.1

    fit = fit_probe(train, train_labels, val, val_labels, 4, C=1.0)

    assert fit.head.weight[:, 0].abs().max() < 1e-6


def test_a_class_only_in_val_is_learnt_in_the_refit():
    train, train_labels, val, val_labels = split()
    seen = train_labels != 3

    fit = fit_probe(train[seen], train_labels[seen], val, val_labels, 4)

    assert (fit.head.logits(val[val_labels == 3]).argmax(1) == 3).any()


# ---- heads without a solver ----


def test_neighbours_vote_as_in_scikit_learn():
    features, labels = blobs()
    queries, _ = blobs(seed=1)

    logits = knn_logits(features, labels, queries, 4, k=20)

    oracle = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07))
    expected = oracle.fit(features.numpy(), labels.numpy()).predict_proba(queries.numpy())
    assert logits.exp().numpy() / logits.exp().sum(1, keepdim=True).numpy() == pytest.approx(expected, abs=1e-4)


def test_votes_worked_by_hand():
    train = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])

    logits = knn_logits(train, torch.tensor([0, 1, 1]), torch.tensor([[5.0, 0.0]]), 3, k=2, temperature=0.5)

    # cosines 1 and 0 with weights e^2 and e^0; the third class has no vote: -1/.5 - 20
    assert logits.tolist() == [pytest.approx([2.0, 0.0, -22.0])]


def test_a_tiny_temperature_does_not_overflow():
    features, labels = blobs()

    logits = knn_logits(features, labels, features, 4, k=5, temperature=1e-3)

    assert torch.isfinite(logits).all()
    assert (logits.argmax(1) == labels).all()  # the nearest image is the query itself


def test_queries_in_chunks_give_the_same_votes(monkeypatch):
    features, labels = blobs(n=600)
    expected = knn_logits(features, labels, features, 4, k=7)
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", {"cpu": 1})

    assert knn_logits(features, labels, features, 4, k=7).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def test_more_neighbours_than_images_are_refused_with_both_numbers():
    features, labels = blobs()

    with pytest.raises(TransferkitError, match="k = 241 neighbours were asked for, but there are 240 training images"):
        knn_logits(features, labels, features, 4, k=241)


def test_nearest_class_mean_equals_scikit_learn():
    features, labels = blobs()
    queries, _ = blobs(seed=1)

    predictions = nearest_class_mean(features, labels, 4).logits(queries).argmax(1)

    expected = NearestCentroid().fit(features.numpy(), labels.numpy()).predict(queries.numpy())
    assert predictions.tolist() == expected.tolist()


def test_class_means_worked_by_hand():
    head = nearest_class_mean(torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 4.0]]), torch.tensor([0, 0, 2]), 3)

    # means (2, 0) and (0, 4): biases -4/2 and -16/2; the second class has no images
    assert head.weight.tolist() == [[2.0, 0.0], [0.0, 0.0], [0.0, 4.0]]
    assert head.bias.tolist() == [-2.0, pytest.approx(-1e30), -8.0]
