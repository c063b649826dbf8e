"""Detectors of out-of-distribution images: against pytorch-ood, plain loops and numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.covariance import ledoit_wolf

from transferkit import ood
from transferkit.metrics.outputs import Outputs
from transferkit.models.linear import LinearHead
from transferkit.ood import ensemble_rank, gaussians, knn
from transferkit.runtime.errors import TransferkitError

WIDTH, CLASSES = 24, 5


def outputs(features: np.ndarray, logits: np.ndarray, labels: np.ndarray | None = None) -> Outputs:
    """Outputs of images called 0, 1, ... and classes called a, b, ..."""
    n, classes = logits.shape
    return Outputs(
        np.asarray(features),
        np.asarray(logits),
        np.zeros(n, np.int64) if labels is None else labels,
        tuple(map(str, range(n))),
        tuple(f"c{i}" for i in range(classes)),
    )


def class_means(classes: int, width: int) -> np.ndarray:
    return np.random.default_rng(99).random((classes, width)) * 3


def linear(classes: int = CLASSES, width: int = WIDTH) -> LinearHead:
    """The head that finds the nearest of the class means of `random_outputs`."""
    means = torch.from_numpy(class_means(classes, width)).float() / 5
    return LinearHead(means, -means.square().sum(dim=1) * 5 / 2)


def random_outputs(n: int, seed: int, head: LinearHead | None = None, scale: float = 1.0) -> Outputs:
    """Features above 0 around one mean per class, and the head's logits."""
    head = head or linear()
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % len(head.bias)
    means = class_means(len(head.bias), head.weight.shape[1])
    features = np.abs(scale * (means[labels] + generator.standard_normal((n, head.weight.shape[1]))))
    features = features.astype(np.float32)
    return outputs(features, head.logits(torch.from_numpy(features)).numpy(), labels)


def logits_only(*rows: list[float]) -> Outputs:
    return outputs(np.ones((len(rows), 2), np.float32), np.array(rows, np.float32))


def scores(name: str, train: Outputs, test: Outputs, head: LinearHead | None = None) -> np.ndarray:
    return ood.fit(name, train, None, head)(test)


# ---- by hand ----


def test_scores_of_the_logits_worked_by_hand():
    # p = (1/2, 1/4, 1/4): msp = log 2, entropy = 1/2 log 2 + 1/2 log 4, margin = log 1/4 - log 1/2
    rows = logits_only([np.log(2), 0.0, 0.0])
    expected = {
        "msp": np.log(2),
        "maxlogit": -np.log(2),
        "energy": -np.log(4),
        "entropy": 1.5 * np.log(2),
        "margin": -np.log(2),
        "gen": 0.25**0.1 + 2 * (3 / 16) ** 0.1,
    }

    assert {name: float(scores(name, rows, rows)[0]) for name in expected} == pytest.approx(expected, rel=1e-6)


def test_a_saturated_softmax_keeps_its_order():
    rows = logits_only([60.0, 0.0, 0.0], [70.0, 0.0, 0.0], [500.0, 0.0, 0.0])  # 1 - p = 2 e^-60: p is 1 in float64

    for name in ("msp", "entropy", "gen"):
        values = scores(name, rows, rows)
        assert values[0] > values[1] > values[2] > 0


def test_gen_counts_at_most_a_hundred_classes():
    uniform = logits_only([0.0] * 300)

    assert scores("gen", uniform, uniform)[0] == pytest.approx(100 * (299 / 300**2) ** 0.1)


def test_logits_of_ten_thousand_overflow_nothing():
    rows = logits_only([1e4, 0.0, -1e4], [1e4, 1e4, 1e4])

    for name in ("msp", "maxlogit", "energy", "entropy", "margin", "gen"):
        values = scores(name, rows, rows)
        assert np.isfinite(values).all()
        if name not in ("maxlogit", "energy"):
            assert values[1] > values[0]


def test_knn_measures_angles_to_the_kth_image():
    # 40 images: k = 2. At (0, 3): one image in the same direction, all others at a right angle, sqrt 2 away
    train = outputs(np.array([[0.0, 5.0]] + [[2.0, 0.0]] * 39, np.float32), np.zeros((40, 3), np.float32))
    test = outputs(np.array([[0.0, 3.0], [7.0, 0.0]], np.float32), np.zeros((2, 3), np.float32))

    assert knn.neighbours(40) == 2
    assert scores("knn", train, test).tolist() == pytest.approx([np.sqrt(2), 0.0])


