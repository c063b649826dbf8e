"""TransferClassifier is a scikit-learn classifier: its suite, its tools, and what a pickle holds."""

from __future__ import annotations

import pickle
import pickletools
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimators import ClassifierOfRows, count, failures
from PIL import Image
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from transferkit.api.transfer_classifier import TransferClassifier
from transferkit.recipe import METHOD_MODELS
from transferkit.runtime.errors import TransferkitError

EXPECTED_FAILURES = {  # of scikit-learn's checks, with the reason
    "check_class_weight_classifiers": "weights by class are those of the recipe: a probe has 'balanced' alone",
    "check_classifiers_one_label": "one class is refused: nothing can be told apart",
    "check_fit2d_1sample": "one image is one class, which is refused by transferkit's own error",
    "check_methods_subset_invariance": "fp32 sums depend on the batch: to 1e-5 of the largest logit, not to 1e-7",
}


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """(120, 8, 8, 3) uint8 and their labels 0..3."""
    images, labels = load_digits(n_class=4, return_X_y=True)
    pixels = (images[:120] * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1)
    return np.repeat(pixels, 3, axis=3), labels[:120]


def pixel_probe(**settings: Any) -> TransferClassifier:
    return TransferClassifier(classifier="raw-pixels", **{"C": 1.0, **settings})


def small(method: str, **settings: Any) -> TransferClassifier:
    return TransferClassifier("resnet-mini", method=method, **{"weights": "none", "size": 16, **settings})


# ------------------------------------------------------------------------------------------ as scikit-learn wants it


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_suite_of_scikit_learn_fails_only_where_a_reason_is_listed() -> None:
    estimator = ClassifierOfRows(classifier="raw-pixels", C=1.0)

    assert count(estimator) >= 40
    assert sorted(failures(estimator)) == sorted(EXPECTED_FAILURES)


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_as_an_estimator_of_images_it_fails_no_check() -> None:
    assert failures(pixel_probe()) == {}


def test_every_key_of_a_recipe_is_a_parameter_and_an_unknown_one_names_the_nearest() -> None:
    parameters = TransferClassifier("resnet18", epochs=3).get_params()

    keys = {name for model in METHOD_MODELS.values() for name in model.model_fields} - {"name"}
    assert keys < set(parameters)
    assert {name: value for name, value in parameters.items() if value} == {
        "backbone": "resnet18",
        "method": "probe",
        "resize": "squash",
        "epochs": 3,
    }
    with pytest.raises(TransferkitError, match=r"TransferClassifier: unknown key 'epoch'\. Did you mean 'epochs'"):
        TransferClassifier("resnet18", epoch=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "prob"}, "Unknown method 'prob'. Did you mean 'probe'"),
        ({"epochs": 3}, "transferkit probe: unknown key 'method.epochs'"),
        ({"C": -1.0}, "transferkit probe: method.C: expected more than 0"),
        ({"backbone": "resnet19"}, "Unknown backbone 'resnet19'"),
    ],
)
def test_a_wrong_setting_is_told_by_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TransferkitError, match=message):
        TransferClassifier(**settings).fit(*digits())


def test_labels_that_are_none_for_each_image_or_no_classes_are_refused() -> None:
    images, labels = digits()

    with pytest.raises(TransferkitError, match=r"Labels of shape \(3,\) for 120 images"):
        pixel_probe().fit(images, labels[:3])
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        pixel_probe().fit(images, labels + 0.5)


def test_before_fit_it_says_that_it_is_not_fitted() -> None:
    with pytest.raises(NotFittedError):
        pixel_probe().predict(digits()[0])


# ----------------------------------------------------------------------------------------------------- what it gives


