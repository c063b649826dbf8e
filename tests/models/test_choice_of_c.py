"""The linear probe: which C it chooses, on what, and what it folds into the head."""

import math

import pytest
import torch
from blobs import NONE, blobs, probabilities
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from transferkit.models.linear import choice, fit_probe


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

    # values 1.5 decades apart, then 4 half a decade apart; the best has a neighbour half a decade away
    at = fit.choice.grid.index(fit.C)
    assert min(fit.choice.grid[at + 1] / fit.C, fit.C / fit.choice.grid[at - 1]) == pytest.approx(10**0.5)


def test_validation_accuracies_equal_scikit_learn_on_standardised_train():
    train, train_labels, val, val_labels = split()

    fit = fit_probe(train, train_labels, val, val_labels, 4)

    for C, accuracy in zip(fit.choice.grid, fit.choice.validation_accuracy, strict=True):
        oracle = make_pipeline(StandardScaler(), LogisticRegression(C=C, tol=1e-6, max_iter=10_000))
        expected = oracle.fit(train.numpy(), train_labels.numpy()).score(val.numpy(), val_labels.numpy())
        assert accuracy == pytest.approx(expected, abs=0.011)  # one of 100 images may lie on the edge


def test_the_most_accurate_C_is_chosen_on_val():
    fit = fit_probe(*split(), 4)

    assert fit.choice.validation_accuracy[fit.choice.grid.index(fit.C)] == max(fit.choice.validation_accuracy)
    assert fit.choice.chosen_by == "val"


def tried(C: float, correct: list[float], losses: list[float]) -> choice._Tried:
    return choice._Tried(C, None, torch.tensor(correct).double(), torch.tensor(losses).double())


def test_ties_in_accuracy_go_to_the_lower_loss_and_then_to_the_smaller_C():
    dearest, cheap, wrong = tried(2, [1, 1], [0.7, 0.7]), tried(3, [1, 1], [0.6, 0.6]), tried(1, [1, 0], [0.5, 0.5])

    assert choice._best([wrong, dearest, cheap], "accuracy").C == 3
    assert choice._best([cheap, tried(2, [1, 1], [0.6, 0.6])], "accuracy").C == 2


@pytest.mark.parametrize(
    ("correct", "losses", "stops"),
    [
        ([1, 1, 0, 0], [0.6, 0.7, 0.5, 0.6], True),  # 0.1 more on average, standard error 0.035
        ([1, 1, 0, 0], [0.6, 0.8, 0.4, 0.6], False),  # 0.1 more, standard error 0.07: not told apart
        ([1, 1, 0, 0], [0.4, 0.4, 0.4, 0.4], False),  # costs less
        ([1, 1, 1, 1], [0.6, 0.7, 0.5, 0.6], False),  # but right for half the images more, standard error 0.25
    ],
)
def test_climbing_stops_where_the_loss_is_told_to_be_higher_and_the_accuracy_is_not(correct, losses, stops):
    before = tried(0.03, [1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5])

    assert choice._is_past_the_best([before, tried(1, correct, losses)], "accuracy") is stops


def test_values_of_C_that_only_overfit_are_not_tried():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 2
    features = torch.randn(600, 40, generator=generator)
    features[:, 0] += 0.5 * labels

    fit = fit_probe(features[:100], labels[:100], features[100:], labels[100:], 2)
    full = fit_probe(features[:100], labels[:100], features[100:], labels[100:], 2, sweep="full")

    assert max(fit.choice.grid) < 1000
    assert pytest.approx(full.C, rel=4) == fit.C


def test_it_climbs_to_the_largest_C_while_the_loss_still_falls():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    features = torch.rand(400, 1, generator=generator) + 1.5 * labels[:, None]  # a gap apart, in val too

    fit = fit_probe(features[:200], labels[:200], features[200:], labels[200:], 2)

    assert max(fit.choice.grid) == pytest.approx(1e5)


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