def test_knn_heeds_no_length_but_zero():
    train = outputs(np.array([[0.0, 1e-30], [0.0, 1e30], [0.0, 0.0]], np.float32), np.zeros((3, 3), np.float32))
    test = outputs(np.array([[1e-20, 0.0], [0.0, 2.0], [0.0, 0.0]], np.float32), np.zeros((3, 3), np.float32))

    # k = 1: nearest to (1, 0) is the row of zeros at distance 1
    assert scores("knn", train, test).tolist() == pytest.approx([1.0, 0.0, 0.0])


def test_mahalanobis_distance_worked_by_hand():
    # two classes at x = -10 and 10, each with offsets +-1 in x and +-2 in y: variances 1/2 and 2
    cross, right = np.array([[1, 0], [-1, 0], [0, 2], [0, -2]]), np.array([10, 0])
    features = np.concatenate([cross - right, cross + right] * 3).astype(np.float32)
    train = outputs(features, np.zeros((24, 2), np.float32), np.repeat([0, 1] * 3, 4))
    test = outputs(np.array([[10.0, 4.0], [0.0, 0.0]], np.float32), np.zeros((2, 2), np.float32))

    # 4^2 / 2 and 10^2 / (1/2); all together, the variance of x is 100.5 and of y 2
    assert scores("mds", train, test).tolist() == pytest.approx([8.0, 200.0])
    assert scores("rmds", train, test).tolist() == pytest.approx([8.0 - 100 / 100.5 - 8.0, 200.0])


def test_mahalanobis_plus_plus_looks_at_directions_worked_by_hand():
    # at length 1: (.8, +-.6) around (.8, 0), and (+-.6, .8) around (0, .8); both variances are .72 / 4 = .18
    features = np.array([[8, 6], [0.8, -0.6], [6, 8], [-60, 80]] * 6, np.float32)
    train = outputs(features, np.zeros((24, 2), np.float32), np.array([0, 0, 1, 1] * 6))
    test = outputs(np.array([[5.0, 0.0], [-7.0, 0.0], [3.0, -4.0]], np.float32), np.zeros((3, 2), np.float32))

    # to the nearer mean: .04 / .18, (1 + .64) / .18, (.04 + .64) / .18; all images together have the mean (.4, .4) and
    # variances .5 along (1, -1) and .18 along (1, 1), which makes 10 / 9, 10, and .98 / .5 + .5 / .18
    assert scores("mds++", train, test).tolist() == pytest.approx([2 / 9, 82 / 9, 34 / 9])
    assert scores("rmds++", train, test).tolist() == pytest.approx([-8 / 9, -8 / 9, -0.96])