def test_answers_are_labels_of_their_own_kind_and_probabilities_follow_the_logits() -> None:
    images, labels = digits()
    names = np.array(["zero", "one", "two", "three"])[labels]

    model = pixel_probe().fit(images, names)

    logits, shares = model.decision_function(images), model.predict_proba(images)
    assert model.classes_.tolist() == ["one", "three", "two", "zero"]
    assert np.allclose(shares, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert np.array_equal(model.predict(images), model.classes_[shares.argmax(axis=1)])
    assert model.score(images, names) > 0.9


def test_of_two_classes_the_decision_is_how_far_the_second_is_ahead() -> None:
    images, labels = digits()

    model = pixel_probe().fit(images, labels == 3)

    decision, shares = model.decision_function(images), model.predict_proba(images)
    assert decision.shape == (120,)
    assert np.allclose(decision, np.log(shares[:, 1] / shares[:, 0]))


@pytest.mark.parametrize("method", ["probe", "finetune", "scratch"])
def test_every_method_fits_and_is_the_recipe_of_the_command(method: str) -> None:
    images, labels = digits()
    steps = {} if method == "probe" else {"epochs": 1, "batch_size": 64}

    model = small(method, **steps).fit(images, labels)

    assert model.recipe_.method.name == method
    assert model.recipe_.input_px == 16
    assert model.predict_proba(images[:5]).shape == (5, 4)


def test_paths_pil_images_and_arrays_of_the_same_pixels_give_the_same_classifier(tmp_path: Path) -> None:
    images, labels = digits()
    pictures = [Image.fromarray(image) for image in images]
    paths = [str(tmp_path / f"{number}.png") for number in range(len(images))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    expected = pixel_probe().fit(images, labels).predict_proba(images)

    for kind in (images.transpose(0, 3, 1, 2), pictures, paths):
        assert np.allclose(pixel_probe().fit(kind, labels).predict_proba(kind), expected)


def test_the_same_seed_gives_the_same_weights_and_the_callers_random_numbers_stay_his() -> None:
    images, labels = digits()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    first, second = (small("scratch", epochs=1, seed=3).fit(images, labels) for _ in range(2))

    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]
    assert np.array_equal(first.predict_proba(images), second.predict_proba(images))


# ------------------------------------------------------------------------------------------ with scikit-learn's tools


def test_it_works_in_a_pipeline_a_grid_search_and_cross_validation() -> None:
    images, labels = digits()
    pipeline = make_pipeline(FunctionTransformer(lambda pixels: 255 - pixels), pixel_probe())
    pipeline.set_output(transform="default")

    search = GridSearchCV(pipeline, {"transferclassifier__C": [1e-9, 1.0]}, cv=2).fit(images, labels)

    assert search.best_params_ == {"transferclassifier__C": 1.0}
    assert cross_val_score(pixel_probe(), images, labels, cv=3).min() > 0.8


def test_its_probabilities_can_be_calibrated() -> None:
    images, labels = digits()

    calibrated = CalibratedClassifierCV(pixel_probe(), cv=2).fit(images, labels)

    assert np.allclose(calibrated.predict_proba(images).sum(axis=1), 1.0)
    assert calibrated.score(images, labels) > 0.9


def test_a_clone_has_the_settings_alone() -> None:
    fitted = pixel_probe().fit(*digits())

    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "network_")


# ----------------------------------------------------------------------------------------------------------- pickles


@pytest.mark.parametrize("settings", [{}, {"classifier": "knn", "C": None}])
def test_a_pickled_one_answers_alike(settings: dict[str, Any]) -> None:
    images, labels = digits()
    fitted = small("probe", C=1.0).set_params(**settings).fit(images, labels)

    loaded = pickle.loads(pickle.dumps(fitted))

    assert np.array_equal(loaded.predict_proba(images), fitted.predict_proba(images))
    assert loaded.recipe_ == fitted.recipe_
    assert loaded.get_params() == fitted.get_params()


def test_a_pickle_holds_plain_values_and_weights_as_bytes_and_no_network() -> None:
    fitted = small("probe").fit(*digits())

    operations = list(pickletools.genops(pickle.dumps(fitted, protocol=2)))
    named = {str(value).split()[0].split(".")[0] for operation, value, _ in operations if operation.name == "GLOBAL"}

    assert "transferkit" in named
    assert named <= {"transferkit", "numpy", "copyreg", "_codecs", "__builtin__"}  # torch and timm are not called