def test_mahalanobis_plus_plus_equals_its_formulas_in_numpy():
    train, test = random_outputs(400, 0), random_outputs(60, 1, scale=1.3)
    known, seen = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (train.features, test.features))
    means = np.stack([known[train.labels == c].mean(axis=0) for c in range(CLASSES)])
    within = np.linalg.inv(np.cov((known - means[train.labels]).T, bias=True))
    overall = np.linalg.inv(np.cov(known.T, bias=True))

    def squared(offsets: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        return np.einsum("nd,de,ne->n", offsets, inverse, offsets)

    nearest = np.min([squared(seen - mean, within) for mean in means], axis=0)

    assert np.allclose(scores("mds++", train, test), nearest, rtol=1e-4)
    assert np.allclose(scores("rmds++", train, test), nearest - squared(seen - known.mean(axis=0), overall), atol=1e-3)


@pytest.mark.parametrize("name", ["mds++", "rmds++"])
def test_mahalanobis_plus_plus_does_not_look_at_the_length_of_features(name):
    train, test = random_outputs(400, 0), random_outputs(60, 1)
    lengths = np.random.default_rng(2).uniform(0.5, 20, (60, 1))
    longer = replace(test, features=test.features * lengths)

    assert np.allclose(scores(name, train, longer), scores(name, train, test))
    assert not np.allclose(scores("mds", train, longer), scores("mds", train, test))


# ---- against pytorch-ood ----


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("pytorch_ood.detector")


@pytest.fixture(scope="module")
def sets() -> tuple[Outputs, Outputs]:
    return random_outputs(400, 0), random_outputs(60, 1, scale=1.3)


def test_scores_of_the_logits_equal_pytorch_ood(theirs, sets):
    train, test = sets
    z = torch.from_numpy(test.logits).double()
    expected = {
        "msp": -torch.log(-theirs.MaxSoftmax.score(z)),
        "maxlogit": theirs.MaxLogit.score(z),
        "energy": theirs.EnergyBased.score(z),
    }
    entropy = scores("entropy", train, test)

    for name, values in expected.items():
        assert np.allclose(scores(name, train, test), values.numpy(), atol=1e-12), name
    assert np.allclose(entropy, stats.entropy(z.softmax(1).numpy(), axis=1), atol=1e-12)
    assert np.allclose(entropy, theirs.Entropy.score(z).numpy(), atol=1e-5)  # p at least 1e-7


def test_gen_equals_pytorch_ood_times_the_classes_where_it_does_not_clamp(theirs, sets):
    train, test = sets
    mild = replace(test, logits=(test.logits / 10).astype(np.float32))
    z = torch.from_numpy(mild.logits).double()

    assert np.allclose(scores("gen", train, mild), CLASSES * theirs.GEN.score(z).numpy())


def test_knn_equals_pytorch_ood(theirs, sets):
    train, test = sets
    detector = theirs.KNN(None, k=20).fit_features(torch.from_numpy(train.features), torch.from_numpy(train.labels))

    assert np.allclose(
        scores("knn", train, test), detector.predict_features(torch.from_numpy(test.features)), atol=1e-6
    )


@pytest.mark.parametrize(("name", "theirs_name", "factor"), [("mds", "Mahalanobis", 2), ("rmds", "RMD", 1)])
def test_mahalanobis_equals_pytorch_ood_up_to_its_missing_division(theirs, sets, name, theirs_name, factor):
    train, test = sets
    detector = getattr(theirs, theirs_name)(None)
    detector.fit_features(torch.from_numpy(train.features), torch.from_numpy(train.labels))
    values = detector.predict_features(torch.from_numpy(test.features)).numpy()

    assert np.allclose(scores(name, train, test), factor * len(train) * values, rtol=1e-3, atol=1e-2)


def test_vim_equals_pytorch_ood(theirs, sets):
    train, test = sets
    head = linear()
    detector = theirs.ViM(None, d=WIDTH // 2, w=head.weight, b=head.bias)
    detector.fit_features(torch.from_numpy(train.features), torch.from_numpy(train.labels))

    values = detector.predict_features(torch.from_numpy(test.features)).numpy()
    assert np.allclose(scores("vim", train, test, head), values, atol=1e-3)


def test_react_equals_pytorch_ood(theirs, sets):
    train, test = sets
    detector = theirs.ReAct(None, linear().logits, percentile=0.9)
    detector.fit_feature_maps(torch.from_numpy(train.features), torch.from_numpy(train.labels))

    values = detector.predict_feature_maps(torch.from_numpy(test.features)).numpy()
    assert np.allclose(scores("react", train, test, linear()), values, atol=1e-4)


def test_she_equals_pytorch_ood(theirs, sets):
    train, test = sets
    detector = theirs.SHE(None, linear().logits)
    detector.fit_features(torch.from_numpy(train.features), torch.from_numpy(train.labels))

    values = detector.predict_features(torch.from_numpy(test.features)).numpy()
    assert np.allclose(scores("she", train, test, linear()), values, rtol=1e-5)


def test_fdbd_equals_pytorch_ood(theirs, sets):
    train, test = sets
    layer = torch.nn.Linear(WIDTH, CLASSES)
    layer.weight.data, layer.bias.data = linear().weight, linear().bias
    detector = theirs.fDBD(None, layer).fit_features(torch.from_numpy(train.features))

    values = detector.predict_features(torch.from_numpy(test.features)).detach().numpy()
    assert np.allclose(scores("fdbd", train, test, linear()), values, atol=1e-5)


# ---- few images ----


def test_shrinkage_equals_scikit_learn():
    rows = random_outputs(40, 3).features - 1.0
    grouped = gaussians.Grouped(rows, torch.zeros(len(rows), dtype=torch.int64))
    means = gaussians._means(grouped)

    covariance, shrinkage = gaussians._covariance(grouped, means)

    expected, expected_shrinkage = ledoit_wolf(rows.astype(np.float64) - means.numpy(), assume_centered=True)
    assert shrinkage == pytest.approx(expected_shrinkage, rel=1e-9)
    assert np.allclose(covariance.numpy(), expected)


def test_covariance_is_shrunk_below_five_images_per_feature_and_says_so():
    few, many = random_outputs(5 * WIDTH - 1, 0), random_outputs(5 * WIDTH, 0)

    assert "119 images for 24 features: covariance shrunk by 0." in ood.fit("mds", few, None, None).notes[0]
    assert ood.fit("mds", many, None, None).notes == ()


def test_classes_with_one_image_are_left_out_and_named():
    train = random_outputs(200, 0)
    alone = np.flatnonzero(train.labels == 4)[1:]
    rest = np.setdiff1d(np.arange(200), alone)
    thin = outputs(train.features[rest], train.logits[rest], train.labels[rest])
    without = outputs(*(part[thin.labels < 4] for part in (thin.features, thin.logits, thin.labels)))

    score = ood.fit("rmds", thin, None, None)

    assert score.notes[0] == "leaves out 1 of 5 classes with fewer than two training images: c4"
    assert np.allclose(score(train), ood.fit("rmds", without, None, None)(train))


def test_directions_without_variance_are_ignored_and_counted():
    train = random_outputs(200, 0)
    dead = outputs(np.c_[train.features, np.zeros(200, np.float32)], train.logits, train.labels)

    score = ood.fit("mds", dead, None, None)

    assert score.notes == ("ignores 1 of 25 directions in which the training images do not vary",)
    assert np.allclose(score(dead), scores("mds", train, train))


def test_far_images_do_not_look_near_because_the_covariance_was_shrunk():
    # two classes far apart: shrunk alone, their spread is shrunk by .89 and that of all images by .001: ratio 3.7
    features = np.random.default_rng(0).standard_normal((40, WIDTH))
    features[:, 0] += np.where(np.arange(40) % 2, 30, -30)
    few = outputs(features, np.zeros((40, 2)), np.arange(40) % 2)
    far = 1e4 * torch.randn(100, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = gaussians.class_moments(few)

    to_class = gaussians.class_gaussians(found).squared_distances(far).amin(dim=1)
    to_background = gaussians.background_gaussian(found).squared_distances(far)[:, 0]

    assert "covariance shrunk by" in found.notes[0]
    # the background is wider in every direction: far out, its distance is never the larger one
    assert (to_background < 1.01 * to_class).all()


def test_the_background_is_the_covariance_of_all_images_if_nothing_is_shrunk():
    train = random_outputs(400, 0)
    background = gaussians.background_gaussian(gaussians.class_moments(train))

    rows = train.features.astype(np.float64)
    centred = rows - rows.mean(axis=0)
    expected = np.einsum("nd,de,ne->n", centred, np.linalg.inv(centred.T @ centred / 400), centred)
    assert np.allclose(background.squared_distances(torch.from_numpy(rows))[:, 0].numpy(), expected)


# ---- the rank ensemble ----


def test_ranks_count_ties_half():
    # among 1 2 2 3: below 2 lies one, two are equal: (1 + 2/2) / 4
    assert ensemble_rank.ranks(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0, 3.0])).tolist() == [0.0, 0.5, 1.0]


def test_the_ensemble_is_the_mean_of_three_percentiles_of_val():
    train, val, test = (random_outputs(n, seed) for n, seed in ((300, 0), (50, 1), (9, 2)))

    fitted, _ = ood.fit_all(["ensemble-rank"], train, val, linear())

    parts = [ood.fit(name, train, val, linear()) for name in ("msp", "knn", "vim")]
    expected = np.mean([[stats.percentileofscore(p(val), s, "mean") / 100 for s in p(test)] for p in parts], axis=0)
    assert list(fitted) == ["ensemble-rank"]
    assert fitted["ensemble-rank"](test).tolist() == pytest.approx(expected.tolist())
    assert fitted["ensemble-rank"].notes == ()


def test_without_a_linear_head_the_ensemble_goes_on_and_says_so():
    train, val = random_outputs(300, 0), random_outputs(50, 1)

    score = ood.fit("ensemble-rank", train, val, None)

    assert score.notes == (
        "mean rank of msp and knn only. vim is off: It needs the weights of a linear head, "
        "and this model's head is not linear.",
    )


@pytest.mark.parametrize("n", [0, 19])
def test_the_ensemble_needs_twenty_validation_images(n):
    with pytest.raises(ood.NotApplicable, match=f"ranks against at least 20 validation images; found {n}"):
        ood.fit("ensemble-rank", random_outputs(300, 0), random_outputs(n, 1), linear())


# ---- what is refused ----


def test_with_one_class_only_distances_to_images_are_left():
    train = replace(random_outputs(200, 0, linear(1)), labels=np.zeros(200, np.int64))
    fitted, off = ood.fit_all(ood.DETECTORS, train, train, linear(1))

    assert set(fitted) == {"knn", "mds", "mds++"}
    assert off["energy"] == "With one class the softmax is 1 for every image; only knn and mds say something."
    assert off["ensemble-rank"] == "It averages two scores or more, and only knn applies."
    assert ood.summary_score(fitted) == "knn"


def test_with_two_classes_the_copies_of_msp_are_off():
    train = random_outputs(200, 0, linear(2))
    _, off = ood.fit_all(ood.DETECTORS, train, train, linear(2))

    assert off == dict.fromkeys(
        ["entropy", "margin", "gen"], "With two classes it orders the images as msp does; msp is shown."
    )


def test_without_a_linear_head_four_detectors_are_off():
    train = random_outputs(200, 0)
    _, off = ood.fit_all(ood.DETECTORS, train, train, None)

    assert set(off) == {"vim", "react", "she", "fdbd"}
    assert len(set(off.values())) == 1


def test_features_below_zero_turn_react_off():
    train = random_outputs(200, 0)
    negative = train.features - 5
    moved = outputs(negative, linear().logits(torch.from_numpy(negative)).numpy(), train.labels)

    with pytest.raises(ood.NotApplicable, match=r"ReLU has left at 0 or above; here they reach down to -"):
        ood.fit("react", moved, None, linear())


def test_vim_needs_more_images_than_principal_directions():
    train = random_outputs(12, 0)

    with pytest.raises(ood.NotApplicable, match="more training images than the 12 principal directions"):
        ood.fit("vim", train, None, linear())


def test_the_head_of_another_run_is_an_error():
    train = random_outputs(200, 0)
    other = LinearHead(linear().weight * 2, linear().bias)

    with pytest.raises(TransferkitError, match="head does not give the stored logits; they differ by up to"):
        ood.fit("vim", train, None, other)
    with pytest.raises(TransferkitError, match="maps 24 features to 2 logits, but the outputs have 24 features and 5"):
        ood.fit("vim", train, None, linear(2))


def test_numbers_that_are_not_finite_are_counted_not_dropped():
    train = random_outputs(200, 0)
    features = train.features.copy()
    features[[3, 8]] = np.nan
    broken = replace(train, features=features)

    with pytest.raises(TransferkitError, match="features of 2 of 200 images are NaN or infinite, first 3"):
        ood.fit("knn", broken, None, None)
    with pytest.raises(TransferkitError, match="features of 2 of 200 images are NaN or infinite, first 3"):
        ood.fit("knn", train, None, None)(broken)


def test_outputs_of_another_model_are_refused():
    score = ood.fit("msp", random_outputs(20, 0), None, None)

    with pytest.raises(
        TransferkitError, match="fitted on 5 logits and 24 features per image; these outputs have 3 and 2"
    ):
        score(logits_only([1.0, 2.0, 3.0]))


def test_an_unknown_detector_names_the_nearest():
    with pytest.raises(TransferkitError, match=r"Unknown detector 'vimm'\. Did you mean 'vim'"):
        ood.fit_all(["vimm"], random_outputs(20, 0), None, None)


# ---- large and repeated use ----


def test_knn_of_a_subsample_says_so_and_repeats():
    train = random_outputs(200, 0)
    settings = ood.OodSettings(seed=3, max_train_rows=100)

    first, second = (ood.fit("knn", train, None, None, settings) for _ in range(2))

    assert first.notes == ("compares with 100 of 200 training images, drawn with seed 3",)
    assert first(train).tolist() == second(train).tolist()


@pytest.mark.gpu
def test_knn_on_a_gpu_gives_the_distances_of_the_cpu():
    train, test = random_outputs(400, 0), random_outputs(60, 1)

    on_gpu = ood.fit("knn", train, None, None, ood.OodSettings(device="cuda"))(test)

    # TF32 may take another neighbour at nearly the same distance
    assert np.allclose(on_gpu, scores("knn", train, test), atol=2e-3)


def test_a_score_is_computed_once_per_image_set_and_forgotten_with_it():
    calls = []
    score = replace(
        ood.fit("msp", random_outputs(20, 0), None, None), function=lambda o: calls.append(1) or np.zeros(len(o))
    )
    test = random_outputs(5, 1)

    score(test), score(test)
    other = random_outputs(5, 2)
    score(other)
    del other

    assert len(calls) == 2
    assert list(score._known) == [id(test)]


def test_no_images_give_no_scores():
    train = random_outputs(200, 0)
    fitted, off = ood.fit_all(ood.DETECTORS, train, train, linear())

    assert off == {}
    assert {name: score(random_outputs(0, 1)).shape for name, score in fitted.items()} == dict.fromkeys(fitted, (0,))
